"""The command line where something is wrong: nothing of the user's is lost, and what is said is true."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tgvc
from tgvc.cli import tables
from tgvc.cli.commands import commands
from tgvc.cli.process import Interrupted
from tgvc.video import open_video
from tgvc.video.writer import VideoWriter
from video_samples import info_of, smooth_picture

FRAMES, GROUP, SIZE = 12, 4, (96, 64)
RATE = ("--bpp", "0.3", "--effort", "0")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(a) for a in arguments])


def write_clip(path: Path, frames: int = FRAMES) -> Path:
    with VideoWriter(path, info_of(*SIZE)) as writer:
        for index in range(frames):
            writer.write(smooth_picture(index, *SIZE))
    return path


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.mp4 and clip.tgvc of three groups."""
    folder = tmp_path_factory.mktemp("samples")
    tgvc.encode(write_clip(folder / "clip.mp4"), folder / "clip.tgvc", bpp=0.3, effort=0, group=GROUP)
    return folder


@pytest.fixture
def here(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with copies of the samples, and cut.tgvc, which ends in the last group."""
    for name in ("clip.mp4", "clip.tgvc"):
        (tmp_path / name).write_bytes((samples / name).read_bytes())
    (tmp_path / "again.tgvc").symlink_to("clip.tgvc")
    offset = len((samples / "clip.tgvc").read_bytes())
    (tmp_path / "cut.tgvc").write_bytes((samples / "clip.tgvc").read_bytes()[: offset * 4 // 5])
    monkeypatch.chdir(tmp_path)
    return tmp_path


# what is read is never written over


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode", "clip.mp4", "-o", "./clip.mp4", *RATE),
        ("decode", "clip.tgvc", "-o", "clip.tgvc"),
        ("trim", "clip.tgvc", "-o", "clip.tgvc"),
        ("view", "clip.tgvc", "-o", "clip.tgvc"),
        ("concat", "cut.tgvc", "clip.tgvc", "-o", "clip.tgvc"),
        ("concat", "clip.tgvc", "cut.tgvc", "-o", "again.tgvc"),
    ],
)
@pytest.mark.parametrize("overwrite", [(), ("-y",)])
def test_the_input_is_no_output(arguments: tuple[str, ...], overwrite: tuple[str, ...], here: Path) -> None:
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    done = run(*arguments, *overwrite)
    assert done.exit_code == 1
    assert re.fullmatch(r"tgvc: error: \S+: is the input itself, .*; give another output\n", done.stderr)
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_the_functions_of_the_package_spare_their_sources_too(here: Path) -> None:
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    for call, source, target in (
        (tgvc.encode, "clip.mp4", here / "clip.mp4"),
        (tgvc.decode, here / "clip.tgvc", "clip.tgvc"),
        (tgvc.trim, "again.tgvc", "clip.tgvc"),
        (tgvc.concatenate, ["cut.tgvc", "clip.tgvc"], "clip.tgvc"),
    ):
        with pytest.raises(tgvc.TgvcError, match="is the input itself"):
            call(source, target)  # type: ignore[operator]
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_a_stream_that_is_redirected_from_its_target_is_spared(here: Path) -> None:
    before = (here / "clip.tgvc").read_bytes()
    with (here / "clip.tgvc").open("rb") as stdin:
        words = [sys.executable, "-m", "tgvc", "trim", "-", "-o", "clip.tgvc", "-y"]
        done = subprocess.run(words, stdin=stdin, capture_output=True, text=True, check=False)
    assert (done.returncode, (here / "clip.tgvc").read_bytes()) == (1, before)
    assert "is the input itself" in done.stderr


# damage


def test_the_intact_part_of_a_damaged_file_comes_out_of_a_pipe_and_is_named_for_a_file(here: Path) -> None:
    words = [sys.executable, "-m", "tgvc", "decode", "cut.tgvc", "-o", "-"]
    piped = subprocess.run(words, capture_output=True, check=False)
    assert piped.returncode == 1
    assert piped.stdout.count(b"FRAME\n") == 2 * GROUP
    assert re.fullmatch(rb"tgvc: error: cut\.tgvc: group, byte \d+: the stream ends inside the chunk\n", piped.stderr)
    named = run("decode", "cut.tgvc", "-o", "out.mp4")
    assert named.exit_code == 1
    assert not (here / "out.mp4").exists()
    advice = re.search(rf"; {2 * GROUP} frames before it are intact: -o - .*, --end (\S+) all but", named.stderr)
    assert advice
    assert run("decode", "cut.tgvc", "-o", "out.mp4", "--end", advice[1]).exit_code == 0
    with open_video(here / "out.mp4") as video:
        assert len(list(video)) == 2 * GROUP - 1


@pytest.mark.parametrize(
    "command", [("info",), ("decode", "-o", "x.mp4"), ("trim", "-o", "x"), ("view", "-o", "x.png")]
)
def test_a_damaged_file_is_named_as_it_was_given(command: tuple[str, ...], here: Path) -> None:
    name, *more = command
    done = run(name, "./cut.tgvc", *more)
    assert done.stderr.startswith("tgvc: error: cut.tgvc: group, byte ")
    assert done.stderr.count("cut.tgvc") == 1


def test_of_several_files_the_one_that_does_not_fit_is_named(here: Path) -> None:
    damaged = run("concat", "clip.tgvc", "cut.tgvc", "-o", "x.tgvc")
    assert damaged.stderr.startswith("tgvc: error: cut.tgvc: group, byte ")
    tgvc.encode(here / "clip.mp4", here / "small.tgvc", bpp=0.3, effort=0, size=(64, 64))
    unlike = run("concat", "clip.tgvc", "small.tgvc", "-o", "x.tgvc")
    assert unlike.stderr == "tgvc: error: small.tgvc: width=64, expected 96 as in clip.tgvc: encode it anew\n"


# what is said


def test_hidden_frames_are_told_by_trim_and_info(here: Path) -> None:
    told = "hidden    2 frames stay in the file, hidden: streams are cut at groups\n"
    assert told in run("trim", "clip.tgvc", "-o", "part.tgvc", "--start", "0.04", "--end", "0.12").stdout
    assert told in run("info", "part.tgvc").stdout
    assert "hidden" not in run("info", "clip.tgvc").stdout
    assert tables.format_hidden([{"hidden": 1}, {"hidden": 0}]).startswith("1 frame stays in the file, hidden")


@pytest.mark.parametrize("command", [(), ("batch",), ("engines",)])
def test_a_group_without_a_command_shows_its_help_as_it_is(command: tuple[str, ...]) -> None:
    bare = run(*command)
    assert bare.exit_code == 2
    assert bare.stderr == run(*command, "--help").stdout


def test_a_full_device_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **options: Any) -> None:
        if not options.get("err"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tables.click, "echo", refuse)
    said: list[str] = []
    monkeypatch.setattr("tgvc.cli.process.complain", lambda text, code, label="": said.append(text) or code)
    assert run("info", "clip.tgvc").exit_code == 1
    assert said == ["input or output: No space left on device"]


@pytest.mark.parametrize(
    ("work", "arguments"),
    [
        ("tgvc.encoder.Encoder.encode", ("encode", "clip.mp4")),
        ("tgvc.decoder.Decoder.decode", ("decode", "clip.tgvc")),
        ("tgvc.api.trim", ("trim", "clip.tgvc")),
        ("tgvc.api.concatenate", ("concat", "clip.tgvc")),
    ],
)
@pytest.mark.parametrize(
    ("target", "left"), [("-", "what standard output got is not whole"), ("x.mp4", "nothing was written")]
)
def test_an_interrupted_pipe_is_not_said_to_be_empty(
    work: str, arguments: tuple[str, ...], target: str, left: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(work, stop)
    done = run(*arguments, "-o", target)
    assert (done.exit_code, done.stderr) == (143, f"tgvc: interrupted, {left}\n")


@pytest.mark.parametrize(
    ("options", "note", "rate"),
    [
        (("--kbps", "0.01", "--effort", "0"), "no choice that was tried takes less; ask for a higher rate, a higher "
         "--effort, a larger --spacing or a smaller --size", r"[\d,]+ times the 0\.\d+ asked for"),
        (("--bpp", "20", "--effort", "0"), "needs no more; a higher --effort may use more", r"\d+\.\d% of the [\d,]+"),
        (("--bpp", "20", "--effort", "4"), "needs no more", r"\d+\.\d% of the"),
    ],
)  # fmt: skip
def test_a_missed_target_is_explained_by_what_was_tried(
    options: tuple[str, ...], note: str, rate: str, here: Path
) -> None:
    told = run("encode", "clip.mp4", "-o", "x.tgvc", "--frames", "3", *options).stdout
    assert f"{note}\n" in told
    assert re.search(rate, told.splitlines()[0])


def test_the_size_that_was_written_is_told(here: Path) -> None:
    with VideoWriter(here / "odd.mkv", info_of(*SIZE), size=(97, 65), codec="ffv1") as writer:
        for index in range(2):
            writer.write(smooth_picture(index, *SIZE))
    assert run("encode", "odd.mkv", "-o", "odd.tgvc", *RATE).exit_code == 0
    assert "2 frames of 98x66 at" in run("decode", "odd.tgvc", "-o", "odd.mp4", "--restore-size").stdout
    assert "2 frames of 97x65 at" in run("decode", "odd.tgvc", "-o", "odd.y4m", "--restore-size").stdout
    assert "2 frames of 96x64 at" in run("decode", "odd.tgvc", "-o", "plain.mp4").stdout


def test_letters_are_asked_for_as_letters_and_a_default_stands_alone() -> None:
    shown = " ".join(run("encode", "--help").stdout.split())
    assert "--modes LETTERS" in shown
    assert "[default: 2; 1<=x<=64]" in shown


# the package


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": "512x320"}, r"size='512x320': expected width and height, such as \(512, 320\)"),
        ({"size": 512}, "size=512: expected width and height"),
        ({"size": (512,)}, "expected width and height"),
        ({"profile": None}, "profile=None: expected one of auto, "),
        ({"effort": None}, "effort=None: expected a number"),
        ({"group": 2.5}, "group=2.5: expected a whole number"),
        ({"modes": 5}, "modes=5: expected letters of FHTG"),
        ({"threads": 0}, r"threads=0: expected a whole number in 1\.\.64"),
        ({"threads": None}, "threads=None: expected"),
    ],
)
def test_arguments_of_a_wrong_kind_are_errors_of_ours(fields: dict[str, Any], message: str, here: Path) -> None:
    with pytest.raises(tgvc.TgvcError, match=message):
        tgvc.encode("clip.mp4", "x.tgvc", **fields)
    assert not (here / "x.tgvc").exists()


@pytest.mark.parametrize("kind", [tgvc.EncoderConfig, tgvc.DecoderConfig])
def test_help_of_a_configuration_tells_of_every_field(kind: type) -> None:
    summary, attributes = str(kind.__doc__).split("\n\nAttributes:\n")
    assert summary.startswith("How to ")
    assert re.findall(r"^    (\w+)(?: \(.*?\))?:", attributes, re.MULTILINE | re.DOTALL) == list(
        kind.__dataclass_fields__  # type: ignore[attr-defined]
    )
    assert max(map(len, attributes.splitlines())) <= 110
