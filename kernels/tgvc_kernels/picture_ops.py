"""Pictures to and from what networks take, by name: checks once, then the implementation. `ops` offers them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from tgvc_kernels import picture_cpu, picture_reference
from tgvc_kernels.choice import Implementation, by_array, choose
from tgvc_kernels.picture_reference import Pictures, Planes


def _module(implementation: Implementation | None) -> ModuleType:
    return choose(implementation, cpu=picture_cpu, reference=picture_reference)


def _check_pictures(pictures: Pictures) -> None:
    if pictures.dtype != np.uint8 or pictures.ndim != 3 or pictures.shape[1] % 3 or pictures.shape[2] % 2:
        raise ValueError(f"pictures: expected I420 uint8 (N, 3H/2, W), got {pictures.dtype} {pictures.shape}")


@by_array
def pack_planes(pictures: Pictures, *, implementation: Implementation | None = None, stream: Any = None) -> Planes:
    """Planes (N, 6, H/2, W/2) of pictures (N, 3H/2, W); see `picture_reference.pack_planes`."""
    _check_pictures(pictures)
    result: Planes = _module(implementation).pack_planes(pictures)
    return result


@by_array
def unpack_planes(planes: Planes, *, implementation: Implementation | None = None, stream: Any = None) -> Pictures:
    """Pictures (N, 3H/2, W) of planes (N, 6, H/2, W/2); see `picture_reference.unpack_planes`."""
    if planes.dtype != np.float32 or planes.ndim != 4 or planes.shape[1] != 6:
        raise ValueError(f"planes: expected float32 (N, 6, H/2, W/2), got {planes.dtype} {planes.shape}")
    result: Pictures = _module(implementation).unpack_planes(planes)
    return result


@by_array
def rgb_to_yuv(
    rgb: Planes, matrix: int, *, implementation: Implementation | None = None, stream: Any = None
) -> Pictures:
    """Pictures (N, 3H/2, W) of RGB (N, 3, H, W); see `picture_reference.rgb_to_yuv`."""
    if rgb.dtype != np.float32 or rgb.ndim != 4 or rgb.shape[1] != 3 or rgb.shape[2] % 2 or rgb.shape[3] % 2:
        raise ValueError(f"rgb: expected float32 (N, 3, H, W), H and W even, got {rgb.dtype} {rgb.shape}")
    result: Pictures = _module(implementation).rgb_to_yuv(rgb, matrix)
    return result


@by_array
def yuv_to_rgb(
    pictures: Pictures, matrix: int, *, implementation: Implementation | None = None, stream: Any = None
) -> Planes:
    """RGB (N, 3, H, W) of pictures (N, 3H/2, W); see `picture_reference.yuv_to_rgb`."""
    _check_pictures(pictures)
    result: Planes = _module(implementation).yuv_to_rgb(pictures, matrix)
    return result
