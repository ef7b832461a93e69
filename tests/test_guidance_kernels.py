"""Guidance by trajectories: twins agree to the bit, the closed form is the loss's gradient, bad plans are refused."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance_samples import Track, both, published_weights
from tgvc_kernels import latent_cpu, latent_ops, latent_reference, ops
from tgvc_kernels.plan import GuidancePlan

KERNELS = ("normal_noise", "guidance_plan", "guidance_gradient", "predict_clean", "sampler_step", "guided_step")


def make_tracks(
    rng: np.random.Generator, count: int, length: int, size: tuple[int, int], cell: int, hidden: float = 0.2
) -> Track:
    """Walks that leave the picture now and then, with hidden samples at the ends too."""
    limit = np.array([size[1], size[0]]) * cell
    start = rng.uniform(-0.1, 1.1, (count, 1, 2)) * limit
    xy = start + rng.normal(0, 0.8 * cell, (count, length, 2)).cumsum(axis=1)
    return xy.astype(np.float32), rng.random((count, length)) >= hidden


def level_latents(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Few levels, so that ties are common."""
    return rng.integers(-3, 4, shape).astype(np.float32) / 2


def assert_same_plan(got: GuidancePlan, want: GuidancePlan) -> None:
    assert got.size == want.size
    for name, a, b in zip(got._fields[1:], got[1:], want[1:], strict=True):
        assert a.dtype == b.dtype, name
        assert np.array_equal(a, b), f"{name}: {a} is not {b}"


def own_weights(s: int, n: int, first: bool, last: bool) -> tuple[float, float]:
    u = s / (n - 1)
    beta = 0.0 if u < 0.375 else 1.0 if u > 0.625 else 0.5
    if first and last:
        return 1 - beta, beta
    return float(first), float(last)


def visit_points(
    tracks: Track, slots: Any, size: tuple[int, int, int], cell: int, radius: int, parity: bool
) -> list[tuple[int, int, int, int, int, float, int, int, float]]:
    """All comparisons: slot, y, x, and for both references y, x and weight."""
    _, h, w = size
    n = tracks[0].shape[1]
    low = 1 if parity else 0
    found = []
    for xy, visible in zip(*tracks, strict=True):
        cells = [(math.floor(y / cell), math.floor(x / cell)) for x, y in xy]
        valid = [bool(v) and low <= y < h and low <= x < w for v, (y, x) in zip(visible, cells, strict=True)]
        first, last = valid[0] and slots[0] >= 0, valid[-1] and slots[-1] >= 0
        for s in range(1, n - 1):
            alpha, beta = published_weights(s, first, last) if parity else own_weights(s, n, first, last)
            if not valid[s] or slots[s] < 0:
                continue
            looked_at = [cells[s]] + [cells[0]] * (alpha > 0) + [cells[-1]] * (beta > 0)
            anchors = [cells[s]] + [cells[0]] * first + [cells[-1]] * last
            ry = 0 if parity and any(y - radius < 0 or y + radius >= h for y, _ in anchors) else radius
            rx = 0 if parity and any(x - radius < 0 or x + radius >= w for _, x in anchors) else radius
            for dy in range(-ry, ry + 1):
                for dx in range(-rx, rx + 1):
                    if all(0 <= y + dy < h and 0 <= x + dx < w for y, x in looked_at) and alpha + beta > 0:
                        (y, x), (y0, x0), (y1, x1) = cells[s], cells[0], cells[-1]
                        place = slots[s], y + dy, x + dx
                        found.append((*place, y0 + dy, x0 + dx, alpha, y1 + dy, x1 + dx, beta))
    return found


def slow_gradient(points: list[Any], z: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.zeros(z.shape)
    for s, y, x, y0, x0, alpha, y1, x1, beta in points:
        for c in range(len(z)):
            if alpha:
                out[c, s, y, x] += alpha * np.sign(a[c, y0, x0] - z[c, s, y, x])
            if beta:
                out[c, s, y, x] += beta * np.sign(b[c, y1, x1] - z[c, s, y, x])
    return out


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_has_one_signature(name: str) -> None:
    signatures = [inspect.signature(getattr(module, name)) for module in (latent_reference, latent_cpu, ops)]
    assert signatures[0] == signatures[1]
    parameters = list(signatures[2].parameters.values())
    assert [p.name for p in parameters[-2:]] == ["implementation", "stream"]
    assert signatures[2].replace(parameters=parameters[:-2]) == signatures[0]


@pytest.mark.parametrize("module", [latent_reference, latent_cpu, latent_ops])
def test_modules_offer_exactly_the_kernels(module: Any) -> None:
    own = {n for n, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__}
    assert {n for n in own if not n.startswith("_")} == set(KERNELS)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(1, 5),
    length=st.integers(2, 20),
    size=st.tuples(st.integers(1, 20), st.integers(1, 24)),
    cell=st.sampled_from([1, 7, 8, 16]),
    radius=st.integers(0, 3),
    parity=st.booleans(),
)
def test_twins_agree_and_match_the_loops(
    seed: int, channels: int, length: int, size: tuple[int, int], cell: int, radius: int, parity: bool
) -> None:
    rng = np.random.default_rng(seed)
    length = 16 if parity else length
    frames = length + 2
    tracks = make_tracks(rng, int(rng.integers(0, 7)), length, size, cell)
    slots = rng.permutation(frames)[:length].astype(np.int64)
    slots[rng.random(length) < 0.15] = -1
    arguments = (*tracks, slots, (frames, *size), cell, radius, parity)
    want = latent_reference.guidance_plan(*arguments)
    assert_same_plan(latent_cpu.guidance_plan(*arguments), want)
    z, a, b = (level_latents(rng, (channels, frames, *size)) for _ in range(3))
    fast, formula = (m.guidance_gradient(z, want, a, b) for m in (latent_cpu, latent_reference))
    assert np.array_equal(fast, formula)
    points = visit_points(tracks, slots.tolist(), (frames, *size), cell, radius, parity)
    assert np.array_equal(fast, slow_gradient(points, z, a[:, slots[0]], b[:, slots[-1]]))
    assert want.first.size == len(points)


@both
def test_rows_are_in_order_and_full(module: Any) -> None:
    rng = np.random.default_rng(3)
    plan = module.guidance_plan(*make_tracks(rng, 40, 16, (20, 30), 8), np.arange(16), (16, 20, 30))
    assert (np.diff(plan.cells) > 0).all()
    assert (np.diff(plan.rows) > 0).all()
    assert (plan.rows[0], plan.rows[-1]) == (0, plan.first.size)
    assert {a.dtype for a in plan[1:5]} == {np.dtype(np.int32)}


@both
def test_wild_positions_are_nowhere(module: Any) -> None:
    for value in (np.nan, np.inf, -np.inf, 3e38, -3e38):
        xy = np.full((2, 5, 2), value, np.float32)
        xy[:, :, 1] = 30
        plan = module.guidance_plan(xy, np.ones((2, 5), bool), np.arange(5), (5, 10, 10))
        assert plan.cells.size == 0
        assert not module.guidance_gradient(np.ones((3, 5, 10, 10), np.float32), plan).any()


def test_memory_layout_does_not_matter() -> None:
    rng = np.random.default_rng(8)
    xy, visible = make_tracks(rng, 12, 9, (12, 14), 8)
    z, a, b = (level_latents(rng, (3, 9, 12, 14)) for _ in range(3))
    size = (9, 12, 14)
    want = ops.guidance_plan(xy, visible, np.arange(9), size)
    loose = ops.guidance_plan(np.asfortranarray(xy), np.asfortranarray(visible), np.arange(18)[::2] // 2, size)
    assert_same_plan(loose, want)
    loosened = [np.asfortranarray(v) for v in (z, a, b)]
    assert np.array_equal(
        ops.guidance_gradient(loosened[0], loose, *loosened[1:]), ops.guidance_gradient(z, want, a, b)
    )


def torch_gradient(points: list[Any], z: np.ndarray, a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray:
    """Minus the gradient of the loss, by autograd; a reference that is None is the latents' own end, held constant."""
    torch = pytest.importorskip("torch", reason="torch: autograd of the loss")
    leaf = torch.tensor(z, requires_grad=True)
    first = leaf[:, 0].detach() if a is None else torch.tensor(a)
    last = leaf[:, -1].detach() if b is None else torch.tensor(b)
    loss = torch.zeros(())
    for s, y, x, y0, x0, alpha, y1, x1, beta in points:
        if alpha:
            loss = loss + alpha * (first[:, y0, x0] - leaf[:, s, y, x]).abs().sum()
        if beta:
            loss = loss + beta * (last[:, y1, x1] - leaf[:, s, y, x]).abs().sum()
    if loss.requires_grad:
        loss.backward()
    return np.zeros_like(z) if leaf.grad is None else -leaf.grad.numpy()


@pytest.mark.parametrize("parity", [False, True])
def test_closed_form_is_the_gradient_of_the_loss(parity: bool) -> None:
    rng = np.random.default_rng(11)
    tracks = make_tracks(rng, 10, 16, (30, 40), 8)
    size, slots = (16, 30, 40), np.arange(16)
    points = visit_points(tracks, slots.tolist(), size, 8, 2, parity)
    assert len(points) > 300
    z, other = level_latents(rng, (4, *size)), level_latents(rng, (4, 1, 30, 40))
    plan = ops.guidance_plan(*tracks, slots, size, parity=parity)
    assert np.array_equal(ops.guidance_gradient(z, plan), torch_gradient(points, z, None, None))
    # the second stage compares with a start of its own
    assert np.array_equal(ops.guidance_gradient(z, plan, other), torch_gradient(points, z, other[:, 0], None))


def test_a_step_along_the_gradient_lowers_the_loss() -> None:
    rng = np.random.default_rng(12)
    tracks, size = make_tracks(rng, 8, 16, (20, 24), 8, hidden=0.0), (16, 20, 24)
    z = rng.normal(size=(4, *size)).astype(np.float32)
    plan = ops.guidance_plan(*tracks, np.arange(16), size)
    points = visit_points(tracks, range(16), size, 8, 2, False)

    def loss(z: np.ndarray) -> float:
        first, last = (
            np.abs(z[:, e, ys, xs] - z[:, s, y, x])
            for e, (s, y, x, ys, xs) in zip((0, -1), (columns[[0, 1, 2, 3, 4]], columns[[0, 1, 2, 6, 7]]), strict=True)
        )
        return float((np.array([p[5] for p in points]) * first + np.array([p[8] for p in points]) * last).sum())

    # references that do not count may lie outside; their index only has to be legal
    columns = np.array([[int(v) for v in p] for p in points]).T
    columns[[3, 6]] = columns[[3, 6]].clip(0, 19)
    columns[[4, 7]] = columns[[4, 7]].clip(0, 23)
    losses = [loss(z)]
    for _ in range(20):
        z = z + np.float32(0.02) * ops.guidance_gradient(z, plan)
        losses.append(loss(z))
    assert (np.diff(losses) < 0).all()


@both
@pytest.mark.parametrize("parity", [False, True])
def test_ends_never_move_and_values_are_halves(module: Any, parity: bool) -> None:
    rng = np.random.default_rng(5)
    tracks, size = make_tracks(rng, 60, 16, (40, 64), 8), (16, 40, 64)
    z = rng.normal(size=(4, *size)).astype(np.float32)
    gradient = module.guidance_gradient(z, module.guidance_plan(*tracks, np.arange(16), size, parity=parity))
    assert not gradient[:, [0, 15]].any()
    assert gradient.any()
    assert np.array_equal(gradient * 2, np.round(gradient * 2))


@both
def test_tracks_add_up_in_any_order(module: Any) -> None:
    rng = np.random.default_rng(6)
    (xy, visible), size = make_tracks(rng, 30, 16, (20, 24), 8), (16, 20, 24)
    z = rng.normal(size=(4, *size)).astype(np.float32)

    def pull(which: Any) -> np.ndarray:
        return np.asarray(
            module.guidance_gradient(z, module.guidance_plan(xy[which], visible[which], np.arange(16), size))
        )

    every = pull(slice(None))
    assert np.array_equal(pull(rng.permutation(30)), every)
    assert np.array_equal(pull(slice(0, 11)) + pull(slice(11, None)), every)


@both
def test_what_already_agrees_is_left_alone(module: Any) -> None:
    tracks = make_tracks(np.random.default_rng(7), 20, 16, (20, 24), 8)
    z = np.full((4, 16, 20, 24), 0.7, np.float32)
    assert not module.guidance_gradient(z, module.guidance_plan(*tracks, np.arange(16), (16, 20, 24))).any()


XY, SEEN, SLOTS, SIZE = np.zeros((2, 5, 2), np.float32), np.ones((2, 5), bool), np.arange(5), (5, 8, 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xy": XY.astype(np.float64)}, "xy: expected float32"),
        ({"xy": XY[:, :1]}, "xy: expected float32"),
        ({"visible": SEEN[:1]}, "visible: expected bool"),
        ({"slots": SLOTS.astype(np.int32)}, "slots: expected int64"),
        ({"slots": SLOTS + 2}, "slots: expected different frames below 5"),
        ({"slots": np.array([0, 1, 1, 2, 3])}, "slots: expected different frames"),
        ({"slots": np.array([2**40, 1, 2, 3, 4])}, "beyond what 32 bits"),
        ({"size": (5, 0, 9)}, "size="),
        ({"cell": 0}, "cell=0"),
        ({"radius": -1}, "radius=-1"),
        ({"parity": True}, "parity knows 16 samples per track, got 5"),
        ({"implementation": "cuda"}, r"implementation='cuda': expected one of \['cpu', 'gpu', 'reference'\]"),
    ],
)
def test_bad_plans_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"xy": XY, "visible": SEEN, "slots": SLOTS, "size": SIZE} | changes
    with pytest.raises(ValueError, match=message):
        ops.guidance_plan(**arguments)


def test_latents_that_do_not_fit_the_plan_are_refused() -> None:
    plan = ops.guidance_plan(XY + 20, SEEN, np.array([7, 1, 2, 3, 4]), SIZE)
    z = np.zeros((3, *SIZE), np.float32)
    ops.guidance_gradient(z, plan, np.zeros((3, 8, 8, 9), np.float32))
    for arguments, message in (
        ((z, plan), "start: the plan points beyond its 5 frames"),
        ((z[:, :4], plan), r"z: expected float32 \(3, 5, 8, 9\)"),
        ((z.astype(np.float64), plan), "z: expected float32"),
        ((z, plan, z[:2]), r"start: expected float32 \(3, 5, 8, 9\)"),
        ((z, plan, np.zeros((3, 8, 8, 9), np.float32), z[..., :4]), "end: expected float32"),
    ):
        with pytest.raises(ValueError, match=message):
            ops.guidance_gradient(*arguments)
