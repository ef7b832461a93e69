"""A request: frames as they come, or all at once, and the ways to let go of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from types import TracebackType
from typing import Any, Self

from tgvc.decoder import DecodeReport
from tgvc.errors import ConfigError
from tgvc.session.board import Board
from tgvc.session.feed import ByteFeed
from tgvc.session.stats import RequestStats
from tgvc.session.stream import Stream, raise_again
from tgvc.types import VideoInfo
from tgvc.video.reader import TimedPicture
from tgvc.video.writer import VideoWriter


class Request:
    """One stream that a session decodes; made by `tgvc.DecodeSession.submit`.

    ``for shown in request`` gives its frames in order as they are made, ``async for`` the same without blocking. An
    error of the stream is raised after the frames before it. Used in a ``with`` statement, or when nobody holds it any
    more, what is left of it is cancelled. Frames are made ahead of their taker up to the session's ``ahead``, then
    the stream stands still.
    """

    def __init__(self, board: Board, stream: Stream, owner: object) -> None:
        self._board, self._stream = board, stream
        self._owner = owner  # the session lives as long as one of its requests
        self._gone = weakref.finalize(self, board.drop, stream)
        self._gone.atexit = False

    @property
    def number(self) -> int:
        """Of the request in its session, from 0; messages name it."""
        return self._stream.number

    @property
    def stats(self) -> RequestStats:
        """How it stands now; also after its end."""
        with self._board.lock:
            return self._stream.describe()

    def info(self, timeout: float | None = None) -> VideoInfo:
        """What the header of the stream says: size, rate; waits until it was read.

        Args:
            timeout: seconds to wait at most.

        Raises:
            RequestTimeoutError: it took longer.
            TgvcError: the stream has no sound header, or was cancelled before it was read.
        """
        stream = self._stream
        self._board.wait(stream, timeout, lambda: stream.info is not None or stream.ended, "no header")
        if stream.info is None:
            assert stream.fault is not None
            raise_again(stream.fault)
        return stream.info

    def frame(self, timeout: float | None = None) -> TimedPicture | None:
        """The next frame, waited for; None after the last one.

        Args:
            timeout: seconds to wait at most; the request goes on if they pass.

        Raises:
            RequestTimeoutError: it took longer, or the request missed its deadline.
            RequestCancelledError: it was cancelled.
            BitstreamError: not a valid stream from here on.
        """
        return self._board.take(self._stream, timeout)

    def result(self, timeout: float | None = None) -> list[TimedPicture]:
        """All frames that were not taken yet; raises as `frame`, and keeps nothing then.

        Args:
            timeout: seconds to wait for all of them.
        """
        until = None if timeout is None else time.monotonic() + timeout
        frames = []
        while (shown := self.frame(None if until is None else max(until - time.monotonic(), 0.0))) is not None:
            frames.append(shown)
        return frames

    def write(self, target: Any) -> DecodeReport:
        """Write all frames into a video file, a folder of pictures or a pipe, as `tgvc.Decoder.decode` does.

        Args:
            target: see `tgvc.video.writer.VideoWriter`.

        Raises:
            ConfigError: no frame lies in the asked range.
            VideoError: the target cannot be written.
            TgvcError: as `frame`; nothing is left of the target.
        """
        try:
            return self._write(target)
        finally:
            self.cancel()  # what could not be written is not made

    def cancel(self) -> bool:
        """End it now: its frames are let go of at once, its work ends with the step it is in. False if it had ended."""
        return self._board.cancel(self._stream, "cancelled")

    def done(self) -> bool:
        """Whether nothing will be made any more, because all is made or because it ended otherwise."""
        return self._stream.ended

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._stream.state == "cancelled"

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What it failed with, or None, once it is `done`; frames have to be taken meanwhile if there are many."""
        self._board.wait(self._stream, timeout, lambda: self._stream.ended, "not done")
        return self._stream.fault

    def add_done_callback(self, callback: Callable[[Request], object]) -> None:
        """Have a function called with this request when it is done, at once if it is, from some thread."""
        with self._board.lock:
            if not self._stream.ended:
                self._stream.callbacks.append(lambda: callback(self))
                return
        callback(self)

    def __iter__(self) -> Iterator[TimedPicture]:
        while (shown := self.frame()) is not None:
            yield shown

    async def __aiter__(self) -> AsyncGenerator[TimedPicture]:
        """The same for asyncio; a loop that is left early cancels the request."""
        self._board.check_process()
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(news.set)

        with self._listening(tell):
            try:
                while True:
                    news.clear()
                    shown = self._board.poll(self._stream)
                    if shown is None:
                        return
                    if isinstance(shown, bool):
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(news.wait(), self._seconds_left())
                    else:
                        yield shown
            finally:
                self.cancel()

    def _write(self, target: Any) -> DecodeReport:
        info, config, report = self.info(), self._stream.decoder.config, DecodeReport()
        report.fps = float(info.fps)
        size = (info.source_width, info.source_height) if config.restore_size else None
        with VideoWriter(target, info, size=size) as writer:
            report.width, report.height = writer.size
            for shown in self:
                began = time.perf_counter()
                writer.write(shown.picture, shown.time)
                self._stream.clock.add("write", time.perf_counter() - began)
                report.frames += 1
            if report.frames == 0:
                raise ConfigError(f"start={config.start}, end={config.end}: no frame lies in this range")
        for name, fact in (self._stream.decoder.facts | self._stream.clock.painter).items():
            setattr(report, name, fact)
        stats = self.stats
        report.seconds, report.stages = stats.seconds, dict(stats.stages)
        return report

    @contextlib.contextmanager
    def _listening(self, tell: Callable[[], None]) -> Iterator[None]:
        listeners = self._stream.listeners
        with self._board.lock:
            listeners.append(tell)
        try:
            yield
        finally:
            with self._board.lock:
                listeners.remove(tell)

    def _seconds_left(self) -> float | None:
        deadline = self._stream.deadline
        return None if deadline is None else max(deadline - time.monotonic(), 0.0) + 0.001

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


class LiveRequest(Request):
    """A request whose bytes are pushed piece by piece; made by `tgvc.DecodeSession.open`."""

    def __init__(self, board: Board, stream: Stream, owner: object, pipe: ByteFeed) -> None:
        super().__init__(board, stream, owner)
        self._pipe = pipe

    def feed(self, data: bytes, timeout: float | None = None) -> None:
        """Append bytes of the stream; waits while a megabyte is unread, which is so when frames are not taken.

        Bytes after the last frame of the asked range are let go of.

        Args:
            data: of any length, cut anywhere.
            timeout: seconds to wait for room.

        Raises:
            RequestTimeoutError: no room in time; nothing was appended.
            ConfigError: after `finish`.
            TgvcError: the stream failed or was cancelled meanwhile.
        """
        if not self._pipe.write(data, timeout) and self._stream.fault is not None:
            raise_again(self._stream.fault)

    def finish(self) -> None:
        """Declare the end of the stream; a stream that ends too early is an error where its frames are taken."""
        self._pipe.finish()
