"""The inside of a request: what is known of its stream, and what is made of it ahead of its reader."""

from __future__ import annotations

import copy
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from threading import Condition, Lock
from typing import Any, NoReturn

from tgvc.decoder import Decoder, TimedGroup
from tgvc.overlap import StageClock
from tgvc.session.stats import ENDS, RequestStats, State
from tgvc.types import VideoInfo
from tgvc.video.reader import TimedPicture


class StoppedError(Exception):
    """Ends the work on a stream that nobody wants any more; never leaves the session."""


def strip_fault(fault: BaseException) -> BaseException:
    """A fault as it may be kept: it still says where it happened, but holds nothing of what was at work there."""
    link: BaseException | None = fault
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return fault.with_traceback(None if fault.__traceback__ is None else fault.__traceback__.tb_next)


def raise_again(fault: BaseException) -> NoReturn:
    """Raise a fault for one of those who ask: a copy, so that the fault does not hold on to who asked."""
    raise _copied(fault).with_traceback(fault.__traceback__)


def _copied(fault: BaseException) -> BaseException:
    """A copy of a fault with what led to it; itself if its class makes none, or one that says something else."""
    try:
        again = copy.copy(fault)  # calls the class with ``args``, which is not always what it was called with
        if str(again) != str(fault):
            return fault
    except Exception:  # noqa: BLE001 - whatever it is, the fault is what is to be told
        return fault
    again.__cause__, again.__context__ = fault.__cause__, fault.__context__
    again.__suppress_context__ = fault.__suppress_context__  # last, as setting a cause sets it too
    return again


class WatchedClock(StageClock):
    """A clock that lets no stage begin once ``check`` raises: what is left of a cancelled stream unwinds there."""

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """See `tgvc.overlap.StageClock.measure`."""
        self._check()
        with super().measure(stage):
            yield


class Stream:
    """One request; everything but ``clock`` and ``paint`` is to be touched under the lock only.

    Args:
        number: of the request in its session.
        source: what `tgvc.source.open_input` takes.
        decoder: of the asked range.
        priority: smaller comes first.
        timeout: seconds from now until the last frame has to be there, or None.
        ahead: frames that may wait to be taken.
        lock: of the session.
    """

    def __init__(
        self,
        number: int,
        source: Any,
        decoder: Decoder,
        *,
        priority: int,
        timeout: float | None,
        ahead: int,
        lock: Lock,
    ) -> None:
        self.number, self.source, self.decoder = number, source, decoder
        self.priority, self.ahead = priority, ahead
        self.timeout, self.clock = timeout, WatchedClock(self.check)
        self.asked = time.monotonic()
        self.deadline = None if timeout is None else self.asked + timeout
        self.changed, self.slot = Condition(lock), Condition(lock)  # for takers of frames; for the reader of groups
        self.state: State = "waiting"
        self.info: VideoInfo | None = None
        self.frames: deque[TimedPicture] = deque()
        self.group: TimedGroup | None = None  # read, not yet begun
        self.painting: Generator[TimedPicture] | None = None
        self.read = self.busy = False  # read to its end; a worker is in it
        self.fault: BaseException | None = None
        self.made = self.taken = 0
        self.used = self.work_s = 0.0  # seconds of workers: for fairness, and in truth
        self.began: float | None = None
        self.first: float | None = None
        self.over: float | None = None
        self.full_since: float | None = None
        self.stalled_s = 0.0
        self.listeners: list[Callable[[], None]] = []
        self.callbacks: list[Callable[[], object]] = []

    @property
    def ended(self) -> bool:
        """Whether nothing will be made any more."""
        return self.state in ENDS

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() > self.deadline

    @property
    def ready(self) -> bool:
        """Whether a worker could make a frame now."""
        some = self.painting is not None or self.group is not None
        return some and not self.busy and not self.ended and len(self.frames) < self.ahead

    @property
    def stalled(self) -> bool:
        """Whether it only waits for its frames to be taken."""
        return not self.ended and not self.busy and len(self.frames) >= self.ahead

    def check(self) -> None:
        """Raise if the work on this stream is in vain; called by every stage, without the lock."""
        if self.ended or self.late:
            raise StoppedError

    def paint(self, group: TimedGroup | None) -> TimedPicture | None:
        """The next frame of the group that is being painted, or None at its end. Not under the lock.

        Args:
            group: to be begun; None to go on.
        """
        self.check()
        if group is not None:
            self.painting = self.decoder.paint_group(group, self.clock, lambda *_: self.check())
        assert self.painting is not None
        return next(self.painting, None)

    def put(self, shown: TimedPicture) -> None:
        """A frame is there."""
        now = time.monotonic()
        self.frames.append(shown)
        self.made += 1
        if self.first is None:
            self.first = now
        if len(self.frames) >= self.ahead:
            self.full_since = now
        self.tell()

    def take(self) -> TimedPicture:
        """The next frame, which has to be there."""
        if self.full_since is not None:
            self.stalled_s += time.monotonic() - self.full_since
            self.full_since = None
        self.taken += 1
        return self.frames.popleft()

    def tell(self) -> None:
        """Wake whoever waits for something new."""
        self.changed.notify_all()
        for listener in self.listeners:
            listener()

    def describe(self) -> RequestStats:
        """How it stands."""
        now = time.monotonic() if self.over is None else self.over
        began = now if self.began is None else self.began
        stalled = self.stalled_s + (0.0 if self.full_since is None else now - self.full_since)
        return RequestStats(
            state=self.state,
            priority=self.priority,
            frames=self.made,
            taken=self.taken,
            queued_s=began - self.asked,
            first_frame_s=None if self.first is None else self.first - self.asked,
            seconds=now - self.asked,
            work_s=self.work_s,
            stalled_s=max(stalled, 0.0),
            fps=self.made / (now - began) if now > began else 0.0,
            stages=dict(self.clock.seconds),
        )
