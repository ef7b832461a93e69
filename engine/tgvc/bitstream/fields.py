"""Fields of headers and chunks: bytes and variable-length integers, every read checked before it is believed."""

from __future__ import annotations

from typing import Any, cast

from tgvc.errors import BitstreamError, TruncatedError

VARINT_LIMIT = (1 << 32) - 1


def varint(value: int) -> bytes:
    """An integer 0 .. 2**32 - 1 in 1 to 5 bytes: seven bits each, lowest first, the high bit on all but the last."""
    if not 0 <= value <= VARINT_LIMIT:
        raise ValueError(f"value={value}: expected 0..{VARINT_LIMIT}")
    out = bytearray()
    while value > 127:
        out.append(128 | value & 127)
        value >>= 7
    out.append(value)
    return bytes(out)


class Rest:
    """What is left from a place on of data that may still be coming; see `tgvc.bitstream.arriving`."""

    def __init__(self, whole: Any, start: int) -> None:
        self._whole, self._start = whole, start

    def __len__(self) -> int:
        return len(self._whole) - self._start

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, slice):
            first, stop, _ = where.indices(len(self))
            return self._whole[self._start + first : self._start + stop]
        return self._whole[self._start + where]


class FieldReader:
    """Reads fields one after the other from the bytes of one section.

    Args:
        data: the section's bytes.
        section: its name in messages.
        offset: byte offset of ``data`` in the stream, for messages.
    """

    def __init__(self, data: bytes, section: str, offset: int) -> None:
        self._data, self._section, self._offset = data, section, offset
        self._at = 0

    def byte(self, name: str, limit: int = 255) -> int:
        """One byte of at most ``limit``."""
        return self._within(name, self.take(name, 1)[0], 0, limit)

    def varint(self, name: str, low: int = 0, high: int = VARINT_LIMIT) -> int:
        """A variable-length integer within ``low .. high``, in its shortest form."""
        value = shift = 0
        while True:
            piece = self.take(name, 1)[0]
            value |= (piece & 127) << shift
            shift += 7
            if piece < 128:
                break
            if shift > 28:
                raise self.error(f"{name}: an integer of more than five bytes")
        if piece == 0 and shift > 7:
            raise self.error(f"{name}: an integer longer than it need be")
        return self._within(name, value, low, high)

    def take(self, name: str, count: int) -> bytes:
        """The next ``count`` bytes."""
        left = len(self._data) - self._at
        if count > left:
            raise TruncatedError(f"{self._where()}: {name}: expected {count} bytes, the section has {left} left")
        self._at += count
        return self._data[self._at - count : self._at]

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take("rest", len(self._data) - self._at)

    def lazy_rest(self) -> bytes:
        """All bytes that are left; of data that is still coming, something that waits for those that are looked at."""
        data: object = self._data
        return self.rest() if isinstance(data, bytes) else cast("bytes", Rest(data, self._at))

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._at

    def finish(self) -> None:
        """Refuse bytes that no field has claimed."""
        if self.left:
            raise self.error(f"{self.left} bytes too many")

    def error(self, text: str) -> BitstreamError:
        """An error that says where."""
        return BitstreamError(f"{self._where()}: {text}")

    def _where(self) -> str:
        return f"{self._section}, byte {self._offset + self._at}"

    def _within(self, name: str, value: int, low: int, high: int) -> int:
        if not low <= value <= high:
            raise self.error(f"{name}={value}: expected {low}..{high}")
        return value
