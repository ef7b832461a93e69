"""Transforms of trajectories, their steps, and the order of cells."""

from __future__ import annotations

import numpy as np
import pytest

from tgvc.bitstream.anchors import anchor_ranks, morton_order
from tgvc.bitstream.motion import anchor_cells, anchor_points
from tgvc.bitstream.transform import TRANSFORMS, dequantise, quantise, step_code, step_px, temporal_basis
from track_samples import WIDE, smooth_tracks, spread_cells


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("n", [1, 2, 7, 32])
def test_bases_are_orthonormal(transform, n):
    basis = temporal_basis(n, transform)
    np.testing.assert_allclose(basis @ basis.T, np.eye(n), atol=2e-6)  # float32: 32 products of rounding 6e-8


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("axis", [0, 1])
def test_error_stays_within_the_dead_zone(transform, axis):
    tracks = np.moveaxis(smooth_tracks(40, 12, 3), 1, axis)
    coefs = quantise(tracks, 0.7, transform, axis=axis)
    back = dequantise(coefs, 0.7, transform, axis=axis)
    assert coefs.shape == back.shape == tracks.shape
    worst = 0.5 if transform == "dpcm" else 2 / 3  # of a step, per coefficient; the bases keep the sum of squares
    assert np.mean((back - tracks) ** 2) <= (worst * 0.7) ** 2


def test_a_finer_step_never_hurts():
    tracks = smooth_tracks(20, 24, 4)
    errors = [np.mean((dequantise(quantise(tracks, s), s) - tracks) ** 2) for s in (4, 2, 1, 0.5, 0.25)]
    assert errors == sorted(errors, reverse=True)


def test_each_transform_gathers_what_it_is_for_in_one_coefficient():
    t = np.arange(1, 25) / 25
    share = {
        name: {k: float((temporal_basis(24, k)[0] @ path) ** 2 / (path @ path)) for k in ("dst", "bridge", "dct")}
        for name, path in (("ramp", t), ("arch", np.sin(np.pi * t)))
    }
    assert share["ramp"]["dst"] > 0.98 > 0.8 > max(share["ramp"]["bridge"], share["ramp"]["dct"])
    assert share["arch"]["bridge"] > 0.9999 > 0.95 > max(share["arch"]["dst"], share["arch"]["dct"])


def test_steps_are_named_by_the_nearest_code():
    assert [step_code(step_px(code)) for code in range(64)] == list(range(64))
    assert (step_px(0), step_px(18), step_px(30)) == pytest.approx((0.125, 1.0, 4.0))


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e6])
def test_displacements_that_cannot_be_coded_are_refused(value):
    with pytest.raises(ValueError, match="not finite, or beyond"):
        quantise(np.full((1, 4, 2), value, np.float32), 0.5)


@pytest.mark.parametrize("grid", [(1, 1), (20, 12), (7, 33)])
def test_morton_order_visits_every_cell_once_and_quadrants_whole(grid):
    cells, ranks = morton_order(grid)
    assert sorted(cells.tolist()) == list(range(grid[0] * grid[1]))
    assert (ranks[cells] == np.arange(cells.size)).all()
    x, y = cells % grid[0], cells // grid[0]
    quadrant = (x >= 16).astype(int) + 2 * (y >= 16)
    assert (np.diff(quadrant) >= 0).all()


def test_a_cell_holds_its_own_point():
    cells = spread_cells(50, 7)
    points = anchor_points(cells)
    assert (anchor_cells(points, WIDE) == cells).all()
    assert (anchor_ranks(cells, WIDE) == morton_order(WIDE)[1][cells[:, 1] * 128 + cells[:, 0]]).all()
    assert anchor_cells(np.array([[-5, 1e4]], np.float32), WIDE).tolist() == [[0, 79]]
