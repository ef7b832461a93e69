"""One warm decoder for many streams."""

from __future__ import annotations

import itertools
import weakref
from types import TracebackType
from typing import Any, Self

from tgvc.config import DecoderConfig
from tgvc.decoder import Decoder
from tgvc.errors import ConfigError
from tgvc.session.board import Board
from tgvc.session.feed import ByteFeed
from tgvc.session.request import LiveRequest, Request
from tgvc.session.scheduler import Scheduler
from tgvc.session.stats import SessionStats
from tgvc.session.stream import Stream

_MOST_WORKERS, _MOST_STREAMS, _MOST_AHEAD, _MOST_WAITING, _MOST_PRIORITY = 64, 1024, 4096, 1 << 20, 100


class DecodeSession:
    """Decodes several streams at a time with networks that are loaded once; all methods may be called by any thread.

    The frames of a request are those of `tgvc.Decoder` under the same configuration, byte for byte, whatever else the
    session does. Leaving its ``with`` block closes it, which cancels what is not done; `drain` first to wait.

    Args:
        config: of the decoder, for all requests. ``start`` and ``end`` are given per request.
        workers: threads that paint, 1 to 64; on a GPU, one or two. Each stream uses ``config.threads`` more for itself.
        streams: open at once, 1 to 1024; what they hold is the memory of a session.
        ahead: frames of a stream that may wait to be taken, 1 to 4096.
        waiting: requests that may wait to be begun, 1 to 2**20.

    Raises:
        ConfigError: a number out of its range, or a range of time in ``config``.
        BundleError: the bundle is not there, or not what its manifest says.
        BackendError: the backend does not run here, or does not take the bundle.
    """

    def __init__(
        self,
        config: DecoderConfig | None = None,
        *,
        workers: int = 2,
        streams: int = 4,
        ahead: int = 32,
        waiting: int = 1024,
    ) -> None:
        for name, value, most in (
            ("workers", workers, _MOST_WORKERS),
            ("streams", streams, _MOST_STREAMS),
            ("ahead", ahead, _MOST_AHEAD),
            ("waiting", waiting, _MOST_WAITING),
        ):
            _check_whole(name, value, 1, most)
        self.config = config or DecoderConfig()
        if self.config.start is not None or self.config.end is not None:
            raise ConfigError(
                f"start={self.config.start}, end={self.config.end}: expected none for a session, give it with a request"
            )
        self._decoder = Decoder(self.config)
        self._ahead, self._numbers = ahead, itertools.count()
        self._board = Board(streams, waiting)
        # also at the end of the program, where threads in native code must not be cut off
        self._end = weakref.finalize(self, Scheduler(self._board, workers).close)

    def submit(
        self,
        source: Any,
        *,
        start: float | None = None,
        end: float | None = None,
        priority: int = 0,
        timeout: float | None = None,
        patience: float | None = 0.0,
    ) -> Request:
        """Ask for the frames of a stream.

        Args:
            source: path, ``-`` or binary file object, read by one thread of the session and left open.
            start: first moment shown, seconds; the beginning if None.
            end: moment before which the last frame shown begins, seconds; the end if None.
            priority: -100 to 100; what is smaller is begun and worked on first, equals share.
            timeout: seconds from now until the last frame has to be made; then the request ends with an error.
            patience: seconds to wait for a place among the waiting requests; 0 = none, None = as long as it takes.

        Raises:
            ConfigError: a number out of its range.
            SessionFullError: too many requests wait already.
            SessionError: the session is closed, or was made in another process.
        """
        stream = self._make(source, start, end, priority, timeout)
        self._board.submit(stream, patience)
        return Request(self._board, stream, self)

    def open(
        self,
        *,
        start: float | None = None,
        end: float | None = None,
        priority: int = 0,
        timeout: float | None = None,
        patience: float | None = 0.0,
    ) -> LiveRequest:
        """Ask for the frames of a stream whose bytes are pushed with `LiveRequest.feed`; for the rest see `submit`."""
        pipe = ByteFeed(self._board.lock)
        stream = self._make(pipe, start, end, priority, timeout)
        self._board.submit(stream, patience)
        return LiveRequest(self._board, stream, self, pipe)

    @property
    def stats(self) -> SessionStats:
        """How it stands now; also after its end."""
        return self._board.describe()

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until every request is done and its place is free; others have to take the frames meanwhile.

        Returns:
            False if some are left after ``timeout`` seconds.
        """
        return self._board.drain(timeout)

    def close(self) -> None:
        """Cancel what is not done and end the threads; a second time it does nothing."""
        self._end()

    def _make(
        self, source: Any, start: float | None, end: float | None, priority: int, timeout: float | None
    ) -> Stream:
        _check_whole("priority", priority, -_MOST_PRIORITY, _MOST_PRIORITY)
        if timeout is not None and not 0 < timeout < 1e9:
            raise ConfigError(f"timeout={timeout}: expected seconds above 0")
        decoder = self._decoder if start is None and end is None else self._decoder.within(start, end)
        return Stream(
            next(self._numbers),
            source,
            decoder,
            priority=priority,
            timeout=timeout,
            ahead=self._ahead,
            lock=self._board.lock,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_whole(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name}={value!r}: expected a whole number in {least}..{most}")
