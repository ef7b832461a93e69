"""Coverage of a frame by its key picture, and where three failures end a group."""

from __future__ import annotations

import numpy as np
import pytest

from actdiff_samples import H, W, grey, sliding, texture
from tgvc.analysis.coverage import (
    Limits,
    Score,
    Structure,
    cover_video,
    group_length,
    score_frame,
    splat_sources,
)
from tgvc.analysis.flow import pixel_grid
from tgvc.analysis.following import FlowFollower, KeyScan, shrink_pictures
from tgvc.planning.actdiff import ActivePlanner
from tgvc.planning.group import Task
from tgvc.planning.keyladder import LADDER


def all_seen(places: np.ndarray) -> np.ndarray:
    return np.ones(places.shape[:2], np.bool_)


def test_a_shifted_key_frame_covers_what_the_shift_leaves() -> None:
    places = pixel_grid(H, W) + np.float32([10, 0])
    sources = splat_sources(places, all_seen(places))
    assert (sources[:, :10] == -1).all()
    assert (sources >= 0).mean() == (W - 10) / W
    assert np.array_equal(sources[:, 10:], np.arange(H * W).reshape(H, W)[:, :-10])


def test_an_enlarged_key_frame_leaves_the_holes_that_it_must() -> None:
    places = pixel_grid(H, W) * np.float32(2)
    # every other pixel of every other row is hit, exactly once
    assert (splat_sources(places, all_seen(places)) >= 0).mean() == 0.25


def test_pixels_that_are_hidden_or_leave_the_picture_cover_nothing() -> None:
    places = pixel_grid(H, W)
    usable = all_seen(places)
    usable[:48] = False
    assert (splat_sources(places, usable) >= 0).sum() == 48 * W
    assert (splat_sources(places - np.float32([W, 0]), all_seen(places)) == -1).all()


def test_where_pixels_meet_the_nearest_is_seen_and_among_equals_the_first() -> None:
    places = np.zeros((2, 2, 2), np.float32)
    usable = np.ones((2, 2), np.bool_)
    assert splat_sources(places, usable)[0, 0] == 0
    assert splat_sources(places, usable, np.float32([[1, 1], [5, 2]]))[0, 0] == 2
    assert splat_sources(places, usable, np.float32([[1, 7], [7, 2]]))[0, 0] == 1


def test_distance_is_0_for_the_same_picture_and_its_brightness_and_near_1_for_another() -> None:
    a, b = (texture(n)[..., None].astype(np.float32) for n in (1, 2))
    everywhere = np.arange(H * W).reshape(H, W)
    # sums of products of float32 in another order: a few units in the last place
    assert score_frame(a, a, everywhere, Structure()) == pytest.approx(Score(1.0, 0.0), abs=1e-6)
    assert score_frame(a, a + 20, everywhere, Structure()).distance < 0.01
    assert score_frame(a, b, everywhere, Structure()).distance > 0.7


def test_holes_change_the_published_distance_only() -> None:
    a = texture(1)[..., None].astype(np.float32)
    sources = np.arange(H * W).reshape(H, W).copy()
    sources[::2] = -1
    wrong = np.roll(a, 31, axis=1)
    assert score_frame(a, a, sources, Structure()) == pytest.approx(Score(0.5, 0.0), abs=1e-6)
    ours, published = (score_frame(a, wrong, sources, Structure(), parity=p).distance for p in (False, True))
    assert ours > 0.2
    assert published != pytest.approx(ours, rel=0.05)
    assert score_frame(a, wrong, np.full((H, W), -1), Structure()) == Score(0.0, 1.0)


@pytest.mark.parametrize(
    ("failed", "length"),
    [
        ("", 1),
        (".", 2),
        ("........", 9),
        ("...xxx..", 4),  # frames 0 to 3: the last one before the first failure
        ("..x.xx..xxx", 9),  # two in a row are forgiven
        ("xxx", 2),  # never fewer than two frames
        (".xxxxxx", 2),
        ("xx.xx.xx.", 10),
    ],
)
def test_three_failures_in_a_row_end_a_group_at_the_first_of_them(failed: str, length: int) -> None:
    for parity in (False, True):
        assert group_length([c == "x" for c in failed], 49, parity=parity) == length


def test_no_more_frames_are_looked_at_than_needed() -> None:
    asked = []

    def look(n: int) -> bool:
        asked.append(n)
        return n >= 4

    assert group_length((look(n) for n in range(1, 40)), 33) == 4
    assert asked == [1, 2, 3, 4, 5, 6]


def test_failures_that_the_end_interrupts_count_except_in_the_published_rule() -> None:
    failed = [False, False, False, True, True]
    assert group_length(failed, 33) == 4
    assert group_length(failed, 33, parity=True) == 6
    assert group_length([False] * 60, 33) == 33


def test_a_cut_costs_two_key_frames_and_is_never_a_tail_of_painted_frames() -> None:
    cut = 7

    def score(key: int, frame: int) -> Score:
        return Score(1.0, 0.0) if (key < cut) == (frame < cut) else Score(0.1, 1.0)

    assert cover_video(20, score, Limits(0.7, 0.3), 33) == (0, 6, 7, 19)
    for place in range(1, 20):
        cut = place
        keys = cover_video(20, score, Limits(0.7, 0.3), 33)
        assert {place - 1, place} <= set(keys)


def test_a_missed_cut_in_pictures_ends_the_group_before_it() -> None:
    frames = [grey(texture(1))] * 6 + [grey(texture(2))] * 6
    plan = ActivePlanner(0, 1).plan(Task(frames, 6000.0))
    assert {5, 6} <= set(plan.keys)


def test_groups_share_their_key_frames_and_are_never_too_long() -> None:
    keys = cover_video(200, lambda _, __: Score(1.0, 0.0), Limits(0.7, 0.3), 33)
    assert keys == (0, 32, 64, 96, 128, 160, 192, 199)
    asked = []

    def score(key: int, frame: int) -> Score:
        asked.append(frame - key)
        return Score(1.0, 0.0)

    cover_video(200, score, Limits(0.7, 0.3), 33)
    assert max(asked) == 32  # a tracker has followed no more
    assert cover_video(1, lambda _, __: Score(0.0, 1.0), Limits(0.7, 0.3), 33) == (0,)
    assert cover_video(4, lambda _, __: Score(0.0, 1.0), Limits(0.7, 0.3), 33) == (0, 1, 2, 3)


def test_stricter_limits_never_need_fewer_key_frames() -> None:
    planes = shrink_pictures(sliding(3, 24), 1)
    scans: dict[int, KeyScan] = {}

    def score(key: int, frame: int) -> Score:
        looks = [p[..., None].astype(np.float32) for p in planes]
        anchors = np.zeros((1, 1, 2), np.float32)
        if key not in scans:
            scans[key] = KeyScan(FlowFollower(planes, 1), looks, key, anchors, Structure())
        return scans[key].score(frame)

    counts = [len(cover_video(24, score, Limits(r.coverage, r.distance * Structure.limit), 33)) for r in LADDER]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[-1]
