"""Samplers: from noise to clean latents, with a network that predicts v, in a few steps.

Latents are float32 (C, T, h, w). With signal s = sqrt(abar) and spread n = sqrt(1 - abar), x_t = s x0 + n eps and
v = s eps - n x0. What is returned is the clean estimate of the last step, not x after it, which would still hold noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tgvc.diffusion.schedule import Schedule
from tgvc.diffusion.steps import StepNumbers, ddim_steps, dpm_steps
from tgvc.errors import ConfigError
from tgvc.types import BoolArray, FloatArray, check_array
from tgvc_kernels import ops

Denoise: TypeAlias = Callable[[FloatArray, float], FloatArray | tuple[FloatArray, FloatArray]]
"""``denoise(x, t)``: v, or v with the condition and v without it."""
Noise: TypeAlias = Callable[[int], FloatArray]
"""``noise(i)``: standard normal numbers to be added after step ``i``."""
Correct: TypeAlias = Callable[[FloatArray, int], FloatArray | None]
"""``correct(x0, i)``: gradient to be added, weighted, before step ``i``, from the estimate of the step before it."""
OnStep: TypeAlias = Callable[[int, FloatArray], None]
"""``on_step(i, x0)``: called after step ``i``; counts down to 0."""


@dataclass(frozen=True)
class Hold:
    """Frames that are known already: ``frames`` bool (T,) and their latents in ``clean`` float32 (C, T, h, w).

    With a dynamic rescale they are brought to the level of every step; what a sampler delivers is at that of step 0.
    """

    frames: BoolArray
    clean: FloatArray

    def __post_init__(self) -> None:
        check_array("clean", self.clean, np.float32, (None, None, None, None))
        check_array("frames", self.frames, np.bool_, (self.clean.shape[1],))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a sampler does beside the plain loop.

    ``init``: clean latents float32 (C, T, h, w) to start from instead of pure noise; ``start``: how many of the steps
    are then run (all by default). ``hold``: frames that are known. ``scale``: of classifier-free guidance, 1 = none.
    ``rescale``: 0..1, how far the spread of the combined prediction goes back to that of the conditional one.
    ``noisy``: deliver x after the last step of `ddim`, noise and all, as published, instead of the clean estimate.
    """

    init: FloatArray | None = None
    start: int | None = None
    hold: Hold | None = None
    scale: float = 1.0
    rescale: float = 0.0
    noisy: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise ConfigError(f"scale={self.scale}: expected a finite number")
        if not 0 <= self.rescale <= 1:
            raise ConfigError(f"rescale={self.rescale}: expected 0..1")
        if self.start is not None and self.init is None:
            raise ConfigError(f"start={self.start}: expected init beside it: fewer steps start from latents, not noise")


def ddim(
    denoise: Denoise,
    x: FloatArray,
    schedule: Schedule,
    noise: Noise | None = None,
    correct: Correct | None = None,
    on_step: OnStep | None = None,
    options: Options | None = None,
) -> FloatArray:
    """Clean latents by DDIM.

    Args:
        denoise: predicts v of float32 (C, T, h, w) at a timestep.
        x: standard normal noise float32 (C, T, h, w); not changed.
        schedule: timesteps, eta and weights.
        noise: fresh noise per step; needed where ``schedule.eta`` is above 0.
        correct: gradient of the trajectories.
        on_step: told about every step.
        options: the rest.

    Returns:
        float32 (C, T, h, w), the clean estimate of the last step, or x after it if ``options.noisy``.

    Raises:
        ConfigError: Arrays that do not fit each other, noise that is missing, or a start out of range.

    Source: Song et al., "Denoising Diffusion Implicit Models"; order of guidance and step: T-GVC.
    """
    if schedule.eta > 0 and noise is None:
        raise ConfigError(f"noise: expected a function, as eta={schedule.eta:g} asks for fresh noise")
    options = options or Options()
    run = _Run(denoise, x, schedule, correct, options)
    for step in ddim_steps(schedule, run.first, noisy=options.noisy):
        v = run.predict(step.index)
        fresh = noise(step.index) if noise is not None and step.draw else None
        run.move(step, v, on_step, noise=fresh)
    return run.x if options.noisy else run.clean


def dpm_solver(
    denoise: Denoise,
    x: FloatArray,
    schedule: Schedule,
    noise: Noise | None = None,
    correct: Correct | None = None,
    on_step: OnStep | None = None,
    options: Options | None = None,
) -> FloatArray:
    """Clean latents by DPM-Solver++(2M): as `ddim` with eta 0, but each step also looks back at the estimate before it.

    Arguments, result and errors are those of `ddim`; ``noise`` is not asked for. From pure noise (signal 0) the log
    of the signal-to-noise ratio is not finite: that step, and the one after it, are of first order, which is DDIM.

    Source: Lu et al., "DPM-Solver++", algorithm 2.
    """
    if schedule.eta > 0:
        raise ConfigError(f"eta={schedule.eta:g}: expected 0 with this solver; use ddim")
    if options is not None and options.noisy:
        raise ConfigError(
            "noisy: expected False with this solver, whose last step ends on the clean estimate; use ddim"
        )
    run = _Run(denoise, x, schedule, correct, options or Options())
    earlier: FloatArray | None = None  # estimate of the step before
    for step in dpm_steps(schedule, run.first):
        v = run.predict(step.index)
        clean = run.clean
        run.move(step, v, on_step, earlier=earlier if step.weights[3] else None)
        earlier = clean
    return run.clean


class _Run:
    """What both samplers share: the state x, the newest clean estimate, and what is done to them around a step."""

    def __init__(
        self, denoise: Denoise, noise: FloatArray, schedule: Schedule, correct: Correct | None, options: Options
    ) -> None:
        if not isinstance(noise, np.ndarray) or noise.ndim != 4 or noise.dtype != np.float32:
            raise ConfigError("x: expected float32 (C, T, h, w)")
        for name, array in (("init", options.init), ("hold", options.hold.clean if options.hold else None)):
            if array is not None and (array.shape != noise.shape or array.dtype != np.float32):
                raise ConfigError(f"{name}: expected float32 {noise.shape}, got {array.dtype} {array.shape}")
        start = schedule.steps if options.start is None else options.start
        if not 1 <= start <= schedule.steps:
            raise ConfigError(f"start={start}: expected 1 to {schedule.steps}, the steps of the schedule")
        self.denoise, self.schedule, self.correct, self.options = denoise, schedule, correct, options
        self.noise, self.first = noise, start - 1
        self.x = self.clean = noise
        if options.init is not None:
            self.x, self.clean = self._renoise(options.init, self.first), options.init
        if (gradient := self._gradient(self.first)) is not None:
            self.x = self.x + np.float32(schedule.weight(self.first)) * gradient

    def predict(self, i: int) -> FloatArray:
        """Denoise x at step ``i``: keeps the clean estimate, returns v."""
        hold, options = self.options.hold, self.options
        if hold is not None:
            self.x = np.where(hold.frames[:, None, None], self._renoise(self._held(hold, i), i), self.x)
        found = self.denoise(self.x, float(self.schedule.timesteps[i]))
        conditional, unconditional = found if isinstance(found, tuple) else (found, None)
        a, scale = self.schedule.at(i), self.schedule.clean_scale(i)
        factors = math.sqrt(a), math.sqrt(1 - a), scale
        try:
            self.clean, v = ops.predict_clean(
                self.x, conditional, *factors, unconditional, options.scale, options.rescale
            )
        except ValueError as fault:
            raise ConfigError(f"denoise: returned what does not fit: {fault}") from fault
        if hold is not None:
            self.clean = np.where(hold.frames[:, None, None], self._held(hold, max(i - 1, 0)), self.clean)
        return v

    def move(
        self,
        step: StepNumbers,
        v: FloatArray,
        on_step: OnStep | None,
        *,
        earlier: FloatArray | None = None,
        noise: FloatArray | None = None,
    ) -> None:
        """End a step: x becomes the weighted sum of x, v, the clean estimate and the rest, guided for the next."""
        i = step.index
        if i > 0 or self.options.noisy:  # else nobody looks at x after the last step
            gradient = self._gradient(i - 1) if i > 0 else None
            weights = (*step.weights, step.sigma, step.pull)
            self.x = ops.sampler_step(self.x, v, self.clean, weights, earlier, noise, gradient)
        if on_step is not None:
            on_step(i, self.clean)

    def _gradient(self, i: int) -> FloatArray | None:
        """What ``correct`` says before step ``i``; not asked where it would not count."""
        return self.correct(self.clean, i) if self.correct is not None and self.schedule.weight(i) != 0 else None

    def _held(self, hold: Hold, i: int) -> FloatArray:
        return np.float32(self.schedule.level(i)) * hold.clean

    def _renoise(self, clean: FloatArray, i: int) -> FloatArray:
        a = self.schedule.at(i)
        return np.float32(math.sqrt(a)) * clean + np.float32(math.sqrt(1 - a)) * self.noise
