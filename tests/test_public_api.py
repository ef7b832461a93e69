"""The package as its users see it."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
import tomllib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import tgvc
from tgvc.video.writer import VideoWriter
from video_samples import info_of, smooth_picture

ROOT = Path(__file__).resolve().parents[1]
FRAMES, SIZE = 11, (96, 64)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    with VideoWriter(path, info_of(*SIZE)) as writer:
        for index in range(FRAMES):
            writer.write(smooth_picture(index, *SIZE))
    return path


@pytest.fixture(scope="module")
def stream(clip: Path) -> Path:
    path = clip.with_suffix(".tgvc")
    report = tgvc.encode(clip, path, bpp=0.3, effort=0, group=4)
    assert len(report.groups) > 2
    return path


def test_every_public_name_is_there() -> None:
    assert sorted(tgvc.__all__) == tgvc.__all__
    assert set(tgvc.__all__) <= set(dir(tgvc))
    for name in tgvc.__all__:
        assert getattr(tgvc, name) is not None


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="encode_video"):
        tgvc.encode_video  # noqa: B018


def test_the_version_is_that_of_the_project() -> None:
    assert tgvc.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("use", ["tgvc.info", "tgvc.trim", "tgvc.EncoderConfig", "tgvc.TgvcError"])
def test_what_decodes_no_picture_loads_no_video_library(use: str) -> None:
    code = f"import sys, tgvc; {use}; print([m for m in ('av', 'cv2', 'numba', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("call", [tgvc.encode, tgvc.decode])
def test_an_unknown_field_is_refused_by_name(call: object, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(
        tgvc.TgvcError, match=r"bitrate: not known, expected some of .*threads|bitrate: not known, .*bpp"
    ):
        call(clip, tmp_path / "out.tgvc", bitrate=9)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_progress_reaches_the_last_frame(clip: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    target = tmp_path / "out.tgvc"
    tgvc.encode(clip, target, bpp=0.3, effort=0, on_progress=lambda *step: told.append(step))
    assert told[-1] == ("write", FRAMES, FRAMES)
    told.clear()
    tgvc.decode(target, tmp_path / "out.y4m", on_progress=lambda *step: told.append(step))
    assert [step[1] for step in told] == list(range(1, FRAMES + 1))


def test_file_objects_serve_as_files(clip: Path, stream: Path) -> None:
    target = io.BytesIO()
    tgvc.encode(io.BytesIO(clip.read_bytes()), target, bpp=0.3, effort=0, group=4)
    assert target.getvalue() == stream.read_bytes()
    target.seek(0)
    assert len(list(tgvc.decode_frames(target))) == FRAMES


def test_info_adds_up(stream: Path) -> None:
    facts = tgvc.info(stream)
    assert facts["bytes"] == stream.stat().st_size == sum(facts["layers"].values())
    assert sum(g["frames"] for g in facts["groups"]) == facts["frames"] == FRAMES
    assert facts["seconds"] == pytest.approx(FRAMES / 25)
    assert facts["kbps"] == pytest.approx(8 * facts["bytes"] / facts["seconds"] / 1000)
    assert {k for g in facts["groups"] for k in g["keys"]} >= {0, FRAMES - 1}
    assert sum(facts["modes"].values()) == sum(len(g["keys"]) - 1 for g in facts["groups"])


@pytest.mark.parametrize(
    ("start", "end", "first", "stop"), [(None, 0.2, 0, 5), (0.12, None, 3, 11), (0.08, 0.32, 2, 8)]
)
def test_a_trimmed_stream_shows_the_same_pictures(
    start: float | None, end: float | None, first: int, stop: int, stream: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.tgvc"
    size = tgvc.trim(stream, part, start=start, end=end)
    assert size == part.stat().st_size
    whole = [frame.picture for frame in tgvc.decode_frames(stream)]
    cut = list(tgvc.decode_frames(part))
    assert len(cut) == stop - first
    assert all(np.array_equal(a.picture, b) for a, b in zip(cut, whole[first:stop], strict=True))
    assert [float(f.time) for f in cut] == pytest.approx([n / 25 for n in range(stop - first)])
    facts = tgvc.info(part)
    assert facts["frames"] == stop - first
    assert all(0 <= k < stop - first for g in facts["groups"] for k in g["keys"])


def test_trimming_reads_pipes(stream: Path, tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    out = io.BytesIO()
    tgvc.trim(Pipe(stream.read_bytes()), out, start=0.12)
    tgvc.trim(stream, tmp_path / "part.tgvc", start=0.12)
    assert out.getvalue() == (tmp_path / "part.tgvc").read_bytes()


@pytest.mark.parametrize(("start", "end"), [(-1, None), (float("nan"), None), (2, 1), (None, 0), (99, None)])
def test_impossible_ranges_are_refused(start: float | None, end: float | None, stream: Path, tmp_path: Path) -> None:
    with pytest.raises(tgvc.TgvcError, match=r"start|end"):
        tgvc.trim(stream, tmp_path / "part.tgvc", start=start, end=end)
    assert list(tmp_path.iterdir()) == []


def test_joined_streams_play_one_after_the_other(stream: Path, tmp_path: Path) -> None:
    both, part = tmp_path / "both.tgvc", tmp_path / "part.tgvc"
    tgvc.trim(stream, part, end=0.12)
    assert tgvc.concatenate([part, stream], both) == both.stat().st_size
    shown = list(tgvc.decode_frames(both))
    whole = [frame.picture for frame in tgvc.decode_frames(stream)]
    expected = [*whole[:3], *whole]
    assert all(np.array_equal(a.picture, b) for a, b in zip(shown, expected, strict=True))
    assert [float(f.time) for f in shown] == pytest.approx([n / 25 for n in range(3 + FRAMES)])


def test_a_gap_between_groups_is_kept_and_told(tmp_path: Path) -> None:
    times = [Fraction(n, 25) for n in range(4)] + [1 + Fraction(n, 25) for n in range(4)]
    with VideoWriter(tmp_path / "gap.mkv", info_of(*SIZE)) as writer:
        for index, time in enumerate(times):
            writer.write(smooth_picture(index, *SIZE), time)
    tgvc.encode(tmp_path / "gap.mkv", tmp_path / "gap.tgvc", bpp=0.3, effort=0, group=4)
    facts = tgvc.info(tmp_path / "gap.tgvc")
    assert [g["frames"] for g in facts["groups"]] == [4, 4]
    assert [g["start"] for g in facts["groups"]] == pytest.approx([0, 1], abs=1e-3)  # Matroska's clock ticks in ms
    assert facts["seconds"] == pytest.approx(1.16, abs=1e-3)
    shown = [float(f.time) for f in tgvc.decode_frames(tmp_path / "gap.tgvc", start=0.5)]
    assert shown == pytest.approx([1.0, 1.04, 1.08, 1.12], abs=1e-3)


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_python_of_the_readme_runs(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    blocks = readme_blocks("python")
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "clip.tgvc").exists()


def test_commands_of_the_readme_run(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tgvc.cli.commands import commands

    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    lines = [shlex.split(line[2:], comments=True) for block in readme_blocks("console") for line in block.splitlines()]
    assert len(lines) >= 8
    for program, *arguments in lines:
        assert program == "tgvc"
        done = CliRunner().invoke(commands, arguments)
        assert done.exit_code == 0, f"{arguments}: {done.output}"
