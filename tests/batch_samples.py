"""Work for tests of `tgvc.batch`, in a module that a process imports quickly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from tgvc.errors import BackendError


@dataclass(frozen=True)
class Squaring:
    """Work that fails, or ends its process, where it is told to."""

    fail: tuple[int, ...] = ()
    die: tuple[int, ...] = ()

    def open(self) -> Callable[[int], tuple[int, int]]:
        def square(item: int) -> tuple[int, int]:
            if item in self.die:
                os.kill(os.getpid(), signal.SIGKILL)
            if item in self.fail:
                raise ValueError(f"{item} is not wanted")
            return item * item, os.getpid()

        return square


@dataclass(frozen=True)
class Unopenable:
    """Work that cannot be opened."""

    def open(self) -> Callable[[int], int]:
        raise BackendError("no such engine")
