"""Watershed anchors: in the middle of what moves alike, the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgvc.analysis.watershed import choose_anchors, edge_distance, find_anchors, motion_edges


def swaying(height: int = 96, width: int = 128, frames: int = 8) -> np.ndarray:
    """Two disks that swing against still ground and are back in place in the last frame, float32 (n, h, w, 2) px."""
    y, x = np.mgrid[:height, :width]
    flows = np.zeros((frames, height, width, 2), np.float32)
    for centre, radius, swing in (((32, 40), 15, 4.0), ((92, 56), 20, -3.0)):
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
        for t in range(frames):
            flows[t, inside, 0] = swing * np.sin(2 * np.pi * (t + 1) / frames)
    return flows


def test_an_anchor_lies_in_the_middle_of_what_moves_alike() -> None:
    distance = edge_distance(motion_edges(swaying()))
    found = find_anchors(distance, 31)
    for centre in ((32, 40), (92, 56)):
        assert np.abs(found - centre).max(axis=1).min() <= 1


def test_what_is_back_in_the_last_frame_is_still_found() -> None:
    flows = swaying()
    assert np.abs(flows[-1]).max() < 1e-5, "the last frame alone shows nothing"
    assert (motion_edges(flows[-1:]) < 0.1).all()
    assert len(find_anchors(edge_distance(motion_edges(flows)), 31)) >= 2


def test_nothing_moves_nothing_is_anchored() -> None:
    distance = edge_distance(motion_edges(np.zeros((4, 64, 64, 2), np.float32)))
    assert (distance == -1).all()
    assert len(find_anchors(distance, 15)) == 0
    assert choose_anchors(distance, 40)[0].shape == (0, 2)


def test_distances_are_the_exact_squares() -> None:
    edges = np.zeros((40, 50), np.float32)
    places = [(3, 4), (30, 41), (17, 8)]
    for row, column in places:
        edges[row, column] = 1
    y, x = np.mgrid[:40, :50]
    expected = np.min([(y - row) ** 2 + (x - column) ** 2 for row, column in places], axis=0)
    assert (edge_distance(edges) == expected).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 9, 15, 41]))
def test_anchors_keep_apart_and_off_the_border(seed: int, window: int) -> None:
    edges = (np.random.default_rng(seed).random((48, 64)) > 0.985).astype(np.float32)
    found = find_anchors(edge_distance(edges), window)
    assert len(np.unique(found, axis=0)) == len(found)
    if len(found) > 1:
        apart = np.abs(found[:, None] - found[None]).max(axis=-1)
        assert apart[~np.eye(len(found), dtype=bool)].min() >= max((window - 1) // 2, 1)
    assert ((found > 0) & (found < (63, 47))).all()


def test_the_farther_of_two_near_peaks_stays() -> None:
    distance = np.full((20, 40), 1, np.int32)
    distance[10, 12], distance[10, 16], distance[10, 30] = 9, 16, 4
    assert find_anchors(distance, 3)[:3].tolist() == [[16, 10], [12, 10], [30, 10]]
    assert find_anchors(distance, 11)[:2].tolist() == [[16, 10], [30, 10]]


def test_the_window_widens_until_the_count_is_kept() -> None:
    edges = (np.random.default_rng(1).random((160, 256)) > 0.99).astype(np.float32)
    distance = edge_distance(edges)
    counts = []
    for count in (200, 60, 20, 5, 1):
        found, window = choose_anchors(distance, count)
        assert len(found) <= count
        assert 9 <= window <= 129
        counts.append(len(found))
    assert counts == sorted(counts, reverse=True)
    assert counts[1] > 30


def test_an_even_window_is_refused() -> None:
    with pytest.raises(ValueError, match="window=8: expected an odd"):
        find_anchors(np.ones((8, 8), np.int32), 8)
