"""Where a .tgvc stream is read from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tgvc.errors import VideoError


@contextmanager
def open_input(source: Any) -> Iterator[BinaryIO]:
    """A binary stream to read: of a path, of standard input (``-``), or the object itself if it can ``read``.

    Raises:
        VideoError: the file cannot be opened.
    """
    if hasattr(source, "read"):
        yield source
        return
    if str(source) == "-":
        yield sys.stdin.buffer
        return
    path = Path(source)
    if path.is_dir():
        raise VideoError(f"{path}: a folder, expected a .tgvc file")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror})") from error
    with stream:
        yield stream
