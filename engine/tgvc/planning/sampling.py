"""Trajectories of one segment bought one after the other, each at the price of the bits that it really takes.

The order in which they are bought does not depend on how many can be afforded, so one run serves every rate: a
`TrackLine` holds all of them with what each gained per bit, and is cut where that falls below what a bit is worth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgvc.analysis.selection import (
    ANCHOR_EDGE,
    ANCHOR_SHARE,
    CELLS,
    ROUND,
    MotionGuess,
    best_per_cell,
    cell_size,
    counts_to_try,
    fit_bandwidth,
)
from tgvc.bitstream.motion import Anchors, SegmentMotion
from tgvc.bitstream.tracks import MotionCoder
from tgvc.bitstream.transform import Coefs, Transform, dequantise, quantise, step_px
from tgvc.synthesis.densify import REACH_PX
from tgvc.types import BoolArray, FloatArray

PUBLISHED_COUNT = 300  # trajectories of a group of pictures, whatever they cost
_PUBLISHED_ROUNDS = 100
_PATIENCE = 5  # trajectories in a row that gain too little, after which no further one is tried
# Beyond 2.45 deviations of a bell the pull outweighs it; there the decoder gives a lone trajectory half of its effect.
BANDWIDTH_PX = REACH_PX / 2.45


@dataclass(frozen=True, eq=False)
class Moving:
    """A segment as its trajectories are chosen; points may be sent from any of P places.

    ``length``: T frames, keys included. ``size``: width and height, px. ``cells`` int32 (P, 2), ``points`` float32
    (P, 2) px: where they start. ``moves`` float32 (P, n, 2) px: how they move in the n = T - 1 frames after the first,
    beyond the model. ``visible`` bool (P, T). ``weights`` float32 (P,). ``model`` int32 (n, 4, 2), its coded form.
    """

    length: int
    size: tuple[int, int]
    cells: Anchors
    points: FloatArray
    moves: FloatArray
    visible: BoolArray
    weights: FloatArray
    model: Coefs
    model_step: int
    track_step: int
    transform: Transform = "dst"

    def coefs_of(self, chosen: npt.ArrayLike) -> Coefs:
        """The coded form int32 (K, n, 2) of some points' motion."""
        return quantise(self.moves[np.asarray(chosen, np.int64)], step_px(self.track_step), self.transform)

    def motion_of(self, chosen: Iterable[int]) -> SegmentMotion:
        """The segment with the trajectories that start from some points."""
        order = np.asarray(list(chosen), np.int64)
        return SegmentMotion.of(
            "G",
            self.length,
            transform=self.transform,
            global_step=self.model_step,
            track_step=self.track_step,
            global_coefs=self.model,
            anchors=self.cells[order],
            coefs=self.coefs_of(order),
            visible=self.visible[order],
        )


@dataclass(frozen=True, eq=False)
class TrackLine:
    """Trajectories in the order in which they were bought.

    ``chosen``: indices of points. ``rates`` float64 (K,): px of weighted error that each saved per bit. ``bits``
    float64 (K + 1,): of the whole segment with the first 0, 1, ... K of them.
    """

    moving: Moving
    chosen: tuple[int, ...]
    rates: npt.NDArray[np.float64]
    bits: npt.NDArray[np.float64]

    def count_at(self, rate: float) -> int:
        """How many are bought where a bit is worth ``rate`` px: those before the first that gives less."""
        below = np.flatnonzero(self.rates < rate)
        return int(below[0]) if len(below) else len(self.chosen)

    def cut(self, count: int) -> SegmentMotion:
        """The segment with the first ``count`` trajectories."""
        return self.moving.motion_of(self.chosen[:count])


def buy_greedily(
    coder: MotionCoder,
    moving: Moving,
    least: float,
    most: int,
    *,
    first: Sequence[int] = (),
    most_bits: float = math.inf,
    patience: int = _PATIENCE,
) -> TrackLine:
    """Always the trajectory where the guess misses most, until they no longer pay.

    Args:
        coder: in the state in which the segments before have left it; stays as it is.
        moving: the segment.
        least: px of weighted error that a bit has to save.
        most: trajectories at most.
        first: points that are bought before all others, whatever they save.
        most_bits: of the whole segment; what takes more is left out.
        patience: trajectories in a row that gain too little, after which no further one is tried.

    Returns:
        Trajectories that, but for the first ones, all save at least ``least`` px per bit. A place is looked at together
        with its surroundings, so that a point that was followed wrongly is not taken for the motion there.
    """
    guess = MotionGuess(moving.points, moving.moves, moving.visible[:, 1:], moving.weights, BANDWIDTH_PX)
    pitch = cell_size(moving.size, CELLS)
    place = np.floor(moving.points / pitch).astype(np.int64)
    place = place[:, 1] * (int(place[:, 0].max(initial=0)) + 1) + place[:, 0]
    open_, chosen, rates = np.ones(len(place), np.bool_), list[int](), list[float]()
    bits = [coder.cost_bits(moving.motion_of([]))]
    for index in first:
        open_ &= place != place[index]
        guess.keep(guess.try_point(index, _as_sent(moving, index), moving.visible[index, 1:]))
        chosen.append(index)
        rates.append(math.inf)
        bits.append(coder.cost_bits(moving.motion_of(chosen)))
    refused = 0
    while len(chosen) < most and refused < patience:
        worth = np.where(open_, _around(guess.residual, moving), 0)
        index = int(np.argmax(worth))
        if not worth[index] > 0:
            break
        open_ &= place != place[index]
        state = guess.try_point(index, _as_sent(moving, index), moving.visible[index, 1:])
        gain = guess.error - float(state[2].sum(dtype=np.float64))
        price = coder.cost_bits(moving.motion_of([*chosen, index]))
        if gain <= 0 or gain < least * (price - bits[-1]) or price > most_bits:
            refused += 1
            continue
        guess.keep(state)
        chosen.append(index)
        rates.append(gain / max(price - bits[-1], 1e-9))
        bits.append(price)
        refused = 0
    return TrackLine(moving, tuple(chosen), np.asarray(rates), np.asarray(bits))


def buy_as_published(coder: MotionCoder, moving: Moving, edges: FloatArray) -> TrackLine:
    """A count of trajectories instead of a price, ten of them per round, as the original.

    Args:
        coder: only tells what they cost.
        moving: the segment.
        edges: float32 (P,), the weights of the points, of which the first trajectories are the strongest.
    """
    third = best_per_cell(edges, moving.points, moving.size, int(ANCHOR_SHARE * PUBLISHED_COUNT))
    first = third[edges[third] >= ANCHOR_EDGE]
    seen, size = moving.visible[:, 1:], moving.size
    unit = cell_size(size, int(math.sqrt(size[0] * size[1]) / 8))
    width = fit_bandwidth(moving.points, moving.moves, seen, moving.weights, first, unit, pull=0.0)
    guess = MotionGuess(moving.points, moving.moves, seen, moving.weights, width, pull=0.0)
    chosen: list[int] = []

    def take(indices: npt.NDArray[np.int64]) -> None:
        for index in indices[: PUBLISHED_COUNT - len(chosen)].tolist():
            guess.keep(guess.try_point(index, _as_sent(moving, index), seen[index]))
            chosen.append(index)

    take(first)
    pitch = cell_size(size, CELLS)
    place = np.floor(moving.points / pitch).astype(np.int64) @ np.asarray([1, 1 << 20])
    for _ in range(_PUBLISHED_ROUNDS):
        free = ~np.isin(place, place[chosen])
        found = best_per_cell(np.where(free, guess.residual, 0), moving.points, size, CELLS)
        if len(chosen) >= PUBLISHED_COUNT or not len(found):
            break
        take(found[:ROUND])
    bits = [coder.cost_bits(moving.motion_of([])), coder.cost_bits(moving.motion_of(chosen))]
    steps = np.linspace(bits[0], bits[1], len(chosen) + 1)
    return TrackLine(moving, tuple(chosen), np.arange(len(chosen), 0, -1, dtype=np.float64), steps)


def match_bits(coder: MotionCoder, line: TrackLine, chosen: npt.NDArray[np.int64]) -> TrackLine:
    """Other trajectories, given in order, for the bits of a line: for comparing ways of choosing them.

    Args:
        coder: as it was for ``line``.
        line: what was bought greedily.
        chosen: int64, points in the order in which they are taken.

    Returns:
        Where the first n of ``line`` are cut, the most of ``chosen`` that take no more bits.
    """
    moving, counts = line.moving, [0]
    prices = [coder.cost_bits(moving.motion_of([]))]
    for count in counts_to_try(len(chosen)) if len(chosen) else ():
        if prices[-1] > line.bits[-1]:
            break
        counts.append(count)
        prices.append(coder.cost_bits(moving.motion_of(chosen[:count])))
    fitting = [counts[int(np.searchsorted(prices, limit + 1e-9, side="right")) - 1] for limit in line.bits]
    rates = np.zeros(fitting[-1])
    for rate, low, high in zip(np.minimum.accumulate(line.rates), fitting, fitting[1:], strict=False):
        rates[low:high] = rate
    bits = np.interp(np.arange(fitting[-1] + 1), counts, prices)
    return TrackLine(moving, tuple(int(i) for i in chosen[: fitting[-1]]), rates, bits)


def _as_sent(moving: Moving, index: int) -> FloatArray:
    """The motion float32 (n, 2) of a point as it comes out of the decoder."""
    coefs = moving.coefs_of([index])
    return np.asarray(dequantise(coefs, step_px(moving.track_step), moving.transform)[0], np.float32)


def _around(residual: FloatArray, moving: Moving) -> FloatArray:
    """Mean of the residual over 3 x 3 neighbours in the grid of the points."""
    rows, columns = int(moving.cells[:, 1].max()) + 1, int(moving.cells[:, 0].max()) + 1
    padded = np.pad(residual.reshape(rows, columns), 1)
    total = sum(padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3))
    return np.asarray(total / np.float32(9), np.float32).ravel()
