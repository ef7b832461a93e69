import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tgvc.errors import ConfigError, VideoError
from tgvc.types import join_planes, picture_size
from tgvc_bench import baselines, clips, encoders, quality, verdict
from tgvc_bench.cli import commands, parse_setting
from tgvc_bench.tables import format_tables

pytest.importorskip("imageio_ffmpeg")
av = pytest.importorskip("av")
FRAMES, RATES = 12, (0.012, 0.02)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with one small clip and its finished sweep of one encoder at full size."""
    folder = tmp_path_factory.mktemp("quality")
    y, x = np.mgrid[0:176, 0:192]
    with av.open(str(folder / "clip.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 176, "yuv420p"
        for t in range(FRAMES):
            luma = 128 + 60 * np.sin((x + 3 * t) / 7) * np.cos(y / 9) + 20 * np.sin(x * y / 300)
            planes = [luma, *[128 + 0 * luma[::2, ::2]] * 2]
            picture = join_planes(*(np.clip(p, 0, 255).astype(np.uint8) for p in planes))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        out.mux(stream.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "SIZES", (Fraction(1),))
        patch.setattr(baselines, "RATES", (0.01, 0.02, 0.04))
        patch.setattr(baselines, "HIGHEST", 0.2)
        sweep = baselines.Sweep(clips.read_clip(folder / "clip.mkv", FRAMES), folder / "sweeps" / "clip.json")
        for _ in sweep.run("svt-av1-p4"):
            pass
    return folder


def encode_as_baseline(shift):
    """A stand-in for the codec: SVT-AV1 itself, ``shift`` steps of quality from a point of the sweep."""

    def run(path, bpp, options):
        clip = clips.read_clip(path, options.frames)
        encoder = encoders.ENCODERS["svt-av1-p4"]
        quality = 55 + shift
        stream, _ = encoders.encode(encoder, clip.pictures, clip.fps, quality)
        pictures = encoders.decode(encoder, stream, *picture_size(clip.pictures[0]), options.frames)
        return encoders.count_payload(encoder, stream), pictures, {"mode": "stand-in"}

    return run


def invoke(place, output, *more):
    arguments = [str(place / "clip.mkv"), "-o", str(output), "--baselines", str(place / "sweeps")]
    rates = [word for rate in RATES for word in ("--bpp", str(rate))]
    return CliRunner().invoke(
        commands,
        ["quality", *arguments, *rates, "--frames", str(FRAMES), *more],
        catch_exceptions=False,
        standalone_mode=False,
    )


def test_the_baseline_itself_neither_wins_nor_saves(place, tmp_path, monkeypatch):
    record = json.loads((place / "sweeps" / "clip.json").read_text())
    point = min(record["codecs"]["svt-av1-p4"]["points"], key=lambda p: abs(p["bpp"] - 0.02))
    monkeypatch.setattr(quality, "run_tgvc", encode_as_baseline(point["q"] - 55))
    invoke(place, tmp_path / "out.json")
    entries = json.loads((tmp_path / "out.json").read_text())["entries"]
    assert [e["rate"] for e in entries] == list(RATES)
    assert entries[0]["bytes"] == point["bytes"]
    assert entries[0]["scores"] == point["scores"]
    compared = entries[0]["against"]["svt-av1-p4"]
    assert verdict.count_wins(compared) == 0
    # Equal points; only the rounding of the rate to six digits is left.
    assert [compared[m]["bits_saved"] for m in verdict.SIX] == pytest.approx([0] * 6, abs=1e-5)


def test_results_are_kept_until_options_or_code_change(place, tmp_path, monkeypatch):
    output, calls = tmp_path / "out.json", []
    run = encode_as_baseline(0)
    monkeypatch.setattr(quality, "hash_code", lambda: "one")
    monkeypatch.setattr(quality, "run_tgvc", lambda *a: calls.append(a) or run(*a))
    invoke(place, output)
    assert len(calls) == 2
    text = output.read_text()
    invoke(place, output)
    assert len(calls) == 2
    assert output.read_text() == text
    assert str(place) not in text  # nothing of the machine
    with pytest.raises(ConfigError, match="results of other options"):
        invoke(place, output, "--effort", "1")
    monkeypatch.setattr(quality, "hash_code", lambda: "other")
    invoke(place, output)
    assert len(calls) == 4


def test_an_encoder_that_refuses_is_listed_and_counted_as_lost(place, tmp_path, monkeypatch):
    def refuse(*_):
        raise VideoError("no")

    monkeypatch.setattr(quality, "run_tgvc", refuse)
    invoke(place, tmp_path / "out.json")
    entries = json.loads((tmp_path / "out.json").read_text())["entries"]
    assert {e["error"] for e in entries} == {"VideoError: no"}
    assert verdict.summarise(entries, "svt-av1-p4") is None
    # A failed clip beside a won one keeps the bar from being met.
    entry = make_entry(0.1)
    both = verdict.summarise([entry, entries[0]], "svt-av1-p4")
    assert (both.clips, both.failed, both.won_clips) == (2, 1, 1)
    assert not verdict.judge(verdict.Bar("svt-av1-p4", 0), both)[0]


def test_a_missing_sweep_is_refused_before_anything_is_encoded(place, tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "run_tgvc", lambda *_: pytest.fail("encoded"))
    with pytest.raises(ConfigError, match="no baselines of clip with these frames"):
        invoke(place, tmp_path / "out.json", "--frames", "5")


def make_entry(saved, lost=0, clip="a", rate=0.003, codec="svt-av1-p4"):
    """An entry that wins all but ``lost`` of the six metrics."""
    compared = {}
    for i, metric in enumerate((*verdict.SIX, *verdict.PRINTED)):
        won = i >= lost
        better = won != (metric == "gmsd")
        ours = 0.6 if better else 0.4
        compared[metric] = {
            "ours": ours,
            "baseline": 0.5,
            "won": won,
            "bits_saved": saved,
            "bound": "exact",
            "below_floor": False,
        }
    scores = {m: c["ours"] for m, c in compared.items()}
    entry = {"clip": clip, "rate": rate, "bpp": rate, "bytes": 1, "scores": scores, "baseline_versions": {codec: "1"}}
    return {**entry, "against": {codec: compared}}


@pytest.mark.parametrize(
    ("entries", "passed"),
    [
        ([make_entry(0.1), make_entry(0.1, 1)], True),
        ([make_entry(0.1), make_entry(0.09)], False),  # mean saving 9.5 %
        ([make_entry(0.2, 2), make_entry(0.2, 2)], False),  # 4 of 6 in the mean
        ([make_entry(0.2), make_entry(0.2), make_entry(0.2, 3)], False),  # 2 of 3 clips, below 70 %
        ([make_entry(0.2), make_entry(0.2), make_entry(0.2), make_entry(0.2, 3)], True),
    ],
)
def test_the_bar_asks_for_wins_share_and_saving(entries, passed):
    bar = verdict.Bar("svt-av1-p4", 5, 0.7, 0.10)
    assert verdict.judge(bar, verdict.summarise(entries, "svt-av1-p4"))[0] is passed


def test_the_table_lists_the_worst_clip_first_and_says_what_is_not_met():
    entries = [make_entry(0.2, clip="good"), make_entry(-0.1, 4, clip="bad"), make_entry(0.1, clip="middle")]
    text = format_tables({"command": "tgvc-bench quality", "rates": [0.003], "entries": entries}, "svt-av1-p4")
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert rows[:5] == ["clip", "bad", "middle", "good", "**mean**"]
    assert "**not met**, svt-av1-p4" in text
    assert "NOT MET: 2 of 3 clips" in text
    assert "x265-slow: not measured" in text
    with pytest.raises(ConfigError, match="no entry is compared with 'x'"):
        format_tables({"command": "", "rates": [0.003], "entries": entries}, "x")


def test_reports_keep_plain_data_only():
    report = {
        "modes": ["F", "G"],
        "bits": {"keys": 1},
        "seconds": 2.0,
        "frames_per_second": 3,
        "psnr": float("nan"),
        "array": np.zeros(2),
    }
    assert quality._facts(report) == {"modes": ["F", "G"], "bits": {"keys": 1}}


@pytest.mark.parametrize(("text", "pair"), [("a=1", ("a", 1)), ("a=F", ("a", "F")), ('a=["F"]', ("a", ["F"]))])
def test_settings_are_json_or_text(text, pair):
    assert parse_setting(text) == pair


def test_committed_sweeps_hold_what_the_comparison_needs():
    files = sorted(quality.BASELINES.glob("*.json"))
    if not files:
        pytest.skip(f"no sweeps in {quality.BASELINES}")
    for file in files:
        record = json.loads(Path(file).read_text())
        for name, codec in record["codecs"].items():
            assert codec["version"], f"{file.name} {name}"
            assert "/" not in codec["command"], f"{file.name} {name}: a path of a machine"
            for point in codec["points"]:
                bpp = 8 * point["bytes"] / (record["width"] * record["height"] * record["frames"])
                assert point["bpp"] == pytest.approx(bpp, rel=1e-5)
                if "vmaf" in point["scores"]:
                    assert {*verdict.SIX, *verdict.PRINTED} <= set(point["scores"])
