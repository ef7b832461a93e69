"""Noise and guidance on a GPU: twins of `tgvc_kernels.latent_reference`, exact where the type can hold it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tgvc_kernels import latent_cpu
from tgvc_kernels.device.arrays import DeviceArray, on_device
from tgvc_kernels.device.call import SUFFIXES, Call
from tgvc_kernels.plan import GuidancePlan, check_tracks

_MOST_CELLS = 1 << 30  # of the volumes that a plan points into: two bits of an entry's word are its weight
_WORD = 1 << 32


class DevicePlan(NamedTuple):
    """A `GuidancePlan` on a GPU, with a row for every cell.

    ``size``: (T, h, w). ``starts`` int32 (T h w + 1,): entries ``starts[q]`` to ``starts[q + 1]`` belong to cell q.
    ``entries`` uint32 (E, 2): 4 * index + halves for the first and for the last reference. ``reach``: what the indices
    of both stay below.
    """

    size: tuple[int, int, int]
    starts: Any
    entries: Any
    reach: tuple[int, int]


def upload_plan(plan: GuidancePlan, *, stream: Any) -> DevicePlan:
    """A plan on the GPU.

    Args:
        plan: of `latent_cpu.guidance_plan`.
        stream: that orders the copy.

    Raises:
        ValueError: an index beyond 2**30.
        GpuUnavailableError: see `Call`.
    """
    call = Call("guidance", stream)
    reach = tuple(int(index.max()) + 1 if index.size else 0 for index in (plan.first, plan.last))
    if max(reach) > _MOST_CELLS:
        raise ValueError(f"plan: points at cell {max(reach) - 1}, expected at most {_MOST_CELLS - 1}")
    counts = np.zeros(int(np.prod(plan.size)), np.int64)
    counts[plan.cells] = np.diff(plan.rows)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    pairs = ((plan.first, plan.first_halves), (plan.last, plan.last_halves))
    entries = np.stack([index.astype(np.uint32) * 4 + halves.astype(np.uint32) for index, halves in pairs], axis=-1)
    runtime = call.runtime
    return DevicePlan(
        plan.size, runtime.upload(starts, call.stream), runtime.upload(entries, call.stream), (reach[0], reach[1])
    )


def guidance_plan(
    xy: npt.NDArray[np.float32],
    visible: npt.NDArray[np.bool_],
    slots: npt.NDArray[np.int64],
    size: tuple[int, int, int],
    cell: int = 8,
    radius: int = 2,
    parity: bool = False,
    *,
    stream: Any,
) -> DevicePlan:
    """See `latent_reference.guidance_plan`: made on the host, where the tracks are, once per window, and copied."""
    check_tracks(xy, visible, slots, size, cell, radius, parity)
    return upload_plan(latent_cpu.guidance_plan(xy, visible, slots, size, cell, radius, parity), stream=stream)


def guidance_gradient(
    z: Any, plan: DevicePlan, start: Any = None, end: Any = None, *, stream: Any, out: Any = None
) -> Any:
    """See `latent_reference.guidance_gradient`.

    Storage types of 16 bits round what they cannot hold: sums beyond 1024 (float16) or 128 (bfloat16).
    """
    call = Call("guidance", stream)
    latents = call.take("z", z, (None, *plan.size))
    channels, size = latents.shape[0], latents.size // latents.shape[0]
    volumes, sizes = [], []
    for name, volume, reach in (("start", start, plan.reach[0]), ("end", end, plan.reach[1])):
        known = latents
        if volume is not None:
            known = call.take(name, volume, (channels, None, *plan.size[1:]))
        check_reach(name, known, reach)
        volumes.append(known)
        sizes.append(known.size // channels)
    starts, entries = take_plan(call, plan)
    out, target = call.give(out, latents.shape)
    threads = -(-channels // 4) * size
    call.launch("guidance_gradient", threads, latents, *volumes, target, starts, entries, channels, size, *sizes)
    return out


def take_plan(call: Call, plan: DevicePlan) -> tuple[DeviceArray, DeviceArray]:
    """Both arrays of a plan."""
    cells = plan.size[0] * plan.size[1] * plan.size[2]
    return call.take("starts", plan.starts, (cells + 1,), ("int32",)), call.take(
        "entries", plan.entries, (None, 2), ("uint32",)
    )


def check_reach(name: str, volume: DeviceArray, reach: int, more: int = 0) -> None:
    """A plan may only point into a volume (C, R, h, w), and into ``more`` cells behind it.

    Raises:
        ValueError: it points beyond.
    """
    if reach > volume.size // volume.shape[0] + more:
        raise ValueError(f"{name}: the plan points beyond its {volume.shape[1]} frames")


def take_frames(call: Call, frames: Any) -> DeviceArray:
    """Frame numbers int64 (T,) on the GPU.

    From host memory they are copied, which a graph that is being captured does not allow.
    """
    if not on_device(frames):
        host = np.asarray(frames)
        if host.dtype != np.int64 or host.ndim != 1 or not ((host >= 0) & (host < _WORD)).all():
            raise ValueError(f"frames: expected int64 (T,) in 0 to {_WORD - 1}, got {host.dtype} {host.shape}")
        frames = call.runtime.upload(host, call.stream)
    return call.take("frames", frames, (None,), ("int64",))


def check_words(**values: int) -> None:
    """Numbers of 32 bits.

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        if not 0 <= value < _WORD:
            raise ValueError(f"{name}={value}: expected 0 to {_WORD - 1}")


def normal_noise(
    seed: int,
    group: int,
    frames: Any,
    step: int,
    channels: int,
    height: int,
    width: int,
    *,
    stream: Any,
    out: Any = None,
    dtype: str = "float32",
) -> Any:
    """See `latent_reference.normal_noise`; ``dtype``: storage type where ``out`` is not given."""
    call = Call("noise", stream)
    check_words(seed=seed, group=group, step=step)
    if min(channels, height, width) < 1 or height * width >= _WORD:
        raise ValueError(f"channels={channels}, height={height}, width={width}: expected positive numbers")
    if dtype not in SUFFIXES:
        raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(SUFFIXES)}")
    numbers = take_frames(call, frames)
    count, cells = numbers.shape[0], height * width
    shape = (channels, count, height, width)
    if out is None:
        call.storage = dtype
        out, target = call.give(None, shape)
    else:
        target = call.take("out", out, shape)
    threads = -(-channels // 4) * count * cells
    call.launch("normal_noise", threads, numbers, target, seed, group, step, channels, count, cells)
    return out
