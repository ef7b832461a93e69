"""Fields of motion by mode, models of bends, and coded motion as it is read."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from synthesis_samples import LENGTH, SIZE, make_motion
from tgvc.bitstream.motion import SegmentMotion
from tgvc.bitstream.transform import step_code
from tgvc.synthesis.densify import FrameFields, bend_fields, frame_fields, linear_fields
from tgvc.synthesis.flow import (
    KeyFlow,
)
from tgvc.synthesis.motion import bilinear_model, model_at, read_motion
from tgvc.types import still_motion


def constant_flow(dx: float, dy: float, height: int = 32, width: int = 48) -> KeyFlow:
    flow = np.broadcast_to(np.float32([dx, dy]), (height, width, 2)).copy()
    trust = np.full((height, width), 0.75, np.float32)
    return KeyFlow(flow, -flow, trust, trust)


@pytest.mark.parametrize("tau", [0.25, 0.5, 0.875])
def test_linear_fields_of_a_constant_flow_split_it_by_time(tau: float) -> None:
    fields = linear_fields(constant_flow(4, -2), tau)
    assert np.array_equal(fields.to_first, np.broadcast_to(np.float32([-4 * tau, 2 * tau]), (32, 48, 2)))
    assert np.array_equal(fields.to_last, np.broadcast_to(np.float32([4 * (1 - tau), -2 * (1 - tau)]), (32, 48, 2)))
    assert np.array_equal(fields.trust_first, np.full((32, 48), 0.75, np.float32))
    assert np.array_equal(fields.trust_last, np.full((32, 48), 0.75, np.float32))
    assert fields.tau == tau


def test_linear_fields_at_the_ends_are_at_rest_in_their_key() -> None:
    at_first, at_last = (linear_fields(constant_flow(4, -2), tau) for tau in (0.0, 1.0))
    assert not at_first.to_first.any()
    assert not at_last.to_last.any()


def test_linear_fields_are_mirrored_by_time() -> None:
    rng = np.random.default_rng(0)
    smooth = [cv2.GaussianBlur(rng.normal(0, 20, (32, 48, 2)).astype(np.float32), (0, 0), 6) for _ in range(2)]
    trusts = rng.uniform(0.05, 1, (2, 32, 48)).astype(np.float32)
    forth = linear_fields(KeyFlow(smooth[0], smooth[1], trusts[0], trusts[1]), 0.25)
    back = linear_fields(KeyFlow(smooth[1], smooth[0], trusts[1], trusts[0]), 0.75)
    assert np.array_equal(forth.to_first, back.to_last)
    assert np.array_equal(forth.to_last, back.to_first)
    assert np.array_equal(forth.trust_first, back.trust_last)


def test_bend_of_nothing_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    random = rng.normal(0, 2, (2, 32, 48, 2)).astype(np.float32)
    fields = FrameFields(0.5, random[0], random[1], np.ones((32, 48), np.float32), np.ones((32, 48), np.float32))
    same = bend_fields(fields, np.zeros((32, 48, 2), np.float32))
    assert np.array_equal(same.to_first, fields.to_first)
    assert np.array_equal(same.to_last, fields.to_last)
    assert same.tau == fields.tau


def test_constant_bend_adds_to_constant_fields_and_keeps_their_difference() -> None:
    fields = linear_fields(constant_flow(4, -2), 0.5)
    bent = bend_fields(fields, np.broadcast_to(np.float32([1.5, 0.25]), (32, 48, 2)).copy())
    assert np.array_equal(bent.to_first, fields.to_first + np.float32([1.5, 0.25]))
    assert np.array_equal(bent.to_last - bent.to_first, fields.to_last - fields.to_first)


def test_every_mode_has_one_field_per_frame_between_the_keys() -> None:
    flow = constant_flow(4, -2)
    for motion in (still_motion("F"), still_motion("H"), make_motion("T"), make_motion("G")):
        fields = frame_fields(motion, flow, LENGTH, 32, 48)
        assert [f.tau for f in fields] == [n / (LENGTH - 1) for n in range(1, LENGTH - 1)]
        assert all(f.to_first.shape == f.to_last.shape == (32, 48, 2) for f in fields)


def test_modes_that_need_a_flow_say_so() -> None:
    for mode in ("F", "T"):
        motion = still_motion("F") if mode == "F" else make_motion("T")
        with pytest.raises(ValueError, match=f"mode {mode} needs the flow"):
            frame_fields(motion, None, LENGTH, 32, 48)


def test_bilinear_model_meets_its_weights_at_the_corners() -> None:
    weights = np.random.default_rng(0).normal(0, 3, (4, 2)).astype(np.float32)
    field = bilinear_model(weights, 7, 11)
    for y, v in ((0, -1), (-1, 1)):
        for x, u in ((0, -1), (-1, 1)):
            # 1e-5: sums of four numbers below 12
            assert np.abs(field[y, x] - weights.T @ (1, u, v, u * v)).max() < 1e-5
    assert np.abs(field[3, 5] - weights[0]).max() < 1e-5


def test_model_at_points_is_the_field_of_the_model() -> None:
    model = np.random.default_rng(0).normal(0, 3, (2, 4, 2)).astype(np.float32)
    points = np.float32([[0, 0], [95, 63], [47.5, 31.5], [10, 50]])
    dense = [bilinear_model(weights, 64, 96) for weights in model]  # one sample per px
    at = model_at(model, points, 96, 64)
    for n in range(2):
        for k in (0, 1, 3):
            x, y = points[k].astype(int)
            assert np.abs(at[n, k] - dense[n][y, x]).max() < 1e-5  # as above
        assert np.abs(at[n, 2] - model[n, 0]).max() < 1e-5


def random_segment(mode: str, origin: list[bool]) -> SegmentMotion:
    """A coded segment of LENGTH frames whose series are plain samples in steps (transform ``dpcm``)."""
    rng = np.random.default_rng(3)
    n, k = LENGTH - (1 if mode == "G" else 2), len(origin)
    return SegmentMotion.of(
        mode,  # type: ignore[arg-type]
        LENGTH,
        transform="dpcm",
        global_step=step_code(0.5),
        track_step=step_code(1.0),
        global_coefs=rng.integers(-6, 7, (n, 4, 2)).astype(np.int32),
        anchors=np.stack([rng.permutation(40)[:k], rng.permutation(30)[:k]], axis=-1).astype(np.int32),
        origin=np.array(origin),
        coefs=rng.integers(-5, 6, (k, n, 2)).astype(np.int32),
        visible=rng.random((k, LENGTH)) < 0.7,
    )


def test_data_free_modes_read_as_still_motion() -> None:
    for mode in ("F", "H"):
        motion = read_motion(SegmentMotion.empty(mode, LENGTH), *SIZE)  # type: ignore[arg-type]
        assert motion.mode == mode
        assert len(motion.phase) == len(motion.anchors) == 0


def test_bend_motion_is_read_in_order_of_time_from_both_keys() -> None:
    segment = random_segment("T", [False, True, True])
    motion = read_motion(segment, *SIZE)
    assert motion.from_last.tolist() == [False, True, True]
    assert np.array_equal(motion.anchors, segment.anchors * 4 + 2)
    assert np.array_equal(motion.tracks[0], segment.coefs[0])  # the step is 1 px
    assert np.array_equal(motion.tracks[1:], segment.coefs[1:, ::-1])
    assert np.array_equal(motion.visible, segment.visible[:, 1:-1])
    assert np.abs(motion.model - 0.5 * segment.global_coefs).max() < 1e-6  # float32 of halves


def test_global_motion_from_the_last_key_goes_through_the_same_points() -> None:
    segment = random_segment("G", [False, True, True, False])
    motion = read_motion(segment, *SIZE)
    assert not motion.from_last.any()
    read = motion.anchors[:, None] + model_at(motion.model, motion.anchors, *SIZE).transpose(1, 0, 2) + motion.tracks
    model = np.concatenate(
        [np.zeros((1, 4, 2), np.float32), np.float32(0.5) * segment.global_coefs]
    )  # times 0 .. T - 1
    for k, backwards in enumerate(segment.origin):
        anchor = segment.anchors[k] * np.float32(4) + 2
        along_model = model_at(model, anchor[None], *SIZE)[:, 0]
        if backwards:  # coded samples count from the last key: times T - 2, T - 3 .. 0
            beyond = np.concatenate([[(0, 0)], segment.coefs[k]])[::-1]
            true = anchor + along_model - along_model[-1] + beyond
        else:
            beyond = np.concatenate([[(0, 0)], segment.coefs[k]])
            true = anchor + along_model + beyond
        # 1e-3 px: sums of numbers up to 200 px, each rounded to 1e-5
        assert np.abs(motion.anchors[k] - true[0]).max() < 1e-3
        assert np.abs(read[k] - true[1:]).max() < 1e-3
        if backwards:
            assert np.abs(read[k, -1] - anchor).max() < 1e-3
