"""The generators on the same streams: what the networks add to the weight-free picture, and what they cost.

Every clip is encoded once per rate; every generator decodes the same file. The networks are also put behind SVT-AV1,
so that what they owe to the codec can be told from what any decoder could have.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.config import DecoderConfig
from tgvc.demo.comparison import Column, draw_comparison
from tgvc.generators import make_generator
from tgvc.overlap import StageClock
from tgvc.synthesis.conditions import key_fineness
from tgvc.synthesis.group import DecodedGroup
from tgvc.types import Picture, picture_size, still_motion
from tgvc_bench import encoders
from tgvc_bench.clips import Clip, read_clip, scale
from tgvc_bench.evaluation.code import hash_networks, hash_ours
from tgvc_bench.evaluation.systems import System
from tgvc_bench.ffmpeg import ffmpeg_version
from tgvc_bench.hull import compare
from tgvc_bench.metrics import Reference, score
from tgvc_bench.quality import find_baselines
from tgvc_bench.records import read_record, shorten, write_record
from tgvc_bench.verdict import PRINTED, SIX
from tgvc_bench.vmaf import score_vmaf

FORMAT = "tgvc-generators 1"
ANCHOR = "svt-av1-p4"
_LIKE_SPACING = 4
_MATRIX = 6  # of pictures as small as those of the table


@dataclass(frozen=True)
class Variant:
    """A way to decode: its ``name``, fields of `DecoderConfig`; ``behind``: the conventional codec it follows."""

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    behind: str = ""

    @property
    def steps(self) -> int | None:
        """Denoising steps, where they are not the bundle's own."""
        return self.fields.get("steps")

    @property
    def code(self) -> str:
        """SHA-256 of the code and the networks that decide its scores."""
        facts = [hash_ours(), *hash_networks(System(self.name, "", decode=self.fields).painters), ffmpeg_version()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def usual_variants(steps: Sequence[int]) -> list[Variant]:
    """The weight-free picture, the networks by default and at some numbers of steps, and behind SVT-AV1."""
    others = [Variant(f"latent, {n} steps", {"generator": "latent", "steps": n}) for n in steps]
    return [
        Variant("warp", {"generator": "warp"}),
        Variant("latent", {"generator": "latent"}),
        Variant("latent, key pictures", {"generator": "latent", "paint": "keys"}),
        *others,
        Variant(ANCHOR, {"generator": "warp"}, ANCHOR),
        Variant(f"{ANCHOR} + latent", {"generator": "latent"}, ANCHOR),
    ]


def run_generators(
    clips: Sequence[Path],
    rates: Sequence[float],
    variants: Sequence[Variant],
    frames: int,
    output: Path,
    folder: Path,
    pictures: Path | None = None,
    streams: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure every clip at every rate; yields entries and writes the file after each.

    What the file knows of a variant is kept while code and networks are the same, unless pictures are wanted.

    Args:
        clips: sources.
        rates: bits per pixel.
        variants: ways to decode.
        frames: of every clip.
        output: JSON file.
        folder: of the baselines.
        pictures: folder for one picture per entry: source, SVT-AV1, warp and latent side by side.
        streams: folder that keeps what was encoded, for later calls with the same encoder.

    Raises:
        ConfigError: a clip has no baselines.
    """
    record = read_record(output) or {}
    known = {(e["clip"], e["sha256"], e["rate"]): e["variants"] for e in record.get("entries", [])}
    entries: list[dict[str, Any]] = []
    for rate in rates:
        for path in clips:
            clip = read_clip(path, frames)
            kept = known.get((path.stem, clip.sha256, rate), {}) if pictures is None else {}
            entry = measure(clip, path, rate, variants, folder, kept, pictures, streams)
            entries.append(entry)
            command = _command(clips, rates, variants, frames)
            write_record(output, {"format": FORMAT, "command": command, "entries": entries})
            yield entry


def _command(clips: Sequence[Path], rates: Sequence[float], variants: Sequence[Variant], frames: int) -> str:
    words = [*(p.name for p in clips), f"--frames {frames}", *(f"--bpp {rate:g}" for rate in rates)]
    return " ".join(["tgvc-bench generators", *words, *(f"--steps {v.steps}" for v in variants if v.steps)])


def measure(
    clip: Clip,
    path: Path,
    rate: float,
    variants: Sequence[Variant],
    folder: Path,
    known: Mapping[str, Mapping[str, Any]],
    drawings: Path | None = None,
    streams: Path | None = None,
) -> dict[str, Any]:
    """One entry: all variants of a clip at a rate, scored on all frames and compared with the anchor's hull."""
    import tgvc

    data, reference = _encode(clip, path, rate, streams), Reference(clip.pictures)
    entry: dict[str, Any] = {"clip": path.stem, "sha256": clip.sha256, "rate": rate, "bytes": len(data), "variants": {}}
    points, moment = find_baselines(folder, entry)[ANCHOR]["points"], len(clip.pictures) // 2 + 1
    shown = {"source": ("", clip.pictures[moment])}
    for variant in variants:
        earlier = known.get(variant.name, {})
        if earlier.get("code") == variant.code:
            entry["variants"][variant.name] = earlier
            continue
        if variant.behind:
            size, pictures = _conventional(clip, rate, points, variant)
        else:
            size = len(data)
            pictures = [f.picture for f in tgvc.decode_frames(io.BytesIO(data), **variant.fields)]
        scores = {**score(reference, pictures), **score_vmaf(clip.pictures, pictures)}
        result = {"bytes": size, "bpp": shorten(clip.bpp(size)), "scores": {k: shorten(v) for k, v in scores.items()}}
        compared = compare({"bpp": clip.bpp(size), "scores": scores}, points, [*SIX, *PRINTED])
        result["won"] = sum(bool(compared[m]["won"]) for m in SIX)
        result["bits_saved"] = {m: shorten(compared[m]["bits_saved"]) for m in SIX}
        entry["variants"][variant.name] = result | {"code": variant.code}
        facts = f"{clip.bpp(size):.4f} bpp, MS-SSIM {scores['ms_ssim']:.3f}, patches {scores['swd']:.3f}"
        shown[variant.name] = (facts, pictures[moment])
    if drawings is not None:
        drawings.mkdir(parents=True, exist_ok=True)
        columns = [Column(n, *_listed(shown[n])) for n in ("source", ANCHOR, "warp", "latent") if n in shown]
        drawn = draw_comparison(columns, [f"{path.stem}, frame {moment}"], _MATRIX)
        drawn.save(drawings / f"{path.stem}-{rate:g}.png")
    return entry


def _encode(clip: Clip, path: Path, rate: float, streams: Path | None) -> bytes:
    """The stream of a clip, out of the folder of streams if this encoder has made it before."""
    import tgvc

    kept = streams and streams / f"{path.stem}-{clip.sha256[:12]}-{rate:g}-{hash_ours()[:12]}.tgvc"
    if kept and kept.is_file():
        return kept.read_bytes()
    stream = io.BytesIO()
    tgvc.encode(path, stream, bpp=rate, frames=len(clip.pictures), threads=1)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(stream.getvalue())
    return stream.getvalue()


def _listed(shown: tuple[str, Picture]) -> tuple[str, list[Picture]]:
    return shown[0], [shown[1]]


def _conventional(
    clip: Clip, rate: float, points: Sequence[Mapping[str, Any]], variant: Variant
) -> tuple[int, list[Picture]]:
    """Bytes and pictures of the anchor near a rate, at its best size for MS-SSIM, as the variant shows them."""
    near = [p for p in points if 0.8 * rate < p["bpp"] < 1.2 * rate and "ms_ssim" in p["scores"]]
    chosen = max(near or points, key=lambda p: p["scores"]["ms_ssim"] - 0.1 * abs(np.log(p["bpp"] / rate)))
    width, height = (int(side) for side in chosen["size"].split("x"))
    encoder = encoders.ENCODERS[variant.behind]
    stream, _ = encoders.encode(encoder, scale(clip.pictures, width, height), clip.fps, chosen["q"])
    pictures = scale(encoders.decode(encoder, stream, width, height, len(clip.pictures)), *clip.size)
    size = encoders.count_payload(encoder, stream)
    if variant.fields["generator"] == "warp":
        return size, pictures
    # a picture of SVT-AV1 rests on its neighbours: it is as good as a key picture of ours of several times its bits
    fine = key_fineness(size, -(-len(pictures) // _LIKE_SPACING), *picture_size(pictures[0]))
    group = DecodedGroup(0, 0, pictures, [(still_motion("F"), 2)] * (len(pictures) - 1), fine)
    generator = make_generator(DecoderConfig(**variant.fields))
    return size, list(generator.render_group(group, StageClock()))


def format_generators(record: Mapping[str, Any]) -> str:
    """Means over clips, one table per rate, as Markdown."""
    keys = (*SIX, *PRINTED)
    lines = []
    for rate in sorted({e["rate"] for e in record["entries"]}):
        entries = [e for e in record["entries"] if e["rate"] == rate]
        lines += [f"**{rate:g} bits per pixel**, means over {len(entries)} clips", ""]
        lines += [f"| | won of {len(SIX)} | " + " | ".join(keys) + " |", "|---|---|" + "---|" * len(keys)]
        for name in entries[0]["variants"]:
            found = [e["variants"][name] for e in entries]
            cells = [f"{np.mean([f['scores'][k] for f in found]):.4g}" for k in keys]
            lines.append(f"| {name} | {np.mean([f['won'] for f in found]):.1f} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)
