"""What the encoder decides: rate is met from below, motion is chosen by what it saves, groups follow the shots."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import MakeClip, MakePicture
from tgvc.bitstream.container import Group, Header, Writer
from tgvc.bitstream.group import pack_keys, uniform_keys
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.pictures import CODECS, QUALITY_MAX, QUALITY_MIN, CodedTrack, find_codec, resize_picture
from tgvc.bitstream.tracks import decode_motion, encode_motion
from tgvc.bitstream.transform import quantise, step_px
from tgvc.config import EncoderConfig
from tgvc.encoder import split_groups
from tgvc.errors import ConfigError
from tgvc.planning.budget import Budget
from tgvc.planning.correction import Fit, SegmentView, bent_error, fit_model, model_bend
from tgvc.planning.gaps import mix_spacings, split_failures, thin_keys
from tgvc.planning.group import GroupPlanner, Task
from tgvc.planning.judge import judge, ms_ssim, squared_errors
from tgvc.planning.keytrack import KeyTrack
from tgvc.planning.plan import GroupPlan, render_group
from tgvc.planning.segment import GLOBAL_STEP, KeyPair, SegmentPlan, SegmentPlanner
from tgvc.synthesis.flow import measure_key_flow, shrink_plane
from tgvc.synthesis.motion import PHASE_SCALE, read_motion
from tgvc.types import Picture, VideoInfo, join_planes, picture_planes
from tgvc.video.reader import TimedPicture

LENGTH = 9
STEPS = np.arange(LENGTH, dtype=np.float64)[:, None] / (LENGTH - 1)
PAN = STEPS * (6, 2)


def shaken(seed: int, length: int = LENGTH, strength: float = 2.0) -> np.ndarray:
    """Random displacements float64 (length, 2) px, none in the first and last frame."""
    shake = np.random.default_rng(seed).normal(0, strength, (length, 2))
    shake[[0, -1]] = 0
    return shake


# ---------------------------------------------------------------- key frames


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 33, 97])
@pytest.mark.parametrize("spacing", [1, 2, 4, 8, 32])
def test_uniform_keys_span_the_group_without_a_wider_gap(count: int, spacing: int) -> None:
    keys = uniform_keys(count, spacing)
    assert keys[0] == 0
    assert keys[-1] == count - 1
    gaps = [b - a for a, b in pairwise(keys)]
    assert all(1 <= gap <= spacing for gap in gaps)
    assert all(gap == spacing for gap in gaps[:-1])


# ---------------------------------------------------------------- the key track at a wanted size

FAKE = 200


class FakeCodec:
    """A codec whose sizes are known beforehand."""

    name = "fake"

    def __init__(self, size_of: Callable[[float], int]) -> None:
        self.size_of = size_of

    def encode(self, pictures: Sequence[Picture], quality: float, preset: int) -> CodedTrack:
        assert QUALITY_MIN <= quality <= QUALITY_MAX
        assert quality * 4 == round(quality * 4)
        return CodedTrack(bytes(self.size_of(quality)), list(pictures))

    def decode(self, payload: bytes, width: int, height: int, count: int) -> list[Picture]:
        raise NotImplementedError


def fake_track(monkeypatch: pytest.MonkeyPatch, size_of: Callable[[float], int]) -> KeyTrack:
    monkeypatch.setitem(CODECS, FAKE, FakeCodec(size_of))
    return KeyTrack([np.zeros((96, 64), np.uint8)], FAKE, Fraction(1), preset=8)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    finest=st.floats(100, 1e5),
    octave=st.floats(3, 40),
    bumps=st.sampled_from([0.0, 0.01, 0.05, 0.3]),
    place=st.floats(-0.1, 1.1),
    guess=st.integers(16, 280),
    seed=st.integers(0, 99),
)
def test_search_returns_the_largest_tried_payload_that_fits(
    finest: float, octave: float, bumps: float, place: float, guess: int, seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(0, bumps, 281)

    def size_of(quality: float) -> int:
        return max(1, int(finest * 2 ** ((QUALITY_MIN - quality) / octave) * math.exp(noise[int(quality * 4)])))

    smallest, largest = size_of(QUALITY_MAX), size_of(QUALITY_MIN)
    budget = smallest * (largest / smallest) ** place
    with pytest.MonkeyPatch.context() as patch:
        track = fake_track(patch, size_of)
        quality = track.search(budget, guess=guess / 4)
    fitting = [size_of(q) for q in track.trials if size_of(q) <= budget]
    assert quality in track.trials
    if fitting:
        assert size_of(quality) == max(fitting)
    else:
        assert size_of(QUALITY_MAX) > budget, "the coarsest quality would have fitted"
    assert len(track.trials) <= 8


@pytest.mark.parametrize("octave", [6.0, 9.0, 12.0])
def test_search_fills_the_budget_of_a_smooth_codec(monkeypatch: pytest.MonkeyPatch, octave: float) -> None:
    for budget in (300, 1000, 3000, 9000):
        track = fake_track(monkeypatch, lambda q: int(40_000 * 2 ** (-q / octave)))
        size = len(track.code(track.search(budget)).payload)
        # a quarter step of the quality is 3 % where an octave takes 6 steps; or the finest and coarsest quality end it
        assert 0.96 * budget <= size <= budget or track.search(budget) in (QUALITY_MIN, QUALITY_MAX)


@pytest.mark.parametrize("budget", [0.0, -5.0, 0.5, 1.0])
def test_search_without_any_budget_gives_the_coarsest(monkeypatch: pytest.MonkeyPatch, budget: float) -> None:
    track = fake_track(monkeypatch, lambda q: int(5000 * 2 ** (-q / 8)))
    assert track.search(budget) == QUALITY_MAX


def test_search_repeats_no_coding(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def size_of(quality: float) -> int:
        asked.append(quality)
        return int(5000 * 2 ** (-quality / 8))

    track = fake_track(monkeypatch, size_of)
    for budget in (100, 101, 400, 100):
        track.search(budget)
    assert len(asked) == len(set(asked))


def test_key_track_codes_at_its_scale_and_shows_at_full_size(make_clip: MakeClip) -> None:
    pictures = make_clip([(0, 0), (2, 1)], size=(96, 64))
    half = KeyTrack(pictures, 0, Fraction(1, 2), preset=8)
    assert half.size == (48, 32)
    assert [p.shape for p in half.pictures(40)] == [p.shape for p in pictures]
    wider = KeyTrack(pictures, 0, Fraction(1, 2), preset=8, widen=1)
    assert wider.size == (56, 40)
    full = KeyTrack(pictures, 0, Fraction(1), preset=8)
    assert full.size == (96, 64)
    assert np.array_equal(full.pictures(40)[0], full.code(40).pictures[0])


# ---------------------------------------------------------------- budget

INFO = VideoInfo(width=96, height=64, source_width=96, source_height=64, fps=Fraction(25), count=200)
TARGETS = [{"bpp": 0.05}, {"kbps": 12.0}, {"bytes": 12_000}, {}]


@pytest.mark.parametrize("wanted", TARGETS, ids=["bpp", "kbps", "bytes", "default"])
def test_budget_never_grants_more_than_the_target_minus_what_is_spent(wanted: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    budget = Budget(EncoderConfig(**wanted), INFO)  # type: ignore[arg-type]
    frames, spent = 0, 0
    while frames < 200:
        group = int(min(200 - frames, rng.integers(1, 60)))
        granted, target = budget.grant(group), budget.target(frames + group)
        assert granted is not None
        assert target is not None
        assert 1 <= granted <= max(1, target - spent)
        used = int(granted * rng.uniform(0.5, 1.0)) + 20
        budget.spend(group, used)
        frames, spent = frames + group, spent + used


def test_budget_carries_over_what_a_group_leaves() -> None:
    thrifty, lavish = (Budget(EncoderConfig(bpp=0.05), INFO) for _ in range(2))
    granted = thrifty.grant(50)
    assert granted is not None
    assert granted == lavish.grant(50)
    thrifty.spend(50, int(granted) - 300)
    lavish.spend(50, int(granted))
    assert thrifty.grant(50) == pytest.approx(lavish.grant(50) + 300)  # type: ignore[operator]


@pytest.mark.parametrize("groups", [(200,), (96, 96, 8), (7, 1, 90, 2, 100), (2,) * 100])
@pytest.mark.parametrize("wanted", TARGETS[:3], ids=["bpp", "kbps", "bytes"])
def test_file_of_fully_used_grants_meets_the_target_from_below(
    wanted: dict[str, float], groups: tuple[int, ...]
) -> None:
    budget = Budget(EncoderConfig(**wanted), INFO)  # type: ignore[arg-type]
    writer = Writer(io.BytesIO(), Header(width=96, height=64, source_width=96, source_height=64, fps=INFO.fps))
    for frames in groups:
        granted = budget.grant(frames)
        assert granted is not None
        assert granted > 1
        payload = bytes(int(granted))
        group = Group(
            frames=frames, keys=uniform_keys(frames, 32), codec=0, key_width=48, key_height=32, pictures=payload
        )
        budget.spend(frames, writer.write(group))
    target = budget.target(200)
    assert target is not None
    # not granted is the frame around a group and the index, 4 bytes a group, of which short chunks need 2
    assert target - 64 - 2 * len(groups) <= writer.finish() <= target


def test_budget_of_bytes_needs_a_known_length() -> None:
    endless = VideoInfo(**{**INFO.__dict__, "count": None})
    with pytest.raises(ConfigError, match="length of this source is not known"):
        Budget(EncoderConfig(bytes=5000), endless)
    assert Budget(EncoderConfig(bpp=0.01), endless).grant(10) is not None


def test_constant_quality_has_no_budget() -> None:
    budget = Budget(EncoderConfig(quality=40), INFO)
    assert budget.grant(20) is None
    budget.spend(20, 5000)
    assert budget.target(20) is None


# ---------------------------------------------------------------- correction and segments


def view_of(clip: list[Picture], phased: bool = True) -> SegmentView:
    """What the correction sees of a clip whose first and last pictures are the keys."""
    planes = [picture_planes(p)[0] for p in clip]
    keys = KeyPair(planes[0], planes[-1], measure_key_flow(planes[0], planes[-1]))
    fields = keys.fields(SegmentMotion.empty("F", len(clip)))
    spans = np.stack([f.to_last - f.to_first for f in fields])
    return SegmentView(
        originals=np.stack([shrink_plane(p) for p in planes[1:-1]]).astype(np.float32),
        straight=np.stack([shrink_plane(p) for p in keys.render(fields)]).astype(np.float32),
        spans=spans if phased else np.zeros_like(spans),
        to_first=np.stack([f.to_first for f in fields]),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("phased", [False, True])
def test_fit_recovers_a_known_shake(make_clip: MakeClip, seed: int, phased: bool) -> None:
    shake = shaken(seed)
    fit = fit_model(view_of(make_clip((PAN + shake).tolist(), seed=seed), phased), terms=1)
    assert not fit.model[:, 1:].any()
    # the phase moves everything by a share of the pan, so only the sum of both is determined
    found = fit.model[:, 0] + fit.phase[:, None] * PAN[-1]
    # measured 0.033 px at most over four scenes
    assert np.abs(found - shake[1:-1]).max() < 0.1


def test_quantised_fit_lowers_the_error(make_clip: MakeClip) -> None:
    view = view_of(make_clip((PAN + shaken(0)).tolist()))
    fit = fit_model(view, terms=1)
    step = step_px(GLOBAL_STEP)
    coded = SegmentMotion.of(
        "T",
        LENGTH,
        global_step=GLOBAL_STEP,
        global_coefs=quantise(fit.model, step, "bridge", axis=0),
        phase_coefs=quantise(fit.phase * PHASE_SCALE, step, "bridge", axis=0),
    )
    motion = read_motion(coded, 192, 128)
    errors = [
        bent_error(view, [model_bend(f, view, t) for t in range(LENGTH - 2)])
        for f in (Fit(fit.model * 0, fit.phase * 0), Fit(motion.model, motion.phase), fit)
    ]
    # measured 4 % of the error left after quantising, 3 % before
    assert errors[1] < 0.1 * errors[0]
    assert errors[2] <= errors[1]


def test_fit_of_a_matching_picture_is_nothing(make_clip: MakeClip) -> None:
    fit = fit_model(view_of(make_clip(PAN.tolist())), terms=3)
    # measured 0.03 px: what the flow itself is off by
    assert np.abs(fit.model[:, 0] + fit.phase[:, None] * PAN[-1]).max() < 0.1


def plan_segment(clip: list[Picture], price: float, tracks: int, modes: str) -> SegmentPlan:
    """The plan of a clip whose first and last pictures are the keys, as the first segment of a group."""
    height, width = picture_planes(clip[0])[0].shape
    return SegmentPlanner(price, tracks, modes, anchor_grid(width, height)).plan(clip, clip[0], clip[-1])


@pytest.mark.parametrize("price", [10.0, 2000.0])
def test_planner_sends_nothing_for_straight_motion(make_clip: MakeClip, price: float) -> None:
    clip = make_clip(PAN.tolist())
    plan = plan_segment(clip, price, 4, "FHT")
    assert plan.motion == SegmentMotion.empty("F", LENGTH)
    assert plan.bits < 2  # the mode alone: two decisions


@pytest.mark.parametrize("price", [10.0, 2000.0])
def test_planner_bends_shaken_motion(make_clip: MakeClip, price: float) -> None:
    clip = make_clip((PAN + shaken(0)).tolist())
    plans = {m: plan_segment(clip, price, 4, m) for m in ("F", "FHT")}
    assert plans["FHT"].motion.mode == "T"
    assert plans["FHT"].bits < 300
    # measured a tenth of the error
    assert plans["FHT"].error < 0.3 * plans["F"].error


def test_planner_sends_nothing_that_costs_more_than_it_saves(make_clip: MakeClip) -> None:
    clip = make_clip((PAN + shaken(0)).tolist())
    plan = plan_segment(clip, 1e9, 4, "FHTG")
    assert plan.motion.mode == "F"
    assert plan.bits < 2


def test_planned_bits_are_those_that_the_coder_writes(make_clip: MakeClip) -> None:
    grid = anchor_grid(192, 128)
    planner = SegmentPlanner(50.0, 4, "FHT", grid)
    plans = []
    for seed in range(6):
        clip = make_clip((PAN + shaken(seed)).tolist(), seed=seed)
        plans.append(planner.plan(clip, clip[0], clip[-1]))
    assert sum(p.motion.mode == "T" for p in plans) > 1
    payload = encode_motion([p.motion for p in plans], grid)
    # the range coder's tail is up to a byte; the meter's table has 12 bits
    assert abs(8 * len(payload) - sum(p.bits for p in plans)) < 16
    assert plans[-1].bits != plan_segment(clip, 50.0, 4, "FHT").bits, "the segments before should have set the price"


def test_planner_chooses_the_global_model_where_flow_fails(make_clip: MakeClip) -> None:
    clip = make_clip((STEPS * (60, 0)).tolist())
    plan = plan_segment(clip, 10.0, 4, "FHG")
    flow = plan_segment(clip, 10.0, 4, "F")
    assert plan.motion.mode == "G"
    motion = read_motion(plan.motion, 192, 128)
    # quantised to half a pixel per coefficient of the transform
    assert np.abs(motion.model[:, 0] - STEPS[1:] * (60, 0)).max() < 1.0
    assert plan.error < 0.5 * flow.error


def test_planner_fades_where_one_scene_dissolves_into_another(make_picture: MakePicture) -> None:
    a, b = (make_picture(seed=seed).astype(np.float32) for seed in (0, 1))
    clip = [np.rint(a * (1 - s) + b * s).astype(np.uint8) for s in STEPS[:, 0]]
    plans = {m: plan_segment(clip, 10.0, 0, m) for m in ("F", "H", "FH")}
    assert plans["H"].error < plans["F"].error
    assert plans["FH"].motion.mode == "H"


def test_planner_adds_trajectories_where_a_part_moves_differently(make_picture: MakePicture) -> None:
    size = (256, 160)
    y, x = np.mgrid[: size[1], : size[0]]
    bump = np.exp(-(((x - 170) / 40) ** 2 + ((y - 80) / 40) ** 2))
    swing = 5 * np.sin(np.pi * STEPS[:, 0])
    clip = [make_picture(0.0, s * bump, size=size) for s in swing]
    plans = {n: plan_segment(clip, 20.0, n, "FHT") for n in (0, 6)}
    assert len(plans[0].motion.anchors) == 0
    assert 1 <= len(plans[6].motion.anchors) <= 6
    # measured 0.45: the swing is narrower than the reach of a trajectory
    assert plans[6].error < 0.6 * plans[0].error
    motion = read_motion(plans[6].motion, *size)
    strongest = int(np.abs(motion.tracks[:, LENGTH // 2 - 1, 1]).argmax())
    assert np.hypot(*(motion.anchors[strongest] - (170, 80))) < 40
    assert motion.tracks[strongest, LENGTH // 2 - 1, 1] > 1.5  # of 5 px at the centre of the swing


def test_segment_of_two_keys_carries_nothing(make_clip: MakeClip) -> None:
    clip = make_clip([(0, 0), (3, 1)])
    plan = plan_segment(clip, 1.0, 4, "FHT")
    assert plan.motion == SegmentMotion.empty("F", 2)
    assert plan.error == 0
    assert plan.bits < 2


# ---------------------------------------------------------------- keys at uneven distances


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


# ---------------------------------------------------------------- judgement


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


# ---------------------------------------------------------------- groups


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


def test_a_model_that_folds_the_picture_gives_a_finite_motion():
    from tgvc.planning.globalmotion import forward_model

    folding = np.array([[[-390, -3], [-317, -2], [-45, -5], [-46, -6]]], np.float32)
    assert np.abs(forward_model(folding, 96, 64)).max() <= 2 * 96


def test_the_forward_model_undoes_the_backward_one():
    from tgvc.planning.globalmotion import forward_model
    from tgvc.synthesis.motion import model_at

    backward = np.random.default_rng(0).normal(size=(1, 4, 2)).astype(np.float32) * 2
    points = np.random.default_rng(1).random((200, 2)).astype(np.float32) * (512, 320)
    moved = model_at(forward_model(backward, 512, 320), points.astype(np.float32), 512, 320)[0]
    found = model_at(backward, (points + moved).astype(np.float32), 512, 320)[0]
    assert np.abs(found - moved).mean() < 0.02  # px; the inverse of a bilinear map is not quite bilinear
