"""A lock between processes, by a file that stays."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_WAIT_S = 0.2
_log = logging.getLogger("tgvc.backends")


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Nobody else is inside for the same path; waiting is told once.

    Args:
        path: of the lock.
        what: is being waited for, in words.
    """
    with _open(path) as file:
        told = False
        while not _take(file):
            if not told:
                _log.warning("%s: waiting for another process", what)
                told = True
            time.sleep(_WAIT_S)
        try:
            yield
        finally:
            _give(file)


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """The same without waiting: tells whether nobody else is inside, and keeps others out if so."""
    with _open(path) as file:
        free = _take(file)
        try:
            yield free
        finally:
            if free:
                _give(file)


def _open(path: Path) -> IO[bytes]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.open("a+b")


if sys.platform == "win32":
    import msvcrt

    def _take(file: IO[bytes]) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _give(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _give(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
