"""How much memory a piece of work took at most, told apart: its own, and pages of mapped files that can be dropped."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Self

_STATUS = "/proc/self/status"
_EVERY_S = 0.02


class MemoryWatch:
    """Watches this process inside a ``with`` block.

    ``own``: largest memory of the process itself in bytes, without pages of mapped files, which the system drops when
    it needs them; None where the system does not say. ``resident``: largest resident set in bytes, those pages
    included.
    """

    def __init__(self) -> None:
        self.own: int | None = None
        self.resident = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def describe(self) -> str:
        """The peaks in words."""
        if self.own is None:
            return f"{self.resident / 2**30:.2f} GiB"
        return f"{self.own / 2**30:.2f} GiB, {self.resident / 2**30:.2f} GiB with the pages of files in use"

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        try:
            with open(_STATUS, encoding="ascii", errors="replace") as lines:
                found = dict(line.split(":", 1) for line in lines if line.startswith(("RssAnon", "VmRSS")))
            self.own = max(self.own or 0, 1024 * int(found["RssAnon"].split()[0]))
            self.resident = max(self.resident, 1024 * int(found["VmRSS"].split()[0]))
        except (OSError, KeyError):
            self.resident = max(self.resident, _largest_resident())


def _largest_resident() -> int:
    """Largest resident set since the process began, bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
