"""What `make demo` runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import tgvc
from tgvc.demo import command
from tgvc.demo.command import choose_moments, code_rival, describe_moment, find_difference
from tgvc.demo.scene import render_scene
from tgvc.types import picture_planes
from tgvc.video.writer import VideoWriter
from video_samples import info_of, smooth_picture


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, info_of(192, 128)) as writer:
        for index in range(12):
            writer.write(smooth_picture(index, 192, 128))
    return path


def test_a_clip_is_coded_checked_and_shown(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = CliRunner().invoke(command.demo, [str(clip), "--bpp", "0.2", "--effort", "0", "-o", str(folder)])
    assert done.exit_code == 0, done.output
    assert "the decoder's 12 frames equal the encoder's own reconstruction" in done.output
    assert sorted(p.name for p in folder.iterdir()) == ["clip.mp4", "clip.png", "clip.tgvc"]
    assert tgvc.info(folder / "clip.tgvc")["frames"] == 12
    with Image.open(folder / "clip.png") as picture:
        assert picture.width > 3 * 512
    assert f"{(folder / 'clip.tgvc').stat().st_size:,}" in done.output


def test_a_demo_never_writes_over_its_source(clip: Path) -> None:
    before = clip.read_bytes()
    done = CliRunner().invoke(
        command.demo, [str(clip), "--bpp", "0.2", "--effort", "0", "--frames", "4", "-o", str(clip.parent)]
    )
    assert done.exit_code == 0, done.output
    assert clip.read_bytes() == before
    assert (clip.parent / "clip.tgvc.mp4").exists()


def test_a_decoder_that_breaks_its_promise_fails_the_demo(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_difference", lambda decoded, promised: 3)
    done = CliRunner().invoke(command.demo, [str(clip), "--bpp", "0.2", "--effort", "0", "-o", str(tmp_path / "demo")])
    assert done.exit_code == 1
    assert "frame 3" in done.output


def test_the_first_difference_is_found() -> None:
    pictures = [smooth_picture(n) for n in range(4)]
    assert find_difference(pictures, [p.copy() for p in pictures]) is None
    changed = [p.copy() for p in pictures]
    changed[2][0, 0] ^= 1
    assert find_difference(pictures, changed) == 2
    assert find_difference(pictures, pictures[:3]) == 3
    assert find_difference([], pictures) == 0


def test_the_rival_takes_no_more_than_three_percent_beyond_us() -> None:
    pictures = [smooth_picture(n, 192, 128) for n in range(12)]
    rival = code_rival(pictures, 900)
    assert rival.bytes <= 900 * 1.03
    assert rival.size == (96, 64)
    assert [p.shape for p in rival.pictures] == [p.shape for p in pictures]


@pytest.mark.parametrize(
    ("count", "keys", "expected"),
    [
        (97, list(range(0, 97, 8)), [20, 52, 76]),
        (64, list(range(64)), [12, 31, 50]),
        (1, [0], [0]),
        (2, [0, 1], [0]),
    ],
)
def test_moments_lie_halfway_between_keys(count: int, keys: list[int], expected: list[int]) -> None:
    assert choose_moments(count, keys) == expected


def test_captions_say_what_was_painted() -> None:
    assert (
        describe_moment(20, [0, 16, 24], 25.0) == "frame 20, 0.80 s; tgvc: painted between the key pictures 16 and 24"
    )
    assert describe_moment(16, [0, 16, 24], 25.0) == "frame 16, 0.64 s; tgvc: a key picture"


def test_the_scene_moves_and_is_the_same_every_time() -> None:
    first, second = list(render_scene(3, (96, 64))), list(render_scene(3, (96, 64)))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert [p.shape for p in first] == [(96, 96)] * 3
    lumas = [picture_planes(p)[0].astype(int) for p in first]
    assert np.abs(lumas[0] - lumas[2]).mean() > 1
    assert np.ptp(lumas[0]) > 100
