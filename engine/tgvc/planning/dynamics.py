"""Profile ``dynamics``: Dynamics-Codec's encoder. Few key pictures, and the paths of anchors in what sways and flows.

Every segment is sent as mode G. The dense flow from its first key picture to every frame is measured and sampled at
watershed anchors; then at points where what the anchors say is most wrong. The temporal transform of the paths is the
publication's spectral volume. A group may end without a key picture. The stream is a TRACKS stream like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from threading import Lock

import numpy as np
import numpy.typing as npt

from tgvc.analysis.flow import pixel_grid, sample_at
from tgvc.analysis.following import FlowFollower, shrink_pictures
from tgvc.analysis.tracking import fill_hidden
from tgvc.analysis.watershed import choose_anchors, edge_distance, motion_edges
from tgvc.bitstream.group import MAX_GAP, uniform_keys
from tgvc.bitstream.motion import MAX_TRACKS, SegmentMotion, all_cells, anchor_cells, anchor_grid, anchor_points
from tgvc.bitstream.tracks import MotionCoder
from tgvc.bitstream.transform import dequantise, quantise, step_code, step_px
from tgvc.planning.gaps import split_failures
from tgvc.planning.globalmotion import fit_tracks
from tgvc.planning.group import Choice, GroupPlanner, Task
from tgvc.planning.plan import GroupPlan
from tgvc.planning.sampling import Moving, buy_greedily
from tgvc.planning.segment import GLOBAL_STEP
from tgvc.synthesis.motion import model_at
from tgvc.types import BoolArray, FloatArray, Picture, picture_planes, picture_size

SPACINGS = (16, 32)
TRACK_STEP = step_code(2.0)  # a quarter of the 8 px cell of the generators
_SHRINK = 2  # px of the picture per px of the flow
_MOTION_SHARE = 0.2  # of the budget
_ANCHOR_SHARE = 0.75  # of that, for watershed anchors; the rest goes where they are wrong
_COUNTS = (96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 2)  # of watershed anchors, the most that are affordable are taken
_PATIENCE = 24  # what sways is small beside what stands still, and many a point there helps on one side only
_SEEN = 0.5  # share of the frames in which an anchor has to be seen
_REFRESH = 0.25  # share of the segments that are split together where the decoder's picture has drifted


class KeyView:
    """Where everything in a key picture goes, frame after frame, as far as anyone has asked.

    Args:
        frames: places float32 (h, w, 2) px of the flow and whether they are seen, bool (h, w), of the frames after it.
        points: float32 (P, 2) px of the flow, whose moves are kept.
    """

    def __init__(self, frames: Iterator[tuple[FloatArray, BoolArray]], points: FloatArray) -> None:
        self._frames, self._points = frames, points
        self._nearest = np.rint(points).astype(np.int64)
        self._places: list[FloatArray] = [points]
        self._seen: list[BoolArray] = [np.ones(len(points), np.bool_)]
        self._edges: list[FloatArray] = []

    def reach(self, length: int) -> None:
        """Look at all of the first ``length`` frames, the key picture being one."""
        while len(self._places) < length:
            places, seen = next(self._frames)
            self._places.append(sample_at(places, self._points))
            self._seen.append(seen[self._nearest[:, 1], self._nearest[:, 0]])
            moved = places - pixel_grid(*places.shape[:2])
            edges = motion_edges(moved[None])
            self._edges.append(np.maximum(edges, self._edges[-1]) if self._edges else edges)

    def moves(self, length: int) -> tuple[FloatArray, BoolArray]:
        """How the points move: float32 (P, T - 1, 2) px of the flow, and where they are seen, bool (P, T)."""
        self.reach(length)
        xy, seen = np.stack(self._places[:length], axis=1), np.stack(self._seen[:length], axis=1)
        if length > 2:  # hidden for one frame: the run would cost more than it says
            seen[:, 1:-1] |= seen[:, :-2] & seen[:, 2:]
        xy = fill_hidden(xy, seen)
        return np.asarray(xy[:, 1:] - xy[:, :1], np.float32), seen

    def distance(self, length: int) -> npt.NDArray[np.int32]:
        """Of every pixel to what moves otherwise in any of the frames; see `tgvc.analysis.watershed.edge_distance`."""
        self.reach(length)
        return edge_distance(self._edges[length - 2])


class DynamicsPlanner(GroupPlanner):
    """Plans groups as Dynamics-Codec's encoder does.

    Args:
        effort: 0..4, index of `planning.group.EFFORTS`.
        threads: candidates tried at once; the result does not depend on it.
        spacing: distance of key pictures in frames, instead of choosing it.
    """

    def __init__(self, effort: int, threads: int = 2, spacing: int | None = None) -> None:
        super().__init__(effort, threads, spacing=spacing)
        self._spacings = SPACINGS if spacing is None else (spacing,)
        self._views: dict[int, KeyView] = {}
        self._moving: dict[tuple[int, int], tuple[Moving, npt.NDArray[np.int32]]] = {}
        self._follower: FlowFollower | None = None
        self._lock = Lock()

    def plan(self, task: Task, on_step: Callable[[int], None] | None = None) -> GroupPlan:
        """See `GroupPlanner.plan`."""
        self._follower = FlowFollower(shrink_pictures([picture_planes(p)[0] for p in task.pictures], _SHRINK), _SHRINK)
        try:
            return super().plan(task, on_step)
        finally:
            self._views, self._moving, self._follower = {}, {}, None

    def _key_ladder(self, task: Task) -> list[tuple[int, ...]]:
        count = len(task.pictures)
        ladder = []
        for spacing in self._spacings:
            closed = uniform_keys(count, spacing)
            ladder.append(closed)
            if len(closed) > 1 and count - 1 - closed[-2] <= MAX_GAP:
                ladder.append(closed[:-1])
        return list(dict.fromkeys(ladder))

    def _starts(self, keys: tuple[int, ...]) -> bool:
        return True

    def _uneven_keys(
        self, tried: Mapping[Choice, GroupPlan], choice: Choice, reference: float
    ) -> Iterator[tuple[int, ...]]:
        """Key pictures added where the picture has drifted away from the source, unless a spacing is asked for."""
        if len(self._spacings) < 2:
            return
        plan = tried[choice]
        end = plan.frames - 1
        stops = choice.keys if choice.keys[-1] == end else (*choice.keys, end)
        added = split_failures(stops, plan.verdict.frames, _REFRESH, plain=False)
        yield tuple(key for key in added if key in choice.keys or key != end)  # an open group stays open

    def _plan_motion(
        self, task: Task, keys: tuple[int, ...], decoded: list[Picture], key_bytes: int
    ) -> list[SegmentMotion]:
        count = len(task.pictures)
        stops = keys if keys[-1] == count - 1 else (*keys, count - 1)
        limit = 8 * _MOTION_SHARE * (task.budget or 1.25 * key_bytes) / max(count - 1, 1)
        coder = MotionCoder(anchor_grid(*picture_size(task.pictures[0])))
        segments = []
        for number, (a, b) in enumerate(pairwise(stops)):
            closed = number + 1 < len(keys)
            if b - a == 1 and closed:
                segments.append(SegmentMotion.empty("F", 2))
            else:
                segments.append(self._choose(task, coder, a, b, limit * (b - a)))
            coder.append(segments[-1])
        return segments

    def _choose(self, task: Task, coder: MotionCoder, a: int, b: int, limit: float) -> SegmentMotion:
        """Anchors and further points of a segment, for at most ``limit`` bits."""
        moving, distance = self._observe(task, a, b)
        first: list[int] = []
        for count in _COUNTS:
            first = self._anchors(moving, distance, count)
            if coder.cost_bits(moving.motion_of(first)) <= _ANCHOR_SHARE * limit:
                break
        line = buy_greedily(coder, moving, 0.0, MAX_TRACKS // 4, first=first, most_bits=limit, patience=_PATIENCE)
        return line.cut(len(line.chosen))

    @staticmethod
    def _anchors(moving: Moving, distance: npt.NDArray[np.int32], count: int) -> list[int]:
        """Watershed anchors as indices of points, those that are hidden for too long left out."""
        places, _ = choose_anchors(distance, count)
        grid = anchor_grid(*moving.size)
        cells = anchor_cells((places * _SHRINK).astype(np.float32), grid)
        indices = dict.fromkeys((cells[:, 1].astype(np.int64) * grid[0] + cells[:, 0]).tolist())
        return [index for index in indices if moving.visible[index].mean() >= _SEEN]

    def _observe(self, task: Task, a: int, b: int) -> tuple[Moving, npt.NDArray[np.int32]]:
        """The segment as its trajectories are chosen, and the distances to motion edges."""
        with self._lock:  # candidates are tried side by side
            if (a, b) not in self._moving:
                self._moving[a, b] = self._look(task, a, b)
            return self._moving[a, b]

    def _look(self, task: Task, a: int, b: int) -> tuple[Moving, npt.NDArray[np.int32]]:
        width, height = picture_size(task.pictures[a])
        cells = all_cells(width, height)
        points = anchor_points(cells)
        if a not in self._views:
            assert self._follower is not None
            small = np.minimum((points + 0.5) / _SHRINK - 0.5, (width // _SHRINK - 1, height // _SHRINK - 1))
            self._views[a] = KeyView(self._follower.follow(a), small.astype(np.float32))
        view, length = self._views[a], b - a + 1
        moves, seen = view.moves(length)
        moves = moves * np.float32(_SHRINK)
        model = quantise(fit_tracks(points, moves, seen[:, 1:], width, height), step_px(GLOBAL_STEP), "dst", axis=0)
        known = dequantise(model, step_px(GLOBAL_STEP), "dst", axis=0)
        moves = moves - model_at(known, points, width, height).transpose(1, 0, 2)
        weights = np.ones(len(points), np.float32)
        moving = Moving(
            length=length,
            size=(width, height),
            cells=cells,
            points=points,
            moves=np.ascontiguousarray(moves, np.float32),
            visible=seen,
            weights=weights,
            model=model,
            model_step=GLOBAL_STEP,
            track_step=TRACK_STEP,
        )
        return moving, view.distance(length)
