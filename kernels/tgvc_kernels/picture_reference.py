"""Pictures to and from what networks take, as formulas in NumPy; `picture_cpu` holds the fast twins.

Pictures are I420 uint8 (N, 3H/2, W) of limited range, H and W even. Every function is *exact*: twins return the same
bits, as each operation is one rounded operation on float32 in the order written.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.float32]

_BT601, _BT2020 = (0.299, 0.114), (0.2627, 0.0593)
# Weights of red and blue in luma by the matrix's code in ISO/IEC 23091-2; codes that are not here count as BT.601
LUMA_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: _BT601, 6: _BT601, 7: (0.212, 0.087), 9: _BT2020, 10: _BT2020}
_HALF_RANGE = np.float32(127.5)
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # (row, column) of the luma planes in a block of 2 x 2


def colour_coefficients(matrix: int) -> tuple[Planes, Planes]:
    """Rows of both conversions, float32 (3, 3) each: from R, G, B in 0..255 to Y - 16, U - 128, V - 128, and back.

    Args:
        matrix: as of `rgb_to_yuv`.
    """
    red, blue = LUMA_WEIGHTS.get(matrix, _BT601)
    green = 1 - red - blue
    luma, chroma = 219 / 255, 224 / 255
    forth = [
        [red * luma, green * luma, blue * luma],
        [-red / (1 - blue) / 2 * chroma, -green / (1 - blue) / 2 * chroma, chroma / 2],
        [chroma / 2, -green / (1 - red) / 2 * chroma, -blue / (1 - red) / 2 * chroma],
    ]
    u, v = 2 * (1 - blue) / chroma, 2 * (1 - red) / chroma
    back = [[1 / luma, 0, v], [1 / luma, -u * blue / green, -v * red / green], [1 / luma, u, 0]]
    return np.array(forth, np.float32), np.array(back, np.float32)


def _split(pictures: Pictures) -> tuple[Pictures, Pictures, Pictures]:
    count, rows, width = pictures.shape
    height = rows * 2 // 3
    chroma = pictures[:, height:].reshape(count, 2, height // 2, width // 2)
    return pictures[:, :height], chroma[:, 0], chroma[:, 1]


def _join(luma: Pictures, u: Pictures, v: Pictures) -> Pictures:
    count, height, width = luma.shape
    chroma = np.stack([u, v], axis=1).reshape(count, height // 2, width)
    return np.concatenate([luma, chroma], axis=1)


def pack_planes(pictures: Pictures) -> Planes:
    """Pictures as networks take them: ``grey / 127.5 - 1``.

    Args:
        pictures: uint8 (N, 3H/2, W).

    Returns:
        float32 (N, 6, H/2, W/2) in -1..1: luma of the four corners of each block of 2 x 2, then U and V.
    """
    luma, u, v = _split(pictures)
    corners = [luma[:, row::2, column::2] for row, column in _CORNERS]
    levels = np.stack([*corners, u, v], axis=1).astype(np.float32)
    return np.asarray(levels / _HALF_RANGE - np.float32(1), np.float32)


def unpack_planes(planes: Planes) -> Pictures:
    """The inverse of `pack_planes`: ``127.5 (level + 1)``, nearest whole number, halves to even, cut at 0 and 255.

    Args:
        planes: float32 (N, 6, H/2, W/2); what is not a number becomes 0.

    Returns:
        uint8 (N, 3H/2, W).
    """
    count, _, h, w = planes.shape
    grey = np.rint(np.clip(np.nan_to_num((planes + np.float32(1)) * _HALF_RANGE), 0, 255)).astype(np.uint8)
    luma = np.empty((count, 2 * h, 2 * w), np.uint8)
    for n, (row, column) in enumerate(_CORNERS):
        luma[:, row::2, column::2] = grey[:, n]
    return _join(luma, grey[:, 4], grey[:, 5])


def rgb_to_yuv(rgb: Planes, matrix: int) -> Pictures:
    """Pictures of RGB. A chroma sample is made of the mean of its 2 x 2 px.

    Args:
        rgb: float32 (N, 3, H, W), full range in -1..1, cut there; what is not a number becomes -1.
        matrix: code in ISO/IEC 23091-2: 1 = BT.709, 9 or 10 = BT.2020, 4, 7; any other is BT.601.

    Returns:
        uint8 (N, 3H/2, W), limited range.

    Source: ITU-R BT.601, BT.709, BT.2020; siting of chroma as in the rest of the codec, between four luma samples.
    """
    forth, _ = colour_coefficients(matrix)
    levels = np.clip(np.nan_to_num((rgb + np.float32(1)) * _HALF_RANGE), 0, 255).astype(np.float32)
    count, _, height, width = rgb.shape
    blocks = levels.reshape(count, 3, height // 2, 2, width // 2, 2)
    upper, lower = (blocks[:, :, :, n, :, 0] + blocks[:, :, :, n, :, 1] for n in (0, 1))
    mean = (upper + lower) * np.float32(0.25)
    luma, u, v = (
        np.rint(np.clip(_weigh(row, source) + np.float32(offset), 0, 255)).astype(np.uint8)
        for row, source, offset in zip(forth, (levels, mean, mean), (16, 128, 128), strict=True)
    )
    return _join(luma, u, v)


def yuv_to_rgb(pictures: Pictures, matrix: int) -> Planes:
    """RGB of pictures; chroma is stretched bilinearly (9, 3, 3 and 1 sixteenths), its borders repeated.

    Args:
        pictures: uint8 (N, 3H/2, W), limited range.
        matrix: as of `rgb_to_yuv`.

    Returns:
        float32 (N, 3, H, W) in -1..1, cut there.

    Source: as `rgb_to_yuv`.
    """
    _, back = colour_coefficients(matrix)
    luma, u, v = _split(pictures)
    grey = luma.astype(np.float32) - np.float32(16)
    parts = np.stack([grey, _stretch(u), _stretch(v)], axis=1)
    levels = np.stack([np.clip(_weigh(row, parts), 0, 255) for row in back], axis=1)
    return np.asarray(levels / _HALF_RANGE - np.float32(1), np.float32)


def _weigh(row: Planes, parts: Planes) -> Planes:
    return np.asarray(row[0] * parts[:, 0] + row[1] * parts[:, 1] + row[2] * parts[:, 2], np.float32)


def _stretch(plane: Pictures) -> Planes:
    """A chroma plane (N, h, w), less 128, at every px: float32 (N, 2h, 2w)."""
    count, h, w = plane.shape
    padded = np.pad(plane.astype(np.int32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    out = np.empty((count, 2 * h, 2 * w), np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            rows, columns = slice(2 * dy, 2 * dy + h), slice(2 * dx, 2 * dx + w)
            near, beside = padded[:, 1:-1, 1:-1], padded[:, 1:-1, columns]
            sixteenths = 9 * near + 3 * beside + 3 * padded[:, rows, 1:-1] + padded[:, rows, columns]
            out[:, dy::2, dx::2] = sixteenths.astype(np.float32) * np.float32(0.0625) - np.float32(128)
    return out
