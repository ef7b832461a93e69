import io
import os
import sys
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from tgvc.errors import ConfigError, VideoError
from tgvc.types import VideoInfo, join_planes
from tgvc.video import VideoWriter, is_constant_rate, open_video
from tgvc.video.encoders import time_base
from video_samples import info_of, make_clip, noise_picture, psnr, smooth_picture
from writer_samples import FPS, read, smooth, write

TIMES = [Fraction(n, 1000) for n in (0, 33, 50, 200, 210, 500, 540, 580, 1200, 1230)]


@pytest.mark.parametrize(
    ("suffix", "floor_db"),
    # H.264 and VP9 at near-lossless settings; a GIF has 256 colours a frame.
    [(".mp4", 44), (".mov", 44), (".mkv", 44), (".webm", 42), (".gif", 30), (".y4m", 90)],
)
@pytest.mark.parametrize("count", [1, 3, 20])
def test_files_round_trip(tmp_path, suffix, floor_db, count):
    info, pictures = read(write(tmp_path / f"a{suffix}", smooth(count)))
    assert (info.width, info.height) == (96, 64)
    assert len(pictures) == count
    for number, (_, picture) in enumerate(pictures):
        assert psnr(picture, smooth_picture(number)) >= floor_db
    if suffix == ".gif":  # its clock ticks in hundredths
        assert [p.time for p in pictures] == [Fraction(round(n / FPS * 100), 100) for n in range(count)]
    else:
        assert info.fps == FPS
        assert is_constant_rate([p.time for p in pictures], FPS)
    if suffix in (".mp4", ".mov", ".y4m"):
        assert [p.time for p in pictures] == [n / FPS for n in range(count)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_times_of_a_variable_rate_are_kept(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", smooth(10), info_of(fps=Fraction(8)), TIMES)
    assert [p.time for p in read(path)[1]] == TIMES
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(1.23 + 1 / 8, abs=0.002)


@pytest.mark.parametrize("suffix", [".gif", ".y4m"])
def test_files_of_nominal_rate_double_and_drop_nothing(tmp_path, suffix):
    info, pictures = read(write(tmp_path / f"a{suffix}", smooth(10), info_of(fps=Fraction(10)), TIMES))
    assert [p.time for p in pictures] == [Fraction(n, 10) for n in range(10)]
    assert info.fps == 10


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
def test_matrix_and_range_are_tagged(tmp_path, suffix, matrix):
    path = write(tmp_path / f"a{suffix}", smooth(2), info_of(matrix=matrix))
    assert read(path)[0].matrix == matrix
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).color_range == 1


def test_ffv1_in_matroska_is_lossless(tmp_path):
    pictures = [noise_picture(n) for n in range(4)]
    _, read_back = read(write(tmp_path / "a.mkv", pictures, codec="ffv1"))
    assert all(np.array_equal(a, b.picture) for a, b in zip(pictures, read_back, strict=True))


def test_options_reach_the_encoder(tmp_path):
    fine = write(tmp_path / "fine.mp4", smooth(8), options={"crf": "5"}).stat().st_size
    coarse = write(tmp_path / "coarse.mp4", smooth(8), options={"crf": "40"}).stat().st_size
    assert coarse < fine / 2


@pytest.mark.parametrize(
    "fps", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(1, 3)]
)
def test_time_base_holds_the_grid_exactly_and_other_times_closely(fps):
    tick = time_base(fps)
    assert (1 / fps / tick).denominator == 1
    assert tick <= Fraction(1, 60000)
    assert time_base(Fraction(987654321, 41152263)) == Fraction(1, 60000)


# y4m, bit for bit


def noise(count):
    return [noise_picture(n) for n in range(count)]


def test_y4m_through_a_buffer_is_bit_exact():
    buffer = io.BytesIO()
    write(buffer, noise(5))
    buffer.seek(0)
    info, pictures = read(buffer)
    assert info.fps == FPS
    assert all(np.array_equal(a, b.picture) for a, b in zip(noise(5), pictures, strict=True))


def test_y4m_through_a_pipe_is_bit_exact(monkeypatch):
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "w") as stdout, os.fdopen(ours, "rb") as stdin:
        monkeypatch.setattr(sys, "stdout", stdout)

        def feed():
            write("-", noise(30))
            stdout.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        _, pictures = read(stdin)
        feeder.join()
    assert all(np.array_equal(a, b.picture) for a, b in zip(noise(30), pictures, strict=True))


def test_libav_reads_our_y4m_to_the_bit(tmp_path):
    path = write(tmp_path / "a.y4m", noise(3))
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == FPS
        frames = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert all(np.array_equal(a, b) for a, b in zip(noise(3), frames, strict=True))


def test_a_pipe_that_takes_little_at_a_time_gets_everything():
    class Narrow(io.RawIOBase):
        def __init__(self):
            self.taken = bytearray()

        def writable(self):
            return True

        def write(self, data):
            self.taken += data[:1000]
            return min(len(data), 1000)

    narrow, whole = Narrow(), io.BytesIO()
    write(narrow, noise(2))
    write(whole, noise(2))
    assert bytes(narrow.taken) == whole.getvalue()


def test_a_closed_pipe_is_one_video_error(monkeypatch):
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(VideoError, match=r"standard output: cannot be written \(Broken pipe\)"):
            write("-", noise(1))


# sizes


@pytest.mark.parametrize("suffix", [".webm", ".gif", ".y4m", "/"])
def test_any_size_is_restored_where_the_format_can(tmp_path, suffix):
    path = f"{tmp_path}/a{suffix}"
    write(path, smooth(2), size=(175, 143))
    info, pictures = read(path, size=(96, 64))
    assert (info.source_width, info.source_height) == (175, 143)
    assert psnr(pictures[1].picture, smooth_picture(1)) > 29  # a GIF's palette; the others are above 38


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_h264_stores_odd_sizes_one_larger(tmp_path, suffix):
    with VideoWriter(tmp_path / f"a{suffix}", info_of(), size=(175, 143)) as writer:
        assert writer.size == (176, 144)
        writer.write(smooth_picture(0))
    info, _ = read(tmp_path / f"a{suffix}")
    assert (info.source_width, info.source_height) == (176, 144)


def test_a_scaled_picture_keeps_its_matrix(tmp_path):
    path = write(tmp_path / "a.mp4", smooth(1), info_of(matrix=1), size=(64, 64))
    assert read(path)[0].matrix == 1


def test_scaling_is_lanczos_both_ways(tmp_path):
    y, x = np.mgrid[:128, :192]
    luma = 125 + 60 * np.sin(2 * np.pi * x / 7) * np.cos(2 * np.pi * y / 7)
    gray = np.full((64, 96), 128, np.uint8)
    picture = join_planes(np.rint(luma).astype(np.uint8), gray, gray)
    half = read(write(tmp_path / "a.y4m", [picture], info_of(192, 128)), size=(96, 64))[1][0].picture
    _, pictures = read(write(tmp_path / "b.y4m", [half], size=(192, 128)))
    inner = np.s_[8:120, 8:184]
    # Waves of 7 px survive being halved and doubled: 56 dB with Lanczos, 29 dB with bicubic, 21 dB with bilinear.
    assert psnr(pictures[0].picture[inner], picture[inner]) > 50


# pictures


@pytest.mark.parametrize(("matrix", "levels"), [(6, (81, 90, 240)), (1, (63, 102, 240)), (9, (74, 97, 240))])
def test_pictures_have_the_right_colours(tmp_path, matrix, levels):
    red = join_planes(*(np.full(s, n, np.uint8) for s, n in zip([(64, 96), (32, 48), (32, 48)], levels, strict=True)))
    write(f"{tmp_path}/out/", [red], info_of(matrix=matrix))
    write(tmp_path / "a.gif", [red], info_of(matrix=matrix))
    for path in (tmp_path / "out" / "00000.png", tmp_path / "a.gif"):
        with Image.open(path) as image:
            # Two levels: 8-bit luma and chroma hold a saturated colour no closer.
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - (255, 0, 0)).max() <= 2


def test_folders_and_patterns_are_numbered_from_zero(tmp_path):
    write(f"{tmp_path}/new/", smooth(3))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "notes.txt").write_text("kept")
    write(tmp_path / "old", smooth(2))
    write(tmp_path / "deep" / "er" / "f%03d.png", smooth(2))
    write(tmp_path / "deep" / "er" / "g%d.PNG", smooth(2))
    listed = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert listed == {
        "new/00000.png", "new/00001.png", "new/00002.png", "old/notes.txt", "old/00000.png", "old/00001.png",
        "deep/er/f000.png", "deep/er/f001.png", "deep/er/g0.PNG", "deep/er/g1.PNG",
    }  # fmt: skip
    info, pictures = read(tmp_path / "new", fps=30)
    assert (info.fps, len(pictures)) == (30, 3)
    # Rounding to RGB moves luma by less than half a level, so the way back finds nearly every number again.
    assert psnr(pictures[2].picture, smooth_picture(2)) > 55


def test_pictures_of_an_earlier_run_are_not_mixed_in(tmp_path):
    write(f"{tmp_path}/out/", smooth(3))
    with pytest.raises(VideoError, match="new or empty folder"):
        write(f"{tmp_path}/out/", smooth(2))
    assert len(list((tmp_path / "out").iterdir())) == 3


# whole or not at all


def test_pictures_and_times_are_checked(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", info_of()) as writer:
        for wrong in (smooth_picture(0, 64, 64), smooth_picture(0).astype(np.float32), smooth_picture(0)[:64]):
            with pytest.raises(ConfigError, match="picture="):
                writer.write(wrong)
        with pytest.raises(ConfigError, match="time=-1"):
            writer.write(smooth_picture(0), Fraction(-1))
        writer.write(smooth_picture(0), Fraction(1, 2))
        with pytest.raises(ConfigError, match="grow"):
            writer.write(smooth_picture(0), Fraction(1, 2))
    with pytest.raises(VideoError, match="closed"):
        writer.write(smooth_picture(0))


def test_gif_refuses_rates_that_its_clock_cannot_tell_apart(tmp_path):
    with pytest.raises(ConfigError, match="at most 100"):
        VideoWriter(tmp_path / "a.gif", info_of(fps=Fraction(120)))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".gif"])
@pytest.mark.parametrize("fps", [Fraction(1, 4_000_000_000), Fraction(4294967291, 4294967279)], ids=str)
def test_rates_that_libav_cannot_hold_are_one_line_and_leave_nothing(tmp_path, suffix, fps):
    with pytest.raises(VideoError, match=f"a{suffix}: cannot be written as {suffix} by the encoder .* too large"):
        VideoWriter(tmp_path / f"a{suffix}", info_of(fps=fps))
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_another_source_are_carried_from_reader_to_writer(tmp_path):
    source = make_clip(
        tmp_path / "in.mkv",
        [av.VideoFrame.from_ndarray(smooth_picture(n, 320, 180), "yuv420p") for n in range(10)],
        times=TIMES,
        matrix=1,
        colour_range=1,
    )
    with open_video(source) as video, VideoWriter(tmp_path / "out.mp4", video.info, size=(320, 180)) as writer:
        for time, picture in video:
            writer.write(picture, time)
    info, pictures = read(tmp_path / "out.mp4")
    assert isinstance(info, VideoInfo)
    assert (info.source_width, info.source_height, info.matrix) == (320, 180, 1)
    assert [p.time for p in pictures] == TIMES
