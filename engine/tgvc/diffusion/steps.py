"""Samplers as lists of numbers: what each step multiplies with, so that one kernel, or a recorded graph, runs them.

A step is what `tgvc_kernels.step` calls one: from x and the network's v to the clean estimate, and from these to the
next x as a weighted sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tgvc.diffusion.schedule import Schedule

_FEWEST = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class StepNumbers:
    """One step of a sampler.

    ``index``: of the step in its schedule, counts down to 0. ``timestep``: what the network is told.

    ``signal, spread, clean_scale``: the estimate is ``clean_scale (signal x - spread v)``.

    ``weights``: of x, v, the estimate and the estimate of the step before. ``sigma``: of fresh noise; ``draw``: which
    of the draws of `tgvc.diffusion.noise`, 0 = none. ``pull``: of the gradient of the trajectories at the estimate, 0 =
    none. The next x is the sum of all these.

    ``level``: what clean latents are multiplied with where the next step begins; ``next_signal, next_spread``: how much
    of them, and of noise, x holds there. Known frames, and what the trajectories are compared with, are brought to it.

    ``guided``: the network is also asked without its condition, where the sampler guides without a classifier.
    """

    index: int
    timestep: int
    signal: float
    spread: float
    clean_scale: float = 1.0
    weights: tuple[float, float, float, float] = _FEWEST
    sigma: float = 0.0
    draw: int = 0
    pull: float = 0.0
    level: float = 1.0
    next_signal: float = 1.0
    next_spread: float = 0.0
    guided: bool = True


def opening_step(schedule: Schedule, first: int | None = None) -> StepNumbers:
    """What is done to noise before the first step: known frames are put in, and trajectories may pull already.

    Args:
        schedule: of the sampler.
        first: index of the first step; the schedule's by default.

    Returns:
        Numbers that take x for its own clean estimate; v has no part in it, but must be finite.
    """
    i = schedule.steps - 1 if first is None else first
    a = schedule.at(i)
    return StepNumbers(
        index=i + 1,
        timestep=int(schedule.timesteps[i]),
        signal=1.0,
        spread=0.0,
        pull=schedule.weight(i),
        level=schedule.level(i),
        next_signal=math.sqrt(a),
        next_spread=math.sqrt(1 - a),
    )


def ddim_steps(schedule: Schedule, first: int | None = None, *, noisy: bool = False) -> list[StepNumbers]:
    """DDIM, in order of work.

    Args:
        schedule: timesteps, eta and weights.
        first: index of the first step; the schedule's by default.
        noisy: fresh noise is added after the last step too: x is wanted there, not the estimate.

    Source: Song et al., "Denoising Diffusion Implicit Models"; order of guidance and step: T-GVC.
    """
    steps = []
    for i in range(schedule.steps - 1 if first is None else first, -1, -1):
        a, b, sigma, direction = schedule.at(i), schedule.after(i), schedule.sigma(i), schedule.direction(i)
        # eps = s v + n x
        weights = direction * math.sqrt(1 - a), direction * math.sqrt(a), math.sqrt(b), 0.0
        wanted = sigma > 0 and (i > 0 or noisy)
        steps.append(_step(schedule, i, weights, sigma, wanted=wanted))
    return steps


def dpm_steps(schedule: Schedule, first: int | None = None) -> list[StepNumbers]:
    """DPM-Solver++(2M), in order of work; from pure noise the first two steps are of first order, which is DDIM.

    Source: Lu et al., "DPM-Solver++", algorithm 2.
    """
    steps, stride_before = [], math.inf
    for i in range(schedule.steps - 1 if first is None else first, -1, -1):
        a, b = schedule.at(i), schedule.after(i)
        stride = _half_log_snr(b) - _half_log_snr(a)
        ratio = math.sqrt((1 - b) / (1 - a))
        # the estimate, and its forerunner, are at the level of the step that comes next, the signal in x at this one's
        scale = schedule.clean_scale(i)
        gain = math.sqrt(b) - math.sqrt(a) * ratio / scale
        share = stride / (2 * stride_before) if math.isfinite(stride_before) else 0.0
        steps.append(_step(schedule, i, (ratio, 0.0, gain * (1 + share), -gain * share * scale)))
        stride_before = stride
    return steps


def _step(
    schedule: Schedule,
    i: int,
    weights: tuple[float, float, float, float],
    sigma: float = 0.0,
    *,
    wanted: bool = False,
) -> StepNumbers:
    a, following = schedule.at(i), max(i - 1, 0)
    after = schedule.at(following)
    return StepNumbers(
        index=i,
        timestep=int(schedule.timesteps[i]),
        signal=math.sqrt(a),
        spread=math.sqrt(1 - a),
        clean_scale=schedule.clean_scale(i),
        weights=weights,
        sigma=sigma if wanted else 0.0,
        draw=i + 1 if wanted else 0,
        pull=schedule.weight(i - 1) if i > 0 else 0.0,
        level=schedule.level(following),
        next_signal=math.sqrt(after),
        next_spread=math.sqrt(1 - after),
    )


def _half_log_snr(abar: float) -> float:
    return -math.inf if abar == 0 else 0.5 * math.log(abar / (1 - abar))
