"""Stages that run beside each other: what comes next is made while what is there is being used."""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")
_LOOK_S = 0.1  # how often those who wait look whether the other side is still there
_PATIENCE_S = 1.0  # for a thread that was told to stop; one that waits for a pipe is left alone then


class StageClock:
    """What one decode tells: seconds per stage, added up over all threads, and what painted.

    ``painter``: what a report tells of the generator, where only the stream says which one paints; else empty.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.painter: dict[str, Any] = {}
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - began)

    def add(self, stage: str, seconds: float) -> None:
        """Add time that was measured elsewhere, on a GPU, to a stage."""
        with self._lock:
            self.seconds[stage] += seconds


class _Failure:
    def __init__(self, fault: BaseException) -> None:
        self.fault = fault


class _End:
    pass


class _Maker(threading.Thread):
    """A thread that makes for others, and is of no use by itself."""


class _Ahead(Generic[_T]):
    """The thread that makes, and the queue between."""

    def __init__(self, source: Iterator[_T], depth: int, may_wait: bool) -> None:
        self._source, self._stop = source, threading.Event()
        self._ready: queue.Queue[_T | _Failure | _End] = queue.Queue(depth)
        # the interpreter waits for a thread that is no daemon: native code must not be running when it goes down
        self._thread = _Maker(target=self._make, name="tgvc-ahead", daemon=may_wait)
        self._thread.start()

    def _make(self) -> None:
        try:
            for item in self._source:
                if not self._hand_over(item):
                    return
            self._hand_over(_End())
        except BaseException as fault:  # noqa: BLE001 - raised again where the items are used
            self._hand_over(_Failure(fault))
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()

    def _hand_over(self, item: _T | _Failure | _End) -> bool:
        while not self._stop.is_set() and _program_goes_on():
            with suppress(queue.Full):
                self._ready.put(item, timeout=_LOOK_S)
                return True
        return False

    def take(self) -> _T | _Failure | _End:
        """What was made next, waited for as long as there is somebody who makes it."""
        while self._thread.is_alive():
            with suppress(queue.Empty):
                return self._ready.get(timeout=_LOOK_S)
        try:
            return self._ready.get_nowait()
        except queue.Empty:  # a daemon or another maker takes, for nobody, or a fork that has no threads
            raise RuntimeError("the thread that makes ahead is gone, as the program ends or was forked") from None

    def end(self) -> None:
        """Stop making, and wait a little for the thread."""
        self._stop.set()
        self._thread.join(_PATIENCE_S)


def _program_goes_on() -> bool:
    """Whether some thread keeps the program running that is no maker.

    Else the interpreter waits for makers only, which would wait for ever for those who took from them: generators that
    are kept somewhere are not closed before.
    """
    return any(t.is_alive() and not t.daemon and not isinstance(t, _Maker) for t in threading.enumerate())


def run_ahead(source: Iterator[_T], depth: int = 1, *, may_wait: bool = False) -> Generator[_T]:
    """The items of an iterator, made in a thread of their own while earlier ones are used.

    Args:
        source: advanced in another thread, and closed there. A generator that takes its items from another one that
            runs ahead has to close that one itself: only the thread that advances a generator can.
        depth: items that may wait; one more may be in the making.
        may_wait: the source may wait for ever, as a pipe does; the end of the program does not wait for it then.

    Yields:
        The items in order. An error of the source is raised after the items before it.

    Raises:
        RuntimeError: the source is advanced no more, because the program ends or this is a fork of it.
    """
    ahead = _Ahead(source, depth, may_wait)
    try:
        while not isinstance(item := ahead.take(), _End):
            if isinstance(item, _Failure):
                raise item.fault
            yield item
    finally:
        ahead.end()
