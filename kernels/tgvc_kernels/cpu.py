"""The kernels for the CPU: Numba twins of `reference`, same names and arguments (formulas are written there).

Rows are independent, so callers may run several kernels at once from threads: every kernel releases the GIL.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Field = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float32]

_options = {"nogil": True, "cache": True, "fastmath": False}
_F = np.float32


@njit(inline="always", **_options)
def _cell(value, limit):
    """Index and fraction of the bilinear pair around a clamped coordinate."""
    value = min(max(value, _F(0)), _F(limit - 1))
    index = min(int(value), limit - 2)
    return index, value - _F(index)


@njit(**_options)
def _sample_rows(field, at, out):
    h, w = field.shape[:2]
    for n in range(at.shape[0]):
        x0, fx = _cell(at[n, 0], w)
        y0, fy = _cell(at[n, 1], h)
        for c in range(2):
            top = field[y0, x0, c] * (1 - fx) + field[y0, x0 + 1, c] * fx
            bottom = field[y0 + 1, x0, c] * (1 - fx) + field[y0 + 1, x0 + 1, c] * fx
            out[n, c] = top * (1 - fy) + bottom * fy


def sample_field(field: Field, at: Field) -> Field:
    """See `reference.sample_field`."""
    out = np.empty(at.shape, np.float32)
    _sample_rows(np.ascontiguousarray(field), np.ascontiguousarray(at).reshape(-1, 2), out.reshape(-1, 2))
    return out


@njit(**_options)
def _project(flow, tau, iterations, out):
    h, w = flow.shape[:2]
    for j in range(h):
        for i in range(w):
            dx = -tau * flow[j, i, 0]
            dy = -tau * flow[j, i, 1]
            for _ in range(iterations - 1):
                x0, fx = _cell(_F(i) + dx, w)
                y0, fy = _cell(_F(j) + dy, h)
                top = flow[y0, x0, 0] * (1 - fx) + flow[y0, x0 + 1, 0] * fx
                bottom = flow[y0 + 1, x0, 0] * (1 - fx) + flow[y0 + 1, x0 + 1, 0] * fx
                nx = -tau * (top * (1 - fy) + bottom * fy)
                top = flow[y0, x0, 1] * (1 - fx) + flow[y0, x0 + 1, 1] * fx
                bottom = flow[y0 + 1, x0, 1] * (1 - fx) + flow[y0 + 1, x0 + 1, 1] * fx
                dy = -tau * (top * (1 - fy) + bottom * fy)
                dx = nx
            out[j, i, 0] = dx
            out[j, i, 1] = dy


def project(flow: Field, tau: float, iterations: int = 4) -> Field:
    """See `reference.project`."""
    out = np.empty_like(flow)
    _project(np.ascontiguousarray(flow), np.float32(tau), iterations, out)
    return out


@njit(**_options)
def _shift(field, by, out):
    h, w = field.shape[:2]
    for j in range(h):
        for i in range(w):
            x0, fx = _cell(_F(i) + by[j, i, 0], w)
            y0, fy = _cell(_F(j) + by[j, i, 1], h)
            for c in range(2):
                top = field[y0, x0, c] * (1 - fx) + field[y0, x0 + 1, c] * fx
                bottom = field[y0 + 1, x0, c] * (1 - fx) + field[y0 + 1, x0 + 1, c] * fx
                out[j, i, c] = by[j, i, c] + top * (1 - fy) + bottom * fy


def shift(field: Field, by: Field) -> Field:
    """See `reference.shift`."""
    out = np.empty_like(field)
    _shift(np.ascontiguousarray(field), np.ascontiguousarray(by), out)
    return out


@njit(**_options)
def _densify(centres, values, core, pull, out):
    h, w = out.shape[:2]
    for j in range(h):
        for i in range(w):
            total = pull
            sx = _F(0)
            sy = _F(0)
            for k in range(centres.shape[0]):
                ox = _F(i) - centres[k, 0]
                oy = _F(j) - centres[k, 1]
                # x^-1.75 = 1 / (x * sqrt(x) * sqrt(sqrt(x))): no power function in the inner loop
                square = ox * ox + oy * oy + core
                root = np.sqrt(square)
                weight = _F(1) / (square * root * np.sqrt(root))
                total += weight
                sx += weight * values[k, 0]
                sy += weight * values[k, 1]
            out[j, i, 0] = sx / total
            out[j, i, 1] = sy / total


def densify(centres: Field, values: Field, height: int, width: int, reach: float) -> Field:
    """See `reference.densify`."""
    out = np.empty((height, width, 2), np.float32)
    core = np.float32((reach / 16) ** 2)
    pull = np.float32((reach**2 + core) ** -1.75)
    _densify(np.ascontiguousarray(centres), np.ascontiguousarray(values), core, pull, out)
    return out


@njit(inline="always", **_options)
def _cubic(t):
    t2 = t * t
    t3 = t2 * t
    half = _F(0.5)
    return half * (-t + 2 * t2 - t3), half * (2 - 5 * t2 + 3 * t3), half * (t + 4 * t2 - 3 * t3), half * (t3 - t2)


@njit(**_options)
def _warp(plane, field, out):
    height, width = plane.shape
    h, w = field.shape[:2]
    scale = _F(height // h)
    for j in range(height):
        y0, fy = _cell((_F(j) + _F(0.5)) / scale - _F(0.5), h)
        for i in range(width):
            x0, fx = _cell((_F(i) + _F(0.5)) / scale - _F(0.5), w)
            top = field[y0, x0, 0] * (1 - fx) + field[y0, x0 + 1, 0] * fx
            bottom = field[y0 + 1, x0, 0] * (1 - fx) + field[y0 + 1, x0 + 1, 0] * fx
            x = _F(i) + scale * (top * (1 - fy) + bottom * fy)
            top = field[y0, x0, 1] * (1 - fx) + field[y0, x0 + 1, 1] * fx
            bottom = field[y0 + 1, x0, 1] * (1 - fx) + field[y0 + 1, x0 + 1, 1] * fx
            y = _F(j) + scale * (top * (1 - fy) + bottom * fy)
            x = min(max(x, _F(0)), _F(width - 1))
            y = min(max(y, _F(0)), _F(height - 1))
            ix = int(x)
            iy = int(y)
            a0, a1, a2, a3 = _cubic(x - _F(ix))
            b0, b1, b2, b3 = _cubic(y - _F(iy))
            c0 = max(ix - 1, 0)
            c2 = min(ix + 1, width - 1)
            c3 = min(ix + 2, width - 1)
            r0 = max(iy - 1, 0)
            r2 = min(iy + 1, height - 1)
            r3 = min(iy + 2, height - 1)
            s0 = a0 * _F(plane[r0, c0]) + a1 * _F(plane[r0, ix]) + a2 * _F(plane[r0, c2]) + a3 * _F(plane[r0, c3])
            s1 = a0 * _F(plane[iy, c0]) + a1 * _F(plane[iy, ix]) + a2 * _F(plane[iy, c2]) + a3 * _F(plane[iy, c3])
            s2 = a0 * _F(plane[r2, c0]) + a1 * _F(plane[r2, ix]) + a2 * _F(plane[r2, c2]) + a3 * _F(plane[r2, c3])
            s3 = a0 * _F(plane[r3, c0]) + a1 * _F(plane[r3, ix]) + a2 * _F(plane[r3, c2]) + a3 * _F(plane[r3, c3])
            out[j, i] = min(max(b0 * s0 + b1 * s1 + b2 * s2 + b3 * s3, _F(0)), _F(255))


def warp(plane: npt.NDArray[np.uint8], field: Field) -> Plane:
    """See `reference.warp`."""
    out = np.empty(plane.shape, np.float32)
    _warp(np.ascontiguousarray(plane), np.ascontiguousarray(field), out)
    return out


@njit(**_options)
def _blend_weights(a, b, trust_a, trust_b, tau, out):
    h, w = out.shape
    difference = np.empty((h, w), np.float32)
    for j in range(h):
        for i in range(w):
            s = _F(0)
            for v in range(2):
                for u in range(2):
                    s += a[2 * j + v, 2 * i + u] - b[2 * j + v, 2 * i + u]
            difference[j, i] = abs(s * _F(0.25))
    rows = np.empty((h, w), np.float32)
    for j in range(h):
        for i in range(w):
            s = _F(0)
            for v in range(-2, 3):
                s += difference[min(max(j + v, 0), h - 1), i]
            rows[j, i] = s
    early = _F(1) - tau
    for j in range(h):
        for i in range(w):
            s = _F(0)
            for u in range(-2, 3):
                s += rows[j, min(max(i + u, 0), w - 1)]
            s = min(max((s / _F(25) - _F(6)) / _F(14), _F(0)), _F(1))
            exponent = _F(1) + _F(2) * s
            if s == 0:
                pa = early * trust_a[j, i]
                pb = tau * trust_b[j, i]
            else:
                pa = early**exponent * trust_a[j, i]
                pb = tau**exponent * trust_b[j, i]
            out[j, i] = pb / (pa + pb)


def blend_weights(a: Plane, b: Plane, trust_a: Plane, trust_b: Plane, tau: float) -> Plane:
    """See `reference.blend_weights`."""
    out = np.empty(trust_a.shape, np.float32)
    _blend_weights(a, b, np.ascontiguousarray(trust_a), np.ascontiguousarray(trust_b), np.float32(tau), out)
    return out


@njit(**_options)
def _mix(a, b, weights, out):
    height, width = a.shape
    h, w = weights.shape
    scale = _F(height // h)
    for j in range(height):
        y0, fy = _cell((_F(j) + _F(0.5)) / scale - _F(0.5), h)
        for i in range(width):
            x0, fx = _cell((_F(i) + _F(0.5)) / scale - _F(0.5), w)
            top = weights[y0, x0] * (1 - fx) + weights[y0, x0 + 1] * fx
            bottom = weights[y0 + 1, x0] * (1 - fx) + weights[y0 + 1, x0 + 1] * fx
            s = top * (1 - fy) + bottom * fy
            out[j, i] = np.uint8(a[j, i] + s * (b[j, i] - a[j, i]) + _F(0.5))


def mix(a: Plane, b: Plane, weights: Plane) -> npt.NDArray[np.uint8]:
    """See `reference.mix`."""
    out = np.empty(a.shape, np.uint8)
    _mix(a, b, np.ascontiguousarray(weights), out)
    return out
