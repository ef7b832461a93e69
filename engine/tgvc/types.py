"""The values that travel between the rooms of the codec: frozen, checked at construction.

Axes: N frames of the video, T of a segment, K trajectories, P dense tracks, H W pixels. Coordinates are (x, y) in
pixels of the working size, indices [y, x]; frame numbers count from 0; ``first``/``last`` are both included.

A *picture* is one I420 array, uint8 (3H/2, W): H rows of luma, then H/4 rows of each chroma plane (limited range).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tgvc.errors import ConfigError

Picture: TypeAlias = npt.NDArray[np.uint8]  # (3H/2, W) I420
Plane: TypeAlias = npt.NDArray[np.uint8]  # (H, W)
FloatArray: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
OnProgress: TypeAlias = Callable[[str, int, int | None], None]  # stage, done, in all if known


def check_size(size: tuple[int, int]) -> None:
    """Raise ConfigError unless a working size (width, height) in px is usable."""
    width, height = size
    if width % 16 or height % 16 or not (64 <= width <= 4096 and 64 <= height <= 4096):
        raise ConfigError(f"size={width}x{height}: expected multiples of 16 from 64 to 4096, such as 512x320")


def check_array(name: str, value: npt.NDArray[Any], dtype: type, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless ``value`` has the dtype and shape (None = any length)."""
    fits = value.ndim == len(shape) and all(s is None or s == n for s, n in zip(shape, value.shape, strict=True))
    if value.dtype != np.dtype(dtype) or not fits:
        want = ", ".join("*" if s is None else str(s) for s in shape)
        raise ValueError(f"{name}: expected {np.dtype(dtype).name} ({want}), got {value.dtype.name} {value.shape}")


def picture_size(picture: Picture) -> tuple[int, int]:
    """Width and height in pixels of an I420 picture."""
    return picture.shape[1], picture.shape[0] * 2 // 3


def picture_planes(picture: Picture) -> tuple[Plane, Plane, Plane]:
    """Views of the planes: Y uint8 (H, W), U and V uint8 (H/2, W/2)."""
    width, height = picture_size(picture)
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    return picture[:height], chroma[0], chroma[1]


def join_planes(y: Plane, u: Plane, v: Plane) -> Picture:
    """The I420 picture uint8 (3H/2, W) of three planes: Y (H, W), U and V (H/2, W/2)."""
    height, width = y.shape
    picture = np.empty((height * 3 // 2, width), np.uint8)
    picture[:height] = y
    picture[height:].reshape(2, height // 2, width // 2)[:] = (u, v)
    return picture


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What is known of a video before its frames are read.

    ``width, height``: working size in px, multiples of 16. ``source_width, source_height``: size as a player shows it
    (after rotation and sample aspect ratio). ``fps``: nominal rate, frames per second. ``count``: frames, or None where
    the source does not say (pipes). ``matrix``: colour matrix code of ISO/IEC 23091-2 (1 = BT.709, 6 = BT.601).
    """

    width: int
    height: int
    source_width: int
    source_height: int
    fps: Fraction
    count: int | None = None
    matrix: int = 6


@dataclass(frozen=True)
class KeyframeSet:
    """Key frames of a run of frames: ``indices`` int64 (M,), increasing, from 0 to the last frame."""

    indices: IntArray
    count: int

    def __post_init__(self) -> None:
        check_array("indices", self.indices, np.int64, (None,))
        i = self.indices
        if i.size == 0 or i[0] != 0 or i[-1] != self.count - 1 or np.any(np.diff(i) < 1):
            raise ValueError(f"indices: expected increasing from 0 to {self.count - 1}, got {i.tolist()}")


@dataclass(frozen=True)
class TrackSet:
    """Dense tracks of a segment, encoder only: ``xy`` float32 (P, T, 2) px, ``visible`` bool (P, T)."""

    xy: FloatArray
    visible: BoolArray

    def __post_init__(self) -> None:
        check_array("xy", self.xy, np.float32, (None, None, 2))
        check_array("visible", self.visible, np.bool_, self.xy.shape[:2])


@dataclass(frozen=True)
class TrajectorySet:
    """Trajectories chosen to be sent.

    ``xy`` float32 (K, T, 2) px; ``visible`` bool (K, T); ``group`` int32 (K,) motion instance;
    ``value`` float32 (K,) importance, larger is sent first, never coded.
    """

    xy: FloatArray
    visible: BoolArray
    group: npt.NDArray[np.int32]
    value: FloatArray

    def __post_init__(self) -> None:
        check_array("xy", self.xy, np.float32, (None, None, 2))
        check_array("visible", self.visible, np.bool_, self.xy.shape[:2])
        check_array("group", self.group, np.int32, self.xy.shape[:1])
        check_array("value", self.value, np.float32, self.xy.shape[:1])


@dataclass(frozen=True)
class Motion:
    """Motion of one segment as the generators use it, after dequantisation.

    ``mode``: ``H`` (no motion: the pictures are cross-faded), ``F`` (flow between the decoded key pictures, linear in
    time), ``T`` (F, bent by what follows), ``G`` (only what follows, no flow).
    ``model`` float32 (n, 4, 2) px: bilinear displacement per frame, weights of (1, u, v, uv), u and v in [-1, 1] across
    the picture. ``phase`` float32 (n,): T only, extra fraction of the flow. ``anchors`` float32 (K, 2) px, in the last
    key picture where ``from_last`` bool (K,) says so, else in the first; ``tracks`` float32 (K, n, 2) px: displacement
    of the points beyond the model, in order of time; ``visible`` bool (K, n).
    n = T - 2 (frames between the keys) for T, T - 1 (frames after the first key) for G, 0 for H and F.
    """

    mode: str
    model: FloatArray
    phase: FloatArray
    anchors: FloatArray
    from_last: BoolArray
    tracks: FloatArray
    visible: BoolArray

    def __post_init__(self) -> None:
        if self.mode not in ("H", "F", "T", "G"):
            raise ValueError(f"mode: expected H, F, T or G, got {self.mode!r}")
        n, k = len(self.phase), len(self.anchors)
        check_array("model", self.model, np.float32, (n, 4, 2))
        check_array("phase", self.phase, np.float32, (n,))
        check_array("anchors", self.anchors, np.float32, (k, 2))
        check_array("from_last", self.from_last, np.bool_, (k,))
        check_array("tracks", self.tracks, np.float32, (k, n, 2))
        check_array("visible", self.visible, np.bool_, (k, n))


def still_motion(mode: str) -> Motion:
    """A motion without data: mode ``H`` or ``F``."""
    empty = np.zeros((0, 2), np.float32)
    model, tracks = np.zeros((0, 4, 2), np.float32), np.zeros((0, 0, 2), np.float32)
    return Motion(mode, model, np.zeros(0, np.float32), empty, np.zeros(0, bool), tracks, np.zeros((0, 0), bool))
