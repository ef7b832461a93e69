"""Profile ``actdiff``: ActDiff-VC's own encoder. Groups of pictures as long as a key frame lasts, greedy trajectories.

How strict the test of a key frame is and how much a trajectory may cost both follow from the rate: the strictness by
trying, the price by what a bit of key pictures would save. The stream is a TRACKS stream like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from threading import Lock

import numpy as np

from tgvc.analysis.cotracker import NetworkTracker
from tgvc.analysis.coverage import Perceptual, Score, Structure
from tgvc.analysis.following import FlowFollower, Follower, KeyScan, NetworkFollower, shrink_pictures
from tgvc.analysis.selection import CELLS, edge_weights, rank_moving, spread_points
from tgvc.bitstream.group import MAX_GAP, uniform_keys
from tgvc.bitstream.header import DEFAULT_MATRIX
from tgvc.bitstream.motion import SegmentMotion, all_cells, anchor_grid, anchor_points
from tgvc.bitstream.tracks import MotionCoder
from tgvc.bitstream.transform import dequantise, quantise, step_code, step_px
from tgvc.config import GOPS, POINTS
from tgvc.errors import ConfigError
from tgvc.models.rgb import to_levels
from tgvc.planning.globalmotion import fit_tracks
from tgvc.planning.group import GroupPlanner, Task, bit_price
from tgvc.planning.keyladder import PUBLISHED_COVERAGE, build_ladder, even_keys
from tgvc.planning.plan import GroupPlan, render_group, shown_error
from tgvc.planning.sampling import Moving, TrackLine, buy_as_published, buy_greedily, match_bits
from tgvc.planning.segment import GLOBAL_STEP
from tgvc.synthesis.motion import model_at
from tgvc.types import FloatArray, Picture, picture_planes, picture_size

TRACK_STEP = step_code(1.0)
_WHOLE_PX = step_code(1.0)
_SHRINK = 2  # px of the picture per px of the flow
_FINEST = 2.0  # px of weighted error per bit below which no trajectory has been worth its bits at any rate
_RATES = tuple(_FINEST * 2.0**n for n in range(8))  # what a bit may be worth
_MOST = 96  # trajectories of a segment
_PUBLISHED_SHARE = 0.3  # of the budget, at most, for the published count: what it takes at the lowest published rate


@dataclass
class _Known:
    """What has been found out about the pictures of one group; it depends on nothing but them."""

    follower: Follower
    looks: list[FloatArray]
    scans: dict[int, KeyScan] = field(default_factory=dict)
    lines: dict[tuple[int, ...], list[TrackLine | None]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


class ActivePlanner(GroupPlanner):
    """Plans groups as ActDiff-VC's encoder does.

    Args:
        effort: 0..4, index of `planning.group.EFFORTS`.
        threads: candidates tried at once; the result does not depend on it.
        tracker: follows the points; optical flow by default.
        perceptual: distance of the test of a key frame; the weight-free one by default.
        matrix: colour matrix code of the pictures, ISO/IEC 23091-2, for networks that look at colours.
        parity: constants and rules of the published code.
        spacing: distance of key pictures in frames, instead of the test of a key frame.
        coverage: least share of a frame that the key frame has to cover, 0..1, instead of choosing it by measurement;
            the limit of the distance follows from it.
        gops: ``fixed``: as many key frames as the adaptive ones, evenly spaced; to see what adapting them gains.
        points: what trajectories are chosen by: ``greedy``; ``unweighted``, the same without regard to edges;
            ``uniform`` or ``moving``, for the same bits evenly spread ones, or those that go farthest.
        tails: False plans and judges as if frames were painted from the key picture before them alone, to see what the
            one after them gains; a decoder uses both unless it is told the same.
    """

    def __init__(
        self,
        effort: int,
        threads: int = 2,
        *,
        tracker: NetworkTracker | None = None,
        perceptual: Perceptual | None = None,
        matrix: int = DEFAULT_MATRIX,
        parity: bool = False,
        spacing: int | None = None,
        coverage: float | None = None,
        gops: str = "adaptive",
        points: str = "greedy",
        tails: bool = True,
    ) -> None:
        if gops not in GOPS or points not in POINTS:
            raise ConfigError(f"gops={gops!r}, points={points!r}: expected one of {GOPS} and one of {POINTS}")
        if spacing is not None and gops != "adaptive":
            raise ConfigError(
                f"gops={gops!r}: expected no spacing={spacing} beside it, which says where key pictures are"
            )
        if coverage is not None and (parity or spacing is not None):
            raise ConfigError(f"coverage={coverage}: expected neither parity=reference nor spacing beside it")
        if parity and points != "greedy":
            raise ConfigError(f"points={points!r}: expected no parity=reference beside it, which has its own choice")
        super().__init__(effort, threads)
        self.effort = replace(self.effort, uneven=0)  # where the keys are is the test's to say
        self._tracker, self._perceptual, self._matrix = tracker, perceptual or Structure(), matrix
        self._parity, self._spacing, self._gops, self._points = parity, spacing, gops, points
        self._coverage = coverage
        self._tails = tails
        self._known: _Known | None = None

    def plan(self, task: Task, on_step: Callable[[int], None] | None = None) -> GroupPlan:
        """See `GroupPlanner.plan`."""
        self.look(task.pictures)
        try:
            return super().plan(task, on_step)
        finally:
            self._known = None

    def look(self, pictures: Sequence[Picture]) -> None:
        """Make the pictures ready to be looked at."""
        self._known = self._look_at(pictures)

    def _look_at(self, pictures: Sequence[Picture]) -> _Known:
        shrink = 1 if self._parity else _SHRINK
        planes = shrink_pictures([picture_planes(p)[0] for p in pictures], shrink)
        follower: Follower = FlowFollower(planes, shrink)
        if self._tracker is not None:
            follower = NetworkFollower(
                self._tracker, lambda a, b: to_levels(pictures[a:b], self._matrix), shrink, MAX_GAP + 1
            )
        if self._perceptual.channels == 1:
            return _Known(follower, [p[..., None].astype(np.float32) for p in planes])
        levels = to_levels(pictures, self._matrix)
        channels = [shrink_pictures([frame[..., c] for frame in levels], shrink) for c in range(levels.shape[-1])]
        return _Known(follower, [np.stack(frame, axis=-1).astype(np.float32) for frame in zip(*channels, strict=True)])

    def _scan(self, task: Task, start: int) -> KeyScan:
        known = self._known
        assert known is not None
        if start not in known.scans:
            width, height = picture_size(task.pictures[0])
            shrink = width // known.looks[0].shape[1]
            anchors = (anchor_points(all_cells(width, height)) + 0.5) / shrink - 0.5
            across, down = anchor_grid(width, height)
            last = np.asarray(known.looks[0].shape[1::-1], np.float32) - 1
            grid = np.minimum(anchors, last).astype(np.float32).reshape(down, across, 2)
            known.scans[start] = KeyScan(
                known.follower, known.looks, start, grid, self._perceptual, parity=self._parity
            )
        return known.scans[start]

    def _key_ladder(self, task: Task) -> list[tuple[int, ...]]:
        count = len(task.pictures)
        if self._spacing is not None:
            return [uniform_keys(count, self._spacing)]

        def score(start: int, frame: int) -> Score:
            return self._scan(task, start).score(frame)

        fixed = PUBLISHED_COVERAGE if self._parity else self._coverage
        ladder = build_ladder(count, score, self._perceptual.limit, fixed, parity=self._parity)
        if self._gops == "fixed":
            ladder = [even_keys(count, len(keys)) for keys in ladder]
        return list(dict.fromkeys(ladder))

    def _starts(self, keys: tuple[int, ...]) -> bool:
        return 1.5 < keys[-1] / max(len(keys) - 1, 1) < 6

    def _plan_motion(
        self, task: Task, keys: tuple[int, ...], decoded: list[Picture], key_bytes: int
    ) -> list[SegmentMotion]:
        lines = self._track_lines(task, keys)
        if self._parity:
            limit = 8 * _PUBLISHED_SHARE * (task.budget or 4 * key_bytes) / max(len(keys) - 1, 1)
            counts = [0 if line is None else max(0, int(np.sum(line.bits <= limit)) - 1) for line in lines]
        else:
            counts = self._affordable(task, keys, decoded, key_bytes, lines)
        return [
            SegmentMotion.empty("F", b - a + 1) if line is None else line.cut(count)
            for (a, b), line, count in zip(pairwise(keys), lines, counts, strict=True)
        ]

    def _render(self, keys: list[Picture], segments: list[SegmentMotion]) -> list[Picture]:
        return render_group(keys, segments, tails=self._tails)

    def _affordable(
        self,
        task: Task,
        keys: tuple[int, ...],
        decoded: list[Picture],
        key_bytes: int,
        lines: Sequence[TrackLine | None],
    ) -> list[int]:
        """Trajectories of each segment, one worth of a bit for all of them: the worth that turns out best.

        A bit costs the squared error that it would save in the key pictures, and the more, the fewer are left to them.
        """
        price = bit_price(task, keys, decoded, key_bytes)
        errors: list[dict[int, float]] = []
        for n, line in enumerate(lines):
            tail, inner = decoded[n + 1] if self._tails else None, task.pictures[keys[n] + 1 : keys[n + 1]]
            tried = {0} | ({line.count_at(rate) for rate in _RATES} if line else set())
            errors.append({k: shown_error(inner, decoded[n], tail, line.cut(k)) if line else 0.0 for k in tried})

        def counts(rate: float) -> list[int]:
            return [line.count_at(rate) if line else 0 for line in lines]

        def cost(chosen: list[int]) -> float:
            bits = sum(float(line.bits[k]) for line, k in zip(lines, chosen, strict=True) if line)
            left = 1 - bits / (8 * key_bytes)
            error = sum(part[k] for part, k in zip(errors, chosen, strict=True))
            return error + price * bits / left if left > 0 else math.inf

        return min([[0] * len(lines), *(counts(rate) for rate in reversed(_RATES))], key=cost)

    def _track_lines(self, task: Task, keys: tuple[int, ...]) -> list[TrackLine | None]:
        """Trajectories of all segments in the order in which they are bought; None between neighbouring frames."""
        known = self._known
        assert known is not None
        with known.lock:  # candidates are tried side by side, and tracks depend on the source alone
            if keys not in known.lines:
                known.lines[keys] = self._choose(task, keys)
            return known.lines[keys]

    def _choose(self, task: Task, keys: tuple[int, ...]) -> list[TrackLine | None]:
        coder = MotionCoder(anchor_grid(*picture_size(task.pictures[0])))
        lines: list[TrackLine | None] = []
        for a, b in pairwise(keys):
            line = None
            if b - a > 1:
                moving, edges = self._observe(task, a, b)
                line = self._buy(coder, moving, edges)
                coder.append(line.cut(len(line.chosen)))
            else:
                coder.append(SegmentMotion.empty("F", 2))
            lines.append(line)
        return lines

    def _buy(self, coder: MotionCoder, moving: Moving, edges: FloatArray) -> TrackLine:
        if self._parity:
            return buy_as_published(coder, moving, edges)
        line = buy_greedily(coder, moving, _FINEST, _MOST)
        if self._points == "uniform":
            return match_bits(coder, line, spread_points(moving.points, moving.size, max(1, 2 * len(line.chosen))))
        if self._points == "moving":
            return match_bits(coder, line, rank_moving(moving.moves, moving.points, moving.size, CELLS))
        return line

    def _observe(self, task: Task, a: int, b: int) -> tuple[Moving, FloatArray]:
        """The segment from key frame a to key frame b as its trajectories are chosen, and its edges float32 (P,)."""
        width, height = picture_size(task.pictures[a])
        scan = self._scan(task, a)
        shrink, tracks = width // scan.size[0], scan.tracks(b - a + 1)
        cells = all_cells(width, height)
        points = anchor_points(cells)
        moves = np.asarray((tracks.xy[:, 1:] - tracks.xy[:, :1]) * shrink, np.float32)
        across, down = anchor_grid(width, height)
        edges = edge_weights(picture_planes(task.pictures[a])[0], down, across).ravel()
        weights = np.ones_like(edges) if self._points == "unweighted" else edges
        model = np.zeros((b - a, 4, 2), np.int32)
        if not self._parity:
            fitted = fit_tracks(points, moves, tracks.visible[:, 1:], width, height)
            model = quantise(fitted, step_px(GLOBAL_STEP), "dst", axis=0)
            known = dequantise(model, step_px(GLOBAL_STEP), "dst", axis=0)
            moves = moves - model_at(known, points, width, height).transpose(1, 0, 2)
        moving = Moving(
            length=b - a + 1,
            size=(width, height),
            cells=cells,
            points=points,
            moves=np.ascontiguousarray(moves, np.float32),
            visible=tracks.visible,
            weights=weights,
            model=model,
            model_step=GLOBAL_STEP,
            track_step=_WHOLE_PX if self._parity else TRACK_STEP,
            transform="dpcm" if self._parity else "dst",
        )
        return moving, edges
