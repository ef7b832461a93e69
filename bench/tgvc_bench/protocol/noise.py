"""Is one thing faster than another, or is it the weather? The same thing against itself says how large the weather is.

Runs are interleaved: A, A again, B, then the next round, so that what slows a machine down slows all of them down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tgvc_bench.protocol.latency import Budget, Clock, time_runs
from tgvc_bench.records import shorten

TIMES = 3.0  # a change counts only if it is so many times the spread


@dataclass(frozen=True)
class Comparison:
    """``ratio``: of a's time to b's. ``spread``: |a / a - 1|. ``told``: ratio differs from 1 by 3 spreads."""

    ratio: float
    spread: float
    rounds: int

    @property
    def told(self) -> bool:
        """Whether the difference may be reported as one."""
        return abs(self.ratio - 1) > TIMES * self.spread

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a record."""
        found = {"ratio": shorten(self.ratio, 3), "spread": shorten(self.spread, 2)}
        return found | {"told": self.told, "rounds": self.rounds}


def compare_calls(
    a: Callable[[], object],
    b: Callable[[], object],
    budget: Budget,
    clock: Clock = time.perf_counter,
    pick: Callable[[Sequence[float]], float] = min,
) -> tuple[Comparison, list[float], list[float]]:
    """How many times faster ``b`` is than ``a``, and the seconds of both.

    Args:
        a: the one that is there.
        b: the other.
        budget: rounds, and seconds over all of them.
        clock: in seconds.
        pick: the number that stands for many: the smallest on a processor that others use too, the median on a GPU.
    """
    began = clock()
    one, again, other = list[float](), list[float](), list[float]()
    while not one or (len(one) < budget.runs and clock() - began < budget.seconds):
        for call, found in ((a, one), (a, again), (b, other)):
            found += time_runs(call, 1, clock)
    first, second, third = (pick(found) for found in (one, again, other))
    return Comparison((first + second) / 2 / third, abs(first / second - 1), len(one)), one + again, other
