"""Profile ``human`` with the embedded networks: pictures of many sizes come back as the encoder expected them."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

import tgvc
from conftest import _picture
from human_samples import save_pictures
from tgvc.bitstream.container import Reader
from tgvc.bitstream.segments import read_states
from tgvc.config import HUMAN_BUNDLE, EncoderConfig
from tgvc.encoder import Encoder, EncodeReport
from tgvc.models.bundle import load_bundle
from tgvc.models.constants import HumanConstants
from tgvc.planning.plan import GroupPlan
from tgvc.types import Picture
from tgvc.video.reader import open_video
from video_samples import make_clip, psnr

FRAMES = 3


def moved_pictures(width: int, height: int) -> list[Picture]:
    """A scene whose middle is pushed aside, a little more with every frame."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    push = np.exp(-((x - width / 2) ** 2 + (y - height / 2) ** 2) / (2 * (min(width, height) / 4) ** 2))
    return [_picture(3.0 * n * push, 1.5 * n * push, (width, height), 1) for n in range(FRAMES)]


def code(clip: Path, size: tuple[int, int] | None = None) -> tuple[bytes, EncodeReport, list[Picture]]:
    """A stream, its report and the frames that the encoder expects of the decoder."""
    target, expected = io.BytesIO(), list[Picture]()

    def keep(plan: GroupPlan, _: list[Picture]) -> None:
        expected.extend(plan.reconstruction)

    config = EncoderConfig(profile="human", effort=0, quality=40.0, size=size)
    report = Encoder(config, threads=1).encode(str(clip), target, on_group=keep)
    return target.getvalue(), report, expected


def check_shown(data: bytes, expected: list[Picture], source: list[Picture], size: tuple[int, int]) -> None:
    """The decoder shows what was expected of it: pictures of the size, the source's, with motion painted into them."""
    (group,) = Reader(io.BytesIO(data))
    assert (group.kind, group.frames) == ("affine", FRAMES)
    (levels,) = read_states(group).levels
    assert (levels != levels[0]).any()
    shown = [frame.picture for frame in tgvc.decode_frames(io.BytesIO(data))]
    assert [picture.shape for picture in shown] == [(size[1] * 3 // 2, size[0])] * FRAMES
    assert len(expected) == FRAMES
    assert all(np.array_equal(a, b) for a, b in zip(shown, expected, strict=True))
    assert psnr(shown[0], source[0]) > 38  # in its place to the pixel, up to every edge
    for picture, wanted in zip(shown[1:], source[1:], strict=True):
        assert psnr(picture, wanted) > psnr(shown[0], wanted) + 1


@pytest.mark.parametrize("size", [(64, 128), (80, 144), (144, 80), (80, 96)], ids=lambda size: "x".join(map(str, size)))
def test_any_size_and_aspect_is_painted_as_the_encoder_expected(size: tuple[int, int], tmp_path: Path) -> None:
    constants = load_bundle(HUMAN_BUNDLE).constants
    assert isinstance(constants, HumanConstants)
    assert constants.cell_px * constants.divisor == 64  # px of a block: one of the sizes is whole blocks
    source = moved_pictures(*size)
    data, report, expected = code(save_pictures(tmp_path / "clip.mkv", source))
    assert (report.width, report.height) == size
    check_shown(data, expected, source, size)


@pytest.fixture(scope="module")
def odd_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """75x49 px: of such sizes no plane can be halved."""
    y, x = np.mgrid[:49, :75].astype(np.float64)
    frames = []
    for n in range(FRAMES):
        planes = [128 + 60 * np.sin((x - 2 * n) / 9 + k) * np.cos(y / 7 + k) for k in range(3)]
        frames.append(av.VideoFrame.from_ndarray(np.rint(planes).astype(np.uint8), "yuv444p"))
    return make_clip(tmp_path_factory.mktemp("odd") / "odd.mkv", frames)


@pytest.mark.parametrize(("asked", "size"), [(None, (80, 64)), ((112, 80), (112, 80))], ids=["default", "asked"])
def test_a_source_of_odd_size_is_coded_at_a_size_that_the_codec_takes(
    odd_clip: Path, asked: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    with open_video(odd_clip, size=size) as video:
        source = [frame.picture for frame in video]
    data, report, expected = code(odd_clip, asked)
    assert (report.width, report.height) == size
    check_shown(data, expected, source, size)


def test_a_source_of_odd_size_is_shown_at_its_own_size_if_asked_for(odd_clip: Path, tmp_path: Path) -> None:
    stream = tmp_path / "odd.tgvc"
    tgvc.encode(odd_clip, stream, profile="human", effort=0, quality=40.0)
    with stream.open("rb") as file:
        header = Reader(file).header
    assert (header.width, header.height, header.source_width, header.source_height) == (80, 64, 75, 49)
    # H.264 takes whole pairs only; 80x64 px are stretched by players
    for name, restore, size in (("a.mkv", True, (76, 50)), ("a.y4m", True, (75, 49)), ("b.mkv", False, (98, 64))):
        path = tmp_path / name
        tgvc.decode(stream, path, restore_size=restore)
        with open_video(path) as video:
            assert (video.info.source_width, video.info.source_height) == size
