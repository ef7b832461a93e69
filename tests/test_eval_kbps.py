"""Evaluations in kilobits per second, and of the middle square of the clips."""

from __future__ import annotations

import json
import pickle
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eval_samples import ANCHOR, FRAMES, QUICK, SIZE, ask, write_clip
from tgvc.errors import ConfigError
from tgvc_bench import encoders
from tgvc_bench.evaluation import run as runs
from tgvc_bench.evaluation.command import evaluate
from tgvc_bench.evaluation.plan import Question, entry_key, stream_key
from tgvc_bench.evaluation.run import run_evaluation
from tgvc_bench.evaluation.sources import load_clip
from tgvc_bench.report.record import read_evaluation
from tgvc_bench.units import BPP, KBPS, bits_per_pixel, kilobits_per_second

pytest.importorskip("imageio_ffmpeg", reason="conventional encoders need imageio-ffmpeg (extra `eval`)")
pytest.importorskip("scipy", reason="BD-rates need SciPy (extra `eval`)")

FPS = {"fast": 25, "slow": 10}
RATES = (30.0, 60.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two wide clips of other frame rates."""
    place = tmp_path_factory.mktemp("clips")
    for seed, (name, fps) in enumerate(FPS.items()):
        write_clip(place / f"{name}.mkv", seed, (240, 176), fps)
    return place


def ask_kbps(folder: Path, *systems: Any, **fields: Any) -> Question:
    asked: dict[str, Any] = {"rates": RATES, "unit": KBPS, "size": SIZE, "crop": "square", "previews": (30.0,)}
    return ask(folder, *systems, **{**asked, **fields})


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("eval")
    run_evaluation(ask_kbps(folder, QUICK, ANCHOR), output)
    return output


def test_files_fill_the_kilobits_per_second_that_were_asked_for(finished: Path) -> None:
    record = read_evaluation(finished / "record.json")
    assert (record["rate_unit"], record["rates"], record["crop"]) == ("kbps", list(RATES), "square")
    assert len(record["entries"]) == 8
    for entry in record["entries"]:
        fps = FPS[entry["clip"]]
        assert entry["kbps"] == pytest.approx(8 * entry["bytes"] * fps / FRAMES / 1000, rel=1e-5)
        assert entry["bpp"] == pytest.approx(entry["kbps"] * 1000 / (SIZE[0] * SIZE[1] * fps), rel=1e-5)
        assert 0.5 * entry["rate"] < entry["kbps"] <= entry["rate"]
    for system in ("quick", "svt-av1-p4"):  # what is shown more slowly may spend more on every frame
        spent = {e["clip"]: e["bytes"] for e in record["entries"] if e["system"] == system and e["rate"] == 60}
        assert spent["slow"] > 1.5 * spent["fast"]
    assert (finished / "media" / "fast" / "quick-30.mp4").exists()
    assert not (finished / "media" / "fast" / "quick-60.mp4").exists()


def test_encoders_are_swept_about_the_rates_and_their_files_tell_theirs(finished: Path) -> None:
    record = read_evaluation(finished / "record.json")
    for clip, fps in FPS.items():
        points = record["points"][clip]["svt-av1-p4"]
        for point in points:
            assert point["kbps"] == pytest.approx(8 * point["bytes"] * fps / FRAMES / 1000, rel=1e-5)
        assert min(p["kbps"] for p in points) < 1.2 * RATES[0]
        assert max(p["kbps"] for p in points) > RATES[1] / 1.2


def test_a_rate_in_bits_per_pixel_of_the_same_size_gives_the_same_file(
    folder: Path, finished: Path, tmp_path: Path
) -> None:
    one = {"clips": (folder / "slow.mkv",), "rates": RATES[1:]}
    bpp = bits_per_pixel(RATES[1], KBPS, SIZE, Fraction(FPS["slow"]))
    same = run_evaluation(ask_kbps(folder, QUICK, **{**one, "rates": (bpp,), "unit": BPP}), tmp_path)["entries"]
    known = read_evaluation(finished / "record.json")["entries"]
    wanted = [e for e in known if (e["clip"], e["system"], e["rate"]) == ("slow", "quick", RATES[1])]
    assert [(e["bytes"], e["scores"]) for e in same] == [(e["bytes"], e["scores"]) for e in wanted]


def test_the_same_number_in_another_unit_is_another_question(folder: Path) -> None:
    asked = [ask(folder, QUICK, ANCHOR, rates=(8.0,), unit=unit) for unit in (BPP, KBPS)]
    for system in (QUICK, ANCHOR):
        assert len({entry_key(question, "pictures", system, 8.0) for question in asked}) == 2
    assert len({stream_key("pictures", QUICK, 8.0, unit) for unit in (BPP, KBPS)}) == 2


def test_what_is_known_is_not_measured_again_and_other_pictures_are_not_known(
    folder: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "eval"))
    counted: list[tuple[int, int]] = []
    monkeypatch.setattr(runs, "run_all", lambda work, parts, place: iter(()))  # nothing is measured here
    for crop in ("square", None):
        question = ask_kbps(folder, QUICK, ANCHOR, crop=crop)
        run_evaluation(question, output, on_start=lambda known, wanted: counted.append((known, wanted)))
    assert counted == [(8, 0), (0, 8)]


def test_a_square_is_cut_from_the_middle_and_not_squeezed(folder: Path, finished: Path) -> None:
    clip = folder / "fast.mkv"
    whole, square = load_clip(clip, FRAMES), load_clip(clip, FRAMES, SIZE, "square")
    assert (square.clip.pictures[0][:176] == whole.clip.pictures[0][:176, 32 : 32 + 176]).all()
    assert square.clip.sha256 != load_clip(clip, FRAMES, SIZE).clip.sha256
    described = read_evaluation(finished / "record.json")["clips"][0]
    assert described["sha256"] == square.clip.sha256
    assert (described["source_width"], described["source_height"]) == (176, 176)


def test_a_unit_that_travelled_to_another_process_counts_the_same() -> None:
    for unit in (BPP, KBPS):
        sent = pickle.loads(pickle.dumps(unit))
        assert bits_per_pixel(8.0, sent, (100, 100), Fraction(25)) == (8.0 if unit is BPP else 0.032)
    assert kilobits_per_second(1000, 50, Fraction(25)) == 4.0


def test_sweeps_of_the_same_frames_are_taken_over_and_go_on_where_the_rates_are(
    folder: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "known"
    for path in (finished / "cache" / "sweeps").glob("*.json"):
        sweep = json.loads(path.read_text())
        (known / f"{sweep['clip']}.json").parent.mkdir(exist_ok=True)
        (known / f"{sweep['clip']}.json").write_text(path.read_text())
    tried: list[float] = []
    encode = encoders.encode

    def counted(encoder: Any, pictures: Any, fps: Any, quality: float) -> Any:
        tried.append(quality)
        return encode(encoder, pictures, fps, quality)

    monkeypatch.setattr(encoders, "encode", counted)
    one = {"clips": (folder / "fast.mkv",), "baselines": known, "previews": ()}
    run_evaluation(ask_kbps(folder, ANCHOR, **one), tmp_path / "same")
    assert len(tried) <= len(RATES)  # the files of the entries alone
    record = run_evaluation(ask_kbps(folder, ANCHOR, **{**one, "rates": (150.0,)}), tmp_path / "more")
    before = read_evaluation(finished / "record.json")["points"]["fast"]["svt-av1-p4"]
    after = record["points"]["fast"]["svt-av1-p4"]
    assert all(point in after for point in before)
    assert max(p["kbps"] for p in before) < 120 < max(p["kbps"] for p in after)
    with pytest.raises(ConfigError, match="no sweep of these encoders with this ffmpeg, of these frames") as caught:
        run_evaluation(ask_kbps(folder, ANCHOR, **{**one, "crop": None}), tmp_path / "other")
    assert "\n" not in str(caught.value)


def test_the_command_tells_kilobits_per_second_wherever_it_tells_a_rate(folder: Path, tmp_path: Path) -> None:
    arguments = [str(folder / "slow.mkv"), "-o", str(tmp_path), "--kbps", "20", "--frames", str(FRAMES)]
    arguments += ["--system", "quick=effort=0,spacing=5,modes=H", "--size", "176x176", "--crop", "square"]
    arguments += ["--previews", "none", "--only", "psnr_y", "--only", "ms_ssim"]
    result = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "--kbps 20 " in json.loads((tmp_path / "record.json").read_text())["command"]
    tables = (tmp_path / "tables.md").read_text()
    assert "## Means at 20 kilobits per second" in tables
    assert "| system | clips | kbit/s | " in tables
    assert "middle square" in tables
    assert "## 20 kbit/s, mean of 1 clips of 176x176" in (tmp_path / "report.md").read_text()
    assert "bits per pixel" not in (tables + (tmp_path / "report.md").read_text()).split("## Published")[0]


def test_rates_of_two_units_at_once_are_refused(folder: Path, tmp_path: Path) -> None:
    arguments = [str(folder), "-o", str(tmp_path / "out"), "--kbps", "20", "--bpp", "0.005"]
    result = CliRunner().invoke(evaluate, arguments)
    assert result.exit_code == 2
    assert "a record holds rates of one unit" in result.output
    with pytest.raises(ConfigError, match=r"kbps=2000000.0: expected above 0 and at most 1e\+06 kilobits per second"):
        ask_kbps(folder, QUICK, rates=(2e6,))
