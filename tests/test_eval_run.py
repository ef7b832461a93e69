"""An evaluation from end to end, on clips made on the spot."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from click.testing import CliRunner

from eval_samples import ANCHOR, FRAMES, QUICK, RATES, SIZE, ask, write_clip
from tgvc.batch import Failure, Place
from tgvc.batch.places import LOCAL
from tgvc_bench import encoders
from tgvc_bench.evaluation import plan as plans
from tgvc_bench.evaluation import run as runs
from tgvc_bench.evaluation.command import evaluate
from tgvc_bench.evaluation.ours import choose_decoder
from tgvc_bench.evaluation.plan import Question
from tgvc_bench.evaluation.run import run_evaluation
from tgvc_bench.evaluation.systems import System, choose_systems, define_system, usual_systems
from tgvc_bench.evaluation.tables import BEGIN, END, _saved_cell, format_tables
from tgvc_bench.report.record import read_evaluation

pytest.importorskip("imageio_ffmpeg", reason="conventional encoders and VMAF need imageio-ffmpeg (extra `eval`)")
pytest.importorskip("scipy", reason="BD-rates need SciPy (extra `eval`)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, stored without loss."""
    place = tmp_path_factory.mktemp("clips")
    for name, seed in (("one", 1), ("two", 2)):
        write_clip(place / f"{name}.mkv", seed)
    return place


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an evaluation of one system of ours and one conventional encoder."""
    output = tmp_path_factory.mktemp("eval")
    run_evaluation(ask(folder, QUICK, ANCHOR), output)
    return output


def test_the_record_is_one_that_the_page_takes_and_its_bytes_are_those_of_files(finished: Path) -> None:
    record = read_evaluation(finished / "record.json")
    assert [(e["clip"], e["system"], e["rate"]) for e in record["entries"]] == [
        (clip, system, rate) for clip in ("one", "two") for rate in RATES for system in ("quick", "svt-av1-p4")
    ]
    sizes = sorted(p.stat().st_size for p in (finished / "cache" / "streams").glob("*.tgvc"))
    ours = [e for e in record["entries"] if e["system"] == "quick"]
    assert sorted(e["bytes"] for e in ours) == sizes
    for entry in record["entries"]:
        assert entry["bpp"] == pytest.approx(8 * entry["bytes"] / (SIZE[0] * SIZE[1] * FRAMES), rel=1e-5)
        assert entry["scores"]["psnr_y"] == pytest.approx(sum(entry["frames"]["psnr_y"]) / FRAMES, rel=1e-4)
        assert len(entry["frames"]["ms_ssim"]) == FRAMES
    assert all(sum(e["layers"].values()) == e["bytes"] for e in ours)
    conventional = [e for e in record["entries"] if e["system"] == "svt-av1-p4"]
    assert all(e["size"] == list(SIZE) for e in conventional)
    assert set(record["points"]["one"]["svt-av1-p4"][0]) >= {"size", "bytes", "bpp", "scores"}


def test_previews_of_the_chosen_rates_are_videos_with_every_frame(finished: Path) -> None:
    found = sorted(p.relative_to(finished / "media").as_posix() for p in (finished / "media").rglob("*.mp4"))
    names = ("quick-0.03", "source", "svt-av1-p4-0.03")
    assert found == [f"{clip}/{name}.mp4" for clip in ("one", "two") for name in names]
    with av.open(str(finished / "media" / found[0])) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert sum(1 for _ in container.decode(stream)) == FRAMES


def test_what_is_known_is_not_measured_again_until_something_changes(
    folder: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "eval"))
    before = read_evaluation(output / "record.json")["entries"]
    counted: list[tuple[int, int]] = []

    def count(question: Question) -> tuple[int, int]:
        run_evaluation(question, output, on_start=lambda known, wanted: counted.append((known, wanted)))
        return counted[-1]

    monkeypatch.setattr(runs, "run_all", lambda work, parts, place: iter(()))  # nothing is measured here
    assert count(ask(folder, QUICK, ANCHOR)) == (8, 0)
    assert read_evaluation(output / "record.json")["entries"] == before
    assert count(ask(folder, QUICK, ANCHOR, frames=FRAMES - 1)) == (0, 8)
    assert count(ask(folder, QUICK, ANCHOR, metrics=("psnr_y",))) == (0, 8)
    assert count(ask(folder, QUICK, ANCHOR, rates=(*RATES, 0.08))) == (8, 4)
    (output / "media" / "one" / "quick-0.03.mp4").write_bytes(b"damaged")
    assert count(ask(folder, QUICK, ANCHOR)) == (7, 1)


def test_an_interrupted_run_leaves_a_fuller_record_and_the_next_one_goes_on(
    folder: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "eval"))
    before = (output / "record.json").read_bytes()
    monkeypatch.setattr(plans, "hash_ours", lambda profile: f"{profile}: the encoder has changed")
    run_all = runs.run_all

    def interrupted(*arguments: Any) -> Iterator[Any]:
        yield next(run_all(*arguments))
        raise KeyboardInterrupt

    for place in (output, tmp_path / "new"):
        with monkeypatch.context() as patched:
            patched.setattr(runs, "run_all", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run_evaluation(ask(folder, QUICK), place)
    assert (output / "record.json").read_bytes() == before
    assert len(read_evaluation(tmp_path / "new" / "record.json")["entries"]) == 1  # what there is, where nothing was
    counted: list[tuple[int, int]] = []
    run_evaluation(ask(folder, QUICK), output, on_start=lambda known, wanted: counted.append((known, wanted)))
    assert counted == [(1, 3)]
    assert {e["system"] for e in read_evaluation(output / "record.json")["entries"]} == {"quick"}


def measure_all(question: Question, output: Path, place: Place) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Entries without the times that they took, and the bytes of streams and previews."""
    entries = run_evaluation(question, output, place)["entries"]
    kept = (".mp4", ".tgvc")
    files = {p.relative_to(output).as_posix(): p.read_bytes() for p in output.rglob("*") if p.suffix in kept}
    return [{k: v for k, v in e.items() if k != "seconds"} for e in entries], files


def test_processes_measure_what_one_process_measures(folder: Path, tmp_path: Path) -> None:
    entries, files = measure_all(ask(folder, QUICK), tmp_path / "one", Place())
    assert len(entries) == 4
    assert len(files) == 4 + 4
    assert measure_all(ask(folder, QUICK), tmp_path / "two", Place(2)) == (entries, files)


@pytest.mark.slow
def test_a_cluster_measures_what_one_process_measures(folder: Path, finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed (extra `distributed`)")
    entries, files = measure_all(ask(folder, QUICK, ANCHOR), tmp_path / "ray", Place(2, LOCAL))
    before = read_evaluation(finished / "record.json")["entries"]
    assert entries == [{k: v for k, v in e.items() if k != "seconds"} for e in before]
    assert files == {name: (finished / name).read_bytes() for name in files}
    assert len(files) == 4 + 6


def test_one_failure_stops_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    clips = (tmp_path / "broken.mp4", folder / "one.mkv")
    broken = dataclasses.replace(encoders.ENCODERS["svt-av1-p4"], options="-c:v nosuchencoder -crf {q}")
    monkeypatch.setitem(encoders.ENCODERS, "broken", broken)
    lost = System(
        "lost", "networks that are not there", decode={"generator": "latent", "bundle": str(tmp_path / "none")}
    )
    systems = (System("broken", "no encoder", codec="broken"), lost, QUICK)
    record = run_evaluation(ask(folder, *systems, clips=clips, rates=RATES[:1]), tmp_path / "out")
    assert set(record["failed_clips"]) == {"broken"}
    errors = {e["system"]: e.get("error", "") for e in record["entries"]}
    assert errors["quick"] == ""
    assert "nosuchencoder" in errors["broken"]
    assert "none" in errors["lost"]
    text = format_tables(record)
    assert "- broken: " in text
    assert "- one, lost, 0.03: " in text
    again = run_evaluation(ask(folder, *systems, clips=clips, rates=RATES[:1]), tmp_path / "out")
    assert {e["system"] for e in again["entries"] if "error" in e} == {"broken", "lost"}


def test_a_part_whose_process_dies_is_entries_with_its_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = Failure("its process ended with signal 9")
    monkeypatch.setattr(runs, "run_all", lambda work, parts, place: iter([(n, died) for n in range(len(parts))]))
    record = run_evaluation(ask(folder, QUICK, ANCHOR), tmp_path / "out")
    assert [e["error"] for e in record["entries"]] == [died.text] * 8
    assert read_evaluation(tmp_path / "out" / "record.json")["bd_rate"] == {}


def test_encoders_that_the_binary_lacks_are_left_out_of_the_usual_ones_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoders.is_available(encoders.ENCODERS["svt-av1-p4"])
    foreign = dataclasses.replace(encoders.ENCODERS["vvenc-fast"], options="-c:v nosuchencoder -qp {q}")
    monkeypatch.setitem(encoders.ENCODERS, "vvenc-fast", foreign)
    assert "vvenc-fast" not in {s.id for s in usual_systems()}
    assert {"auto-warp", "x265-slow"} < {s.id for s in usual_systems()}
    assert [s.id for s in choose_systems(["vvenc-fast"])] == ["vvenc-fast"]


def test_the_command_writes_page_and_tables_and_remakes_the_table_of_a_readme(
    folder: Path, finished: Path, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# A\n\n{BEGIN}\n{END}\n\nB\n")
    # the metrics of the README's table decide who wins; a rate of its own keeps the work small
    arguments = [str(folder / "one.mkv"), "-o", str(tmp_path / "eval"), "--bpp", "0.06", "--frames", str(FRAMES)]
    arguments += ["--system", "quick=effort=0,spacing=5,modes=H", "--system", "svt-av1-p4", "--sizes", "1"]
    arguments += ["--readme", str(readme), "--readme-system", "quick", "--previews", "none"]
    result = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = readme.read_text()
    assert text.startswith(f"# A\n\n{BEGIN}\n| against | rate | won |")
    assert text.endswith(f"{END}\n\nB\n")
    assert "| SVT-AV1 preset 4 | 0.06 bpp | " in text
    assert (tmp_path / "eval" / "report.html").read_text().startswith("<!")
    assert (tmp_path / "eval" / "tables.md").read_text() in result.output
    record = json.loads((tmp_path / "eval" / "record.json").read_text())
    assert set(record["entries"][0]["scores"]) == set(record["metrics"])
    assert str(folder) not in record["command"]


def test_the_command_says_why_no_clip_could_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mkv").write_text("no video\n" * 40)
    arguments = [str(tmp_path / name) for name in ("empty.mp4", "text.mkv")]
    arguments += ["-o", str(tmp_path / "eval"), "--bpp", "0.06", "--system", "auto-warp"]
    result = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert result.exit_code == 1
    assert "empty.mp4: the file is empty" in result.output
    assert "text.mkv: not a video that can be read" in result.output
    assert "0 entries, 2 failed" in result.output


def test_a_stream_of_states_chooses_its_generator_where_the_system_names_one_that_paints_none() -> None:
    warp, people = define_system("a=generator=warp"), define_system("b=profile=human,generator=human,decode.bundle=X")
    assert choose_decoder(warp, {"A": 3}) == {}
    assert choose_decoder(warp, {"F": 3, "plain": 1}) == {"generator": "warp"}
    assert choose_decoder(people, {"A": 3}) == {"generator": "human", "bundle": "X"}


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        (["exact"] * 3, "20 %"),
        (["exact", "exact", "at_least"], "> 20 %"),
        (["exact", "exact", "at_most"], "< 20 %"),
        (["exact", "at_least", "at_least"], "–"),
    ],
)
def test_savings_that_are_bounds_are_told_as_such(bounds: list[str], told: str) -> None:
    assert _saved_cell([{"bits_saved": s, "bound": b} for s, b in zip((0.1, 0.2, 0.3), bounds, strict=True)]) == told


def test_metrics_without_their_weights_are_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    arguments = [str(folder), "-o", str(tmp_path / "out"), "--metric", "lpips"]
    result = CliRunner().invoke(evaluate, arguments)
    assert "give --weights alexnet=FILE:SHA256" in str(result.exception)
    assert not (tmp_path / "out").exists()
