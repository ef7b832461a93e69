"""Page-locked memory of the host, which copies to and from a GPU pass through; used again once they are over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.devices.base import Event

_SMALLEST = 1 << 16  # bytes; sizes are powers of two from here, so that few pieces serve all copies


class Staging:
    """A piece of page-locked memory. ``address``: of its first byte; ``size``: bytes."""

    def __init__(self, memory: Any, size: int) -> None:
        self.size, self._bytes = size, np.frombuffer(memory, np.uint8, size)
        self.address = int(self._bytes.ctypes.data)

    def view(self, shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Its beginning as an array."""
        count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        return self._bytes[:count].view(dtype).reshape(tuple(shape))


class PinnedPool:
    """Pieces of page-locked memory; calls from several threads are allowed.

    Args:
        allocate: so many bytes, as something that knows the buffer protocol.
    """

    def __init__(self, allocate: Callable[[int], Any]) -> None:
        self._allocate = allocate
        self._resting: list[tuple[Staging, Event]] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Staging:
        """At least so many bytes that no copy uses any more; new ones if there are none."""
        with self._lock:
            for n, (staging, event) in enumerate(self._resting):
                if size <= staging.size and event.done():
                    del self._resting[n]
                    return staging
        whole = max(_SMALLEST, 1 << (size - 1).bit_length())
        return Staging(self._allocate(whole), whole)

    def give_back(self, staging: Staging, event: Event) -> None:
        """Memory that is free once a stream has come past an event."""
        with self._lock:
            self._resting.append((staging, event))
