"""The command line: what it writes, what it refuses, how it ends."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from session_samples import make_states
from tgvc.cli import paths
from tgvc.cli.commands import commands
from tgvc.cli.progress import describe_state
from tgvc.cli.tables import format_loopable, format_modes, format_networks, format_states
from tgvc.cli.weights import find_commands
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.decoder import DecodeReport
from tgvc.models.bundle import load_bundle
from tgvc.video.writer import VideoWriter
from tgvc.video.y4m import MAGIC
from video_samples import info_of, smooth_picture

FRAMES, SIZE = 9, (96, 64)
RATE = ("--bpp", "0.3", "--effort", "0")  # so small a clip has no room for less
COMMANDS = ("encode", "decode", "info", "view", "trim", "concat", "doctor", "batch", "engines", "fetch")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(a) for a in arguments])


def run_process(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "tgvc", *map(str, arguments)], **pipes | options)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.mp4, clip.y4m and clip.tgvc, nine frames each."""
    folder = tmp_path_factory.mktemp("samples")
    for name in ("clip.mp4", "clip.y4m"):
        with VideoWriter(folder / name, info_of(*SIZE)) as writer:
            for index in range(FRAMES):
                writer.write(smooth_picture(index, *SIZE))
    done = run("encode", folder / "clip.mp4", "-o", folder / "clip.tgvc", *RATE)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_an_example(command: str) -> None:
    shown = run(command, "--help")
    assert shown.exit_code == 0
    assert f"Examples:\n    tgvc {command}" in shown.output


def test_commands_listed_are_the_commands_tested() -> None:
    added = find_commands()  # by the project's other packages, where it is installed
    assert tuple(name for name in commands.commands if name not in added) == COMMANDS
    assert "tgvc encode clip.mp4" in run("--help").output


@pytest.mark.parametrize(("command", "kind"), [("encode", EncoderConfig), ("decode", DecoderConfig)])
def test_every_field_of_the_configuration_is_an_option_with_its_help(command: str, kind: type) -> None:
    options = {o.name: o for o in commands.commands[command].params}
    for field in dataclasses.fields(kind):
        option = options[field.name]
        assert option.help.lower().startswith(field.metadata["help"].lower())  # type: ignore[attr-defined]
        assert option.default == field.default or field.default is None


def test_a_clip_goes_through_all_commands_under_default_names(samples: Path, here: Path) -> None:
    encoded = run("encode", samples / "clip.mp4", *RATE)
    assert encoded.exit_code == 0, encoded.output
    size = (here / "clip.tgvc").stat().st_size
    assert f"{size:,} bytes" in encoded.stdout
    assert "PSNR" in encoded.stdout
    assert run("decode", "clip.tgvc").exit_code == 0
    assert (here / "clip.tgvc.mp4").stat().st_size > 0
    assert f"{FRAMES} frames of {SIZE[0]}x{SIZE[1]}" in run("info", "clip.tgvc").stdout
    assert run("view", "clip.tgvc").exit_code == 0
    assert (here / "clip.png").read_bytes().startswith(b"\x89PNG")
    assert run("trim", "clip.tgvc", "-o", "part.tgvc", "--start", "0.08", "--end", "0.2").exit_code == 0
    assert json.loads(run("info", "part.tgvc", "--json").stdout)["frames"] == 3
    assert run("concat", "part.tgvc", "clip.tgvc", "-o", "both.tgvc").exit_code == 0
    assert json.loads(run("info", "both.tgvc", "--json").stdout)["frames"] == FRAMES + 3


def test_json_reports_are_the_truth_about_the_files(samples: Path, here: Path) -> None:
    report = json.loads(run("encode", samples / "clip.mp4", "-o", "a.tgvc", "--json", *RATE).stdout)
    assert report["bytes"] == (here / "a.tgvc").stat().st_size == sum(report["layers"].values())
    assert report["frames"] == FRAMES
    facts = json.loads(run("info", "a.tgvc", "--json").stdout)
    assert facts["layers"] == report["layers"]
    assert facts["modes"] == report["modes"]
    assert facts["bpp"] == pytest.approx(report["bpp"])
    assert facts["kbps"] == pytest.approx(report["kbps"])
    shown = json.loads(run("decode", "a.tgvc", "-o", "a.y4m", "--start", "0.2", "--json").stdout)
    assert shown["frames"] == FRAMES - 5


def test_quiet_says_nothing(samples: Path, here: Path) -> None:
    for arguments in (
        ("encode", samples / "clip.mp4", *RATE),
        ("decode", "clip.tgvc"),
        ("view", "clip.tgvc"),
        ("trim", "clip.tgvc", "-o", "part.tgvc"),
        ("concat", "clip.tgvc", "-o", "both.tgvc"),
    ):
        done = run(*arguments, "--quiet")
        assert (done.exit_code, done.output) == (0, "")


def test_pipes_work_both_ways(samples: Path) -> None:
    video = (samples / "clip.y4m").read_bytes()
    encoder = run_process("encode", "-", "-o", "-", *RATE)
    stream, said = encoder.communicate(video, timeout=120)
    assert encoder.returncode == 0, said
    assert stream.startswith(b"TGVC")
    assert b"standard output" in said  # the report leaves standard output to the stream
    decoder = run_process("decode", "-", "-o", "-", "-q")
    shown, said = decoder.communicate(stream, timeout=120)
    assert (decoder.returncode, said) == (0, b"")
    assert shown.startswith(MAGIC)
    assert shown.count(b"FRAME\n") == FRAMES
    assert len(shown) == len(video)


def test_an_existing_file_is_replaced_only_if_asked(samples: Path, here: Path) -> None:
    (here / "out.tgvc").write_bytes(b"mine")
    refused = run("encode", samples / "clip.mp4", "-o", "out.tgvc", *RATE)
    assert refused.exit_code == 1
    assert "-y" in refused.stderr
    assert (here / "out.tgvc").read_bytes() == b"mine"
    assert run("encode", samples / "clip.mp4", "-o", "out.tgvc", "-y", *RATE).exit_code == 0
    assert (here / "out.tgvc").read_bytes().startswith(b"TGVC")


def test_the_name_of_a_decoded_file_never_hits_the_video_that_was_encoded() -> None:
    assert paths.choose_output(None, "some/clip.tgvc", ".tgvc.mp4", overwrite=True) == "clip.tgvc.mp4"


def test_a_terminal_is_spared_the_bytes_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths.sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(paths.click.UsageError, match="terminal"):
        paths.choose_output("-", "clip.mp4", ".tgvc", overwrite=False)


BAD = {
    "missing file": (("encode", "nowhere.mp4"), 1, "nowhere.mp4"),
    "empty folder": (("encode", "folder"), 1, "folder"),
    "text called mp4": (("encode", "text.mp4"), 1, "text.mp4"),
    "empty file": (("encode", "empty.mp4"), 1, "empty"),
    "NaN rate": (("encode", "clip.mp4", "--bpp", "nan"), 2, "bpp"),
    "infinite rate": (("encode", "clip.mp4", "--kbps", "inf"), 2, "kbps"),
    "no rate": (("encode", "clip.mp4", "--bpp", "0"), 2, "bpp"),
    "two targets": (("encode", "clip.mp4", "--bpp", "0.1", "--kbps", "9"), 2, "one target"),
    "unknown profile": (("encode", "clip.mp4", "--profile", "best"), 2, "profile"),
    "effort beyond": (("encode", "clip.mp4", "--effort", "5"), 2, "effort"),
    "size without x": (("encode", "clip.mp4", "--size", "512"), 2, "512x320"),
    "size off the grid": (("encode", "clip.mp4", "--size", "100x100"), 2, "100x100"),
    "unknown option": (("encode", "clip.mp4", "--bitrate", "9"), 2, "--bitrate"),
    "unknown command": (("compress", "clip.mp4"), 2, "compress"),
    "nothing to encode": (("encode",), 2, "IN"),
    "pipe without a name": (("encode", "-"), 2, "-o"),
    "output folder missing": (("encode", "clip.mp4", "-o", "no/such/out.tgvc"), 1, "out.tgvc"),
    "decode a video": (("decode", "clip.mp4"), 1, "not a .tgvc stream"),
    "decode nothing": (("decode", "empty.mp4"), 1, "empty"),
    "decode a folder": (("decode", "folder"), 1, "folder"),
    "decode half a stream": (("decode", "half.tgvc"), 1, "ends"),
    "decode a damaged stream": (("decode", "flipped.tgvc"), 1, "checksum"),
    "decode to an unknown suffix": (("decode", "clip.tgvc", "-o", "out.xyz"), 1, ".mp4"),
    "decode beyond the end": (("decode", "clip.tgvc", "--start", "9"), 1, "no frame"),
    "decode backwards": (("decode", "clip.tgvc", "--start", "3", "--end", "2"), 2, "end"),
    "info on text": (("info", "text.mp4"), 1, "not a .tgvc stream"),
    "view half a stream": (("view", "half.tgvc"), 1, "ends"),
    "trim to nothing": (("trim", "clip.tgvc", "-o", "out.tgvc", "--start", "9"), 1, "no frame"),
    "trim at NaN": (("trim", "clip.tgvc", "-o", "out.tgvc", "--start", "nan"), 1, "start"),
    "trim half a stream": (("trim", "half.tgvc", "-o", "out.tgvc"), 1, "ends"),
    "join nothing": (("concat", "-o", "out.tgvc"), 2, "FILES"),
    "join a video": (("concat", "clip.tgvc", "clip.mp4", "-o", "out.tgvc"), 1, "not a .tgvc stream"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_no_file(name: str, samples: Path, here: Path) -> None:
    arguments, code, word = BAD[name]
    stream = (samples / "clip.tgvc").read_bytes()
    (here / "clip.mp4").write_bytes((samples / "clip.mp4").read_bytes())
    (here / "clip.tgvc").write_bytes(stream)
    (here / "half.tgvc").write_bytes(stream[: len(stream) // 2])
    (here / "flipped.tgvc").write_bytes(stream[:60] + bytes([stream[60] ^ 1]) + stream[61:])
    (here / "text.mp4").write_text("this is no video\n" * 40)
    (here / "empty.mp4").touch()
    (here / "folder").mkdir()
    if arguments[0] == "encode" and "-o" not in arguments and "-" not in arguments:
        arguments = (*arguments, "-o", "out.tgvc")
    before = sorted(p.name for p in here.rglob("*"))
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert isinstance(done.exception, SystemExit)
    assert done.stderr.startswith("tgvc: error: ")
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert done.stdout == ""
    assert sorted(p.name for p in here.rglob("*")) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_one_line_and_no_file(number: int, code: int, samples: Path, here: Path) -> None:
    options = {"start_new_session": True, "preexec_fn": lambda: signal.signal(number, signal.SIG_DFL)}
    process = run_process("encode", "-", "-o", here / "out.tgvc", "--group", "4", *RATE, **options)
    assert process.stdin is not None
    process.stdin.write((samples / "clip.y4m").read_bytes())
    process.stdin.flush()  # and no end: the encoder waits for more, in the middle of its file
    deadline = time.monotonic() + 60
    while not list(here.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [p.suffix for p in here.iterdir()] == [".part"]
    process.send_signal(number)
    killer = threading.Timer(60, process.kill)
    killer.start()
    said = process.stderr.read() if process.stderr else b""
    assert process.wait() == code
    killer.cancel()
    assert said == b"tgvc: interrupted, nothing was written\n"
    assert list(here.iterdir()) == []


def test_a_reader_that_leaves_ends_the_decoder_quietly(samples: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = run_process("decode", samples / "clip.tgvc", "-o", "-", stdout=write)
    os.close(write)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (1, b"")


def test_a_reader_that_leaves_ends_the_encoder_quietly(samples: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = run_process("encode", samples / "clip.mp4", "-o", "-", *RATE, stdout=write)
    os.close(write)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (1, b"")


def test_doctor_measures_what_runs() -> None:
    found = json.loads(run("doctor", "--json").stdout)
    assert found["packages"]["numpy"]
    assert found["codecs"] == dict.fromkeys(("libsvtav1", "libdav1d", "libx264", "libvpx-vp9"), True)
    assert found["runs"]["generator warp"] == ""
    assert found["speed"]["frames_per_second"] > 0
    assert "frames per second" in run("doctor").stdout


def test_modes_are_named_for_people() -> None:
    assert format_modes({}) == "no segments, a single picture"
    assert format_modes({"F": 3, "T": 1}) == "4 segments: flow 3, flow + tracks 1"
    assert format_modes({"A": 2, "plain": 1}) == "3 segments: states 2, plain 1"


def test_states_and_loopable_groups_are_told_in_a_line_each() -> None:
    tracks = {"states": None, "loopable": False}
    groups = [tracks, {"states": {"sent": 30, "parameters": 20, "every": 3}, "loopable": False}]
    assert format_states([tracks]) == ""
    assert format_states(groups) == "30 of 20 parameters, one every 3 frames"
    assert format_states([*groups, groups[1] | {"states": {"sent": 1000, "parameters": 20, "every": 1}}]) == (
        "1,030 of 20 parameters, one every 1 or 3 frames"
    )
    assert format_states([groups[1] | {"states": {"sent": 5, "parameters": 2, "every": 1}}]) == (
        "5 of 2 parameters, one every frame"
    )
    assert format_loopable(groups) == ""
    swings = tracks | {"loopable": True}
    assert format_loopable([*groups, swings]) == "1 of 3 groups comes back to where it began"
    assert format_loopable([swings, tracks, swings]) == "2 of 3 groups come back to where they began"


def test_info_says_what_of_states_is_sent_and_decode_names_their_networks(here: Path) -> None:
    (here / "clip.tgvc").write_bytes(make_states(here))
    told = run("info", "clip.tgvc").stdout
    assert "states 1;" in told
    assert "states    4 of 20 parameters, one every frame\n" in told
    assert "loopable" not in told
    decoded = run("decode", "clip.tgvc", "-o", "out.y4m").stdout
    assert f"networks  bundle {load_bundle('human-nano').label}, onnxruntime" in decoded


@pytest.mark.parametrize(
    ("made", "steps"),
    [({}, ""), ({"steps": 1, "solver": "ddim"}, "1 step, "), ({"steps": 8, "solver": "heun"}, "8 steps of heun, ")],
)
def test_steps_are_told_of_generators_that_have_some(made: dict[str, Any], steps: str) -> None:
    report = DecodeReport(bundle="some 1", backend="onnxruntime 1.2", providers=("CPUExecutionProvider",), **made)
    assert format_networks(report) == f"bundle some 1, {steps}onnxruntime 1.2 with CPUExecutionProvider"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ((0, None, 3.2), "0 frames, 0:00:03"),
        ((0, 96, 0.0), "0/96 frames, 0:00:00"),
        ((48, 96, 8.0), "48/96 frames, 6.0 per second, 0:00:08 left"),
        ((48, None, 8.0), "48 frames, 6.0 per second, 0:00:08"),
        ((96, 96, 16.0), "96/96 frames, 6.0 per second, 0:00:16"),
    ],
)
def test_progress_tells_rate_and_time_left(state: tuple[float, float | None, float], text: str) -> None:
    assert describe_state(*state) == text
