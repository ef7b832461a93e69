"""The weight-free generator on motion that is known: where pixels go, and what the result may not depend on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from conftest import MakeClip, MakePicture
from tgvc.bitstream.motion import SegmentMotion
from tgvc.bitstream.transform import step_code
from tgvc.planning.plan import render_group
from tgvc.synthesis.densify import FrameFields, bend_fields, frame_fields, linear_fields, nearest_field, straight_points
from tgvc.synthesis.flow import (
    CELL,
    KeyFlow,
    measure_flow,
    measure_key_flow,
    one_cv_thread,
    shrink_plane,
)
from tgvc.synthesis.motion import bilinear_model, model_at, read_motion
from tgvc.synthesis.warp import WarpGenerator
from tgvc.types import FloatArray, Motion, Picture, picture_planes, still_motion

SIZE = (192, 128)
LENGTH = 9
STEPS = np.arange(LENGTH, dtype=np.float64)[:, None] / (LENGTH - 1)


@pytest.fixture(autouse=True)
def _caller_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def luma_psnr(a: Picture, b: Picture, columns: slice = slice(None), rows: slice = slice(None)) -> float:
    """Luma PSNR in dB, 99 for equal planes."""
    one, two = (picture_planes(p)[0][rows, columns].astype(np.float64) for p in (a, b))
    return float(min(99.0, 10 * np.log10(255**2 / max(np.mean((one - two) ** 2), 1e-6))))


def make_motion(
    mode: str,
    model: FloatArray | None = None,
    anchors: list[tuple[float, float]] | None = None,
    tracks: FloatArray | None = None,
    visible: np.ndarray | None = None,
    from_last: bool = False,
) -> Motion:
    """Motion of a segment of LENGTH frames; ``model`` float32 (n, 2) translation in px, ``tracks`` (K, n, 2) px."""
    n = LENGTH - (1 if mode == "G" else 2)
    k = len(anchors or [])
    weights = np.zeros((n, 4, 2), np.float32)
    if model is not None:
        weights[:, 0] = model
    return Motion(
        mode=mode,
        model=weights,
        phase=np.zeros(n, np.float32),
        anchors=np.asarray(anchors or [], np.float32).reshape(k, 2),
        from_last=np.full(k, from_last),
        tracks=np.zeros((k, n, 2), np.float32) if tracks is None else tracks.astype(np.float32),
        visible=np.ones((k, n), bool) if visible is None else visible,
    )


def render(first: Picture, last: Picture, motion: Motion) -> list[Picture]:
    return WarpGenerator().render(first, last, motion, LENGTH)


# ---------------------------------------------------------------- what each mode can do


def test_flow_mode_finds_a_straight_motion(make_clip: MakeClip) -> None:
    clip = make_clip([(6 * s, 2 * s) for s in STEPS[:, 0]])
    flow = render(clip[0], clip[-1], still_motion("F"))
    fade = render(clip[0], clip[-1], still_motion("H"))
    middle = LENGTH // 2 - 1
    # measured 42 to 45 dB over four scenes, 59 to 68 away from the border, where new content enters
    assert luma_psnr(flow[middle], clip[middle + 1]) > 40
    assert luma_psnr(flow[middle], clip[middle + 1], slice(16, -16)) > 44
    assert luma_psnr(fade[middle], clip[middle + 1]) < 30
    assert all(luma_psnr(f, t) > luma_psnr(h, t) + 8 for f, h, t in zip(flow, fade, clip[1:-1], strict=True))


def test_flow_mode_moves_chroma_with_luma(make_clip: MakeClip) -> None:
    clip = make_clip([(6 * s, 2 * s) for s in STEPS[:, 0]])
    painted = render(clip[0], clip[-1], still_motion("F"))[LENGTH // 2 - 1]
    for plane, true in zip(picture_planes(painted)[1:], picture_planes(clip[LENGTH // 2])[1:], strict=True):
        inner = (plane[8:-8, 8:-8].astype(int) - true[8:-8, 8:-8]).astype(np.float64)
        assert np.abs(inner).max() <= 2  # grey levels: cubic at half the resolution, two roundings


def test_fade_mode_is_the_mean_over_time_where_keys_agree(make_picture: MakePicture) -> None:
    first = np.clip(make_picture(), 16, 235)
    last = first + np.uint8(4)  # below the difference at which the nearer picture begins to win
    for n, picture in enumerate(render(first, last, still_motion("H"))):
        step = picture.astype(np.float64) - first
        assert np.abs(step - 4 * (n + 1) / (LENGTH - 1)).max() <= 0.501  # rounding to whole levels


def test_a_still_scene_stays_still_in_every_mode(make_picture: MakePicture) -> None:
    picture = make_picture()
    for motion in (still_motion("F"), still_motion("H"), make_motion("T"), make_motion("G")):
        assert all(np.array_equal(p, picture) for p in render(picture, picture, motion))


def test_bend_mode_recovers_a_shake_that_flow_cannot_see(make_clip: MakeClip) -> None:
    shake = np.random.default_rng(1).normal(0, 2, (LENGTH, 2))
    shake[[0, -1]] = 0
    clip = make_clip((STEPS * (6, 2) + shake).tolist())
    straight = render(clip[0], clip[-1], still_motion("F"))
    bent = render(clip[0], clip[-1], make_motion("T", model=shake[1:-1].astype(np.float32)))
    inner = slice(16, -16)
    for s, b, true in zip(straight, bent, clip[1:-1], strict=True):
        assert luma_psnr(b, true, inner) > 40
        assert luma_psnr(b, true, inner) > luma_psnr(s, true, inner) + 6


def test_bend_mode_recovers_uneven_speed_by_phase(make_clip: MakeClip) -> None:
    ahead = 0.2 * np.sin(np.pi * STEPS[:, 0])
    clip = make_clip([(8 * (s + a), 3 * (s + a)) for s, a in zip(STEPS[:, 0], ahead, strict=True)])
    motion = make_motion("T")
    motion = Motion(**{**motion.__dict__, "phase": ahead[1:-1].astype(np.float32)})
    inner, middle = slice(16, -16), LENGTH // 2 - 1
    straight = render(clip[0], clip[-1], still_motion("F"))[middle]
    phased = render(clip[0], clip[-1], motion)[middle]
    assert luma_psnr(phased, clip[middle + 1], inner) > 40
    assert luma_psnr(phased, clip[middle + 1], inner) > luma_psnr(straight, clip[middle + 1], inner) + 6


def test_global_mode_carries_a_shift_that_flow_misses(make_clip: MakeClip) -> None:
    clip = make_clip([(60 * s, 0) for s in STEPS[:, 0]])
    told = render(clip[0], clip[-1], make_motion("G", model=STEPS[1:] * (60, 0)))
    found = render(clip[0], clip[-1], still_motion("F"))
    both_keys_show_it = slice(64, -64)
    for n, true in enumerate(clip[1:-1]):
        # shifts of whole and half pixels of a texture without detail finer than 10 px: near rounding
        assert luma_psnr(told[n], true, both_keys_show_it) > 45
    middle = LENGTH // 2 - 1
    assert luma_psnr(found[middle], clip[middle + 1], both_keys_show_it) < 25


def test_an_open_end_leads_on_from_the_first_key_alone(make_clip: MakeClip) -> None:
    clip = make_clip([(20 * s, 0) for s in STEPS[:, 0]])
    frames = WarpGenerator().render(clip[0], None, make_motion("G", model=STEPS[1:] * (20, 0)), LENGTH)
    assert len(frames) == LENGTH - 1
    for n, true in enumerate(clip[1:]):
        # as above: near rounding, but for what has come into the picture
        assert luma_psnr(frames[n], true, slice(24, None)) > 45


def test_the_nearest_trajectory_moves_a_place() -> None:
    rng = np.random.default_rng(3)
    centres, values = rng.uniform(0, 40, (9, 2)).astype(np.float32), rng.normal(0, 5, (9, 2)).astype(np.float32)
    field = nearest_field(centres, values, 40, 40)
    at = np.rint(centres)
    far = np.linalg.norm(np.stack(np.meshgrid(np.arange(40), np.arange(40)), -1)[:, :, None] - at, axis=-1)
    order = np.sort(far, axis=-1)
    clear = order[..., 1] - order[..., 0] > 1.5  # the transform is good to 2 % of some 40 cells
    assert clear.mean() > 0.6
    assert np.array_equal(field[clear], values[far.argmin(axis=-1)][clear])
    assert not nearest_field(centres[:0], values[:0], 4, 6).any()


def test_a_preview_moves_what_is_near_a_trajectory_as_it_does(make_clip: MakeClip) -> None:
    clip = make_clip([(20 * s, 0) for s in STEPS[:, 0]])
    tracks = np.broadcast_to(STEPS[1:] * (20, 0), (1, LENGTH - 1, 2))
    motion = make_motion("G", anchors=[(96, 64)], tracks=tracks)
    smooth, near = (WarpGenerator(spread).render(clip[0], None, motion, LENGTH) for spread in ("shepard", "nearest"))
    # one trajectory alone moves the whole picture there, and only its surroundings where it is spread smoothly
    assert luma_psnr(near[-1], clip[-1], slice(24, None)) > 45 > luma_psnr(smooth[-1], clip[-1], slice(24, None)) + 10


def test_an_open_end_needs_motion_of_its_own(make_picture: MakePicture) -> None:
    with pytest.raises(ValueError, match="mode H needs a last key picture"):
        WarpGenerator().render(make_picture(0, 0), None, still_motion("H"), 5)


def test_global_mode_follows_a_zoom(make_picture: MakePicture) -> None:
    # content at q of the first key moves to q + growth * (u, v): the bilinear model's second and third weights
    width, height = SIZE
    y, x = np.mgrid[:height, :width].astype(np.float64)
    u, v = 2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1
    growth = 8.0
    first = make_picture()
    # p = q + a u(q) with u linear in q: q - p = -a u(p) / (1 + 2 a / (size - 1))
    last = make_picture(growth * u / (1 + 2 * growth / (width - 1)), growth * v / (1 + 2 * growth / (height - 1)))
    weights = np.zeros((LENGTH - 1, 4, 2), np.float32)
    weights[:, 1, 0] = weights[:, 2, 1] = growth * STEPS[1:, 0]
    motion = Motion(**{**make_motion("G").__dict__, "model": weights})
    painted = render(first, last, motion)[LENGTH // 2 - 1]
    half = growth / 2
    true = make_picture(half * u / (1 + 2 * half / (width - 1)), half * v / (1 + 2 * half / (height - 1)))
    # measured 45 dB; the model's corners are cell centres, half a pixel inside the picture's
    assert luma_psnr(painted, true, slice(16, -16)) > 40
    assert luma_psnr(render(first, last, still_motion("H"))[LENGTH // 2 - 1], true, slice(16, -16)) < 35


# ---------------------------------------------------------------- trajectories

WIDE = (512, 64)


@pytest.mark.parametrize(("mode", "from_last"), [("T", False), ("T", True), ("G", False)])
def test_a_trajectory_moves_the_picture_where_it_is_and_not_far_away(
    make_picture: MakePicture, mode: str, from_last: bool
) -> None:
    picture, moved = make_picture(size=WIDE), make_picture(6, 0, size=WIDE)
    n = LENGTH - (1 if mode == "G" else 2)
    tracks = np.zeros((1, n, 2))
    tracks[0, LENGTH // 2 - 1] = (6, 0)
    painted = render(picture, picture, make_motion(mode, None, [(66, 32)], tracks, from_last=from_last))
    frame = painted[LENGTH // 2 - 1]
    at, far = slice(68, 77), slice(66 + 96 + 6, None)
    # within 4 px of the anchor's new place 1 / (1 + (4/32)^3.5) = 0.9993 of 6 px are left
    near = slice(28, 37)  # rows: the effect falls off in all directions
    assert luma_psnr(frame, moved, at, near) > 40
    assert luma_psnr(frame, picture, at, near) < 30
    # from 96 px on at most 1 / (1 + 3^3.5) = 2 %: 0.13 px
    assert luma_psnr(frame, picture, far) > 42
    # other frames, where it does not move, are as before
    assert all(np.array_equal(p, picture) for i, p in enumerate(painted) if i != LENGTH // 2 - 1)


@pytest.mark.parametrize("mode", ["T", "G"])
def test_a_trajectory_does_nothing_while_it_is_hidden(make_picture: MakePicture, mode: str) -> None:
    picture = make_picture()
    n = LENGTH - (1 if mode == "G" else 2)
    visible = np.zeros((1, n), bool)
    visible[0, 4:] = True
    tracks = np.full((1, n, 2), 5.0)
    if mode == "G":
        tracks[:, -1] = 0  # it is back at its place in the last key
    painted = render(picture, picture, make_motion(mode, None, [(96, 64)], tracks, visible))
    assert [np.array_equal(p, picture) for p in painted] == [True] * 4 + [False] * 3


def test_straight_points_follow_the_flow_from_their_own_key() -> None:
    flow = np.broadcast_to(np.float32([4, -2]), (64, 96, 2)).copy()
    keys = KeyFlow(flow, -flow, np.ones((64, 96), np.float32), np.ones((64, 96), np.float32))
    first = straight_points(make_motion("T", None, [(100.5, 60.5)]), keys, 0.25)
    last = straight_points(make_motion("T", None, [(100.5, 60.5)], from_last=True), keys, 0.25)
    assert np.array_equal(first, [[50 + 1, 30 - 0.5]])  # cells of 2 px: (100.5 + 0.5) / 2 - 0.5 = 50
    assert np.array_equal(last, [[50 - 3, 30 + 1.5]])


# ---------------------------------------------------------------- what the result does not depend on


def test_key_pictures_are_shown_as_they_are(make_clip: MakeClip) -> None:
    keys = make_clip([(0, 0), (3, 1), (5, 4)])
    before = [k.copy() for k in keys]
    motions = [
        SegmentMotion.of("T", 5, global_step=12, global_coefs=np.full((3, 4, 2), 2, np.int32)),
        SegmentMotion.empty("F", 4),
    ]
    frames = render_group(keys, motions)
    assert len(frames) == 1 + 4 + 3
    for index, key, old in zip((0, 4, 7), keys, before, strict=True):
        assert np.array_equal(frames[index], old)
        assert np.array_equal(key, old)


def test_neighbouring_keys_have_nothing_between_them(make_picture: MakePicture) -> None:
    assert WarpGenerator().render(make_picture(), make_picture(), still_motion("F"), 2) == []


def test_result_does_not_depend_on_executor_or_threads(make_clip: MakeClip) -> None:
    # 320 px high: DIS would cut so many rows into different stripes for 1 and 4 threads
    first, last = make_clip([(0, 0), (7, 3)], size=(192, 320))
    results = []
    for cv_threads, executor in ((1, None), (4, None), (4, ThreadPoolExecutor(3)), (1, ThreadPoolExecutor(2))):
        cv2.setNumThreads(cv_threads)
        results.append(WarpGenerator().render(first, last, still_motion("F"), LENGTH, executor))
        if executor is not None:
            executor.shutdown()
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_result_does_not_depend_on_generators_running_beside_it(make_clip: MakeClip) -> None:
    cv2.setNumThreads(4)
    clips = [make_clip([(0, 0), (5, 2)], size=(192, 320), seed=seed) for seed in range(4)]
    alone = [WarpGenerator().render(a, b, still_motion("F"), 4) for a, b in clips]
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(lambda c: WarpGenerator().render(c[0], c[1], still_motion("F"), 4), clips))
    assert all(
        np.array_equal(a, b) for one, two in zip(alone, beside, strict=True) for a, b in zip(one, two, strict=True)
    )
    assert cv2.getNumThreads() == 4


def test_flow_given_by_the_caller_is_the_one_measured_otherwise(make_clip: MakeClip) -> None:
    first, last = make_clip([(0, 0), (5, 2)])
    flow = measure_key_flow(picture_planes(first)[0], picture_planes(last)[0])
    given = WarpGenerator().render(first, last, still_motion("F"), LENGTH, flow=flow)
    assert all(np.array_equal(a, b) for a, b in zip(given, render(first, last, still_motion("F")), strict=True))


# ---------------------------------------------------------------- flow


def test_flow_finds_a_translation_both_ways(make_clip: MakeClip) -> None:
    first, last = make_clip([(0, 0), (6, 2)])
    flow = measure_key_flow(picture_planes(first)[0], picture_planes(last)[0])
    inner = (slice(8, -8), slice(8, -8))
    # measured 0.16 px at most away from the border, for four scenes
    assert np.abs(flow.forward[inner] * CELL - (6, 2)).max() < 0.4
    assert np.abs(flow.backward[inner] * CELL + (6, 2)).max() < 0.4
    assert flow.trust_first[inner].min() > 0.9
    assert flow.trust_last[inner].min() > 0.9


def test_trust_is_low_where_the_trip_does_not_return(make_picture: MakePicture) -> None:
    first, last = (picture_planes(make_picture(seed=seed))[0] for seed in (0, 1))
    unrelated = measure_key_flow(first, last)
    assert np.median(unrelated.trust_first) < 0.5
    assert unrelated.trust_first.min() >= np.float32(0.05)


def test_flow_restores_the_threads_of_the_caller(make_picture: MakePicture) -> None:
    plane = shrink_plane(picture_planes(make_picture())[0])
    for threads in (1, 3):
        cv2.setNumThreads(threads)
        measure_flow(plane, plane)
        assert cv2.getNumThreads() == threads
        with pytest.raises(cv2.error):
            measure_flow(plane, plane[:-8])
        assert cv2.getNumThreads() == threads


def test_flow_runs_on_one_thread_whatever_the_caller_set(
    make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = shrink_plane(picture_planes(make_picture())[0])
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    seen = []

    class Watched:
        @staticmethod
        def create(_preset: int) -> type[Watched]:
            return Watched

        setFinestScale = staticmethod(engine.setFinestScale)  # noqa: N815

        @staticmethod
        def calc(*arguments: object) -> object:
            seen.append(cv2.getNumThreads())
            return engine.calc(*arguments)

    monkeypatch.setattr(cv2, "DISOpticalFlow", Watched)
    for threads in (1, 4):
        cv2.setNumThreads(threads)
        measure_flow(plane, plane)
    assert seen == [1, 1]


def test_overlapping_blocks_restore_the_threads_of_the_caller() -> None:
    cv2.setNumThreads(3)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with one_cv_thread():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    with one_cv_thread():
        other.start()
        assert inside.wait(10)
    assert cv2.getNumThreads() == 1  # the other block is still open
    leave.set()
    other.join(10)
    assert cv2.getNumThreads() == 3


def test_shrunk_plane_is_the_mean_of_blocks() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)
    mean = plane.reshape(32, 2, 48, 2).mean(axis=(1, 3))
    assert np.abs(shrink_plane(plane) - mean).max() <= 0.5


# ---------------------------------------------------------------- fields


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


# ---------------------------------------------------------------- reading coded motion


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
