"""Sets of key frames by how long each lasts, strict ones first: what profile ``actdiff`` chooses from."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tgvc.analysis.coverage import Limits, Score, cover_video
from tgvc.bitstream.group import MAX_GAP, uniform_keys

# About an octave of key frames apart: coverage, and distance in units of the limit that belongs to the published
# coverage (docs/actdiff.md tells how they were set). Before them every frame is a key frame, after them no frame fails.
LADDER = (
    Limits(0.97, 0.6),
    Limits(0.93, 0.75),
    Limits(0.88, 0.85),
    Limits(0.8, 0.9),
    Limits(0.7, 1.0),
    Limits(0.55, 1.3),
    Limits(0.35, 2.5),
)
# Where hardly anything moves, the first rung leaves far more than an octave to every frame: stricter ones, this many at
# most, go between them, each with so much of what the one before lets pass. 0.7 is half an octave to one on faces.
_STRICTER = 0.7
_STRICTEST = 6
PUBLISHED_COVERAGE = 0.7  # of the published code, with a distance of 0.3; its paper has 0.8 and a similarity of 0.85


def build_ladder(
    count: int, score: Callable[[int, int], Score], limit: float, coverage: float | None = None, *, parity: bool = False
) -> list[tuple[int, ...]]:
    """Sets of key frames, dense ones first.

    Args:
        count: frames.
        score: see `analysis.coverage.cover_video`.
        limit: distance that belongs to the published coverage, see `Perceptual.limit`.
        coverage: least share of a frame that the key frame has to cover, 0..1, which leaves one set.
        parity: see `analysis.coverage.cover_video`.
    """

    def cover(rung: Limits) -> tuple[int, ...]:
        limits = Limits(rung.coverage, rung.distance * limit)
        return cover_video(count, score, limits, MAX_GAP + 1, parity=parity)

    if coverage is not None:
        return [cover(limits_at(coverage))]
    ladder = [cover(rung) for rung in LADDER]
    for n in range(1, _STRICTEST + 1):
        if 2 * len(ladder[0]) < count:
            ladder.insert(0, cover(tighten(LADDER[0], _STRICTER**n)))
    return [uniform_keys(count, 1), *ladder, uniform_keys(count, MAX_GAP)]


def limits_at(coverage: float) -> Limits:
    """The limits that belong to a coverage, between those of `LADDER`; at the published one the distance is 1 unit."""
    rungs = LADDER[::-1]
    distance = np.interp(coverage, [rung.coverage for rung in rungs], [rung.distance for rung in rungs])
    return Limits(coverage, float(distance))


def tighten(limits: Limits, share: float) -> Limits:
    """Limits that let pass so much (0..1) of what ``limits`` let pass."""
    return Limits(1 - share * (1 - limits.coverage), share * limits.distance)


def even_keys(count: int, keys: int) -> tuple[int, ...]:
    """So many key frames, evenly spaced from 0 to the last frame; more where they would be too far apart."""
    keys = max(keys, math.ceil((count - 1) / MAX_GAP) + 1) if count > 1 else 1
    return tuple(int(n) for n in np.rint(np.linspace(0, count - 1, keys)).astype(int))
