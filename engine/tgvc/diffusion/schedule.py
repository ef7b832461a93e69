"""How much noise each denoising step starts from and ends at, and how hard the trajectories pull at it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tgvc.diffusion.aligned import place_aligned
from tgvc.errors import ConfigError
from tgvc.types import IntArray

TRAIN_STEPS = 1000
SCHEDULE = "linear-ztsnr"  # the name a bundle gives it
Spacing: TypeAlias = Literal["uniform_trailing", "uniform", "ays-sd", "ays-svd"]
Float64Array: TypeAlias = npt.NDArray[np.float64]

_FIRST_BETA, _LAST_BETA = 0.00085, 0.012
_FULL_SCALE_UNTIL, _LEAST_SCALE = 400, 0.7  # of the dynamic rescale
_PUBLISHED_GUIDANCE = 30.0


def linear_abar(train_steps: int = TRAIN_STEPS) -> Float64Array:
    """Share of the signal's variance in x_t: float64 (train_steps,), from 0.99915 down to exactly 0.

    The square root of beta rises linearly from sqrt(0.00085) to sqrt(0.012); then the square root of abar is shifted
    and stretched so that the last step is pure noise and the first stays as it was.

    Source: T-GVC's base model; Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023.
    """
    if train_steps < 2:
        raise ConfigError(f"train_steps={train_steps}: expected at least 2")
    betas = np.linspace(math.sqrt(_FIRST_BETA), math.sqrt(_LAST_BETA), train_steps) ** 2
    root = np.sqrt(np.cumprod(1 - betas))
    return np.asarray(((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2)


def place_timesteps(
    steps: int, spacing: Spacing = "uniform_trailing", train_steps: int = TRAIN_STEPS, *, parity: bool = False
) -> IntArray:
    """Timesteps int64 (steps,), increasing, of the denoising steps.

    ``uniform_trailing`` ends on the last timestep (pure noise): 19, 39, .., 999 for 50. ``uniform`` starts at 1: 1, 21,
    .., 981 for 50, and never sees pure noise. ``ays-sd`` and ``ays-svd``: see `tgvc.diffusion.aligned.place_aligned`.

    With ``parity`` as published: ``uniform`` goes on to the last timestep, which may give one more than was asked for
    (17 for 16), and ``uniform_trailing`` counts down in strides of float64.

    Raises:
        ConfigError: an unknown spacing, or a number of steps for which it leaves the timesteps.
    """
    if spacing == "ays-sd" or spacing == "ays-svd":  # spelled out for the type checker
        if parity:
            raise ConfigError(f"spacing={spacing!r}: expected uniform_trailing or uniform with parity")
        return place_aligned(steps, spacing, linear_abar(train_steps))
    if spacing not in ("uniform_trailing", "uniform"):
        raise ConfigError(f"spacing={spacing!r}: expected uniform_trailing, uniform, ays-sd or ays-svd")
    most = train_steps if spacing == "uniform_trailing" else train_steps - 1
    if not 1 <= steps <= most:
        raise ConfigError(f"steps={steps}: expected 1 to {most} with {spacing}")
    if parity:
        return _published_timesteps(steps, spacing, train_steps)
    if spacing == "uniform":
        return np.arange(steps, dtype=np.int64) * (train_steps // steps) + 1
    # halves are rounded to even, as everywhere in Python
    return np.array([round(train_steps * (n + 1) / steps) - 1 for n in range(steps)], np.int64)


def _published_timesteps(steps: int, spacing: Spacing, train_steps: int) -> IntArray:
    if spacing == "uniform":
        places = np.arange(0, train_steps, train_steps // steps, dtype=np.int64) + 1
    else:
        places = np.rint(np.arange(train_steps, 0, -train_steps / steps)).astype(np.int64)[::-1] - 1
    if places[0] < 0 or places[-1] >= train_steps:
        raise ConfigError(f"steps={steps}: with parity and {spacing} they leave the {train_steps} timesteps")
    return places


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Everything that a sampler multiplies with. Steps count down: index S - 1 comes first, 0 last.

    ``abar`` float64 (N,): share of the signal's variance, not rising, 1 >= abar >= 0. ``timesteps`` int64 (S,):
    increasing, below N. ``eta``: share of fresh noise in DDIM, 0 (none) to 1. ``dynamic``: rescale the clean estimate
    as the published base model does. ``guidance`` float64 (S,): what the gradient of the trajectories is multiplied
    with before each step; all zero by default. ``rounded``: some sums are taken in float32, as published.
    """

    abar: Float64Array = field(default_factory=linear_abar)
    timesteps: IntArray
    eta: float = 0.0
    dynamic: bool = False
    guidance: Float64Array | None = None
    rounded: bool = False

    def __post_init__(self) -> None:
        a, t = self.abar, self.timesteps
        if a.ndim != 1 or a.size < 2 or not (a >= 0).all() or not (a <= 1).all() or (np.diff(a) > 0).any():
            raise ConfigError("abar: expected at least 2 numbers in 0..1 that do not rise")
        if t.ndim != 1 or t.size < 1 or t[0] < 0 or t[-1] >= a.size or (np.diff(t) < 1).any():
            raise ConfigError(f"timesteps: expected increasing numbers in 0..{a.size - 1}, got {t.tolist()}")
        if not a[0] > 0 or not (a[t] < 1).all():
            raise ConfigError("abar: expected some signal at 0 and some noise at every timestep")
        if not 0 <= self.eta <= 1:
            raise ConfigError(f"eta={self.eta}: expected 0..1")
        if self.guidance is None:
            object.__setattr__(self, "guidance", np.zeros(t.size))
        elif self.guidance.shape != t.shape or not np.isfinite(self.guidance).all():
            raise ConfigError(f"guidance: expected {t.size} finite numbers, got shape {self.guidance.shape}")

    @property
    def steps(self) -> int:
        """Number of denoising steps S."""
        return int(self.timesteps.size)

    def at(self, i: int) -> float:
        """Abar that step ``i`` starts from."""
        return float(self.abar[self.timesteps[i]])

    def after(self, i: int) -> float:
        """Abar that step ``i`` ends at: that of the next step, and abar[0] (not 1) after the last."""
        return float(self.abar[self.timesteps[i - 1] if i else 0])

    def sigma(self, i: int) -> float:
        """Standard deviation of the fresh noise that DDIM adds at the end of step ``i``.

        Source: Song et al., "Denoising Diffusion Implicit Models", equation 16.
        """
        a, b = self.at(i), self.after(i)
        return self.eta * math.sqrt((1 - b) / (1 - a) * max(1 - a / b, 0.0)) if b > 0 else 0.0

    def direction(self, i: int) -> float:
        """What DDIM multiplies the old noise with at the end of step ``i``.

        From pure noise with eta 1 nothing is left of it. In float32 the difference below may come out as a few 1e-8 of
        either sign: the published code then adds 2e-4 of the old noise, or takes the root of a negative number, which
        is 0 here.
        """
        if self.rounded:
            rest = float(np.float32(1) - np.float32(self.after(i)) - np.float32(self.sigma(i)) ** 2)
        else:
            rest = 1 - self.after(i) - self.sigma(i) ** 2
        return math.sqrt(max(rest, 0.0))

    def clean_scale(self, i: int) -> float:
        """What the clean estimate of step ``i`` is multiplied with: 1 without ``dynamic``, at i = 0 and for t >= 400.

        Source: the base model of T-GVC.
        """
        return self.level(i - 1) / self.level(i) if i else 1.0

    def level(self, i: int) -> float:
        """What clean latents are multiplied with at the timestep of step ``i``; 1 without ``dynamic``."""
        return dynamic_scale(int(self.timesteps[i])) if self.dynamic else 1.0

    def weight(self, i: int) -> float:
        """What the gradient of the trajectories is multiplied with before step ``i``."""
        assert self.guidance is not None
        return float(self.guidance[i])


def dynamic_scale(t: int) -> float:
    """What clean latents were multiplied with in training: 1 at t = 0, 0.7 at t = 399, a straight line, then 0.7."""
    return 1 - (1 - _LEAST_SCALE) * min(t / (_FULL_SCALE_UNTIL - 1), 1.0)


def guidance_weights(
    abar: Float64Array, timesteps: IntArray, strength: float = 1.1, *, parity: bool = False
) -> Float64Array:
    """Weights w(i) of the trajectories' gradient, float64 (S,).

    Default: ``strength * (1 - abar[timesteps[i]])``, and 0 at the first step, whose estimate is noise. With ``parity``:
    ``30 * (1 - abar[i])``, the published weights, which look up the step's index where its timestep was meant;
    ``strength`` has no part in it. At 50 steps a strength of 1.1 gives about the same sum.
    """
    if parity:
        return np.asarray(_PUBLISHED_GUIDANCE * (1 - abar[: timesteps.size]))
    if not (math.isfinite(strength) and strength >= 0):
        raise ConfigError(f"strength={strength}: expected a finite number from 0")
    weights = strength * (1 - abar[timesteps])
    weights[-1] = 0
    return np.asarray(weights)


def make_schedule(
    steps: int,
    *,
    spacing: Spacing = "uniform_trailing",
    name: str = SCHEDULE,
    train_steps: int = TRAIN_STEPS,
    eta: float = 0.0,
    dynamic: bool = False,
    strength: float = 1.1,
    parity: bool = False,
) -> Schedule:
    """The schedule of a number of denoising steps.

    ``strength`` and ``parity`` are those of `guidance_weights`; ``parity`` is also that of `place_timesteps`, and takes
    abar and sums in float32 as the published code does.

    Raises:
        ConfigError: A name that is not known, or a value that is out of its range.
    """
    if name != SCHEDULE:
        raise ConfigError(f"schedule={name!r}: expected {SCHEDULE}")
    abar, timesteps = linear_abar(train_steps), place_timesteps(steps, spacing, train_steps, parity=parity)
    weights = guidance_weights(abar, timesteps, strength, parity=parity)
    if parity:
        abar = abar.astype(np.float32).astype(np.float64)
    return Schedule(abar=abar, timesteps=timesteps, eta=eta, dynamic=dynamic, guidance=weights, rounded=parity)
