"""Dense flow: a translation both ways, trust, and OpenCV's threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from conftest import MakeClip, MakePicture
from tgvc.synthesis.flow import (
    CELL,
    measure_flow,
    measure_key_flow,
    one_cv_thread,
    shrink_plane,
)
from tgvc.types import picture_planes


@pytest.fixture(autouse=True)
def _caller_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_flow_finds_a_translation_both_ways(make_clip: MakeClip) -> None:
    first, last = make_clip([(0, 0), (6, 2)])
    flow = measure_key_flow(picture_planes(first)[0], picture_planes(last)[0])
    inner = (slice(8, -8), slice(8, -8))
    # measured 0.16 px at most away from the border, for four scenes
    assert np.abs(flow.forward[inner] * CELL - (6, 2)).max() < 0.4
    assert np.abs(flow.backward[inner] * CELL + (6, 2)).max() < 0.4
    assert flow.trust_first[inner].min() > 0.9
    assert flow.trust_last[inner].min() > 0.9


def test_trust_is_low_where_the_trip_does_not_return(make_picture: MakePicture) -> None:
    first, last = (picture_planes(make_picture(seed=seed))[0] for seed in (0, 1))
    unrelated = measure_key_flow(first, last)
    assert np.median(unrelated.trust_first) < 0.5
    assert unrelated.trust_first.min() >= np.float32(0.05)


def test_flow_restores_the_threads_of_the_caller(make_picture: MakePicture) -> None:
    plane = shrink_plane(picture_planes(make_picture())[0])
    for threads in (1, 3):
        cv2.setNumThreads(threads)
        measure_flow(plane, plane)
        assert cv2.getNumThreads() == threads
        with pytest.raises(cv2.error):
            measure_flow(plane, plane[:-8])
        assert cv2.getNumThreads() == threads


def test_flow_runs_on_one_thread_whatever_the_caller_set(
    make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = shrink_plane(picture_planes(make_picture())[0])
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    seen = []

    class Watched:
        @staticmethod
        def create(_preset: int) -> type[Watched]:
            return Watched

        setFinestScale = staticmethod(engine.setFinestScale)  # noqa: N815

        @staticmethod
        def calc(*arguments: object) -> object:
            seen.append(cv2.getNumThreads())
            return engine.calc(*arguments)

    monkeypatch.setattr(cv2, "DISOpticalFlow", Watched)
    for threads in (1, 4):
        cv2.setNumThreads(threads)
        measure_flow(plane, plane)
    assert seen == [1, 1]


def test_overlapping_blocks_restore_the_threads_of_the_caller() -> None:
    cv2.setNumThreads(3)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with one_cv_thread():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    with one_cv_thread():
        other.start()
        assert inside.wait(10)
    assert cv2.getNumThreads() == 1  # the other block is still open
    leave.set()
    other.join(10)
    assert cv2.getNumThreads() == 3


def test_shrunk_plane_is_the_mean_of_blocks() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)
    mean = plane.reshape(32, 2, 48, 2).mean(axis=(1, 3))
    assert np.abs(shrink_plane(plane) - mean).max() <= 0.5
