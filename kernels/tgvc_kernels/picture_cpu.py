"""Pictures to and from what networks take, for the CPU: Numba twins of `picture_reference`, the same bits."""

from __future__ import annotations

import numpy as np

from tgvc_kernels.jit import compiled
from tgvc_kernels.picture_reference import Pictures, Planes, colour_coefficients

_F = np.float32
_ZERO, _ONE, _WHITE, _HALF_RANGE, _QUARTER = _F(0), _F(1), _F(255), _F(127.5), _F(0.25)
_SIXTEENTH, _BLACK, _GREY = _F(0.0625), _F(16), _F(128)
_LEVELS = (np.arange(256, dtype=np.float32) / _HALF_RANGE - _ONE).astype(np.float32)


@compiled
def _cut(value: np.float32) -> np.float32:
    """Clamped to 0..255; what is not a number becomes 0."""
    return min(_WHITE, max(_ZERO, value))


@compiled
def _round(value: np.float32) -> np.uint8:
    return np.uint8(np.rint(_cut(value)))


@compiled
def _pack(pictures: Pictures, levels: Planes, out: Planes) -> None:
    count, _, h, w = out.shape
    for n in range(count):
        chroma = pictures[n, 2 * h :].reshape(2, h, w)
        for j in range(h):
            upper, lower = pictures[n, 2 * j], pictures[n, 2 * j + 1]
            for i in range(w):
                out[n, 0, j, i], out[n, 1, j, i] = levels[upper[2 * i]], levels[upper[2 * i + 1]]
                out[n, 2, j, i], out[n, 3, j, i] = levels[lower[2 * i]], levels[lower[2 * i + 1]]
                out[n, 4, j, i], out[n, 5, j, i] = levels[chroma[0, j, i]], levels[chroma[1, j, i]]


def pack_planes(pictures: Pictures) -> Planes:
    """See `picture_reference.pack_planes`."""
    count, rows, width = pictures.shape
    out = np.empty((count, 6, rows // 3, width // 2), np.float32)
    _pack(np.ascontiguousarray(pictures), _LEVELS, out)
    return out


@compiled
def _unpack(planes: Planes, out: Pictures) -> None:
    count, _, h, w = planes.shape
    for n in range(count):
        chroma = out[n, 2 * h :].reshape(2, h, w)
        for j in range(h):
            upper, lower = out[n, 2 * j], out[n, 2 * j + 1]
            for i in range(w):
                upper[2 * i] = _round((planes[n, 0, j, i] + _ONE) * _HALF_RANGE)
                upper[2 * i + 1] = _round((planes[n, 1, j, i] + _ONE) * _HALF_RANGE)
                lower[2 * i] = _round((planes[n, 2, j, i] + _ONE) * _HALF_RANGE)
                lower[2 * i + 1] = _round((planes[n, 3, j, i] + _ONE) * _HALF_RANGE)
                chroma[0, j, i] = _round((planes[n, 4, j, i] + _ONE) * _HALF_RANGE)
                chroma[1, j, i] = _round((planes[n, 5, j, i] + _ONE) * _HALF_RANGE)


def unpack_planes(planes: Planes) -> Pictures:
    """See `picture_reference.unpack_planes`."""
    count, _, h, w = planes.shape
    out = np.empty((count, 3 * h, 2 * w), np.uint8)
    _unpack(np.ascontiguousarray(planes), out)
    return out


@compiled
def _to_yuv(rgb: Planes, m: Planes, out: Pictures) -> None:
    count, _, height, width = rgb.shape
    h, w = height // 2, width // 2
    red, green, blue = (
        np.empty((2, width), np.float32),
        np.empty((2, width), np.float32),
        np.empty((2, width), np.float32),
    )
    for n in range(count):
        chroma = out[n, height:].reshape(2, h, w)
        for j in range(h):
            for k in range(2):
                row = 2 * j + k
                for i in range(width):
                    r = _cut((rgb[n, 0, row, i] + _ONE) * _HALF_RANGE)
                    g = _cut((rgb[n, 1, row, i] + _ONE) * _HALF_RANGE)
                    b = _cut((rgb[n, 2, row, i] + _ONE) * _HALF_RANGE)
                    red[k, i], green[k, i], blue[k, i] = r, g, b
                    out[n, row, i] = _round(m[0, 0] * r + m[0, 1] * g + m[0, 2] * b + _BLACK)
            for i in range(w):
                a = 2 * i
                r = (red[0, a] + red[0, a + 1] + (red[1, a] + red[1, a + 1])) * _QUARTER
                g = (green[0, a] + green[0, a + 1] + (green[1, a] + green[1, a + 1])) * _QUARTER
                b = (blue[0, a] + blue[0, a + 1] + (blue[1, a] + blue[1, a + 1])) * _QUARTER
                chroma[0, j, i] = _round(m[1, 0] * r + m[1, 1] * g + m[1, 2] * b + _GREY)
                chroma[1, j, i] = _round(m[2, 0] * r + m[2, 1] * g + m[2, 2] * b + _GREY)


def rgb_to_yuv(rgb: Planes, matrix: int) -> Pictures:
    """See `picture_reference.rgb_to_yuv`."""
    count, _, height, width = rgb.shape
    out = np.empty((count, height * 3 // 2, width), np.uint8)
    _to_yuv(np.ascontiguousarray(rgb), colour_coefficients(matrix)[0], out)
    return out


@compiled
def _to_rgb(pictures: Pictures, m: Planes, out: Planes) -> None:
    count, _, height, width = out.shape
    h, w = height // 2, width // 2
    for n in range(count):
        chroma = pictures[n, height:].reshape(2, h, w)
        for row in range(height):
            near = row // 2
            far = min(h - 1, max(0, near + 2 * (row % 2) - 1))
            for column in range(width):
                i = column // 2
                k = min(w - 1, max(0, i + 2 * (column % 2) - 1))
                y = _F(pictures[n, row, column]) - _BLACK
                u = 9 * np.int32(chroma[0, near, i]) + 3 * np.int32(chroma[0, near, k])
                v = 9 * np.int32(chroma[1, near, i]) + 3 * np.int32(chroma[1, near, k])
                u += 3 * np.int32(chroma[0, far, i]) + np.int32(chroma[0, far, k])
                v += 3 * np.int32(chroma[1, far, i]) + np.int32(chroma[1, far, k])
                fu, fv = _F(u) * _SIXTEENTH - _GREY, _F(v) * _SIXTEENTH - _GREY
                for c in range(3):
                    level = m[c, 0] * y + m[c, 1] * fu + m[c, 2] * fv
                    out[n, c, row, column] = _cut(level) / _HALF_RANGE - _ONE


def yuv_to_rgb(pictures: Pictures, matrix: int) -> Planes:
    """See `picture_reference.yuv_to_rgb`."""
    count, rows, width = pictures.shape
    out = np.empty((count, 3, rows * 2 // 3, width), np.float32)
    _to_rgb(np.ascontiguousarray(pictures), colour_coefficients(matrix)[1], out)
    return out
