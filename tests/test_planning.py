"""What the encoder decides: key pictures and groups follow motion and shots, plans meet their budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import MakeClip, MakePicture
from planning_samples import FakeCodec
from tgvc.bitstream.group import pack_keys, uniform_keys
from tgvc.bitstream.motion import anchor_grid
from tgvc.bitstream.pictures import CODECS, QUALITY_MAX, CodedTrack, find_codec, resize_picture
from tgvc.bitstream.tracks import decode_motion
from tgvc.encoder import split_groups
from tgvc.planning import segment
from tgvc.planning.gaps import mix_spacings, split_failures, thin_keys
from tgvc.planning.group import GroupPlanner, Task
from tgvc.planning.judge import judge, ms_ssim, squared_errors
from tgvc.planning.plan import GroupPlan, render_group
from tgvc.types import Picture, join_planes, picture_planes
from tgvc.video.reader import TimedPicture


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 33, 97])
@pytest.mark.parametrize("spacing", [1, 2, 4, 8, 32])
def test_uniform_keys_span_the_group_without_a_wider_gap(count: int, spacing: int) -> None:
    keys = uniform_keys(count, spacing)
    assert keys[0] == 0
    assert keys[-1] == count - 1
    gaps = [b - a for a, b in pairwise(keys)]
    assert all(1 <= gap <= spacing for gap in gaps)
    assert all(gap == spacing for gap in gaps[:-1])


def test_mixed_spacings_follow_what_is_better_where() -> None:
    calm, wild = np.arange(33) < 16, np.arange(33) >= 16
    merits = {s: (30.0 - (s > 2) * wild * s + (s > 2) * calm * s).tolist() for s in (2, 4, 8)}
    gain, keys = mix_spacings(merits, 4, 0.0)
    assert keys == (0, 8, 16, 18, 20, 22, 24, 26, 28, 30, 32)
    # 15 calm frames win 4 dB, 17 wild ones 4 dB; the first one is a key anyway and counts nowhere
    assert gain == pytest.approx(4 * 32 / 33, abs=0.3)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(count=st.integers(2, 70), seed=st.integers(0, 99), home=st.sampled_from([1, 2, 8, 32]), margin=st.floats(0, 9))
def test_mixed_spacings_are_keys_of_a_group_and_lose_nothing(count: int, seed: int, home: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    even = {s: uniform_keys(count, s) for s in (1, 2, 8, 32)}
    merits = {s: rng.normal(30, 1, count).tolist() for s in even}
    gain, keys = mix_spacings(merits, home, margin)
    assert keys[0] == 0
    assert keys[-1] == count - 1
    assert all(1 <= b - a <= 32 for a, b in pairwise(keys))
    assert gain >= -1e-9
    if margin > 8:  # beyond any difference of two such merits
        assert keys == even[home]
        assert gain == pytest.approx(0, abs=1e-9)


def test_failing_segments_are_split_and_all_others_kept() -> None:
    keys = (0, 4, 8, 9, 12, 20)
    merits = [30.0] * 21
    merits[5:8] = [20.0] * 3
    assert split_failures(keys, merits, 0.1, plain=False) == (0, 4, 6, 8, 9, 12, 20)
    assert split_failures(keys, merits, 0.1, plain=True) == (0, 4, 5, 6, 7, 8, 9, 12, 20)
    assert split_failures((0, 1, 2), [30.0] * 3, 0.5, plain=True) == (0, 1, 2)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(gaps=st.lists(st.integers(1, 32), min_size=1, max_size=20), share=st.floats(0, 1), seed=st.integers(0, 9))
def test_thinned_keys_lose_no_neighbours_and_stay_within_reach(gaps: list[int], share: float, seed: int) -> None:
    keys = (0, *np.cumsum(gaps).tolist())
    merits = np.random.default_rng(seed).normal(30, 1, keys[-1] + 1).tolist()
    left = thin_keys(keys, merits, share, 32)
    assert {0, keys[-1]} <= set(left) <= set(keys)
    assert len(keys) - len(left) <= math.ceil(share * len(keys))
    places = [keys.index(k) for k in left]
    assert all(b - a <= 2 for a, b in pairwise(places))
    assert all(b - a <= 32 for a, b in pairwise(left))


def test_judge_knows_the_error_it_is_given(make_picture: MakePicture) -> None:
    original = np.clip(make_picture(), 16, 235)
    off = original + np.uint8(3)
    verdict = judge([original, original], [off, original])
    assert verdict.squared_error == 9 * 192 * 128
    # luma off by 3: 20 log10(255 / 3); equal pictures count as an error of 1e-3 squared levels
    assert verdict.psnr == pytest.approx((20 * math.log10(255 / 3) + 10 * math.log10(255**2 / 1e-3)) / 2)
    assert squared_errors([original], [original]).tolist() == [0]


def test_similarity_falls_with_noise_and_blur(make_picture: MakePicture) -> None:
    plane = picture_planes(make_picture())[0]
    rng = np.random.default_rng(0)
    noisy = [np.clip(plane + rng.normal(0, s, plane.shape), 0, 255).astype(np.uint8) for s in (2, 8, 25)]
    scores = [ms_ssim(plane, p) for p in (plane, *noisy)]
    assert scores[0] == pytest.approx(1, abs=1e-6)  # products of float32 means
    assert scores == sorted(scores, reverse=True)
    assert scores[3] < 0.95


def solid(level: int) -> Picture:
    return join_planes(
        np.full((64, 64), level, np.uint8),
        np.full((32, 32), 90, np.uint8),
        np.full((32, 32), 180 - level // 4, np.uint8),
    )


BLACK, WHITE = solid(16), solid(220)


def film_of(shots: Sequence[int]) -> list[TimedPicture]:
    """Shots of plain black and white in turn."""
    levels = [n % 2 for n, length in enumerate(shots) for _ in range(length)]
    return [TimedPicture(Fraction(n, 25), (BLACK, WHITE)[level]) for n, level in enumerate(levels)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shots=st.lists(st.integers(3, 40), min_size=1, max_size=5), limit=st.integers(2, 24))
def test_groups_keep_every_frame_in_order_and_respect_shots_and_limit(shots: list[int], limit: int) -> None:
    film = film_of(shots)
    groups = list(split_groups(iter(film), limit))
    assert [f.time for g in groups for f in g] == [f.time for f in film]
    assert all(1 <= len(g) <= limit for g in groups)
    starts = {int(g[0].time * 25) for g in groups}
    assert {0, *np.cumsum(shots).tolist()} - {len(film)} <= starts
    for shot, first in zip(shots, [0, *np.cumsum(shots)], strict=False):
        pieces = [len(g) for g in groups if first <= g[0].time * 25 < first + shot]
        assert sum(pieces) == shot
        assert min(pieces) >= min(shot, limit // 2), "a tiny group is left at the end of a shot"
        if limit < shot < limit + (limit + 1) // 2:
            assert len(pieces) == 2
            assert abs(pieces[0] - pieces[1]) <= 1


def test_groups_come_as_soon_as_they_are_sure() -> None:
    read = 0

    def watched() -> Sequence[TimedPicture]:
        nonlocal read
        for frame in film_of([100]):
            read += 1
            yield frame

    first = next(split_groups(watched(), 16))
    assert len(first) == 16
    # half a group ahead for halving, and what the shot detector holds back
    assert read <= 16 + 8 + 3


def test_no_frames_make_no_group() -> None:
    assert list(split_groups(iter([]), 16)) == []


@pytest.fixture(scope="module")
def short_clip(make_clip: MakeClip) -> list[Picture]:
    """17 frames of 96 x 64 px, a pan by hand."""
    steps = np.arange(17)[:, None] * (0.8, 0.3) + np.random.default_rng(0).normal(0, 1, (17, 2))
    return make_clip(steps.tolist(), size=(96, 64))


def decode_plan(plan: GroupPlan, frames: int) -> list[Picture]:
    """What a decoder shows of a plan, from its bytes alone."""
    keys = find_codec(plan.codec).decode(plan.pictures, *plan.key_size, len(plan.keys))
    lengths = [b - a + 1 for a, b in pairwise(plan.keys)]
    segments = decode_motion(plan.motion, lengths, anchor_grid(96, 64))
    shown = render_group([resize_picture(k, 96, 64) for k in keys], segments)
    assert len(shown) == frames
    return shown


@pytest.mark.parametrize("effort", [0, 1])
@pytest.mark.parametrize("budget", [200.0, 800.0, 2500.0])
def test_plan_meets_its_budget_from_below_and_decodes_as_promised(
    short_clip: list[Picture], effort: int, budget: float
) -> None:
    plan = GroupPlanner(effort, threads=1).plan(Task(short_clip, budget))
    assert plan.fits
    # a quarter step of the quality is 2 to 4 % of so few bytes
    assert 0.9 * budget <= plan.size <= budget
    shown = decode_plan(plan, 17)
    assert all(np.array_equal(a, b) for a, b in zip(shown, plan.reconstruction, strict=True))
    assert plan.verdict == judge(short_clip, shown)


def test_plan_does_not_depend_on_threads(short_clip: list[Picture]) -> None:
    one, two = (GroupPlanner(1, threads=n).plan(Task(short_clip, 700.0)) for n in (1, 2))
    assert (one.keys, one.key_size, one.quality) == (two.keys, two.key_size, two.quality)
    assert one.pictures == two.pictures
    assert one.motion == two.motion
    assert one.trials == two.trials


def test_more_bytes_and_more_effort_look_better(short_clip: list[Picture]) -> None:
    quick = [GroupPlanner(0, threads=1).plan(Task(short_clip, b)).verdict.merit for b in (200.0, 800.0)]
    thorough = GroupPlanner(1, threads=1).plan(Task(short_clip, 800.0)).verdict.merit
    assert quick[0] + 3 < quick[1]
    assert quick[1] < thorough


def test_hopeless_budget_is_reported_and_answered_by_the_coarsest(short_clip: list[Picture]) -> None:
    plan = GroupPlanner(0, threads=1).plan(Task(short_clip, 1.0))
    assert not plan.fits
    assert plan.quality == QUALITY_MAX
    assert len(decode_plan(plan, 17)) == 17


def test_constant_quality_is_kept(short_clip: list[Picture]) -> None:
    plan = GroupPlanner(0, threads=1).plan(Task(short_clip, None, quality=45.0))
    assert plan.fits
    assert plan.quality == 45.0
    finer = GroupPlanner(0, threads=1).plan(Task(short_clip, None, quality=20.0))
    assert finer.size > plan.size
    assert finer.verdict.psnr > plan.verdict.psnr


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shortest_groups_can_be_planned(short_clip: list[Picture], count: int) -> None:
    for effort in (0, 1):
        plan = GroupPlanner(effort, threads=1).plan(Task(short_clip[:count], 400.0))
        assert plan.keys[-1] == count - 1
        assert len(decode_plan(plan, count)) == count


def test_planner_tells_of_every_candidate(short_clip: list[Picture]) -> None:
    told: list[int] = []
    plan = GroupPlanner(0, threads=1).plan(Task(short_clip, 800.0), on_step=told.append)
    assert told == list(range(1, len(plan.trials) + 1))
    assert {t["spacing"] for t in plan.trials} == {2, 4}


def test_wide_steps_of_the_codec_are_filled_by_other_key_sizes(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SteppingCodec(FakeCodec):
        def encode(self, pictures: Sequence[Picture], quality: float, preset: int) -> CodedTrack:
            per_pixel = self.size_of(quality) / (96 * 64)
            height, width = picture_planes(pictures[0])[0].shape
            return CodedTrack(bytes(round(per_pixel * width * height)), list(pictures))

    monkeypatch.setitem(CODECS, 0, SteppingCodec(lambda q: 800 if q > 50 else 1080))
    clip = make_clip([(0.7 * n, 0.2 * n) for n in range(9)], size=(192, 128))
    plan = GroupPlanner(0, threads=1, spacing=4).plan(Task(clip, 1000.0))
    # at half size there is nothing between 80 % and 108 % of the budget; one step of 8 px more gives 97.5 %
    assert plan.key_size == (104, 72)
    assert plan.size == 975


def test_uneven_keys_are_found_where_motion_is_uneven(make_clip: MakeClip) -> None:
    shake = np.random.default_rng(0).normal(0, 6, (16, 2))
    clip = make_clip([*([(0.0, 0.0)] * 17), *shake.tolist()], size=(96, 64))
    plans = []
    for uneven in (0, 4):
        planner = GroupPlanner(1, threads=1)
        planner.effort = replace(planner.effort, search_preset=10, final_preset=10, uneven=uneven)
        plans.append(planner.plan(Task(clip, 2000.0)))
    assert all(p.fits for p in plans)
    gaps = [b - a for a, b in pairwise(plans[1].keys)]
    assert max(gaps) > min(gaps[:-1])
    # measured 3.4 dB of PSNR plus MS-SSIM
    assert plans[1].merit(2000.0) > plans[0].merit(2000.0) + 1
    assert plans[1].size == len(plans[1].pictures) + len(plans[1].motion) + len(pack_keys(plans[1].keys)) - 1


def test_fixed_spacing_and_modes_are_honoured(short_clip: list[Picture]) -> None:
    plan = GroupPlanner(1, threads=1, spacing=8, modes="H").plan(Task(short_clip, 800.0))
    assert plan.keys == (0, 8, 16)
    assert [s.mode for s in plan.segments] == ["H", "H"]


def test_a_phase_that_nothing_tells_is_no_candidate(make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip([(0.0, 0.0)] * 9, (128, 64))

    def wild(view: segment.SegmentView, terms: int) -> segment.Fit:  # as where key pictures hardly differ
        frames = len(view.originals)
        return segment.Fit(np.full((frames, 4, 2), 9e4, np.float32), np.full(frames, 1e5, np.float32))

    monkeypatch.setattr(segment, "fit_model", wild)
    planner = segment.SegmentPlanner(1.0, 0, "FT", anchor_grid(128, 64))
    chosen = planner.plan(clip, clip[0], clip[-1])
    assert not chosen.motion.global_coefs.any()


def test_what_fits_is_sent_before_what_is_better(make_picture: MakePicture) -> None:
    y, x = np.mgrid[:128, :128]
    bell = np.exp(-((x - 64) ** 2 + (y - 64) ** 2) / 2048)
    turns = [(5 * np.sin(2 * np.pi * n / 11.3), 3 * np.sin(2 * np.pi * n / 7.9)) for n in range(33)]
    clip = [make_picture(a * bell, b * bell, (128, 128)) for a, b in turns]
    plan = GroupPlanner(2, 1).plan(Task(clip, 250.0))
    assert any(trial["fits"] for trial in plan.trials)
    assert plan.fits
    assert plan.size <= 250
    assert len(plan.reconstruction) == 33
