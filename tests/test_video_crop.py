"""Reading the middle square of a video in place of all of it."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tgvc.api import info
from tgvc.config import EncoderConfig
from tgvc.encoder import Encoder
from tgvc.errors import ConfigError
from tgvc.types import Picture, join_planes, picture_planes
from tgvc.video import open_video
from video_samples import i420_frames, make_clip, noise_picture


def read(path: Path, **options: object) -> list[Picture]:
    with open_video(path, **options) as video:  # type: ignore[arg-type]
        return [timed.picture for timed in video]


def middle(picture: Picture, x: int, y: int, side: int) -> Picture:
    """What a cut without any scaling leaves."""
    luma, *chroma = picture_planes(picture)
    half = [p[y // 2 : (y + side) // 2, x // 2 : (x + side) // 2] for p in chroma]
    return join_planes(luma[y : y + side, x : x + side], *half)


def write_noise(path: Path, width: int, height: int, **options: object) -> tuple[Path, list[Picture]]:
    pictures = [noise_picture(seed, width, height) for seed in range(2)]
    frames = [av.VideoFrame.from_ndarray(p, "yuv420p") for p in pictures]
    return make_clip(path, frames, **options), pictures  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "height", "x", "y"), [(112, 64, 24, 0), (64, 112, 0, 24), (64, 64, 0, 0)])
def test_the_middle_square_of_a_picture_is_read_without_a_change(
    tmp_path: Path, width: int, height: int, x: int, y: int
) -> None:
    clip, pictures = write_noise(tmp_path / "clip.mkv", width, height)
    for got, whole in zip(read(clip, crop="square"), pictures, strict=True):
        assert np.array_equal(got, middle(whole, x, y, 64))


def test_a_cut_off_the_grid_of_chroma_keeps_luma_and_chroma_together(tmp_path: Path) -> None:
    clip, pictures = write_noise(tmp_path / "clip.mkv", 110, 64)  # 23 px on either side
    assert np.array_equal(read(clip, crop="square")[0], middle(pictures[0], 22, 0, 64))


def test_a_turned_clip_is_cut_as_it_is_shown(tmp_path: Path) -> None:
    frames = i420_frames(2, 112, 64)
    plain = read(make_clip(tmp_path / "plain.mp4", frames, codec="mpeg4"), crop="square")
    turned = read(make_clip(tmp_path / "turned.mp4", frames, codec="mpeg4", rotation=90), crop="square")
    for a, b in zip(plain, turned, strict=True):
        assert np.array_equal(picture_planes(b)[0], np.rot90(picture_planes(a)[0]))


def test_a_square_of_wide_samples_is_square_where_it_is_shown(tmp_path: Path) -> None:
    options = {"codec": "libx264", "sample_aspect": Fraction(2), "options": {"qp": "0"}}
    clip, pictures = write_noise(tmp_path / "clip.mp4", 96, 64, **options)  # shown as 192 x 64
    with open_video(clip, crop="square") as video:
        known, first = video.info, next(iter(video)).picture
    assert (known.source_width, known.source_height) == (64, 64)
    luma = picture_planes(pictures[0])[0][:, 32:64].astype(float)  # a third of the columns, the middle
    shown = picture_planes(first)[0].astype(float)
    # twice as wide, each sample lies between two pixels; a column off, noise has nothing in common with itself
    assert np.corrcoef(luma.ravel(), (shown[:, ::2] + shown[:, 1::2]).ravel())[0, 1] > 0.9


def test_a_stream_of_a_square_is_shown_as_a_square(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", i420_frames(3, 112, 64))
    stream = io.BytesIO()
    Encoder(EncoderConfig(crop="square", effort=0), threads=1).encode(clip, stream)
    facts = info(io.BytesIO(stream.getvalue()))
    assert [facts[k] for k in ("width", "height", "source_width", "source_height")] == [64] * 4


def test_another_part_of_the_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="crop='left': expected one of square"):
        EncoderConfig(crop="left")
    with pytest.raises(ConfigError, match="crop='left': expected square"):
        open_video(tmp_path, crop="left")
