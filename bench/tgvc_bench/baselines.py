"""Sweeps of the conventional encoders: per clip and size a few qualities around the rates of interest, all scored.

A sweep is one JSON file per clip. Whatever stands in it is never computed again: every encode is a trial, every scored
encode a point; both are written as soon as they exist.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError
from tgvc.types import Picture
from tgvc_bench import encoders
from tgvc_bench.clips import Clip, list_sizes, scale
from tgvc_bench.ffmpeg import ffmpeg_version
from tgvc_bench.metrics import Reference, score
from tgvc_bench.records import read_record, shorten, write_record
from tgvc_bench.vmaf import score_vmaf

RATES = tuple(0.0018 * (0.0085 / 0.0018) ** (i / 4) for i in range(5))  # bpp, even in the logarithm
HIGHEST = 0.0100  # bpp: a size whose coarsest quality costs more has no point
CLOSE = 0.1  # octaves between a point and the rate it was meant for: the curve is interpolated anyway
ATTEMPTS = 4  # encodes per rate
PRUNE_PSNR, PRUNE_MS_SSIM = 1.0, 0.01  # how much better a cheaper point must be for another to stay unscored
FAST = ("psnr_y", "ms_ssim")

Encode = Callable[[float], int]


def search_qualities(
    encoder: encoders.Encoder, trials: dict[float, int], targets: list[float], run: Encode
) -> list[float]:
    """Qualities whose sizes come nearest to the targets, finest last, without repeats.

    A search that is repeated takes the same steps, with earlier trials in place of encodes.

    Args:
        encoder: Gives the range, the step and the expected slope.
        trials: Quality -> bytes of earlier encodes; extended in place.
        targets: Bytes, increasing.
        run: Encodes at a quality, returns bytes.
    """
    seen: dict[float, int] = {}

    def trial(quality: float) -> int:
        if quality not in trials:
            trials[quality] = run(quality)
        seen[quality] = trials[quality]
        return seen[quality]

    trial(encoder.coarsest if encoder.start is None else encoder.start)
    for target in targets:
        for _ in range(ATTEMPTS):
            if seen.get(encoder.coarsest, 0) >= target:
                break
            quality = guess_quality(encoder, seen, target)
            if quality in seen or abs(math.log2(trial(quality) / target)) < CLOSE:
                break
    chosen = {min(seen, key=lambda q: abs(math.log2(seen[q] / target))) for target in targets}
    return sorted(chosen, reverse=True)


def guess_quality(encoder: encoders.Encoder, trials: dict[float, int], target: float) -> float:
    """The quality expected to give ``target`` bytes, on the line through the nearest trials of either side."""
    cheaper = max((q for q in trials if trials[q] <= target), key=lambda q: trials[q], default=None)
    dearer = min((q for q in trials if trials[q] > target), key=lambda q: trials[q], default=None)
    if cheaper is None or dearer is None:
        nearest = dearer if cheaper is None else cheaper
        assert nearest is not None  # there is a trial before there is a guess
        quality = nearest - math.log2(target / trials[nearest]) / encoder.slope
    else:
        part = math.log2(target / trials[cheaper]) / math.log2(trials[dearer] / trials[cheaper])
        quality = cheaper - part * (cheaper - dearer)
    quality = round(quality / encoder.step) * encoder.step
    return min(encoder.coarsest, max(encoder.finest, quality))


def is_dominated(point: dict[str, Any], others: list[dict[str, Any]]) -> bool:
    """Whether another point costs no more and is clearly better in both fast scores."""
    mine = point["scores"]
    return any(
        o["bytes"] <= point["bytes"]
        and o["scores"]["psnr_y"] >= mine["psnr_y"] + PRUNE_PSNR
        and o["scores"]["ms_ssim"] >= mine["ms_ssim"] + PRUNE_MS_SSIM
        for o in others
    )


class Sweep:
    """The baselines of one clip in one file.

    Args:
        clip: what is encoded.
        path: JSON file; what stands in it already is not done again.
        rates: bits per pixel around which points are wanted, growing; None = `RATES`.

    Raises:
        ConfigError: The file is of another clip or another number of frames.
    """

    def __init__(self, clip: Clip, path: Path, rates: Sequence[float] | None = None) -> None:
        self.clip, self.path, self.rates = clip, path, rates
        width, height = clip.size
        facts = {
            "clip": clip.path.stem,
            "sha256": clip.sha256,
            "width": width,
            "height": height,
            "frames": len(clip.pictures),
            "fps": str(clip.fps),
            "scaling": "swscale lanczos, both ways",
        }
        self.record = read_record(path) or {**facts, "ffmpeg": ffmpeg_version(), "codecs": {}}
        if wrong := [k for k, v in facts.items() if self.record.get(k) != v]:
            k = wrong[0]
            raise ConfigError(f"{path}: {k} is {self.record.get(k)}, the clip's is {facts[k]}; use another folder")
        self._reference: Reference | None = None
        self._small: dict[tuple[int, int], list[Picture]] = {}
        self._streams: dict[tuple[str, int, int, float], tuple[bytes, str]] = {}
        self.seconds: dict[tuple[str, int, int, float], float] = {}  # that each encode of this run took

    def run(self, codec: str, fractions: Sequence[Fraction] | None = None) -> Iterator[str]:
        """Do what is missing for one codec at some sizes, None = all; a line of text after every point."""
        encoder = encoders.ENCODERS[codec]
        command = " ".join(["ffmpeg", *encoder.command(), "-f", encoder.format])
        entry = self.record["codecs"].setdefault(
            codec, {"version": "", "command": command, "done": False, "trials": {}, "points": []}
        )
        sizes = list_sizes(*self.clip.size, fractions)
        usual = self.rates is None or tuple(self.rates) == RATES  # "done" speaks of these alone
        if usual and entry["done"] and all(f"{width}x{height}" in entry["trials"] for width, height in sizes):
            return
        if usual:
            entry["done"] = False
        for width, height in sizes:
            for quality in self._search(codec, entry, width, height):
                if not _find(entry, f"{width}x{height}", quality):
                    yield self._add(codec, entry, (width, height), quality)
        for point in entry["points"]:
            if "vmaf" not in point["scores"] and not is_dominated(point, entry["points"]):
                width, height = map(int, point["size"].split("x"))
                pictures, _ = self.decode(codec, (width, height), point["q"])
                scores = {**score(self._source(), pictures), **score_vmaf(self.clip.pictures, pictures)}
                point["scores"] = {k: shorten(v) for k, v in scores.items()}
                self._save()
                yield f"{codec} {point['size']} q {point['q']:g}: scored"
        if usual:
            entry["done"] = True
            self._save()

    def _search(self, codec: str, entry: dict[str, Any], width: int, height: int) -> list[float]:
        """Qualities of one size that are worth a point."""
        encoder = encoders.ENCODERS[codec]
        known = entry["trials"].setdefault(f"{width}x{height}", {})
        trials = {float(q): size for q, size in known.items()}

        def encode(quality: float) -> int:
            return self.try_quality(codec, (width, height), quality)

        alike = self.record["codecs"].get(encoder.alike, {"points": []})["points"]
        if chosen := [float(p["q"]) for p in alike if p["size"] == f"{width}x{height}"]:
            for quality in chosen:
                if quality not in trials:
                    encode(quality)
            return chosen
        frame = math.prod(self.clip.size) * len(self.clip.pictures) / 8
        rates = RATES if self.rates is None else self.rates
        chosen = search_qualities(encoder, trials, [rate * frame for rate in rates], encode)
        highest = max(HIGHEST, rates[-1] * 2**CLOSE)
        return [q for q in chosen if trials[q] <= highest * frame]

    def _add(self, codec: str, entry: dict[str, Any], size: tuple[int, int], quality: float) -> str:
        """Record a point with the two fast scores."""
        name = f"{size[0]}x{size[1]}"
        cost = entry["trials"][name][f"{quality:g}"]
        scores = score(self._source(), self.decode(codec, size, quality)[0], FAST)
        point = {"size": name, "q": quality, "bytes": cost, "bpp": shorten(self.clip.bpp(cost))}
        entry["points"].append({**point, "scores": {k: shorten(v) for k, v in scores.items()}})
        self._save()
        return f"{codec} {name} q {quality:g}: {cost} bytes, {scores['psnr_y']:.2f} dB"

    def try_quality(self, codec: str, size: tuple[int, int], quality: float) -> int:
        """Bytes of an encode at a size and quality; recorded as a trial."""
        entry = self.record["codecs"][codec]
        known = entry["trials"].setdefault(f"{size[0]}x{size[1]}", {})
        if f"{quality:g}" not in known:
            stream, version = self._encode(codec, size, quality)
            entry["version"] = entry["version"] or version or f"of ffmpeg {self.record['ffmpeg']}"
            known[f"{quality:g}"] = encoders.count_payload(encoders.ENCODERS[codec], stream)
            self._save()
        return int(known[f"{quality:g}"])

    def decode(self, codec: str, size: tuple[int, int], quality: float) -> tuple[list[Picture], float]:
        """The pictures of an encode at the clip's size, and the seconds that decoding and scaling took."""
        stream, _ = self._encode(codec, size, quality)
        began = time.perf_counter()
        pictures = encoders.decode(encoders.ENCODERS[codec], stream, *size, len(self.clip.pictures))
        return scale(pictures, *self.clip.size), time.perf_counter() - began

    def _encode(self, codec: str, size: tuple[int, int], quality: float) -> tuple[bytes, str]:
        """The stream, encoded at most once, and the encoder's version."""
        key = (codec, *size, quality)
        if key not in self._streams:
            encoder = encoders.ENCODERS[codec]
            began = time.perf_counter()
            self._streams[key] = encoders.encode(encoder, self._scaled(*size), self.clip.fps, quality)
            self.seconds[key] = time.perf_counter() - began
        return self._streams[key]

    def _scaled(self, width: int, height: int) -> list[Picture]:
        if (width, height) not in self._small:
            self._small[width, height] = scale(self.clip.pictures, width, height)
        return self._small[width, height]

    def _source(self) -> Reference:
        if self._reference is None:
            self._reference = Reference(self.clip.pictures)
        return self._reference

    def _save(self) -> None:
        write_record(self.path, self.record)


def _find(entry: dict[str, Any], size: str, quality: float) -> bool:
    return any(p["size"] == size and p["q"] == quality for p in entry["points"])
