"""The latent generator on networks whose answers are known."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from network_samples import tiny_bundle, tiny_constants
from tgvc.backends.base import load_backend
from tgvc.diffusion.windows import plan_windows
from tgvc.models.nets import Networks, pack_planes, unpack_planes
from tgvc.overlap import StageClock
from tgvc.synthesis import stretches
from tgvc.synthesis.carry import carry_noise
from tgvc.synthesis.conditions import group_conditions
from tgvc.synthesis.densify import FrameFields
from tgvc.synthesis.grain import add_grain, fine_octave, measure_texture, read_texture
from tgvc.synthesis.group import DecodedGroup, WarpGroups
from tgvc.synthesis.latent import LatentGenerator, LatentOptions
from tgvc.synthesis.paths import cell_centres, follow_points, sent_paths
from tgvc.synthesis.restored import RestoredKeys
from tgvc.types import Motion, Picture, picture_planes, still_motion
from video_samples import smooth_picture

W, H = 96, 64
CELLS = H // 8, W // 8


def make_nets(folder: Path, **options: Any) -> Networks:
    return Networks(tiny_bundle(folder, **options), load_backend("onnxruntime", threads=1))


def make_group(lengths: Sequence[int], seed: int = 1, number: int = 0) -> DecodedGroup:
    keys = [smooth_picture(3 * n, W, H) for n in range(len(lengths) + 1)]
    return DecodedGroup(number, seed, keys, [(still_motion("H"), length) for length in lengths], 0.4)


def make_open_group(lengths: Sequence[int], tail: int) -> DecodedGroup:
    """The same, and ``tail - 1`` more frames that drift away from the last key picture, a trajectory among them."""
    group, steps = make_group(lengths), np.arange(1, tail, dtype=np.float32)
    model, tracks = np.zeros((tail - 1, 4, 2), np.float32), np.zeros((1, tail - 1, 2), np.float32)
    model[:, 0, 0], tracks[0, :, 1] = 0.75 * steps, 0.5 * steps
    drift = Motion(
        "G", model, steps * 0, np.float32([[40, 30]]), np.zeros(1, bool), tracks, np.ones((1, tail - 1), bool)
    )
    return replace(group, motions=[*group.motions, (drift, tail)])


def render(nets: Networks, group: DecodedGroup, **options: Any) -> list[Picture]:
    generator = LatentGenerator(nets, LatentOptions(**({"steps": 2} | options)))
    return list(generator.render_group(group, StageClock()))


def measured_energy(picture: Picture) -> float:
    return float(np.square(fine_octave(picture_planes(picture)[0].astype(np.float32))).mean())


def weight_free(group: DecodedGroup) -> list[Picture]:
    return [c.picture for c in group_conditions(group.keys, group.motions, group.fine)]


@pytest.mark.parametrize("lengths", [(), (2,), (9,), (5, 2, 2, 7), (17, 33, 4)])
@pytest.mark.parametrize("steps", [1, 3])
def test_without_a_residual_every_frame_is_the_decoded_base(tmp_path: Path, lengths: Sequence[int], steps: int) -> None:
    nets, group = make_nets(tmp_path / "b"), make_group(lengths)
    got = render(nets, group, steps=steps)
    planes = pack_planes(weight_free(group))
    want = unpack_planes(nets.decode(nets.encode(planes), planes)[0])
    assert len(got) == group.frames
    # sums of float32 in another order may fall on the other side of a half
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(got, want, strict=True)) <= 1


@pytest.mark.parametrize("std", [1.0, 0.25])
def test_the_denoiser_is_shown_the_key_after_each_frame(tmp_path: Path, std: float) -> None:
    # the residual is (latents of the key after - base), so that all latents become those of the key after
    nets = make_nets(tmp_path / "b", residual=1 / std, constants=tiny_constants(residual_std=std))
    group = make_group((9, 4, 14))
    got = render(nets, group, steps=3)
    after = [c.after for c in group_conditions(group.keys, group.motions, group.fine)]
    keys = nets.encode(pack_planes(list(group.keys)))
    planes = pack_planes(weight_free(group))
    want = unpack_planes(nets.decode(keys[after], planes)[0])
    # held frames pass through a difference and a sum; the rest as above
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(got, want, strict=True)) <= 1


@pytest.mark.parametrize(("lengths", "tail"), [((), 2), ((), 20), ((5, 2), 9)])
@pytest.mark.parametrize("moving", [False, True])
def test_an_open_end_is_painted_like_the_rest(tmp_path: Path, lengths: Sequence[int], tail: int, moving: bool) -> None:
    nets, group = make_nets(tmp_path / "b", residual=1.0), make_open_group(lengths, tail)
    options = {"move_noise": True, "dense": True} if moving else {}
    got = render(nets, group, **options)
    conditions = list(group_conditions(group.keys, group.motions, group.fine))
    assert [c.after for c in conditions[1 - tail :]] == [len(lengths)] * (tail - 1)
    planes = pack_planes([c.picture for c in conditions])
    want = unpack_planes(
        nets.decode(nets.encode(pack_planes(list(group.keys)))[[c.after for c in conditions]], planes)[0]
    )
    assert len(got) == group.frames == len(want)
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(got, want, strict=True)) <= 1


def test_guidance_at_an_open_end_pulls_towards_the_key_before(tmp_path: Path) -> None:
    nets, group = make_nets(tmp_path / "b", v_gain=0.5), make_open_group((), 9)
    free, pulled = (render(nets, group, steps=4, guidance=strength, dense=True) for strength in (0.0, 0.5))
    assert not np.array_equal(free, pulled)
    assert np.array_equal(free[-1], pulled[-1]), "where a path ends there would be a key picture"


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_frames_are_the_same_bits_every_time(tmp_path: Path, guidance: float) -> None:
    nets, group = make_nets(tmp_path / "b", v_gain=0.5), make_group((9, 5))
    runs = [render(nets, group, guidance=guidance, dense=True) for _ in range(3)]
    assert all(np.array_equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


def test_seed_and_number_of_the_group_decide_the_noise(tmp_path: Path) -> None:
    nets = make_nets(tmp_path / "b", v_gain=0.0)
    runs = [render(nets, make_group((7,), seed, number)) for seed, number in ((1, 0), (2, 0), (1, 1), (1, 0))]
    same = [[np.array_equal(a, b) for a, b in zip(runs[0], run, strict=True)] for run in runs]
    assert all(same[3])
    assert not any(same[1])
    assert not any(same[2])


def test_texture_is_noise_of_the_energy_that_the_stream_tells(tmp_path: Path) -> None:
    nets, group = make_nets(tmp_path / "b", lack=1e-4), make_group((7, 5))
    plain = render(nets, group, grain=0.0)
    energy = [measured_energy(p) for p in plain]
    told = replace(group, texture=np.full(group.frames, 4 * max(energy), np.float32))
    for share in (0.5, 1.0):
        mean = np.mean([measured_energy(picture) for picture in render(nets, told, grain=share)])
        # rounding to levels adds a twelfth; noise of 96 x 64 px is not exactly of its mean energy, nor quite apart from
        # the picture's own texture
        assert abs(mean / (share * 4 * max(energy) + 1 / 12) - 1) < 0.1
    enough = replace(group, texture=np.full(group.frames, 0.5 * min(energy), np.float32))
    assert all(np.array_equal(a, b) for a, b in zip(render(nets, enough), plain, strict=True))


def test_frames_given_together_get_the_same_texture() -> None:
    rng = np.random.default_rng(3)
    planes = np.zeros((2, 6, H // 2, W // 2), np.float32)
    planes[0, :4] = 0.02 * rng.normal(size=planes[0, :4].shape)  # a sharp frame beside a flat one
    lack = np.full((2, 1, H // 2, W // 2), 1e-4, np.float32)
    white = np.repeat(rng.normal(size=(1, 4, H // 2, W // 2)).astype(np.float32), 2, axis=0)
    shown = planes.copy()
    add_grain(shown, lack, white, np.full(2, 30.0, np.float32), 1.0)
    np.testing.assert_allclose(shown[0] - planes[0], shown[1] - planes[1], atol=1e-6)
    assert not np.array_equal(shown, planes)
    assert np.array_equal(shown[:, 4:], planes[:, 4:])


def test_where_the_stream_is_silent_the_network_says_how_much_texture_is_missing(tmp_path: Path) -> None:
    flat = [np.full((H * 3 // 2, W), 128, np.uint8)] * 2
    group = DecodedGroup(0, 1, flat, [(still_motion("H"), 5)], 0.4)
    variance = 25.0  # squared grey levels
    nets = make_nets(tmp_path / "b", lack=variance / 127.5**2)
    nets.encode = lambda planes: np.zeros((len(planes), 4, *CELLS), np.float32)  # type: ignore[method-assign]
    for picture in render(nets, group, detail=0.0, grain=0.5):
        assert abs(measured_energy(picture) / (variance + 1 / 12) - 1) < 0.1
        assert np.array_equal(picture[H:], flat[0][H:])


def test_levels_of_texture_are_read_back_as_they_were_measured() -> None:
    rng = np.random.default_rng(2)
    pictures = []
    for n in range(70):
        picture = np.full((H * 3 // 2, W), 128, np.uint8)
        picture[:H] = np.clip(128 + (2.0 if n < 32 else 8.0) * rng.standard_normal((H, W)), 0, 255)
        pictures.append(picture)
    levels = measure_texture(pictures)
    assert len(levels) == 3
    energy = read_texture(levels, len(pictures))
    assert energy is not None
    for frame in (0, 10, 50, 69):  # before the first middle and after the last nothing changes
        # half a step of an eighth of an octave is 4.4 %; a frame differs from its run by less than 2 %
        assert abs(energy[frame] / measured_energy(pictures[frame]) - 1) < 0.08
    assert np.all(np.diff(energy) >= 0)
    assert read_texture(b"", 70) is None


def test_a_picture_without_texture_has_the_lowest_level() -> None:
    assert measure_texture([np.full((H * 3 // 2, W), 16, np.uint8)]) == bytes(1)


def test_without_detail_no_noise_is_drawn(tmp_path: Path) -> None:
    nets = make_nets(tmp_path / "b", v_gain=0.0)
    first, second = (render(nets, make_group((7,), seed), detail=0.0) for seed in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_progress_counts_every_step_of_the_group(tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    generator = LatentGenerator(make_nets(tmp_path / "b"), LatentOptions(steps=3))
    list(generator.render_group(make_group((9, 9)), StageClock(), lambda *step: told.append(step)))
    windows = len(plan_windows(17, 8, "chain", 2))
    assert told == [("denoise", n + 1, 3 * windows) for n in range(3 * windows)]


def test_seconds_are_told_by_stage(tmp_path: Path) -> None:
    clock = StageClock()
    list(LatentGenerator(make_nets(tmp_path / "b"), LatentOptions(steps=1)).render_group(make_group((5,)), clock))
    assert set(clock.seconds) == {"conditions", "encode", "denoise", "decode", "grain"}


def test_a_long_group_is_not_prepared_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def count(*arguments: Any) -> Any:
        for stretch in prepare(*arguments):
            made.append(stretch.key)
            yield stretch

    prepare = stretches.prepare_stretches
    monkeypatch.setattr("tgvc.synthesis.latent.prepare_stretches", count)
    frames = LatentGenerator(make_nets(tmp_path / "b"), LatentOptions(steps=1)).render_group(
        make_group((5,) * 40), StageClock()
    )
    next(frames)
    threading.Event().wait(0.5)  # time for threads that do not stop to run on
    assert max(made) < 20  # a few windows of eight frames, two segments each, wait between the stages
    frames.close()


def test_an_error_of_a_network_reaches_the_caller(tmp_path: Path) -> None:
    nets = make_nets(tmp_path / "b")

    def fail(*arguments: Any) -> Any:
        raise RuntimeError("no more memory")

    nets.denoise = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no more memory"):
        render(nets, make_group((5,)))


def shifted_fields(count: int, dx: float, trust: float = 1.0) -> list[FrameFields]:
    """Everything moves to the right by dx cells of 2 px per frame."""
    shape = H // 2, W // 2

    def field(x: float) -> np.ndarray:
        return np.stack([np.full(shape, x, np.float32), np.zeros(shape, np.float32)], axis=-1)

    even = np.full(shape, trust, np.float32)
    return [
        FrameFields(n / (count + 1), field(-dx * n), field(dx * (count + 1 - n)), even, even)
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize("late", [False, True])
def test_points_follow_an_even_motion_from_either_key(late: bool) -> None:
    points = np.array([[20, 30], [41.5, 11]], np.float32)
    paths = follow_points(points, shifted_fields(4, 1.5), from_last=late)
    moved = np.arange(6, dtype=np.float32) - (5 if late else 0)
    assert paths.visible.all()
    np.testing.assert_allclose(paths.xy[..., 0], points[:, :1] + 3 * moved, atol=1e-4)  # sums of float32 below 100
    np.testing.assert_allclose(paths.xy[..., 1], np.repeat(points[:, 1:], 6, axis=1), atol=1e-4)


def test_points_hide_where_the_motion_is_not_trusted() -> None:
    paths = follow_points(np.array([[20, 30]], np.float32), shifted_fields(3, 1.0, trust=0.1))
    assert paths.visible.tolist() == [[True, False, False, False, False]]


def test_sent_trajectories_of_mode_g_are_where_the_stream_says() -> None:
    n = 3
    model = np.zeros((n, 4, 2), np.float32)
    model[:, 0, 0] = [2, 4, 6]
    tracks = np.zeros((1, n, 2), np.float32)
    tracks[0, :, 1] = [1, 2, 3]
    visible = np.array([[True, False, True]])
    motion = Motion(
        "G", model, np.zeros(n, np.float32), np.array([[20, 30]], np.float32), np.zeros(1, bool), tracks, visible
    )
    paths = sent_paths(motion, shifted_fields(2, 1.0), W, H)
    np.testing.assert_allclose(paths.xy[0], [[20, 30], [22, 31], [24, 32], [26, 33]])
    assert paths.visible.tolist() == [[True, True, False, True]]
    assert len(sent_paths(still_motion("F"), shifted_fields(2, 1.0), W, H).xy) == 0


def test_centres_lie_in_the_middle_of_their_cells() -> None:
    centres = cell_centres(2, 3, 8)
    np.testing.assert_array_equal(centres[[0, 1, 3]], [[3.5, 3.5], [11.5, 3.5], [3.5, 11.5]])


def test_noise_moves_with_an_even_motion_by_whole_cells() -> None:
    rng = np.random.default_rng(1)
    fresh, before = rng.normal(size=(4, 3, *CELLS)).astype(np.float32), rng.normal(size=(4, *CELLS)).astype(np.float32)
    carried = carry_noise(fresh, before, shifted_fields(2, 4.0), 8)  # 4 cells of 2 px = 1 latent cell per frame
    for n in range(3):
        np.testing.assert_array_equal(carried[:, n, :, n + 1 :], before[:, :, : -n - 1])
        np.testing.assert_array_equal(carried[:, n, :, : n + 1], fresh[:, n, :, : n + 1])


@pytest.mark.parametrize("zoom", [0.7, 1.0, 1.6])
def test_carried_noise_is_white_because_no_number_is_taken_twice(zoom: float) -> None:
    rng = np.random.default_rng(2)
    fresh, before = rng.normal(size=(4, 1, *CELLS)).astype(np.float32), rng.normal(size=(4, *CELLS)).astype(np.float32)
    y, x = np.mgrid[: H // 2, : W // 2].astype(np.float32)
    field = np.stack([(x - W / 4) * (1 / zoom - 1), (y - H / 4) * (1 / zoom - 1)], axis=-1).astype(np.float32)
    ones = np.ones(field.shape[:2], np.float32)
    fields = [FrameFields(0.5, field, -field, ones, ones)]
    carried = carry_noise(np.concatenate([fresh, fresh], axis=1), before, fields, 8)[:, 0]
    values, counts = np.unique(carried[0], return_counts=True)
    assert counts.max() == 1
    assert set(values) <= set(before[0].flat) | set(fresh[0].flat)
    # of the cells of the key, a zoom shows 1 / zoom^2 at most, and rounding to cells loses some
    taken = np.isin(carried[0], before[0]).mean()
    assert 0.6 * min(1, 1 / zoom**2, zoom**2) < taken <= 1


def test_noise_stands_still_between_neighbouring_keys() -> None:
    rng = np.random.default_rng(3)
    fresh, before = rng.normal(size=(4, 1, *CELLS)).astype(np.float32), rng.normal(size=(4, *CELLS)).astype(np.float32)
    np.testing.assert_array_equal(carry_noise(fresh, before, [], 8)[:, 0], before)


def test_guidance_draws_frames_towards_their_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that stands still, a denoiser that takes noise for signal, other noise in every frame."""
    monkeypatch.setattr(stretches, "carry_noise", lambda fresh, *_: fresh)
    nets = make_nets(tmp_path / "b", v_gain=0.0, constants=tiny_constants(window=16))
    group = make_group((9,))
    still = DecodedGroup(0, 1, [group.keys[0]] * 2, group.motions, 0.4)

    def distance(guidance: float) -> float:
        seen: list[np.ndarray] = []
        nets.decode = lambda latents, planes: (seen.append(latents), (planes, planes[:, :1] * 0))[1]  # type: ignore[method-assign]
        render(nets, still, steps=8, guidance=guidance, dense=True, move_noise=True)
        latents = np.concatenate(seen)
        return float(np.abs(latents[1:-1] - latents[0]).mean() + np.abs(latents[1:-1] - latents[-1]).mean())

    assert distance(0.05) < 0.98 * distance(0.0)


def test_a_faded_base_is_the_cross_fade_of_the_keys(tmp_path: Path) -> None:
    nets, keys = make_nets(tmp_path / "b"), [smooth_picture(n, W, H) for n in (0, 9)]
    flowing = DecodedGroup(0, 1, keys, [(still_motion("F"), 6)], 0.4)
    faded = DecodedGroup(0, 1, keys, [(still_motion("H"), 6)], 0.4)
    shown = [render(nets, flowing, moved=moved) for moved in (False, True)]
    assert all(np.array_equal(a, b) for a, b in zip(shown[0], render(nets, faded), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(*shown, strict=True))


def test_both_generators_show_the_same_frames_of_a_group(tmp_path: Path) -> None:
    group = make_group((5, 2, 8))
    warp = list(WarpGroups(2).render_group(group, StageClock()))
    latent = render(make_nets(tmp_path / "b"), group)
    assert [p.shape for p in latent] == [p.shape for p in warp]
    assert all(np.array_equal(a, b) for a, b in zip(warp, weight_free(group), strict=True))


def restore(nets: Networks, group: DecodedGroup, **options: Any) -> list[Picture]:
    generator = RestoredKeys(LatentGenerator(nets, LatentOptions(**({"steps": 2} | options))))
    return list(generator.render_group(group, StageClock()))


@pytest.mark.parametrize("lengths", [(), (2,), (9, 4), (3, 2, 2, 5)])
def test_restored_keys_move_like_the_coded_ones(tmp_path: Path, lengths: Sequence[int]) -> None:
    nets, group = make_nets(tmp_path / "b"), make_group(lengths)
    got = restore(nets, group)
    keys = render(nets, DecodedGroup(0, 1, group.keys, [(still_motion("F"), 2)] * len(lengths), 0.4))
    fading = DecodedGroup(0, 1, keys, group.motions, 0.4)  # mode H: what is between depends on the keys alone
    assert len(got) == group.frames
    assert all(np.array_equal(a, b) for a, b in zip(got, weight_free(fading), strict=True))


def test_restored_keys_lead_on_to_an_open_end(tmp_path: Path) -> None:
    nets, group = make_nets(tmp_path / "b"), make_open_group((4,), 6)
    got = restore(nets, group)
    keys = render(nets, DecodedGroup(0, 1, group.keys, [(still_motion("F"), 2)], 0.4))
    assert len(got) == group.frames
    assert all(np.array_equal(a, b) for a, b in zip(got, weight_free(replace(group, keys=keys)), strict=True))


def test_motion_between_restored_keys_is_that_of_the_coded_ones(tmp_path: Path) -> None:
    """A decoder that turns pictures upside down would be seen in the flow, if that were measured on its pictures."""
    nets = make_nets(tmp_path / "b")
    keys = [smooth_picture(n, W, H) for n in (0, 6)]
    group = DecodedGroup(0, 1, keys, [(still_motion("F"), 5)], 0.4)
    nets.decode = lambda latents, planes: (np.ascontiguousarray(-planes), planes[:, :1] * 0)  # type: ignore[method-assign]
    between = [pack_planes([p])[0] for p in restore(nets, group)][1:-1]
    straight = [pack_planes([p])[0] for p in weight_free(group)][1:-1]
    # inverting commutes with moving and blending but for rounding to levels, of keys and of frames, and clipping
    assert max(float(np.abs(a + b).mean()) for a, b in zip(between, straight, strict=True)) < 1.5 / 127.5


def test_a_reader_may_leave_early(tmp_path: Path) -> None:
    group = RestoredKeys(LatentGenerator(make_nets(tmp_path / "b"), LatentOptions(steps=2))).render_group(
        make_group((9,) * 6), StageClock()
    )
    next(group)
    group.close()
