"""What each way of moving pictures contributes: cross-fade, F, G and T at equal bytes, at fixed spacings of the keys.

Every entry is a whole file that was really written: the key pictures are as fine as the motion leaves room for, so a
mode pays for its own bits. The encoder chooses everything else as it always does. An entry is kept as long as clip,
settings and the codec's own code are the same; else it is measured again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError, TgvcError
from tgvc.types import Picture
from tgvc_bench import quality
from tgvc_bench.clips import Clip, read_clip
from tgvc_bench.machine import read_versions
from tgvc_bench.metrics import SMALLER_IS_BETTER, Reference, score
from tgvc_bench.records import read_record, shorten, write_record
from tgvc_bench.remember import remember_tracks
from tgvc_bench.verdict import SIX
from tgvc_bench.vmaf import score_vmaf

FORMAT = "tgvc-ablation 1"
SYSTEMS = {"cross-fade": "H", "F": "F", "G": "G", "T": "FT"}  # name -> modes that the encoder may choose from
SPACINGS = (2, 4, 8, 16)
METRICS = (*SIX, "tof", "flicker", "grad_energy")
_DIGITS = {"psnr_y": 2, "vmaf": 1, "flicker": 2, "grad_energy": 2, "tof": 3}
_NOTES = (
    "Means over clips of the mean over all frames. Every file was written and decoded; all its bytes count. "
    "T: decoder flow corrected by a coded model and trajectories, a segment may fall back to F. "
    "Best: per clip the spacing with the largest PSNR + MS-SSIM in dB among the files within the target. "
    "Over: files above the target, because the coarsest key pictures at this spacing take more. "
    "gmsd, tof, flicker: smaller is better; grad_energy: of the source's 1."
)


def run_ablation(
    clips: Sequence[Path],
    rates: Sequence[float],
    output: Path,
    *,
    frames: int = 64,
    effort: int = 2,
    spacings: Sequence[int] = SPACINGS,
) -> Iterator[dict[str, Any]]:
    """Measure every clip at every rate, system and spacing; yields entries as they come, writes the file after each.

    Args:
        clips: Video files; their names without ending name the entries.
        rates: Bits per pixel of the whole file.
        output: JSON file; what stands in it already and still holds is kept.
        frames: Only the first so many.
        effort: Of the encoder.
        spacings: Frames from one key picture to the next.

    Raises:
        ConfigError: The file holds results of other settings.
    """
    settings = {"frames": frames, "effort": effort, "spacings": list(spacings), "systems": SYSTEMS}
    record = read_record(output) or {}
    if record and (record.get("format") != FORMAT or record.get("settings") != settings):
        raise ConfigError(f"{output}: holds results of other settings ({record.get('settings')}); use another file")
    code = quality.hash_code()
    kept = {_key(e): e for e in record.get("entries", []) if e.get("code") == code}
    names = " ".join(p.name for p in clips)
    options = " ".join([*(f"--bpp {r:g}" for r in rates), *(f"--spacing {s}" for s in spacings)])
    head = {
        "format": FORMAT,
        "command": f"tgvc-bench ablation {names} {options} --frames {frames} --effort {effort}",
        "settings": settings,
        "versions": read_versions(),
        "rates": list(rates),
    }
    entries: list[dict[str, Any]] = []
    for path in clips:
        clip = read_clip(path, frames)
        source: Reference | None = None
        for spacing in spacings:
            with remember_tracks():  # the systems code the same key pictures
                for rate, system in itertools.product(rates, SYSTEMS):
                    entry: dict[str, Any] = {"clip": path.stem, "sha256": clip.sha256, "rate": rate}
                    entry |= {"system": system, "spacing": spacing, "code": code}
                    if known := kept.get(_key(entry)):
                        entries.append(known)
                        continue
                    source = source or Reference(clip.pictures)
                    asked = quality.Options(frames, effort, extra={"modes": SYSTEMS[system], "spacing": spacing})
                    entries.append(entry | _measure(clip, source, rate, asked))
                    write_record(output, {**head, "entries": entries})
                    yield entries[-1]
    write_record(output, {**head, "entries": entries})


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[k] for k in ("clip", "sha256", "rate", "system", "spacing"))


def _measure(clip: Clip, source: Reference, rate: float, options: quality.Options) -> dict[str, Any]:
    """What a file costs and shows; an encoder that refuses gives its ``error`` and no scores."""
    try:
        size, pictures, report = quality.run_tgvc(clip.path, rate, options)
    except TgvcError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    values = _score(source, pictures)
    target = rate * clip.size[0] * clip.size[1] * len(clip.pictures) / 8
    return {
        "bytes": size,
        "bpp": shorten(clip.bpp(size)),
        "fits": size <= target,
        "motion_bytes": report["layers"]["motion"],
        "modes": report["modes"],
        "trajectories": sum(g["trajectories"] for g in report["groups"]),
        "key_sizes": [g["key_size"] for g in report["groups"]],
        "scores": {k: shorten(values[k]) for k in METRICS},
    }


def _score(source: Reference, pictures: Sequence[Picture]) -> dict[str, float]:
    return {**score(source, pictures), **score_vmaf(source.pictures, pictures)}


def find_best(entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of entries of one clip, rate and system the one the encoder would prefer: within the target, then by merit."""
    return max(entries, key=lambda e: (e["fits"], _merit(e) if e["fits"] else -e["bytes"]))


def _merit(entry: Mapping[str, Any]) -> float:
    scores = entry["scores"]
    return float(scores["psnr_y"]) - 10 * math.log10(max(1e-6, 1 - scores["ms_ssim"]))


def format_ablation(record: Mapping[str, Any]) -> str:
    """The result as Markdown: per rate the means by system and spacing, then the best spacing of every clip."""
    lines = [f"`{record['command']}`", "", _NOTES, ""]
    for rate in record["rates"]:
        scored = [e for e in record["entries"] if e["rate"] == rate and "scores" in e]
        lines += [f"## {rate:g} bpp", "", *_mean_table(scored, record["settings"]), ""]
        lines += [f"### Best spacing by clip, {rate:g} bpp", "", *_clip_table(scored), ""]
        failed = [e for e in record["entries"] if e["rate"] == rate and "error" in e]
        lines += [f"- {e['clip']} {e['system']} spacing {e['spacing']}: {e['error']}" for e in failed]
    return "\n".join(lines).rstrip() + "\n"


def _mean_table(entries: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Iterator[str]:
    columns = ["spacing", "system", "bpp", "motion", "over", *METRICS]
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for spacing in [*settings["spacings"], "best"]:
        rows = {}
        for system in settings["systems"]:
            mine = [e for e in entries if e["system"] == system]
            if spacing == "best":
                clips = dict.fromkeys(e["clip"] for e in mine)
                rows[system] = [find_best([e for e in mine if e["clip"] == c]) for c in clips]
            else:
                rows[system] = [e for e in mine if e["spacing"] == spacing]
        means = {s: {m: _mean([e["scores"][m] for e in r]) for m in METRICS} for s, r in rows.items() if r}
        for system, values in means.items():
            row = rows[system]
            total = sum(e["bytes"] for e in row)
            cells = [str(spacing), system, f"{_mean([e['bpp'] for e in row]):.5f}"]
            cells += [f"{sum(e['motion_bytes'] for e in row) / total:.1%}"]
            cells += [f"{sum(not e['fits'] for e in row)} of {len(row)}"]
            cells += [_bold(m, values[m], [v[m] for v in means.values()]) for m in METRICS]
            yield "| " + " | ".join(cells) + " |"


def _bold(metric: str, value: float, all_values: Sequence[float]) -> str:
    """A cell, bold where it is the best of its block; the gradient energy has no best."""
    text = f"{value:.{_DIGITS.get(metric, 4)}f}"
    best = min(all_values) if metric in SMALLER_IS_BETTER else max(all_values)
    return f"**{text}**" if value == best and metric != "grad_energy" else text


def _clip_table(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    systems = list(dict.fromkeys(e["system"] for e in entries))
    columns = ["clip", *(f"{s}: spacing, psnr_y, ms_ssim, vmaf" for s in systems)]
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for clip in dict.fromkeys(e["clip"] for e in entries):
        mine = {s: [e for e in entries if (e["clip"], e["system"]) == (clip, s)] for s in systems}
        best = {s: find_best(found) for s, found in mine.items() if found}
        top = max(best, key=lambda s: (best[s]["fits"], _merit(best[s])))
        cells = [_clip_cell(best[s], bold=s == top) if s in best else "" for s in systems]
        yield "| " + " | ".join([clip, *cells]) + " |"


def _clip_cell(entry: Mapping[str, Any], *, bold: bool) -> str:
    values = entry["scores"]
    text = f"{entry['spacing']}, {values['psnr_y']:.2f}, {values['ms_ssim']:.4f}, {values['vmaf']:.1f}"
    text += "" if entry["fits"] else " (over)"
    return f"**{text}**" if bold else text


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
