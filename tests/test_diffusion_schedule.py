"""Schedules: the published numbers, and refusals."""

import math

import numpy as np
import pytest

from tgvc.diffusion.schedule import Schedule, guidance_weights, linear_abar, make_schedule, place_timesteps
from tgvc.errors import ConfigError

# published numbers are printed with four to six digits: half a unit of the last one, and the float64 error is nothing
PRINTED = {"abs": 6e-7}
FOUR = {"abs": 5.1e-5}


@pytest.fixture(scope="module")
def published():
    return make_schedule(50, eta=1.0, dynamic=True, parity=True)


def test_signal_falls_from_nearly_all_to_nothing():
    abar = linear_abar()
    assert [abar[0], abar[24], abar[49]] == [pytest.approx(v, **PRINTED) for v in (0.99915, 0.975982, 0.949259)]
    assert abar[998] == pytest.approx(1.968e-7, rel=1e-3)
    assert abar[999] == 0
    assert (np.diff(abar) < 0).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8, 50, 1000])
def test_trailing_timesteps_end_on_pure_noise(steps):
    t = place_timesteps(steps)
    assert (t.size, t[-1]) == (steps, 999)
    assert np.abs(np.diff(t, prepend=-1) - 1000 / steps).max() <= 1


def test_timesteps_are_the_published_ones():
    assert np.array_equal(place_timesteps(50), np.arange(19, 1000, 20))
    assert np.array_equal(place_timesteps(50, "uniform"), np.arange(1, 1000, 20))
    assert place_timesteps(999, "uniform")[-1] == 999


def test_published_weights_look_up_the_wrong_index(published):
    found = {i: published.weight(i) for i in (49, 40, 25, 10, 0)}
    assert found == pytest.approx({49: 1.522232, 40: 1.224531, 25: 0.751076, 10: 0.306188, 0: 0.0255}, **PRINTED)
    assert published.guidance.sum() == pytest.approx(37.450168, **PRINTED)


def test_own_weights_use_the_timestep_and_spare_pure_noise():
    schedule = make_schedule(50, strength=2.0)
    assert schedule.weight(49) == 0
    for i in (0, 20, 48):
        assert schedule.weight(i) == pytest.approx(2 * (1 - schedule.abar[19 + 20 * i]), rel=1e-12)
    assert not make_schedule(1).guidance.any()
    # with the right index and the published 30 the sum would be 986
    right = 30 * (1 - schedule.abar[schedule.timesteps])
    assert right.sum() == pytest.approx(986, abs=0.5)
    default = guidance_weights(schedule.abar, schedule.timesteps)
    assert default.sum() == pytest.approx(37.45, rel=0.07)  # the same within the first step, which it leaves out


def test_fresh_noise_and_direction_are_the_published_ones(published):
    sigma = {48: 0.8781, 40: 0.4959, 25: 0.3225, 10: 0.1998, 1: 0.1005, 0: 0.0285}
    assert {i: published.sigma(i) for i in sigma} == pytest.approx(sigma, **FOUR)
    direction = {48: 0.47804, 40: 0.85802, 25: 0.80849, 10: 0.4705, 1: 0.09425, 0: 0.00611}
    found = {i: math.sqrt(1 - published.after(i) - published.sigma(i) ** 2) for i in direction}
    assert found == pytest.approx(direction, abs=5.1e-6)
    # from pure noise all of the next state's noise is fresh
    assert published.sigma(49) == pytest.approx(math.sqrt(1 - published.after(49)), rel=1e-12)


def test_every_eta_keeps_the_variance(published):
    for eta in (0.0, 0.3, 1.0):
        schedule = make_schedule(8, eta=eta)
        for i in range(8):
            assert 0 <= schedule.sigma(i) ** 2 <= 1 - schedule.after(i) + 1e-12
    assert make_schedule(8).sigma(3) == 0


def test_dynamic_rescale_is_the_published_one(published):
    ratios = {20: 1, 19: 1.0215, 18: 1.0210, 10: 1.0180, 1: 1.0155, 0: 1}
    assert {i: published.clean_scale(i) for i in ratios} == pytest.approx(ratios, **FOUR)
    assert all(published.clean_scale(i) == 1 for i in range(20, 50))
    assert make_schedule(50).clean_scale(10) == 1


def test_levels_join_up(published):
    assert all(published.after(i) == published.at(i - 1) for i in range(1, 50))
    assert published.after(0) == published.abar[0] < 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_schedule(0), "steps=0: expected 1 to 1000"),
        (lambda: make_schedule(1001), "steps=1001"),
        (lambda: make_schedule(1000, spacing="uniform"), "steps=1000: expected 1 to 999"),
        (lambda: make_schedule(4, spacing="leading"), "spacing='leading'"),
        (lambda: make_schedule(4, name="cosine"), "schedule='cosine': expected linear-ztsnr"),
        (lambda: make_schedule(4, eta=1.5), "eta=1.5"),
        (lambda: make_schedule(4, eta=math.nan), "eta=nan"),
        (lambda: make_schedule(4, strength=-1), "strength=-1"),
        (lambda: linear_abar(1), "train_steps=1"),
        (lambda: Schedule(timesteps=np.array([3, 3])), "timesteps: expected increasing"),
        (lambda: Schedule(timesteps=np.array([1000])), r"0\.\.999"),
        (lambda: Schedule(abar=np.array([0.5, 0.7]), timesteps=np.array([1])), "abar: expected at least 2"),
        (lambda: Schedule(abar=np.array([1.0, 0.7]), timesteps=np.array([0])), "some noise at every timestep"),
        (lambda: Schedule(timesteps=np.array([1, 2]), guidance=np.zeros(3)), "guidance: expected 2 finite numbers"),
        (lambda: Schedule(timesteps=np.array([1]), guidance=np.array([math.inf])), "guidance: expected 1"),
    ],
)
def test_bad_schedules_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_published_rules_may_give_one_timestep_more():
    assert np.array_equal(place_timesteps(16, "uniform", parity=True), np.arange(0, 1000, 62) + 1)
    assert place_timesteps(16, "uniform").size == 16
    assert np.array_equal(place_timesteps(50, parity=True), place_timesteps(50))
    with pytest.raises(ConfigError, match="leave the 1000 timesteps"):
        place_timesteps(9, "uniform", parity=True)
    with pytest.raises(ConfigError, match="leave the 1000 timesteps"):
        place_timesteps(61, parity=True)
