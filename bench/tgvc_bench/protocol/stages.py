"""Where the time of a whole goes: stages that add up to it, and a gap that is said.

Stages of the product overlap: they run in threads beside each other. Every moment between begin and end is dealt out
here: to the stage that runs in it, in equal parts if several do, to the innermost where one contains another, and to
the gap if none does. So stages and gap add up to the whole, and the gap is what no stage accounts for.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from tgvc.overlap import StageClock
from tgvc_bench.protocol.latency import Clock
from tgvc_bench.records import shorten

GAP = 0.02  # of the whole that may go to no stage


class Span(NamedTuple):
    """One stretch of a stage, seconds; ``thread``: where it ran."""

    stage: str
    thread: int
    began: float
    ended: float


class SpanClock(StageClock):
    """A clock of stages that keeps every stretch."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        super().__init__()
        self.spans: list[Span] = []
        self._clock = clock

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """See `StageClock.measure`."""
        began = self._clock()
        try:
            yield
        finally:
            self.add(stage, self._clock() - began)

    def add(self, stage: str, seconds: float) -> None:
        """See `StageClock.add`: a stretch that ends now, in the order of the thread that tells of it."""
        now = self._clock()
        super().add(stage, seconds)
        with self._lock:
            self.spans.append(Span(stage, threading.get_ident(), now - seconds, now))


@dataclass(frozen=True)
class Breakdown:
    """Seconds of a whole by stage; ``gap_s``: what none accounts for. They add up to ``whole_s``."""

    whole_s: float
    stages: Mapping[str, float]

    @property
    def gap_s(self) -> float:
        """Seconds of the whole that belong to no stage."""
        return self.whole_s - sum(self.stages.values())

    @property
    def gap_share(self) -> float:
        """The gap as a part of the whole; negative where stages take more than there is."""
        return self.gap_s / self.whole_s if self.whole_s else 0.0

    @property
    def adds_up(self) -> bool:
        """Whether the gap is within `GAP`, on either side."""
        return abs(self.gap_share) <= GAP

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a record."""
        return {
            "whole_s": shorten(self.whole_s, 4),
            "stages": {name: shorten(spent, 4) for name, spent in self.stages.items()},
            "gap_s": shorten(self.gap_s, 4),
            "gap_share": shorten(self.gap_share, 3),
            "adds_up": self.adds_up,
        }

    def describe(self) -> str:
        """Shares of all stages and the gap, in words."""
        parts = [f"{name} {spent / self.whole_s:.1%}" for name, spent in self.stages.items()] if self.whole_s else []
        verdict = "" if self.adds_up else f", MORE THAN {GAP:.0%}"
        return f"{', '.join([*parts, f'gap {self.gap_share:.1%}'])}{verdict}"


def break_down(spans: Iterable[Span], began: float, ended: float, around: Collection[str] = ()) -> Breakdown:
    """Deal the time between two moments out to the stages that ran in it.

    Args:
        spans: of any threads, in any order; parts outside of the two moments do not count.
        began: seconds.
        ended: seconds, not before ``began``.
        around: stages that wait for others in other threads; they get only what no other stage runs in.
    """
    marks = [(began, False, Span("", 0, began, began)), (ended, False, Span("", 0, ended, ended))]
    known = [span for span in spans if span.ended > began and span.began < ended]
    for span in known:
        marks += [(max(span.began, began), True, span), (min(span.ended, ended), False, span)]
    marks.sort(key=lambda mark: mark[0])
    open_spans: dict[int, list[Span]] = defaultdict(list)  # thread -> from the outermost to the innermost
    shares: dict[str, float] = {span.stage: 0.0 for span in sorted(known, key=lambda span: span.began)}
    before = began
    for moment, opens, span in marks:
        active = [stack[-1].stage for stack in open_spans.values() if stack]
        innermost = [stage for stage in active if stage not in around] or active
        for stage in innermost:
            shares[stage] += (moment - before) / len(innermost)
        before = moment
        if opens:
            stack = open_spans[span.thread]
            stack.append(span)
            stack.sort(key=lambda one: (one.began, -one.ended))
        elif span.stage:
            open_spans[span.thread].remove(span)
    return Breakdown(ended - began, shares)
