"""Stages beside each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tgvc.overlap import StageClock, run_ahead


def test_items_come_in_order_and_from_another_thread() -> None:
    makers = set()

    def make() -> Iterator[int]:
        for n in range(50):
            makers.add(threading.current_thread())
            yield n

    assert list(run_ahead(make(), 3)) == list(range(50))
    assert threading.current_thread() not in makers


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_is_made_than_may_wait(depth: int) -> None:
    made = []

    def make() -> Iterator[int]:
        for n in range(20):
            made.append(n)
            yield n

    items = run_ahead(make(), depth)
    assert next(items) == 0
    time.sleep(0.3)  # long enough for a thread that does not stop to have made them all
    assert len(made) <= depth + 2  # the one taken, those that wait, and the one in the making
    items.close()


def test_an_error_comes_after_the_items_before_it() -> None:
    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    items = run_ahead(make(), 4)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(items)


def test_the_source_is_closed_when_nobody_wants_more() -> None:
    closed = threading.Event()

    def make() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    items = run_ahead(make())
    assert next(items) == 0
    items.close()
    assert closed.wait(2)


def test_a_source_that_waits_for_ever_does_not_hold_up_the_end() -> None:
    never = threading.Event()

    def make() -> Iterator[int]:
        yield 0
        never.wait(30)

    items = run_ahead(make())
    assert next(items) == 0
    began = time.monotonic()
    items.close()
    assert time.monotonic() - began < 10  # a second is waited for, the rest is patience with a busy machine
    never.set()


def test_a_clock_adds_up_over_threads() -> None:
    clock = StageClock()

    def work() -> None:
        with clock.measure("sleep"):
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.seconds["sleep"] >= 4 * 0.05 * 0.9  # the two clocks of sleep and of the measure may differ a little
    assert set(clock.seconds) == {"sleep"}
