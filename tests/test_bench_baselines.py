import dataclasses
import json
import math
import re
from fractions import Fraction

import click
import numpy as np
import pytest
from click.testing import CliRunner

from tgvc.errors import BackendError, ConfigError, VideoError
from tgvc.types import join_planes, picture_size
from tgvc_bench import baselines, clips, encoders, records
from tgvc_bench.cli import commands, parse_sizes

pytest.importorskip("imageio_ffmpeg")
av = pytest.importorskip("av")


def make_pictures(count, width=128, height=96, seed=0):
    """A smooth gradient that drifts, with mild noise; chroma follows it."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    pictures = []
    for t in range(count):
        luma = 128 + 60 * np.sin((x + 2 * t) / 17) * np.cos(y / 13) + random.normal(0, 2, x.shape)
        u = 128 + 20 * np.sin((x[::2, ::2] + 2 * t) / 23)
        pictures.append(join_planes(*(np.clip(p, 0, 255).astype(np.uint8) for p in (luma, u, 255 - u))))
    return pictures


def write_video(path, pictures, fps=25):
    """A lossless file of the pictures."""
    width, height = picture_size(pictures[0])
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for p in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(p, format="yuv420p")))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", encoders.ENCODERS)
def test_every_encoder_returns_all_pictures_and_counts_fewer_bytes_at_coarser_quality(name):
    encoder, pictures = encoders.ENCODERS[name], make_pictures(9)
    coarse, fine = encoder.coarsest - 10, encoder.coarsest - 20
    sizes = {}
    for quality in (coarse, fine):
        stream, _ = encoders.encode(encoder, pictures, Fraction(25), quality)
        sizes[quality] = encoders.count_payload(encoder, stream)
        decoded = encoders.decode(encoder, stream, 128, 96, 9)
        assert [p.shape for p in decoded] == [(144, 128)] * 9
        error = np.mean([(a.astype(float) - b) ** 2 for a, b in zip(pictures, decoded, strict=True)])
        assert 10 * math.log10(255**2 / error) > 22  # frames in their order: a swap of frames would cost more
    assert 0 < sizes[coarse] < sizes[fine]
    # Text of settings alone is over 400 bytes; the coarse stream of 9 easy pictures is far below that.
    assert b"options:" not in stream


def test_ivf_payload_leaves_out_headers_and_temporal_delimiters():
    encoder = encoders.ENCODERS["svt-av1-p4"]
    frames = [b"\x12\x00" + b"a" * 30, b"\x12\x00" + b"b" * 7, b"c" * 5]
    stream = bytes(32) + b"".join(len(f).to_bytes(4, "little") + bytes(8) + f for f in frames)
    assert encoders.count_payload(encoder, stream) == 30 + 7 + 5
    with pytest.raises(BackendError, match="the last frame ends at byte"):
        encoders.count_payload(encoder, stream[:-1])


def test_an_encoder_that_refuses_is_one_line():
    with pytest.raises(BackendError, match=r"^ffmpeg .*CRF must be[^\n]*$"):
        encoders.encode(encoders.ENCODERS["svt-av1-p4"], make_pictures(1), Fraction(25), 99)


def test_scaling_there_and_back_keeps_a_smooth_picture():
    pictures = make_pictures(2, 256, 160)
    small = clips.scale(pictures, 128, 80)
    assert picture_size(small[0]) == (128, 80)
    back = clips.scale(small, 256, 160)
    # The scene's noise of sigma 2 is what is lost; a half-pixel shift would leave more than 4 grey levels.
    assert np.abs(back[0][8:152, 8:-8].astype(float) - pictures[0][8:152, 8:-8]).mean() < 2.5


def test_sizes_are_multiples_of_8_and_never_below_64():
    assert clips.list_sizes(512, 320) == [(512, 320), (384, 240), (256, 160), (168, 104), (128, 80)]
    assert clips.list_sizes(176, 320)[-1] == (88, 160)


def test_a_clip_is_known_by_its_content(tmp_path):
    pictures = make_pictures(5)
    path = write_video(tmp_path / "a.mkv", pictures, fps=30)
    clip = clips.read_clip(path, 3)
    assert clip.fps == 30
    assert all(np.array_equal(a, b) for a, b in zip(clip.pictures, pictures[:3], strict=True))
    assert clip.sha256 == clips.read_clip(write_video(tmp_path / "b.mkv", pictures), 3).sha256
    assert clip.sha256 != clips.read_clip(path, 4).sha256
    assert clip.bpp(128 * 96 * 3 // 8) == 1


def test_a_file_that_is_no_clip_is_refused(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(VideoError, match="cannot be read as video"):
        clips.read_clip(text, 2)
    with pytest.raises(ConfigError, match="100x96 px, expected multiples of 16"):
        clips.read_clip(write_video(tmp_path / "odd.mkv", make_pictures(1, 100)), 2)


@pytest.mark.parametrize("text", ["1,x", "0", "2", "1/0", ""])
def test_sizes_that_are_no_fractions_are_refused(text):
    with pytest.raises(click.BadParameter, match="expected"):
        parse_sizes(text)


@pytest.mark.parametrize("start", [None, 40])
@pytest.mark.parametrize("slope", [0.05, 0.12, 0.3])
def test_the_search_comes_close_to_every_rate_above_the_floor(slope, start):
    encoder = dataclasses.replace(encoders.ENCODERS["svt-av1-p4"], start=start)
    calls = []

    def run(quality):
        calls.append(quality)
        return round(2000 * 2 ** (slope * (encoder.coarsest - quality) * (1 + 0.01 * (encoder.coarsest - quality))))

    trials = {}
    targets = [1500.0, 3000.0, 5000.0, 9000.0]
    chosen = baselines.search_qualities(encoder, trials, targets, run)
    assert chosen[0] == encoder.coarsest  # the floor answers for the rate that cannot be reached
    for target in targets[1:]:
        assert min(abs(math.log2(trials[q] / target)) for q in chosen) < 0.15
    assert len(calls) <= 1 + 4 * baselines.ATTEMPTS
    again = len(calls)
    assert baselines.search_qualities(encoder, trials, targets, run) == chosen
    assert len(calls) == again  # known trials are never run again


def test_only_clearly_worse_points_stay_unscored():
    def point(size, psnr, ms_ssim):
        return {"bytes": size, "scores": {"psnr_y": psnr, "ms_ssim": ms_ssim}}

    worse = point(1000, 28.0, 0.85)
    assert baselines.is_dominated(worse, [worse, point(1000, 29.0, 0.86)])
    assert not baselines.is_dominated(
        worse, [worse, point(1001, 35.0, 0.99), point(900, 28.9, 0.9), point(900, 29, 0.855)]
    )


def test_a_sweep_is_resumed_without_repeating_work(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mkv", make_pictures(17, 192, 176))
    monkeypatch.setattr(baselines, "RATES", (0.01, 0.02))
    monkeypatch.setattr(baselines, "HIGHEST", 0.03)
    arguments = ["baselines", str(path), "-o", str(tmp_path / "out"), "--codecs", "svt-av1-p4"]
    arguments += ["--sizes", "1,1/2", "--frames", "17"]
    result = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    text = (tmp_path / "out" / "clip.json").read_text()
    record = json.loads(text)
    entry = record["codecs"]["svt-av1-p4"]
    assert entry["done"]
    assert re.match(r"v\d", entry["version"])
    assert "crf={q}" in entry["command"]
    assert len({p["size"] for p in entry["points"]}) == 2
    for point in entry["points"]:
        assert point["bytes"] == entry["trials"][point["size"]][f"{point['q']:g}"]
        assert point["bpp"] == pytest.approx(8 * point["bytes"] / (192 * 176 * 17), rel=1e-5)
        assert {"psnr_y", "ms_ssim"} <= set(point["scores"])

    monkeypatch.setattr(encoders, "encode", lambda *_: pytest.fail("encoded again"))
    assert CliRunner().invoke(commands, arguments, catch_exceptions=False).exit_code == 0
    assert (tmp_path / "out" / "clip.json").read_text() == text
    with pytest.raises(ConfigError, match=r"sha256 is .*; use another folder"):
        CliRunner().invoke(commands, [*arguments[:-1], "5"], catch_exceptions=False, standalone_mode=False)


def test_a_record_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "r.json"
    records.write_record(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        records.write_record(path, {"a": math.nan})
    assert records.read_record(path) == {"a": 1}
    path.write_text("[1")
    with pytest.raises(ConfigError, match=r"is no JSON \(.*\), expected a record that tgvc wrote") as caught:
        records.read_record(path)
    assert "delete" not in str(caught.value)  # it may be a file that somebody named by mistake


@pytest.mark.parametrize(("value", "short"), [(0.0, 0.0), (123456.789, 123457.0), (-0.00123456789, -0.00123457)])
def test_numbers_keep_six_digits(value, short):
    assert records.shorten(value) == short
