"""Give memory back between groups."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _allocator() -> Any:
    """The C library if it is one that can give freed memory back, else None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None


def release_memory() -> None:
    """Return freed memory to the system.

    Encoder threads come and go; glibc keeps what each of them freed in a pool of its own, so that without this a long
    video would take more and more although nothing is held. Does nothing where the C library has no such call.
    """
    library = _allocator()
    if library is not None:
        library.malloc_trim(0)
