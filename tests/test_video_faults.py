"""Videos that are damaged, odd or no videos."""

import io

import av
import numpy as np
import pytest

from reader_samples import Pipe, read, save_images
from tgvc.errors import ConfigError, VideoError
from tgvc.video import open_video
from video_samples import i420_frames, make_clip, noise_picture


def truncated(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx-vp9", {}),
        ("a.avi", "mpeg4", {}),
        ("a.y4m", "rawvideo", {}),
    ],
)
def test_a_corrupt_tail_is_an_error_that_names_the_frame(tmp_path, name, codec, options, capfd):
    frames = [av.VideoFrame.from_ndarray(noise_picture(i), "yuv420p") for i in range(40)]
    clip = make_clip(
        tmp_path / "whole.mp4" if name == "a.mp4" else tmp_path / name, frames, codec=codec, options=options
    )
    if name == "a.mp4":
        whole, clip = clip, tmp_path / name
        with av.open(str(whole)) as source, av.open(str(clip), "w", options={"movflags": "+faststart"}) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    truncated(clip, 0.6)
    got = []
    with open_video(clip) as video, pytest.raises(VideoError, match=r"frame \d+.* ask for frames=\d+") as error:
        got.extend(video)
    number = int(str(error.value).split("frames=")[1].split()[0])
    assert number == len(got)
    assert 10 <= number < 35
    assert len(read(clip, frames=number)[1]) == number
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def bad_inputs(tmp_path):
    """Path of each bad input by its name."""
    make_clip(tmp_path / "good.mp4", i420_frames(3), codec="libx264")
    good = (tmp_path / "good.mp4").read_bytes()
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 3200), np.int16), "s16", "stereo")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"This is no film, only words about one.\n" * 40,
        "text.y4m": b"YUV4MPEG3 is not it\n",
        "noise.mkv": np.random.default_rng(0).integers(0, 256, 20000, dtype=np.uint8).tobytes(),
        "headless.mp4": good[: len(good) // 3],
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n/dev/zero\n#EXT-X-ENDLIST\n",
        "none.y4m": b"YUV4MPEG2 W64 H64 F25:1\n",
        "cut.y4m": b"YUV4MPEG2 W64 H64 F25:1\nFRAME\n" + bytes(100),
        "wide.y4m": b"YUV4MPEG2 W99999 H64 F25:1\nFRAME\n",
        "zero.y4m": b"YUV4MPEG2 W0 H64 F25:1\nFRAME\n",
        "sizeless.y4m": b"YUV4MPEG2 F25:1\nFRAME\n",
        "rate.y4m": b"YUV4MPEG2 W64 H64 F25\nFRAME\n",
        "colour.y4m": b"YUV4MPEG2 W64 H64 F25:1 C999\nFRAME\n",
        "endless.y4m": b"YUV4MPEG2 " + b"X" * 9999,
        "text.png": b"no picture at all",
        "half.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme.txt").write_text("no pictures")
    (tmp_path / "folder.mp4").mkdir()
    save_images(tmp_path / "mixed", 2)
    save_images(tmp_path / "mixed", 1, size=(64, 96))
    save_images(tmp_path / "spoilt", 2)
    (tmp_path / "spoilt" / "p2.png").write_bytes(b"nothing")
    names = [*contents, "sound.mkv", "folder", "folder.mp4", "mixed", "spoilt", "missing.mp4", "no/such/folder"]
    return {name: tmp_path / name for name in names}


def test_bad_inputs_are_one_clear_line(bad_inputs, capfd):
    for name, path in bad_inputs.items():
        with pytest.raises(VideoError) as error:
            read(path)
        message = str(error.value)
        assert message.startswith(str(path)), name
        assert "\n" not in message, name
        assert "Errno" not in message, name
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.y4m", "rawvideo")])
def test_flipped_bytes_give_pictures_or_one_video_error(tmp_path, name, codec):
    clip = make_clip(tmp_path / name, i420_frames(2, 32, 16), codec=codec)
    whole = clip.read_bytes()
    random = np.random.default_rng(7)
    outcomes = set()
    for place in random.integers(0, len(whole), 150):
        data = bytearray(whole)
        data[place] ^= 1 << random.integers(8)
        clip.write_bytes(data)
        try:
            outcomes.add(len(read(clip)[1]) > 0)
        except VideoError as error:
            assert "\n" not in str(error)  # noqa: PT017  every outcome is allowed but another error
            outcomes.add("refused")
    assert True in outcomes
    assert "refused" in outcomes


@pytest.mark.parametrize("data", [b"", b"some text that is no video" * 50, b"YUV4MPEG2 W64 H64\nFRAME\n"])
def test_bad_pipes_are_one_clear_line(data):
    for source in (io.BytesIO(data), Pipe(data)):
        with pytest.raises(VideoError) as error:
            read(source)
        assert "\n" not in str(error.value)


def test_text_file_objects_and_odd_sources_are_refused(tmp_path):
    with pytest.raises(VideoError, match="binary file object"):
        open_video(io.StringIO("YUV4MPEG2 W64 H64"))
    for source in (None, 7, b"a.mp4"):
        with pytest.raises(ConfigError, match="source="):
            open_video(source)


@pytest.mark.parametrize(
    "arguments",
    [{"size": (100, 100)}, {"frames": 0}, {"frames": -3}, {"fps": 0}, {"fps": float("nan")}, {"fps": -1}, {"fps": 1e9}],
)
def test_bad_arguments_are_refused_before_reading(tmp_path, arguments):
    save_images(tmp_path / "a", 1)
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        open_video(tmp_path / "a", **arguments)


def test_only_folders_take_a_rate(tmp_path):
    clip = make_clip(tmp_path / "a.mkv", i420_frames(1))
    for source in (clip, io.BytesIO(clip.read_bytes())):
        with pytest.raises(ConfigError, match="fps"):
            open_video(source, fps=10)


def test_tags_that_are_not_utf8_do_no_harm(tmp_path):
    clip = tmp_path / "a.mkv"
    with av.open(str(clip), "w") as container:
        container.metadata["title"] = "QQQQQQQQ"
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.mux(stream.encode(i420_frames(1)[0]))
        container.mux(stream.encode(None))
    data = clip.read_bytes()
    assert b"QQQQQQQQ" in data
    clip.write_bytes(data.replace(b"QQQQQQQQ", b"\xff\xe4\xf6\xfc\xff\xff\xff\xff"))
    assert len(read(clip)[1]) == 1


def test_libavs_log_settings_are_left_alone(tmp_path):
    before = av.logging.get_level()
    try:
        for level in (None, av.logging.ERROR):
            av.logging.set_level(level)
            with pytest.raises(VideoError):
                open_video(truncated(make_clip(tmp_path / "a.mp4", i420_frames(3), codec="libx264"), 0.3))
            assert av.logging.get_level() == level
    finally:
        av.logging.set_level(before)
