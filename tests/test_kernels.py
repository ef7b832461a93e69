"""Kernels: the Numba twins agree with the NumPy reference, and both give the known answers of simple cases."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgvc_kernels import cpu, ops, reference

OPS = ("sample_field", "project", "shift", "densify", "splat", "warp", "blend_weights", "mix")
# reference.py promises the same bits, or 1e-5 of the largest value where a power or a long sum is rounded differently
TOLERANCE = {"densify": 1e-5, "blend_weights": 1e-5}

SIZES = ((2, 2), (2, 7), (5, 3), (17, 16), (40, 33))
AMPLITUDES = (0.0, 0.3, 4.0, 300.0, 3e8)  # cells: from rest to far outside of everything


@dataclass(frozen=True)
class Case:
    """One call of a kernel; its name tells how to make it again."""

    op: str
    name: str
    arguments: tuple[Any, ...]

    def run(self, module: Any) -> np.ndarray:
        return np.asarray(getattr(module, self.op)(*self.arguments))


def assert_agree(case: Case, got: np.ndarray, want: np.ndarray) -> None:
    """Equal within the tolerance of the kernel, else the first bad index, both values and the case."""
    assert got.shape == want.shape, f"{case.op} {case.name}: shape {got.shape}, expected {want.shape}"
    assert got.dtype == want.dtype, f"{case.op} {case.name}: {got.dtype}, expected {want.dtype}"
    allowed = TOLERANCE.get(case.op, 0.0) * max(1.0, float(np.abs(want).max(initial=0)))
    good = np.abs(got.astype(np.float64) - want) <= allowed
    if not good.all():
        at = tuple(int(i) for i in np.argwhere(~good)[0])
        raise AssertionError(
            f"{case.op} {case.name}: at {at} {got[at]!r}, expected {want[at]!r} within {allowed:g}; "
            f"{np.count_nonzero(~good)} of {good.size} differ"
        )


def random_field(rng: np.random.Generator, size: tuple[int, int], amplitude: float) -> np.ndarray:
    return (rng.standard_normal((*size, 2)) * amplitude).astype(np.float32)


def make_case(op: str, size: tuple[int, int], scale: int, amplitude: float, seed: int) -> Case:
    """Random arguments for a kernel; ``scale`` is px per cell where planes meet fields, else it varies the rest."""
    rng = np.random.default_rng([seed, *size, scale])
    h, w = size
    field = random_field(rng, size, amplitude)
    name = f"size={size} scale={scale} amplitude={amplitude:g} seed={seed}"
    if op == "sample_field":
        arguments: tuple[Any, ...] = (field, (rng.uniform(-1, 2, (scale, 6, 2)) * (w, h)).astype(np.float32))
    elif op == "project":
        arguments = (field, (0.0, 1.0, 1 / 32, 0.5, 0.71)[scale], scale + 1)
    elif op == "shift":
        arguments = (field, random_field(rng, size, amplitude))
    elif op == "densify":
        centres = (rng.uniform(-1, 2, (3 * scale - 3, 2)) * (w, h)).astype(np.float32)
        arguments = (centres, random_field(rng, (len(centres), 1), amplitude)[:, 0], h, w, 3.5 * scale)
    elif op == "splat":
        arguments = ((rng.standard_normal((scale, h, w)) * (0.0, 1.0, 30.0, 1e5)[scale - 1]).astype(np.float32), field)
    elif op == "warp":
        arguments = (rng.integers(0, 256, (scale * h, scale * w), dtype=np.uint8), field)
    elif op == "blend_weights":
        a = rng.uniform(0, 255, (2 * h, 2 * w)).astype(np.float32)
        b = np.clip(a + rng.normal(0, 8 * scale, a.shape), 0, 255).astype(np.float32)
        trusts = rng.uniform(0.05, 1, (2, h, w)).astype(np.float32)
        arguments = (a, b, trusts[0], trusts[1], (0.0, 1 / 1024, 0.25, 0.5, 1.0)[scale])
    else:
        planes = rng.uniform(0, 255.0, (2, scale * h, scale * w)).astype(np.float32)
        arguments = (planes[0], planes[1], rng.uniform(0, 1, size).astype(np.float32))
    return Case(op, name, arguments)


# ---------------------------------------------------------------- the same op everywhere


@pytest.mark.parametrize("op", OPS)
def test_every_kernel_has_one_signature(op: str) -> None:
    signatures = [inspect.signature(getattr(module, op)) for module in (reference, cpu, ops)]
    assert signatures[0] == signatures[1]
    parameters = list(signatures[2].parameters.values())
    assert [p.name for p in parameters[-2:]] == ["implementation", "stream"]
    assert signatures[2].replace(parameters=parameters[:-2]) == signatures[0]


@pytest.mark.parametrize("module", [reference, cpu, ops])
def test_modules_offer_exactly_the_kernels(module: Any) -> None:
    public = {n for n, f in inspect.getmembers(module, inspect.isfunction) if not n.startswith("_")}
    assert {n for n in public if getattr(module, n).__module__ == module.__name__} == set(OPS)


# ---------------------------------------------------------------- agreement


@pytest.mark.parametrize("op", OPS)
def test_cpu_agrees_with_reference(op: str) -> None:
    for size, scale, amplitude in itertools.product(SIZES, (1, 2, 3, 4), AMPLITUDES):
        case = make_case(op, size, scale, amplitude, seed=7)
        assert_agree(case, case.run(cpu), case.run(reference))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    op=st.sampled_from(OPS),
    size=st.tuples(st.integers(2, 24), st.integers(2, 24)),
    scale=st.integers(1, 4),
    amplitude=st.floats(0, 1e9),
    seed=st.integers(0, 2**32 - 1),
)
def test_cpu_agrees_with_reference_on_any_size(
    op: str, size: tuple[int, int], scale: int, amplitude: float, seed: int
) -> None:
    case = make_case(op, size, scale, amplitude, seed)
    assert_agree(case, case.run(cpu), case.run(reference))


@pytest.mark.parametrize("op", OPS)
def test_ops_runs_the_implementation_asked_for(op: str) -> None:
    case = make_case(op, (6, 9), 2, 2.0, seed=1)
    for name, module in (("cpu", cpu), ("reference", reference)):
        by_name = np.asarray(getattr(ops, op)(*case.arguments, implementation=name))
        assert np.array_equal(by_name, case.run(module))
    assert np.array_equal(np.asarray(getattr(ops, op)(*case.arguments)), case.run(cpu))


@pytest.mark.parametrize("op", OPS)
def test_memory_layout_does_not_matter(op: str) -> None:
    case = make_case(op, (9, 12), 2, 2.0, seed=3)
    loose = tuple(np.asfortranarray(a) if isinstance(a, np.ndarray) else a for a in case.arguments)
    frozen = []
    for a in case.arguments:
        frozen.append(a.copy() if isinstance(a, np.ndarray) else a)
        if isinstance(a, np.ndarray):
            frozen[-1].flags.writeable = False
    for arguments in (loose, tuple(frozen)):
        assert_agree(case, Case(op, case.name, arguments).run(ops), case.run(ops))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
@pytest.mark.parametrize("op", ["sample_field", "project", "shift", "warp"])
def test_wild_displacements_stay_inside_the_arrays(op: str, value: float) -> None:
    # the twin indexes memory without bounds checks: whatever a field holds, only the border may be read
    field = np.full((5, 6, 2), value, np.float32)
    plane = np.full((10, 12), 77, np.uint8)
    arguments = {
        "sample_field": (np.zeros((5, 6, 2), np.float32), field),
        "project": (field, 0.5),
        "shift": (np.zeros((5, 6, 2), np.float32), field),
        "warp": (plane, field),
    }[op]
    result = getattr(cpu, op)(*arguments)
    if op == "warp":
        assert np.array_equal(result, plane)
    if op == "sample_field":
        assert not result.any()


def test_comparison_names_the_first_bad_index_both_values_and_the_case() -> None:
    case = make_case("warp", (4, 5), 2, 0.3, seed=5)
    want = case.run(reference)
    got = want.copy()
    got[3, 4] += 1
    values = [re.escape(repr(a[3, 4])) for a in (got, want)]
    message = rf"warp size=\(4, 5\) .*seed=5: at \(3, 4\) {values[0]}, expected {values[1]} .* 1 of 80 differ"
    with pytest.raises(AssertionError, match=message):
        assert_agree(case, got, want)


# ---------------------------------------------------------------- known answers, for both implementations

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


# ---------------------------------------------------------------- refusals

FIELD = np.zeros((4, 6, 2), np.float32)
PLANE = np.zeros((8, 12), np.uint8)
GREY = np.zeros((8, 12), np.float32)
SHARE = np.ones((4, 6), np.float32)
POINTS = np.zeros((3, 2), np.float32)

BAD_CALLS: list[tuple[str, Callable[[], Any], str]] = [
    ("field float64", lambda: ops.project(FIELD.astype(np.float64), 0.5), "flow: expected float32"),
    ("field of scalars", lambda: ops.sample_field(SHARE, POINTS), "field: expected float32"),
    ("field of one row", lambda: ops.project(FIELD[:1], 0.5), "at least 2 x 2"),
    ("positions of three", lambda: ops.sample_field(FIELD, np.zeros((5, 3), np.float32)), "at: expected"),
    ("positions float64", lambda: ops.sample_field(FIELD, POINTS.astype(np.float64)), "at: expected"),
    ("tau above one", lambda: ops.project(FIELD, 1.5), "tau=1.5: expected 0..1"),
    ("tau not a number", lambda: ops.project(FIELD, float("nan")), "tau=nan: expected 0..1"),
    ("no step", lambda: ops.project(FIELD, 0.5, 0), "iterations=0: expected at least 1"),
    ("shift of two sizes", lambda: ops.shift(FIELD, FIELD[:3]), r"by: expected float32 \(4, 6, 2\)"),
    ("centres of three", lambda: ops.densify(np.zeros((3, 3), np.float32), POINTS, 4, 6, 5.0), "centres: expected"),
    ("fewer values", lambda: ops.densify(POINTS, POINTS[:2], 4, 6, 5.0), r"values: expected float32 \(3, 2\)"),
    ("no reach", lambda: ops.densify(POINTS, POINTS, 4, 6, 0.0), "reach=0.0: expected positive"),
    ("no rows", lambda: ops.densify(POINTS, POINTS, 0, 6, 1.0), "height=0.*expected positive"),
    ("plane of floats", lambda: ops.warp(GREY, FIELD), "plane: expected uint8"),
    ("plane of one axis", lambda: ops.warp(PLANE[0], FIELD), "plane: expected a whole multiple of 4 x 6"),
    ("plane of colours", lambda: ops.warp(np.zeros((8, 12, 3), np.uint8), FIELD), "plane: expected uint8"),
    ("plane not a multiple", lambda: ops.warp(PLANE[:, :11], FIELD), "whole multiple of 4 x 6 cells"),
    ("plane of two scales", lambda: ops.warp(np.zeros((8, 6), np.uint8), FIELD), "whole multiple of 4 x 6 cells"),
    ("plane below the field", lambda: ops.warp(PLANE[:2, :3], FIELD), "whole multiple of 4 x 6 cells"),
    ("candidates of two sizes", lambda: ops.blend_weights(GREY, GREY[:4], SHARE, SHARE, 0.5), "b: expected float32"),
    ("trust at full size", lambda: ops.blend_weights(GREY, GREY, GREY, GREY, 0.5), r"a: expected float32 \(16, 24\)"),
    ("trusts of two sizes", lambda: ops.blend_weights(GREY, GREY, SHARE, SHARE[:2], 0.5), "trust_b: expected float32"),
    ("trust with an axis more", lambda: ops.blend_weights(GREY, GREY, FIELD, FIELD, 0.5), "trust_a: expected"),
    ("blend at tau -1", lambda: ops.blend_weights(GREY, GREY, SHARE, SHARE, -1.0), "tau=-1.0: expected 0..1"),
    ("mix of bytes", lambda: ops.mix(PLANE, PLANE, SHARE), "a: expected float32"),
    ("mix of two sizes", lambda: ops.mix(GREY, GREY[:4], SHARE), "b: expected float32"),
    ("weights of two scales", lambda: ops.mix(GREY, GREY, SHARE[:, :4]), "whole multiple of 4 x 4 cells"),
    ("weights of one row", lambda: ops.mix(GREY, GREY, SHARE[:1]), "at least 2 x 2"),
]


@pytest.mark.parametrize(("call", "message"), [c[1:] for c in BAD_CALLS], ids=[c[0] for c in BAD_CALLS])
def test_bad_arguments_are_refused_with_a_reason(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("op", OPS)
def test_unknown_implementation_is_refused(op: str) -> None:
    case = make_case(op, (6, 9), 2, 1.0, seed=1)
    with pytest.raises(ValueError, match=r"implementation='cuda': expected one of \['cpu', 'gpu', 'reference'\]"):
        getattr(ops, op)(*case.arguments, implementation="cuda")
