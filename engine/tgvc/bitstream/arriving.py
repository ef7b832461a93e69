"""A stream that is still coming through a pipe: groups of states are handed over before they are complete.

Their first frames can be shown long before the last bytes of the group are there. Its checksum comes at its end, so
what was shown by then turns out to be right, or damaged, when the next group is asked for.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from tgvc.bitstream.container import GROUP, Chunk, Reader
from tgvc.bitstream.group import AFFINE_FLAG
from tgvc.bitstream.header import CRC_BYTES
from tgvc.errors import ChecksumError, TruncatedError


class Arriving:
    """Bytes of known number, of which no more are waited for than are looked at; may be used by several threads.

    Args:
        take: gives so many more bytes, fewer only at the end of the stream.
        length: how many there are.
        begun: those that have come.
        where: what they are, for messages.
    """

    def __init__(self, take: Callable[[int], bytes], length: int, begun: bytes, where: str) -> None:
        self._take, self._length, self._where = take, length, where
        self._here, self._lock = bytearray(begun), threading.Lock()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, where: Any) -> Any:
        stop = where.indices(self._length)[1] if isinstance(where, slice) else where + 1
        with self._lock:
            lacking = stop - len(self._here)
            if lacking > 0:
                self._here += self._take(lacking)
            if len(self._here) < stop:
                raise TruncatedError(f"{self._where}: the stream ends inside the chunk")
            return bytes(self._here[where]) if isinstance(where, slice) else self._here[where]

    @property
    def come(self) -> int:
        """How many have come."""
        return len(self._here)


class ArrivingReader(Reader):
    """As `Reader`, but a group of kind "affine" comes as soon as its key pictures are there.

    Its ``motion`` is then no ``bytes`` but a `tgvc.bitstream.fields.Rest`, whose bytes are waited for one by one. The
    checksum of such a group is compared when the next one is asked for. ``layers`` are not counted.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self._open: tuple[Arriving, bytes, int] | None = None

    def _next_chunk(self) -> Chunk | None:
        if self._open is not None:
            payload, raw, offset = self._open
            self._open = None
            whole = payload[:]
            checksum = self._take(CRC_BYTES)
            if zlib.crc32(whole, zlib.crc32(raw)) != int.from_bytes(checksum, "little") or len(checksum) < CRC_BYTES:
                raise ChecksumError(f"group, byte {offset}: the checksum does not match: what was shown is damaged")
        return super()._next_chunk()

    def _read_chunk(self, offset: int, tag: int, length: int, raw: bytes, begun: bytes = b"") -> Chunk:
        if tag != GROUP or not length:
            return super()._read_chunk(offset, tag, length, raw, begun)
        start, first = self.position, self._take(1)
        if not first or not first[0] & AFFINE_FLAG:
            return super()._read_chunk(offset, tag, length, raw, first)
        payload = Arriving(self._take, length, first, f"group, byte {offset}")
        self._open = payload, raw, offset
        return Chunk(tag, offset, start, cast("bytes", payload))


def open_reader(stream: BinaryIO) -> Reader:
    """What reads a stream: of a file whole groups, each verified before it is used; of a pipe what has come."""
    return Reader(stream) if stream.seekable() else ArrivingReader(stream)
