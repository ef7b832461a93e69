"""How speed is measured: percentiles, stages, noise on known clocks; gates that refuse; records that lack something."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgvc.errors import BackendError, ConfigError
from tgvc_bench.protocol import cold, schema
from tgvc_bench.protocol.agreement import compare_equal, compare_relative, compare_within, require
from tgvc_bench.protocol.ceilings import measure_host
from tgvc_bench.protocol.energy import EnergyMeter
from tgvc_bench.protocol.latency import Budget, measure_runs, percentile, summarise_runs, warm_up
from tgvc_bench.protocol.noise import Comparison, compare_calls
from tgvc_bench.protocol.report import format_markdown, format_seconds
from tgvc_bench.protocol.stages import Span, SpanClock, break_down


class FakeClock:
    """Time that passes only where a call lets it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: Iterator[float] | list[float]) -> Callable[[], None]:
        """A call that takes the next of these times, the last one again and again."""
        waiting = list(seconds)

        def call() -> None:
            self.now += waiting.pop(0) if len(waiting) > 1 else waiting[0]

        return call


# ---------------------------------------------------------------- percentiles and warm-up


def test_percentiles_are_ranks_of_what_was_seen() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values[::-1], p) for p in (0, 1, 50, 90, 99, 100)] == [1, 1, 50, 90, 99, 100]
    assert percentile([3.0], 99) == 3.0
    assert percentile([1.0, 2.0], 50) == 1.0  # half of the values do not exceed it
    with pytest.raises(ValueError, match=r"expected 0\.\.100 of at least one"):
        percentile([], 50)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    below = sum(v <= found for v in values)
    assert found in values
    assert below >= percent / 100 * len(values)
    assert sum(v < found for v in values) < percent / 100 * len(values)


def test_runs_end_with_the_budget_of_runs_or_of_seconds() -> None:
    clock = FakeClock()
    assert measure_runs(clock.spend([1.0]), Budget(30, 1000), clock) == [1.0] * 30
    assert len(measure_runs(clock.spend([1.0]), Budget(30, 4.5), clock)) == 5  # the one that is running is finished
    assert len(measure_runs(clock.spend([9.0]), Budget(30, 0), clock)) == 1
    summary = summarise_runs([4.0, 1.0, 2.0, 3.0])
    assert summary == {"runs": 4, "min_s": 1.0, "p50_s": 2.0, "p90_s": 4.0, "p99_s": 4.0, "mean_s": 2.5}


def test_warming_up_lasts_until_two_medians_agree() -> None:
    clock = FakeClock()
    first = warm_up(clock.spend([9, 5, 5, 3, 2, 2, 1, 1, 1, 1]), Budget(), clock)
    assert (first.runs, first.settled) == (12, True)  # medians 5, 2, 1, 1
    shrinking = warm_up(clock.spend([2.0**-n for n in range(60)]), Budget(), clock)
    assert (shrinking.runs, shrinking.settled) == (30, False)
    slow = warm_up(clock.spend([30.0]), Budget(seconds=60), clock)
    assert (slow.runs, slow.settled) == (3, False)  # one batch is over the time


# ---------------------------------------------------------------- stages


def test_stages_and_gap_add_up_to_the_whole() -> None:
    spans = [Span("a", 1, 0.0, 4.0), Span("b", 1, 5.0, 9.0), Span("outside", 1, 20.0, 30.0)]
    found = break_down(spans, 0.0, 10.0)
    assert found.stages == {"a": 4.0, "b": 4.0}
    assert (found.gap_s, found.gap_share, found.adds_up) == (2.0, 0.2, False)
    assert break_down(spans, 0.0, 4.05).adds_up  # a gap of 1.2 %


def test_time_that_stages_share_is_dealt_out_once() -> None:
    spans = [Span("denoise", 1, 0.0, 8.0), Span("decode", 2, 4.0, 10.0), Span("copy", 2, 6.0, 7.0)]
    found = break_down(spans, 0.0, 10.0)
    # 0-4 denoise; 4-6 both; 6-7 denoise and the inner copy; 7-8 both; 8-10 decode
    assert found.stages == pytest.approx({"denoise": 6.0, "decode": 3.5, "copy": 0.5})
    assert found.gap_s == pytest.approx(0.0)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 40), st.integers(0, 20)), max_size=12)
)
def test_the_gap_is_what_no_stage_covers(drawn: list[tuple[str, int, int, int]]) -> None:
    spans = [Span(stage, thread, float(begin), float(begin + length)) for stage, thread, begin, length in drawn]
    found = break_down(spans, 10.0, 30.0)
    covered = sum(any(s.began <= t and s.ended >= t + 1 for s in spans) for t in range(10, 30))
    assert found.gap_s == pytest.approx(20 - covered)
    assert min(found.stages.values(), default=0.0) >= 0


def test_a_clock_of_spans_sees_threads_that_overlap() -> None:
    clock, both = SpanClock(), threading.Barrier(2)

    def work(stage: str) -> None:
        both.wait()
        with clock.measure(stage):
            both.wait()
            time.sleep(0.02)

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = break_down(clock.spans, began, time.perf_counter())
    assert sum(clock.seconds.values()) > 0.035  # as product's reports add them up: more than the time there was
    assert sum(found.stages.values()) + found.gap_s == pytest.approx(found.whole_s)
    assert sum(found.stages.values()) <= found.whole_s * (1 + 1e-9)


# ---------------------------------------------------------------- agreement and noise


def test_an_answer_that_differs_in_one_bit_is_refused() -> None:
    want = np.arange(12, dtype=np.float32)
    got = want.copy()
    assert require("kernel", compare_equal(got, want))["value"] == 0
    got[3] = np.nextafter(got[3], np.float32(9))
    with pytest.raises(BackendError, match=r"kernel: values that differ is 1, expected at most 0; .*none is given"):
        require("kernel", compare_equal(got, want))
    assert not compare_equal(want.astype(np.float64), want).holds  # another type is another answer
    assert not compare_equal(np.full(12, np.nan, np.float32), want).holds


def test_errors_are_measured_against_the_size_of_the_reference() -> None:
    want = np.array([100.0, -200.0])
    assert compare_within(want + 0.1, want, 1e-3).value == pytest.approx(0.1 / 200)
    assert compare_relative(want * 1.01, want, 0.02).value == pytest.approx(0.01)
    assert not compare_relative(np.array([np.nan, 0]), want, 1e9).holds
    assert not compare_within(want[:1], want, 1e9).holds


def test_a_difference_within_the_noise_is_not_told() -> None:
    clock = FakeClock()
    a, b = clock.spend([1.0, 1.1, 1.0, 1.1, 1.0, 1.1]), clock.spend([0.9])
    found, ours, theirs = compare_calls(a, b, Budget(3, 1e9), clock)
    assert found == Comparison(pytest.approx(1.05 / 0.9), pytest.approx(0.1 / 1.1), 3)  # 17 % beside A/A of 9 %
    assert not found.told
    assert (len(ours), len(theirs)) == (6, 3)
    assert Comparison(2.0, 0.09, 3).told
    assert Comparison(0.5, 0.09, 3).told


# ---------------------------------------------------------------- records


def a_record() -> dict[str, Any]:
    machine = {"processor": "p", "cores": 1, "python": "3", "system": "s", "load": 0.5}
    run = {"command": "tgvc bench", "machine": machine, "versions": {"tgvc": "1", "numpy": "2"}}
    ceilings = {"flop_per_s": 2e12, "bytes_per_s": 1e9, "precision": "float32", "how": "x"}
    row = {
        "name": "mix",
        "run": "r",
        "scenario": schema.MICRO,
        "backend": "numba",
        "device": "cpu",
        "precision": "float32",
        "agreement": {"rule": "values that differ", "value": 0.0, "limit": 0},
        "latency": summarise_runs([1e-3, 2e-3]),
        "inputs": "fixed",
        "efficiency": {"of_bandwidth": 0.5},
        "comparison": Comparison(3.0, 0.01, 5).as_dict(),
        "breakdown": break_down([Span("a", 1, 0, 0.5)], 0, 1).as_dict(),
    }
    return schema.start_record("kernels") | {"runs": {"r": run | {"ceilings": ceilings}}, "rows": [row]}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from leaves(part, (*path, name))
    elif isinstance(value, list) and value:
        for number, part in enumerate(value):
            yield from leaves(part, (*path, number))
    else:
        yield path


FREE = {
    "notes",
    "inputs",
    "p",
    "stages",
    "precision",
    "how",
    "of_bandwidth",
    "a",
}  # not demanded, or by name of their own


@pytest.mark.parametrize("path", [p for p in leaves(a_record()) if p[-1] not in FREE or p[-2:] == (0, "precision")])
def test_a_record_that_lacks_a_field_is_refused_by_its_name(path: tuple[Any, ...]) -> None:
    record = a_record()
    schema.check_record(record)
    place: Any = record
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    with pytest.raises(ConfigError, match=str(path[-1])):
        schema.check_record(record)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("scenario", "fast", "expected single stream, offline, cold start, micro"),
        ("run", "other", "expected one of r"),
        ("backend", "", "expected a text"),
        ("latency", summarise_runs([1.0]) | {"p99_s": math.nan}, "p99_s is nan, expected a number"),
        ("agreement", {"rule": "x", "value": 2.0, "limit": 1.0}, "does not hold"),
        ("efficiency", {"of_luck": 1.0}, "expected some of of_flop"),
        ("cost", {}, "expected some of flop"),
    ],
)
def test_a_row_that_says_something_else_is_refused(name: str, value: Any, said: str) -> None:
    record = a_record()
    record["rows"][0][name] = value
    with pytest.raises(ConfigError, match=said):
        schema.check_record(record)


def test_records_are_written_only_if_whole_and_read_back(tmp_path: Any) -> None:
    path, record = tmp_path / "r.json", a_record()
    schema.save_record(path, record)
    assert schema.load_record(path, "kernels") == json.loads(path.read_text()) == record
    with pytest.raises(ConfigError, match="holds a record of kernels, expected decode"):
        schema.load_record(path, "decode")
    del record["rows"][0]["latency"]
    with pytest.raises(ConfigError, match="latency is missing"):
        schema.save_record(path, record)
    assert "latency" in schema.load_record(path, "kernels")["rows"][0]  # the old one is still there
    assert schema.load_record(tmp_path / "none.json", "gpu")["rows"] == []


def test_tables_say_ratios_gaps_and_ceilings() -> None:
    text = format_markdown(a_record())
    assert "| mix, micro | numba on cpu, float32 | fixed | 2 | 1 ms | 2 ms | 2 ms | 1 ms | 50.0% memory |" in text
    assert "3 x the other (A/A 1.0%)" in text
    assert "1 s = a 500 ms (50.0%) + gap 500 ms (50.0%), which is too much: stages do not add up" in text
    assert "ceilings 2 TFLOP/s in float32 and 1 GB/s" in text
    assert [format_seconds(s) for s in (2.5, 0.0123, 4.56e-6, 7e-10, 0.0)] == [
        "2.5 s",
        "12.3 ms",
        "4.56 us",
        "0.7 ns",
        "0 s",
    ]


# ---------------------------------------------------------------- machines


def test_ceilings_are_rates_of_known_amounts_of_work() -> None:
    found = measure_host(1, side=96, copied=1 << 16)
    assert found.flop_per_s > 1e7  # slower than any processor that Python runs on
    assert found.bytes_per_s > 1e6
    assert "96^3 product" in found.how
    assert "copy of 65536 bytes" in found.how


def test_a_start_is_split_at_the_moments_that_a_program_prints() -> None:
    code = "import time; print([time.monotonic(), 0.25, 0.5, 0, 2], flush=True); time.sleep(.1)"
    found = cold.measure_start([sys.executable, "-S", "-c", code])
    assert list(found.stages) == list(cold.PARTS)
    assert [found.stages[name] for name in cold.PARTS[1:]] == [0.25, 0.5, 0, 2]
    assert 0 < found.stages["interpreter"] < found.whole_s
    assert not found.adds_up  # nobody ran for 2.75 s
    with pytest.raises(BackendError, match="exit status 3"):
        cold.measure_start([sys.executable, "-S", "-c", "raise SystemExit(3)"])
    for wrong in ("[1e12, 2e12]", "[0, 1, 1, 1, 1]"):
        with pytest.raises(BackendError, match="expected a moment and 4 times"):
            cold.measure_start([sys.executable, "-S", "-c", f"print({wrong})"])


def test_energy_is_a_difference_of_the_counter_without_what_idling_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()

    class Library:
        NVML_CLOCK_SM = 1
        used_joule = 0.0

        def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - the library's names
            return index

        def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
            return round(1000 * (50 * clock.now + self.used_joule))  # idles at 50 W

        def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:  # noqa: N802
            return 1500

        def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:  # noqa: N802
            return 0x4

    library = Library()
    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.spend([seconds])())

    def call() -> None:
        clock.now += 2.0
        library.used_joule += 600.0

    found = EnergyMeter(library).measure(call, seconds=10, idle=3)
    assert (found["runs"], found["joule"], found["joule_idle_subtracted"]) == (5, 700.0, 600.0)
    assert (found["idle_watt"], found["clock_mhz"], found["held_back"]) == (50.0, 1500, ["power cap"])
