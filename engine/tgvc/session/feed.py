"""Bytes that arrive piece by piece, as the file that a stream is read from."""

from __future__ import annotations

import time
from threading import Condition, Lock

from tgvc.errors import ConfigError, RequestTimeoutError
from tgvc.session.stream import StoppedError

LIMIT_BYTES = 1 << 20


class ByteFeed:
    """A pipe inside the process: one thread writes, another one reads; a writer that is too fast waits.

    Args:
        lock: of the session.
        limit: bytes that may wait to be read, at least; one piece more may be larger.
    """

    def __init__(self, lock: Lock, limit: int = LIMIT_BYTES) -> None:
        self._changed, self._limit = Condition(lock), limit
        self._waiting = bytearray()
        self._finished = self._stopped = False

    def seekable(self) -> bool:
        """Never: what was read is gone."""
        return False

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes, at least one; none at the end."""
        with self._changed:
            while not self._waiting and not self._finished and not self._stopped:
                self._changed.wait()
            if self._stopped:
                raise StoppedError
            piece = bytes(self._waiting[:count])
            del self._waiting[:count]
            self._changed.notify_all()
            return piece

    def write(self, data: bytes, timeout: float | None) -> bool:
        """Append bytes once there is room; False, and nothing appended, if nobody will read any more.

        Raises:
            ConfigError: the end was declared before.
            RequestTimeoutError: no room within ``timeout`` seconds; nothing is appended.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while len(self._waiting) >= self._limit and not self._stopped:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise RequestTimeoutError(
                        f"feed: no room for more bytes within {timeout:g} s; take frames meanwhile"
                    )
                self._changed.wait(left)
            if self._finished:
                raise ConfigError("feed: the end was declared already, expected no more bytes")
            if not self._stopped:
                self._waiting += data
                self._changed.notify_all()
            return not self._stopped

    def finish(self) -> None:
        """Declare the end."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Let go of everything; under the lock."""
        self._stopped = True
        self._waiting.clear()
        self._changed.notify_all()
