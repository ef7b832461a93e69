"""Solvers for few steps: their order, what they share, published timesteps, guidance in a part of the way."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from test_diffusion_sampler import ABAR, draw, exact_flow, gaussian_denoiser
from tgvc.diffusion.aligned import place_aligned
from tgvc.diffusion.sampler import ddim, dpm_solver
from tgvc.diffusion.schedule import make_schedule, place_timesteps
from tgvc.diffusion.solvers import SOLVERS, Plan, guide_between, plan_steps
from tgvc.diffusion.steps import ddim_steps, dpm_steps
from tgvc.errors import ConfigError

MIDDLE = 499  # a timestep that all even numbers of trailing steps pass through


def middle_error(sampler: object, steps: int) -> float:
    """How far the estimate in the middle of the way is from the probability flow, for a normal target."""
    noise, found = draw(5), {}
    schedule = make_schedule(steps)
    sampler(gaussian_denoiser(0.5, 0.3), noise, schedule, on_step=lambda i, x0: found.update({i: x0}))  # type: ignore[operator]
    index = int(np.flatnonzero(schedule.timesteps == MIDDLE)[0])
    return float(np.sqrt(np.mean((found[index] - exact_flow(noise, 0.5, 0.3, MIDDLE)) ** 2)))


def test_errors_fall_with_the_first_and_with_the_second_power_of_the_step() -> None:
    first, second = ([middle_error(s, n) for n in (10, 20, 40, 80)] for s in (ddim, dpm_solver))
    orders = [[math.log2(a / b) for a, b in pairwise(e)] for e in (first, second)]
    assert all(0.85 < order < 1.15 for order in orders[0]), orders
    assert all(1.7 < order < 2.5 for order in orders[1]), orders  # the first two steps, of first order, fade out of it
    assert second[-1] < 0.15 * first[-1]  # an order apart over eight times the steps, from about half


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("spacing", ["uniform_trailing", "ays-sd", "ays-svd"])
def test_without_its_look_back_the_solver_is_ddim(dynamic: bool, spacing: str) -> None:
    schedule = make_schedule(10, dynamic=dynamic, spacing=spacing)  # type: ignore[arg-type]
    for one, other in zip(ddim_steps(schedule), dpm_steps(schedule), strict=True):
        s, n, k = one.signal, one.spread, one.clean_scale
        w_x, w_v, w_clean, _ = one.weights
        # v = (s x - x0 / k) / n, where x0 is the estimate after the rescale
        as_of_x, as_of_clean = w_x + w_v * s / n, w_clean - w_v / (k * n)
        ratio, none, gain, back = other.weights
        assert none == 0
        assert ratio == pytest.approx(as_of_x, rel=1e-12)
        # the estimate before is of the level before: brought to this one, both weights add up to that of one estimate
        assert gain + back / k == pytest.approx(as_of_clean, rel=1e-9, abs=1e-12)
        assert replace(one, weights=other.weights) == other


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("spacing", ["ays-sd", "ays-svd"])
def test_what_never_changes_is_found_whatever_the_steps(solver: str, spacing: str) -> None:
    sampler = ddim if solver == "ddim" else dpm_solver
    for steps in (1, 3, 10):
        schedule = make_schedule(steps, spacing=spacing)  # type: ignore[arg-type]
        found = sampler(gaussian_denoiser(0.7, 0.0), draw(), schedule)
        assert np.abs(found - 0.7).max() < 1e-5  # as for even steps: digits are lost where there is little signal
        assert np.array_equal(found, sampler(gaussian_denoiser(0.7, 0.0), draw(), schedule))


def test_ten_aligned_steps_end_nearer_to_the_source_than_ten_even_ones() -> None:
    noise = draw(6)
    want = 0.5 + math.sqrt(0.3) * noise  # the end of the flow itself, not its estimate at some timestep
    errors = {}
    for spacing in ("uniform_trailing", "ays-sd", "ays-svd"):
        found = dpm_solver(gaussian_denoiser(0.5, 0.3), noise, make_schedule(10, spacing=spacing))  # type: ignore[arg-type]
        errors[spacing] = float(np.sqrt(np.mean((found - want) ** 2)))
    # even steps stop where there is 9 % of noise left; the video schedule has half its steps near pure noise
    assert errors["ays-sd"] < 0.2 * errors["uniform_trailing"], errors
    assert errors["ays-svd"] < 0.7 * errors["uniform_trailing"], errors


def test_timesteps_are_those_published() -> None:
    assert place_aligned(10, "ays-sd", ABAR).tolist() == [24, 124, 233, 343, 455, 545, 645, 736, 850, 999]
    video = place_timesteps(10, "ays-svd")
    ratios = np.sqrt((1 - ABAR[video]) / np.maximum(ABAR[video], 1e-12))[::-1]
    published = [54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034]
    # nearest of a thousand levels: near pure noise neighbours differ by a tenth, at the clean end by a sixth
    assert np.allclose(ratios[1:], published, rtol=0.16)
    assert video[-1] == 999


@pytest.mark.parametrize("kind", ["ays-sd", "ays-svd"])
def test_other_numbers_of_steps_begin_and_lie_alike(kind: str) -> None:
    ten = place_timesteps(10, kind)  # type: ignore[arg-type]
    for steps in (1, 2, 3, 5, 8, 13):
        places = place_timesteps(steps, kind)  # type: ignore[arg-type]
        assert places.size == steps
        assert places[-1] == 999
        assert (np.diff(places) > 0).all()
        assert places[0] >= (ten[0] if steps <= 10 else 0)
    assert set(place_timesteps(5, kind)) <= set(ten)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="fall on one timestep"):
        place_timesteps(200, kind)  # type: ignore[arg-type]


def test_published_timesteps_need_the_schedule_that_they_were_made_for() -> None:
    with pytest.raises(ConfigError, match="1000 timesteps"):
        place_timesteps(10, "ays-sd", 500)
    with pytest.raises(ConfigError, match="parity"):
        place_timesteps(10, "ays-sd", parity=True)


def test_guidance_begins_and_ends_after_shares_of_the_steps() -> None:
    steps = ddim_steps(make_schedule(10))
    guided = [s.guided for s in guide_between(steps, 0.25, 0.8)]
    assert guided == [False] * 2 + [True] * 6 + [False] * 2
    assert guide_between(steps, 0.0, 1.0) == steps
    for wrong in ((0.5, 0.5), (0.9, 0.2), (0.0, 0.05)):
        with pytest.raises(ConfigError, match="no one of 10 steps"):
            guide_between(steps, *wrong)


def test_what_a_solver_does_not_do_is_refused() -> None:
    noisy = make_schedule(4, eta=1.0)
    with pytest.raises(ConfigError, match="eta=1: expected 0 with solver=dpmpp-2m"):
        plan_steps(noisy, Plan(solver="dpmpp-2m"))
    with pytest.raises(ConfigError, match="noisy"):
        plan_steps(make_schedule(4), Plan(solver="dpmpp-2m"), noisy=True)
    with pytest.raises(ConfigError, match="solver='unipc'"):
        plan_steps(noisy, Plan(solver="unipc"))
    assert plan_steps(noisy, Plan()) == ddim_steps(noisy)


def test_a_plan_tells_what_is_not_as_usual() -> None:
    assert Plan().label == "ddim"
    assert Plan(solver="dpmpp-2m", spacing="ays-sd", cfg_stop=0.5).label == "dpmpp-2m, ays-sd, cfg 0..0.5"
