"""Kernels: the Numba twins agree with the NumPy reference on everything, and what does not fit is refused."""

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

from kernel_samples import random_field
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
