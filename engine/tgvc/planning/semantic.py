"""Profile ``tgvc``: T-GVC's own encoder. Semantic key frames, motion instances, the important ones as trajectories.

Every segment is sent as mode G: a global model for the camera, and the representatives of the instances as trajectories
beyond it. The stream is a TRACKS stream like any other, so every generator decodes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from threading import Lock

import numpy as np

from tgvc.analysis.cotracker import NetworkTracker
from tgvc.analysis.embedding import Embedder, GistEmbedder
from tgvc.analysis.importance import select_trajectories
from tgvc.analysis.instances import cluster_tracks
from tgvc.analysis.keyframes import REFERENCE_COUNT, SemanticPolicy, reference_keyframes
from tgvc.analysis.tracking import track_segment
from tgvc.bitstream.header import DEFAULT_MATRIX
from tgvc.bitstream.motion import SegmentMotion, anchor_cells, anchor_grid, anchor_points, usual_transform
from tgvc.bitstream.tracks import encode_motion
from tgvc.bitstream.transform import dequantise, quantise, step_code, step_px
from tgvc.errors import ConfigError
from tgvc.models.rgb import to_levels
from tgvc.planning.globalmotion import plan_global
from tgvc.planning.group import GroupPlanner, Task
from tgvc.planning.plan import GroupPlan
from tgvc.planning.segment import GLOBAL_STEP
from tgvc.synthesis.motion import model_at
from tgvc.types import FloatArray, Picture, TrajectorySet, picture_planes, picture_size

TRACK_STEP = step_code(2.0)  # a quarter of the 8 px cell that latent guidance works on
_MOTION_SHARE = 0.25  # of the budget; T-GVC's own streams spend 10 to 30 % on trajectories


class SemanticPlanner(GroupPlanner):
    """Plans groups as T-GVC's encoder does; only the size of the key pictures is chosen by measurement.

    Args:
        effort: 0..4, index of `planning.group.EFFORTS`.
        threads: candidates tried at once.
        embedder: compares pictures for key frames and importance; the weight-free one by default.
        tracker: finds the dense tracks of a segment; optical flow by default.
        matrix: colour matrix code of the pictures, ISO/IEC 23091-2, for a tracker that looks at colours.
        parity: choose as the published code, faults included; for groups of 96 frames.
    """

    def __init__(
        self,
        effort: int,
        threads: int = 2,
        embedder: Embedder | None = None,
        tracker: NetworkTracker | None = None,
        matrix: int = DEFAULT_MATRIX,
        parity: bool = False,
    ) -> None:
        super().__init__(effort, threads)
        self.embedder = embedder or GistEmbedder()
        self._tracker, self._matrix, self._parity = tracker, matrix, parity
        self._known: dict[tuple[int, int], TrajectorySet] = {}
        self._lock = Lock()

    def plan(self, task: Task, on_step: Callable[[int], None] | None = None) -> GroupPlan:
        """See `GroupPlanner.plan`."""
        try:
            return super().plan(task, on_step)
        finally:
            self._known = {}

    def _key_ladder(self, task: Task) -> list[tuple[int, ...]]:
        if self._parity:
            looks = self.embedder.embed(task.pictures).astype(np.float64)
            if len(looks) != REFERENCE_COUNT:
                raise ConfigError(
                    f"parity=reference: a group of {len(looks)} frames, expected {REFERENCE_COUNT}, for which the "
                    f"published rule is written: give {REFERENCE_COUNT} frames without a cut, or no parity"
                )
            keys = reference_keyframes(looks @ looks.T, cut_similarity=self.embedder.cut_similarity)
        else:
            keys = SemanticPolicy(self.embedder).select(task.pictures)
        return [tuple(keys.indices.tolist())]

    def _plan_motion(
        self, task: Task, keys: tuple[int, ...], decoded: list[Picture], key_bytes: int
    ) -> list[SegmentMotion]:
        chosen = self._trajectories(task, keys)
        segments, values = [], []
        for a, b, first, last in zip(keys, keys[1:], decoded, decoded[1:], strict=False):
            motion, value = code_trajectories(task.pictures[a : b + 1], first, last, chosen[a, b])
            segments.append(motion)
            values.append(value)
        limit = _MOTION_SHARE * (task.budget or 4 * key_bytes)
        return drop_cheapest(segments, values, limit, anchor_grid(*picture_size(decoded[0])))

    def _trajectories(self, task: Task, keys: tuple[int, ...]) -> dict[tuple[int, int], TrajectorySet]:
        """Trajectories of every segment; found once per group, since they depend on the source alone."""
        with self._lock:  # candidates are tried side by side
            for a, b in pairwise(keys):
                if (a, b) not in self._known:
                    self._known[a, b] = self._analyse(task.pictures[a : b + 1])
            return {(a, b): self._known[a, b] for a, b in pairwise(keys)}

    def _analyse(self, pictures: Sequence[Picture]) -> TrajectorySet:
        length = len(pictures)
        if length <= 2:
            none = np.zeros(0, np.float32)
            empty = np.zeros((0, length, 2), np.float32)
            return TrajectorySet(empty, np.zeros((0, length), bool), np.zeros(0, np.int32), none)
        if self._tracker is None:
            tracks = track_segment(np.stack([picture_planes(p)[0] for p in pictures]))
        else:
            tracks = self._tracker.track_segment(to_levels(pictures, self._matrix))
        labels = cluster_tracks(tracks, self._parity)
        return select_trajectories(pictures, tracks, labels, self.embedder, self._parity)


def code_trajectories(
    pictures: Sequence[Picture], first: Picture, last: Picture, chosen: TrajectorySet
) -> tuple[SegmentMotion, FloatArray]:
    """Motion of mode G from a global model and given trajectories.

    Args:
        pictures: source pictures of the segment, both keys included.
        first: decoded first key.
        last: decoded last key.
        chosen: trajectories; one hidden in both keys is left out, for it has nowhere to start.

    Returns:
        The motion, and the importance float32 (K,) of its trajectories in their order.
    """
    length = len(pictures)
    if length <= 2:
        return SegmentMotion.empty("F", length), np.zeros(0, np.float32)
    width, height = picture_size(first)
    inner = [picture_planes(p)[0] for p in pictures[1:-1]]
    plain, _ = plan_global(inner, picture_planes(first)[0], picture_planes(last)[0], GLOBAL_STEP, TRACK_STEP, 0)
    model = dequantise(plain.global_coefs, step_px(GLOBAL_STEP), plain.transform, axis=0)
    model = np.concatenate([np.zeros((1, 4, 2), np.float32), model])
    grid = anchor_grid(width, height)
    starts = [(int(k), False) for k in np.flatnonzero(chosen.visible[:, 0])]
    starts += [(int(k), True) for k in np.flatnonzero(~chosen.visible[:, 0] & chosen.visible[:, -1])]
    coded: dict[tuple[int, int, bool], tuple[int, FloatArray]] = {}  # one trajectory per cell and key, the best first
    for index, from_last in starts:
        cell = anchor_cells(chosen.xy[index, -1:] if from_last else chosen.xy[index, :1], grid)
        anchor = anchor_points(cell)
        moves = model_at(model, anchor, width, height)[:, 0]
        beyond = chosen.xy[index] - anchor - (moves - moves[-1] if from_last else moves)
        place = (int(cell[0, 0]), int(cell[0, 1]), from_last)
        coded.setdefault(place, (index, np.asarray(beyond[-2::-1] if from_last else beyond[1:], np.float32)))
    if not coded:
        return plain, np.zeros(0, np.float32)
    order = np.asarray([index for index, _ in coded.values()])
    motion = SegmentMotion.of(
        "G",
        length,
        global_step=GLOBAL_STEP,
        track_step=TRACK_STEP,
        global_coefs=plain.global_coefs,
        anchors=np.asarray([(x, y) for x, y, _ in coded], np.int32),
        origin=np.asarray([from_last for _, _, from_last in coded]),
        coefs=quantise(np.stack([beyond for _, beyond in coded.values()]), step_px(TRACK_STEP), usual_transform("G")),
        visible=chosen.visible[order],
    )
    return motion, chosen.value[order]


def drop_cheapest(
    segments: list[SegmentMotion], values: list[FloatArray], limit: float, grid: tuple[int, int]
) -> list[SegmentMotion]:
    """Leave out the least important trajectories until the payload takes at most ``limit`` bytes."""
    floor = 0.0
    ranked = np.sort(np.concatenate([*values, np.zeros(1, np.float32)]))
    kept = segments
    while len(encode_motion(kept, grid)) > limit and floor < ranked[-1]:
        floor = float(ranked[np.searchsorted(ranked, floor, side="right") + len(ranked[ranked > floor]) // 5])
        kept = [s.take(np.flatnonzero(v > floor)) if len(v) else s for s, v in zip(segments, values, strict=True)]
    return kept
