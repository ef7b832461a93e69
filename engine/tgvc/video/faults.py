"""What libav raises becomes a VideoError of one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av

from tgvc.errors import TgvcError, VideoError

# PyAV adds plain builtins to its own family: ValueError for what libav cannot express, OverflowError for numbers that
# it has no room for, as of a rate with terms of 2**31 or more, OSError for files, MemoryError for pictures that do not
# fit, NotImplementedError for formats that it does not wrap. TypeError would be a bug of ours.
LIBAV_FAULTS = (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError, NotImplementedError)


def reason(fault: BaseException) -> str:
    """The cause of a fault in a few words on one line."""
    text = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
    return " ".join(str(text).split())


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise what libav raises inside as ``VideoError("<what> (<reason>)")``; tgvc's own errors pass."""
    try:
        yield
    except TgvcError:
        raise
    except LIBAV_FAULTS as fault:
        raise VideoError(f"{what} ({reason(fault)})") from fault
