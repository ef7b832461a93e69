"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tgvc.errors import TgvcError, VideoError


@contextmanager
def open_output(target: Any) -> Iterator[BinaryIO]:
    """A binary stream to write to.

    A path is written beside its place and renamed at the end of the block; if the block raises (Ctrl-C too), nothing
    is left. ``-`` is standard output. An object with ``write`` is used as it is.

    Raises:
        VideoError: the file cannot be written, or what is there is no regular file.
    """
    if hasattr(target, "write"):
        yield target
        return
    if str(target) == "-":
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            raise VideoError("standard output: the reader closed the pipe") from error
        return
    path = Path(target)
    try:
        place = find_place(path)
        handle, name = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".part", dir=place.parent)
    except TgvcError:
        raise
    except OSError as error:
        raise VideoError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes files private
        os.replace(name, place)
    except TgvcError:
        raise
    except OSError as error:
        raise VideoError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        Path(name).unlink(missing_ok=True)


def find_place(path: Path) -> Path:
    """Where a file goes that replaces what is at ``path``: through a symbolic link it is the file behind it.

    Raises:
        VideoError: there is a pipe, a device or a folder, which no file is to be put in place of.
        OSError: one may not look there.
    """
    if path.exists() and not path.is_file():
        raise VideoError(f"{path}: not a regular file, expected the path of one, or - to write into a pipe")
    return Path(os.path.realpath(path))
