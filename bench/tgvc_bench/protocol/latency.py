"""Many runs of one thing: warm-up, then a time per run, then percentiles."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tgvc_bench.records import shorten

Clock: TypeAlias = Callable[[], float]
"""Seconds from any origin."""
RUNS, SECONDS = 30, 60.0  # of a scenario: as many runs, unless the time is over before
BATCH, AGREE, MOST_BATCHES = 3, 0.01, 10  # of warming up
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Budget:
    """How long one thing may be measured: at most ``runs``, stopped early after ``seconds``, but never below 1 run."""

    runs: int = RUNS
    seconds: float = SECONDS


@dataclass(frozen=True)
class WarmUp:
    """Runs that were not counted; ``settled``: two batches of them, one after the other, had medians within 1 %."""

    runs: int
    settled: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"runs": self.runs, "settled": self.settled}


def warm_up(call: Callable[[], object], budget: Budget | None = None, clock: Clock = time.perf_counter) -> WarmUp:
    """Run batches of three until two medians in a row agree within 1 %, or the time or the patience is over.

    Args:
        call: what will be measured.
        budget: its ``seconds`` bound the warm-up too; the batch that is running is finished.
        clock: in seconds.
    """
    limit, began, before = (budget or Budget()).seconds, clock(), math.nan
    for batch in range(1, MOST_BATCHES + 1):
        median = statistics.median(time_runs(call, BATCH, clock))
        if abs(median - before) <= AGREE * before:
            return WarmUp(BATCH * batch, True)
        if clock() - began >= limit:
            break
        before = median
    return WarmUp(BATCH * batch, False)


def time_runs(call: Callable[[], object], runs: int, clock: Clock = time.perf_counter) -> list[float]:
    """Seconds of each of so many runs."""
    found = []
    for _ in range(runs):
        began = clock()
        call()
        found.append(clock() - began)
    return found


def measure_runs(call: Callable[[], object], budget: Budget, clock: Clock = time.perf_counter) -> list[float]:
    """Seconds of each run, until the budget is spent; one run at least."""
    began, found = clock(), list[float]()
    while not found or (len(found) < budget.runs and clock() - began < budget.seconds):
        found += time_runs(call, 1, clock)
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that ``percent`` % of them do not exceed (nearest rank): always one that was seen.

    Raises:
        ValueError: no values, or a percentage outside of 0..100.
    """
    if not values or not 0 <= percent <= 100:
        raise ValueError(f"percentile {percent} of {len(values)} values: expected 0..100 of at least one")
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def summarise_runs(seconds: Sequence[float]) -> dict[str, Any]:
    """``runs``, ``min_s``, ``p50_s``, ``p90_s``, ``p99_s``, ``mean_s``.

    With fewer than 100 runs the 99th percentile is the largest: ``runs`` stands beside it for that reason.
    """
    found: dict[str, Any] = {"runs": len(seconds), "min_s": shorten(min(seconds), 4)}
    found |= {f"p{p}_s": shorten(percentile(seconds, p), 4) for p in PERCENTILES}
    return found | {"mean_s": shorten(statistics.fmean(seconds), 4)}
