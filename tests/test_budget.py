"""Bits of a file shared out over its groups, and key tracks of a wanted size."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import MakeClip
from planning_samples import FakeCodec
from tgvc.bitstream.container import Group, Header, Writer
from tgvc.bitstream.group import uniform_keys
from tgvc.bitstream.pictures import CODECS, QUALITY_MAX, QUALITY_MIN
from tgvc.config import EncoderConfig
from tgvc.errors import ConfigError
from tgvc.planning.budget import Budget
from tgvc.planning.keytrack import KeyTrack
from tgvc.types import VideoInfo

FAKE = 200


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
