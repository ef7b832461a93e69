"""Working sizes are rounded to a grid: the shape of the source comes back as the shape of a sample."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tgvc.types import VideoInfo
from tgvc.video import VideoWriter, open_video
from tgvc.video.writer import sample_aspect
from video_samples import info_of, smooth_picture

PORTRAIT = replace(info_of(96, 160), source_width=1080, source_height=1920)


def write(path: Path, info: VideoInfo, size: tuple[int, int] | None = None) -> Path:
    with VideoWriter(path, info, size=size) as writer:
        for index in range(3):
            writer.write(smooth_picture(index, info.width, info.height))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_the_shape_of_the_source_is_written_and_read_again(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{suffix}", PORTRAIT)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (96, 160)
        assert stream.sample_aspect_ratio == Fraction(15, 16)
        assert stream.display_aspect_ratio == Fraction(9, 16)
        shaped = [frame.to_ndarray() for frame in container.decode(video=0)]
    with open_video(path) as video:
        assert (video.info.source_width, video.info.source_height) == (90, 160)
    square = write(tmp_path / f"b{suffix}", info_of(96, 160))
    with av.open(str(square)) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 1)
        plain = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert np.array_equal(shaped, plain)


def test_y4m_says_it_in_its_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.y4m", PORTRAIT)
    assert b" A15:16 " in path.read_bytes().split(b"\n")[0]
    with open_video(path) as video:
        assert (video.info.source_width, video.info.source_height) == (90, 160)
    assert b" A1:1 " in write(tmp_path / "b.y4m", info_of(96, 160)).read_bytes().split(b"\n")[0]


def test_a_size_that_is_asked_for_has_square_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", PORTRAIT, size=(90, 160))
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 1)


@pytest.mark.parametrize(
    ("source", "aspect"),
    [
        ((96, 160), Fraction(1)),
        ((6001, 10000), Fraction(1)),  # within rounding
        ((6010, 10000), Fraction(601, 600)),
        ((1200, 1000), Fraction(2)),
        ((32768, 1), Fraction(1)),  # nothing that a player could show
    ],
)
def test_samples_are_square_within_rounding(source: tuple[int, int], aspect: Fraction) -> None:
    info = replace(info_of(96, 160), source_width=source[0], source_height=source[1])
    assert sample_aspect(info) == aspect
