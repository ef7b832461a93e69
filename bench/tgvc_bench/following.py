"""Does the output move as the stream says? Points of the key pictures are tracked again through what was painted.

The trajectories are those of the stream and a grid of points moved by its motion. A point is followed through the
output from frame to frame by optical flow; its distance from where the trajectory says it is, over all frames between
two keys, is the end-point error.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.bitstream.container import Reader
from tgvc.config import DecoderConfig
from tgvc.decoder import decode_group
from tgvc.generators import make_generator
from tgvc.overlap import StageClock
from tgvc.synthesis.conditions import group_conditions
from tgvc.synthesis.flow import measure_flow
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.paths import Paths, cell_centres, follow_points, sent_paths
from tgvc.types import Picture, picture_planes, picture_size
from tgvc_bench.quality import hash_code
from tgvc_bench.records import read_record, shorten, write_record
from tgvc_kernels import ops

FORMAT = "tgvc-following 2"
SPACINGS, STEPS = (16, 30), (1, 2, 4, 8)
_PITCH_PX = 16  # of the grid of points
_STRENGTH = 0.5


def usual_variants(steps: Sequence[int], strength: float) -> dict[str, DecoderConfig]:
    """Guidance off and on over a cross-fade, and both over the moved key pictures.

    All without grain, whose noise stands still and would be tracked instead of what moves.
    """
    variants = {"warp": DecoderConfig()}
    for base, title in (("faded", "cross-fade"), ("moved", "warp")):
        for count in steps:
            plain = DecoderConfig(generator="latent", steps=count, base=base, grain=0.0)
            variants[f"latent on {title}, {count} steps"] = plain
            if count > 1:
                guided = replace(plain, guidance=strength, guides="all")
                variants[f"latent on {title}, {count} steps, guided"] = guided
    return variants


def run_following(
    clips: Sequence[Path],
    output: Path,
    spacings: Sequence[int] = SPACINGS,
    steps: Sequence[int] = STEPS,
    strength: float = _STRENGTH,
) -> Iterator[dict[str, Any]]:
    """Measure all clips at all spacings; yields entries and writes the file after each.

    What the same code measured before is not measured again; entries that were not asked for stay in the file.
    """
    variants, code = usual_variants(steps, strength), hash_code()
    asked = {"steps": list(steps), "strength": strength, "code": code}
    record = read_record(output) or {}
    entries = {(e["spacing"], e["clip"]): e for e in record.get("entries", [])}
    command = f"tgvc-bench following {' '.join(p.name for p in clips)}"
    for spacing in spacings:
        for path in clips:
            entry = entries.get((spacing, path.stem), {})
            if any(entry.get(name) != value for name, value in asked.items()):
                errors = measure_clip(path, spacing, variants)
                entry = {"clip": path.stem, "spacing": spacing, **asked, "errors_px": errors}
                entries[spacing, path.stem] = entry
                found = [entries[key] for key in sorted(entries)]
                write_record(output, {"format": FORMAT, "command": command, "entries": found})
            yield entry


def measure_clip(path: Path, spacing: int, variants: Mapping[str, DecoderConfig]) -> dict[str, float]:
    """Mean end-point error in px of each variant on the first two segments of a clip."""
    import tgvc

    stream = io.BytesIO()
    tgvc.encode(path, stream, bpp=0.005, frames=2 * spacing + 1, spacing=spacing, modes="T", threads=1)
    reader = Reader(io.BytesIO(stream.getvalue()))
    groups = [decode_group(group, reader.header, StageClock()) for group in reader]
    errors: dict[str, float] = {}
    for name, config in variants.items():
        generator, sums, count = make_generator(config), 0.0, 0
        for group in groups:
            pictures = list(generator.render_group(group, StageClock()))
            for first, paths in segment_paths(group):
                total, seen = follow_error(pictures[first : first + paths.xy.shape[1]], paths)
                sums, count = sums + total, count + seen
        errors[name] = shorten(sums / max(count, 1))
    return errors


def segment_paths(group: DecodedGroup) -> Iterator[tuple[int, Paths]]:
    """For every segment of a group its first frame, and the paths of sent points and of a grid of the first key."""
    width, height = picture_size(group.keys[0])
    conditions = list(group_conditions(group.keys, group.motions, group.fine))
    first = 0
    for motion, length in group.motions:
        inside = conditions[first + 1 : first + length - 1]
        fields = [c.fields for c in inside if c.fields is not None]
        if fields:
            grid = follow_points(cell_centres(height // _PITCH_PX, width // _PITCH_PX, _PITCH_PX), fields)
            sent = sent_paths(motion, fields, width, height)
            early = np.flatnonzero(~motion.from_last) if len(sent.xy) else np.zeros(0, np.intp)
            yield first, Paths(*(np.concatenate([a, b[early]]) for a, b in zip(grid, sent, strict=True)))
        first += length - 1


def follow_error(pictures: Sequence[Picture], paths: Paths) -> tuple[float, int]:
    """Sum of the distances in px over visible points of the frames between the keys, and how many they are."""
    lumas = [picture_planes(p)[0] for p in pictures]
    at, total, seen = paths.xy[:, 0], 0.0, 0
    for frame in range(1, len(lumas) - 1):
        flow = measure_flow(lumas[frame - 1], lumas[frame], finest=0)
        at = np.asarray(at + ops.sample_field(flow, np.ascontiguousarray(at)), np.float32)
        shown = paths.visible[:, frame]
        total += float(np.linalg.norm(at[shown] - paths.xy[shown, frame], axis=1).sum())
        seen += int(shown.sum())
    return total, seen


def format_following(record: Mapping[str, Any]) -> str:
    """Errors per clip as Markdown, one table per spacing."""
    lines = []
    for spacing in sorted({e["spacing"] for e in record["entries"]}):
        entries = [e for e in record["entries"] if e["spacing"] == spacing]
        lines += [f"**{spacing} frames between keys**, end-point error in px", ""]
        lines += ["| | " + " | ".join(e["clip"] for e in entries) + " | mean |", "|---|" + "---|" * (len(entries) + 1)]
        for name in entries[0]["errors_px"]:
            values = [e["errors_px"][name] for e in entries]
            lines.append(f"| {name} | " + " | ".join(f"{v:.2f}" for v in [*values, float(np.mean(values))]) + " |")
        lines.append("")
    return "\n".join(lines)
