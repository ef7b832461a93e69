"""Things that one user at a time may have, such as a stream with its memory; made when they are needed, then kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Pool(Generic[_T]):
    """Gives out what nobody uses; calls from several threads are allowed.

    Args:
        make: a new one.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make, self._free = make, list[_T]()
        self._lock = threading.Lock()

    @contextmanager
    def take(self) -> Iterator[_T]:
        """One of them, for the block. After an error it is not used again: nobody knows what it was left at."""
        with self._lock:
            one = self._free.pop() if self._free else None
        if one is None:
            one = self._make()
        yield one
        with self._lock:
            self._free.append(one)
