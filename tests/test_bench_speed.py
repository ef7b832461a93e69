"""Speed and memory: nothing is timed that is wrong, and every number says what it is a ratio of."""

import inspect
import json
import time
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner

from tgvc.errors import BackendError
from tgvc.types import picture_planes
from tgvc_bench import kernels, machine, memory, speed
from tgvc_bench.cli import commands
from tgvc_bench.published import write_lossless
from tgvc_kernels import ops, reference

FRAMES, EFFORTS = 9, (0,)


@pytest.fixture(scope="module")
def clip(tmp_path_factory, make_clip):
    """A small moving clip of nine frames at 25 per second."""
    path = tmp_path_factory.mktemp("speed") / "moving.mkv"
    write_lossless(path, make_clip([(2 * t, t) for t in range(FRAMES)], size=(192, 128)), Fraction(25))
    return path


@pytest.fixture(scope="module")
def record(clip):
    """What the command wrote."""
    output = clip.with_name("speed.json")
    words = ["speed", str(clip), "--bpp", "0.05", "--effort", "0", "--repeats", "2", "--threads", "1"]
    CliRunner().invoke(commands, [*words, "-o", str(output)], catch_exceptions=False, standalone_mode=False)
    return json.loads(output.read_text())


def test_ratios_are_those_of_the_seconds_beside_them(record):
    decode = record["decode"]
    duration = FRAMES / 30
    total = decode["stages"]["total"]
    # numbers are stored with three or four digits
    assert decode["x_real_time"]["wall"] == pytest.approx(duration / total["wall_s"]["median"], rel=0.01)
    assert decode["x_real_time"]["cpu"] == pytest.approx(duration / total["cpu_s"]["median"], rel=0.01)
    for entry in record["encode"].values():
        assert entry["real_times_at_own_fps"]["wall"] == pytest.approx(entry["wall_s"] * 25 / FRAMES, rel=0.01)
        assert entry["real_times_at_30_fps"]["cpu"] == pytest.approx(entry["cpu_s"] * 30 / FRAMES, rel=0.01)


def test_the_parts_are_all_there(record):
    assert list(record["decode"]["stages"]) == ["parse", "key pictures", "scaling", "motion", "render", "total"]
    assert all(s["wall_s"]["min"] <= s["wall_s"]["median"] for s in record["decode"]["stages"].values())
    assert record["decode"]["frames"] == FRAMES
    functions = inspect.getmembers(reference, inspect.isfunction)
    assert set(record["kernels"]) == {n for n, f in functions if f.__module__ == reference.__name__ and n[0] != "_"}
    assert list(record["encode"]) == [str(e) for e in EFFORTS]
    assert record["command"].startswith("tgvc-bench speed moving.mkv")
    assert record["machine"]["cores"] >= 1


def test_a_decoder_that_shows_something_else_is_not_timed(clip, tmp_path):
    stream = tmp_path / "clip.tgvc"
    _, _, seen = speed._encode(clip, stream, 0, speed.Options(FRAMES, 0.05))
    speed.check_agreement(stream, seen)
    other = [p.copy() for p in seen]
    other[4][3, 5] ^= 1
    with pytest.raises(BackendError, match="frame 4 is not"):
        speed.check_agreement(stream, other)
    with pytest.raises(BackendError, match="9 frames, the encoder saw 8"):
        speed.check_agreement(stream, seen[:-1])


def test_kernels_that_disagree_are_not_timed(monkeypatch):
    right = ops.mix
    monkeypatch.setattr(
        ops,
        "mix",
        lambda *a, implementation: right(*a, implementation=implementation) + np.uint8(implementation == "cpu"),
    )
    with pytest.raises(BackendError, match="kernel mix"):
        kernels.time_kernels(64, 48, 1)


def test_seconds_of_the_processor_are_counted_apart_from_the_clock():
    _, slept = machine.time_call(lambda: time.sleep(0.05))
    assert slept.wall >= 0.05
    assert slept.cpu < 0.04  # sleeping takes none
    calls = []
    spent = machine.time_repeats(lambda: calls.append(0), 3)
    assert (len(spent), len(calls)) == (3, 4)  # one more, to warm up
    summary = machine.summarise([machine.Spent(3.0, 1.0), machine.Spent(1.0, 2.0), machine.Spent(2.0, 9.0)])
    assert summary == {"runs": 3, "wall_s": {"median": 2.0, "min": 1.0}, "cpu_s": {"median": 2.0, "min": 1.0}}


def test_the_generated_clip_moves_without_a_cut():
    lumas = [picture_planes(memory.make_picture(t, (64, 48)))[0].astype(int) for t in (0, 1, 500)]
    assert 0 < np.abs(lumas[1] - lumas[0]).mean() < np.abs(lumas[2] - lumas[0]).mean()
    assert lumas[0].std() > 15


def test_peaks_are_measured_per_process_and_compared(tmp_path):
    output = tmp_path / "memory.json"
    lines = list(memory.run_memory(output, lengths=(2, 4), efforts=(0,), size=(64, 48), threads=1))
    record = json.loads(output.read_text())
    assert len(lines) == 4
    assert set(record["ratios"]) == {"encode, effort 0", "decode"}
    for name, peaks in record["peaks"].items():
        short, long = peaks["2"], peaks["4"]
        assert (short["frames"], long["frames"]) == (2, 4)
        assert 20 < short["imports_mib"] <= short["peak_mib"]
        assert record["ratios"][name]["4/2"] == pytest.approx(long["peak_mib"] / short["peak_mib"], rel=1e-3)
        assert record["flat"][name] == (record["ratios"][name]["4/2"] <= memory.GOAL)


def test_a_process_that_fails_is_an_error(tmp_path):
    with pytest.raises(BackendError, match=r"memory: decode ended with exit status 1: .*Error"):
        memory.measure_peak("decode", tmp_path / "nothing.tgvc", tmp_path / "out.mp4")
