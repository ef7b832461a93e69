"""Profile ``dynamics``: what sways is followed from one key picture, within a share of the budget."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

import tgvc
from conftest import MakePicture
from tgvc.bitstream.container import Reader
from tgvc.bitstream.motion import anchor_points
from tgvc.config import EncoderConfig
from tgvc.encoder import Encoder
from tgvc.errors import ConfigError
from tgvc.planning.dynamics import DynamicsPlanner, KeyView
from tgvc.planning.group import Task
from tgvc.planning.plan import GroupPlan
from tgvc.summary import PROFILE_NAMES, comes_back, describe_stream
from tgvc.types import BoolArray, FloatArray, Picture, join_planes, picture_planes
from tgvc.video.writer import VideoWriter
from video_samples import info_of

W, H, FRAMES = 192, 128, 17
DISKS = (((56, 64), 30, 6.0), ((136, 60), 26, -5.0))  # centre, radius, swing, px


def sway_field(frame: int) -> FloatArray:
    """Where each pixel of a frame lies in the first one: disks that swing once, smooth towards their edge."""
    y, x = np.mgrid[:H, :W].astype(np.float32)
    field = np.zeros((H, W, 2), np.float32)
    for (cx, cy), radius, swing in DISKS:
        far = np.hypot(x - cx, y - cy) / radius
        field[..., 0] -= swing * np.sin(2 * np.pi * frame / (FRAMES - 1)) * np.clip(1.5 - 1.5 * far, 0, 1)
    return field


@cache
def swaying_clip() -> tuple[Picture, ...]:
    rng = np.random.default_rng(8)
    start = cv2.resize(rng.integers(30, 226, (H // 12, W // 12), np.uint8), (W, H), interpolation=cv2.INTER_CUBIC)
    grey = np.full((H // 2, W // 2), 128, np.uint8)
    grid = np.stack(np.meshgrid(np.arange(W), np.arange(H)), axis=-1).astype(np.float32)
    pictures = []
    for frame in range(FRAMES):
        at = grid + sway_field(frame)
        luma = cv2.remap(start, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        pictures.append(join_planes(np.asarray(luma, np.uint8), grey, grey))
    return tuple(pictures)


@cache
def plan_of(threads: int = 1, budget: float | None = 1500.0) -> GroupPlan:
    task = Task(list(swaying_clip()), budget, None if budget else 30.0)
    return DynamicsPlanner(1, threads, spacing=16).plan(task)


def test_a_swing_is_followed_from_one_key_picture() -> None:
    plan = plan_of()
    assert plan.spacing == 16
    anchors = np.concatenate([anchor_points(s.anchors) for s in plan.segments])
    for centre, radius, _ in DISKS:
        assert np.linalg.norm(anchors - centre, axis=1).min() < radius / 2
    lumas, shown = ([picture_planes(p)[0].astype(float) for p in run] for run in (swaying_clip(), plan.reconstruction))
    still = [np.mean((luma - shown[0]) ** 2) for luma in lumas]
    moved = [np.mean((luma - picture) ** 2) for luma, picture in zip(lumas, shown, strict=True)]
    turning = (FRAMES - 1) // 4  # the farthest swing
    assert moved[turning] < still[turning] / 3


def test_motion_keeps_to_its_share_and_the_group_to_its_budget() -> None:
    plan = plan_of()
    assert plan.fits
    assert plan.size <= 1500
    assert 20 < len(plan.motion) <= 0.2 * 1500 + 8  # the coder ends on whole bytes, and prices are of its ideal


def test_nothing_depends_on_threads() -> None:
    one, two = plan_of(1), plan_of(2)
    assert (one.keys, one.pictures, one.motion) == (two.keys, two.pictures, two.motion)


def test_a_group_may_end_without_a_key_picture_and_is_decoded_as_it_was_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = DynamicsPlanner._key_ladder
    monkeypatch.setattr(
        DynamicsPlanner, "_key_ladder", lambda self, task: [k for k in ladder(self, task) if len(k) < 2]
    )
    with VideoWriter(tmp_path / "clip.y4m", info_of(W, H)) as writer:
        for n, picture in enumerate(swaying_clip()):
            writer.write(picture, Fraction(n, 25))
    plans: list[GroupPlan] = []
    encoder = Encoder(EncoderConfig(profile="dynamics", effort=0, bytes=1300, size=(W, H)), threads=1)
    report = encoder.encode(tmp_path / "clip.y4m", tmp_path / "clip.tgvc", on_group=lambda plan, _: plans.append(plan))
    assert report.bytes <= 1300
    assert [plan.keys for plan in plans] == [(0,)]
    with (tmp_path / "clip.tgvc").open("rb") as stream:
        reader = Reader(stream)
        assert [(g.open, g.frames) for g in reader] == [(True, FRAMES)]
        assert PROFILE_NAMES[reader.header.profile] == "dynamics"
        stream.seek(0)
        assert describe_stream(stream)["groups"][0]["loopable"], "the swing ends where it begins"
    shown = [frame.picture for frame in tgvc.decode_frames(tmp_path / "clip.tgvc")]
    assert np.array_equal(shown, plans[0].reconstruction)
    preview = [frame.picture for frame in tgvc.decode_frames(tmp_path / "clip.tgvc", spread="nearest")]
    assert len(preview) == FRAMES
    assert np.array_equal(preview[0], shown[0])
    assert not np.array_equal(preview, shown)
    with pytest.raises(ConfigError, match=r"spread='nearest': expected generator=warp beside it: latent"):
        tgvc.decode_frames(tmp_path / "clip.tgvc", spread="nearest", generator="latent")


def appearing_clip(frames: range) -> list[Picture]:
    """A still picture; something else covers most of it in some frames, of which its key picture knows nothing."""
    rng = np.random.default_rng(0)
    before, within = (
        cv2.resize(rng.integers(30, 226, (10, 16), np.uint8), (W, H), interpolation=cv2.INTER_CUBIC) for _ in range(2)
    )
    grey = np.full((H // 2, W // 2), 128, np.uint8)
    lumas = [before.copy() for _ in range(FRAMES)]
    for frame in frames:
        lumas[frame][20:110, 30:160] = within[20:110, 30:160]
    return [join_planes(luma, grey, grey) for luma in lumas]


def test_an_open_group_gets_a_key_picture_where_the_decoder_has_drifted(monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = DynamicsPlanner._key_ladder
    monkeypatch.setattr(DynamicsPlanner, "_key_ladder", lambda s, task: [k for k in ladder(s, task) if len(k) < 2])
    task = Task(appearing_clip(range(6, FRAMES)), 2500.0)
    plan = DynamicsPlanner(2, 1).plan(task)
    assert plan.fits
    assert {0, 8} <= set(plan.keys)
    assert plan.keys[-1] < FRAMES - 1  # and stays open
    without = DynamicsPlanner(1, 1).plan(task)  # an effort that refreshes nothing
    assert without.keys == (0,)
    assert plan.verdict.merit > without.verdict.merit + 1


def test_a_spacing_that_is_asked_for_is_kept_by_every_effort() -> None:
    task = Task(appearing_clip(range(6, 11)), 2500.0)
    for effort in (1, 2):
        plan = DynamicsPlanner(effort, 1, spacing=4).plan(task)
        assert np.diff((*plan.keys, FRAMES - 1)[: len(plan.keys)]).tolist() == [4] * (len(plan.keys) - 1)


def test_half_a_swing_does_not_come_back() -> None:
    plan = DynamicsPlanner(0, 1, spacing=16).plan(Task(list(swaying_clip()[:5]), 900.0))
    assert any(len(s.anchors) for s in plan.segments)
    assert not any(comes_back(s, W, H) for s in plan.segments)


def test_what_stands_still_has_no_anchors(make_picture: MakePicture) -> None:
    picture = make_picture(0, 0, (W, H))
    plan = DynamicsPlanner(0, 1, spacing=16).plan(Task([picture] * FRAMES, 800.0))
    assert sum(len(s.anchors) for s in plan.segments) == 0


def test_a_view_is_the_same_however_it_is_asked_for() -> None:
    def frames() -> Iterator[tuple[FloatArray, BoolArray]]:
        rng = np.random.default_rng(1)
        for _ in range(6):
            places = np.stack(np.meshgrid(np.arange(24), np.arange(16)), axis=-1).astype(np.float32)
            yield places + rng.normal(0, 2, places.shape).astype(np.float32), rng.random((16, 24)) > 0.3

    points = np.float32([[2, 3], [20, 11], [7.5, 7.5]])
    once, twice = KeyView(frames(), points), KeyView(frames(), points)
    twice.moves(3)
    for a, b in zip(once.moves(7), twice.moves(7), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(once.distance(4), twice.distance(4))
    assert (once.distance(7) <= once.distance(3)).all()
