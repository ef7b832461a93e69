"""Runs of the schedule and of DDIM against the original: kinds ``schedule`` and ``ddim``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from golden import Arrays, Comparison, Meta, compare, tolerance
from tgvc.diffusion.buffers import published_buffers
from tgvc.diffusion.sampler import Options, ddim
from tgvc.diffusion.schedule import Schedule, make_schedule
from tgvc.types import FloatArray

# Both compute in float64; the originals round abar to float32 before they make sigmas of it, at 3e-8 each
_TABLES = 2e-6


def _schedule(config: dict[str, Any], steps: int, spacing: str, eta: float) -> Schedule:
    known = {"linear_start": 0.00085, "linear_end": 0.012, "base_scale": 0.7, "turning_step": 400}
    for name, value in known.items():
        assert config[name] == value, f"{name}={config[name]}: the engine knows {value}"
    assert config["parameterization"] == "v"
    assert config.get("zero_snr", config.get("rescale_betas_zero_snr")) is True
    dynamic = config.get("dynamic_rescale", config.get("use_dynamic_rescale"))
    return make_schedule(steps, spacing=spacing, eta=eta, dynamic=bool(dynamic), parity=True)  # type: ignore[arg-type]


def run_schedule(meta: Meta, arrays: Arrays, weights: Arrays) -> dict[str, Comparison]:
    """All buffers, and the tables of DDIM for every number of steps in the file."""
    got: dict[str, np.ndarray] = {f"out.{name}": value for name, value in published_buffers().items()}
    config = meta["config"]
    abar = _schedule(config, 1, "uniform_trailing", 0.0).abar
    before = np.concatenate([[1.0], abar[:-1]])
    got["f64.alphas_cumprod"], got["f64.betas"] = abar, 1 - abar / before
    first, last = config["linear_start"], config["linear_end"]
    got["f64.betas_before_rescale"] = np.linspace(math.sqrt(first), math.sqrt(last), abar.size) ** 2
    for label in sorted({name.split(".")[1] for name in arrays if name.count(".") > 1}):
        spacing, _, count = label.rpartition("_")
        schedules = {eta: _schedule(config, int(count), spacing, eta) for eta in (0.0, 1.0)}
        schedule = schedules[1.0]
        every = range(schedule.steps)
        scale = published_buffers()["scale_arr"][schedule.timesteps]
        got[f"out.{label}.timesteps"] = schedule.timesteps
        got[f"out.{label}.alphas"] = np.array([schedule.at(i) for i in every])
        got[f"f64.{label}.alphas_prev"] = np.array([schedule.after(i) for i in every])
        got[f"out.{label}.scale"] = scale
        got[f"out.{label}.scale_prev"] = scale * np.array([schedule.clean_scale(i) for i in every])
        for eta, made in schedules.items():
            got[f"f64.{label}.eta{eta:g}.sigmas"] = np.array([made.sigma(i) for i in every])
    return {name: compare(got[name], want, _TABLES) for name, want in arrays.items()}


def run_ddim(meta: Meta, arrays: Arrays, weights: Arrays) -> dict[str, Comparison]:
    """The file's toy denoiser through the sampler of the engine, one sample after the other.

    Where the original gave no numbers, the clamp under its square root makes ours finite, which is then all there is to
    compare.
    """
    config, toy = meta["config"], meta["toy"]
    schedule = _schedule(config, config["steps"], config["timestep_spacing"], config["eta"])
    guided = config["guidance_scale"] != 1.0
    options = Options(scale=config["guidance_scale"], rescale=config["guidance_rescale"], noisy=True)
    bias, steps = arrays["in.bias"], schedule.steps
    names = ("x", "pred_x0", "final") + (("v_cond", "v_uncond") if guided else ())
    got: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for n, start in enumerate(arrays["in.x_T"]):
        states: list[FloatArray] = []
        cleans: list[FloatArray] = []
        pairs: list[tuple[FloatArray, FloatArray]] = []

        def toy_v(x: FloatArray, t: float, which: str, n: int = n) -> FloatArray:
            a, b, s = (np.float32(toy[which][key]) for key in "abs")
            value = a * x * np.float32(math.cos(1.3 * t / 1000))
            return value + b * np.tanh(np.float32(1.7) * x + np.float32(t / 1000)) + s * bias[n]

        def denoise(
            x: FloatArray, t: float, states: list[Any] = states, pairs: list[Any] = pairs, v: Any = toy_v
        ) -> FloatArray | tuple[FloatArray, FloatArray]:
            states.append(x)
            pairs.append((v(x, t, "cond"), v(x, t, "uncond")))
            return pairs[-1] if guided else pairs[-1][0]

        final = ddim(
            denoise,
            start,
            schedule,
            lambda i, n=n: arrays["in.noise"][steps - 1 - i, n],
            on_step=lambda i, x0, cleans=cleans: cleans.append(x0),
            options=options,
        )
        found = {"x": [*states[1:], final], "pred_x0": cleans, "final": final}
        if guided:
            found |= {"v_cond": [pair[0] for pair in pairs], "v_uncond": [pair[1] for pair in pairs]}
        for name, value in found.items():
            got[name].append(np.asarray(value))
    result = {"timesteps": compare(schedule.timesteps[::-1], arrays["out.timesteps"], 0.0)}
    for name, samples in got.items():
        value, want = np.stack(samples, axis=0 if name == "final" else 1), arrays[f"out.{name}"]
        limit = tolerance(meta, f"out.{name}")
        if meta["nan"]:
            # the very first prediction has its numbers in the original too
            known = np.isfinite(want)
            result[name] = compare(np.where(known, value, value * 0), np.where(known, want, np.float32(0)), limit)
        else:
            result[name] = compare(value, want, limit)
    return result


RUNNERS = {"schedule": run_schedule, "ddim": run_ddim}
