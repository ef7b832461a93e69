"""The generator of kind interpolation around networks whose answers are known: what is shown when, what pulls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import MakePicture
from interpolation_samples import CONSTANTS, KnownNetworks, changed
from test_bundle_kinds import write
from tgvc.backends.spec import TensorSpec
from tgvc.devices.host import HostDevice
from tgvc.devices.scratch import Scratch
from tgvc.diffusion.noise import NoiseSource
from tgvc.diffusion.schedule import make_schedule
from tgvc.errors import ConfigError
from tgvc.models.bundle import load_bundle
from tgvc.models.clip_text import tokenise_prompts
from tgvc.models.interpolation import InterpolationNetworks, queued_sampler
from tgvc.models.rgb import from_rgb, to_rgb
from tgvc.overlap import StageClock
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.interpolation.conditioning import Conditioner
from tgvc.synthesis.interpolation.generator import InterpolationGenerator, InterpolationOptions, pad_pictures
from tgvc.synthesis.interpolation.segment import Segment, SegmentSampler
from tgvc.synthesis.interpolation.stages import nearest_slot, plan_stages, stretch_tracks
from tgvc.synthesis.loop import Progress
from tgvc.types import Motion, Picture, join_planes, still_motion
from tgvc_kernels import ops

PROMPTS = tokenise_prompts(["", ""])
# Half a grey level of chroma and of luma, seen through the colour matrix: two levels of 255 in -1..1
ROUNDING = 2 * 2 / 255


def grey(level: int, size: tuple[int, int] = (192, 128)) -> Picture:
    width, height = size
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return join_planes(np.full((height, width), level, np.uint8), chroma, chroma)


def generator(nets: KnownNetworks, **options: Any) -> InterpolationGenerator:
    values = {"steps": 3, "guidance": 0.0, "scale": 2.0, "rescale": 0.0}
    return InterpolationGenerator(nets, InterpolationOptions(**(values | options)), PROMPTS, {"bundle": "known 1"})


def render(nets: KnownNetworks, group: DecodedGroup, **options: Any) -> list[Picture]:
    return list(generator(nets, **options).render_group(group, StageClock()))


def fading(lengths: list[int], levels: list[int], seed: int = 1, **changes: Any) -> DecodedGroup:
    size = changes.pop("size", (192, 128))
    keys = [grey(level, size) for level in levels]
    return DecodedGroup(0, seed, keys, [(still_motion("H"), length) for length in lengths], 0.4, **changes)


def moving(length: int, shift: float = 24.0) -> Motion:
    """Mode G: the camera stands still, three points move to the right."""
    steps = np.linspace(0, shift, length)[1:]
    anchors = np.array([[40, 40], [80, 60], [60, 90]], np.float32)
    tracks = np.zeros((3, length - 1, 2), np.float32)
    tracks[..., 0] = steps
    model, phase = np.zeros((length - 1, 4, 2), np.float32), np.zeros(length - 1, np.float32)
    return Motion("G", model, phase, anchors, np.zeros(3, bool), tracks, np.ones((3, length - 1), bool))


def luma(picture: Picture) -> float:
    height = picture.shape[0] * 2 // 3
    return float(picture[:height].mean())


def test_a_picture_survives_red_green_and_blue(make_picture: MakePicture) -> None:
    picture = make_picture()
    for matrix in (1, 6, 9):
        rgb = to_rgb([picture, picture], matrix)
        assert rgb.shape == (2, 3, 128, 192)
        assert rgb.dtype == np.float32
        assert np.abs(rgb).max() <= 1
    flat = np.zeros((1, 3, 16, 16), np.float32)
    flat[0, 0], flat[0, 2] = 0.5, -0.25
    for matrix in (1, 4, 6, 7, 9):
        assert np.abs(to_rgb(from_rgb(flat, matrix), matrix) - flat).max() < ROUNDING


def test_red_is_red_and_blue_is_blue() -> None:
    # BT.601, limited range: red is 81, 90, 240 and blue 41, 240, 110
    for colour, levels in (((1, -1, -1), (81, 90, 240)), ((-1, -1, 1), (41, 240, 110)), ((1, 1, 1), (235, 128, 128))):
        picture = from_rgb(np.full((1, 3, 4, 4), 1, np.float32) * np.array(colour, np.float32)[:, None, None], 6)[0]
        assert (picture[0, 0], picture[4, 0], picture[5, 0]) == levels


@pytest.mark.parametrize("lengths", [[3], [4, 2, 9], [16], [17], [23, 16], [30], [31], [45]])
def test_every_length_gives_all_its_frames_in_order_of_time(lengths: list[int]) -> None:
    levels = [40, 200, 90, 160][: len(lengths) + 1]
    group = fading(lengths, levels)
    pictures = render(KnownNetworks(), group)
    assert len(pictures) == group.frames
    first = 0
    for length, early, late in zip(lengths, levels, levels[1:], strict=False):
        found = np.array([luma(p) for p in pictures[first : first + length]])
        first += length - 1
        assert found[0] == early
        assert found[-1] == late
        if length <= 16:
            # a frame of a stretched segment is off by half a slot of fifteen at most; one level is rounding
            slack = abs(late - early) * 0.5 / 15 if length < 16 else 0
            assert np.abs(found - np.linspace(early, late, length)).max() <= slack + 1
        else:  # slots of a stage are not evenly spread in time, which these networks do not know
            assert (np.sort([early, late])[0] <= found).all()
            assert (found <= np.sort([early, late])[1]).all()


def test_key_pictures_are_shown_as_they_were_coded(make_picture: MakePicture) -> None:
    keys = [make_picture(seed=n) for n in range(4)]
    group = DecodedGroup(0, 1, keys, [(still_motion("H"), n) for n in (5, 2, 18)], 0.4)
    pictures = render(KnownNetworks(), group)
    for frame, key in zip((0, 4, 5, 22), keys, strict=True):
        assert np.array_equal(pictures[frame], key)


def test_the_same_seed_gives_the_same_frames_and_another_seed_others() -> None:
    for options in ({}, {"parity": True}):
        nets = KnownNetworks(blur=0.5)
        first = render(nets, fading([20, 7], [50, 90, 60]), **options)
        again = render(nets, fading([20, 7], [50, 90, 60]), **options)
        other = render(nets, fading([20, 7], [50, 90, 60], seed=2), **options)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not np.array_equal(first[5], other[5])
        assert not np.array_equal(first[22], other[22])


@pytest.mark.parametrize("size", [(192, 128), (208, 112), (64, 64), (336, 192)])
def test_sizes_that_the_networks_do_not_take_are_padded_and_cut_back(size: tuple[int, int]) -> None:
    nets = KnownNetworks()
    pictures = render(nets, fading([5], [60, 120], size=size))
    width, height = size
    assert {p.shape for p in pictures} == {(height * 3 // 2, width)}
    assert all(np.ptp(p[:height]) == 0 for p in pictures)
    x = nets.asked[0]["x"]
    assert x.shape[3] % 8 == x.shape[4] % 8 == 0
    assert x.shape[3] * 8 - height in range(64)


def test_padding_repeats_the_last_row_and_column() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(1, 3, 48, 80)).astype(np.float32)
    padded = pad_pictures(pictures, 64)
    assert padded.shape == (1, 3, 64, 128)
    assert np.array_equal(padded[..., :48, :80], pictures)
    assert (padded[..., 48:, :80] == pictures[..., -1:, :]).all()
    assert (padded[..., :, 80:] == padded[..., :, 79:80]).all()


def test_both_runs_are_one_call_and_differ_in_prompt_and_picture_only() -> None:
    nets = KnownNetworks()
    prompts = np.stack([PROMPTS[0] + (np.arange(77) == 1), PROMPTS[1]])
    options = InterpolationOptions(steps=2, guidance=0.0, scale=3.0, fs=7)
    list(InterpolationGenerator(nets, options, prompts, {}).render_group(fading([5], [60, 120]), StageClock()))
    assert len(nets.asked) == 2
    for call in nets.asked:
        assert np.array_equal(call["x"][0], call["x"][1])
        assert call["fs"].tolist() == [7, 7]
        assert call["text"][0, 1, 0] == call["text"][1, 1, 0] + 1
        assert call["image"].shape == (2, 16, 2, 6)
        assert not np.array_equal(call["image"][0], call["image"][1])
    assert [call["t"][0] for call in nets.asked] == [999, 499]


def test_without_guidance_of_the_condition_there_is_one_run() -> None:
    nets = KnownNetworks()
    render(nets, fading([5], [60, 120]), scale=1.0)
    assert {call["x"].shape[0] for call in nets.asked} == {1}
    assert nets.texts == 1


def test_the_prompt_is_read_once_for_all_segments() -> None:
    nets = KnownNetworks()
    render(nets, fading([5, 6, 7], [60, 120, 60, 120]))
    assert nets.texts == 2


@pytest.mark.parametrize("parity", [False, True])
def test_the_context_is_described_once_per_segment_and_time_once_per_run_of_the_loop(parity: bool) -> None:
    nets = KnownNetworks()
    render(nets, fading([5, 20, 7], [60, 120, 60, 120]), parity=parity)  # the second segment takes two runs
    assert nets.described == ["context", "time", "context", "time", "time", "context", "time"]
    assert [call["t"][0] for call in nets.asked] == 4 * [999, 666, 332]


def test_frames_share_all_image_tokens_where_they_are_made_for_another_number() -> None:
    nets = KnownNetworks()
    conditioner = Conditioner(nets, PROMPTS, guided=True)
    picture = np.zeros((3, 64, 64), np.float32)
    assert conditioner.describe(picture, 16).image.shape == (2, 16, 2, 6)
    assert conditioner.describe(picture, 5).image.shape == (2, 5, 32, 6)


def test_key_latents_are_samples_with_the_variance_cut() -> None:
    class Unsure(KnownNetworks):
        def encode(self, pictures: np.ndarray) -> np.ndarray:
            moments = super().encode(pictures)
            moments[:, 4:] = 2 * np.log(3)
            return moments

    rng = np.random.default_rng(1)
    pictures = rng.uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32)
    noise = rng.normal(size=(4, 2, 8, 8)).astype(np.float32)
    sure, unsure = (Conditioner(nets, PROMPTS, guided=True) for nets in (KnownNetworks(), Unsure()))
    mean = sure.key_latents(pictures, noise)
    assert np.abs(mean - 0.5 * KnownNetworks().encode(pictures)[:, :4].swapaxes(0, 1)).max() < 1e-6
    assert np.allclose(unsure.key_latents(pictures, noise) - mean, 0.5 * 3 * noise, atol=1e-5)


def test_the_unet_is_shown_both_ends_and_nothing_between() -> None:
    _, nets = _sampled(16, parity=False)
    ends = np.random.default_rng(3).normal(size=(4, 2, 16, 24)).astype(np.float32)
    for call in nets.asked:
        known = call["x"][0, 4:]
        assert np.array_equal(known[:, [0, -1]], ends)
        assert not known[:, 1:-1].any()


@pytest.mark.parametrize("length", range(3, 16))
def test_a_stretched_segment_shows_different_slots_in_order(length: int) -> None:
    slots = [nearest_slot(frame, length, 16) for frame in range(length)]
    assert slots[0] == 0
    assert slots[-1] == 15
    assert (np.diff(slots) >= 1).all()
    course, stages = plan_stages(np.zeros((0, length, 2), np.float32), np.zeros((0, length), bool), 16)
    assert course.xy.shape == (0, 16, 2)
    assert len(stages) == 1
    assert stages[0].shown == {frame: slots[frame] for frame in range(1, length - 1)}


def test_tracks_of_a_stretched_segment_keep_their_speed_and_their_gaps() -> None:
    xy = np.stack([np.arange(6.0) * 3, np.full(6, 7.0)], axis=-1)[None].astype(np.float32)
    visible = np.array([[True, True, True, False, True, True]])
    stretched, seen = stretch_tracks(xy, visible, 16)
    assert np.allclose(stretched[0, :, 0], np.linspace(0, 15, 16), atol=1e-5)
    assert np.allclose(stretched[0, :, 1], 7)
    # frame 3 lies at slot 9: slots 7 to 11 touch it
    assert np.flatnonzero(~seen[0]).tolist() == [7, 8, 9, 10, 11]
    same, all_seen = stretch_tracks(xy, visible, 6)
    assert np.array_equal(same, xy)
    assert np.array_equal(all_seen, visible)


def _sampled(
    length: int, *, parity: bool, strength: float = 1.0, tracks: int = 3, **changes: Any
) -> tuple[dict[int, np.ndarray], KnownNetworks]:
    """Latents of a segment whose keys are noise, with networks that believe in x."""
    nets = KnownNetworks(constants=changed(**changes), blur=0.7)
    rng = np.random.default_rng(3)
    ends = rng.normal(size=(4, 2, 16, 24)).astype(np.float32)
    xy = np.zeros((tracks, length, 2), np.float32)
    xy[..., 0] = 40 + np.arange(length) * 2
    xy[..., 1] = 50 + 20 * np.arange(tracks)[:, None]
    course, stages = plan_stages(xy, np.ones((tracks, length), bool), 16, parity=parity)
    schedule = make_schedule(4, eta=1.0, dynamic=nets.constants.dynamic, strength=strength, parity=parity)
    device = HostDevice()
    scratch = Scratch(device, device.make_stream())
    sampler = SegmentSampler(
        queued_sampler(nets, device), scratch, schedule, fs=5, scale=1.0, rescale=0.0, cell_px=8, parity=parity
    )
    conditioner = Conditioner(nets, PROMPTS, guided=False)
    condition = conditioner.describe(np.zeros((3, 64, 64), np.float32), 16)
    latents = sampler.sample(Segment(ends, course, stages, 0), condition, NoiseSource(1), Progress(None, 0))
    return dict(latents), nets


@pytest.mark.parametrize("length", [9, 16, 24, 30])
@pytest.mark.parametrize("parity", [False, True])
def test_trajectories_change_latents_around_them_and_none_far_away(length: int, parity: bool) -> None:
    guided, _ = _sampled(length, parity=parity)
    free, _ = _sampled(length, parity=parity, tracks=0)
    assert sorted(guided) == sorted(free) == list(range(1, length - 1))
    apart = [float(np.abs(guided[f] - free[f]).max()) for f in guided]
    assert max(apart) > 0.05
    # nothing pulls far away from the tracks
    assert all(np.array_equal(guided[f][:, 14:, :3], free[f][:, 14:, :3]) for f in (1, 2))


def test_later_stages_hold_what_earlier_ones_have_made() -> None:
    latents, nets = _sampled(20, parity=False)
    second = nets.asked[4:]
    assert len(second) == 4
    # slot 0 of the second stage is frame 4: known from the first stage, and shown to the UNet as such
    assert all(np.array_equal(call["x"][0, 4:, 0], latents[4]) for call in second)
    assert not np.array_equal(second[0]["x"][0, :4, 0], second[1]["x"][0, :4, 0])


@pytest.mark.parametrize("length", [9, 25])
def test_the_dynamic_rescale_leaves_no_trace_but_in_the_published_form(length: int) -> None:
    nets = KnownNetworks(constants=changed(dynamic=True))
    # grey at 126 of 16..235 is 0 in -1..1: a level far from it shows a factor
    group = fading([length], [200, 200])
    assert max(abs(luma(p) - 200) for p in render(nets, group)) <= 1
    published = [luma(p) for p in render(nets, group, parity=True, eta=0.0)]
    # the last timestep of three is 332, and its level 1 - 0.3 * 332 / 399 stays; the noise of 1 - abar[0] blurs it
    assert published[1] == pytest.approx(125.5 + (200 - 125.5) * 0.7504, abs=3)


def test_the_published_second_stage_begins_at_what_the_first_one_showed_and_repeats_the_rest() -> None:
    latents, nets = _sampled(20, parity=True)
    second = nets.asked[4:]
    first_known = second[0]["x"][0, 4:, 0]
    assert not np.array_equal(first_known, latents[4])  # slot 0 is made anew, and shown
    assert all(np.array_equal(call["x"][0, 4:, 0], first_known) for call in second)


def test_the_published_second_stage_is_pulled_towards_what_was_still_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    guided_step = ops.guided_step

    def watched(*arguments: Any) -> Any:
        pull = arguments[8]
        if pull is not None and pull.outside is not None:
            seen.append(np.float32(pull.outside_level) * pull.outside[:, 0])
        return guided_step(*arguments)

    monkeypatch.setattr(ops, "guided_step", watched)
    _, nets = _sampled(20, parity=True)
    states = [call["x"][0, :4, 0] for call in nets.asked[:4]]
    assert len(seen) == 4
    assert all(np.array_equal(a, b) for a, b in zip(seen, states, strict=True))
    seen.clear()
    _sampled(20, parity=False, dynamic=True)
    assert len(seen) == 3  # none before the first step
    assert np.allclose(seen[0], seen[-1] * 0.7 / (1 - 0.3 * 249 / 399), atol=1e-6)


def test_the_published_form_ends_on_noise_and_the_corrected_one_on_the_estimate() -> None:
    for parity, noisy in ((False, False), (True, True)):
        nets = KnownNetworks()
        group = fading([16], [100, 100])
        pictures = render(nets, group, parity=parity, scale=1.0)
        spread = max(float(np.ptp(p[:128])) for p in pictures[1:-1])
        assert (spread > 1) == noisy


def test_a_segment_beyond_the_published_arrays_is_refused_before_anything_is_painted() -> None:
    nets = KnownNetworks()
    frames = generator(nets, parity=True).render_group(fading([5, 31], [60, 120, 60]), StageClock())
    with pytest.raises(ConfigError, match="segment of 31 frames: the published form makes up to 30"):
        next(frames)
    assert nets.asked == []


def test_progress_counts_all_steps_of_all_stages() -> None:
    told: list[tuple[str, int, int | None]] = []
    frames = generator(KnownNetworks()).render_group(
        fading([5, 20, 2], [60, 120, 60, 60]), StageClock(), lambda *state: told.append(state)
    )
    list(frames)
    assert told == [("denoise", n, 9) for n in range(1, 10)]


def test_trajectories_of_the_stream_reach_the_sampler() -> None:
    keys = [grey(90), grey(150)]
    results = []
    for guidance in (0.0, 1.1):
        group = DecodedGroup(0, 1, keys, [(moving(12), 12)], 0.4)
        results.append(render(KnownNetworks(blur=0.7), group, guidance=guidance))
    changes = [np.abs(a.astype(int) - b.astype(int)).max() for a, b in zip(*results, strict=True)]
    assert changes[0] == changes[-1] == 0
    assert max(changes) > 3


@pytest.mark.parametrize("batch", [1, 2, "B"])
def test_a_unet_made_for_one_run_is_called_twice(batch: int | str, tmp_path: Path) -> None:
    bundle = load_bundle(write(tmp_path / "made", CONSTANTS))
    calls: list[int] = []

    class Doubling:
        record = replace(bundle.nets["unet"], inputs=(TensorSpec("x", "float32", (batch, 8, "T", "h", "w")),))

        def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
            calls.append(len(inputs["x"]))
            assert {len(value) for value in inputs.values()} == {len(inputs["x"])}
            return {"v": 2 * inputs["x"][:, :4]}

    class OneNet:
        def load(self, record: object) -> Doubling:
            return Doubling()

    nets = InterpolationNetworks(bundle, OneNet())  # type: ignore[arg-type]
    x = np.arange(2 * 8 * 3 * 4, dtype=np.float32).reshape(2, 8, 3, 2, 2)
    given = np.zeros((2, 1), np.float32)
    v = nets.predict(x, given, given, given)
    assert np.array_equal(v, 2 * x[:, :4])
    assert calls == ([1, 1] if batch == 1 else [2])


def test_facts_say_what_ran() -> None:
    told = {"generator": "latent", "steps": 3, "paint": "all", "device": "cpu", "bundle": "known 1", "solver": "ddim"}
    assert generator(KnownNetworks()).facts == told
    assert CONSTANTS.window == 16
