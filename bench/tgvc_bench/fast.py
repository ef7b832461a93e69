"""The gate of fast ways: how far from many steps they end, and what that costs in scores and gains in time.

Every clip is encoded once. The reference is the same stream decoded in a hundred even steps of DDIM without fresh
noise; the distance of a way from it is told as a share of what these steps add to the weight-free picture. Texture that
is pure noise is left out there, and shown in the scores.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.decoder import Decoder
from tgvc.encoder import Encoder
from tgvc.models.bundle import ModelBundle, bundle_folder, load_bundle
from tgvc.models.constants import RESIDUAL
from tgvc.models.manifest import MANIFEST
from tgvc.synthesis.fast import FAST_WAYS, NOTE, fast_ways, networks_hash
from tgvc.types import FloatArray, Picture, picture_planes
from tgvc_bench.clips import Clip, read_clip
from tgvc_bench.machine import describe_machine, read_versions
from tgvc_bench.metrics import Reference, score
from tgvc_bench.records import shorten, write_record

FORMAT = "tgvc-fast 1"
REFERENCE_STEPS = 100
SCORES = ("ms_ssim", "gmsd", "swd", "flicker")
SPACINGS, SOLVERS = ("trailing", "ays-sd", "ays-svd"), ("ddim", "dpmpp-2m")


def run_fast(
    clips: Sequence[Path],
    bundle: str,
    rate: float,
    frames: int,
    grid: Sequence[int],
    output: Path,
    *,
    scored: bool = True,
) -> Iterator[dict[str, Any]]:
    """Measure the ways on clips; yields entries and writes the file after each.

    Args:
        clips: sources, of sides that are multiples of 16 px.
        bundle: name or folder.
        rate: bits per pixel.
        frames: of every clip.
        grid: numbers of steps for which every solver is measured over every spacing besides.
        output: JSON file.
        scored: also compare with the source, which takes clips of at least 161 px a side.
    """
    entries: list[dict[str, Any]] = []
    opened = load_bundle(bundle)
    words = [*(p.name for p in clips), f"--bundle {Path(bundle).name}", f"--frames {frames}", f"--bpp {rate:g}"]
    words += [f"--grid {n}" for n in grid]
    for path in clips:
        entries.append(measure(read_clip(path, frames), opened, rate, grid, scored=scored))
        record = {
            "format": FORMAT,
            "command": f"tgvc-bench fast {' '.join(words)}",
            "machine": describe_machine(),
            "versions": read_versions(ffmpeg=False),
            "bundle": opened.label,
            "reference_steps": REFERENCE_STEPS,
            "ways": summarise(entries, opened),
            "entries": entries,
        }
        write_record(output, record)
        yield entries[-1]


def measure(
    clip: Clip, bundle: ModelBundle, rate: float, grid: Sequence[int], *, scored: bool = True
) -> dict[str, Any]:
    """One entry: distances, scores and seconds of the processor, by the names of the ways; ``default`` is one."""
    stream = io.BytesIO()
    config = EncoderConfig(bpp=rate, effort=1, frames=len(clip.pictures))
    Encoder(config, threads=1).encode(clip.path, stream)
    still: dict[str, Any] = {"grain": 0.0} if bundle.kind == RESIDUAL else {"eta": 0.0}
    common = {"generator": "latent", "bundle": str(bundle.folder), "threads": 1}
    ways: dict[str, dict[str, Any]] = {"default": {}} | {
        name: dict(way.fields) for name, way in fast_ways(bundle).items()
    }
    for steps in grid:
        for spacing in SPACINGS:
            ways |= {f"{steps} {s} {spacing}": {"steps": steps, "solver": s, "timesteps": spacing} for s in SOLVERS}
    plain, source = luma(decode(stream, {"generator": "warp"})), Reference(clip.pictures) if scored else None
    many = luma(decode(stream, {**common, **still, "steps": REFERENCE_STEPS, "solver": "ddim"}))
    entry: dict[str, Any] = {"clip": clip.path.stem, "sha256": clip.sha256, "bytes": len(stream.getvalue()), "ways": {}}
    for name, fields in ways.items():
        began = time.process_time()
        found = luma(decode(stream, {**common, **still, **fields}))
        result: dict[str, Any] = {"cpu_s": shorten(time.process_time() - began, 3)}
        result["error"] = shorten(distance(found, many) / distance(many, plain), 4)
        if source is not None and (name == "default" or name in FAST_WAYS):
            scores = score(source, decode(stream, {**common, **fields}))
            result["scores"] = {key: shorten(scores[key], 5) for key in SCORES}
        entry["ways"][name] = result
    return entry


def decode(stream: io.BytesIO, fields: Mapping[str, Any]) -> list[Picture]:
    """All pictures of a stream."""
    return [shown.picture for shown in Decoder(DecoderConfig(**fields)).frames(io.BytesIO(stream.getvalue()))]


def luma(pictures: Sequence[Picture]) -> FloatArray:
    """Luma of all pictures, float32 (N, H, W)."""
    return np.stack([picture_planes(picture)[0] for picture in pictures]).astype(np.float32)


def distance(a: FloatArray, b: FloatArray) -> float:
    """Root of the mean squared difference."""
    return float(np.sqrt(np.mean((a - b) ** 2)))


def summarise(entries: Sequence[Mapping[str, Any]], bundle: ModelBundle) -> dict[str, dict[str, Any]]:
    """What the notes of a manifest keep of every way: its preset, its worst distance, the limit, on what it was found.

    Where a way has no limit of its own it is the worst distance of the bundle's default.
    """
    summary = {}
    for name, way in fast_ways(bundle).items():
        worst, plain = (max(e["ways"][n]["error"] for e in entries) for n in (name, "default"))
        summary[name] = {
            **way.fields,
            "error": worst,
            "limit": plain if way.limit is None else way.limit,
            "clips": [e["clip"] for e in entries],
            "networks": networks_hash(bundle),
        }
    return summary


def note_ways(bundle: str, ways: Mapping[str, Any]) -> ModelBundle:
    """Write measurements into the notes of a bundle's manifest, and load it back."""
    path = bundle_folder(bundle) / MANIFEST
    top = json.loads(path.read_text(encoding="utf-8"))
    top.setdefault("notes", {})[NOTE] = dict(ways)
    part = path.with_name(f"{MANIFEST}.{os.getpid()}.part")
    part.write_text(json.dumps(top, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)
    return load_bundle(bundle)


def format_fast(record: Mapping[str, Any]) -> str:
    """Means over clips as Markdown: distance, its worst, scores, seconds."""
    entries = record["entries"]
    lines = [f"| | error | worst | {' | '.join(SCORES)} | cpu s |", "|---|---|---|" + "---|" * (len(SCORES) + 1)]
    for name in entries[0]["ways"]:
        found = [e["ways"][name] for e in entries]
        errors = [f["error"] for f in found]
        scores = [np.mean([f["scores"][key] for f in found]) if "scores" in found[0] else None for key in SCORES]
        cells = ["" if s is None else f"{s:.4g}" for s in scores]
        seconds = np.mean([f["cpu_s"] for f in found])
        lines.append(f"| {name} | {np.mean(errors):.3f} | {max(errors):.3f} | {' | '.join(cells)} | {seconds:.3g} |")
    return "\n".join(lines)
