"""The motion of one segment as integers: what a TRACKS payload carries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from tgvc.bitstream.transform import COEF_LIMIT, STEP_CODES, TRANSFORMS, Coefs, Transform
from tgvc.types import BoolArray, FloatArray, check_array

Mode: TypeAlias = Literal["F", "G", "T", "H"]
MODES: tuple[Mode, ...] = get_args(Mode)
Anchors: TypeAlias = npt.NDArray[np.int32]  # (K, 2) cells, x then y
Grid: TypeAlias = tuple[int, int]  # cells across, cells down

MIN_LENGTH, MAX_LENGTH = 2, 33
MAX_TRACKS = 512
GLOBAL_TERMS = 4  # 1, u, v, uv
ANCHOR_PITCH_PX = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class SegmentMotion:
    """Motion between two neighbouring key frames.

    ``mode``: ``F`` flow found by the decoder, ``H`` cross-fade (neither carries data), ``G`` global model plus tracks,
    ``T`` the decoder's flow corrected by a global model and tracks. ``length``: T frames, both keys included, 2..33.
    Series have n samples: T - 1 in mode ``G`` (every frame but the one that time is counted from), T - 2 in mode ``T``
    (the frames between the keys), none in ``F`` and ``H``.

    ``transform``: of all series. ``global_step, track_step``: codes 0..63 of the quantisers' steps.
    ``global_coefs``: int32 (n, 4, 2), the weights of 1, u, v, uv per axis (x, y), u and v from -1 to 1 across the
    picture; of the displacement since the first key (``G``) or beyond the flow (``T``).
    ``phase_coefs``: int32 (n,), how far the flow runs ahead of uniform time; zero in ``G``.
    ``anchors``: int32 (K, 2) cells (x, y). ``origin``: bool (K,), False: the anchor lies in the first key and time runs
    forwards; True: in the last key, and backwards. No two anchors of one origin are equal.
    ``coefs``: int32 (K, n, 2), the track's residual beyond model and flow. ``visible``: bool (K, T), in time order.
    """

    mode: Mode
    length: int
    transform: Transform
    global_step: int
    track_step: int
    global_coefs: Coefs
    phase_coefs: Coefs
    anchors: Anchors
    origin: BoolArray
    coefs: Coefs
    visible: BoolArray

    @classmethod
    def empty(cls, mode: Mode, length: int) -> SegmentMotion:
        """A segment of mode ``F`` or ``H``: nothing but its length."""
        return cls.of(mode, length)

    @classmethod
    def of(
        cls,
        mode: Mode,
        length: int,
        *,
        transform: Transform | None = None,
        global_step: int = 0,
        track_step: int = 0,
        global_coefs: Coefs | None = None,
        phase_coefs: Coefs | None = None,
        anchors: Anchors | None = None,
        origin: BoolArray | None = None,
        coefs: Coefs | None = None,
        visible: BoolArray | None = None,
    ) -> SegmentMotion:
        """A segment with what is not given filled in: the mode's usual transform, no model, no tracks, all visible."""
        n, count = series_samples(mode, length), 0 if anchors is None else len(anchors)
        return cls(
            mode=mode,
            length=length,
            transform=usual_transform(mode) if transform is None else transform,
            global_step=global_step,
            track_step=track_step,
            global_coefs=np.zeros((n, GLOBAL_TERMS, 2), np.int32) if global_coefs is None else global_coefs,
            phase_coefs=np.zeros(n, np.int32) if phase_coefs is None else phase_coefs,
            anchors=np.zeros((0, 2), np.int32) if anchors is None else anchors,
            origin=np.zeros(count, np.bool_) if origin is None else origin,
            coefs=np.zeros((count, n, 2), np.int32) if coefs is None else coefs,
            visible=np.ones((count, length), np.bool_) if visible is None else visible,
        )

    def __post_init__(self) -> None:
        self._check_scalars()
        n, count = series_samples(self.mode, self.length), len(self.anchors)
        check_array("global_coefs", self.global_coefs, np.int32, (n, GLOBAL_TERMS, 2))
        check_array("phase_coefs", self.phase_coefs, np.int32, (n,))
        check_array("anchors", self.anchors, np.int32, (None, 2))
        check_array("origin", self.origin, np.bool_, (count,))
        check_array("coefs", self.coefs, np.int32, (count, n, 2))
        check_array("visible", self.visible, np.bool_, (count, self.length))
        if count > (most := 0 if self.mode in "FH" else MAX_TRACKS):
            raise ValueError(f"anchors: got {count} tracks in mode {self.mode}, expected at most {most}")
        for name, coefs in (("global", self.global_coefs), ("phase", self.phase_coefs), ("track", self.coefs)):
            if coefs.size and max(int(coefs.max()), -int(coefs.min())) > COEF_LIMIT:
                raise ValueError(f"{name} coefficients: expected magnitudes up to {COEF_LIMIT}")
        if self.mode == "G" and self.phase_coefs.any():
            raise ValueError("phase_coefs: mode G has no flow that could run ahead, expected zeros")
        starts = np.column_stack([self.anchors, self.origin])
        if len(np.unique(starts, axis=0)) < count:
            raise ValueError("anchors: two tracks start at the same cell of the same key")

    def _check_scalars(self) -> None:
        if self.mode not in MODES or self.transform not in TRANSFORMS:
            raise ValueError(f"mode={self.mode!r}, transform={self.transform!r}: expected {MODES} and {TRANSFORMS}")
        shortest = MIN_LENGTH + (self.mode == "T")
        if not shortest <= self.length <= MAX_LENGTH:
            raise ValueError(f"length={self.length}: expected {shortest}..{MAX_LENGTH} frames in mode {self.mode}")
        limit = STEP_CODES if self.mode in "GT" else 1
        if not (0 <= self.global_step < limit and 0 <= self.track_step < limit):
            got = (self.global_step, self.track_step)
            raise ValueError(f"global_step, track_step={got}: expected 0..{limit - 1} in mode {self.mode}")
        if self.mode in "FH" and self.transform != usual_transform(self.mode):
            raise ValueError(f"transform={self.transform!r}: mode {self.mode} has no series, leave it out")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SegmentMotion):
            return NotImplemented
        return all(np.array_equal(a, b) for a, b in zip(self._values(), other._values(), strict=True))

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash

    def take(self, order: npt.NDArray[np.intp]) -> SegmentMotion:
        """The segment with the tracks ``order``, int (K',), in that order."""
        anchors, origin = self.anchors[order], self.origin[order]
        return replace(self, anchors=anchors, origin=origin, coefs=self.coefs[order], visible=self.visible[order])

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)


def series_samples(mode: Mode, length: int) -> int:
    """Samples of every series of a segment of ``length`` frames, both keys included."""
    return {"G": length - 1, "T": length - 2}.get(mode, 0)


def usual_transform(mode: Mode) -> Transform:
    """The transform whose basis has the mode's boundary values: zero at one key, or at both."""
    return "bridge" if mode == "T" else "dst"


def anchor_points(anchors: Anchors) -> FloatArray:
    """Anchors in cells, int32 (K, 2) -> their positions float32 (K, 2) px, (x, y): 4 * cell + 2."""
    return (anchors * ANCHOR_PITCH_PX + ANCHOR_PITCH_PX // 2).astype(np.float32)


def anchor_cells(points: FloatArray, grid: Grid) -> Anchors:
    """Positions float32 (K, 2) px -> the cells int32 (K, 2) that contain them, clipped to the grid."""
    cells = np.floor(np.asarray(points) / ANCHOR_PITCH_PX)
    return np.clip(cells, 0, np.array(grid) - 1).astype(np.int32)


def anchor_grid(width: int, height: int) -> Grid:
    """Cells across and down of a picture of a working size in px."""
    return -(-width // ANCHOR_PITCH_PX), -(-height // ANCHOR_PITCH_PX)


def all_cells(width: int, height: int) -> Anchors:
    """All cells of the anchors' grid of a working size in px, row by row, int32 (P, 2)."""
    across, down = anchor_grid(width, height)
    return np.stack(np.meshgrid(np.arange(across), np.arange(down)), axis=-1).reshape(-1, 2).astype(np.int32)
