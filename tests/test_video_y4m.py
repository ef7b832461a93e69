import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgvc.errors import VideoError
from tgvc.types import picture_planes
from tgvc.video import open_video
from tgvc.video.y4m import parse_header, stream_header
from video_samples import noise_picture


def flat_stream(tag, levels, shares, width=96, height=64, fields="F25:1", marker=b"FRAME\n", depth=8):
    """Two frames of one colour; ``shares``: what each plane has of the width and of the height, as divisors."""
    planes = b"".join(
        np.full(-(-width // x) * -(-height // y), level, "<u2" if depth > 8 else "u1").tobytes()
        for level, (x, y) in zip(levels, shares, strict=True)
    )
    head = f"YUV4MPEG2 W{width} H{height} {fields}{' C' + tag if tag else ''}\n".encode()
    return io.BytesIO(head + (marker + planes) * 2)


def read(source):
    with open_video(source) as video:
        return video.info, list(video)


QUARTER, HALF, ALL = [(1, 1), (2, 2), (2, 2)], [(1, 1), (2, 1), (2, 1)], [(1, 1)] * 3


@pytest.mark.parametrize(
    ("tag", "depth", "levels", "shares"),
    [
        ("", 8, (180, 100, 160), QUARTER),
        ("420", 8, (180, 100, 160), QUARTER),
        ("420jpeg", 8, (180, 100, 160), QUARTER),
        ("420mpeg2", 8, (180, 100, 160), QUARTER),
        ("420paldv", 8, (180, 100, 160), QUARTER),
        ("422", 8, (180, 100, 160), HALF),
        ("444", 8, (180, 100, 160), ALL),
        ("411", 8, (180, 100, 160), [(1, 1), (4, 1), (4, 1)]),
        ("444alpha", 8, (180, 100, 160, 7), [(1, 1)] * 4),
        ("mono", 8, (180,), [(1, 1)]),
        ("420p10", 10, (720, 400, 640), QUARTER),
        ("422p12", 12, (2880, 1600, 2560), HALF),
        ("444p16", 16, (46080, 25600, 40960), ALL),
        ("mono10", 10, (720,), [(1, 1)]),
    ],
)
@pytest.mark.parametrize("size", [(96, 64), (175, 143)])
def test_every_format_of_the_family_is_read(tag, depth, levels, shares, size):
    _, pictures = read(flat_stream(tag, levels, shares, *size, depth=depth))
    assert len(pictures) == 2
    expected = (180, 100, 160) if len(levels) > 1 else (180, 128, 128)
    for plane, level in zip(picture_planes(pictures[1].picture), expected, strict=True):
        # Gray beyond 8 bits is scaled by 255/1023 instead of 1/4, which swscale's full-range view of gray costs.
        assert np.abs(plane.astype(int) - level).max() <= (1 if tag == "mono10" else 0)


def test_full_range_is_brought_to_limited_range():
    _, pictures = read(flat_stream("420jpeg", (255, 0, 128), QUARTER, fields="F25:1 XCOLORRANGE=FULL"))
    assert [int(p[0, 0]) for p in picture_planes(pictures[0].picture)] == [235, 16, 128]


def test_parameters_of_frames_and_unknown_fields_are_passed_over():
    stream = flat_stream(
        "420jpeg", (9, 8, 7), QUARTER, fields="F24:1 Ip A0:0 XYSCSS=420JPEG Qx", marker=b"FRAME Ip XFOO\n"
    )
    info, pictures = read(stream)
    assert (info.fps, len(pictures)) == (24, 2)


def test_sample_aspect_is_honoured_and_an_unknown_rate_is_25():
    info, _ = read(flat_stream("", (9, 8, 7), QUARTER, fields="F0:0 A3:2"))
    assert (info.source_width, info.source_height, info.fps) == (144, 64, 25)


@pytest.mark.parametrize("cut", [1, 3, 6, 100, 9000])
def test_a_cut_stream_names_the_frame_that_is_missing(cut):
    whole = stream_header(96, 64, Fraction(25)) + (b"FRAME\n" + noise_picture(0).tobytes()) * 3
    got = []
    with open_video(io.BytesIO(whole[:-cut])) as video, pytest.raises(VideoError, match=r"frame 2 .*frames=2"):
        got.extend(video)
    assert len(got) == 2


def test_rubbish_between_frames_is_refused():
    stream = stream_header(96, 64, Fraction(25)) + b"FRAME\n" + noise_picture(0).tobytes() + b"RUBBISH\n"
    with pytest.raises(VideoError, match=r"frame 1 .*expected the word FRAME"):
        read(io.BytesIO(stream))


@given(st.binary(max_size=80))
def test_any_header_gives_a_header_or_a_video_error(line):
    try:
        header = parse_header(b"YUV4MPEG2 " + line, "it")
    except VideoError:
        return
    assert header.width > 0
    assert header.height > 0
    assert header.fps > 0


@given(st.integers(1, 4096), st.integers(1, 4096), st.fractions(Fraction(1, 100), 1000, max_denominator=1001))
def test_headers_are_read_as_written(width, height, fps):
    header = parse_header(stream_header(width, height, fps).rstrip(b"\n"), "it")
    assert (header.width, header.height, header.fps, header.pixels) == (width, height, fps, "yuv420p")
    assert (header.sample_aspect, header.full_range) == (1, False)
