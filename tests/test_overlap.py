"""Stages beside each other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing

import pytest

from tgvc import overlap
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


def test_stages_that_are_abandoned_end_in_their_own_threads() -> None:
    """A slow stage is still at work when its reader goes: nothing may reach into it from outside."""
    ended = []

    def numbers() -> Iterator[int]:
        try:
            for n in range(1000):
                time.sleep(0.6)
                yield n
        finally:
            ended.append("numbers")

    def doubles(source: Generator[int]) -> Iterator[int]:
        try:
            with closing(source):
                for n in source:
                    time.sleep(0.6)
                    yield 2 * n
        finally:
            ended.append("doubles")

    outer = run_ahead(doubles(run_ahead(numbers())))
    assert next(outer) == 0
    outer.close()
    for _ in range(100):
        if len(ended) == 2:
            break
        time.sleep(0.05)
    assert sorted(ended) == ["doubles", "numbers"]


def run_program(text: str) -> tuple[int, str, str]:
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, env=path)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("may_wait", [False, True])
def test_a_program_may_end_with_items_left_over(may_wait: bool) -> None:
    program = f"""
import itertools
from tgvc.overlap import run_ahead
items = run_ahead(itertools.count(), may_wait={may_wait})
print(next(items))
"""
    assert run_program(program) == (0, "0\n", "")


STAGES = """
import threading, time
from tgvc.overlap import run_ahead
def tick():
    for n in range(12):
        time.sleep(0.1)
        yield n
def pass_on(source):
    try:
        yield from source
    finally:
        source.close()
def stages():
    return run_ahead(pass_on(run_ahead(tick())))
"""


@pytest.mark.parametrize("taker", ["thread", "daemon of a thread"])
def test_a_thread_goes_on_taking_after_the_main_thread_has_ended(taker: str) -> None:
    program = """
def work():
    threading.main_thread().join()
    items = stages()
    next(items)
    time.sleep(0.5)  # a slow taker, so that the queues are full meanwhile
    print(sum(items), flush=True)
def wait():
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join()
"""
    program += f"threading.Thread(target={'work' if taker == 'thread' else 'wait'}).start()\n"
    assert run_program(STAGES + program) == (0, "66\n", "")


@pytest.mark.parametrize("taker", ["main thread", "thread that has ended", "daemon"])
def test_stages_that_nobody_takes_from_do_not_keep_a_program(taker: str) -> None:
    """One stage waits for the next one when the program ends: each has to see that nobody is left."""
    program = """
items = stages()
def work():
    print(next(items), flush=True)
def stay():
    work()
    for _ in items:
        time.sleep(0.2)
"""
    if taker == "main thread":
        program += "work()\n"
    else:
        target, daemon = ("stay", True) if taker == "daemon" else ("work", False)
        program += f"threading.Thread(target={target}, daemon={daemon}).start()\ntime.sleep(0.3)\n"
    began = time.monotonic()
    assert run_program(STAGES + program) == (0, "0\n", "")
    assert time.monotonic() - began < 30


def test_a_taker_whose_maker_is_gone_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a daemon is while the program ends: there is no telling the end of the items from the end of the thread."""
    monkeypatch.setattr(overlap, "_program_goes_on", lambda: False)
    with pytest.raises(RuntimeError, match="program"):
        next(run_ahead(iter(range(3))))
