"""Samplers: exact answers where the denoiser is known, twins of their kernels, and what happens around a step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgvc.diffusion.noise import NoiseSource
from tgvc.diffusion.sampler import Hold, Options, ddim, dpm_solver
from tgvc.diffusion.schedule import Schedule, linear_abar, make_schedule
from tgvc.errors import ConfigError
from tgvc_kernels import latent_cpu, latent_reference, ops

SHAPE = (3, 4, 6, 5)
ABAR = linear_abar()
both_samplers = pytest.mark.parametrize("sampler", [ddim, dpm_solver])


def draw(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def gaussian_denoiser(mean: np.ndarray | float, variance: float) -> Any:
    """The best v for clean latents that are normal: E[eps | x] s - E[x0 | x] n."""

    def denoise(x: np.ndarray, t: float) -> np.ndarray:
        a = ABAR[int(t)]
        s, n = math.sqrt(a), math.sqrt(1 - a)
        clean = mean + s * variance / (a * variance + 1 - a) * (x - s * mean)
        eps = (x - s * clean) / n
        return np.asarray(s * eps - n * clean, np.float32)

    return denoise


def exact_flow(x: np.ndarray, mean: float, variance: float, last: int) -> np.ndarray:
    """Where the probability flow takes pure noise: the estimate at the last timestep, for normal clean latents."""
    a = ABAR[last]
    total = a * variance + 1 - a
    state = math.sqrt(a) * mean + math.sqrt(total) * x
    return np.asarray(mean + math.sqrt(a) * variance / total * (state - math.sqrt(a) * mean))


# ---------------------------------------------------------------- exact answers


@both_samplers
def test_a_known_answer_is_found_in_any_number_of_steps(sampler: Any) -> None:
    for steps in (1, 2, 4, 8, 50):
        found = sampler(gaussian_denoiser(0.7, 0.0), draw(), make_schedule(steps))
        # x0 = s x - n v loses digits where s is small, not at the last step: a few units of float32 at 1
        assert np.abs(found - 0.7).max() < 1e-5


@both_samplers
def test_a_normal_distribution_is_followed_along_the_flow(sampler: Any) -> None:
    noise, wrong = draw(3), []
    for steps in (20, 80, 320):
        schedule = make_schedule(steps)
        want = exact_flow(noise, 0.5, 0.3, int(schedule.timesteps[0]))
        found = sampler(gaussian_denoiser(0.5, 0.3), noise, schedule)
        wrong.append(float(np.sqrt(np.mean((found - want) ** 2))))
    # the error of a first-order step over the whole way is its length, 1/20, times a curvature of about 0.5; the second
    # order has it on its first two steps only. Four times the steps: a quarter of the error, nearly, for either
    assert wrong[0] < (0.05 if sampler is ddim else 0.005)
    assert wrong[2] < 0.5 * wrong[1]


def test_the_second_order_beats_the_first() -> None:
    noise = draw(4)
    for steps in (6, 10, 20):
        schedule = make_schedule(steps)
        want = exact_flow(noise, 0.5, 0.3, int(schedule.timesteps[0]))
        errors = [np.abs(s(gaussian_denoiser(0.5, 0.3), noise, schedule) - want).max() for s in (ddim, dpm_solver)]
        assert errors[1] < 0.5 * errors[0], steps


@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_fresh_noise_has_the_variance_that_theory_says(eta: float) -> None:
    # with a normal target every step is linear, so the variance follows a recursion without any sampling
    source, schedule, frames, variance = NoiseSource(5), make_schedule(40, eta=eta), range(16), 0.25
    state = 1.0
    for i in range(39, -1, -1):
        a, b, sigma = schedule.at(i), schedule.after(i), schedule.sigma(i)
        gain = math.sqrt(a) * variance / (a * variance + 1 - a)
        eps = (1 - math.sqrt(a) * gain) / math.sqrt(1 - a)
        want = gain * math.sqrt(state)
        state = (math.sqrt(b) * gain + math.sqrt(1 - b - sigma**2) * eps) ** 2 * state + sigma**2
    size = (8, 20, 20)
    found = ddim(
        gaussian_denoiser(-0.4, variance), source.field(frames, size), schedule, source.steps(frames, size)
    ).astype(np.float64)
    # four standard errors of the mean and the deviation of n independent normal numbers
    assert found.mean() == pytest.approx(-0.4, abs=4 * want / math.sqrt(found.size))
    assert found.std() == pytest.approx(want, rel=4 / math.sqrt(2 * found.size))


def test_ddim_is_its_textbook_formula() -> None:
    schedule = make_schedule(4, eta=0.5, dynamic=True)
    noise, fresh, outputs = draw(1), {i: draw(20 + i) for i in range(4)}, {t: draw(int(t)) for t in schedule.timesteps}
    x = noise.astype(np.float64)
    for i in (3, 2, 1, 0):
        t = schedule.timesteps[i]
        a, b = ABAR[t], ABAR[schedule.timesteps[i - 1]] if i else ABAR[0]
        sigma = 0.5 * math.sqrt((1 - b) / (1 - a) * (1 - a / b))
        clean = schedule.clean_scale(i) * (math.sqrt(a) * x - math.sqrt(1 - a) * outputs[t])
        eps = math.sqrt(a) * outputs[t] + math.sqrt(1 - a) * x
        x = math.sqrt(b) * clean + math.sqrt(1 - b - sigma**2) * eps + sigma * fresh[i]
    found = ddim(lambda x, t: outputs[int(t)], noise, schedule, lambda i: fresh[i])
    # four steps of sums of up to four float32 terms of size 1 to 4
    assert np.abs(found - clean).max() < 1e-5


@both_samplers
def test_one_step_is_minus_the_output(sampler: Any) -> None:
    # from pure noise v is -x0
    v = draw(9)
    assert np.array_equal(sampler(lambda x, t: v, draw(), make_schedule(1)), -v)


# ---------------------------------------------------------------- around a step


@both_samplers
def test_the_first_state_is_the_noise_and_steps_count_down(sampler: Any) -> None:
    seen: list[tuple[float, np.ndarray]] = []
    told: list[tuple[int, np.ndarray]] = []

    def denoise(x: np.ndarray, t: float) -> np.ndarray:
        seen.append((t, x.copy()))
        return np.asarray(0.1 * x, np.float32)

    noise = draw()
    kept = noise.copy()
    found = sampler(denoise, noise, make_schedule(4), on_step=lambda i, x0: told.append((i, x0)))
    assert [t for t, _ in seen] == [999, 749, 499, 249]
    assert np.array_equal(seen[0][1], noise)
    assert [i for i, _ in told] == [3, 2, 1, 0]
    assert np.array_equal(told[-1][1], found)
    assert np.array_equal(noise, kept)


@both_samplers
def test_correction_sees_the_last_estimate_and_is_added_by_weight(sampler: Any) -> None:
    schedule, pull = make_schedule(4, strength=0.5), draw(6)
    asked, states = [], {}

    def correct(x0: np.ndarray, i: int) -> np.ndarray:
        asked.append((i, x0))
        return pull

    def record(to: Any) -> Any:
        def denoise(x: np.ndarray, t: float) -> np.ndarray:
            to[t] = x
            return np.zeros_like(x)

        return denoise

    estimates: dict[int, np.ndarray] = {}
    sampler(record(states), draw(), schedule, correct=correct, on_step=estimates.__setitem__)
    assert [i for i, _ in asked] == [2, 1, 0]
    assert all(np.array_equal(x0, estimates[i + 1]) for i, x0 in asked)
    plain: dict[float, np.ndarray] = {}
    sampler(record(plain), draw(), schedule)
    # the first correction is all that differs at the second state; one rounding of float32 at up to 4
    difference = states[749.0] - plain[749.0]
    assert np.abs(difference - np.float32(schedule.weight(2)) * pull).max() < 1e-6


def test_published_correction_starts_from_noise() -> None:
    noise, asked = draw(), []
    ddim(
        lambda x, t: np.zeros_like(x),
        noise,
        make_schedule(3, parity=True),
        correct=lambda x0, i: asked.append((i, x0)),
    )
    assert [i for i, _ in asked] == [2, 1, 0]
    assert np.array_equal(asked[0][1], noise)


@both_samplers
def test_a_correction_of_nothing_changes_nothing(sampler: Any) -> None:
    run = gaussian_denoiser(0.2, 0.5)
    plain = sampler(run, draw(), make_schedule(5))
    assert np.array_equal(sampler(run, draw(), make_schedule(5), correct=lambda x0, i: None), plain)
    assert np.array_equal(sampler(run, draw(), make_schedule(5), correct=lambda x0, i: np.zeros_like(x0)), plain)


@both_samplers
def test_truncated_sampling_starts_near_what_it_is_given(sampler: Any) -> None:
    schedule, init, noise = make_schedule(8), draw(30), draw(31)
    seen: list[tuple[float, np.ndarray]] = []

    def denoise(x: np.ndarray, t: float) -> np.ndarray:
        seen.append((t, x))
        return np.zeros_like(x)

    sampler(denoise, noise, schedule, options=Options(init=init, start=3))
    assert [t for t, _ in seen] == [374, 249, 124]
    a = ABAR[374]
    want = math.sqrt(a) * init + math.sqrt(1 - a) * noise
    assert np.abs(seen[0][1] - want).max() < 1e-6  # two products and a sum of float32 at up to 4


@both_samplers
def test_held_frames_stay_and_are_shown_at_the_right_noise(sampler: Any) -> None:
    schedule, clean, noise = make_schedule(4, strength=1.0), draw(40), draw(41)
    frames = np.array([True, False, False, True])
    seen, asked = [], []

    def denoise(x: np.ndarray, t: float) -> np.ndarray:
        a = ABAR[int(t)]
        want = np.float32(math.sqrt(a)) * clean + np.float32(math.sqrt(1 - a)) * noise
        assert np.array_equal(x[:, frames], want[:, frames])
        seen.append(t)
        return np.asarray(0.3 * x, np.float32)

    def correct(x0: np.ndarray, i: int) -> None:
        asked.append(x0)

    found = sampler(denoise, noise, schedule, correct=correct, options=Options(hold=Hold(frames, clean)))
    assert len(seen) == 4
    assert all(np.array_equal(x0[:, frames], clean[:, frames]) for x0 in [*asked, found])
    assert not np.array_equal(found[:, ~frames], clean[:, ~frames])


@both_samplers
def test_guidance_without_a_classifier_extrapolates(sampler: Any) -> None:
    v, u = draw(50), draw(51)
    found = sampler(lambda x, t: (v, u), draw(), make_schedule(1), options=Options(scale=3.0))
    assert np.abs(found + (u + 3 * (v - u))).max() < 1e-5  # three float32 operations on numbers up to 20
    plain = sampler(lambda x, t: (v, u), draw(), make_schedule(1))
    assert np.abs(plain + v).max() < 1e-6  # u + (v - u) rounds twice
    rescaled = sampler(lambda x, t: (v, u), draw(), make_schedule(1), options=Options(scale=3.0, rescale=1.0))
    assert rescaled.std() == pytest.approx(v.std(), rel=1e-5)  # of a float32 sum in another order


# ---------------------------------------------------------------- kernels


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 14), st.integers(1, 17)),
    scale=st.floats(-2, 10),
    rescale=st.floats(0, 1),
    abar=st.floats(0, 1),
    given_terms=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
def test_twins_return_the_same_bits(
    seed: int,
    shape: tuple[int, int, int, int],
    scale: float,
    rescale: float,
    abar: float,
    given_terms: tuple[bool, ...],
) -> None:
    rng = np.random.default_rng(seed)
    x, v, u, *rest = (rng.standard_normal(shape).astype(np.float32) for _ in range(6))
    uncond = u if given_terms[3] else None
    arguments = (x, v, math.sqrt(abar), math.sqrt(1 - abar), 1.017, uncond, scale, rescale)
    want = latent_reference.predict_clean(*arguments)
    got = latent_cpu.predict_clean(*arguments)
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(got, want, strict=True))
    terms = [term if keep else None for term, keep in zip(rest, given_terms, strict=False)]
    weights = tuple(rng.standard_normal(6))
    step = (x, want[1], want[0], weights, *terms)
    assert np.array_equal(latent_cpu.sampler_step(*step), latent_reference.sampler_step(*step))


@pytest.mark.parametrize("module", [latent_reference, latent_cpu], ids=["reference", "cpu"])
def test_rescale_restores_the_deviation_and_spares_constants(module: Any) -> None:
    x, v, u = draw(1), draw(2), draw(3)
    _, out = module.predict_clean(x, v, 0.6, 0.8, 1.0, u, 7.5, 0.7)
    combined = u + 7.5 * (v - u)
    want = combined * (0.7 * v.std() / combined.std() + 0.3)
    assert np.abs(out - want).max() < 1e-4  # float32 products of numbers up to 60
    flat = np.full(SHAPE, 2.0, np.float32)
    assert np.array_equal(module.predict_clean(x, flat, 0.6, 0.8, 1.0, flat, 7.5, 0.7)[1], flat)


# ---------------------------------------------------------------- refusals


@both_samplers
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": draw()[0]}, r"x: expected float32 \(C, T, h, w\)"),
        ({"x": draw().astype(np.float64)}, "x: expected float32"),
        ({"denoise": lambda x, t: x[:1]}, r"denoise: returned what does not fit: v: expected float32 \(3, 4, 6, 5\)"),
        ({"denoise": lambda x, t: (x, x[:1])}, "uncond: expected float32"),
        ({"options": Options(init=draw()[:2])}, "init: expected float32"),
        ({"options": Options(init=draw(), start=5)}, "start=5: expected 1 to 4"),
        ({"options": Options(hold=Hold(np.ones(2, bool), draw()[:, :2]))}, "hold: expected float32"),
    ],
)
def test_bad_runs_are_refused(sampler: Any, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"denoise": gaussian_denoiser(0, 1), "x": draw(), "schedule": make_schedule(4)}
    with pytest.raises(ConfigError, match=message):
        sampler(**(arguments | changes))


def test_bad_options_are_refused() -> None:
    for options, message in (
        ({"scale": math.inf}, "scale=inf"),
        ({"rescale": 1.5}, "rescale=1.5"),
        ({"start": 2}, "start=2: expected init beside it"),
    ):
        with pytest.raises(ConfigError, match=message):
            Options(**options)
    with pytest.raises(ValueError, match="frames: expected bool"):
        Hold(np.ones(3, bool), draw())
    with pytest.raises(ConfigError, match="noise: expected a function"):
        ddim(gaussian_denoiser(0, 1), draw(), make_schedule(4, eta=1.0))
    with pytest.raises(ConfigError, match="eta=1: expected 0 with this solver"):
        dpm_solver(gaussian_denoiser(0, 1), draw(), make_schedule(4, eta=1.0))


def test_bad_kernel_arguments_are_refused() -> None:
    x = draw()
    for call, message in (
        (lambda: ops.predict_clean(x, x[:1], 0.6, 0.8), "v: expected float32"),
        (lambda: ops.predict_clean(x, x, 0.6, 0.8, rescale=2.0), "rescale=2.0"),
        (lambda: ops.sampler_step(x, x, x, (1.0,) * 6, noise=x[:1]), "noise: expected float32"),
        (lambda: ops.sampler_step(x, x, x, (1.0,) * 5), "weights: expected 6"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_schedule_of_one_own_table_works() -> None:
    schedule = Schedule(abar=np.array([0.9, 0.5, 0.1]), timesteps=np.array([0, 1, 2]))
    v = draw(2)
    found = ddim(lambda x, t: v, draw(), schedule)
    assert np.isfinite(found).all()
