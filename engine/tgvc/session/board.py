"""The state of a session under one lock: which requests wait, which are open, how they begin and end."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from tgvc.errors import RequestCancelledError, RequestTimeoutError, SessionError, SessionFullError
from tgvc.session.feed import ByteFeed
from tgvc.session.stats import SessionStats, State, percentiles
from tgvc.session.stream import Stream, raise_again
from tgvc.video.reader import TimedPicture

_HINT_S = 5.0  # a request that has not begun for so long may wait for its own caller
_LATEST = 1024  # requests that percentiles are taken of
_log = logging.getLogger("tgvc.session")


class Board:
    """All streams of a session; methods with an underscore in front, and those that say so, are called under the lock.

    Args:
        places: streams that may be open at once.
        waiting: requests that may wait for a place.
    """

    def __init__(self, places: int, waiting: int) -> None:
        self.lock = threading.Lock()
        self.work, self._moved = threading.Condition(self.lock), threading.Condition(self.lock)
        self.open: list[Stream] = []
        self.waiting: list[Stream] = []
        self.begin: Callable[[Stream], None] = lambda stream: None  # called under the lock when a stream is opened
        self.closed = False
        self._given_up = False  # to be closed by whoever has the lock next
        self._places, self._limit = places, waiting
        self._dropped: deque[Stream] = deque()  # whose handles nobody holds any more
        self._floor: dict[int, float] = {}  # by priority: what the stream that was chosen last had used
        self._due = math.inf  # no deadline lies before this moment
        self._process = os.getpid()
        self._since = time.monotonic()
        self._ended: Counter[str] = Counter()
        self._frames = 0
        self._stages: Counter[str] = Counter()
        self._latest: deque[tuple[float, float | None, float]] = deque(maxlen=_LATEST)

    @property
    def here(self) -> bool:
        """Whether this is the process that has the threads; a child of it has not."""
        return os.getpid() == self._process

    def check_process(self) -> None:
        """Refuse to wait in a child process, where nothing would ever come.

        Raises:
            SessionError: this is one.
        """
        if not self.here:
            raise SessionError("session: made in another process, expected one of this process; make it after the fork")

    # what callers do

    def submit(self, stream: Stream, patience: float | None) -> None:
        """Let a stream wait for its turn; raises as `tgvc.DecodeSession.submit`."""
        self.check_process()
        until = None if patience is None else time.monotonic() + patience
        with self.lock:
            while len(self.waiting) >= self._limit and not self.closed:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise SessionFullError(
                        f"session: {len(self.waiting)} requests wait already, expected fewer than {self._limit}; take "
                        "frames of earlier ones, or give patience= or a larger waiting="
                    )
                self._moved.wait(left)
            if self.closed:
                raise SessionError("session: closed, expected an open one; make a new one")
            self.waiting.append(stream)
            self._due = min(self._due, math.inf if stream.deadline is None else stream.deadline)
            self._admit()

    def take(self, stream: Stream, timeout: float | None) -> TimedPicture | None:
        """The next frame of a stream; None after the last one."""
        self.check_process()
        until, hint = None if timeout is None else time.monotonic() + timeout, time.monotonic() + _HINT_S
        with self.lock:
            while not stream.frames and not stream.ended:
                self._wait(stream, until, "no frame")
                if stream.state == "waiting" and time.monotonic() > hint:
                    hint += 12 * _HINT_S
                    self._hint(stream)
            return self._taken(stream)

    def poll(self, stream: Stream) -> TimedPicture | bool | None:
        """The same without waiting: False where there is nothing yet."""
        with self.lock:
            self.expire(stream)
            return self._taken(stream) if stream.frames or stream.ended else False

    def wait(self, stream: Stream, timeout: float | None, done: Callable[[], bool], lack: str) -> None:
        """Wait until ``done``; ``lack`` says what is missing if that takes longer than ``timeout`` seconds."""
        self.check_process()
        until = None if timeout is None else time.monotonic() + timeout
        with self.lock:
            while not done():
                self._wait(stream, until, lack)

    def cancel(self, stream: Stream, why: str) -> bool:
        """End a stream; False if it had ended."""
        with self.lock:
            return self.end(stream, "cancelled", RequestCancelledError(f"request {stream.number}: {why}"))

    def drop(self, stream: Stream) -> None:
        """The same for one whose handle is gone; takes no lock, as the collector may call it anywhere."""
        self._dropped.append(stream)

    def drain(self, timeout: float | None) -> bool:
        """Wait until no request is left; False if some are after ``timeout`` seconds."""
        self.check_process()
        with self.lock:
            return self._moved.wait_for(lambda: not self.waiting and not self.open, timeout)

    def close(self) -> None:
        """End all requests and take no more; under the lock."""
        self.closed = True
        for stream in [*self.waiting, *self.open]:
            self.end(stream, "cancelled", RequestCancelledError(f"request {stream.number}: the session was closed"))
        self.work.notify_all()
        self._moved.notify_all()

    def give_up(self) -> None:
        """The same at the next look of a worker; takes no lock, which the calling thread may hold."""
        self._given_up = True

    def describe(self) -> SessionStats:
        """How it stands."""
        with self.lock:
            seconds = time.monotonic() - self._since
            frames = self._frames + sum(stream.made for stream in self.open)
            columns = list(zip(*self._latest, strict=True)) or [(), (), ()]
            names = "queued_s", "first_frame_s", "seconds"
            return SessionStats(
                waiting=len(self.waiting),
                running=len(self.open),
                **{state: self._ended[state] for state in ("done", "failed", "cancelled", "expired")},
                frames=frames,
                seconds=seconds,
                fps=frames / seconds if seconds > 0 else 0.0,
                times={
                    name: percentiles([value for value in column if value is not None])
                    for name, column in zip(names, columns, strict=True)
                },
                stages=dict(self._stages),
            )

    # what workers and readers do, under the lock

    def choose(self) -> Stream | None:
        """Of the streams that could go on, the one of the first priority that got least of the workers' time."""
        ready = [stream for stream in self.open if stream.ready]
        if not ready:
            return None
        stream = min(ready, key=lambda s: (s.priority, s.used, s.number))
        self._floor[stream.priority] = max(stream.used, self._floor.get(stream.priority, 0.0))
        return stream

    def lift(self, stream: Stream) -> None:
        """A stream that could not be worked on has saved up nothing: it goes on beside the others."""
        stream.used = max(stream.used, self._floor.get(stream.priority, 0.0))
        self.work.notify()

    def settle(self, stream: Stream) -> None:
        """End a stream of which nothing is left to be made."""
        if stream.read and stream.group is None and stream.painting is None and not stream.busy and not stream.ended:
            self.end(stream, "done" if stream.fault is None else "failed", stream.fault)

    def end(self, stream: Stream, state: State, fault: BaseException | None) -> bool:
        """Nothing more is made of a stream; False if that was so before."""
        if stream.ended:
            return False
        if stream in self.waiting:
            self.waiting.remove(stream)
            self._moved.notify_all()
        stream.state, stream.fault, stream.over, stream.group = state, fault, time.monotonic(), None
        if state in ("cancelled", "expired"):
            stream.frames.clear()
        if isinstance(stream.source, ByteFeed):
            stream.source.stop()
        self._count(stream)
        stream.slot.notify()
        stream.tell()
        if not stream.busy:
            self.free(stream)
        callbacks, stream.callbacks = stream.callbacks, []
        if callbacks:  # they may call back into the session, so not under its lock
            threading.Thread(target=_call_all, args=(callbacks,), name="tgvc-session-tell", daemon=True).start()
        return True

    def free(self, stream: Stream) -> None:
        """Give back the place of a stream that ended, once what painted it is closed."""
        painting, stream.painting = stream.painting, None
        if painting is None:
            self._leave(stream)
            return

        def close() -> None:
            try:
                painting.close()
            except Exception:  # noqa: BLE001 - whatever it is, the place is free; nobody waits for this one any more
                _log.exception("what painted request %d could not be closed", stream.number)
            finally:
                with self.lock:
                    self._leave(stream)

        # closing may take as long as a step of a network, and whoever cancels does not wait for it
        threading.Thread(target=close, name="tgvc-session-close", daemon=True).start()

    def tidy(self) -> float:
        """End what was given up, dropped or is late; returns the seconds to the next deadline, infinite without any."""
        if self._given_up:
            self.close()
        while self._dropped:
            stream = self._dropped.popleft()
            self.end(stream, "cancelled", RequestCancelledError(f"request {stream.number}: nobody held it any more"))
        now = time.monotonic()
        if now >= self._due:  # else there is no need to look at all that wait
            for stream in [*self.waiting, *self.open]:
                self.expire(stream)
            streams = (*self.waiting, *self.open)
            self._due = min((s.deadline for s in streams if s.deadline is not None and not s.ended), default=math.inf)
        return max(self._due - now, 0.001)

    def _admit(self) -> None:
        """Open streams as long as there are places."""
        while self.waiting and len(self.open) < self._places and not self.closed:
            stream = min(self.waiting, key=lambda s: (s.priority, s.number))
            self.waiting.remove(stream)
            self.open.append(stream)
            stream.state, stream.began = "running", time.monotonic()
            self.begin(stream)
            self._moved.notify_all()

    def _leave(self, stream: Stream) -> None:
        if stream in self.open:
            self.open.remove(stream)
            self._frames += stream.made
            self._admit()
            self._moved.notify_all()

    def _taken(self, stream: Stream) -> TimedPicture | None:
        if stream.frames:
            if stream.stalled:
                self.lift(stream)
            return stream.take()
        if stream.fault is not None:
            raise_again(stream.fault)
        return None

    def _wait(self, stream: Stream, until: float | None, lack: str) -> None:
        """Wait for something new of a stream, no longer than its deadline and ``until`` allow."""
        self.expire(stream)
        if stream.ended:
            return
        now = time.monotonic()
        if until is not None and now >= until:
            raise RequestTimeoutError(f"request {stream.number}: {lack} within the time given; it goes on")
        moments = [moment - now for moment in (until, stream.deadline) if moment is not None]
        stream.changed.wait(max(min([_HINT_S, *moments]), 0.001))

    def _hint(self, stream: Stream) -> None:
        if self.open and all(other.stalled for other in self.open):
            count = len(self.open)
            _log.warning("request %d waits for %d open ones, whose frames nobody takes", stream.number, count)

    def expire(self, stream: Stream) -> None:
        """End a stream that is late."""
        if stream.late and not stream.ended:
            made = f"{stream.made} frames were made"
            fault = RequestTimeoutError(f"request {stream.number}: not done in timeout={stream.timeout:g} s, {made}")
            self.end(stream, "expired", fault)

    def _count(self, stream: Stream) -> None:
        stats = stream.describe()
        self._ended[stats.state] += 1
        self._latest.append((stats.queued_s, stats.first_frame_s, stats.seconds))
        self._stages.update(stats.stages)


def _call_all(callbacks: list[Callable[[], object]]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:  # noqa: BLE001 - whatever it is, the other callbacks are called too
            _log.exception("a callback of a request failed")
