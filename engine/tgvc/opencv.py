"""OpenCV on one thread: the result of its DIS flow depends on the number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

_lock = threading.Lock()
_users = 0
_threads_before = 0


@contextmanager
def one_cv_thread() -> Iterator[None]:
    """Run OpenCV on one thread inside the block: the result of DIS depends on the thread count.

    OpenCV's setting is global, so the first block to enter stores it and the last one to leave restores it.
    """
    global _users, _threads_before
    with _lock:
        if _users == 0:
            _threads_before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                cv2.setNumThreads(_threads_before)
