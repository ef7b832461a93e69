"""What the published sampler does otherwise than ours: its last state, its sums in float32, its dynamic rescale."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tgvc.diffusion.buffers import published_buffers
from tgvc.diffusion.sampler import Hold, Options, ddim, dpm_solver
from tgvc.diffusion.schedule import linear_abar, make_schedule
from tgvc.errors import ConfigError
from tgvc.types import FloatArray

SHAPE = (2, 3, 4, 5)
# For these numbers of steps the published code returns NaN with eta 1, by its own float32 rounding
BROKEN = (7, 11, 14, 15, 20, 25, 33, 34, 35, 37, 38, 39)


def draw(seed: int) -> FloatArray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def zero(x: FloatArray, t: float) -> FloatArray:
    return np.zeros_like(x)


@pytest.mark.parametrize("steps", [*BROKEN, 3, 5, 50])
def test_the_published_schedule_stays_finite_for_any_number_of_steps(steps: int) -> None:
    schedule = make_schedule(steps, eta=1.0, dynamic=True, parity=True)
    first = schedule.direction(steps - 1)
    assert 0 <= first < 5e-4
    assert make_schedule(steps, eta=1.0).direction(steps - 1) < 1e-7
    result = ddim(zero, draw(0), schedule, lambda i: draw(i + 1), options=Options(noisy=True))
    assert np.isfinite(result).all()


def test_some_numbers_of_steps_would_take_the_root_of_less_than_nothing() -> None:
    below = 0
    for steps in BROKEN:
        schedule = make_schedule(steps, eta=1.0, parity=True)
        after, sigma = np.float32(schedule.after(steps - 1)), np.float32(schedule.sigma(steps - 1))
        below += bool(np.float32(1) - after - sigma**2 < 0)
    assert below == len(BROKEN)


def test_the_noisy_result_is_the_state_after_the_last_step() -> None:
    schedule = make_schedule(3, eta=1.0)
    start = draw(0)
    clean = ddim(zero, start, schedule, lambda i: draw(i + 1))
    noisy = ddim(zero, start, schedule, lambda i: draw(i + 1), options=Options(noisy=True))
    # v = 0: x0 = s x, eps = n x, with x = x0 / s
    signal, spread = math.sqrt(schedule.at(0)), math.sqrt(1 - schedule.at(0))
    after, sigma = schedule.after(0), schedule.sigma(0)
    rest = math.sqrt(1 - after - sigma**2)
    want = math.sqrt(after) * clean + rest * spread * clean / signal + sigma * draw(1)
    assert np.abs(noisy - want).max() < 1e-5  # a dozen roundings of numbers near 1


def test_a_solver_that_ends_clean_has_no_noisy_result() -> None:
    with pytest.raises(ConfigError, match="noisy: expected False"):
        dpm_solver(zero, draw(0), make_schedule(3), options=Options(noisy=True))


def test_held_frames_are_brought_to_the_level_of_every_step() -> None:
    schedule = make_schedule(4, dynamic=True)
    hold = Hold(np.array([True, False, False]), draw(5))
    seen: list[FloatArray] = []

    def watch(x: FloatArray, t: float) -> FloatArray:
        seen.append(x)
        return np.zeros_like(x)

    result = ddim(watch, draw(0), schedule, options=Options(hold=hold))
    for x, i in zip(seen, (3, 2, 1, 0), strict=True):
        a = schedule.at(i)
        want = math.sqrt(a) * schedule.level(i) * hold.clean[:, 0] + math.sqrt(1 - a) * draw(0)[:, 0]
        assert np.abs(x[:, 0] - want).max() < 1e-6
    assert np.allclose(result[:, 0], schedule.level(0) * hold.clean[:, 0], atol=1e-6)
    assert [round(schedule.level(i), 3) for i in (0, 1, 3)] == [0.813, 0.7, 0.7]


def test_the_buffers_of_a_checkpoint_are_those_of_the_schedule() -> None:
    buffers = published_buffers()
    assert len(buffers) == 13
    assert {value.dtype for value in buffers.values()} == {np.dtype(np.float32)}
    abar = linear_abar()
    assert np.array_equal(buffers["alphas_cumprod"], abar.astype(np.float32))
    assert buffers["betas"][-1] == 1
    assert buffers["scale_arr"].shape == (1400,)
    assert buffers["scale_arr"][[0, 399, 400, 1399]].tolist() == pytest.approx([1, 0.7, 0.7, 0.7], abs=1e-7)
    # the mean of the posterior at a state without noise is that state
    first, second = buffers["posterior_mean_coef1"][1:500], buffers["posterior_mean_coef2"][1:500]
    x0, root = 1.0, buffers["sqrt_alphas_cumprod"][1:500]
    assert np.allclose(first * x0 + second * root * x0, buffers["sqrt_alphas_cumprod"][:499], atol=2e-6)
