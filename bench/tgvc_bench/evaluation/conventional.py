"""One part of the work: a clip coded by a conventional encoder, at the best of its sizes for every rate.

All sizes are swept first (`tgvc_bench.baselines`), so that the encoder has its whole hull; then, for every rate, the
size that is best there is encoded to the rate from below.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from tgvc.errors import BackendError, ConfigError
from tgvc.types import Picture
from tgvc_bench.baselines import HIGHEST, RATES, Sweep, guess_quality
from tgvc_bench.clips import SIZES
from tgvc_bench.encoders import ENCODERS
from tgvc_bench.evaluation.parts import Bench, PartResult, Target, add_scores
from tgvc_bench.evaluation.sources import LoadedClip, Source
from tgvc_bench.evaluation.systems import System
from tgvc_bench.records import shorten, write_record
from tgvc_bench.units import BPP, RateUnit, kilobits_per_second

_LEAST_SHARE = 0.95  # of the rate that a file should take; finer steps of the encoder are tried until then
_ATTEMPTS = 5
_BEYOND = 1.2  # how far below the lowest rate a sweep begins

Point = Mapping[str, Any]


@dataclass(frozen=True)
class BaselinePart:
    """A clip and an encoder, at all rates.

    ``around``: bits per pixel about which all sizes are swept, growing. ``sizes``: parts of the clip's size that may
    be chosen. ``unit``: of the rates of the targets. ``sweep``: what earlier runs have found, as the record of a
    `Sweep`. ``place``: file of the sweep, so that it goes on where it was interrupted; None = where nothing is kept.
    """

    source: Source
    system: System
    targets: tuple[tuple[float, Target], ...]
    around: tuple[float, ...]
    sizes: tuple[Fraction, ...] | None = None
    unit: RateUnit = BPP
    sweep: dict[str, Any] | None = field(default=None, repr=False)
    place: Path | None = None

    def run(self, bench: Bench) -> PartResult:
        """Sweep, choose, encode, score; every rate that fails has an entry with its error."""
        result, name, systems = PartResult(), self.source.name, [self.system]
        try:
            loaded, scorer = bench.read(self.source)
            result.note_source(self.source, scorer)
            with self._open_sweep() as path:
                sweep = Sweep(loaded.clip, path, self.around)
                run_sweep(sweep, self.system.codec, self.sizes)
                result.sweep = sweep.record
                for rate, target in self.targets:
                    with result.catching(name, rate, systems):
                        entry, pictures = self._code(sweep, loaded, rate)
                        add_scores(result, entry, scorer.score(pictures), target)
                        target.add_preview(result, pictures, loaded.info)
        except Exception as error:  # noqa: BLE001 - one encoder's fault is no other's
            for rate, _ in self.targets:
                result.add_errors(name, rate, systems, error)
        return result

    def _code(self, sweep: Sweep, loaded: LoadedClip, rate: float) -> tuple[dict[str, Any], list[Picture]]:
        """The entry of a rate, without scores, and the pictures at the clip's size."""
        codec, clip = self.system.codec, loaded.clip
        bpp = loaded.bits_per_pixel(rate, self.unit)
        size = choose_size(sweep.record["codecs"][codec]["points"], bpp)
        quality = fit_quality(sweep, codec, size, bpp * math.prod(clip.size) * len(clip.pictures) / 8)
        cost = sweep.try_quality(codec, size, quality)
        pictures, spent = sweep.decode(codec, size, quality)
        coded = sweep.seconds[codec, *size, quality]
        entry = {
            "clip": self.source.name,
            "system": self.system.id,
            "rate": rate,
            "bytes": cost,
            "bpp": shorten(clip.bpp(cost)),
            "kbps": shorten(kilobits_per_second(cost, len(pictures), loaded.info.fps)),
            "size": list(size),
            "quality": quality,
            "seconds": {"encode": shorten(coded, 3), "decode": shorten(spent, 3)},
        }
        return entry, pictures

    @contextmanager
    def _open_sweep(self) -> Iterator[Path]:
        """A file with what is known already."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.place or Path(folder) / "sweep.json"
            if self.sweep is not None and not path.exists():
                write_record(path, self.sweep)
            yield path


def sweep_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """Bits per pixel where a hull is looked for: the usual ones, or as many even ones over others that are asked."""
    low, high = min(rates), max(rates)
    if RATES[0] / _BEYOND <= low and high <= HIGHEST:
        return RATES
    low, high = low / _BEYOND, high
    return tuple(low * (high / low) ** (n / (len(RATES) - 1)) for n in range(len(RATES)))


def run_sweep(sweep: Sweep, codec: str, sizes: Sequence[Fraction] | None) -> None:
    """All sizes of an encoder; one at which it gives no stream is left out.

    Raises:
        BackendError: it gives none at any size.
    """
    refused: list[BackendError] = []
    try:
        deque(sweep.run(codec, sizes), maxlen=0)
        return
    except BackendError as error:
        refused.append(error)
    for size in sizes or SIZES:
        try:
            deque(sweep.run(codec, [size]), maxlen=0)
        except BackendError as error:
            refused.append(error)
    if not sweep.record["codecs"][codec]["points"]:
        raise refused[-1]


def choose_size(points: Sequence[Point], rate: float) -> tuple[int, int]:
    """The size that serves a rate best, by PSNR and MS-SSIM of its points; the cheapest where none goes so low.

    Raises:
        ConfigError: no point.
    """
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for point in points:
        curves[point["size"]].append((math.log(point["bpp"]), merit(point["scores"])))
    if not curves:
        raise ConfigError("the encoder has no point near these rates at any size")
    logarithm = math.log(rate)
    reached = {size: _at(sorted(curve), logarithm) for size, curve in curves.items() if min(curve)[0] <= logarithm}
    best = max(reached, key=lambda s: reached[s]) if reached else min(curves, key=lambda s: min(curves[s]))
    width, height = best.split("x")
    return int(width), int(height)


def merit(scores: Mapping[str, float]) -> float:
    """PSNR plus MS-SSIM, both in dB: what the encoder of tgvc chooses by, too."""
    return float(scores["psnr_y"]) - 10 * math.log10(max(1e-6, 1 - scores["ms_ssim"]))


def _at(curve: Sequence[tuple[float, float]], rate: float) -> float:
    """The best of a curve at a rate or below it, between points linear in the logarithm."""
    best = max(value for r, value in curve if r <= rate)
    for (r0, v0), (r1, v1) in pairwise(curve):
        if r0 <= rate < r1:
            best = max(best, v0 + (v1 - v0) * (rate - r0) / (r1 - r0))
    return best


def fit_quality(sweep: Sweep, codec: str, size: tuple[int, int], target: float) -> float:
    """The quality whose file comes nearest to a target of bytes from below; the coarsest if none does."""
    encoder, name = ENCODERS[codec], f"{size[0]}x{size[1]}"
    for _ in range(_ATTEMPTS):
        known = {float(q): n for q, n in sweep.record["codecs"][codec]["trials"].get(name, {}).items()}
        if any(_LEAST_SHARE * target <= n <= target for n in known.values()):
            break
        quality = guess_quality(encoder, known, target * (1 + _LEAST_SHARE) / 2)
        if quality in known:  # the line through the nearest trials is bent: the neighbour may still fit
            quality += encoder.step if known[quality] > target else -encoder.step
        if quality in known or not encoder.finest <= quality <= encoder.coarsest:
            break
        sweep.try_quality(codec, size, quality)
    known = {float(q): n for q, n in sweep.record["codecs"][codec]["trials"][name].items()}
    fitting = {q: n for q, n in known.items() if n <= target}
    return max(fitting, key=lambda q: (fitting[q], q)) if fitting else min(known, key=lambda q: (known[q], -q))
