"""What mode T sends: how the true motion of a segment departs from the decoder's own straight-line flow.

The encoder renders the segment as the decoder will (mode F), then looks for the cheapest motion that pulls this picture
onto the original: first a global model per frame (hand shake, uneven speed), then trajectories where a part of the
picture still moves differently. Both are accepted only if the squared error they save is worth their bits.

Source: own. The global fit is a robust Gauss-Newton registration (Lucas and Kanade 1981, Huber-type weights).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tgvc.synthesis.densify import REACH_PX
from tgvc.synthesis.flow import CELL, measure_flow
from tgvc.synthesis.motion import bilinear_model
from tgvc.types import FloatArray
from tgvc_kernels import ops

_ROBUST = 8.0  # grey levels at which a pixel's weight in the fit is halved
_FAST_PX = 4.0  # motion apart from the surroundings at which an object is as salient as can be
_BLOCK = 16  # cells: grid on which trajectories are looked for


@dataclass(frozen=True)
class SegmentView:
    """A segment as the correction sees it, on cells of 2 x 2 px.

    ``originals`` float32 (n, h, w): luma of the frames between the keys. ``straight`` float32 (n, h, w): the same
    frames rendered by mode F. ``spans`` float32 (n, h, w, 2) cells: displacement from the first key to the last one at
    every pixel of each frame (what one unit of phase moves). ``to_first`` float32 (n, h, w, 2) cells.
    """

    originals: FloatArray
    straight: FloatArray
    spans: FloatArray
    to_first: FloatArray


@dataclass(frozen=True)
class Fit:
    """A global correction per frame: ``model`` float32 (n, 4, 2) px and ``phase`` float32 (n,)."""

    model: FloatArray
    phase: FloatArray


def _resample(plane: FloatArray, by: FloatArray) -> FloatArray:
    h, w = plane.shape
    grid = np.stack(np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)), axis=-1)
    at = np.asarray(grid + by, np.float32)
    moved = cv2.remap(plane, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def _basis(terms: int, span: FloatArray) -> FloatArray:
    """Displacement fields (m, h, w, 2) of the unknowns: ``terms`` bilinear terms on x and y, then the phase."""
    h, w = span.shape[:2]
    fields = []
    for term in range(terms):
        for axis in range(2):
            weights = np.zeros((4, 2), np.float32)
            weights[term, axis] = 1
            fields.append(bilinear_model(weights, h, w))
    return np.stack([*fields, span])


def _register(
    original: FloatArray, straight: FloatArray, basis: FloatArray, start: FloatArray, steps: int
) -> FloatArray:
    """Gauss-Newton: unknowns x (m,) so that ``straight(p - sum x_i basis_i(p))`` matches the original."""
    gradient = np.stack(
        [cv2.Sobel(straight, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(straight, cv2.CV_32F, 0, 1, scale=1 / 8)], -1
    )
    flat = basis.reshape(len(basis), -1, 2)
    # einsum, not @: for such slim matrices BLAS's threads take several times the work they save
    x = start.astype(np.float64)
    for _ in range(steps):
        by = -np.einsum("m,mhwc->hwc", x.astype(np.float32), basis)
        error = (original - _resample(straight, by)).ravel()
        slope = np.stack(
            [_resample(np.ascontiguousarray(gradient[..., c], np.float32), by).ravel() for c in range(2)], -1
        )
        jacobian = -np.einsum("mpc,pc->mp", flat, slope)
        weighted = jacobian / (1 + (error / _ROBUST) ** 2)
        normal = np.einsum("mp,np->mn", weighted, jacobian).astype(np.float64)
        normal += np.diag(1e-3 * np.diag(normal) + 1e-6 * normal.max() + 1e-9)
        x = x + np.linalg.solve(normal, np.einsum("mp,p->m", weighted, error).astype(np.float64))
    return x.astype(np.float32)


def fit_model(view: SegmentView, terms: int, chained: bool = False) -> Fit:
    """Best global correction of each frame.

    Args:
        view: the segment.
        terms: bilinear terms used, 1 (translation), 3 (affine) or 4; the phase is always fitted too.
        chained: start each frame from the one before it, for displacements that grow with time.

    Returns:
        Unquantised weights; unused terms are 0.
    """
    n, h, w = view.originals.shape
    model, phase = np.zeros((n, 4, 2), np.float32), np.zeros(n, np.float32)
    x = np.zeros(2 * terms + 1, np.float32)
    for t in range(n):
        x = x if chained else np.zeros(2 * terms + 1, np.float32)
        for factor, steps in ((4, 3), (2, 3), (1, 2)):
            size = (w // factor, h // factor)
            small = [
                cv2.resize(p, size, interpolation=cv2.INTER_AREA)
                for p in (view.originals[t], view.straight[t], view.spans[t])
            ]
            # unknowns are displacements in cells of the full view: smaller planes move by less
            x = _register(small[0], small[1], _basis(terms, small[2]) / np.float32(factor), x, steps)
        model[t, :terms] = x[:-1].reshape(terms, 2) * CELL
        phase[t] = x[-1]
    return Fit(model, phase)


def model_bend(fit: Fit, view: SegmentView, t: int) -> FloatArray:
    """Bend float32 (h, w, 2) in cells that a (quantised) fit gives frame t; see `synthesis.densify.bend_of`."""
    h, w = view.originals.shape[1:]
    field = bilinear_model(fit.model[t] / np.float32(CELL), h, w) + fit.phase[t] * view.spans[t]
    return np.asarray(-field, dtype=np.float32)


def bent_error(view: SegmentView, bends: list[FloatArray]) -> float:
    """Sum of squared luma errors over the frames of the segment under given bends, on cells."""
    total = 0.0
    for t, by in enumerate(bends):
        d = view.originals[t] - _resample(view.straight[t], by)
        total += float(np.dot(d.ravel(), d.ravel()))
    return total


@dataclass(frozen=True)
class Candidates:
    """Places where a trajectory may help, best first.

    ``anchors`` float32 (K, 2) px in the first key; ``tracks`` float32 (K, n, 2) px beyond the straight line;
    ``gains`` float32 (K,): squared error (on cells) that an ideal local correction saves. ``salience`` float32 (K,),
    0..1: how far the motion departs from that of its surroundings. A small fast object covers few pixels, but its
    ghost is the ugliest failure of all, so the error it saves counts ``1 + salience`` fold.
    """

    anchors: FloatArray
    tracks: FloatArray
    gains: FloatArray
    salience: FloatArray


def find_candidates(view: SegmentView, bends: list[FloatArray], limit: int) -> Candidates:
    """Blocks whose remaining motion, measured by flow, would save the most squared error.

    Args:
        view: the segment.
        bends: the global correction in force, one field (h, w, 2) cells per frame.
        limit: candidates returned at most.

    Returns:
        Candidates whose gain is positive.
    """
    n, h, w = view.originals.shape
    rows, columns = h // _BLOCK, w // _BLOCK
    gain = np.zeros((rows, columns), np.float32)
    wanted = np.zeros((n, rows, columns, 2), np.float32)
    salience = np.zeros((rows, columns), np.float32)
    for t in range(n):
        bent = _resample(view.straight[t], bends[t])
        rest = measure_flow(
            np.asarray(view.originals[t] + 0.5, np.uint8), np.asarray(np.clip(bent + 0.5, 0, 255), np.uint8)
        )
        rest = np.asarray(cv2.GaussianBlur(rest, (0, 0), 3), np.float32)
        better = (view.originals[t] - bent) ** 2 - (view.originals[t] - _resample(bent, rest)) ** 2
        crop = (slice(0, rows * _BLOCK), slice(0, columns * _BLOCK))
        gain += better[crop].reshape(rows, _BLOCK, columns, _BLOCK).sum((1, 3))
        local = _block_medians(rest, rows, columns)
        wanted[t] = -local - _block_medians(bends[t], rows, columns) - _model_at_blocks(bends[t], rows, columns)
        around = cv2.blur(local, (5, 5), borderType=cv2.BORDER_REPLICATE)
        apart = np.linalg.norm(local - around, axis=-1) * CELL
        salience = np.maximum(salience, np.clip(apart / _FAST_PX, 0, 1)).astype(np.float32)
    support = cv2.blur(gain, (3, 3), borderType=cv2.BORDER_CONSTANT) * 9
    worth = (gain + 0.5 * support) * (1 + salience)
    order = [i for i in np.argsort(-worth, axis=None, kind="stable")[:limit] if gain.flat[i] > 0]
    centres = np.asarray(
        [((i % columns) * _BLOCK + _BLOCK / 2 - 0.5, (i // columns) * _BLOCK + _BLOCK / 2 - 0.5) for i in order],
        np.float32,
    ).reshape(-1, 2)
    middle = n // 2
    anchors = centres + ops.sample_field(view.to_first[middle], centres) if len(order) else centres
    tracks = (
        np.stack([wanted[:, i // columns, i % columns] for i in order]) if order else np.zeros((0, n, 2), np.float32)
    )
    return Candidates(
        np.asarray((anchors + 0.5) * CELL - 0.5, np.float32),
        np.asarray(tracks * CELL, np.float32),
        gain.ravel()[order].astype(np.float32),
        salience.ravel()[order],
    )


def _block_medians(field: FloatArray, rows: int, columns: int) -> FloatArray:
    """Median displacement of each block, float32 (rows, columns, 2), of a field (h, w, 2)."""
    blocks = field[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK, 2)
    return np.asarray(np.median(blocks.transpose(0, 2, 1, 3, 4).reshape(rows, columns, -1, 2), axis=2), np.float32)


def _model_at_blocks(bend: FloatArray, rows: int, columns: int) -> FloatArray:
    """Global part of the motion beyond the line at the block centres (h/16, w/16, 2): trajectories do not repeat it."""
    half = _BLOCK // 2
    return -bend[half : rows * _BLOCK : _BLOCK, half : columns * _BLOCK : _BLOCK][:rows, :columns]


def spread_tracks(
    centres: list[FloatArray], tracks: FloatArray, bends: list[FloatArray], reach_px: float = REACH_PX
) -> list[FloatArray]:
    """Bends with trajectories added: ``centres`` n arrays (K, 2) cells, ``tracks`` (K, n, 2) px."""
    h, w = bends[0].shape[:2]
    return [
        bend - ops.densify(centres[t], np.ascontiguousarray(tracks[:, t]) / np.float32(CELL), h, w, reach_px / CELL)
        for t, bend in enumerate(bends)
    ]
