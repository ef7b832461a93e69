"""Between the pictures of the codec and the red, green and blue that the published networks take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tgvc.types import FloatArray, Picture, join_planes, picture_planes
from tgvc_kernels.picture_reference import LUMA_WEIGHTS

_BT601 = 6  # what codes that are not known count as
_BLACK, _LUMA_RANGE, _MIDDLE, _CHROMA_RANGE = 16.0, 219.0, 128.0, 224.0


def to_rgb(pictures: Sequence[Picture], matrix: int) -> FloatArray:
    """Red, green and blue of pictures.

    Args:
        pictures: N of one size, I420 uint8 (3H/2, W), limited range.
        matrix: colour matrix code of ISO/IEC 23091-2.

    Returns:
        float32 (N, 3, H, W), -1 (black) to 1; chroma is interpolated linearly, and what lies outside is cut off.
    """
    decode = np.linalg.inv(_encode_matrix(matrix)).astype(np.float32)
    made = []
    for picture in pictures:
        luma, *chroma = picture_planes(picture)
        size = luma.shape[1], luma.shape[0]
        full = [cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) for plane in chroma]
        yuv = np.stack([(luma - np.float32(_BLACK)) / np.float32(_LUMA_RANGE), *(_centre(plane) for plane in full)])
        made.append(np.clip(np.tensordot(decode, yuv, axes=1), 0, 1) * 2 - 1)
    return np.stack(made).astype(np.float32, copy=False)


def to_levels(pictures: Sequence[Picture], matrix: int) -> npt.NDArray[np.uint8]:
    """The same as levels, colours last: uint8 (N, H, W, 3); see `to_rgb`."""
    rgb = to_rgb(pictures, matrix)
    return np.ascontiguousarray(np.rint((rgb + 1) * np.float32(127.5)).astype(np.uint8).transpose(0, 2, 3, 1))


def from_rgb(rgb: FloatArray, matrix: int) -> list[Picture]:
    """The inverse of `to_rgb`: means of chroma over two by two pixels, rounded to the nearest level.

    Args:
        rgb: float32 (N, 3, H, W), -1 to 1, cut off beyond; H and W even.
        matrix: colour matrix code of ISO/IEC 23091-2.

    Returns:
        N pictures, I420 uint8 (3H/2, W), limited range.
    """
    encode = _encode_matrix(matrix).astype(np.float32)
    pictures = []
    for planes in rgb:
        yuv = np.tensordot(encode, (np.clip(planes, -1, 1) + 1) / 2, axes=1)
        height, width = yuv.shape[1:]
        luma = yuv[0] * np.float32(_LUMA_RANGE) + np.float32(_BLACK)
        small = yuv[1:].reshape(2, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
        u, v = small * np.float32(_CHROMA_RANGE) + np.float32(_MIDDLE)
        pictures.append(join_planes(*(np.rint(plane).astype(np.uint8) for plane in (luma, u, v))))
    return pictures


def _centre(chroma: npt.NDArray[Any]) -> FloatArray:
    return np.asarray((chroma - np.float32(_MIDDLE)) / np.float32(_CHROMA_RANGE), np.float32)


def _encode_matrix(matrix: int) -> npt.NDArray[np.float64]:
    """Luma 0..1 and chroma -0.5..0.5 from red, green and blue 0..1: float64 (3, 3)."""
    red, blue = LUMA_WEIGHTS.get(matrix, LUMA_WEIGHTS[_BT601])
    luma = np.array([red, 1 - red - blue, blue])
    u = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    v = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    return np.stack([luma, u, v])
