"""Many files at once: the same bytes wherever they are made, nothing twice, one failure stops nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from batch_samples import Squaring, Unopenable
from tgvc.batch import Decoding, Encoding, Failure, Place, cluster, processes, run_all, run_batch
from tgvc.batch.manifest import MANIFEST
from tgvc.batch.places import LOCAL
from tgvc.cli.commands import commands
from tgvc.cli.process import Interrupted
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.errors import ConfigError
from tgvc.output import open_output
from tgvc.types import VideoInfo
from tgvc.video import VideoWriter
from video_samples import info_of, smooth_picture

FRAMES = 6
SETTINGS = EncoderConfig(quality=40, effort=0)


def make_video(path: Path, shift: int = 0) -> Path:
    """A losslessly stored clip, so that its pictures do not depend on an encoder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info: VideoInfo = info_of()
    with VideoWriter(path, info, codec="ffv1") as writer:
        for index in range(FRAMES):
            writer.write(smooth_picture(index + shift))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips, one of them in a folder of its own, and a file that is no video."""
    make_video(tmp_path / "clips" / "one.mkv")
    make_video(tmp_path / "clips" / "deep" / "two.mkv", 3)
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "clips" / "notes.txt").write_text("not a video either")
    return tmp_path / "clips"


def contents(folder: Path, suffix: str) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob(f"*{suffix}"))}


@pytest.fixture
def places() -> Iterator[dict[str, Place]]:
    """Every way to run; a local cluster is started once for the whole test, where Ray is installed."""
    found = {"serial": Place(), "processes": Place(jobs=2)}
    try:
        import ray
    except ImportError:
        yield found
        return
    found["ray"] = Place(jobs=2, ray=LOCAL)
    cluster.connect(ray, found["ray"])
    yield found
    ray.shutdown()


def test_serial_processes_and_ray_give_the_same_bytes(folder: Path, tmp_path: Path, places: dict[str, Place]) -> None:
    streams, videos = {}, {}
    for name, place in places.items():
        report = run_batch(Encoding(SETTINGS), folder, tmp_path / name, place)
        states = {e["source"]: e["state"] for e in report.entries}
        assert states == {"broken.mp4": "failed", "deep/two.mkv": "done", "one.mkv": "done"}, name
        streams[name] = contents(tmp_path / name, ".tgvc")
        back = run_batch(Decoding(DecoderConfig(threads=1), ".y4m"), tmp_path / name, tmp_path / f"{name} back", place)
        assert back.count("done") == 2, name
        videos[name] = contents(tmp_path / f"{name} back", ".y4m")
    assert list(streams["serial"]) == ["deep/two.tgvc", "one.tgvc"]
    assert list(videos["serial"]) == ["deep/two.tgvc.y4m", "one.tgvc.y4m"]
    for name in places:
        assert streams[name] == streams["serial"], name
        assert videos[name] == videos["serial"], name
    if "ray" not in places:
        pytest.skip("serial and processes agree; ray is not installed (extra `distributed`)")


def test_what_is_done_is_not_done_again_and_what_changed_is(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "streams"

    def states(config: EncoderConfig = SETTINGS, **options: bool) -> dict[str, str]:
        report = run_batch(Encoding(config), folder, out, **options)
        return {Path(e["source"]).stem: e["state"] for e in report.entries}

    assert states() == {"broken": "failed", "two": "done", "one": "done"}
    assert states() == {"broken": "failed", "two": "kept", "one": "kept"}
    make_video(folder / "one.mkv", 1)
    assert states()["one"] == "done"
    (out / "deep" / "two.tgvc").write_bytes(b"damaged")
    assert states() == {"broken": "failed", "two": "done", "one": "kept"}
    assert states(EncoderConfig(quality=41, effort=0))["one"] == "done"
    assert states(EncoderConfig(quality=41, effort=0), again=True)["one"] == "done"


def test_an_interrupted_batch_goes_on_after_the_files_it_had_finished(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "streams"

    def stop(entry: dict[str, object]) -> None:
        if entry["state"] == "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(Encoding(SETTINGS), folder, out, on_file=stop)
    first = contents(out, ".tgvc")
    assert list(first) == ["deep/two.tgvc"]
    (out / "one.tgvc").write_bytes(b"half a file of the killed run")
    report = run_batch(Encoding(SETTINGS), folder, out)
    assert {e["source"]: e["state"] for e in report.entries}["deep/two.mkv"] == "kept"
    assert contents(out, ".tgvc")["deep/two.tgvc"] == first["deep/two.tgvc"]
    assert report.count("done") == 1


def test_files_of_others_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "streams"
    out.mkdir()
    (out / "one.tgvc").write_bytes(b"mine")
    report = run_batch(Encoding(SETTINGS), folder, out)
    refused = next(e for e in report.entries if e["source"] == "one.mkv")
    assert refused["state"] == "failed"
    assert "no earlier batch wrote it" in refused["error"]
    assert (out / "one.tgvc").read_bytes() == b"mine"
    assert run_batch(Encoding(SETTINGS), folder, out, overwrite=True).count("done") == 1


def test_names_that_would_meet_and_empty_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    make_video(folder / "one.mov.mkv").rename(folder / "one.avi")
    with pytest.raises(ConfigError, match="would both be"):
        run_batch(Encoding(SETTINGS), folder, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"no file ends in \.tgvc"):
        run_batch(Decoding(DecoderConfig()), folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_below_the_sources_is_no_source(folder: Path) -> None:
    run_batch(Encoding(SETTINGS), folder, folder / "out")
    videos = Decoding(DecoderConfig(threads=1))
    assert run_batch(videos, folder / "out", folder / "out").count("done") == 2
    again = run_batch(Encoding(SETTINGS), folder, folder / "out")
    assert [e["source"] for e in again.entries] == ["broken.mp4", "deep/two.mkv", "one.mkv"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_item_has_its_answer_whatever_happens_to_others(jobs: int) -> None:
    found = dict(run_all(Squaring(fail=(3,)), range(6), Place(jobs)))
    assert found.pop(3) == Failure("ValueError: 3 is not wanted")
    assert {number: r[0] for number, r in found.items()} == {0: 0, 1: 1, 2: 4, 4: 16, 5: 25}
    assert set(run_all(Unopenable(), range(3), Place(jobs))) == {(n, Failure("no such engine")) for n in range(3)}


def test_a_process_that_dies_costs_the_item_it_held_and_no_other() -> None:
    found = dict(run_all(Squaring(die=(0, 2)), range(5), Place(2)))
    assert [found.pop(n) for n in (0, 2)] == [Failure("its process ended with signal 9")] * 2
    assert {number: r[0] for number, r in found.items()} == {1: 1, 3: 9, 4: 16}
    assert os.getpid() not in {r[1] for r in found.values()}


@dataclass(frozen=True)
class Holding:
    """Work that writes a file and does not come to its end; an item without a name waits until that has begun.

    ``deaf``: it does not hear that it is to end, as in a long step of a library.
    """

    folder: Path
    deaf: bool = False

    def open(self) -> Callable[[str], None]:
        def hold(name: str) -> None:
            if not name:
                while len(list(self.folder.glob(".*.part"))) < 2:
                    time.sleep(0.01)
                return
            if self.deaf:
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            with open_output(self.folder / name) as stream:
                stream.write(b"half")
                time.sleep(60)

        return hold


def test_processes_that_are_stopped_leave_no_part_of_a_file(tmp_path: Path) -> None:
    done = run_all(Holding(tmp_path), ["one", "two", ""], Place(3))
    assert next(done) == (2, None)
    done.close()  # as Ctrl-C does
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_does_not_hear_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PATIENCE_S", 0.5)
    done = run_all(Holding(tmp_path, deaf=True), ["one", "two", ""], Place(3))
    assert next(done) == (2, None)
    began = time.monotonic()
    done.close()
    assert time.monotonic() - began < 30
    assert multiprocessing.active_children() == []


def test_impossible_places_are_refused() -> None:
    with pytest.raises(ConfigError, match="jobs=0"):
        Place(0)
    with pytest.raises(ConfigError, match="expected a Ray cluster"):
        Place(gpus=1)


def test_the_command_prints_a_row_per_file_and_ends_with_1_where_one_failed(folder: Path, tmp_path: Path) -> None:
    arguments = ["batch", "encode", str(folder), "-o", str(tmp_path / "out"), "--quality", "40", "--effort", "0"]
    result = CliRunner().invoke(commands, arguments)
    assert result.exit_code == 1
    assert "3 files: 2 done, 0 kept, 1 failed" in result.output
    (folder / "broken.mp4").unlink()
    result = CliRunner().invoke(commands, [*arguments, "--json"])
    assert result.exit_code == 0
    report = json.loads(result.output)
    assert report["counts"] == {"done": 0, "kept": 2, "failed": 0}
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert [e["output_bytes"] for e in manifest["entries"]] == [e["output_bytes"] for e in report["entries"]]


def test_the_job_files_of_the_cluster_are_valid_and_their_command_is_one(folder: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with Ray (extra `distributed`)")
    place = Path(__file__).parents[1] / "deploy" / "ray"
    job = yaml.safe_load((place / "job.yaml").read_text())
    cluster_spec = job["spec"]["rayClusterSpec"]
    images = {
        container["image"]
        for group in (cluster_spec["headGroupSpec"], *cluster_spec["workerGroupSpecs"])
        for container in group["template"]["spec"]["containers"]
    }
    assert len(images) == 1, "all machines need one version"
    words = job["spec"]["entrypoint"].replace("/data/clips", str(folder)).replace("/data", str(tmp_path)).split()
    assert words[:3] == ["tgvc", "batch", "encode"]
    command = commands.commands["batch"].commands["encode"]
    with command.make_context("encode", words[3:]) as context:
        assert (context.params["bpp"], context.params["ray"]) == (0.005, "auto")
    environment = yaml.safe_load((place / "runtime-env.yaml").read_text())
    assert environment["pip"] == ["tgvc[cluster,distributed]"]


def test_an_interrupt_says_that_the_work_is_kept(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr("tgvc.batch.run_batch", interrupt)
    with pytest.raises(SystemExit) as ended:
        commands.main(["batch", "encode", str(folder), "-o", str(tmp_path / "out")])
    assert ended.value.code == 130
    assert capfd.readouterr().err == "tgvc: interrupted, what is done is kept, the same command goes on\n"
