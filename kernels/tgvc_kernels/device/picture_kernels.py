"""Pictures to and from what networks take, on a GPU: twins of `tgvc_kernels.picture_reference`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tgvc_kernels.device.arrays import DeviceArray
from tgvc_kernels.device.call import SUFFIXES, Call
from tgvc_kernels.picture_reference import colour_coefficients

_BLOCKS = 4  # blocks of 2 x 2 px of one thread, as in packing.cuh


def _take_pictures(call: Call, pictures: Any) -> tuple[DeviceArray, int, int, int]:
    """The array, the number of pictures, and rows and columns of blocks of 2 x 2 px."""
    source = call.take("pictures", pictures, (None, None, None), ("uint8",))
    count, rows, width = source.shape
    if rows % 3 or width % 2:
        raise ValueError(f"pictures: expected I420 (N, 3H/2, W) with H and W even, got {source.shape}")
    return source, count, rows // 3, width // 2


def pack_planes(pictures: Any, *, stream: Any, out: Any = None, dtype: str = "float32") -> Any:
    """See `picture_reference.pack_planes`; ``dtype``: storage type of the planes where ``out`` is not given."""
    call = Call("packing", stream)
    source, count, h, w = _take_pictures(call, pictures)
    out, target = _give_storage(call, out, (count, 6, h, w), dtype)
    call.launch("pack_planes", count * h * -(-w // _BLOCKS), source, target, count, h, w)
    return out


def unpack_planes(planes: Any, *, stream: Any, out: Any = None) -> Any:
    """See `picture_reference.unpack_planes`."""
    call = Call("packing", stream)
    source = call.take("planes", planes, (None, 6, None, None))
    count, _, h, w = source.shape
    out, target = call.give(out, (count, 3 * h, 2 * w), "uint8")
    call.launch("unpack_planes", count * h * -(-w // _BLOCKS), source, target, count, h, w)
    return out


def rgb_to_yuv(rgb: Any, matrix: int, *, stream: Any, out: Any = None) -> Any:
    """See `picture_reference.rgb_to_yuv`."""
    call = Call("colour", stream)
    source = call.take("rgb", rgb, (None, 3, None, None))
    count, _, height, width = source.shape
    if height % 2 or width % 2:
        raise ValueError(f"rgb: expected even sides, got {height} x {width}")
    out, target = call.give(out, (count, height * 3 // 2, width), "uint8")
    colour = _structure(colour_coefficients(matrix)[0])
    call.launch("rgb_to_yuv", count * height * width // 4, source, target, colour, count, height // 2, width // 2)
    return out


def yuv_to_rgb(pictures: Any, matrix: int, *, stream: Any, out: Any = None, dtype: str = "float32") -> Any:
    """See `picture_reference.yuv_to_rgb`; ``dtype``: storage type of RGB where ``out`` is not given."""
    call = Call("colour", stream)
    source, count, h, w = _take_pictures(call, pictures)
    out, target = _give_storage(call, out, (count, 3, 2 * h, 2 * w), dtype)
    colour = _structure(colour_coefficients(matrix)[1])
    call.launch("yuv_to_rgb", count * h * w, source, target, colour, count, h, w)
    return out


def _give_storage(call: Call, out: Any, shape: tuple[int, ...], dtype: str) -> tuple[Any, DeviceArray]:
    """An output that decides the storage type, as no input does."""
    if dtype not in SUFFIXES:
        raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(SUFFIXES)}")
    if out is not None:
        return out, call.take("out", out, shape)
    call.storage = dtype
    return call.give(None, shape)


def _structure(rows: Any) -> Any:
    """Nine numbers as one argument."""
    return np.ascontiguousarray(rows, np.float32).reshape(-1).view(np.dtype([("row", np.float32, (3, 3))]))
