"""What kernels do to fields and pictures whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_samples import random_field
from tgvc_kernels import cpu, reference

both = pytest.mark.parametrize("module", [reference, cpu], ids=["reference", "cpu"])


def noise_plane(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


@both
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_warp_without_displacement_is_exact(module: Any, scale: int) -> None:
    plane = noise_plane()
    still = np.zeros((24 // scale, 32 // scale, 2), np.float32)
    assert np.array_equal(module.warp(plane, still), plane)


@both
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("shift_px", [(4, 2), (-6, 0), (0, -8), (2, -4)])
def test_warp_by_whole_pixels_moves_pixels_exactly(module: Any, scale: int, shift_px: tuple[int, int]) -> None:
    plane = noise_plane()
    field = np.broadcast_to(np.float32(shift_px) / np.float32(scale), (24 // scale, 32 // scale, 2)).copy()
    moved = module.warp(plane, field)
    rows = np.clip(np.arange(24) + shift_px[1], 0, 23)
    columns = np.clip(np.arange(32) + shift_px[0], 0, 31)
    assert np.array_equal(moved, plane[rows][:, columns])


@both
def test_warp_of_a_ramp_by_a_fraction_is_the_shifted_ramp(module: Any) -> None:
    # Catmull-Rom's cubic is exact on straight lines
    ramp = np.broadcast_to((3 * np.arange(40) + 20).astype(np.uint8), (20, 40)).copy()
    moved = module.warp(ramp, np.full((10, 20, 2), 0.3, np.float32))
    inner = (slice(None), slice(2, -4))
    # 1e-3: positions up to 40 px are rounded to 2e-6 px, the slope is 3 levels per px, sums of 200 levels to 1e-5 each
    assert np.abs(moved - (ramp + np.float32(3 * 0.6)))[inner].max() < 1e-3


@both
def test_warp_far_outside_repeats_the_corner(module: Any) -> None:
    plane = noise_plane()
    for sign, corner in ((1e6, plane[-1, -1]), (-1e6, plane[0, 0])):
        assert (module.warp(plane, np.full((12, 16, 2), sign, np.float32)) == corner).all()


@both
def test_warp_stays_within_grey_levels(module: Any) -> None:
    plane = np.where(noise_plane() > 127, 255, 0).astype(np.uint8)
    warped = module.warp(plane, np.full((24, 32, 2), 0.5, np.float32))
    assert warped.min() == 0
    assert warped.max() == 255


@both
def test_sample_field_reproduces_a_bilinear_field(module: Any) -> None:
    y, x = np.mgrid[:9, :12].astype(np.float32)
    field = np.stack([2 * x - y + 1, 0.5 * x * y], axis=-1).astype(np.float32)
    at = np.float32([[0, 0], [3.25, 4.5], [10.75, 7.5], [11, 8]])
    want = np.stack([2 * at[:, 0] - at[:, 1] + 1, 0.5 * at[:, 0] * at[:, 1]], axis=-1)
    # 1e-4: four products of numbers up to 44, each rounded to 3e-6
    assert np.abs(module.sample_field(field, at) - want).max() < 1e-4
    outside = module.sample_field(field, np.float32([[-5, -5], [100, 100]]))
    assert np.array_equal(outside, [field[0, 0], field[-1, -1]])


@both
@pytest.mark.parametrize("tau", [0.0, 0.25, 1.0])
def test_project_inverts_a_constant_flow(module: Any, tau: float) -> None:
    flow = np.broadcast_to(np.float32([3, -2]), (8, 10, 2)).copy()
    assert np.array_equal(module.project(flow, tau), -np.float32(tau) * flow)


@both
def test_project_inverts_a_smooth_flow(module: Any) -> None:
    y, x = np.mgrid[:40, :60].astype(np.float32)
    flow = np.stack([2 * np.sin(x / 12), 1.5 * np.cos(y / 9)], axis=-1).astype(np.float32)
    to_source = module.project(flow, 0.5, 8)
    grid = np.stack([x, y], axis=-1)
    source = grid + to_source
    back = source + 0.5 * reference.sample_field(flow, source) - grid
    # the fixed point contracts by at most tau * slope = 0.5 * 2/12 per step, from 1 cell: 0.09^8 = 4e-9; float32 at 60
    # cells resolves 4e-6
    assert np.abs(back[5:-5, 5:-5]).max() < 2e-5


@both
def test_project_of_one_step_is_the_flow_itself(module: Any) -> None:
    flow = random_field(np.random.default_rng(2), (6, 7), 2.0)
    # q - p is rounded to the resolution of a coordinate below 16 cells: 1e-6
    assert np.abs(module.project(flow, 0.5, 1) + 0.5 * flow).max() < 2e-6


@both
def test_shift_of_constants_is_their_sum(module: Any) -> None:
    a, b = (np.broadcast_to(np.float32(v), (6, 8, 2)).copy() for v in ((1.5, -2), (0.25, 4)))
    assert np.array_equal(module.shift(a, b), a + b)


@both
def test_shift_by_nothing_is_the_field(module: Any) -> None:
    field = random_field(np.random.default_rng(4), (6, 8), 3.0)
    assert np.array_equal(module.shift(field, np.zeros_like(field)), field)
    assert np.array_equal(module.shift(np.zeros_like(field), field), field)


@both
def test_splat_by_whole_cells_is_a_move(module: Any) -> None:
    features = np.random.default_rng(5).integers(-99, 99, (3, 7, 9)).astype(np.float32)
    flow = np.broadcast_to(np.float32((2, -1)), (7, 9, 2)).copy()
    found = module.splat(features, flow)
    assert np.array_equal(found[:3, :6, 2:], features[:, 1:, :7])
    assert np.all(found[3, :6, 2:] == 1)
    assert not found[:, 6].any()
    assert not found[:, :, :2].any()


@both
def test_splat_averages_what_meets(module: Any) -> None:
    features, flow = np.zeros((1, 2, 4), np.float32), np.zeros((2, 4, 2), np.float32)
    features[0, 0] = 1, 2, 4, 8
    flow[0, 0, 0], flow[0, 2, 0] = 1, -0.5  # 1 goes onto the 2, half of the 4 too
    found = module.splat(features, flow)
    assert found[0, 0].tolist() == [0, (1 + 2 + 4 / 2) / 2.5, 4, 8]
    assert found[1, 0].tolist() == [0, 2.5, 0.5, 1]


@both
@given(st.integers(0, 2**32 - 1), st.floats(0, 6))
@settings(max_examples=20, deadline=None)
def test_splat_loses_only_what_goes_outside(module: Any, seed: int, amplitude: float) -> None:
    rng = np.random.default_rng(seed)
    flow = random_field(rng, (8, 11), amplitude)
    found = module.splat(np.full((2, 8, 11), 0.375, np.float32), flow)
    assert set(np.unique(found[:2])) <= {0.0, 0.375}
    at = flow + np.stack(np.meshgrid(np.arange(11), np.arange(8)), axis=-1)
    inside = np.all((at >= 0) & (at <= (10, 7)), axis=-1).sum()
    touched = np.all((at > -1) & (at < (11, 8)), axis=-1).sum()
    assert inside - 1e-3 <= found[2].sum() <= touched + 1e-3


@both
def test_splat_survives_what_is_not_a_number(module: Any) -> None:
    features, flow = np.ones((1, 3, 4), np.float32), np.zeros((3, 4, 2), np.float32)
    features[0, 0, 0], features[0, 1, 1], features[0, 1, 2] = np.nan, np.inf, -1e30
    flow[2, 0], flow[2, 1, 0], flow[2, 2, 1] = np.nan, np.inf, -np.inf
    found = module.splat(features, flow)
    assert found[0].tolist() == [[0, 1, 1, 1], [1, 16384, -16384, 1], [0, 0, 0, 1]]
    assert found[1, 2].tolist() == [0, 0, 0, 1]


@both
def test_densify_of_one_centre_is_its_value_there_and_half_at_reach(module: Any) -> None:
    value = np.float32([[4, -8]])
    field = module.densify(np.float32([[20, 10]]), value, 21, 61, 16.0)
    # at the centre the pull is (1/16)^3.5 / (1 + 1/256)^-1.75 of the weight: 6e-5
    assert np.abs(field[10, 20] / value[0] - 1).max() < 1e-4
    assert np.abs(field[10, 36] / value[0] - 0.5).max() < 1e-6
    assert np.all(np.diff(field[10, 20:, 0]) < 0)
    assert field[10, 60, 0] < 0.1 * 4  # 2.5 reaches away: 1 / (1 + 2.5^3.5) = 0.04


@both
def test_densify_meets_every_centre_and_nothing_without(module: Any) -> None:
    centres, values = np.float32([[5, 5], [40, 8], [20, 25]]), np.float32([[3, 0], [0, -2], [-1, 1]])
    field = module.densify(centres, values, 30, 50, 10.0)
    at_centres = np.stack([field[int(y), int(x)] for x, y in centres])
    # neighbours 25 cells away weigh (0.625 / 25)^3.5 = 2e-6 of the centre, the pull 6e-5
    assert np.abs(at_centres - values).max() < 3e-4
    none = module.densify(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), 30, 50, 10.0)
    assert none.shape == (30, 50, 2)
    assert not none.any()


@both
@pytest.mark.parametrize("tau", [0.0, 0.125, 0.5, 0.9, 1.0])
def test_blend_weights_are_tau_where_candidates_agree(module: Any, tau: float) -> None:
    a = noise_plane(12, 16).astype(np.float32)
    trust = np.full((6, 8), 0.6, np.float32)
    weights = module.blend_weights(a, a, trust, trust, tau)
    assert np.abs(weights - tau).max() < 1e-6  # one quotient of float32
    # an offset below 6 grey levels counts as agreement too
    assert np.array_equal(module.blend_weights(a, a + 5, trust, trust, tau), weights)


@both
def test_blend_weights_favour_the_nearer_picture_where_candidates_differ(module: Any) -> None:
    a, trust = np.zeros((8, 8), np.float32), np.ones((4, 4), np.float32)
    weights = module.blend_weights(a, a + 50, trust, trust, 0.25)
    assert np.abs(weights - 0.25**3 / (0.25**3 + 0.75**3)).max() < 1e-6  # one power and one quotient of float32


@both
def test_blend_weights_favour_the_trusted_picture(module: Any) -> None:
    a, one = np.zeros((8, 8), np.float32), np.ones((4, 4), np.float32)
    weights = module.blend_weights(a, a, one, one / 4, 0.5)
    assert np.abs(weights - 0.2).max() < 1e-6  # one quotient of float32


@both
def test_mix_of_equal_planes_is_the_plane(module: Any) -> None:
    plane = noise_plane(12, 16)
    weights = np.random.default_rng(1).uniform(0, 1, (6, 8)).astype(np.float32)
    as_float = plane.astype(np.float32)
    assert np.array_equal(module.mix(as_float, as_float, weights), plane)


@both
def test_mix_at_the_ends_is_one_of_both_and_rounds_to_nearest(module: Any) -> None:
    a, b = (noise_plane(12, 16, seed).astype(np.float32) for seed in (1, 2))
    zeros, ones = np.zeros((6, 8), np.float32), np.ones((6, 8), np.float32)
    assert np.array_equal(module.mix(a, b, zeros), a)
    assert np.array_equal(module.mix(a, b, ones), b)
    levels = np.full((4, 4), 10, np.float32)
    assert (module.mix(levels, levels + 1, np.full((2, 2), 0.49, np.float32)) == 10).all()
    assert (module.mix(levels, levels + 1, np.full((2, 2), 0.51, np.float32)) == 11).all()
