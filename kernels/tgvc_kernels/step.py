"""One whole step of a sampler: what it takes, and how it is composed of the kernels that do its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tgvc_kernels.plan import GuidancePlan

Latents = npt.NDArray[np.float32]


class Factors(NamedTuple):
    """Numbers of the first half of a step, as of `latent_reference.predict_clean`."""

    signal: float
    spread: float
    clean_scale: float = 1.0
    scale: float = 1.0
    rescale: float = 0.0


class NoiseCounter(NamedTuple):
    """Where normal numbers come from, as of `latent_reference.normal_noise`; draw 0 is what sampling started from.

    ``frames``: int64 (T,). ``draw``: of the fresh noise; 0 = the step adds none.
    """

    seed: int
    group: int
    frames: Any
    draw: int = 0


class Held(NamedTuple):
    """Frames that are known, and how much noise they get.

    ``frames`` bool (T,); ``clean`` float32 (C, T, h, w), their latents; ``signal`` and ``spread``: sqrt(abar) and
    sqrt(1 - abar) of the step that comes next, at whose level noise is put on them: ``start``, float32 (C, T, h, w), or
    that of draw 0 if None. ``level``: what the latents are multiplied with, as the dynamic rescale wants it there.
    """

    frames: Any
    clean: Any
    signal: float
    spread: float
    start: Any = None
    level: float = 1.0


class Pull(NamedTuple):
    """The guidance by trajectories at the clean estimate x0; its weight is w5.

    It looks at ``z = base + scale x0``: ``base`` float32 (C, T, h, w) or None for 0, ``scale`` a number or float32
    (C,). The plan points into the frames of z, and behind them into those of ``outside``, float32 (C, n, h, w) or None,
    which are multiplied with ``outside_level``. ``mean``: the pull at a cell is divided by the sum of the weights that
    meet there.
    """

    plan: Any
    base: Any = None
    scale: Any = 1.0
    outside: Any = None
    mean: bool = False
    outside_level: float = 1.0


class StepParts(NamedTuple):
    """The kernels that a step is composed of."""

    predict_clean: Callable[..., Any]
    normal_noise: Callable[..., Any]
    guidance_gradient: Callable[..., Any]
    sampler_step: Callable[..., Any]


def compose_step(
    kernels: StepParts,
    x: Latents,
    v: npt.NDArray[Any],
    factors: Factors,
    weights: tuple[float, float, float, float, float, float],
    uncond: npt.NDArray[Any] | None,
    earlier: Latents | None,
    noise: NoiseCounter | None,
    held: Held | None,
    pull: Pull | None,
    network: npt.NDArray[Any] | None,
) -> tuple[Latents, Latents]:
    """`latent_reference.guided_step` out of its parts."""
    channels, _, height, width = x.shape
    wide, other = np.asarray(v, np.float32), None if uncond is None else np.asarray(uncond, np.float32)
    clean, output = kernels.predict_clean(x, wide, *factors[:3], other, *factors[3:])
    if held is not None:
        kept = np.asarray(held.frames, np.bool_)
        known = np.float32(held.level) * held.clean[:, kept]
        clean[:, kept] = known
    fresh = None
    if noise is not None and noise.draw > 0:
        fresh = kernels.normal_noise(noise.seed, noise.group, noise.frames, noise.draw, channels, height, width)
    gradient = None if pull is None else _gradient(kernels, clean, pull)
    following = kernels.sampler_step(x, output, clean, weights, earlier, fresh, gradient)
    if held is not None:
        start = held.start
        if start is None and noise is None:
            raise ValueError("held: expected start in it or noise beside it: known frames get noise too")
        if start is None:
            assert noise is not None
            start = kernels.normal_noise(noise.seed, noise.group, noise.frames, 0, channels, height, width)
        following[:, kept] = np.float32(held.signal) * known + np.float32(held.spread) * start[:, kept]
    if network is not None:
        network[:, :channels] = following
    return following, clean


def _gradient(kernels: StepParts, clean: Latents, pull: Pull) -> Latents:
    scale = np.asarray(pull.scale, np.float32)
    scaled = (scale if scale.ndim == 0 else scale[:, None, None, None]) * clean
    z = scaled if pull.base is None else pull.base + scaled
    volume = z
    if pull.outside is not None:
        volume = np.concatenate([z, np.float32(pull.outside_level) * pull.outside], axis=1)
    gradient: Latents = kernels.guidance_gradient(z, pull.plan, volume, volume)
    if pull.mean and pull.plan.cells.size:
        gradient.reshape(len(gradient), -1)[:, pull.plan.cells] /= pulls_per_cell(pull.plan)
    return gradient


def pulls_per_cell(plan: GuidancePlan) -> npt.NDArray[np.float32]:
    """Sum of the weights at every cell of a plan that has any, float32 (M,); at least one half."""
    halves = plan.first_halves.astype(np.int64) + plan.last_halves
    return np.asarray(np.maximum(np.add.reduceat(halves, plan.rows[:-1]), 1) / 2, np.float32)
