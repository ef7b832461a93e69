"""The codec from end to end: what goes in, what is stored, what comes out."""

from __future__ import annotations

import io
import json
import os
import threading
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import tgvc
from tgvc.bitstream.container import Header, Reader, Writer
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.decoder import Decoder
from tgvc.encoder import Encoder, make_group
from tgvc.errors import BitstreamError, ConfigError, TgvcError
from tgvc.types import VideoInfo, join_planes
from tgvc.video import VideoWriter, open_video

SMALL = (128, 96)


def write_clip(pictures, path, fps=Fraction(25), times=None):
    height, width = pictures[0].shape[0] * 2 // 3, pictures[0].shape[1]
    info = VideoInfo(width=width, height=height, source_width=width, source_height=height, fps=fps)
    codec = {"codec": "ffv1"} if path.suffix == ".mkv" else {}
    with VideoWriter(path, info, **codec) as writer:
        for n, picture in enumerate(pictures):
            writer.write(picture, n / fps if times is None else times[n])
    return path


def flat(level, size=SMALL):
    width, height = size
    return join_planes(
        np.full((height, width), level, np.uint8), *(np.full((height // 2, width // 2), 128, np.uint8) for _ in "uv")
    )


def encode(source, **config):
    """The stream, the report, and the frames that the encoder says a decoder will show."""
    stream, shown = io.BytesIO(), []
    report = Encoder(EncoderConfig(**{"effort": 0, **config})).encode(
        source, stream, on_group=lambda plan, _: shown.extend(plan.reconstruction)
    )
    return stream.getvalue(), report, shown


def decode(data, **config):
    return list(Decoder(DecoderConfig(**config)).frames(io.BytesIO(data)))


@pytest.fixture(scope="module")
def moving(make_clip, tmp_path_factory):
    """26 frames of one shot in uneven motion, as y4m of 128x96."""
    shifts = [(1.5 * n + (n % 3), 0.5 * n) for n in range(26)]
    return write_clip(make_clip(shifts, SMALL), tmp_path_factory.mktemp("clip") / "moving.y4m")


@pytest.fixture(scope="module")
def stream(moving):
    """The moving clip in three groups of at most 10 frames."""
    return encode(moving, bpp=0.2, group=10)


@pytest.mark.parametrize("effort", [0, 1, 2, 3])
def test_decoder_shows_what_the_encoder_says_at_every_effort(moving, effort):
    data, report, shown = encode(moving, bpp=0.15, effort=effort)
    frames = decode(data)
    assert report.frames == len(frames) == len(shown) == 26
    assert all(np.array_equal(f.picture, s) for f, s in zip(frames, shown, strict=True))


def test_profile_tgvc_is_decoded_by_the_same_decoder(moving):
    pytest.importorskip("hdbscan", reason="the extra `cluster` is not installed")
    data, report, shown = encode(moving, bpp=0.15, profile="tgvc")
    frames = decode(data)
    assert all(np.array_equal(f.picture, s) for f, s in zip(frames, shown, strict=True))
    assert set(report.modes) == {"G"}


def test_encoding_twice_and_on_other_thread_counts_gives_identical_bytes(moving):
    config = EncoderConfig(bpp=0.15, effort=2)
    streams = []
    for threads in (1, 2, 3):
        out = io.BytesIO()
        Encoder(config, threads=threads).encode(moving, out)
        streams.append(out.getvalue())
    assert streams[0] == streams[1] == streams[2]


@pytest.mark.parametrize("threads", [1, 4])
def test_frames_do_not_depend_on_the_decoder_threads(stream, threads):
    data, _, shown = stream
    assert all(np.array_equal(f.picture, s) for f, s in zip(decode(data, threads=threads), shown, strict=True))


@pytest.mark.parametrize("target", [{"bpp": 0.1}, {"kbps": 40.0}, {"bytes": 4000}])
def test_every_kind_of_target_is_met_from_below_within_five_percent(moving, target):
    data, report, _ = encode(moving, effort=2, **target)
    pixels, seconds = SMALL[0] * SMALL[1] * 26, 26 / 25
    limit = {"bpp": 0.1 * pixels / 8, "kbps": 40.0 * 125 * seconds, "bytes": 4000}[next(iter(target))]
    assert report.bytes == len(data)
    assert 0.95 * limit <= len(data) <= limit
    assert report.note == ""


def test_a_target_out_of_reach_is_said(moving):
    _, report, _ = encode(moving, bytes=60)
    assert report.bytes > 60
    assert "above the target" in report.note


def test_finer_quality_costs_more_and_shows_more(moving):
    fine, coarse = (encode(moving, quality=q, effort=1)[1] for q in (20, 55))
    assert fine.bytes > coarse.bytes
    assert fine.psnr_y > coarse.psnr_y + 3


def test_layers_of_the_report_add_up_to_the_file(stream):
    data, report, _ = stream
    assert sum(report.layers.values()) == len(data)
    assert len(report.groups) == 3
    # docs/bitstream.md: 19 to 26 bytes of header, 15 to 20 per group, an index where there are several groups
    assert report.layers["overhead"] <= 40 + 4 * 25
    json.dumps(report.as_dict())


def test_a_cut_starts_a_group_and_is_never_interpolated(make_clip, tmp_path):
    shots = [make_clip([(n, 0) for n in range(9)], SMALL, seed=s) for s in (1, 2)]
    data, _, _ = encode(write_clip(shots[0] + shots[1], tmp_path / "cut.y4m"), bpp=0.6, effort=1)
    groups = list(Reader(io.BytesIO(data)))
    assert [g.frames for g in groups] == [9, 9]
    frames = decode(data)
    for n, original in ((8, shots[0][8]), (9, shots[1][0])):
        error = frames[n].picture.astype(float) - original
        assert np.mean(error[: SMALL[1]] ** 2) < 200  # two unrelated textures differ by about 3000


def test_cuts_every_five_frames(make_clip, tmp_path):
    pictures = [p for s in range(5) for p in make_clip([(n, 0) for n in range(5)], SMALL, seed=10 + s)]
    data, report, shown = encode(write_clip(pictures, tmp_path / "cuts.y4m"), bpp=0.8)
    assert len(report.groups) == 5
    assert all(np.array_equal(f.picture, s) for f, s in zip(decode(data), shown, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_clips_of_a_few_frames(make_clip, tmp_path, count):
    clip = write_clip(make_clip([(3 * n, 0) for n in range(count)], SMALL), tmp_path / "short.y4m")
    data, report, shown = encode(clip, bpp=0.5, effort=2)
    assert len(decode(data)) == report.frames == count
    assert np.array_equal(decode(data)[-1].picture, shown[-1])


@pytest.mark.parametrize("level", [16, 128, 235])
def test_a_picture_without_content_stays_so(tmp_path, level):
    data, _, _ = encode(write_clip([flat(level)] * 7, tmp_path / "flat.y4m"), effort=2)
    assert all(np.ptp(f.picture[: SMALL[1]].astype(int)) <= 2 for f in decode(data))
    assert abs(int(decode(data)[3].picture[0, 0]) - level) <= 2


def test_source_size_is_stored_and_restored(make_picture, tmp_path):
    clip = write_clip([make_picture(n, 0, (320, 192)) for n in range(3)], tmp_path / "large.y4m")
    path, out = tmp_path / "x.tgvc", tmp_path / "out.y4m"
    tgvc.encode(clip, path, bpp=0.5, effort=0, size=(160, 96))
    assert next(tgvc.decode_frames(path)).picture.shape == (96 * 3 // 2, 160)
    tgvc.decode(path, out, restore_size=True)
    with open_video(out) as video:
        assert (video.info.source_width, video.info.source_height) == (320, 192)


def test_uneven_times_come_back(make_clip, tmp_path):
    times = [Fraction(t, 1000) for t in (0, 40, 80, 200, 240, 290, 1400, 1440, 1480)]
    clip = write_clip(make_clip([(n, 0) for n in range(9)], SMALL), tmp_path / "vfr.mkv", times=times)
    data, _, _ = encode(clip, bpp=0.5, group=4)  # the long pause lies between two groups
    assert [float(f.time) for f in decode(data)] == pytest.approx([float(t) for t in times], abs=2e-3)


def test_a_part_is_decoded_as_in_the_whole(stream):
    data, _, shown = stream
    part = decode(data, start=0.5, end=0.84)
    wanted = [n for n in range(26) if 0.5 <= n / 25 < 0.84]
    assert [round(float(f.time) * 25) for f in part] == wanted
    assert all(np.array_equal(f.picture, shown[n]) for f, n in zip(part, wanted, strict=True))


def test_trimmed_and_concatenated_streams_show_the_same_frames(stream, tmp_path):
    data, _, shown = stream
    whole, part, twice = (tmp_path / n for n in ("whole.tgvc", "part.tgvc", "twice.tgvc"))
    whole.write_bytes(data)
    tgvc.trim(whole, part, start=0.2, end=0.6)
    kept = [p.picture for p in tgvc.decode_frames(part)]
    assert all(np.array_equal(a, b) for a, b in zip(kept, shown[5:15], strict=True))
    tgvc.concatenate([part, whole], twice)
    both = [p.picture for p in tgvc.decode_frames(twice)]
    assert all(np.array_equal(a, b) for a, b in zip(both, kept + shown, strict=True))


def test_frames_come_out_of_a_pipe_before_the_stream_is_complete(stream):
    data, _, shown = stream
    end_of_first = Reader(io.BytesIO(data)).index()[1].offset
    read_end, write_end = os.pipe()
    seen = threading.Event()

    def feed():
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(data[:end_of_first])
            pipe.flush()
            assert seen.wait(30), "no frame was shown while the pipe was open"
            pipe.write(data[end_of_first:])

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(read_end, "rb") as pipe:
        frames = Decoder().frames(pipe)
        first = next(frames)
        seen.set()
        rest = list(frames)
    feeder.join()
    assert np.array_equal(first.picture, shown[0])
    assert len(rest) == 25


def test_damage_is_one_kind_of_error_and_leaves_no_file(stream, tmp_path):
    data, _, _ = stream
    target = tmp_path / "out.y4m"
    rng = np.random.default_rng(3)
    for _ in range(40):
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << rng.integers(8)
        with pytest.raises(BitstreamError):
            Decoder().decode(io.BytesIO(bytes(broken)), target)
        assert not any(tmp_path.iterdir())


def test_foreign_bytes_are_refused():
    for data in (b"", b"T", b"TGVC", b"RIFF" + bytes(100), bytes(64), b"text, not a stream\n" * 9):
        with pytest.raises(BitstreamError):
            decode(data)


def test_valid_chunks_around_hostile_pictures_are_refused(moving):
    plans = []
    Encoder(EncoderConfig(bpp=0.2, effort=0)).encode(moving, io.BytesIO(), on_group=lambda *group: plans.append(group))
    good, pictures = plans[0]
    rng = np.random.default_rng(4)
    for kind in range(12):
        payload = bytearray(good.pictures)
        if kind % 3 == 0:
            payload = payload[: rng.integers(len(payload))]
        elif kind % 3 == 1:
            payload = bytearray(rng.integers(0, 256, len(payload), np.uint8).tobytes())
        else:
            payload = payload + payload
        out = io.BytesIO()
        writer = Writer(out, Header(width=128, height=96, source_width=128, source_height=96, fps=Fraction(25)))
        times = [Fraction(n, 25) for n in range(26)]
        writer.write(make_group(replace(good, pictures=bytes(payload)), pictures, times, Fraction(25)))
        writer.finish()
        with pytest.raises(BitstreamError):
            decode(out.getvalue())


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"bpp": float("nan")}, "bpp"),
        ({"bpp": -1}, "bpp"),
        ({"kbps": float("inf")}, "kbps"),
        ({"bpp": 0.1, "kbps": 5}, "one target only"),
        ({"size": (100, 100)}, "multiples of 16"),
        ({"effort": 9}, "0..4"),
        ({"profile": "best"}, "one of auto, tgvc, "),
        ({"modes": "XY"}, "letters of FHTG"),
        ({"group": 1}, "2..1024"),
    ],
)
def test_impossible_requests_name_the_field_and_the_rule(fields, rule):
    with pytest.raises(ConfigError, match=rule) as caught:
        EncoderConfig(**fields)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TgvcError)


def test_a_range_without_frames_is_refused(stream, tmp_path):
    with pytest.raises(ConfigError, match="no frame"):
        Decoder(DecoderConfig(start=100.0)).decode(io.BytesIO(stream[0]), tmp_path / "x.y4m")


def test_a_wide_picture_is_brought_to_the_working_size(tmp_path):
    ramp = np.linspace(16, 235, 4096).astype(np.uint8)
    picture = join_planes(np.tile(ramp, (2160, 1)), *(np.full((1080, 2048), 128, np.uint8) for _ in "uv"))
    data, report, _ = encode(write_clip([picture] * 2, tmp_path / "wide.y4m"), bpp=0.1)
    assert (report.width, report.height) == (512, 272)
    assert len(decode(data)) == 2
