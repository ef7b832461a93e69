"""The kernels of the diffusion by name: checks once, then the implementation that was asked for. `ops` offers them."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt

from tgvc_kernels import latent_cpu, latent_reference
from tgvc_kernels.choice import Implementation, choose
from tgvc_kernels.plan import GuidancePlan

Latents = npt.NDArray[np.float32]
_WORD = 1 << 32


def _module(implementation: Implementation) -> ModuleType:
    return choose(implementation, cpu=latent_cpu, reference=latent_reference)


def _check_latents(name: str, latents: Latents, shape: tuple[int, ...] | None = None) -> None:
    if latents.dtype != np.float32 or latents.ndim != 4 or (shape is not None and latents.shape != shape):
        want = "(C, T, h, w)" if shape is None else str(shape)
        raise ValueError(f"{name}: expected float32 {want}, got {latents.dtype} {latents.shape}")


def normal_noise(
    seed: int,
    group: int,
    frames: npt.NDArray[np.int64],
    step: int,
    channels: int,
    height: int,
    width: int,
    implementation: Implementation = "cpu",
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


def guidance_plan(
    xy: Latents,
    visible: npt.NDArray[np.bool_],
    slots: npt.NDArray[np.int64],
    size: tuple[int, int, int],
    cell: int = 8,
    radius: int = 2,
    parity: bool = False,
    implementation: Implementation = "cpu",
) -> GuidancePlan:
    """Where the tracks of a segment pull at latents; see `latent_reference.guidance_plan`."""
    if xy.dtype != np.float32 or xy.ndim != 3 or xy.shape[2] != 2 or xy.shape[1] < 2:
        raise ValueError(f"xy: expected float32 (K, n, 2) with n >= 2, got {xy.dtype} {xy.shape}")
    if visible.dtype != np.bool_ or visible.shape != xy.shape[:2]:
        raise ValueError(f"visible: expected bool {xy.shape[:2]}, got {visible.dtype} {visible.shape}")
    if slots.dtype != np.int64 or slots.shape != (xy.shape[1],):
        raise ValueError(f"slots: expected int64 ({xy.shape[1]},), got {slots.dtype} {slots.shape}")
    if min(size) < 1 or np.prod(size, dtype=np.float64) >= 1 << 31:
        raise ValueError(f"size={size}: expected positive (T, h, w)")
    between = slots[1:-1]
    shown = between[between >= 0]
    if shown.size and (shown.max() >= size[0] or np.unique(shown).size < shown.size):
        raise ValueError(f"slots: expected different frames below {size[0]} or -1, got {slots.tolist()}")
    if slots.max() >= (1 << 31) // (size[1] * size[2]):
        raise ValueError(
            f"slots: {int(slots.max())} is beyond what 32 bits can point at with {size[1]} x {size[2]} cells"
        )
    if not 1 <= cell <= 4096 or not 0 <= radius <= 64:
        raise ValueError(f"cell={cell}, radius={radius}: expected 1 to 4096 px and 0 to 64 cells")
    if parity and xy.shape[1] != latent_reference.PARITY_SAMPLES:
        raise ValueError(f"xy: parity knows {latent_reference.PARITY_SAMPLES} samples per track, got {xy.shape[1]}")
    result: GuidancePlan = _module(implementation).guidance_plan(xy, visible, slots, size, cell, radius, parity)
    return result


def guidance_gradient(
    z: Latents,
    plan: GuidancePlan,
    start: Latents | None = None,
    end: Latents | None = None,
    implementation: Implementation = "cpu",
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


def predict_clean(
    x: Latents,
    v: Latents,
    signal: float,
    spread: float,
    clean_scale: float = 1.0,
    uncond: Latents | None = None,
    scale: float = 1.0,
    rescale: float = 0.0,
    implementation: Implementation = "cpu",
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


def sampler_step(
    x: Latents,
    v: Latents,
    clean: Latents,
    weights: tuple[float, float, float, float, float, float],
    earlier: Latents | None = None,
    noise: Latents | None = None,
    gradient: Latents | None = None,
    implementation: Implementation = "cpu",
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
