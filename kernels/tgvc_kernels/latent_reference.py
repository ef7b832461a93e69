"""The kernels of the diffusion as formulas in NumPy. `latent_cpu` holds the fast twin of every function, same name.

Conventions. Latents are float32 (C, T, h, w): channels, frames, rows, columns. A *cell* is one (row, column), a square
of ``cell`` x ``cell`` px. Every function here is *exact*: twins return the same bits. Integers are added in any order;
floats are single operations on float32 in the order written, and the one long sum has an order of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc_kernels.plan import GuidancePlan
from tgvc_kernels.quantiles import FRACTION_BITS, NODES, normal_quantiles
from tgvc_kernels.step import Factors, Held, NoiseCounter, Pull, StepParts, compose_step

Latents = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint64]

LANES = 1024  # of the sums in `predict_clean`
_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW, _HALF_WORD = np.uint64(0xFFFFFFFF), np.uint64(32)


def _philox(counter: list[Words], key: tuple[int, int]) -> list[Words]:
    """Philox4x32-10: four words of 32 bits, each in a uint64, from four of a counter and two of a key."""
    for turn in range(_ROUNDS):
        k0, k1 = (np.uint64((k + turn * step) % 2**32) for k, step in zip(key, _KEY_STEPS, strict=True))
        a, b = _MULTIPLIERS[0] * counter[0], _MULTIPLIERS[1] * counter[2]
        counter = [
            (b >> _HALF_WORD) ^ counter[1] ^ k0,
            b & _LOW,
            (a >> _HALF_WORD) ^ counter[3] ^ k1,
            a & _LOW,
        ]
    return counter


def _normal(words: Words) -> Latents:
    """A standard normal number for every 32 random bits: sign, octave of the tail, and a chord between two nodes."""
    odd = (words & np.uint64(0x7FFFFFFF)) * np.uint64(2) + np.uint64(1)
    octave = 32 - np.frexp(odd.astype(np.float64))[1]
    scaled = odd << octave.astype(np.uint64)
    node = ((scaled >> np.uint64(25)) & np.uint64(NODES - 1)).astype(np.int64)
    share = ((scaled >> np.uint64(9)) & np.uint64(0xFFFF)).astype(np.int64)
    table = normal_quantiles().astype(np.int64)
    value = table[octave, node] - ((table[octave, node] - table[octave, node + 1]) * share >> 16)
    signed = np.where(words >> np.uint64(31) != 0, -value, value)
    return np.asarray(signed.astype(np.float32) * np.float32(2.0**-FRACTION_BITS))


def normal_noise(
    seed: int, group: int, frames: npt.NDArray[np.int64], step: int, channels: int, height: int, width: int
) -> Latents:
    """Standard normal numbers by position, alike on every machine.

    Args:
        seed: first word of the key, 0..2**32 - 1.
        group: second word of the key, 0..2**32 - 1.
        frames: int64 (T,), absolute frame numbers, 0..2**32 - 1.
        step: which of the draws for a position, 0..2**32 - 1.
        channels: C.
        height: h, cells.
        width: w, cells.

    Returns:
        float32 (C, T, h, w): word ``c % 4`` of Philox at the counter (cell, c // 4, frame, step), made normal.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011; the normal transform is our own.
    """
    quads = -(-channels // 4)
    shape = (quads, frames.size, height * width)
    cell = np.broadcast_to(np.arange(height * width, dtype=np.uint64), shape)
    quad = np.broadcast_to(np.arange(quads, dtype=np.uint64)[:, None, None], shape)
    frame = np.broadcast_to(frames.astype(np.uint64)[:, None], shape)
    words = _philox([cell, quad, frame, np.full(shape, step, np.uint64)], (seed, group))
    every = np.stack(words, axis=1).reshape(4 * quads, frames.size, height, width)
    return _normal(every[:channels])


def guidance_plan(
    xy: Latents,
    visible: npt.NDArray[np.bool_],
    slots: npt.NDArray[np.int64],
    size: tuple[int, int, int],
    cell: int = 8,
    radius: int = 2,
    parity: bool = False,
) -> GuidancePlan:
    """Which latent cells the tracks of one segment pull at, and towards which cells of its two references.

    Sample 0 of a track lies in the first reference, sample n - 1 in the last; those between are pulled. Around the cell
    of a sample a square window is compared with those around the track's cells in the references, cell by cell.

    Default: weights by the real time u = f / (n - 1) of a sample: the first reference alone below 3/8, the last alone
    above 5/8, half and half between; a track with one reference uses it everywhere; a window ends at the border.
    ``parity``, as published (n = 16): row 0 and column 0 count as outside, a window that would cross the border loses
    that axis altogether, and the weights are those of a table in which a one-sided track is not pulled in the far half.

    Args:
        xy: float32 (K, n, 2), positions (x, y) in px.
        visible: bool (K, n); a hidden sample neither pulls nor is a reference.
        slots: int64 (n,): frame of the latents that shows each sample, -1 = none. The first and the last are frames of
            the reference volumes; -1 = there is no such reference.
        size: (T, h, w) of the latents.
        cell: width and height of a cell, px.
        radius: cells on each side of the middle of a window.
        parity: as above.

    Returns:
        Entries ordered by cell, then by track.

    Source: T-GVC's sampler (tables and shrinking); weights in real time and clipping are our own.
    """
    frames, h, w = size
    low = 1 if parity else 0
    column, row = (np.floor(xy[..., axis] / np.float32(cell)) for axis in (0, 1))
    inside = visible & (column >= low) & (column < w) & (row >= low) & (row < h)
    column, row = (np.where(inside, a, 0).astype(np.int64) for a in (column, row))
    n = xy.shape[1]
    start, end = inside[:, 0] & (slots[0] >= 0), inside[:, -1] & (slots[-1] >= 0)
    alpha, beta = np.zeros((2, *inside.shape), np.int64)
    for f in range(1, n - 1):
        alpha[:, f], beta[:, f] = (_parity_halves if parity else _halves)(f, n, start, end)
    track, sample = np.nonzero(inside & (alpha + beta > 0) & (slots >= 0))
    alpha, beta = alpha[track, sample], beta[track, sample]
    at = np.stack([np.stack([row[track, s], column[track, s]]) for s in (sample, 0 * sample, 0 * sample + n - 1)])
    held = np.stack([np.ones_like(track, bool), start[track], end[track]])  # which of the three are real positions

    span = np.arange(-radius, radius + 1)
    offset = np.stack(np.meshgrid(span, span, indexing="ij")).reshape(2, -1)
    place = at[..., None] + offset[:, None]  # (3, 2, pairs, window)
    limit = np.array([h, w])[:, None]
    if parity:
        crosses = held[:, None] & ((at - radius < 0) | (at + radius >= limit))
        reach = np.where(crosses.any(axis=0), 0, radius)
        keep = (np.abs(offset)[:, None] <= reach[..., None]).all(axis=0)
    else:
        crosses_here = ((place < 0) | (place >= limit[..., None])).any(axis=1)
        looked_at = np.stack([np.ones_like(track, bool), alpha > 0, beta > 0])
        keep = ~(crosses_here & looked_at[..., None]).any(axis=0)
    pair, window = np.nonzero(keep)

    flat = [
        (slot[pair] * h + place[n, 0, pair, window]) * w + place[n, 1, pair, window]
        for n, slot in enumerate((slots[sample], *(np.full(track.size, slots[e]) for e in (0, -1))))
    ]
    order = np.argsort(flat[0], kind="stable")
    cells, counts = np.unique(flat[0], return_counts=True)
    halves = [weight[pair][order].astype(np.int8) for weight in (alpha, beta)]
    first, last = (
        np.where(weight > 0, index[order], 0).astype(np.int32) for weight, index in zip(halves, flat[1:], strict=True)
    )
    rows = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return GuidancePlan((frames, h, w), cells.astype(np.int32), rows, first, last, halves[0], halves[1])


def _halves(f: int, n: int, start: npt.NDArray[np.bool_], end: npt.NDArray[np.bool_]) -> tuple[Any, Any]:
    """Weights of both references for sample f, in halves."""
    both = 0 if 8 * f < 3 * (n - 1) else 2 if 8 * f > 5 * (n - 1) else 1
    beta = np.where(end, np.where(start, both, 2), 0)
    return np.where(start, 2 - beta, 0), beta


def _parity_halves(f: int, n: int, start: npt.NDArray[np.bool_], end: npt.NDArray[np.bool_]) -> tuple[Any, Any]:
    """The published table: a reference that is missing is noticed only after the far half was set to 0."""
    half = (n - 2) // 2
    plateau = abs(f - half) <= 1
    alpha = np.where(start, 1 if plateau else 2 * (f < half), 0)
    beta = np.where(end, 1 if plateau else 2 * (f >= half), 0)
    if f > half:
        alpha = np.where((beta == 0) & (alpha != 0), 2, alpha)
    else:
        beta = np.where((alpha == 0) & (beta != 0), 2, beta)
    return alpha, beta


def guidance_gradient(
    z: Latents, plan: GuidancePlan, start: Latents | None = None, end: Latents | None = None
) -> Latents:
    """Direction in which the latents come to agree with the references along the trajectories.

    ``-dL/dz`` of ``L = sum alpha |A - z| + beta |B - z|`` over all entries and channels, A and B held constant.

    Args:
        z: float32 (C, T, h, w).
        plan: made for (T, h, w).
        start: A, float32 (C, R, h, w), the volume that ``plan.first`` points into; ``z`` itself by default.
        end: B, likewise for ``plan.last``.

    Returns:
        float32 (C, T, h, w), multiples of one half; a tie counts as 0.

    Source: T-GVC's loss; the closed form of its gradient is our own.
    """
    channels = z.shape[0]
    flat, a, b = (v.reshape(channels, -1) for v in (z, z if start is None else start, z if end is None else end))
    counts = np.diff(plan.rows)
    here = flat[:, np.repeat(plan.cells, counts)]
    halves = np.zeros(here.shape, np.int32)
    for volume, index, weight in ((a, plan.first, plan.first_halves), (b, plan.last, plan.last_halves)):
        there = volume[:, index]
        halves += weight * ((there > here).astype(np.int32) - (there < here))
    out = np.zeros(flat.shape, np.float32)
    if plan.cells.size:
        out[:, plan.cells] = np.add.reduceat(halves, plan.rows[:-1], axis=1) * np.float32(0.5)
    return out.reshape(z.shape)


def _add_lanes(values: npt.NDArray[np.float64]) -> float:
    """Sum in one order for all twins: number k goes to lane k mod 1024; lanes, then pairs of lanes half a row apart."""
    rows = np.zeros((-(-values.size // LANES), LANES))
    rows.reshape(-1)[: values.size] = values
    lanes = np.zeros(LANES)
    for row in rows:
        lanes += row
    while lanes.size > 1:
        lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
    return float(lanes[0])


def _deviation(values: Latents) -> float:
    wide = values.reshape(-1).astype(np.float64)
    mean = _add_lanes(wide) / wide.size
    return float(np.sqrt(_add_lanes((wide - mean) * (wide - mean)) / wide.size))


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
    """First half of a step: guide without a classifier, give the result the old deviation, estimate clean latents.

    ``o = u + scale (v - u)``; ``o <- o (rescale std(v) / std(o) + 1 - rescale)``;
    ``x0 = clean_scale (signal x - spread o)``.

    Args:
        x: float32 (C, T, h, w), noisy latents.
        v: float32 (C, T, h, w), the network's output with its condition.
        signal: sqrt(abar).
        spread: sqrt(1 - abar).
        clean_scale: of the dynamic rescale.
        uncond: u, the output without the condition; None: o is v.
        scale: of the guidance.
        rescale: 0..1; a constant o (deviation 0) is left as it is.

    Returns:
        x0 and o, float32 (C, T, h, w).

    Source: Ho and Salimans 2022; Lin et al. 2023, section 3.4; T-GVC's base model.
    """
    o = v
    if uncond is not None:
        o = uncond + np.float32(scale) * (v - uncond)
        if rescale > 0 and (own := _deviation(o)) > 0:
            o = o * np.float32(rescale * (_deviation(v) / own) + (1 - rescale))
    return np.float32(clean_scale) * (np.float32(signal) * x - np.float32(spread) * o), o


def sampler_step(
    x: Latents,
    v: Latents,
    clean: Latents,
    weights: tuple[float, float, float, float, float, float],
    earlier: Latents | None = None,
    noise: Latents | None = None,
    gradient: Latents | None = None,
) -> Latents:
    """Second half of a step: the next x as a weighted sum, added from left to right.

    ``w0 x + w1 v + w2 clean + w3 earlier + w4 noise + w5 gradient``; terms that are not given are left out. DDIM, its
    fresh noise, solvers that look one step back and the correction by trajectories are all of this form.

    Args:
        x: float32 (C, T, h, w).
        v: float32 (C, T, h, w), combined output of the network.
        clean: float32 (C, T, h, w), clean estimate.
        weights: w0 to w5, each rounded to float32.
        earlier: clean estimate of the step before, or None.
        noise: fresh noise, or None.
        gradient: of the guidance, or None.

    Returns:
        float32 (C, T, h, w).

    Source: own.
    """
    w = np.asarray(weights, np.float32)
    total = w[0] * x + w[1] * v + w[2] * clean
    for weight, term in zip(w[3:], (earlier, noise, gradient), strict=True):
        if term is not None:
            total = total + weight * term
    return np.asarray(total, np.float32)


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
    """A whole step: `predict_clean`, known frames put in, `sampler_step` with fresh noise and the pull at x0.

    Args:
        x: float32 (C, T, h, w), noisy latents.
        v: (C, T, h, w), the network's output with its condition, in its own type.
        factors: of the first half.
        weights: w0 to w5 of the second half.
        uncond: the network's output without its condition.
        earlier: float32 (C, T, h, w), clean estimate of the step before.
        noise: counter of fresh noise; needed with ``held``.
        held: frames that are known: x0 is their latents, the next x has them at the next step's noise level.
        pull: the guidance.
        network: (rows, C', T, h, w) with C' >= C in the type of v, or None: the next x is written to the first C
            channels of every row.

    Returns:
        The next x and x0, float32 (C, T, h, w).

    Source: own composition; the order is that of `tgvc.diffusion.sampler`.
    """
    parts = StepParts(predict_clean, normal_noise, guidance_gradient, sampler_step)
    return compose_step(parts, x, v, factors, weights, uncond, earlier, noise, held, pull, network)
