"""The weight-free generator on motion that is known: where pixels go, and what the result may not depend on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from conftest import MakeClip, MakePicture
from synthesis_samples import LENGTH, SIZE, make_motion
from tgvc.bitstream.motion import SegmentMotion
from tgvc.planning.plan import render_group
from tgvc.synthesis.densify import nearest_field, straight_points
from tgvc.synthesis.flow import (
    KeyFlow,
    measure_key_flow,
)
from tgvc.synthesis.warp import WarpGenerator
from tgvc.types import Motion, Picture, picture_planes, still_motion

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


def render(first: Picture, last: Picture, motion: Motion) -> list[Picture]:
    return WarpGenerator().render(first, last, motion, LENGTH)


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
