"""The kernels of the diffusion for the CPU: Numba twins of `latent_reference`, the same bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc_kernels.jit import compiled
from tgvc_kernels.plan import GuidancePlan, Int8Array, Int32Array
from tgvc_kernels.quantiles import FRACTION_BITS, normal_quantiles
from tgvc_kernels.step import Factors, Held, NoiseCounter, Pull, StepParts, compose_step

Latents = npt.NDArray[np.float32]
Line = npt.NDArray[np.float32]

_F = np.float32
_LANES = 1024
_UNIT = np.float32(2.0**-FRACTION_BITS)
_HALF = np.float32(0.5)
_TABLE = normal_quantiles().reshape(-1)
_WIDTH = np.uint32(65)
_WORD = np.uint64(0xFFFFFFFF)


@compiled
def _normal(word: np.uint32, table: Int32Array) -> np.float32:
    scaled = np.uint32((word << np.uint32(1)) | np.uint32(1))  # Numba shifts in 64 bits
    octave = np.uint32(0)
    for shift in (16, 8, 4, 2, 1):
        if scaled >> np.uint32(32 - shift) == 0:
            scaled = np.uint32(scaled << np.uint32(shift))
            octave += np.uint32(shift)
    place = octave * _WIDTH + ((scaled >> np.uint32(25)) & np.uint32(63))
    share = np.int32((scaled >> np.uint32(9)) & np.uint32(0xFFFF))
    near, far = table[place], table[place + np.uint32(1)]
    # a stretch of the table is at most 2**14 wide, so the product fits into 31 bits
    value = np.int32(near - np.int32(np.int32((near - far) * share) >> np.int32(16)))
    return _F(-value if word >> np.uint32(31) else value) * _UNIT


@compiled
def _normal_noise(k0: int, k1: int, frames: npt.NDArray[np.int64], step: int, table: Int32Array, out: Latents) -> None:
    channels, count, cells = out.shape
    for quad in range((channels + 3) // 4):
        for t in range(count):
            for cell in range(cells):
                c0, c1 = np.uint64(cell), np.uint64(quad)
                c2, c3 = np.uint64(frames[t]), np.uint64(step)
                key0, key1 = np.uint64(k0), np.uint64(k1)
                for _ in range(10):
                    a, b = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
                    c0, c2 = (b >> np.uint64(32)) ^ c1 ^ key0, (a >> np.uint64(32)) ^ c3 ^ key1
                    c1, c3 = b & _WORD, a & _WORD
                    key0 = (key0 + np.uint64(0x9E3779B9)) & _WORD
                    key1 = (key1 + np.uint64(0xBB67AE85)) & _WORD
                first = 4 * quad
                out[first, t, cell] = _normal(np.uint32(c0), table)
                if first + 1 < channels:
                    out[first + 1, t, cell] = _normal(np.uint32(c1), table)
                if first + 2 < channels:
                    out[first + 2, t, cell] = _normal(np.uint32(c2), table)
                if first + 3 < channels:
                    out[first + 3, t, cell] = _normal(np.uint32(c3), table)


def normal_noise(
    seed: int, group: int, frames: npt.NDArray[np.int64], step: int, channels: int, height: int, width: int
) -> Latents:
    """See `latent_reference.normal_noise`."""
    out = np.empty((channels, frames.size, height * width), np.float32)
    _normal_noise(seed, group, np.ascontiguousarray(frames), step, _TABLE, out)
    return out.reshape(channels, frames.size, height, width)


@compiled
def _halves(f: int, n: int, start: bool, end: bool, parity: bool) -> tuple[int, int]:
    alpha, beta = 0, 0
    if parity:
        half = (n - 2) // 2
        plateau = abs(f - half) <= 1
        if start:
            alpha = 1 if plateau else 2 * int(f < half)
        if end:
            beta = 1 if plateau else 2 * int(f >= half)
        if f > half and beta == 0 and alpha != 0:
            alpha = 2
        if f <= half and alpha == 0 and beta != 0:
            beta = 2
        return alpha, beta
    if start and end:
        beta = 0 if 8 * f < 3 * (n - 1) else (2 if 8 * f > 5 * (n - 1) else 1)
        return 2 - beta, beta
    return 2 * int(start), 2 * int(end)


@compiled
def _crosses(at: int, radius: int, limit: int) -> bool:
    return at - radius < 0 or at + radius >= limit


@compiled
def _cells_of(
    xy: Latents, visible: npt.NDArray[np.bool_], limits: tuple[int, int], cell: np.float32, low: int
) -> Int32Array:
    """Row and column of every sample, int32 (K, n, 2); -1 where it is hidden or outside."""
    h, w = limits
    out = np.full(xy.shape, -1, np.int32)
    for k in range(xy.shape[0]):
        for f in range(xy.shape[1]):
            x, y = np.floor(xy[k, f, 0] / cell), np.floor(xy[k, f, 1] / cell)  # NaN is nowhere
            if visible[k, f] and low <= x < w and low <= y < h:
                out[k, f, 0], out[k, f, 1] = np.int32(y), np.int32(x)
    return out


@compiled
def _visit(
    at: Int32Array,
    slots: npt.NDArray[np.int64],
    limits: tuple[int, int],
    radius: int,
    parity: bool,
    counts: Int32Array,
    entries: Int32Array,
) -> None:
    """Walk over all entries: count them per cell where ``entries`` is empty, else write each where ``counts`` says."""
    h, w = limits
    n = at.shape[1]
    write = entries.shape[0] > 0
    for k in range(at.shape[0]):
        y0, x0, y1, x1 = at[k, 0, 0], at[k, 0, 1], at[k, n - 1, 0], at[k, n - 1, 1]
        start, end = y0 >= 0 and slots[0] >= 0, y1 >= 0 and slots[n - 1] >= 0
        for f in range(1, n - 1):
            y, x = at[k, f, 0], at[k, f, 1]
            if y < 0 or slots[f] < 0:
                continue
            alpha, beta = _halves(f, n, start, end, parity)
            if alpha + beta == 0:
                continue
            ry, rx = radius, radius
            if parity:
                if _crosses(y, radius, h) or (start and _crosses(y0, radius, h)) or (end and _crosses(y1, radius, h)):
                    ry = 0
                if _crosses(x, radius, w) or (start and _crosses(x0, radius, w)) or (end and _crosses(x1, radius, w)):
                    rx = 0
            for dy in range(-ry, ry + 1):
                for dx in range(-rx, rx + 1):
                    if not (0 <= y + dy < h and 0 <= x + dx < w):
                        continue
                    if alpha and not (0 <= y0 + dy < h and 0 <= x0 + dx < w):
                        continue
                    if beta and not (0 <= y1 + dy < h and 0 <= x1 + dx < w):
                        continue
                    place = (slots[f] * h + y + dy) * w + x + dx
                    if write:
                        entry = entries[counts[place]]
                        entry[0] = (slots[0] * h + y0 + dy) * w + x0 + dx if alpha else 0
                        entry[1] = (slots[n - 1] * h + y1 + dy) * w + x1 + dx if beta else 0
                        entry[2], entry[3] = alpha, beta
                    counts[place] += 1


def guidance_plan(
    xy: Latents,
    visible: npt.NDArray[np.bool_],
    slots: npt.NDArray[np.int64],
    size: tuple[int, int, int],
    cell: int = 8,
    radius: int = 2,
    parity: bool = False,
) -> GuidancePlan:
    """See `latent_reference.guidance_plan`."""
    frames, h, w = size
    at = _cells_of(np.ascontiguousarray(xy), np.ascontiguousarray(visible), (h, w), np.float32(cell), int(parity))
    slots = np.ascontiguousarray(slots)
    counts = np.zeros(frames * h * w, np.int32)
    _visit(at, slots, (h, w), radius, parity, counts, np.empty((0, 4), np.int32))
    cells = np.flatnonzero(counts).astype(np.int32)
    rows = np.concatenate([[0], np.cumsum(counts[cells])]).astype(np.int32)
    entries = np.empty((int(rows[-1]), 4), np.int32)
    counts[cells] = rows[:-1]
    if len(entries):
        _visit(at, slots, (h, w), radius, parity, counts, entries)
    first, last, alpha, beta = np.ascontiguousarray(entries.T)
    return GuidancePlan((frames, h, w), cells, rows, first, last, alpha.astype(np.int8), beta.astype(np.int8))


@compiled
def _gradient(
    z: Latents,
    a: Latents,
    b: Latents,
    cells: Int32Array,
    rows: Int32Array,
    first: Int32Array,
    last: Int32Array,
    alpha: Int8Array,
    beta: Int8Array,
    out: Latents,
) -> None:
    # small unsigned types: 1.3 x as fast as Numba's own 64 bits. Scattering entry by entry: half as fast
    for c in range(z.shape[0]):
        here, from_first, from_last, to = z[c], a[c], b[c], out[c]
        e = np.uint32(0)
        for m in range(cells.size):
            place, stop = np.uint32(cells[m]), np.uint32(rows[m + 1])
            value, halves = here[place], np.int32(0)
            while e < stop:
                p, q = from_first[np.uint32(first[e])], from_last[np.uint32(last[e])]
                near = np.int32(alpha[e]) * np.int32(np.int32(p > value) - np.int32(p < value))
                far = np.int32(beta[e]) * np.int32(np.int32(q > value) - np.int32(q < value))
                halves = np.int32(halves + near + far)
                e = np.uint32(e + np.uint32(1))
            to[place] = _F(halves) * _HALF


def guidance_gradient(
    z: Latents, plan: GuidancePlan, start: Latents | None = None, end: Latents | None = None
) -> Latents:
    """See `latent_reference.guidance_gradient`."""
    flat, a, b = (
        np.ascontiguousarray(v).reshape(z.shape[0], -1)
        for v in (z, z if start is None else start, z if end is None else end)
    )
    out = np.zeros(flat.shape, np.float32)
    _gradient(flat, a, b, *plan[1:], out)
    return out.reshape(z.shape)


@compiled
def _deviation(values: Line) -> float:
    lanes = np.zeros(_LANES)
    for k in range(values.size):
        lanes[k % _LANES] += np.float64(values[k])
    mean = _fold(lanes) / values.size
    lanes[:] = 0
    for k in range(values.size):
        off = np.float64(values[k]) - mean
        lanes[k % _LANES] += off * off
    return math.sqrt(_fold(lanes) / values.size)


@compiled
def _fold(lanes: npt.NDArray[np.float64]) -> float:
    half = _LANES // 2
    while half:
        for k in range(half):
            lanes[k] += lanes[k + half]
        half //= 2
    return float(lanes[0])


@compiled
def _combine(v: Line, u: Line, scale: np.float32, rescale: float, out: Line) -> None:
    for k in range(out.size):
        out[k] = u[k] + scale * (v[k] - u[k])
    if rescale > 0:
        own = _deviation(out)
        if own > 0:
            factor = _F(rescale * (_deviation(v) / own) + (1 - rescale))
            for k in range(out.size):
                out[k] *= factor


@compiled
def _clean(x: Line, o: Line, signal: np.float32, spread: np.float32, scale: np.float32, out: Line) -> None:
    for k in range(out.size):
        out[k] = scale * (signal * x[k] - spread * o[k])


def predict_clean(
    x: Latents,
    v: Latents,
    signal: float,
    spread: float,
    clean_scale: float = 1.0,
    uncond: Latents | None = None,
    scale: float = 1.0,
    rescale: float = 0.0,
) -> tuple[Latents, Latents]:
    """See `latent_reference.predict_clean`."""
    o = v
    if uncond is not None:
        o = np.empty(v.shape, np.float32)
        _combine(_line(v), _line(uncond), np.float32(scale), float(rescale), o.reshape(-1))
    clean = np.empty(x.shape, np.float32)
    factors = np.float32(signal), np.float32(spread), np.float32(clean_scale)
    _clean(_line(x), _line(o), *factors, clean.reshape(-1))
    return clean, o


@compiled
def _sum(x: Line, v: Line, clean: Line, w: Line, out: Line) -> None:
    w0, w1, w2 = w[0], w[1], w[2]
    for k in range(out.size):
        out[k] = w0 * x[k] + w1 * v[k] + w2 * clean[k]


@compiled
def _add(term: Line, weight: np.float32, out: Line) -> None:
    for k in range(out.size):
        out[k] += weight * term[k]


def sampler_step(
    x: Latents,
    v: Latents,
    clean: Latents,
    weights: tuple[float, float, float, float, float, float],
    earlier: Latents | None = None,
    noise: Latents | None = None,
    gradient: Latents | None = None,
) -> Latents:
    """See `latent_reference.sampler_step`."""
    w = np.asarray(weights, np.float32)
    out = np.empty(x.shape, np.float32)
    _sum(_line(x), _line(v), _line(clean), w, out.reshape(-1))
    for weight, term in zip(w[3:], (earlier, noise, gradient), strict=True):
        if term is not None:
            _add(_line(term), weight, out.reshape(-1))
    return out


def guided_step(
    x: Latents,
    v: npt.NDArray[Any],
    factors: Factors,
    weights: tuple[float, float, float, float, float, float],
    uncond: npt.NDArray[Any] | None = None,
    earlier: Latents | None = None,
    noise: NoiseCounter | None = None,
    held: Held | None = None,
    pull: Pull | None = None,
    network: npt.NDArray[Any] | None = None,
) -> tuple[Latents, Latents]:
    """See `latent_reference.guided_step`."""
    parts = StepParts(predict_clean, normal_noise, guidance_gradient, sampler_step)
    return compose_step(parts, x, v, factors, weights, uncond, earlier, noise, held, pull, network)


def _line(latents: Latents) -> Line:
    return np.ascontiguousarray(latents).reshape(-1)
