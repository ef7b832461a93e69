"""The values that travel between rooms refuse what they cannot hold, and pictures keep their planes."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from tgvc.errors import ConfigError, TgvcError
from tgvc.types import (
    KeyframeSet,
    Motion,
    TrackSet,
    TrajectorySet,
    check_array,
    check_size,
    join_planes,
    picture_planes,
    picture_size,
    still_motion,
)

K, T, N = 3, 5, 4


# ---------------------------------------------------------------- pictures


def random_planes(width: int = 96, height: int = 64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 256, (height, width), dtype=np.uint8)
    u, v = rng.integers(0, 256, (2, height // 2, width // 2), dtype=np.uint8)
    return y, u, v


@pytest.mark.parametrize("size", [(96, 64), (64, 64), (64, 96), (512, 16), (16, 512)])
def test_joined_planes_are_found_again(size: tuple[int, int]) -> None:
    planes = random_planes(*size)
    picture = join_planes(*planes)
    assert picture_size(picture) == size
    assert picture.shape == (size[1] * 3 // 2, size[0])
    for found, given in zip(picture_planes(picture), planes, strict=True):
        assert np.array_equal(found, given)


def test_planes_are_views_of_the_picture() -> None:
    picture = join_planes(*random_planes())
    for plane in picture_planes(picture):
        plane[0, 0] ^= 255
        assert np.shares_memory(plane, picture)


def test_picture_has_the_memory_order_of_i420() -> None:
    y, u, v = random_planes()
    assert join_planes(y, u, v).tobytes() == y.tobytes() + u.tobytes() + v.tobytes()


@pytest.mark.parametrize("size", [(64, 64), (512, 320), (4096, 4096), (64, 4096)])
def test_usable_sizes_pass(size: tuple[int, int]) -> None:
    check_size(size)


@pytest.mark.parametrize("size", [(0, 64), (-64, 64), (48, 64), (64, 48), (72, 64), (512, 321), (4112, 64), (64, 8192)])
def test_unusable_sizes_are_refused_with_an_example(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=rf"size={size[0]}x{size[1]}: expected multiples of 16 .* such as 512x320"):
        check_size(size)


def test_config_errors_are_both_of_ours_and_of_python() -> None:
    for kind in (TgvcError, ValueError):
        with pytest.raises(kind):
            check_size((1, 1))


# ---------------------------------------------------------------- arrays


def test_check_array_names_what_it_wants_and_what_it_got() -> None:
    check_array("xy", np.zeros((3, 2), np.float32), np.float32, (None, 2))
    for bad, got in (
        (np.zeros((3, 2)), "float64 (3, 2)"),
        (np.zeros((3, 3), np.float32), "float32 (3, 3)"),
        (np.zeros((2,), np.float32), "float32 (2,)"),
        (np.zeros((1, 3, 2), np.float32), "float32 (1, 3, 2)"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"xy: expected float32 (*, 2), got {got}")):
            check_array("xy", bad, np.float32, (None, 2))


def key_frames() -> KeyframeSet:
    return KeyframeSet(np.array([0, 4, 9], np.int64), 10)


def tracks() -> TrackSet:
    return TrackSet(np.zeros((K, T, 2), np.float32), np.ones((K, T), bool))


def trajectories() -> TrajectorySet:
    return TrajectorySet(
        np.zeros((K, T, 2), np.float32), np.ones((K, T), bool), np.zeros(K, np.int32), np.zeros(K, np.float32)
    )


def motion() -> Motion:
    return Motion(
        mode="T",
        model=np.zeros((N, 4, 2), np.float32),
        phase=np.zeros(N, np.float32),
        anchors=np.zeros((K, 2), np.float32),
        from_last=np.zeros(K, bool),
        tracks=np.zeros((K, N, 2), np.float32),
        visible=np.ones((K, N), bool),
    )


BAD_FIELDS: list[tuple[str, Any, dict[str, Any], str]] = [
    ("keys of int32", key_frames, {"indices": np.array([0, 9], np.int32)}, "indices: expected int64"),
    ("no key", key_frames, {"indices": np.zeros(0, np.int64)}, "increasing from 0 to 9"),
    ("first key late", key_frames, {"indices": np.array([1, 9])}, r"increasing from 0 to 9, got \[1, 9\]"),
    ("last key early", key_frames, {"indices": np.array([0, 8])}, "increasing from 0 to 9"),
    ("key twice", key_frames, {"indices": np.array([0, 4, 4, 9])}, "increasing from 0 to 9"),
    ("keys out of order", key_frames, {"indices": np.array([0, 6, 4, 9])}, "increasing from 0 to 9"),
    ("tracks without time", tracks, {"xy": np.zeros((K, 2), np.float32)}, "xy: expected float32"),
    ("tracks of float64", tracks, {"xy": np.zeros((K, T, 2))}, "xy: expected float32"),
    ("fewer visibilities", tracks, {"visible": np.ones((K, T - 1), bool)}, r"visible: expected bool \(3, 5\)"),
    ("groups of int64", trajectories, {"group": np.zeros(K, np.int64)}, "group: expected int32"),
    ("fewer values", trajectories, {"value": np.zeros(K - 1, np.float32)}, r"value: expected float32 \(3\)"),
    ("unknown mode", motion, {"mode": "X"}, "mode: expected H, F, T or G, got 'X'"),
    ("long mode", motion, {"mode": "FH"}, "mode: expected H, F, T or G, got 'FH'"),
    ("model too long", motion, {"model": np.zeros((N + 1, 4, 2), np.float32)}, r"model: expected float32 \(4, 4, 2\)"),
    ("fewer flags", motion, {"from_last": np.zeros(K - 1, bool)}, r"from_last: expected bool \(3\)"),
    ("tracks too short", motion, {"tracks": np.zeros((K, N - 1, 2), np.float32)}, "tracks: expected float32"),
    ("visibility of ints", motion, {"visible": np.ones((K, N), np.int8)}, "visible: expected bool"),
]


@pytest.mark.parametrize(("make", "change", "message"), [b[1:] for b in BAD_FIELDS], ids=[b[0] for b in BAD_FIELDS])
def test_values_that_do_not_fit_together_are_refused(make: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(make(), **change)


@pytest.mark.parametrize("make", [key_frames, tracks, trajectories, motion])
def test_values_are_frozen(make: Any) -> None:
    value = make()
    name = next(iter(value.__dataclass_fields__))
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)


@pytest.mark.parametrize("mode", ["F", "H"])
def test_still_motion_carries_nothing(mode: str) -> None:
    value = still_motion(mode)
    assert value.mode == mode
    assert sum(getattr(value, n).size for n in ("model", "phase", "anchors", "from_last", "tracks", "visible")) == 0


def test_single_frame_has_one_key() -> None:
    assert KeyframeSet(np.zeros(1, np.int64), 1).indices.tolist() == [0]
