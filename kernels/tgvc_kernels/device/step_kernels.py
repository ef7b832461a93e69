"""A sampler's step on a GPU: exact twins of the three step kernels of `latent_reference`, one of them for graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc_kernels.device.arrays import DeviceArray, on_device
from tgvc_kernels.device.call import Call, pointer_of
from tgvc_kernels.device.latent_kernels import check_reach, check_words, take_frames, take_plan
from tgvc_kernels.step import Factors, Held, NoiseCounter, Pull

_LANES, SPREAD_BLOCKS = 1024, 32  # as in spread.cuh
_WORK_BYTES = 4 * _LANES * 8 + 8
_WIDE_BYTES = 16
_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_SINGLE = ("float32",)

_POINTERS = (
    "x", "v", "u", "factor", "earlier", "noise_frames", "held", "held_clean", "start", "starts", "entries",
    "base", "shown_scales", "outside", "out", "clean", "network",
)  # fmt: skip
_COUNTS = ("channels", "frames", "cells", "outside_frames", "network_rows", "network_channels")
_COUNTER = ("seed", "group", "draw", "mean")
_LEVELS = ("held_level", "outside_level")
_FLOATS = ("signal", "spread", "clean_scale", "scale", "held_signal", "held_spread", "shown_scale", *_LEVELS)
STEP = np.dtype(
    [(name, np.uint64) for name in _POINTERS]
    + [(name, np.uint32) for name in (*_COUNTS, *_COUNTER)]
    + [(name, np.float32) for name in _FLOATS]
    + [("w", np.float32, (6,)), ("rest", np.uint32)],  # named, so that all bytes are always the same
    align=True,
)  # struct Step of step.cuh


def _wide_threads(call: Call, size: int) -> int:
    assert call.storage is not None
    return -(-size * _ITEM_BYTES[call.storage] // _WIDE_BYTES)


def _factor_memory(call: Call) -> tuple[DeviceArray, DeviceArray]:
    """Of the stream: the lanes of the sums, and where the factor will be."""
    work, factor = call.runtime.spread_work(call.stream, _WORK_BYTES)
    return call.take("work", work, (_WORK_BYTES,), ("uint8",)), call.take("factor", factor, (1,), _SINGLE)


def _measure_factor(
    call: Call, v: DeviceArray, u: DeviceArray | None, scale: float, rescale: float
) -> DeviceArray | None:
    """Queue the sums of the rescale; where its factor will be, or None if there is nothing to rescale."""
    if not 0 <= rescale <= 1:
        raise ValueError(f"rescale={rescale}: expected 0..1")
    if u is None or rescale == 0 or not v.size:
        return None
    shared, result = _factor_memory(call)
    arguments = v, u, shared, result, np.float64(rescale), float(scale), v.size
    call.launch_blocks("step_factor", SPREAD_BLOCKS, *arguments, cooperative=True)
    return result


def predict_clean(
    x: Any,
    v: Any,
    signal: float,
    spread: float,
    clean_scale: float = 1.0,
    uncond: Any = None,
    scale: float = 1.0,
    rescale: float = 0.0,
    *,
    stream: Any,
    out: Any = None,
) -> tuple[Any, Any]:
    """See `latent_reference.predict_clean`; ``out``: two arrays, for x0 and o. With a rescale it is two launches."""
    call = Call("step", stream)
    noisy = call.take("x", x, (None, None, None, None))
    given = call.take("v", v, noisy.shape)
    other = call.take_optional("uncond", uncond, noisy.shape)
    factor = _measure_factor(call, given, other, scale, rescale)
    first, second = (None, None) if out is None else out
    clean, clean_view = call.give(first, noisy.shape)
    combined, combined_view = (v, None) if uncond is None else call.give(second, noisy.shape)
    numbers = (float(signal), float(spread), float(clean_scale), float(scale), noisy.size)
    threads = _wide_threads(call, noisy.size)
    call.launch("predict_clean", threads, noisy, given, other, factor, clean_view, combined_view, *numbers)
    return clean, combined


def sampler_step(
    x: Any,
    v: Any,
    clean: Any,
    weights: tuple[float, float, float, float, float, float],
    earlier: Any = None,
    noise: Any = None,
    gradient: Any = None,
    *,
    stream: Any,
    out: Any = None,
) -> Any:
    """See `latent_reference.sampler_step`."""
    call = Call("step", stream)
    noisy = call.take("x", x, (None, None, None, None))
    terms = [noisy, call.take("v", v, noisy.shape), call.take("clean", clean, noisy.shape)]
    optional = (("earlier", earlier), ("noise", noise), ("gradient", gradient))
    others = [call.take_optional(name, term, noisy.shape) for name, term in optional]
    out, target = call.give(out, noisy.shape)
    six = _six(weights).view(np.dtype([("w", np.float32, (6,))]))
    call.launch("sampler_step", _wide_threads(call, noisy.size), *terms, *others, target, six, noisy.size)
    return out


def guided_step(
    x: Any,
    v: Any,
    factors: Factors,
    weights: tuple[float, float, float, float, float, float],
    uncond: Any = None,
    earlier: Any = None,
    noise: NoiseCounter | None = None,
    held: Held | None = None,
    pull: Pull | None = None,
    network: Any = None,
    *,
    stream: Any,
    out: Any = None,
) -> tuple[Any, Any]:
    """See `latent_reference.guided_step`; ``out``: two arrays, for the next x, which may not be x, and for x0.

    One launch, or two with a rescale. v, uncond and network are of one storage type, everything else is float32.
    """
    call = Call("step", stream)
    arrays = x, v, uncond, earlier, network
    fields, given, other = _step_fields(call, arrays, factors, weights, noise, held, pull)
    fields["factor"] = pointer_of(_measure_factor(call, given, other, factors.scale, factors.rescale))
    first, second = (None, None) if out is None else out
    following, following_view = call.give(first, given.shape, "float32")
    clean, clean_view = call.give(second, given.shape, "float32")
    step = _pack(fields, following_view, clean_view)
    call.launch("guided_step", _step_threads(given.shape), step)
    return following, clean


def pack_step(
    x: Any,
    v: Any,
    factors: Factors,
    weights: tuple[float, float, float, float, float, float],
    uncond: Any = None,
    earlier: Any = None,
    noise: NoiseCounter | None = None,
    held: Held | None = None,
    pull: Pull | None = None,
    network: Any = None,
    *,
    stream: Any,
    out: tuple[Any, Any],
) -> npt.NDArray[Any]:
    """The arguments of `guided_step` as `stored_step` finds them on the device: one record of `STEP`.

    Nothing is launched. Arrays have to live, where they are, as long as the record is used, and the record is for this
    stream: the factor of a rescale lies in memory of the stream.
    """
    call = Call("step", stream)
    arrays = x, v, uncond, earlier, network
    fields, given, other = _step_fields(call, arrays, factors, weights, noise, held, pull)
    if other is not None and factors.rescale > 0:
        fields["factor"] = _factor_memory(call)[1].pointer
    views = [call.take("out", array, given.shape, _SINGLE) for array in out]
    return _pack(fields, *views)


def stored_step(
    step: Any, v: Any, uncond: Any = None, scale: float = 1.0, rescale: float = 0.0, *, stream: Any
) -> None:
    """`guided_step` with arguments that lie on the device: one launch, or two with a rescale; allocates nothing then.

    Args:
        step: uint8, the bytes of what `pack_step` made for this stream.
        v: the network's output that it names.
        uncond: likewise; None if it names none.
        scale: of the guidance without a classifier, as it has it.
        rescale: likewise.
        stream: see `tgvc_kernels.device.arrays.stream_pointer`.
    """
    call = Call("step", stream)
    given = call.take("v", v, (None, None, None, None))
    _measure_factor(call, given, call.take_optional("uncond", uncond, given.shape), scale, rescale)
    record = call.take("step", step, (STEP.itemsize,), ("uint8",))
    call.launch("guided_step_at", _step_threads(given.shape), record)


def _step_threads(shape: tuple[int, ...]) -> int:
    return -(-shape[0] // 4) * shape[1] * shape[2] * shape[3]


def _step_fields(
    call: Call,
    arrays: tuple[Any, Any, Any, Any, Any],
    factors: Factors,
    weights: tuple[float, float, float, float, float, float],
    noise: NoiseCounter | None,
    held: Held | None,
    pull: Pull | None,
) -> tuple[dict[str, Any], DeviceArray, DeviceArray | None]:
    """Fields of the record but for the outputs and the factor; v and uncond."""
    x, v, uncond, earlier, network = arrays
    given = call.take("v", v, (None, None, None, None))
    noisy = call.take("x", x, given.shape, _SINGLE)
    other = call.take_optional("uncond", uncond, given.shape)
    channels, frames, height, width = given.shape
    fields: dict[str, Any] = dict.fromkeys(_POINTERS, 0) | dict.fromkeys((*_COUNTS, *_COUNTER, *_FLOATS), 0)
    fields |= {"x": noisy.pointer, "v": given.pointer, "u": pointer_of(other), "w": _six(weights)}
    fields |= {"channels": channels, "frames": frames, "cells": height * width}
    fields |= dict(zip(_FLOATS[:4], Factors(*factors)[:4], strict=True)) | dict.fromkeys(_LEVELS, 1.0)
    fields["earlier"] = pointer_of(call.take_optional("earlier", earlier, given.shape, _SINGLE))
    if noise is not None:
        check_words(seed=noise.seed, group=noise.group, draw=noise.draw)
        numbers = take_frames(call, noise.frames)
        if numbers.shape != (frames,):
            raise ValueError(f"noise: expected {frames} frames, got {numbers.shape[0]}")
        fields |= {"noise_frames": numbers.pointer, "seed": noise.seed, "group": noise.group, "draw": noise.draw}
    if held is not None:
        if noise is None and held.start is None:
            raise ValueError("held: expected start in it or noise beside it: known frames get noise too")
        fields["held"] = call.take("held.frames", held.frames, (frames,), ("bool", "uint8")).pointer
        fields["held_clean"] = call.take("held.clean", held.clean, given.shape, _SINGLE).pointer
        fields["start"] = pointer_of(call.take_optional("held.start", held.start, given.shape, _SINGLE))
        fields |= {"held_signal": held.signal, "held_spread": held.spread, "held_level": held.level}
    if pull is not None:
        fields |= _pull_fields(call, pull, given)
    if network is not None:
        rows = call.take("network", network, (None, None, *given.shape[1:]))
        if rows.shape[1] < channels:
            raise ValueError(f"network: expected at least {channels} channels, got {rows.shape[1]}")
        fields |= {"network": rows.pointer, "network_rows": rows.shape[0], "network_channels": rows.shape[1]}
    return fields, given, other


def _pack(fields: dict[str, Any], following: DeviceArray, clean: DeviceArray) -> npt.NDArray[Any]:
    if fields["x"] in (following.pointer, clean.pointer):
        raise ValueError("out: expected other memory than that of x, which the guidance still looks at")
    step = np.zeros(1, STEP)
    for name, value in (fields | {"out": following.pointer, "clean": clean.pointer}).items():
        step[name] = value
    return step


def _pull_fields(call: Call, pull: Pull, latents: DeviceArray) -> dict[str, Any]:
    plan, channels, cells = pull.plan, latents.shape[0], latents.shape[2] * latents.shape[3]
    if tuple(plan.size) != latents.shape[1:]:
        raise ValueError(f"plan: expected one of {latents.shape[1:]}, got {tuple(plan.size)}")
    starts, entries = take_plan(call, plan)
    outside = call.take_optional("outside", pull.outside, (channels, None, *latents.shape[2:]), _SINGLE)
    check_reach("outside", latents, max(plan.reach), 0 if outside is None else outside.size // channels)
    scales = pull.scale if on_device(pull.scale) or np.ndim(pull.scale) else None
    return {
        "starts": starts.pointer,
        "entries": entries.pointer,
        "base": pointer_of(call.take_optional("base", pull.base, latents.shape, _SINGLE)),
        "shown_scales": pointer_of(call.take_optional("scale", scales, (channels,), _SINGLE)),
        "shown_scale": 0.0 if scales is not None else float(pull.scale),
        "outside": pointer_of(outside),
        "outside_frames": 0 if outside is None else outside.size // channels // cells,
        "mean": int(pull.mean),
        "outside_level": pull.outside_level,
    }


def _six(weights: tuple[float, float, float, float, float, float]) -> Any:
    if len(weights) != 6:
        raise ValueError(f"weights: expected 6 numbers, got {len(weights)}")
    return np.array(weights, np.float32)
