"""The motion of one segment, chosen by rate and distortion among F, H, T and G.

Bits are those of the TRACKS coder itself, in the state in which the segments before have left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tgvc.bitstream.motion import Grid, SegmentMotion, anchor_cells, anchor_points, usual_transform
from tgvc.bitstream.tracks import MotionCoder
from tgvc.bitstream.transform import quantise, step_code, step_px
from tgvc.planning.correction import (
    Fit,
    SegmentView,
    bent_error,
    find_candidates,
    fit_model,
    model_bend,
    spread_tracks,
)
from tgvc.planning.globalmotion import plan_global
from tgvc.synthesis.densify import FrameFields, frame_fields
from tgvc.synthesis.flow import CELL, KeyFlow, measure_key_flow, shrink_plane
from tgvc.synthesis.motion import PHASE_SCALE, read_motion
from tgvc.synthesis.warp import blend_luma
from tgvc.types import FloatArray, Picture, Plane, picture_planes
from tgvc_kernels import ops

GLOBAL_STEP = step_code(0.5)
_FARTHEST = 4096.0  # px, and times the way between the key pictures, beyond which no global motion of mode T is meant
TRACK_STEP = step_code(1.0)
_SHORTEST_GLOBAL = 5  # frames: on shorter segments the decoder's flow has always measured better
_FAILED = 1.5  # error of painted frames, relative to that of the keys, from which on mode G is tried
_PATIENCE = 5  # refused candidates in a row after which no further one is tried


@dataclass(frozen=True)
class SegmentPlan:
    """A motion, the squared luma error (full size) of the frames between the keys under it, and its coded bits."""

    motion: SegmentMotion
    error: float
    bits: float


@dataclass(frozen=True)
class KeyPair:
    """Decoded luma planes uint8 (H, W) of a segment's key pictures and the flow between them."""

    first: Plane
    last: Plane
    flow: KeyFlow

    def render(self, fields: Sequence[FrameFields]) -> list[Plane]:
        """Luma of the frames between under given fields."""
        return [blend_luma(self.first, self.last, f)[0] for f in fields]

    def fields(self, motion: SegmentMotion) -> list[FrameFields]:
        """Fields of all frames between the keys under a coded motion."""
        height, width = self.first.shape
        return frame_fields(read_motion(motion, width, height), self.flow, motion.length, height // CELL, width // CELL)


class SegmentPlanner:
    """Plans the segments of one group, which must come in order: what is chosen changes what the next ones cost.

    Args:
        price: squared luma error (full size) that one bit must save.
        tracks: trajectories per segment, at most.
        modes: modes that may be chosen, letters of ``FHTG``, at least one.
        grid: cells of the anchors' grid, across and down.
    """

    def __init__(self, price: float, tracks: int, modes: str, grid: Grid) -> None:
        self.price, self.tracks, self.modes = price, tracks, modes
        self._coder = MotionCoder(grid)

    def plan(self, originals: Sequence[Picture], first: Picture, last: Picture) -> SegmentPlan:
        """Choose the motion of the next segment.

        Args:
            originals: source pictures of the segment, both keys included.
            first: decoded first key picture.
            last: decoded last key picture.
        """
        chosen = self._choose(originals, first, last)
        self._coder.append(chosen.motion)
        return chosen

    def _choose(self, originals: Sequence[Picture], first: Picture, last: Picture) -> SegmentPlan:
        length = len(originals)
        nothing = SegmentMotion.empty("F", length)
        if length <= 2:
            return SegmentPlan(nothing, 0.0, self._coder.cost_bits(nothing))
        inner = [picture_planes(p)[0] for p in originals[1:-1]]
        a, b = picture_planes(first)[0], picture_planes(last)[0]
        keys = KeyPair(a, b, measure_key_flow(a, b))
        fields = keys.fields(nothing)
        straight = keys.render(fields)

        def weigh(motion: SegmentMotion) -> SegmentPlan:
            shown = straight if motion is nothing else keys.render(keys.fields(motion))
            return SegmentPlan(motion, _error(inner, shown), self._coder.cost_bits(motion))

        motions = [nothing] if "F" in self.modes else []
        if "H" in self.modes:
            motions.append(SegmentMotion.empty("H", length))
        if "T" in self.modes:
            motions.append(self._plan_bend(inner, straight, fields, keys))
        plans = [weigh(motion) for motion in motions]
        if "G" in self.modes and (not plans or length >= _SHORTEST_GLOBAL):
            of_keys = _error([picture_planes(originals[i])[0] for i in (0, -1)], [a, b]) / 2
            if not plans or min(p.error for p in plans) > _FAILED * of_keys * len(inner):
                plans += [weigh(m) for m in plan_global(inner, a, b, GLOBAL_STEP, TRACK_STEP, self.tracks)]
        return min(plans, key=lambda p: p.error + self.price * p.bits)

    def _plan_bend(
        self, inner: list[Plane], straight: list[Plane], fields: list[FrameFields], keys: KeyPair
    ) -> SegmentMotion:
        """The best motion of mode T, which may be one without data."""
        view = SegmentView(
            originals=np.stack([shrink_plane(p) for p in inner]).astype(np.float32),
            straight=np.stack([shrink_plane(p) for p in straight]).astype(np.float32),
            spans=np.stack([f.to_last - f.to_first for f in fields]),
            to_first=np.stack([f.to_first for f in fields]),
        )
        length, price = len(inner) + 2, self.price / CELL**2
        n, h, w = view.originals.shape
        best = SegmentMotion.of("T", length, global_step=GLOBAL_STEP, track_step=TRACK_STEP)
        fit = Fit(np.zeros((n, 4, 2), np.float32), np.zeros(n, np.float32))
        # as long as it carries nothing, the segment costs what mode F does
        best_cost = bent_error(view, [np.zeros((h, w, 2), np.float32)] * n) + price * self._still_bits(length)
        for terms in (1, 3):
            raw = fit_model(view, terms)
            if not np.all(np.abs(raw.model) < _FARTHEST) or not np.all(np.abs(raw.phase) < _FARTHEST):
                continue  # the key pictures hardly differ: any phase fits, and the model takes it back
            for phased in (True, False):
                candidate = _quantised(raw if phased else Fit(raw.model, raw.phase * 0), length)
                motion = read_motion(candidate, w * CELL, h * CELL)
                trial = Fit(motion.model, motion.phase)
                error = bent_error(view, [model_bend(trial, view, t) for t in range(n)])
                cost = error + price * self._coder.cost_bits(candidate)
                if cost < best_cost:
                    best, best_cost, fit = candidate, cost, trial
        return self._add_tracks(best, view, fit, keys.flow, price)

    def _still_bits(self, length: int) -> float:
        return self._coder.cost_bits(SegmentMotion.empty("F", length))

    def _add_tracks(
        self, motion: SegmentMotion, view: SegmentView, fit: Fit, flow: KeyFlow, price: float
    ) -> SegmentMotion:
        """The motion with trajectories added one by one while each is worth its bits."""
        n, h, w = view.originals.shape
        bends = [model_bend(fit, view, t) for t in range(n)]
        error = bent_error(view, bends)
        found = find_candidates(view, bends, 4 * self.tracks)
        cells = anchor_cells(found.anchors, self._coder.grid)
        carries = motion.global_coefs.any() or motion.phase_coefs.any()
        bits = self._coder.cost_bits(motion) if carries else self._still_bits(motion.length)
        least = self._coder.anchor_bits(1)  # of the first trajectory, were its path free
        best, chosen, refused = motion, list[int](), 0
        for i in range(len(cells)):
            if len(chosen) >= self.tracks or refused >= _PATIENCE or 2 * found.gains[i] < price * least:
                break
            if any((cells[i] == cells[j]).all() for j in chosen):
                continue
            trial = _with_tracks(motion, cells[[*chosen, i]], found.tracks[[*chosen, i]])
            dense = read_motion(trial, w * CELL, h * CELL)
            centres = [_centres(cells[[*chosen, i]], flow, (t + 1) / (n + 1), dense.tracks[:, t]) for t in range(n)]
            new_error = bent_error(view, spread_tracks(centres, dense.tracks, bends))
            new_bits = self._coder.cost_bits(trial)
            if (error - new_error) * (1 + found.salience[i]) > price * (new_bits - bits):
                chosen.append(i)
                best, error, bits, refused = trial, new_error, new_bits, 0
            else:
                refused += 1
        return best


def _error(originals: Sequence[Plane], planes: Sequence[Plane]) -> float:
    """Sum of squared differences over all planes."""
    total = 0.0
    for original, plane in zip(originals, planes, strict=True):
        d = original.astype(np.float32) - plane
        total += float(np.dot(d.ravel(), d.ravel()))
    return total


def _centres(cells: np.ndarray, flow: KeyFlow, tau: float, beyond_px: FloatArray) -> FloatArray:
    """Where the trajectories are at time tau, float32 (K, 2) in field cells, as `synthesis.densify` places them."""
    start = np.asarray((anchor_points(cells) + 0.5) / CELL - 0.5, np.float32)
    return np.asarray(start + np.float32(tau) * ops.sample_field(flow.forward, start) + beyond_px / CELL, np.float32)


def _quantised(fit: Fit, length: int) -> SegmentMotion:
    step, transform = step_px(GLOBAL_STEP), usual_transform("T")
    return SegmentMotion.of(
        "T",
        length,
        global_step=GLOBAL_STEP,
        track_step=TRACK_STEP,
        global_coefs=quantise(fit.model, step, transform, axis=0),
        phase_coefs=quantise(fit.phase * PHASE_SCALE, step, transform, axis=0),
    )


def _with_tracks(motion: SegmentMotion, cells: np.ndarray, tracks: FloatArray) -> SegmentMotion:
    coefs = quantise(tracks, step_px(motion.track_step), motion.transform)
    return SegmentMotion.of(
        "T",
        motion.length,
        transform=motion.transform,
        global_step=motion.global_step,
        track_step=motion.track_step,
        global_coefs=motion.global_coefs,
        phase_coefs=motion.phase_coefs,
        anchors=cells,
        coefs=coefs,
    )
