"""Motion instances, their importance and their representatives: literal formulas, scenes with a known answer."""

from __future__ import annotations

import sys
from itertools import pairwise

import cv2
import numpy as np
import pytest

from tgvc.analysis.embedding import GistEmbedder
from tgvc.analysis.importance import (
    Instance,
    mean_speed,
    representative_count,
    select_trajectories,
    weigh_instances,
)
from tgvc.analysis.instances import cluster_tracks, standardise, track_features
from tgvc.analysis.removal import cover_mask, paint_away
from tgvc.analysis.representatives import average_tracks, cluster_rows
from tgvc.errors import BackendUnavailableError, ConfigError
from tgvc.types import Picture, TrackSet, join_planes, picture_planes

W, H, T = 256, 160, 8
BALL, BALL_STEP = (60.0, 80.0), (9.0, 1.0)


def as_tracks(xy: np.ndarray, visible: np.ndarray | None = None) -> TrackSet:
    seen = np.ones(xy.shape[:2], np.bool_) if visible is None else visible
    return TrackSet(xy.astype(np.float32), seen)


def random_tracks(count: int, frames: int) -> TrackSet:
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 300, (count, 1, 2))
    return as_tracks(start + rng.normal(0, 3, (count, frames, 2)).cumsum(axis=1))


def make_scene() -> tuple[list[Picture], TrackSet, np.ndarray]:
    """A bright striped ball crossing a still landscape: pictures, tracks, and who belongs to the ball (bool)."""
    rng = np.random.default_rng(1)
    land = cv2.resize(rng.uniform(60, 130, (6, 9)).astype(np.float32), (W, H), interpolation=cv2.INTER_CUBIC)
    grey = np.full((H // 2, W // 2), 128, np.uint8)
    x, y = np.meshgrid(np.arange(W), np.arange(H))
    pictures = []
    for t in range(T):
        away = np.hypot(x - BALL[0] - BALL_STEP[0] * t, y - BALL[1] - BALL_STEP[1] * t)
        luma = np.where(away < 22, 225 - 60 * ((x - int(BALL_STEP[0] * t)) // 6 % 2), land)
        red = np.where(away[::2, ::2] < 22, 200, 128).astype(np.uint8)
        pictures.append(join_planes(np.clip(luma, 0, 255).astype(np.uint8), grey, red))
    grid = np.stack(np.meshgrid(np.arange(4, W, 6), np.arange(4, H, 6)), axis=-1).reshape(-1, 2).astype(float)
    ball = np.linalg.norm(grid - BALL, axis=1) < 20
    path = np.arange(T)[:, None] * BALL_STEP
    xy = grid[:, None] + np.where(ball[:, None, None], path, 0) + rng.normal(0, 0.05, (len(grid), T, 2))
    return pictures, as_tracks(xy), ball


@pytest.fixture(scope="module")
def scene() -> tuple[list[Picture], TrackSet, np.ndarray]:
    return make_scene()


def test_features_come_in_the_published_order() -> None:
    # right 3, down 4, stand, left 1: T = 5, so the middle is frame 2
    xy = np.array([[[10, 20], [13, 20], [13, 24], [13, 24], [12, 24]]])
    first, last, middle = (10, 20), (12, 24), (13, 24)
    velocity = np.array([[3, 0], [0, 4], [0, 0], [-1, 0]])
    expected = [*first, *last, *middle, 2, 4, 8, 2 / 4, 4 / 4, *velocity.var(axis=0), np.pi / 2]
    np.testing.assert_allclose(track_features(as_tracks(xy), still=0)[0], expected, atol=1e-12)


@pytest.mark.parametrize("frames", [2, 3, 16])
def test_features_equal_the_formulas_written_as_loops(frames: int) -> None:
    tracks = random_tracks(7, frames)
    for row, track in zip(track_features(tracks, still=0), tracks.xy.astype(float), strict=True):
        steps = [b - a for a, b in pairwise(track)]
        turns = [np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)) for a, b in pairwise(steps)]
        shift = track[-1] - track[0]
        spread = [np.mean([(v[c] - np.mean([w[c] for w in steps])) ** 2 for v in steps]) for c in (0, 1)]
        path = sum(np.linalg.norm(v) for v in steps)
        turn = np.mean(turns) if turns else 0
        expected = [*track[0], *track[-1], *track[frames // 2], *shift, path, *shift / (frames - 1), *spread, turn]
        # float64 throughout; arccos near 1 keeps half the digits
        np.testing.assert_allclose(row, expected, atol=1e-7)


def test_jitter_has_no_turning_angle_in_the_default_form() -> None:
    xy = np.zeros((1, 9, 2))
    xy[0, ::2, 0] = 0.1
    assert track_features(as_tracks(xy), still=0)[0, -1] > 3
    assert track_features(as_tracks(xy))[0, -1] == 0


def test_standardised_columns_have_unit_spread_and_constants_become_zero() -> None:
    values = np.random.default_rng(0).normal(5, 3, (50, 2))
    columns = np.column_stack([values, np.full(50, 7.0)])
    plain, bounded = standardise(columns), standardise(columns, (0, 30, 1))
    np.testing.assert_allclose(plain.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(plain.std(axis=0), (1, 1, 0), atol=1e-12)
    np.testing.assert_allclose(bounded.std(axis=0), (1, values[:, 1].std() / 30, 0), atol=1e-12)


@pytest.mark.parametrize("parity", [False, True])
def test_things_that_move_apart_become_instances(
    scene: tuple[list[Picture], TrackSet, np.ndarray], parity: bool
) -> None:
    pytest.importorskip("hdbscan")
    _, tracks, ball = scene
    labels = cluster_tracks(tracks, parity)
    own = np.unique(labels[ball])
    assert len(own) == 1
    assert own[0] >= 0
    assert not np.any(labels[~ball] == own[0])
    np.testing.assert_array_equal(labels, cluster_tracks(tracks, parity))
    found = labels[labels >= 0]
    _, first = np.unique(found, return_index=True)
    assert np.all(np.diff(first) > 0)  # numbered as they appear


def test_tracks_hardly_ever_seen_belong_to_no_instance(scene: tuple[list[Picture], TrackSet, np.ndarray]) -> None:
    pytest.importorskip("hdbscan")
    _, tracks, ball = scene
    visible = tracks.visible.copy()
    visible[np.flatnonzero(ball)[::3], 2:] = False
    labels = cluster_tracks(as_tracks(tracks.xy, visible))
    assert np.all(labels[np.flatnonzero(ball)[::3]] == -1)
    assert np.all(labels[ball & visible.all(axis=1)] >= 0)


def test_too_few_tracks_make_no_instance() -> None:
    pytest.importorskip("hdbscan")
    assert cluster_tracks(random_tracks(9, 4)).tolist() == [-1] * 9
    assert cluster_tracks(random_tracks(0, 4)).shape == (0,)


def test_missing_hdbscan_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdbscan", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'tgvc\[cluster\]'"):
        cluster_tracks(random_tracks(40, 4))


def test_features_of_a_single_frame_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 frames, got 1"):
        track_features(random_tracks(3, 1))


@pytest.mark.parametrize(
    ("importance", "members", "expected"), [(0, 20, 1), (0.5, 200, 6), (0.5, 1100, 7), (1.3, 20, 15)]
)
def test_representative_count_follows_the_published_numbers(importance: float, members: int, expected: int) -> None:
    assert representative_count(importance, members) == expected


def test_speed_counts_steps_seen_at_both_ends() -> None:
    xy = np.zeros((2, 4, 2))
    xy[0, :, 0] = [0, 3, 6, 100]
    xy[1, :, 1] = [0, 5, 10, 15]
    visible = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], bool)
    assert mean_speed(xy, visible) == (3 + 3 + 5 + 5) / 4
    assert mean_speed(xy, np.zeros((2, 4), bool)) == 0


def test_cover_is_the_union_of_half_open_squares() -> None:
    points = np.array([[0.9, 5.9], [100.2, 50.0], [103.0, 51.0], [255.5, 159.5], [-1.0, 10.0], [300.0, 10.0]])
    expected = np.zeros((H, W), np.uint8)
    for x, y in points[:4].astype(int):  # the last two lie outside
        expected[max(y - 4, 0) : y + 4, max(x - 4, 0) : x + 4] = 255
    np.testing.assert_array_equal(cover_mask(points.astype(np.float32), W, H), expected)
    assert cover_mask(np.array([[256.0, 160.0]], np.float32), 512, 320).sum() == 255 * 16 * 16


def test_painting_away_removes_the_object_and_touches_nothing_else(
    scene: tuple[list[Picture], TrackSet, np.ndarray],
) -> None:
    picture = scene[0][0]
    mask = np.zeros((H, W), np.uint8)
    mask[52:108, 32:88] = 255
    painted = paint_away(picture, mask)
    outside = mask == 0
    for before, after, free in zip(
        picture_planes(picture), picture_planes(painted), (outside, outside[::2, ::2], outside[::2, ::2]), strict=True
    ):
        np.testing.assert_array_equal(after[free], before[free])
    inside = [plane[~free] for plane, free in zip(picture_planes(painted), (outside, outside[::2, ::2]), strict=False)]
    assert inside[0].max() < 150  # the landscape reaches 130 plus the cubic's overshoot, the ball 165
    assert picture_planes(painted)[2].max() < 135
    np.testing.assert_array_equal(paint_away(picture, np.zeros((H, W), np.uint8)), picture)


def test_a_moving_thing_is_kept_and_the_background_is_not(scene: tuple[list[Picture], TrackSet, np.ndarray]) -> None:
    pictures, tracks, ball = scene
    drift = tracks.xy + np.where(ball[:, None, None], 0, np.arange(T)[:, None] * (2.0, 0)).astype(np.float32)
    background, thing = weigh_instances(pictures, as_tracks(drift), ball.astype(np.int32), GistEmbedder())
    assert thing.kept
    assert thing.importance > 0.1
    # the ball moves 9.06 px per frame at width 256; the jitter of 0.05 px adds less than 0.01
    assert thing.speed == pytest.approx(2 * np.hypot(*BALL_STEP), abs=0.02)
    assert background.importance == 0  # it covers most of the picture
    assert not background.kept


def test_a_still_thing_is_not_kept(scene: tuple[list[Picture], TrackSet, np.ndarray]) -> None:
    pictures, tracks, ball = scene
    still = as_tracks(np.repeat(tracks.xy[:, :1], T, axis=1))
    labels = np.where(ball, 0, -1).astype(np.int32)
    for parity in (False, True):
        (thing,) = weigh_instances([pictures[0]] * T, still, labels, GistEmbedder(), parity)
        assert thing.speed == 0
        assert not thing.kept


def test_parity_speed_scales_with_the_length_of_the_segment(scene: tuple[list[Picture], TrackSet, np.ndarray]) -> None:
    pictures, tracks, ball = scene
    labels = np.where(ball, 0, -1).astype(np.int32)
    (plain,) = weigh_instances(pictures, tracks, labels, GistEmbedder())
    (parity,) = weigh_instances(pictures, tracks, labels, GistEmbedder(), parity=True)
    assert parity.speed == pytest.approx(plain.speed * 16 / T)
    # 6 of 8 frames against all of them: the ball is the same size in each
    assert parity.importance == pytest.approx(plain.importance, rel=0.25)


def test_mean_track_follows_visible_members_only() -> None:
    xy = np.zeros((4, 3, 2), np.float32)
    xy[3] = 100
    visible = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]], bool)
    mean, seen = average_tracks(xy, visible)
    assert seen.tolist() == [True, True, False]
    np.testing.assert_allclose(mean[:, 0], [25, 0, 25])
    mean, seen = average_tracks(xy, visible, parity=True)
    assert seen.tolist() == [True, True, False]
    np.testing.assert_allclose(mean[:, 0], [25, 25, -1])


def test_kmeans_finds_separate_groups_the_same_way_every_time() -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat([0, 1, 2], 20)
    rows = np.array([[0, 0], [50, 0], [0, 50]])[truth] + rng.normal(0, 1, (60, 2))
    found = cluster_rows(rows, 3, np.random.default_rng(0))
    assert [len(np.unique(found[truth == k])) for k in range(3)] == [1, 1, 1]
    assert sorted(np.unique(found)) == [0, 1, 2]
    np.testing.assert_array_equal(found, cluster_rows(rows, 3, np.random.default_rng(0)))


def test_kmeans_of_coinciding_rows_has_fewer_clusters_without_gaps() -> None:
    rows = np.repeat([[1.0, 2.0], [3.0, 4.0]], 5, axis=0)
    assert sorted(set(cluster_rows(rows, 6, np.random.default_rng(0)).tolist())) == [0, 1]
    assert cluster_rows(rows[:1], 1, np.random.default_rng(0)).tolist() == [0]


@pytest.mark.parametrize("parity", [False, True])
def test_trajectories_follow_the_thing_most_valuable_first(
    scene: tuple[list[Picture], TrackSet, np.ndarray], parity: bool
) -> None:
    pictures, tracks, ball = scene
    labels = np.where(ball, 4, 2).astype(np.int32)
    chosen = select_trajectories(pictures, tracks, labels, GistEmbedder(), parity)
    again = select_trajectories(pictures, tracks, labels, GistEmbedder(), parity)
    assert 1 <= len(chosen.xy) <= 15
    assert set(chosen.group.tolist()) == {4}
    assert chosen.visible.all()
    assert np.all(np.diff(chosen.value) <= 0)
    assert chosen.value[-1] > 0
    # means of members that jitter by 0.05 px
    steps = np.diff(chosen.xy, axis=1)
    np.testing.assert_allclose(steps, np.broadcast_to(BALL_STEP, steps.shape), atol=0.4)
    assert np.all(np.linalg.norm(chosen.xy[:, 0] - BALL, axis=1) < 20)
    for name in ("xy", "visible", "group", "value"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(again, name))


def test_value_of_an_instance_is_shared_by_its_representatives(
    scene: tuple[list[Picture], TrackSet, np.ndarray],
) -> None:
    pictures, tracks, ball = scene
    labels = np.where(ball, 0, -1).astype(np.int32)
    (instance,) = weigh_instances(pictures, tracks, labels, GistEmbedder())
    assert isinstance(instance, Instance)
    chosen = select_trajectories(pictures, tracks, labels, GistEmbedder())
    assert len(chosen.xy) == instance.count
    assert chosen.value.sum() == pytest.approx(instance.matter, rel=1e-5)  # float32 sum


def test_segments_without_inner_frames_or_instances_have_no_trajectory(
    scene: tuple[list[Picture], TrackSet, np.ndarray],
) -> None:
    pictures, tracks, ball = scene
    two = as_tracks(tracks.xy[:, :2])
    nothing = select_trajectories(pictures[:2], two, ball.astype(np.int32), GistEmbedder())
    assert nothing.xy.shape == (0, 2, 2)
    nobody = np.full(len(ball), -1, np.int32)
    assert select_trajectories(pictures, tracks, nobody, GistEmbedder()).xy.shape == (0, T, 2)


def test_mismatched_sizes_are_refused(scene: tuple[list[Picture], TrackSet, np.ndarray]) -> None:
    pictures, tracks, ball = scene
    with pytest.raises(ConfigError, match="to fit labels and pictures"):
        select_trajectories(pictures[:-1], tracks, ball.astype(np.int32), GistEmbedder())
