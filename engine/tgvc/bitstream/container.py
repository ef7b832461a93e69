"""The .tgvc stream: a header, then chunks. Byte by byte: docs/bitstream.md.

Writing only appends, reading needs no seeking; where the stream can seek, groups are found by the index at its end, or
by hopping from chunk to chunk.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from tgvc.bitstream.fields import FieldReader, varint
from tgvc.bitstream.group import MAX_FRAMES, Group, pack_group, parse_group
from tgvc.bitstream.header import CRC_BYTES, FIXED_BYTES, Header, header_size, parse_header
from tgvc.errors import BitstreamError, ChecksumError, ConfigError, TruncatedError

__all__ = ["Group", "GroupEntry", "Header", "Reader", "Writer"]

GROUP, INDEX, META = 0x47, 0x49, 0xCD
SKIPPABLE = 0x80  # a chunk of an unknown type with this bit may be ignored
MAX_CHUNK_BYTES = 64 << 20
MAX_META_BYTES = 1 << 16
_NAMES = {GROUP: "group", INDEX: "index", META: "meta"}
_PIECE = 1 << 20  # read at once, so that a lie about a length allocates no more than the stream holds
_TAIL_BYTES = 4 + CRC_BYTES  # end of an index: its own size, its checksum


@dataclass(frozen=True)
class GroupEntry:
    """Where a group is: ``offset`` in bytes from the header's first, its ``first`` shown frame, ``frames`` shown."""

    offset: int
    first: int
    frames: int


@dataclass(frozen=True)
class Chunk:
    """One chunk: ``tag``, ``offset`` of that and ``start`` of the ``payload`` in the stream."""

    tag: int
    offset: int
    start: int
    payload: bytes

    @property
    def section(self) -> str:
        """Its name in messages."""
        return _NAMES.get(self.tag, f"chunk {self.tag:#04x}")


class Writer:
    """Writes a stream from front to back; nothing is ever revisited.

    Args:
        stream: binary, writable; it is neither closed nor flushed.
        header: of all groups that follow.
        meta: keys and values to keep with the stream, such as a title.
    """

    def __init__(self, stream: BinaryIO, header: Header, meta: Mapping[str, str] | None = None) -> None:
        self._stream, self.header = stream, header
        self._groups: list[tuple[int, int]] = []
        self._done = False
        self.bytes_written = 0
        self._put(header.to_bytes())
        if meta:
            self._put(_pack_chunk(META, _pack_meta(meta)))

    def write(self, group: Group) -> int:
        """Append a group; returns the bytes of its chunk."""
        if self._done:
            raise ConfigError("write: the stream is finished, expected no more groups")
        chunk = _pack_chunk(GROUP, pack_group(group, self.header.fps))
        self._groups.append((len(chunk), group.shown))
        return self._put(chunk)

    def finish(self) -> int:
        """End the stream, with an index if there are two groups or more; returns the bytes of the whole stream.

        A stream without any group is not valid: whoever has none has nothing to write.
        """
        if not self._done and len(self._groups) > 1:
            self._put(_pack_index(self._groups))
        self._done = True
        return self.bytes_written

    def _put(self, data: bytes) -> int:
        self._stream.write(data)
        self.bytes_written += len(data)
        return len(data)


class Reader:
    """Reads a stream: ``for group in reader`` works on a pipe that is still being written.

    Args:
        stream: binary, readable, at the header. Seeking is used only where the stream offers it.

    Raises:
        BitstreamError: not a .tgvc stream, or a damaged header. Later, from every method: a damaged chunk. The file is
            named as it was opened; pipes have no name.

    ``header`` is there from the start, ``meta`` once the first group has been read. ``layers``: bytes read so far by
    iteration, by layer: ``header``, ``pictures``, ``motion``, ``overhead`` (everything else).
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._seekable = stream.seekable()
        self._base = stream.tell() if self._seekable else 0
        with self._naming():
            start = _read(stream, FIXED_BYTES)
            start += _read(stream, max(0, header_size(start) - len(start)))
            self.header = parse_header(start)
        self.header_bytes = len(start)
        self.position = len(start)
        self.layers = {"header": len(start), "pictures": 0, "motion": 0, "overhead": 0}
        self.meta: dict[str, str] = {}
        self._entries: list[GroupEntry] | None = None

    def __iter__(self) -> Iterator[Group]:
        """The groups from here on, each as soon as its bytes are there."""
        with self._naming():
            for chunk in self._chunks():
                self.layers["overhead"] += self.position - chunk.offset
                if chunk.tag == GROUP:
                    group = parse_group(chunk.payload, self.header.fps, chunk.start)
                    for layer, data in (("pictures", group.pictures), ("motion", group.motion)):
                        self.layers[layer] += len(data)
                        self.layers["overhead"] -= len(data)
                    yield group

    def index(self) -> list[GroupEntry]:
        """Where all groups are: from the index if there is a sound one, else by hopping from chunk to chunk.

        Raises:
            ConfigError: the stream cannot seek.
        """
        if not self._seekable:
            raise ConfigError("index: this stream cannot seek, expected a file; read the groups in order instead")
        with self._naming():
            return self._find_entries()

    def _find_entries(self) -> list[GroupEntry]:
        if self._entries is None:
            here = self.position
            try:
                self._entries = self._stored_index() or self._walked_index()
            finally:
                self._seek(here)
        return self._entries

    def read_group(self, number: int) -> Group:
        """Group ``number``, from 0, of a stream that can seek; iteration goes on behind it."""
        entries = self.index()
        if not 0 <= number < len(entries):
            raise ConfigError(f"group={number}: expected 0..{len(entries) - 1}")
        with self._naming():
            return self._read_entry(entries[number])

    def _read_entry(self, entry: GroupEntry) -> Group:
        self._seek(entry.offset)
        chunk = self._next_chunk()
        if chunk is None or chunk.tag != GROUP:
            raise BitstreamError(f"index, byte {entry.offset}: no group where the index says")
        group = parse_group(chunk.payload, self.header.fps, chunk.start)
        if group.shown != entry.frames:
            raise BitstreamError(f"group, byte {chunk.offset}: shows {group.shown} frames, the index says otherwise")
        return group

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Errors inside name the file that is read."""
        try:
            yield
        except BitstreamError as error:
            name = getattr(self._stream, "name", None)
            if isinstance(name, str) and name != "<stdin>":
                error.args = (f"{name}: {error}",)
            raise

    def _chunks(self) -> Iterator[Chunk]:
        """All chunks from here on; the index has to be the last."""
        some = self.position > self.header_bytes
        while (chunk := self._next_chunk()) is not None:
            if chunk.tag == META:
                self.meta |= _parse_meta(chunk)
            some = some or chunk.tag == GROUP
            yield chunk
            if chunk.tag == INDEX and self._take(1):
                raise BitstreamError(f"index, byte {self.position - 1}: the stream goes on after its index")
        if not some:
            raise TruncatedError(f"group, byte {self.position}: the stream ends before its first group")

    def _next_chunk(self) -> Chunk | None:
        """The next chunk, its checksum verified; None at the end of the stream."""
        offset = self.position
        if (head := self._chunk_head()) is None:
            return None
        return self._read_chunk(offset, *head)

    def _read_chunk(self, offset: int, tag: int, length: int, raw: bytes, begun: bytes = b"") -> Chunk:
        """The rest of a chunk whose tag and length are ``raw``; ``begun``: what has been read of its payload."""
        start = self.position - len(begun)
        body = begun + self._take(length + CRC_BYTES - len(begun))
        chunk = Chunk(tag, offset, start, body[:length])
        if len(body) < length + CRC_BYTES:
            raise TruncatedError(f"{chunk.section}, byte {self.position}: the stream ends inside the chunk")
        if zlib.crc32(body[:length], zlib.crc32(raw)) != int.from_bytes(body[length:], "little"):
            raise ChecksumError(f"{chunk.section}, byte {offset}: the checksum does not match: damaged bytes")
        return chunk

    def _chunk_head(self) -> tuple[int, int, bytes] | None:
        """Tag, length of the payload and the raw bytes of both; None at the end of the stream."""
        raw = self._take(1)
        if not raw:
            return None
        tag = raw[0]
        if tag not in _NAMES and not tag & SKIPPABLE:
            what = "use a newer tgvc"
            if self.position > self.header_bytes + 1:
                what = f"bytes follow the end of the stream, or {what}"
            raise BitstreamError(f"chunk, byte {self.position - 1}: type {tag:#04x} is not known: {what}")
        while len(raw) < 6:
            piece = self._take(1)
            if not piece:
                raise TruncatedError(f"chunk, byte {self.position}: the stream ends inside the length of a chunk")
            raw += piece
            if piece[0] < 128:
                break
        limit = MAX_META_BYTES if tag == META else MAX_CHUNK_BYTES
        length = FieldReader(raw[1:], "chunk", self.position - len(raw) + 1).varint("length", 0, limit)
        return tag, length, raw

    def _take(self, count: int) -> bytes:
        data = _read(self._stream, count)
        self.position += len(data)
        return data

    def _seek(self, offset: int) -> None:
        self._stream.seek(self._base + offset)
        self.position = offset

    def _stored_index(self) -> list[GroupEntry] | None:
        """The index at the end of the stream, or None if there is none or it does not fit the stream."""
        end = self._stream.seek(0, 2) - self._base
        if end < self.header_bytes + _TAIL_BYTES:
            return None
        self._seek(end - _TAIL_BYTES)
        size = int.from_bytes(self._take(4), "little")
        if not _TAIL_BYTES < size <= min(end - self.header_bytes, MAX_CHUNK_BYTES):
            return None
        self._seek(end - size)
        return _parse_index(self._take(size), end - size, self.header_bytes)

    def _walked_index(self) -> list[GroupEntry]:
        entries: list[GroupEntry] = []
        self._seek(self.header_bytes)
        first = 0
        while (chunk := self._peek_group()) is not None:
            shown = parse_group(chunk.payload, self.header.fps, chunk.start).shown
            entries.append(GroupEntry(chunk.offset, first, shown))
            first += shown
        if not entries:
            raise TruncatedError(f"group, byte {self.header_bytes}: the stream has no group")
        return entries

    def _peek_group(self) -> Chunk | None:
        """The next group, or None at the index, whatever its state, or at the end of the stream."""
        while True:
            here = self.position
            if self._take(1) in (b"", bytes([INDEX])):
                return None
            self._seek(here)
            chunk = self._next_chunk()
            if chunk is None or chunk.tag == GROUP:
                return chunk


def _read(stream: BinaryIO, count: int) -> bytes:
    """Up to ``count`` bytes: fewer only at the end of the stream."""
    pieces = []
    while count > 0 and (piece := stream.read(min(count, _PIECE))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _pack_chunk(tag: int, payload: bytes) -> bytes:
    if len(payload) > MAX_CHUNK_BYTES:
        raise ConfigError(f"chunk of {len(payload)} bytes: expected at most {MAX_CHUNK_BYTES}, use shorter groups")
    data = bytes([tag]) + varint(len(payload)) + payload
    return data + zlib.crc32(data).to_bytes(CRC_BYTES, "little")


def _pack_index(groups: list[tuple[int, int]]) -> bytes:
    """The index of groups (bytes of the chunk, frames shown); its payload ends with the size of the whole chunk."""
    entries = varint(len(groups)) + b"".join(varint(size) + varint(frames) for size, frames in groups)
    length = len(entries) + 4
    size = 1 + len(varint(length)) + length + CRC_BYTES
    return _pack_chunk(INDEX, entries + size.to_bytes(4, "little"))


def _parse_index(raw: bytes, offset: int, body: int) -> list[GroupEntry] | None:
    """Entries of the index chunk ``raw`` at ``offset``; None if it is not one, or does not lead back to ``body``."""
    if raw[0] != INDEX or zlib.crc32(raw[:-CRC_BYTES]) != int.from_bytes(raw[-CRC_BYTES:], "little"):
        return None
    reader = FieldReader(raw[:-_TAIL_BYTES], "index", offset)
    try:
        reader.byte("tag")
        reader.varint("length")
        count = reader.varint("groups", 1, reader.left)
        sizes, shown = [], []
        for _ in range(count):
            sizes.append(reader.varint("bytes", 1))
            shown.append(reader.varint("frames", 1, MAX_FRAMES))
        reader.finish()
    except BitstreamError:
        return None
    start = offset - sum(sizes)  # meta and unknown chunks may come before the groups, never among them
    if start < body:
        return None
    entries, first = [], 0
    for size, frames in zip(sizes, shown, strict=True):
        entries.append(GroupEntry(start, first, frames))
        start, first = start + size, first + frames
    return entries


def _pack_meta(meta: Mapping[str, str]) -> bytes:
    out = varint(len(meta))
    for text in (text for pair in meta.items() for text in pair):
        data = text.encode()
        out += varint(len(data)) + data
    if len(out) > MAX_META_BYTES:
        raise ConfigError(f"meta: {len(out)} bytes, expected at most {MAX_META_BYTES}")
    return out


def _parse_meta(chunk: Chunk) -> dict[str, str]:
    reader, out = FieldReader(chunk.payload, "meta", chunk.start), {}
    try:
        for _ in range(reader.varint("entries", 0, MAX_META_BYTES)):
            key, value = (reader.take("text", reader.varint("length")).decode() for _ in range(2))
            out[key] = value
    except UnicodeDecodeError as error:
        raise reader.error(f"text that is not UTF-8 ({error.reason})") from error
    reader.finish()
    return out
