"""Corrections and segments: a known shake is found, and sent only where it pays."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import MakeClip, MakePicture
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.tracks import encode_motion
from tgvc.bitstream.transform import quantise, step_px
from tgvc.planning.correction import Fit, SegmentView, bent_error, fit_model, model_bend
from tgvc.planning.segment import GLOBAL_STEP, KeyPair, SegmentPlan, SegmentPlanner
from tgvc.synthesis.flow import measure_key_flow, shrink_plane
from tgvc.synthesis.motion import PHASE_SCALE, read_motion
from tgvc.types import Picture, picture_planes

LENGTH = 9
STEPS = np.arange(LENGTH, dtype=np.float64)[:, None] / (LENGTH - 1)
PAN = STEPS * (6, 2)


def shaken(seed: int, length: int = LENGTH, strength: float = 2.0) -> np.ndarray:
    """Random displacements float64 (length, 2) px, none in the first and last frame."""
    shake = np.random.default_rng(seed).normal(0, strength, (length, 2))
    shake[[0, -1]] = 0
    return shake


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
