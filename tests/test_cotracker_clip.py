"""What the runtime does around the tracker's two networks; stand-ins take their place, so no torch is needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tgvc.analysis.cotracker import NetworkTracker
from tgvc.analysis.cotracker_clip import TrackedClip
from tgvc.analysis.cotracker_predictor import (
    between_sizes,
    keep_masked,
    make_grid,
    predict_grid,
    predict_queries,
)
from tgvc.analysis.cotracker_sampling import (
    cut_patches,
    make_pyramid,
    resize_pictures,
    sine_table,
    spread_points,
    stretch_table,
)
from tgvc.analysis.tracking import grid_points
from tgvc.errors import ConfigError
from tgvc.models.constants import TrackerConstants
from tgvc.models.tracker import State
from tgvc.types import FloatArray
from tracker_samples import HEIGHT, WIDTH, WINDOW, make_pictures


class StandIns:
    """Networks whose features are the mean brightness of a cell, and whose update moves every point right by a cell."""

    def __init__(self, *, sliding: bool) -> None:
        self.constants = TrackerConstants(
            width=WIDTH,
            height=HEIGHT,
            stride=4,
            channels=2,
            levels=2,
            radius=1,
            token=8,
            window=WINDOW,
            sliding=sliding,
            iterations=2,
            threshold=0.9,
        )
        self.pictures: list[FloatArray] = []
        self.calls: list[tuple[list[FloatArray], list[FloatArray], State, FloatArray]] = []

    def features(self, pictures: FloatArray) -> FloatArray:
        self.pictures.append(pictures)
        n, _, height, width = pictures.shape
        mean = pictures.mean(axis=1).reshape(n, height // 4, 4, width // 4, 4).mean(axis=(2, 4))
        return np.stack([mean, np.ones_like(mean)], axis=1).astype(np.float32)

    def update(
        self, levels: Sequence[FloatArray], supports: Sequence[FloatArray], state: State, time: FloatArray
    ) -> State:
        self.calls.append((list(levels), list(supports), state, time))
        coords, visible, confident = state
        return coords + np.float32([1, 0]), visible + 2, confident + 1


def queries(*rows: tuple[float, float, float]) -> FloatArray:
    return np.array(rows, np.float32)


def test_resizing_keeps_corners_and_straight_ramps() -> None:
    ramp = np.add.outer(np.arange(5) * 10, np.arange(9) * 4).astype(np.uint8)
    pictures = np.repeat(ramp[None, :, :, None], 3, axis=3)
    got = resize_pictures(pictures, 17, 13)[0, :, :, 0]
    want = np.add.outer(np.linspace(0, 40, 13), np.linspace(0, 32, 17))
    np.testing.assert_allclose(got, want, atol=1e-4)  # float32 of numbers up to 72


def test_a_pyramid_holds_means_and_drops_odd_borders() -> None:
    features = np.arange(2 * 3 * 5 * 6, dtype=np.float32).reshape(2, 3, 5, 6)
    pyramid = make_pyramid(features, 3)
    assert [level.shape[2:] for level in pyramid] == [(5, 6), (2, 3), (1, 1)]
    assert pyramid[1][1, 2, 1, 2] == features[1, 2, 2:4, 4:6].mean()


def test_patches_are_cut_x_major_from_their_own_frames_with_the_border_repeated() -> None:
    y, x = np.mgrid[:6, :9].astype(np.float32)
    level = np.stack([np.stack([x, y]), np.stack([x + 100, y + 100])])
    frames, points = np.array([0, 1, 0]), np.array([[3.25, 2.5], [4, 3], [0, 0]], np.float32)
    patches = cut_patches(level, frames, points, 1)
    assert patches.shape == (3, 9, 2)
    steps = np.array([[a, b] for a in (-1, 0, 1) for b in (-1, 0, 1)])
    np.testing.assert_allclose(patches[0], points[0] + steps, atol=1e-5)
    np.testing.assert_allclose(patches[1], points[1] + steps + 100, atol=1e-4)
    np.testing.assert_allclose(patches[2], np.maximum(steps, 0), atol=1e-5)


def test_a_table_of_times_is_stretched_between_its_ends_and_left_alone_at_its_length() -> None:
    table = sine_table(60, 12)
    assert stretch_table(table, 60) is table
    line = np.arange(60, dtype=np.float32)[:, None]
    np.testing.assert_allclose(stretch_table(line, 10)[:, 0], np.arange(10) * 6 + 2.5, atol=1e-4)
    longer = stretch_table(line, 120)[:, 0]
    assert longer[0] == 0
    assert longer[-1] == 59
    assert np.all(np.diff(longer) >= 0)


def test_parts_of_points_cover_all_and_are_spread_over_all() -> None:
    parts = spread_points(10, 4)
    assert sorted(np.concatenate(parts).tolist()) == list(range(10))
    assert max(map(len, parts)) <= 4
    assert all(np.ptp(part) >= 6 for part in parts)


def test_grids_are_those_of_the_optical_flow_tracker() -> None:
    grid = between_sizes(make_grid((512, 384), 64), (512, 384), (512, 320))
    np.testing.assert_allclose(grid, grid_points(512, 320, 64), atol=1e-3)  # px; float32 of numbers up to 512
    assert make_grid((512, 384), 1).tolist() == [[256, 192]]


def test_a_mask_of_another_size_chooses_points() -> None:
    mask = np.zeros((HEIGHT // 2, WIDTH // 2), np.bool_)
    mask[:, WIDTH // 4 :] = True
    kept = keep_masked(make_grid((WIDTH, HEIGHT), 8), mask, (WIDTH, HEIGHT))
    assert len(kept) == 32
    assert kept[:, 0].min() >= WIDTH / 2


def test_a_clip_is_one_window_unless_windows_slide() -> None:
    networks = StandIns(sliding=False)
    clip = TrackedClip(networks, make_pictures(21))
    coords, visible, confident = clip.follow(queries((3, 40, 20)))
    assert len(networks.calls) == networks.constants.iterations
    np.testing.assert_allclose(coords, np.broadcast_to([48, 20], (21, 1, 2)), atol=1e-5)  # two steps of a cell of 4 px
    np.testing.assert_allclose(visible, 1 / (1 + np.exp(-4)), atol=1e-6)
    np.testing.assert_allclose(confident, 1 / (1 + np.exp(-2)), atol=1e-6)
    assert networks.calls[0][3].shape == (21, 8)


def test_a_window_starts_from_the_overlap_with_the_one_before_for_points_known_by_then() -> None:
    networks = StandIns(sliding=True)
    clip = TrackedClip(networks, make_pictures(21))
    early, late, never = (0, 40.0, 20.0), (10, 60.0, 30.0), (19, 20.0, 40.0)
    coords, *_ = clip.follow(queries(early, late, never))
    first, second = networks.calls[0], networks.calls[networks.constants.iterations]
    assert len(networks.calls) == 2 * networks.constants.iterations
    assert len(first[0][0]) == len(second[0][0]) == WINDOW
    np.testing.assert_allclose(first[2][0][:, :, 0], np.broadcast_to([10, 15, 5], (WINDOW, 3)), atol=1e-5)
    # known by frame 16: moved by two cells in the window before, and held; the others start anew
    np.testing.assert_allclose(second[2][0][:, :, 0], np.broadcast_to([12, 17, 5], (WINDOW, 3)), atol=1e-5)
    np.testing.assert_allclose(second[2][1], np.broadcast_to([4, 4, 0], (WINDOW, 3)))
    # a point that is asked for later says nothing of what it looks like
    assert not first[1][0][2].any()
    assert first[1][0][1].any()
    assert second[1][0][2].any()
    np.testing.assert_allclose(coords[:8, :, 0], np.broadcast_to([48, 68, 28], (8, 3)), atol=1e-5)
    np.testing.assert_allclose(coords[16:, :, 0], np.broadcast_to([56, 76, 28], (5, 3)), atol=1e-5)


def test_the_last_picture_is_repeated_to_fill_the_last_window() -> None:
    networks = StandIns(sliding=True)
    TrackedClip(networks, make_pictures(18)).follow(queries((0, 40, 20)))
    last = networks.calls[-1][0][0]
    assert len(last) == WINDOW
    assert np.array_equal(last[10:], np.repeat(last[9:10], 6, axis=0))
    assert not np.array_equal(last[8], last[9])


@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_short_clips_are_followed_unless_the_published_fault_is_wanted(length: int) -> None:
    pictures = make_pictures(length)
    coords, visible, _ = TrackedClip(StandIns(sliding=True), pictures).follow(queries((0, 40, 20)))
    np.testing.assert_allclose(coords, np.broadcast_to([48, 20], (length, 1, 2)), atol=1e-5)
    networks = StandIns(sliding=True)
    coords, visible, _ = TrackedClip(networks, pictures, "reference").follow(queries((0, 40, 20)))
    assert not networks.calls
    assert not coords.any()
    assert np.all(visible == 0.5)


def test_the_published_fault_shows_the_networks_an_almost_black_clip() -> None:
    pictures = make_pictures(2)
    right, wrong = StandIns(sliding=False), StandIns(sliding=False)
    TrackedClip(right, pictures)
    TrackedClip(wrong, pictures, "reference")
    assert right.pictures[0].min() < -0.5
    assert right.pictures[0].max() > 0.5
    assert -1 <= wrong.pictures[0].min() < wrong.pictures[0].max() <= -1 + 2 / 255 + 1e-6


def test_backwards_the_last_frame_comes_first_with_the_same_features() -> None:
    networks = StandIns(sliding=False)
    pictures = make_pictures(5)
    clip = TrackedClip(networks, pictures)
    clip.follow(queries((0, 40, 20)))
    clip.follow(queries((0, 40, 20)), backwards=True)
    assert len(networks.pictures) == 1
    ahead, back = networks.calls[0], networks.calls[-1]
    assert np.array_equal(ahead[0][0], back[0][0][::-1])
    assert np.allclose(back[1][0], cut_patches(back[0][0], np.zeros(1, np.int64), np.float32([[10, 5]]), 1))


def test_many_points_run_in_parts_that_fit() -> None:
    networks = StandIns(sliding=True)
    clip = TrackedClip(networks, make_pictures(16), most_samples=WINDOW * 10)
    points = make_grid(clip.size, 5)
    coords, *_ = clip.follow(np.concatenate([np.zeros((25, 1), np.float32), points], axis=1))
    assert max(call[2][0].shape[1] for call in networks.calls) <= 10
    np.testing.assert_allclose(coords[3], points + np.float32([8, 0]), atol=1e-4)


class Found:
    """A clip whose tracks are known: positions are the frame, and the run; visible from 0 to 1 over the frames."""

    length, size = 11, (WIDTH, HEIGHT)

    def __init__(self) -> None:
        self.asked: list[tuple[FloatArray, bool]] = []

    def follow(self, queries: FloatArray, *, backwards: bool = False) -> tuple[FloatArray, FloatArray, FloatArray]:
        self.asked.append((queries, backwards))
        time = np.arange(self.length, dtype=np.float32)
        run = np.full_like(time, len(self.asked))
        tracks = np.repeat(np.stack([time, run], axis=-1)[:, None], len(queries), axis=1)
        share = np.repeat((time / 10)[:, None], len(queries), axis=1)
        return tracks, share, share


def test_a_point_is_where_it_was_asked_for_and_seen_there_and_elsewhere_above_the_threshold() -> None:
    tracks, seen = predict_queries(
        Found(), queries((4, 50, 60), (0, 7, 8)), support=False, backward=False, threshold=0.9
    )
    assert tracks[4, 0].tolist() == [50, 60]
    assert tracks[0, 1].tolist() == [7, 8]
    assert tracks[5, 0].tolist() == [5, 1]
    assert np.flatnonzero(seen[:, 0]).tolist() == [4, 10]  # 0.9 itself is not above 0.9
    assert np.flatnonzero(seen[:, 1]).tolist() == [0, 10]


def test_company_is_followed_but_not_given_back() -> None:
    clip = Found()
    tracks, _ = predict_queries(clip, queries((4, 50, 60)), support=True, backward=False, threshold=0.9)
    assert tracks.shape == (11, 1, 2)
    assert clip.asked[0][0].shape == (37, 3)
    assert not clip.asked[0][0][1:, 0].any()
    assert np.array_equal(clip.asked[0][0][1:, 1:], make_grid(clip.size, 6))


def test_frames_before_a_query_come_from_a_second_run_from_the_end() -> None:
    clip = Found()
    tracks, _ = predict_queries(clip, queries((4, 50, 60)), support=False, backward=True, threshold=0.9)
    assert clip.asked[1][1]
    assert clip.asked[1][0][0].tolist() == [6, 50, 60]
    assert tracks[:4, 0].tolist() == [[10, 2], [9, 2], [8, 2], [7, 2]]
    assert tracks[5:, 0, 1].tolist() == [1] * 6


def test_a_masked_grid_has_company_and_an_empty_one_is_refused() -> None:
    clip = Found()
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[:, : WIDTH // 2] = True
    tracks, _ = predict_grid(clip, 4, frame=2, mask=mask, backward=False, threshold=0.9)
    assert tracks.shape[1] == 8
    assert len(clip.asked[0][0]) == 8 + 36
    with pytest.raises(ConfigError, match=r"expected points in frames 0\.\.10, got 0"):
        predict_grid(clip, 4, mask=np.zeros_like(mask), backward=False, threshold=0.9)
    with pytest.raises(ConfigError, match=r"expected points in frames 0\.\.10"):
        predict_queries(clip, queries((11, 5, 5)), support=False, backward=False, threshold=0.9)


def test_a_segment_has_a_grid_of_its_first_and_one_of_its_last_frame() -> None:
    tracker = NetworkTracker(StandIns(sliding=True), grid=4)
    tracks = tracker.track_segment(make_pictures(20, 192, 64))
    assert tracks.xy.shape == (32, 20, 2)
    points = np.stack(np.meshgrid(np.linspace(2, 126, 4), np.linspace(2, 94, 4)), axis=-1).reshape(-1, 2)
    start = points * [191 / 127, 63 / 95]
    np.testing.assert_allclose(tracks.xy[:16, 0], start, atol=1e-4)
    np.testing.assert_allclose(tracks.xy[16:, -1], start, atol=1e-4)
    assert tracks.visible[:16, 0].all()
    assert tracks.visible[16:, -1].all()
    # a window moves points by 8 px of the networks' size; the second window of each pass by as much again
    np.testing.assert_allclose(tracks.xy[:16, 5, 0], start[:, 0] + 8 * 191 / 127, atol=1e-4)
    np.testing.assert_allclose(tracks.xy[16:, 0, 0], start[:, 0] + 16 * 191 / 127, atol=1e-4)


def test_reference_behaviour_runs_all_points_of_a_grid_together() -> None:
    networks = StandIns(sliding=True)
    NetworkTracker(networks, grid=6, parity="reference", most_samples=WINDOW).track_segment(make_pictures(16))
    assert {call[2][0].shape[1] for call in networks.calls} == {36}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": 0}, "grid=0: expected at least 1"),
        ({"most_samples": 0}, "most_samples=0"),
        ({"parity": "exact"}, "parity='exact': expected corrected or reference"),
    ],
)
def test_impossible_trackers_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkTracker(StandIns(sliding=True), **options)


@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((0, 32, 32, 3), np.uint8),
        np.zeros((4, 32, 32), np.uint8),
        np.zeros((4, 32, 32, 3), np.float32),
        np.zeros((4, 8, 32, 3), np.uint8),
    ],
)
def test_what_is_no_clip_is_refused(pictures: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="pictures: expected"):
        NetworkTracker(StandIns(sliding=True), grid=2).track_segment(pictures)
