"""The kernels of the diffusion by name: checks once, then the implementation that was asked for. `ops` offers them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc_kernels import latent_cpu, latent_reference
from tgvc_kernels.choice import Implementation, by_array, choose
from tgvc_kernels.plan import GuidancePlan, check_tracks
from tgvc_kernels.step import Factors, Held, NoiseCounter, Pull

Latents = npt.NDArray[np.float32]
_WORD = 1 << 32


def _module(implementation: Implementation | None) -> ModuleType:
    return choose(implementation, cpu=latent_cpu, reference=latent_reference)


def _check_latents(name: str, latents: Latents, shape: tuple[int, ...] | None = None) -> None:
    if latents.dtype != np.float32 or latents.ndim != 4 or (shape is not None and latents.shape != shape):
        want = "(C, T, h, w)" if shape is None else str(shape)
        raise ValueError(f"{name}: expected float32 {want}, got {latents.dtype} {latents.shape}")


@by_array
def normal_noise(
    seed: int,
    group: int,
    frames: npt.NDArray[np.int64],
    step: int,
    channels: int,
    height: int,
    width: int,
    *,
    implementation: Implementation | None = None,
    stream: Any = None,
) -> Latents:
    """Standard normal numbers (C, T, h, w) by position; see `latent_reference.normal_noise`."""
    for name, value in (("seed", seed), ("group", group), ("step", step)):
        if not 0 <= value < _WORD:
            raise ValueError(f"{name}={value}: expected 0 to {_WORD - 1}")
    if frames.dtype != np.int64 or frames.ndim != 1 or not ((frames >= 0) & (frames < _WORD)).all():
        raise ValueError(f"frames: expected int64 (T,) in 0 to {_WORD - 1}, got {frames.dtype} {frames.shape}")
    if min(channels, height, width) < 1 or height * width >= _WORD:
        raise ValueError(f"channels={channels}, height={height}, width={width}: expected positive numbers")
    result: Latents = _module(implementation).normal_noise(seed, group, frames, step, channels, height, width)
    return result


@by_array
def guidance_plan(
    xy: Latents,
    visible: npt.NDArray[np.bool_],
    slots: npt.NDArray[np.int64],
    size: tuple[int, int, int],
    cell: int = 8,
    radius: int = 2,
    parity: bool = False,
    *,
    implementation: Implementation | None = None,
    stream: Any = None,
) -> GuidancePlan:
    """Where the tracks of a segment pull at latents; see `latent_reference.guidance_plan`."""
    check_tracks(xy, visible, slots, size, cell, radius, parity)
    result: GuidancePlan = _module(implementation).guidance_plan(xy, visible, slots, size, cell, radius, parity)
    return result


@by_array
def guidance_gradient(
    z: Latents,
    plan: GuidancePlan,
    start: Latents | None = None,
    end: Latents | None = None,
    *,
    implementation: Implementation | None = None,
    stream: Any = None,
) -> Latents:
    """Pull (C, T, h, w) of the trajectories at latents; see `latent_reference.guidance_gradient`."""
    _check_latents("z", z, (z.shape[0], *plan.size))
    for name, volume, index in (("start", start, plan.first), ("end", end, plan.last)):
        if volume is not None:
            _check_latents(name, volume, (z.shape[0], *volume.shape[1:2], *plan.size[1:]))
        known = z if volume is None else volume
        if index.size and int(index.max()) >= known[0].size:
            raise ValueError(f"{name}: the plan points beyond its {known.shape[1]} frames")
    result: Latents = _module(implementation).guidance_gradient(z, plan, start, end)
    return result


@by_array
def predict_clean(
    x: Latents,
    v: Latents,
    signal: float,
    spread: float,
    clean_scale: float = 1.0,
    uncond: Latents | None = None,
    scale: float = 1.0,
    rescale: float = 0.0,
    *,
    implementation: Implementation | None = None,
    stream: Any = None,
) -> tuple[Latents, Latents]:
    """Clean estimate and combined output, both (C, T, h, w); see `latent_reference.predict_clean`."""
    _check_latents("x", x)
    _check_latents("v", v, x.shape)
    if uncond is not None:
        _check_latents("uncond", uncond, x.shape)
    if not 0 <= rescale <= 1:
        raise ValueError(f"rescale={rescale}: expected 0..1")
    arguments = (x, v, signal, spread, clean_scale, uncond, scale, rescale)
    result: tuple[Latents, Latents] = _module(implementation).predict_clean(*arguments)
    return result


@by_array
def sampler_step(
    x: Latents,
    v: Latents,
    clean: Latents,
    weights: tuple[float, float, float, float, float, float],
    earlier: Latents | None = None,
    noise: Latents | None = None,
    gradient: Latents | None = None,
    *,
    implementation: Implementation | None = None,
    stream: Any = None,
) -> Latents:
    """The next x (C, T, h, w) as a weighted sum; see `latent_reference.sampler_step`."""
    _check_latents("x", x)
    named = {"v": v, "clean": clean, "earlier": earlier, "noise": noise, "gradient": gradient}
    for name, term in named.items():
        if term is not None:
            _check_latents(name, term, x.shape)
    if len(weights) != 6:
        raise ValueError(f"weights: expected 6 numbers, got {len(weights)}")
    result: Latents = _module(implementation).sampler_step(x, v, clean, weights, earlier, noise, gradient)
    return result


@by_array
def guided_step(
    x: Latents,
    v: npt.NDArray[Any],
    factors: Factors,
    weights: tuple[float, float, float, float, float, float],
    uncond: npt.NDArray[Any] | None = None,
    earlier: Latents | None = None,
    noise: NoiseCounter | None = None,
    held: Held | None = None,
    pull: Pull | None = None,
    network: npt.NDArray[Any] | None = None,
    *,
    implementation: Implementation | None = None,
    stream: Any = None,
) -> tuple[Latents, Latents]:
    """The next x and the clean estimate, both (C, T, h, w), of a whole step; see `latent_reference.guided_step`."""
    _check_latents("x", x)
    for name, term in (("v", v), ("uncond", uncond)):
        if term is not None and term.shape != x.shape:
            raise ValueError(f"{name}: expected {x.shape}, got {term.shape}")
    for name, term in (("earlier", earlier), ("held.clean", held and held.clean), ("base", pull and pull.base)):
        if term is not None:
            _check_latents(name, term, x.shape)
    if len(weights) != 6:
        raise ValueError(f"weights: expected 6 numbers, got {len(weights)}")
    if not 0 <= factors.rescale <= 1:
        raise ValueError(f"rescale={factors.rescale}: expected 0..1")
    if network is not None and (network.ndim != 5 or network.shape[2:] != x.shape[1:] or network.shape[1] < len(x)):
        raise ValueError(f"network: expected (rows, {len(x)} or more, {str(x.shape[1:])[1:]}, got {network.shape}")
    arguments = (x, v, factors, weights, uncond, earlier, noise, held, pull, network)
    result: tuple[Latents, Latents] = _module(implementation).guided_step(*arguments)
    return result
