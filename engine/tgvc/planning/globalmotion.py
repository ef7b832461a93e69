"""What mode G sends: displacement from the first key picture to every frame, by a global model and trajectories alone.

It pays where the decoder's flow fails, that is where neighbouring key pictures are far apart or share little texture.
"""

from __future__ import annotations

import numpy as np

from tgvc.bitstream.motion import SegmentMotion, anchor_cells, anchor_grid, usual_transform
from tgvc.bitstream.transform import quantise, step_px
from tgvc.planning.correction import SegmentView, find_candidates, fit_model
from tgvc.synthesis.flow import CELL, shrink_plane
from tgvc.synthesis.motion import bilinear_model, model_at, read_motion
from tgvc.types import BoolArray, FloatArray, Plane
from tgvc_kernels import ops

_TERMS = 4
_FARTHEST = 2  # pictures that a weight of the model may reach
_LEAST_POINTS, _ROUNDS, _SOFT_PX = 32, 8, 2.0  # of `fit_tracks`; a track that misses by so much has half its weight


def first_key_view(inner: list[Plane], first: Plane, last: Plane, to_first: FloatArray | None = None) -> SegmentView:
    """The segment as seen from its first key alone.

    Args:
        inner: luma uint8 (H, W) of the frames between the keys.
        first: decoded luma of the first key.
        last: decoded luma of the last key, which takes the place of the last original.
        to_first: float32 (n, h, w, 2) cells, displacement known so far; None for none.

    Returns:
        n = T - 1 frames; the phase moves nothing.
    """
    start = shrink_plane(first)
    originals = np.stack([shrink_plane(p) for p in (*inner, last)]).astype(np.float32)
    if to_first is None:
        to_first = np.zeros((*originals.shape, 2), np.float32)
    straight = np.stack([ops.warp(start, f) for f in to_first])
    return SegmentView(originals, straight, np.zeros_like(to_first), to_first)


def forward_model(backward: FloatArray, width: int, height: int) -> FloatArray:
    """The bilinear model on the first key's pixels that best equals one given on each frame's pixels.

    A pixel p of the frame shows the key's pixel ``q = p - backward(p)``, so that q moves by ``backward(p)``: fitted to
    a grid of p by least squares.

    Args:
        backward: float32 (n, 4, 2) px.
        width: of the picture in px.
        height: of the picture in px.

    Returns:
        float32 (n, 4, 2) px.
    """
    x, y = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9))
    grid = np.stack([x.ravel(), y.ravel()], axis=-1).astype(np.float32)
    farthest = _FARTHEST * max(width, height)
    result = []
    for weights in backward:
        moved = model_at(weights[None], grid, width, height)[0]
        start = grid - moved
        u, v = 2 * start[:, 0] / (width - 1) - 1, 2 * start[:, 1] / (height - 1) - 1
        fitted = np.linalg.lstsq(np.stack([np.ones_like(u), u, v, u * v], axis=-1), moved, rcond=1e-4)[0]
        result.append(np.clip(fitted, -farthest, farthest))  # a model that folds the picture is of no use anyway
    return np.asarray(result, dtype=np.float32)


def fit_tracks(points: FloatArray, moves: FloatArray, seen: BoolArray, width: int, height: int) -> FloatArray:
    """The bilinear model that most tracks follow, frame by frame.

    Args:
        points: float32 (P, 2) px, where they start in the first key.
        moves: float32 (P, n, 2) px, how far they are from there in each frame after it.
        seen: bool (P, n), where that is known.
        width: of the picture in px.
        height: of the picture in px.

    Returns:
        float32 (n, 4, 2) px. Source: own (iteratively reweighted least squares with Cauchy weights).
    """
    u, v = 2 * points[:, 0] / (width - 1) - 1, 2 * points[:, 1] / (height - 1) - 1
    terms = np.stack([np.ones_like(u), u, v, u * v], axis=-1).astype(np.float64)
    farthest = _FARTHEST * max(width, height)
    model = np.zeros((moves.shape[1], 4, 2))
    for n in range(len(model)):
        known = seen[:, n]
        if np.count_nonzero(known) < _LEAST_POINTS:
            model[n] = model[n - 1] if n else 0
            continue
        basis, wanted = terms[known], moves[known, n].astype(np.float64)
        weight = np.ones(len(basis))
        solution = np.zeros((4, 2))
        for _ in range(_ROUNDS):
            weighted = basis * weight[:, None]
            # einsum, not @: sums in one order, whatever the threads of a BLAS
            normal = np.einsum("pi,pj->ij", weighted, basis) + 1e-6 * len(basis) * np.eye(4)
            solution = np.linalg.solve(normal, np.einsum("pi,pc->ic", weighted, wanted))
            miss = wanted - np.einsum("pi,ic->pc", basis, solution)
            weight = 1 / (1 + np.square(miss).sum(axis=1) / _SOFT_PX**2)
        model[n] = np.clip(solution, -farthest, farthest)
    return np.asarray(model, np.float32)


def plan_global(
    inner: list[Plane], first: Plane, last: Plane, global_step: int, track_step: int, tracks: int
) -> tuple[SegmentMotion, SegmentMotion]:
    """Motion of mode G for a segment: without trajectories, and with the ``tracks`` most promising ones.

    Args:
        inner: luma uint8 (H, W) of the source frames between the keys.
        first: decoded luma of the first key.
        last: decoded luma of the last key.
        global_step: code of the model's quantiser.
        track_step: code of the trajectories' quantiser.
        tracks: trajectories at most.
    """
    height, width = first.shape
    length = len(inner) + 2
    view = first_key_view(inner, first, last)
    model = forward_model(fit_model(view, _TERMS, chained=True).model, width, height)
    coefs = quantise(model, step_px(global_step), usual_transform("G"), axis=0)
    plain = SegmentMotion.of("G", length, global_step=global_step, track_step=track_step, global_coefs=coefs)
    motion = read_motion(plain, width, height)
    h, w = height // CELL, width // CELL
    fields = np.stack([ops.project(_model_field(weights, h, w), 1.0) for weights in motion.model])
    rest = first_key_view(inner, first, last, fields)
    found = find_candidates(rest, [np.zeros((h, w, 2), np.float32)] * len(fields), tracks)
    cells = anchor_cells(found.anchors, anchor_grid(width, height))
    _, unique = np.unique(cells, axis=0, return_index=True)
    if len(unique) == 0:
        return plain, plain
    chosen = np.sort(unique)
    rich = SegmentMotion.of(
        "G",
        length,
        global_step=global_step,
        track_step=track_step,
        global_coefs=coefs,
        anchors=cells[chosen],
        coefs=quantise(found.tracks[chosen], step_px(track_step), usual_transform("G")),
    )
    return plain, rich


def _model_field(weights: FloatArray, height: int, width: int) -> FloatArray:
    return bilinear_model(weights / np.float32(CELL), height, width)
