"""The ablation: every system codes what it says, at bytes that count; results are kept only where they still hold."""

import copy
import json
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner

from tgvc.bitstream.pictures import CODECS
from tgvc.errors import ConfigError
from tgvc_bench import ablation, quality
from tgvc_bench.cli import commands
from tgvc_bench.published import write_lossless
from tgvc_bench.remember import remember_tracks

pytest.importorskip("imageio_ffmpeg")
FRAMES, RATE, SPACINGS = 9, 0.05, (4, 8)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, make_clip):
    """A moving clip, the result of the command on it, and the text it printed."""
    folder = tmp_path_factory.mktemp("ablation")
    clip, output = folder / "moving.mkv", folder / "out.json"
    pictures = make_clip([(3 * t, 2 * t) for t in range(FRAMES)], size=(192, 176))
    write_lossless(clip, pictures, Fraction(25))
    words = ["ablation", str(clip), "-o", str(output), "--bpp", str(RATE), "--effort", "1", "--frames", str(FRAMES)]
    words += [word for s in SPACINGS for word in ("--spacing", str(s))]
    result = CliRunner().invoke(commands, words, catch_exceptions=False, standalone_mode=False)
    return clip, output, result.output


def run(clip, output, **more):
    return list(ablation.run_ablation([clip], [RATE], output, frames=FRAMES, effort=1, spacings=SPACINGS, **more))


def test_every_system_uses_only_its_own_modes(measured):
    entries = json.loads(measured[1].read_text())["entries"]
    assert len(entries) == len(SPACINGS) * len(ablation.SYSTEMS)
    for entry in entries:
        assert set(entry["modes"]) <= {*ablation.SYSTEMS[entry["system"]], "plain"}
        assert entry["fits"] == (entry["bpp"] <= RATE)


def test_moving_pictures_beats_fading_them_where_everything_moves(measured):
    entries = json.loads(measured[1].read_text())["entries"]
    psnr = {(e["system"], e["spacing"]): e["scores"]["psnr_y"] for e in entries}
    # the whole picture moves 14 px between keys: a fade shows it twice
    assert all(psnr[s, 4] > psnr["cross-fade", 4] + 2 for s in ("F", "G", "T"))


def test_a_second_run_measures_nothing_again(measured, tmp_path, monkeypatch):
    output = tmp_path / "out.json"
    output.write_bytes(measured[1].read_bytes())
    assert run(measured[0], output) == []
    assert output.read_bytes() == measured[1].read_bytes()
    record = json.loads(output.read_text())
    lost = record["entries"].pop(3)
    output.write_text(json.dumps(record))
    assert run(measured[0], output) == [lost]
    monkeypatch.setattr(quality, "hash_code", lambda: "another")
    monkeypatch.setattr(ablation, "_measure", lambda *_: {"error": "stand-in"})
    assert len(run(measured[0], output)) == len(record["entries"]) + 1


def test_results_of_other_settings_are_refused(measured):
    with pytest.raises(ConfigError, match="other settings"):
        list(ablation.run_ablation([measured[0]], [RATE], measured[1], frames=FRAMES - 1, effort=1, spacings=SPACINGS))


def test_the_best_spacing_fits_before_it_is_good(measured):
    entries = [e for e in json.loads(measured[1].read_text())["entries"] if e["system"] == "F"]
    good, poor = copy.deepcopy(entries)
    good["scores"] |= {"psnr_y": 40.0, "ms_ssim": 0.99}
    poor["scores"] |= {"psnr_y": 20.0, "ms_ssim": 0.5}
    good["fits"] = poor["fits"] = True
    assert ablation.find_best([poor, good]) is good
    good["fits"] = False
    assert ablation.find_best([poor, good]) is poor


def test_tables_show_every_row_and_the_means_of_the_entries(measured):
    record = json.loads(measured[1].read_text())
    lines = ablation.format_ablation(record).splitlines()
    assert measured[2].endswith(ablation.format_ablation(record) + "\n")
    for system in ablation.SYSTEMS:
        for spacing in (*SPACINGS, "best"):
            assert sum(line.startswith(f"| {spacing} | {system} |") for line in lines) == 1
    other = copy.deepcopy(record["entries"])
    for entry in other:
        entry["clip"] = "other"
        entry["scores"]["psnr_y"] += 2
    record["entries"] += other
    row = next(x for x in ablation.format_ablation(record).splitlines() if x.startswith("| 4 | G |"))
    first = next(e for e in record["entries"] if (e["system"], e["spacing"]) == ("G", 4))
    assert f"{first['scores']['psnr_y'] + 1:.2f}" in row.replace("*", "")
    assert "0 of 2" in row


def test_remembered_tracks_are_the_same_bytes_and_coded_once(make_picture):
    pictures = [make_picture(3.0 * t, size=(64, 64)) for t in range(2)]
    plain = CODECS[0].encode(pictures, 50, 8)
    before = dict(CODECS)
    with remember_tracks():
        first, again = CODECS[0].encode(pictures, 50, 8), CODECS[0].encode(pictures, 50, 8)
        other = CODECS[0].encode(pictures[::-1], 50, 8)
    assert first is again
    assert first.payload == plain.payload != other.payload
    assert all(np.array_equal(a, b) for a, b in zip(first.pictures, plain.pictures, strict=True))
    assert before == CODECS
