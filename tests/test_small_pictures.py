"""Pictures down to the smallest that a header may name, 16 x 16 px, and the longest and thinnest ones."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import tgvc
from container_samples import stream_of
from tgvc.bitstream.container import Group, Header
from tgvc.bitstream.pictures import find_codec
from tgvc.errors import ConfigError
from tgvc.synthesis.flow import measure_flow, measure_key_flow
from video_samples import i420_frames, make_clip, smooth_picture
from writer_samples import read

THIN = [(16, 16), (16, 64), (64, 16), (80, 16), (96, 16), (256, 16), (16, 256)]


@pytest.mark.parametrize(("height", "width"), [(8, 40), (8, 128), (8, 2048), (40, 8), (12, 44)])
def test_thin_planes_move_as_wide_ones_do(height: int, width: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height // 4 + 2, width // 4 + 2), dtype=np.uint8)
    scene = np.kron(noise, np.ones((4, 4), np.uint8))
    moved = scene[:height, 1 : 1 + width]
    flow = measure_flow(np.ascontiguousarray(scene[:height, :width]), np.ascontiguousarray(moved))
    assert np.abs(np.median(flow, axis=(0, 1)) - (-1, 0)).max() < 0.2


@pytest.mark.parametrize("shape", [(8, 8), (10, 8), (4, 64)])
def test_planes_with_no_room_for_a_search_stand_still(shape: tuple[int, int]) -> None:
    first, last = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    assert np.array_equal(measure_flow(first, last), np.zeros((*shape, 2), np.float32))


def test_the_smallest_pictures_are_trusted_where_they_are() -> None:
    first, last = np.random.default_rng(0).integers(0, 256, (2, 16, 16), dtype=np.uint8)
    flow = measure_key_flow(first, last)
    assert (flow.trust_first == 1).all()
    assert (flow.trust_last == 1).all()


@pytest.mark.parametrize("generator", ["warp", "latent", "flow"])
@pytest.mark.parametrize("size", THIN, ids=lambda size: "x".join(map(str, size)))
def test_streams_of_small_and_thin_pictures_are_decoded(generator: str, size: tuple[int, int]) -> None:
    keys = find_codec(0).encode([smooth_picture(n, 64, 64) for n in range(2)], 40, 12).payload
    group = Group(frames=4, keys=(0, 3), codec=0, key_width=64, key_height=64, pictures=keys)
    width, height = size
    header = Header(width=width, height=height, source_width=width, source_height=height, fps=Fraction(25))
    few = {"steps": 1} if generator == "latent" else {}
    data = io.BytesIO(stream_of(group, header=header))
    shown = list(tgvc.decode_frames(data, generator=generator, threads=1, **few))
    assert [frame.picture.shape for frame in shown] == [(height * 3 // 2, width)] * 4


@pytest.mark.parametrize("size", [(16, 16), (16, 64)], ids=str)
def test_small_videos_are_coded_larger_and_shown_as_small_as_they_were(tmp_path: Path, size: tuple[int, int]) -> None:
    clip = make_clip(tmp_path / "in.mkv", i420_frames(9, *size))
    with pytest.raises(ConfigError, match=r"size=.*: expected multiples of 16 from 64"):
        tgvc.encode(clip, tmp_path / "out.tgvc", size=size)
    tgvc.encode(clip, tmp_path / "out.tgvc", threads=1, effort=1)
    assert tgvc.info(tmp_path / "out.tgvc")["width"] == 64
    tgvc.decode(tmp_path / "out.tgvc", tmp_path / "out.mkv", restore_size=True, threads=1)
    info, pictures = read(tmp_path / "out.mkv")
    assert (info.source_width, info.source_height, len(pictures)) == (*size, 9)
