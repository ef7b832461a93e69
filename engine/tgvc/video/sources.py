"""Where frames come from: the contract of the three kinds of source, and bytes that may be a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import av

from tgvc.errors import VideoError
from tgvc.video.faults import reason
from tgvc.video.geometry import Orientation

DEFAULT_FPS = Fraction(25)


class SourceFrame(NamedTuple):
    """A decoded frame as stored: ``time`` in seconds on the source's own clock, or None where it has none."""

    time: Fraction | None
    frame: av.VideoFrame
    orientation: Orientation = Orientation()


class FrameSource(Protocol):
    """One kind of input. ``fps``, ``count``, ``sample_aspect`` and ``sound`` are known once a frame has been read."""

    name: str
    fps: Fraction
    count: int | None
    sample_aspect: Fraction | None
    sound: bool
    replayable: bool

    def frames(self) -> Iterator[SourceFrame]:
        """Decode from the start, one frame at a time, in presentation order; closing the iterator frees all."""
        ...


class ByteSource:
    """A binary file object as libav and the y4m reader want it: positions count from where it stood when given.

    Faults and Ctrl-C inside a read must not unwind through libav's C code, which would lose them: they are kept, the
    read looks like the end of the data, and ``raise_fault`` raises them once Python is in charge again.

    Args:
        file: object with ``read``; seekable if it says so.
        name: how to call it in error messages.
        owned: whether ``close`` closes it.
    """

    def __init__(self, file: Any, name: str, *, owned: bool = False) -> None:
        self.name = name
        self._file = file
        self._owned = owned
        self._read = getattr(file, "read1", None) or file.read
        self._pushed_back = b""
        self._fault: BaseException | None = None
        self._seekable = bool(getattr(file, "seekable", lambda: False)())
        self._origin = file.tell() if self._seekable else 0

    def seekable(self) -> bool:
        """Whether the data can be read again."""
        return self._seekable

    def tell(self) -> int:
        """Bytes from the start."""
        return int(self._file.tell()) - self._origin - len(self._pushed_back)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to ``offset``, as ``io.IOBase.seek`` does."""
        if whence == os.SEEK_CUR:
            offset -= len(self._pushed_back)
        self._pushed_back = b""
        place = self._file.seek(offset + (self._origin if whence == os.SEEK_SET else 0), whence)
        return int(place) - self._origin

    def peek(self, count: int) -> bytes:
        """The next ``count`` bytes, or fewer at the end, which stay to be read."""
        head = self.read_all(count)
        self._pushed_back = head + self._pushed_back
        return head

    def close(self) -> None:
        """Close the file if it is owned."""
        if self._owned:
            self._file.close()

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes; b"" at the end and after a fault."""
        try:
            if self._pushed_back:
                head, self._pushed_back = self._pushed_back[:count], self._pushed_back[count:]
                return head
            if self._fault is not None:
                return b""
            data = self._read(count)
            if not isinstance(data, bytes | bytearray | memoryview) or len(data) > count:
                raise VideoError(f"{self.name}: expected a binary file object, its read gave {type(data).__name__}")
            return bytes(data)
        except BaseException as fault:  # noqa: BLE001  kept for raise_fault, see the class
            self._fault = fault
            return b""

    def read_all(self, count: int) -> bytes:
        """``count`` bytes, or fewer at the end."""
        parts, missing = [], count
        while missing:
            part = self.read(missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def raise_fault(self) -> None:
        """Raise what stopped a read: VideoError for faults of the file, Ctrl-C and its kind as they are."""
        fault, self._fault = self._fault, None
        if isinstance(fault, OSError | ValueError) and not isinstance(fault, VideoError):
            raise VideoError(f"{self.name}: cannot be read ({reason(fault)})") from fault
        if fault is not None:
            raise fault
