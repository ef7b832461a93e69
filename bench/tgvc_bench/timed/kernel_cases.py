"""One call of every kernel, as a decoder of 512 x 320 px and 16 frames makes it, on random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc_bench.kernels import make_arguments
from tgvc_kernels import latent_ops, ops, picture_ops
from tgvc_kernels.plan import GuidancePlan
from tgvc_kernels.step import Factors, NoiseCounter, Pull

CELL = 8  # px of a latent cell
POINTS = 128  # trajectories of a rich segment
FRAMES = 16
_RELATIVE = {"densify": 1e-5, "blend_weights": 1e-5}  # sums and exponentials are rounded there; docs/kernels.md
_DDIM = (0.4, -0.3, 0.7, 0.0, 0.2, 0.1)  # weights of a step: x, v, x0, none of an earlier one, noise, pull


@dataclass(frozen=True)
class KernelCase:
    """A kernel, how it is called, and what it promises.

    ``call(arguments, implementation)`` gives the result; ``draw(seed)`` its arguments. ``within``: largest difference
    from the reference as a part of the largest value; 0: the same bits.
    """

    name: str
    call: Callable[..., Any]
    draw: Callable[[int], tuple[Any, ...]]
    within: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, arguments: tuple[Any, ...], implementation: str) -> list[npt.NDArray[Any]]:
        """The result as arrays."""
        return as_arrays(self.call(*arguments, **self.options, implementation=implementation))

    def moved_bytes(self, arguments: tuple[Any, ...]) -> int:
        """Bytes of all arguments and results, each read or written once."""
        given = sum(array.nbytes for argument in arguments for array in as_arrays(argument))
        return given + sum(array.nbytes for array in self.run(arguments, "cpu"))


def as_arrays(value: Any) -> list[npt.NDArray[Any]]:
    """The arrays in a value: itself, or those of a tuple and of tuples in it; numbers are none."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, tuple):
        return [array for part in value for array in as_arrays(part)]
    return []


def list_cases(size: tuple[int, int] = (512, 320), frames: int = FRAMES, points: int = POINTS) -> list[KernelCase]:
    """All kernels, in the order in which a decoder comes to them.

    Args:
        size: (width, height) of the pictures in px, multiples of 16.
        frames: of a segment.
        points: trajectories of the guidance.
    """
    width, height = size
    shape = frames, height // CELL, width // CELL
    cases = [
        KernelCase(name, getattr(ops, name), _drawing(name, size), _RELATIVE.get(name, 0.0))
        for name in make_arguments(16, 16)
    ]
    cases += [
        KernelCase("pack_planes", picture_ops.pack_planes, lambda seed: (_pictures(seed, size, 4),)),
        KernelCase("unpack_planes", picture_ops.unpack_planes, lambda seed: (_planes(seed, size, 4),)),
        KernelCase("yuv_to_rgb", picture_ops.yuv_to_rgb, lambda seed: (_pictures(seed, size, 2), 1)),
        KernelCase("rgb_to_yuv", picture_ops.rgb_to_yuv, lambda seed: (_rgb(seed, size, 2), 1)),
        KernelCase(
            "normal_noise", latent_ops.normal_noise, lambda seed: (seed, 7, np.arange(frames), 3, 4, *shape[1:])
        ),
        KernelCase("guidance_plan", latent_ops.guidance_plan, lambda seed: draw_tracks(seed, shape, points)),
        KernelCase("guidance_gradient", latent_ops.guidance_gradient, lambda seed: _gradient(seed, shape, points)),
        KernelCase("predict_clean", latent_ops.predict_clean, lambda seed: _clean(seed, shape)),
        KernelCase("sampler_step", latent_ops.sampler_step, lambda seed: _step(seed, shape)),
        KernelCase("guided_step", latent_ops.guided_step, lambda seed: draw_step(seed, shape, points)),
    ]
    return cases


def _drawing(name: str, size: tuple[int, int]) -> Callable[[int], tuple[Any, ...]]:
    return lambda seed: make_arguments(*size, seed)[name]


def _pictures(seed: int, size: tuple[int, int], count: int) -> npt.NDArray[np.uint8]:
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (count, height * 3 // 2, width), np.uint8)


def _planes(seed: int, size: tuple[int, int], count: int) -> npt.NDArray[np.float32]:
    width, height = size
    return np.random.default_rng(seed).uniform(-1, 1, (count, 6, height // 2, width // 2)).astype(np.float32)


def _rgb(seed: int, size: tuple[int, int], count: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, size[1], size[0])).astype(np.float32)


def draw_latents(seed: int, shape: tuple[int, int, int], channels: int = 4) -> npt.NDArray[np.float32]:
    """Normal numbers float32 (C, T, h, w)."""
    return np.random.default_rng(seed).standard_normal((channels, *shape), np.float32)


def draw_tracks(seed: int, shape: tuple[int, int, int], points: int) -> tuple[Any, ...]:
    """Arguments of `guidance_plan`: straight tracks with a little jitter, some of which leave the picture."""
    frames, height, width = shape
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 1, (points, 1, 2)) * (width * CELL, height * CELL)
    path = start + rng.normal(0, 4, (points, 1, 2)) * np.arange(frames)[:, None] + rng.normal(0, 1, (points, frames, 2))
    seen = rng.random((points, frames)) > 0.05
    return path.astype(np.float32), seen, np.arange(frames), shape, CELL, 2


def draw_plan(seed: int, shape: tuple[int, int, int], points: int) -> GuidancePlan:
    """A plan of such tracks."""
    return latent_ops.guidance_plan(*draw_tracks(seed, shape, points))


def _gradient(seed: int, shape: tuple[int, int, int], points: int) -> tuple[Any, ...]:
    return draw_latents(seed, shape), draw_plan(seed, shape, points)


def _clean(seed: int, shape: tuple[int, int, int]) -> tuple[Any, ...]:
    x, v, u = (draw_latents(seed + n, shape) for n in (0, 1000, 2000))
    return x, v, 0.8, 0.6, 1.0, u, 7.5, 0.7


def _step(seed: int, shape: tuple[int, int, int]) -> tuple[Any, ...]:
    x, v, clean, noise, gradient = (draw_latents(seed + n, shape) for n in range(0, 5000, 1000))
    return x, v, clean, _DDIM, None, noise, gradient


def draw_step(seed: int, shape: tuple[int, int, int], points: int) -> tuple[Any, ...]:
    """Arguments of `guided_step` with everything that a published step has: both outputs, rescale, noise, pull."""
    x, v, u = (draw_latents(seed + n, shape) for n in (0, 1000, 2000))
    counter = NoiseCounter(seed, 7, np.arange(shape[0]), 3)
    return x, v, Factors(0.8, 0.6, 1.0, 7.5, 0.7), _DDIM, u, None, counter, None, Pull(draw_plan(seed, shape, points))
