"""Profile human through encoder, container and decoder, with networks whose answers are known."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import tgvc
from human_samples import bright_pictures, save_pictures, tiny_human
from tgvc import generators
from tgvc.analysis.cells import measure_cells
from tgvc.backends.base import load_backend
from tgvc.bitstream.affine import AffineReader, encode_affine, quantise_states
from tgvc.bitstream.container import Group, Header, Reader, Writer
from tgvc.bitstream.pictures import find_codec
from tgvc.cli.commands import commands
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.decoder import decode_group
from tgvc.encoder import Encoder
from tgvc.errors import BitstreamError, BundleError, ConfigError
from tgvc.models.bundle import load_bundle
from tgvc.models.human import HumanNetworks
from tgvc.overlap import StageClock
from tgvc.planning.group import Task
from tgvc.planning.human import HumanPlanner
from tgvc.synthesis.human import HumanGroups
from tgvc.types import picture_planes
from tgvc.view import draw_view
from tgvc.view.contents import read_contents
from video_samples import psnr, smooth_picture

FRAMES = 40


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("human") / "bright"
    tiny_human(folder)
    return str(folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("clip") / "bright.mkv", bright_pictures(FRAMES))


@pytest.fixture(scope="module")
def coded(clip: Path, bundle: str):
    """A stream, its report and the frames that the encoder expects of the decoder."""
    target, expected = io.BytesIO(), []
    config = EncoderConfig(profile="human", bundle=bundle, kbps=8.0, effort=1)
    report = Encoder(config, threads=1).encode(
        str(clip), target, on_group=lambda plan, _: expected.extend(plan.reconstruction)
    )
    return target.getvalue(), report, expected


def networks(bundle: str) -> HumanNetworks:
    return HumanNetworks(load_bundle(bundle), load_backend("onnxruntime", threads=1), 6)


def frames_of(data: bytes, **fields) -> list[np.ndarray]:
    return [shown.picture for shown in tgvc.decode_frames(io.BytesIO(data), **fields)]


# ---- encoder and decoder agree


def test_the_decoder_shows_what_the_encoder_expected(coded, bundle):
    data, report, expected = coded
    shown = frames_of(data, generator="human", bundle=bundle)
    assert len(shown) == FRAMES == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(shown, expected, strict=True))
    assert report.modes == {"A": 1}
    assert report.layers["motion"] > 0


def test_the_light_comes_through_the_states(coded, bundle):
    data, _, _ = coded
    light = [float(p.mean()) for p in frames_of(data, generator="human", bundle=bundle)]
    wanted = [float(p.mean()) for p in bright_pictures(FRAMES)]
    assert np.ptp(wanted) > 40
    # a step of a sixteenth is 8 levels, of which a dead zone leaves two thirds; lines between states and the key
    # picture have an error of their own
    assert np.abs(np.subtract(light, wanted)).max() < 9


def test_the_target_is_met_from_below_and_nearly_used(coded):
    data, report, _ = coded
    assert len(data) == report.bytes <= report.target_bytes
    assert report.bytes >= 0.9 * report.target_bytes


def test_a_higher_rate_is_never_worse(clip, bundle):
    values = []
    for kbps in (4.0, 16.0):
        config = EncoderConfig(profile="human", bundle=bundle, kbps=kbps, effort=1, frames=24)
        values.append(Encoder(config, threads=1).encode(str(clip), io.BytesIO()).psnr_y)
    assert values[1] > values[0] + 1


@pytest.mark.parametrize("size", [(80, 48), (64, 112)])
def test_sizes_that_the_networks_do_not_take_are_continued_and_cut_back(size, bundle):
    nets = networks(bundle)
    picture = smooth_picture(3, *size)
    known = nets.know(picture)
    state = nets.states(picture, [picture], measure_cells)[0]
    (same,) = nets.paint(known, state, state[None])
    assert same.shape == picture.shape
    assert np.array_equal(same, picture)
    brighter = state + np.array([10 / 127.5, 0], np.float32)
    (painted,) = nets.paint(known, state, brighter[None])
    assert np.abs(painted.astype(int) - np.minimum(picture.astype(int) + 10, 255)).max() <= 1


# ---- one frame at a time


def test_frames_come_one_by_one_and_need_nothing_that_follows(coded, bundle):
    data, _, expected = coded
    reader = Reader(io.BytesIO(data))
    group = next(iter(reader))
    decoded = decode_group(group, reader.header, StageClock())
    made: list[int] = []

    class Counting(HumanNetworks):
        def paint(self, *args):
            made.append(1)
            return super().paint(*args)

    opened = Counting(load_bundle(bundle), load_backend("onnxruntime", threads=1), 6)
    with closing(HumanGroups(lambda _: opened).render_group(decoded, StageClock())) as frames:
        for n, picture in zip(range(5), frames, strict=False):
            assert len(made) == n + 1
            assert np.array_equal(picture, expected[n])


def test_the_first_frames_are_known_from_the_first_bytes_of_the_group(coded, bundle):
    data, _, expected = coded
    reader = Reader(io.BytesIO(data))
    group = next(iter(reader))
    decoded = decode_group(group, reader.header, StageClock())
    half = AffineReader(group.motion[: (len(group.motion) + 1) // 2], group.segment_lengths)
    states: list[list[int]] = []

    def read() -> None:
        states.extend(state for _, _, state in half)

    with pytest.raises(BitstreamError):  # which says that the rest is missing, after what is there
        read()
    assert 0.2 * FRAMES / half.decimation < len(states)
    nets = networks(bundle)
    known = nets.know(decoded.keys[0])
    for n in range(len(states)):
        frame = min(n * half.decimation, FRAMES - 1)
        (painted,) = nets.paint(known, decoded.states.runs[0][0], decoded.states.runs[0][frame][None])
        assert np.array_equal(painted, expected[frame])


def test_seeking_shows_the_same_frames(coded, bundle):
    data, _, expected = coded
    shown = frames_of(data, generator="human", bundle=bundle, start=0.8, end=1.0)
    assert len(shown) == 5
    assert all(np.array_equal(a, b) for a, b in zip(shown, expected[20:25], strict=True))


def test_a_trimmed_stream_shows_the_same_frames(coded, bundle):
    data, _, expected = coded
    part = io.BytesIO()
    tgvc.trim(io.BytesIO(data), part, start=0.4, end=0.6)
    shown = frames_of(part.getvalue(), generator="human", bundle=bundle)
    assert all(np.array_equal(a, b) for a, b in zip(shown, expected[10:15], strict=True))


def test_a_truncated_stream_is_one_error_and_no_file(coded, bundle, tmp_path):
    data, _, _ = coded
    for size in (len(data) - 1, len(data) // 2):
        with pytest.raises(BitstreamError):
            tgvc.decode(io.BytesIO(data[:size]), tmp_path / "out.y4m", generator="human", bundle=bundle)
        assert not (tmp_path / "out.y4m").exists()


# ---- which generator paints what


def test_the_stream_chooses_the_generator(coded, bundle, monkeypatch, tmp_path):
    data, _, expected = coded
    monkeypatch.setitem(generators.BUNDLES, "human", bundle)
    report = tgvc.decode(io.BytesIO(data), tmp_path / "out.y4m")
    assert (report.generator, report.bundle, report.frames) == ("human", "bright 1", FRAMES)
    assert {"key", "render"} <= set(report.stages)
    assert np.array_equal(frames_of(data)[7], expected[7])


@pytest.mark.parametrize("generator", ["warp", "latent"])
def test_generators_without_these_networks_refuse_states_in_one_line(coded, generator):
    data, _, _ = coded
    with pytest.raises(ConfigError, match="states of its networks") as caught:
        frames_of(data, generator=generator)
    assert "\n" not in str(caught.value)


def test_the_generator_human_refuses_trajectories(clip, bundle):
    target = io.BytesIO()
    tgvc.encode(str(clip), target, kbps=20, effort=0, frames=12, spacing=4)
    with pytest.raises(ConfigError, match="expected warp, latent or flow, or no --generator: this motion is traj"):
        frames_of(target.getvalue(), generator="human", bundle=bundle)


def test_a_bundle_of_other_states_is_refused(coded, tmp_path):
    data, _, _ = coded
    tiny_human(tmp_path / "other", channels=2)
    with pytest.raises(ConfigError, match="states of 2 parameters: bundle bright 1 paints from 4"):
        frames_of(data, generator="human", bundle=str(tmp_path / "other"))


def test_networks_that_have_learnt_something_else_are_refused(coded, bundle, tmp_path):
    data, _, _ = coded
    later = Path(shutil.copytree(bundle, tmp_path / "later")) / "manifest.json"
    later.write_text(later.read_text().replace('"revision": "1"', '"revision": "2"'))
    with pytest.raises(
        ConfigError, match=r"bundle bright 2: number \d+, these states are of networks number \d+; give"
    ):
        frames_of(data, generator="human", bundle=str(later.parent))


def test_a_bundle_of_another_kind_is_refused(coded):
    data, _, _ = coded
    with pytest.raises(BundleError, match="expected 'human'"):
        frames_of(data, generator="human", bundle="nano")


@pytest.mark.parametrize(
    "fields", [{"steps": 2}, {"detail": 0.5}, {"guidance": 1.0}], ids=lambda fields: next(iter(fields))
)
def test_options_of_other_generators_are_refused(fields):
    with pytest.raises(ConfigError, match="expected generator=latent beside it: human does not use it"):
        DecoderConfig(generator="human", **fields)
    with pytest.raises(ConfigError, match="the default generator does not use it"):
        DecoderConfig(**fields)


def test_options_of_the_profile_are_refused_for_others():
    with pytest.raises(ConfigError, match="profile=human beside it"):
        EncoderConfig(bundle="human-nano")
    with pytest.raises(ConfigError, match="human does not use it"):
        EncoderConfig(profile="human", spacing=4)


def test_the_commands_encode_tell_and_decode(clip, bundle, tmp_path):
    stream, film = str(tmp_path / "a.tgvc"), str(tmp_path / "a.y4m")
    run = CliRunner().invoke
    arguments = ["encode", str(clip), "-o", stream, "--profile", "human", "--bundle", bundle, "--kbps", "8"]
    done = run(commands, [*arguments, "--effort", "0", "--frames", "12"])
    assert done.exit_code == 0, done.output
    told = json.loads(run(commands, ["info", stream, "--json"]).output)
    assert told["profile"] == "human"
    assert told["groups"][0]["states"]["parameters"] == 2
    done = run(commands, ["decode", stream, "-o", film, "--generator", "human", "--bundle", bundle])
    assert done.exit_code == 0, done.output
    assert "generator human" in done.output
    done = run(commands, ["decode", stream, "-o", film, "--generator", "warp"])
    assert done.exit_code == 1
    assert done.output.count("\n") == 1


# ---- what the planner settles


def test_a_new_key_picture_comes_when_states_no_longer_tell_the_picture(bundle):
    first, second = bright_pictures(20), bright_pictures(20)
    turned = [
        np.ascontiguousarray(p[:, ::-1]) for p in second
    ]  # another picture of the same light: no state can say so
    task = Task(first + turned, 4000.0)
    plan = HumanPlanner(2, 1, networks(bundle)).plan(task)
    assert len(plan.keys) >= 2
    assert min(abs(key - 20) for key in plan.keys[1:]) <= 4
    assert plan.fits


def test_constant_quality_refreshes_where_frames_fade(bundle):
    pictures = bright_pictures(20) + [np.ascontiguousarray(p[:, ::-1]) for p in bright_pictures(20)]
    plan = HumanPlanner(1, 1, networks(bundle)).plan(Task(pictures, None, 30.0))
    assert plan.keys == (0, 20)
    assert plan.quality == 30.0
    alone = HumanPlanner(1, 1, networks(bundle)).plan(Task(pictures[:20], None, 30.0))
    assert alone.keys == (0,)


def test_a_shot_of_one_frame_is_a_key_picture(bundle, tmp_path):
    clip = save_pictures(tmp_path / "one.mkv", bright_pictures(1))
    target = io.BytesIO()
    tgvc.encode(str(clip), target, profile="human", bundle=bundle, quality=30.0)
    (group,) = Reader(io.BytesIO(target.getvalue()))
    assert (group.kind, group.frames) == ("tracks", 1)
    (shown,) = frames_of(target.getvalue(), generator="human", bundle=bundle)
    assert psnr(shown, bright_pictures(1)[0]) > 25


def test_plans_do_not_depend_on_the_number_of_threads(bundle):
    task = Task(bright_pictures(16), 600.0)
    plans = [HumanPlanner(1, threads, networks(bundle)).plan(task) for threads in (1, 2)]
    assert plans[0].pictures == plans[1].pictures
    assert plans[0].motion == plans[1].motion


def test_key_pictures_are_known_once(bundle):
    nets = networks(bundle)
    known = nets.know(smooth_picture(0, 64, 64))
    assert not any(array.flags.writeable for array in known.tensors.values())
    luma = picture_planes(smooth_picture(0, 64, 64))[0]
    assert known.tensors["picture"].shape == (1, 6, luma.shape[0] // 2, luma.shape[1] // 2)


# ---- through a pipe


class Pipe(io.RawIOBase):
    """A stream that cannot seek, gives what is asked for, and counts it."""

    def __init__(self, data: bytes) -> None:
        self._data, self.given = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        piece = self._data[self.given : self.given + size]
        self.given += len(piece)
        return piece


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("human") / "wide"
    tiny_human(folder, channels=8)
    return str(folder)


@pytest.fixture(scope="module")
def piped(wide: str):
    """A stream whose states take more than its key pictures, and its frames."""
    pictures, nets = bright_pictures(FRAMES), networks(wide)
    states = nets.states(pictures[0], pictures, measure_cells)
    states[:, 1:] = np.random.default_rng(0).normal(0, 1, (FRAMES, 15))  # which nothing is painted from
    runs, number = [states[:25], states[25:]], nets.bundle.number
    motions = [quantise_states(runs, step=n, decimation=d, networks=number) for n, d in ((2, 1), (10, 3))]
    key = find_codec(0).encode([pictures[0], pictures[25]], 60.0, 8)
    target = io.BytesIO()
    writer = Writer(target, Header(width=96, height=64, source_width=96, source_height=64, fps=Fraction(25), profile=4))
    for motion in motions:
        base = {"codec": 0, "key_width": 96, "key_height": 64, "kind": "affine", "pictures": key.payload}
        writer.write(Group(frames=FRAMES, keys=(0, 25), motion=encode_affine(motion), **base))
    writer.finish()
    data = target.getvalue()
    return data, frames_of(data, generator="human", bundle=wide)


@pytest.mark.parametrize("generator", [None, "human"])
def test_frames_are_shown_while_their_group_is_still_coming(piped, wide, generator, monkeypatch):
    data, expected = piped
    monkeypatch.setitem(generators.BUNDLES, "human", wide)
    fields = {"generator": generator, "bundle": wide} if generator else {}
    pipe, given = Pipe(data), []
    with closing(tgvc.decode_frames(pipe, **fields)) as frames:
        for shown, wanted in zip(frames, expected, strict=True):
            assert np.array_equal(shown.picture, wanted)
            given.append(pipe.given)
    first, second = (len(group.motion) for group in Reader(io.BytesIO(data)))
    assert first > 700
    assert given[0] < len(data) - first - second + 60  # the first frame waits for its key pictures and its own state
    assert np.diff(given[:FRAMES]).max() < 60  # bytes: every other for its own state alone, 16 numbers of 13 bits
    assert given[-1] < pipe.given == len(data)  # the checksum comes last


def test_damage_in_a_pipe_is_told_before_the_next_group(piped, wide):
    data, expected = piped
    hurt = bytearray(data)
    hurt[-60] ^= 1  # in the states of the second group, or in what follows them
    shown = []

    def show() -> None:
        shown.extend(frame.picture for frame in tgvc.decode_frames(Pipe(bytes(hurt)), generator="human", bundle=wide))

    with pytest.raises(BitstreamError):
        show()
    assert len(shown) >= FRAMES
    assert all(np.array_equal(a, b) for a, b in zip(shown[:FRAMES], expected, strict=False))


@pytest.mark.parametrize("size", [300, 500, 703, 801])
def test_a_pipe_that_breaks_off_shows_what_came_and_says_so(piped, wide, size):
    data, expected = piped
    shown: list[np.ndarray] = []

    def show() -> None:
        shown.extend(f.picture for f in tgvc.decode_frames(Pipe(data[:size]), generator="human", bundle=wide))

    with pytest.raises(BitstreamError):
        show()
    assert len(shown) > 0
    assert all(np.array_equal(a, b) for a, b in zip(shown, expected, strict=False))


def test_the_drawing_shows_states_as_motion(coded):
    data, report, _ = coded
    contents = read_contents(io.BytesIO(data))
    (piece,) = contents.pieces
    assert (piece.mode, piece.first, piece.last, piece.tracks) == ("A", 0, FRAMES - 1, 0)
    assert contents.layers == {name: report.layers[name] for name in contents.layers}
    assert draw_view(io.BytesIO(data)).width == 1600
