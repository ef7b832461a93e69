"""Trajectories that are worth their bits: edges, the greedy choice, and other choices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from actdiff_samples import H, W
from tgvc.analysis.selection import (
    MotionGuess,
    best_per_cell,
    cell_size,
    edge_weights,
    fit_bandwidth,
    rank_moving,
    spread_points,
)
from tgvc.bitstream.motion import anchor_grid, anchor_points
from tgvc.bitstream.tracks import MotionCoder
from tgvc.planning.sampling import PUBLISHED_COUNT, Moving, buy_as_published, buy_greedily, match_bits


def moving(
    moves: np.ndarray, weights: np.ndarray | None = None, visible: np.ndarray | None = None
) -> tuple[Moving, MotionCoder]:
    """All anchors of a picture of W x H px with given motion float (rows, columns, n, 2)."""
    across, down = anchor_grid(W, H)
    cells = np.stack(np.meshgrid(np.arange(across), np.arange(down)), -1).reshape(-1, 2).astype(np.int32)
    flat = np.ascontiguousarray(moves.reshape(-1, *moves.shape[2:]), np.float32)
    n = flat.shape[1]
    made = Moving(
        length=n + 1,
        size=(W, H),
        cells=cells,
        points=anchor_points(cells),
        moves=flat,
        visible=np.ones((len(flat), n + 1), np.bool_) if visible is None else visible,
        weights=np.ones(len(flat), np.float32) if weights is None else weights.ravel().astype(np.float32),
        model=np.zeros((n, 4, 2), np.int32),
        model_step=12,
        track_step=18,
    )
    return made, MotionCoder((across, down))


def object_moves(frames: int = 6) -> np.ndarray:
    """A still scene (24, 32 cells) with an object of 14 x 12 cells on its right that moves 3 px per frame.

    It is as wide as a lone trajectory reaches: a smaller one would have to be fenced in by still ones first.
    """
    moves = np.zeros((24, 32, frames, 2), np.float32)
    moves[5:19, 19:31] = 3 * np.arange(1, frames + 1)[:, None] * np.float32([1, 0])
    return moves


def test_edges_are_strong_where_they_are_planted_and_nothing_is_invented() -> None:
    luma = np.full((H, W), 90, np.uint8)
    luma[40:60, 60:90] = 200
    weights = edge_weights(luma, 24, 32)
    assert weights.shape == (24, 32)
    assert weights[10, 18] == 1.0  # on the upper side of the square
    assert weights[2, 2] == 0
    assert weights[12, 18] < 0.2  # inside it
    assert edge_weights(np.full((H, W), 90, np.uint8), 24, 32).max() == 0


def test_greedy_begins_with_the_object_and_edges_decide_between_equal_motions() -> None:
    scene, coder = moving(object_moves())
    line = buy_greedily(coder, scene, 1.0, 8)
    y, x = scene.cells[line.chosen[0]][::-1]
    assert 5 <= y < 19
    assert 19 <= x < 31
    two = object_moves() + object_moves()[:, ::-1]  # a second object, on the left
    flat = np.full((24, 32), 0.05)
    flat[:, 16:] = 1.0  # the right one has edges, the left one is flat ground
    scene, coder = moving(two, flat)
    first = buy_greedily(coder, scene, 0.0, 1).chosen[0]
    assert scene.cells[first][0] >= 17
    scene, coder = moving(two, flat[:, ::-1])
    first = buy_greedily(coder, scene, 0.0, 1).chosen[0]
    assert scene.cells[first][0] < 13


def test_greedy_stops_when_a_bit_gains_too_little_not_at_a_count() -> None:
    rng = np.random.default_rng(0)
    moves = object_moves() + rng.normal(0, 0.3, (24, 32, 6, 2)).astype(np.float32)
    scene, coder = moving(moves)
    lines = [buy_greedily(coder, scene, rate, 96) for rate in (32.0, 4.0, 1.0)]
    counts = [len(line.chosen) for line in lines]
    assert 0 < counts[0] < counts[-1] < 96
    for rate, line in zip((32.0, 4.0, 1.0), lines, strict=True):
        assert (line.rates >= rate).all()
    # a dearer line is the beginning of a cheaper one
    assert lines[-1].chosen[: lines[-1].count_at(32.0)] == lines[0].chosen[: lines[-1].count_at(32.0)]
    assert buy_greedily(coder, scene, math.inf, 96).chosen == ()


def test_bits_of_a_line_are_those_of_the_coder() -> None:
    scene, coder = moving(object_moves())
    line = buy_greedily(coder, scene, 1.0, 8)
    assert line.bits[0] == coder.cost_bits(line.cut(0))
    assert line.bits[-1] == coder.cost_bits(line.cut(len(line.chosen)))
    assert np.all(np.diff(line.bits) > 0)


def test_what_is_hidden_neither_counts_nor_guides() -> None:
    moves, seen = object_moves(), np.ones((24, 32, 7), np.bool_)
    seen[5:19, 19:31, 1:] = False
    scene, coder = moving(moves, visible=seen.reshape(-1, 7))
    assert buy_greedily(coder, scene, 0.0, 8).chosen == ()


def test_a_lone_trajectory_fills_the_published_guess_and_fades_in_ours() -> None:
    scene, _ = moving(object_moves())
    index = 12 * 32 + 25
    far = 0
    for pull, wanted in ((0.0, 18.0), (0.05, 0.0)):
        guess = MotionGuess(scene.points, scene.moves, scene.visible[:, 1:], scene.weights, 20.0, pull)
        guess.keep(guess.try_point(index, scene.moves[index], np.ones(6, np.bool_)))
        # at a still point the residual is the guess itself, summed over 3 + 6 + ... + 18 px
        assert guess.residual[far] == pytest.approx(wanted * 3.5, abs=0.1)


def test_the_published_choice_takes_300_and_begins_on_edges() -> None:
    rng = np.random.default_rng(1)
    edges = np.zeros((24, 32), np.float32)
    edges[::3, ::3] = 0.9
    scene, coder = moving(rng.normal(0, 4, (24, 32, 3, 2)), edges)
    scene = Moving(**{**scene.__dict__, "transform": "dpcm"})
    line = buy_as_published(coder, scene, edges.ravel())
    assert len(line.chosen) == len(set(line.chosen))
    assert len(line.chosen) <= PUBLISHED_COUNT
    assert all(edges.ravel()[i] >= 0.5 for i in line.chosen[:40])
    assert line.cut(5).transform == "dpcm"


def test_the_width_of_the_bells_is_that_of_the_motion() -> None:
    y, x = np.mgrid[:24, :32] * 4.0 + 2
    points = np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)
    seen, even = np.ones((768, 1), np.bool_), np.ones(768, np.float32)
    anchors = spread_points(points, (W, H), 24)
    smooth = np.stack([x / 8, y / 8], -1).reshape(-1, 1, 2).astype(np.float32)
    rough = np.random.default_rng(0).normal(0, 3, (768, 1, 2)).astype(np.float32)
    unit = cell_size((W, H), 24)
    assert fit_bandwidth(points, smooth, seen, even, anchors, unit) < fit_bandwidth(
        points, rough, seen, even, anchors, unit
    )
    assert fit_bandwidth(points, smooth, seen, even, anchors[:0], unit) == unit


def test_cells_give_their_best_point_and_even_ones_are_spread() -> None:
    points = anchor_points(np.stack(np.meshgrid(np.arange(32), np.arange(24)), -1).reshape(-1, 2).astype(np.int32))
    values = np.arange(768, dtype=np.float32)
    best = best_per_cell(values, points, (W, H), 12)
    assert len(best) == 12
    assert best[0] == 767
    assert (np.diff(values[best]) < 0).all()
    assert len(best_per_cell(values * 0, points, (W, H), 12)) == 0
    spread = spread_points(points, (W, H), 12)
    assert len(spread) == 12
    gaps = np.linalg.norm(points[spread][:, None] - points[spread][None], axis=-1) + 1e6 * np.eye(12)
    assert gaps.min() > 0.8 * 32  # cells of 32 px
    moves = np.zeros((768, 2, 2), np.float32)
    moves[100, 1] = 9
    assert rank_moving(moves, points, (W, H), 12)[0] == 100


def test_other_choices_take_no_more_bits_than_the_greedy_one() -> None:
    rng = np.random.default_rng(2)
    scene, coder = moving(object_moves() + rng.normal(0, 0.3, (24, 32, 6, 2)).astype(np.float32))
    line = buy_greedily(coder, scene, 1.0, 40)
    other = match_bits(coder, line, spread_points(scene.points, scene.size, 80))
    assert other.chosen
    for rate in (1.0, 2.0, 4.0, 8.0, 1e9):
        cut = coder.cost_bits(other.cut(other.count_at(rate)))
        assert cut <= line.bits[line.count_at(rate)] + 1e-6
