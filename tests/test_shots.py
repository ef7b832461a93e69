"""Shot cuts: hard cuts are found where they are; pans, zooms, flashes, fades and noise are not cuts."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tgvc.analysis.shots import ShotDetector, is_cut, mark_cuts
from tgvc.types import Picture, join_planes

W, H = 256, 160


def make_world(seed: int, size: int = 640) -> np.ndarray:
    """A colourful square scene, uint8 (size, size, 3) YUV: clouds of several scales and some shapes."""
    rng = np.random.default_rng(seed)
    world = np.zeros((size, size, 3), np.float32)
    for cells, strength in ((4, 60), (16, 40), (64, 25)):
        noise = rng.standard_normal((cells, cells, 3)).astype(np.float32) * (strength, strength / 3, strength / 3)
        world += cv2.resize(noise.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    world += rng.uniform((90, 100, 100), (150, 156, 156)).astype(np.float32)
    for _ in range(40):
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        cv2.circle(world, centre, int(rng.integers(8, 40)), rng.uniform(30, 220, 3).tolist(), -1)
    return np.clip(world, 16, 235).astype(np.uint8)


def as_picture(yuv: np.ndarray) -> Picture:
    """I420 of a YUV 4:4:4 array of the test size."""
    half = [cv2.resize(yuv[..., c], (W // 2, H // 2), interpolation=cv2.INTER_AREA) for c in (1, 2)]
    return join_planes(np.ascontiguousarray(yuv[..., 0]), half[0], half[1])


def crop(world: np.ndarray, x: float, y: float, zoom: float = 1.0) -> np.ndarray:
    matrix = np.array([[1 / zoom, 0, x], [0, 1 / zoom, y]], np.float32)
    return cv2.warpAffine(world, matrix, (W, H), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def starts(pictures: list[Picture]) -> list[int]:
    return [n for n, (_, start) in enumerate(mark_cuts(pictures)) if start]


@pytest.fixture(scope="module")
def worlds() -> list[np.ndarray]:
    return [make_world(seed) for seed in range(4)]


def test_pan_is_one_shot(worlds: list[np.ndarray]) -> None:
    # 24 px of 256 per frame: the whole picture has left after 11 frames
    assert starts([as_picture(crop(worlds[0], 24 * n, 5 * n)) for n in range(16)]) == [0]


def test_zoom_is_one_shot(worlds: list[np.ndarray]) -> None:
    assert starts([as_picture(crop(worlds[1], 200, 200, 1.08**n)) for n in range(16)]) == [0]


def test_noise_is_one_shot(worlds: list[np.ndarray]) -> None:
    rng = np.random.default_rng(5)
    still = crop(worlds[2], 100, 100)
    noisy = [np.clip(still + rng.normal(0, 25, still.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    assert starts([as_picture(p) for p in noisy]) == [0]


@pytest.mark.parametrize("length", [1, 2])
def test_flash_is_no_cut(worlds: list[np.ndarray], length: int) -> None:
    pictures = [crop(worlds[0], 100 + 3 * n, 100) for n in range(12)]
    for n in range(5, 5 + length):
        pictures[n] = np.stack([np.full((H, W), 240, np.uint8), *[np.full((H, W), 128, np.uint8)] * 2], axis=-1)
    assert starts([as_picture(p) for p in pictures]) == [0]


def test_fades_and_dissolves_are_no_cuts(worlds: list[np.ndarray]) -> None:
    a, b = (crop(worlds[n], 100, 100).astype(np.float32) for n in (0, 1))
    black = np.full_like(a, (16, 128, 128))
    weights = np.linspace(0, 1, 17)
    for first, last in ((black, a), (a, black), (a, b)):
        mixed = [(first * (1 - w) + last * w).astype(np.uint8) for w in weights]
        assert starts([as_picture(p) for p in mixed]) == [0]


def test_hard_cuts_are_found_where_they_are(worlds: list[np.ndarray]) -> None:
    pictures = [as_picture(crop(world, 50 + 6 * n, 80)) for world in worlds for n in range(9)]
    assert starts(pictures) == [0, 9, 18, 27]


def test_cuts_every_five_frames_are_all_found(worlds: list[np.ndarray]) -> None:
    pictures = [as_picture(crop(worlds[n // 5 % 2], 40 + 6 * n, 80)) for n in range(50)]
    assert starts(pictures) == list(range(0, 50, 5))


def test_cut_two_frames_before_the_end_is_found(worlds: list[np.ndarray]) -> None:
    pictures = [as_picture(crop(worlds[int(n >= 6)], 40, 80)) for n in range(8)]
    assert starts(pictures) == [0, 6]


def test_pictures_without_structure_are_cut_by_colour_alone() -> None:
    black = as_picture(np.full((H, W, 3), (16, 128, 128), np.uint8))
    red = as_picture(np.full((H, W, 3), (80, 90, 220), np.uint8))
    assert starts([black] * 10) == [0]
    assert starts([black] * 5 + [red] * 5) == [0, 5]


def test_every_picture_gets_one_verdict_in_order(worlds: list[np.ndarray]) -> None:
    pictures = [as_picture(crop(worlds[n % 4], 40, 80)) for n in range(9)]
    marked = list(mark_cuts(pictures))
    assert [id(p) for p, _ in marked] == [id(p) for p in pictures]
    detector = ShotDetector()
    late = 0
    for n, picture in enumerate(pictures):
        late -= len(detector.push(picture))
        assert late + n + 1 <= 2
    assert late + len(pictures) == len(detector.finish())
    assert list(mark_cuts([])) == []


def test_pairwise_verdict_needs_no_history(worlds: list[np.ndarray]) -> None:
    a, a_moved, b = (as_picture(crop(worlds[w], x, 80)) for w, x in ((0, 40), (0, 52), (3, 40)))
    assert not is_cut(a, a_moved)
    assert is_cut(a, b)
    assert is_cut(b, a)


def read_clip(path: Path, start: int = 0, stop: int | None = None) -> list[Picture]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)][start:stop]


@pytest.fixture(scope="module")
def clips() -> list[list[Picture]]:
    if "TGVC_CLIPS" not in os.environ:
        pytest.skip("TGVC_CLIPS is not set: needs the folder of test clips")
    return [read_clip(path) for path in sorted(Path(os.environ["TGVC_CLIPS"], "test").glob("*.mp4"))]


def test_real_single_shots_have_no_cut(clips: list[list[Picture]]) -> None:
    assert clips
    assert [starts(clip) for clip in clips] == [[0]] * len(clips)


def test_joined_real_clips_are_cut_exactly_at_the_joint(clips: list[list[Picture]]) -> None:
    for a, b in pairwise([*clips, clips[0]]):
        assert starts(a[-6:] + b[10:16]) == [0, 6]
