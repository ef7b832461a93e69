"""The container of a checkpoint, looked at before anything in it is believed: records, sizes, checksums, hash."""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tgvc.errors import TgvcError
from tgvc.types import OnProgress

MOST_RECORDS = 200_000
MOST_INDEX_BYTES = 64 << 20  # of the directory of a zip file, and of the pickle in it
_LOCAL = struct.Struct("<4s22xHH")  # magic, length of the name, length of the extra field
_END = struct.Struct("<4s8xLL")  # magic, size and place of the directory, of the record at the end
_END_LONGEST = 22 + 0xFFFF
_BLOCK = 4 << 20
_OLD = {b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": "torch before 1.6"}


class CheckpointError(TgvcError, ValueError):
    """A file of weights that is not what was expected: names every fault found."""


@dataclass(frozen=True)
class Record:
    """One record of a zip file, stored as it is: bytes from ``start`` to ``start + size`` of the file."""

    name: str
    start: int
    size: int
    crc: int


def read_kind(path: Path) -> str:
    """What a file is, by its first bytes: ``zip`` (torch) or ``safetensors``.

    Raises:
        CheckpointError: it cannot be read, or is neither.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: {'not a file' if path.exists() else 'no such file'}; expected a checkpoint")
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as fault:
        raise CheckpointError(f"{path}: cannot be read ({fault.strerror or fault})") from fault
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    for magic, origin in _OLD.items():
        if head.startswith(magic):
            raise CheckpointError(
                f"{path}: the format of {origin}, which cannot be mapped into memory; "
                "save it again: torch.save(torch.load(OLD, weights_only=True), NEW)"
            )
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    what = "empty" if not size else "neither a zip file of torch.save nor safetensors"
    raise CheckpointError(f"{path}: {what}; expected .ckpt, .pth or .safetensors, whole")


def read_records(path: Path) -> dict[str, Record]:
    """The records of a zip file that torch wrote, by their names without the folder that all of them lie in.

    Raises:
        CheckpointError: records that are compressed, encrypted, that overlap or lie outside, or none at all.
    """
    try:
        with path.open("rb") as stream:
            _check_directory(stream, path)
            with zipfile.ZipFile(stream) as archive:
                entries, directory = archive.infolist(), archive.start_dir
            if len(entries) > MOST_RECORDS:
                raise CheckpointError(f"{path}: {len(entries)} records, {MOST_RECORDS} are allowed")
            records = [_read_record(stream, entry, path) for entry in entries]
    except CheckpointError:
        raise
    except Exception as fault:  # whatever a parser of foreign bytes may raise
        raise CheckpointError(f"{path}: damaged or cut off: {_one_line(fault)}; get the file again") from fault
    _check_places(records, directory, path)
    folders = {record.name.partition("/")[0] for record in records}
    if len(folders) != 1 or any("/" not in record.name for record in records):
        raise CheckpointError(f"{path}: a zip file, but not one of torch.save")
    named = {record.name.partition("/")[2]: record for record in records}
    if len(named) != len(records):
        raise CheckpointError(f"{path}: two records of the same name")
    if "data.pkl" not in named or named["data.pkl"].size > MOST_INDEX_BYTES:
        raise CheckpointError(f"{path}: no list of tensors (data.pkl) of at most {MOST_INDEX_BYTES >> 20} MiB in it")
    return named


def verify_file(path: Path, records: Iterable[Record] = (), on_progress: OnProgress | None = None) -> str:
    """Read a whole file once: the sha256 of all of it, 64 hexadecimal digits, and the checksums of its records.

    Args:
        path: of the file.
        records: whose checksums must be right.
        on_progress: called with ("verify", bytes read, bytes in all).

    Raises:
        CheckpointError: a record is damaged, or the file cannot be read.
    """
    waiting = sorted(records, key=lambda record: record.start, reverse=True)
    digest, done, crc = hashlib.sha256(), 0, 0
    total = path.stat().st_size
    try:
        with path.open("rb", buffering=0) as stream:
            _read_ahead(stream)
            while block := stream.read(_BLOCK):
                digest.update(block)
                view = memoryview(block)
                while waiting and waiting[-1].start < done + len(block):
                    record = waiting[-1]
                    first, last = max(record.start - done, 0), min(record.start + record.size - done, len(block))
                    crc = zlib.crc32(view[first:last], crc)
                    if record.start + record.size > done + len(block):
                        break
                    if crc != record.crc:
                        raise CheckpointError(f"{path}: record {record.name[:80]} is damaged; get the file again")
                    waiting.pop()
                    crc = 0
                done += len(block)
                if on_progress:
                    on_progress("verify", done, total)
    except OSError as fault:
        raise CheckpointError(f"{path}: cannot be read ({fault.strerror or fault})") from fault
    if done != total or any(record.size for record in waiting):
        raise CheckpointError(f"{path}: changed while it was read")
    return digest.hexdigest()


def _check_directory(stream: BinaryIO, path: Path) -> None:
    """Refuse a zip file whose directory is absurdly large before it is read into memory."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _END_LONGEST))
    tail = stream.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0:
        raise CheckpointError(f"{path}: damaged or cut off: the end of the zip file is missing; get the file again")
    length = _END.unpack_from(tail, place)[1]
    if length == 0xFFFFFFFF or tail[max(0, place - 20) : max(0, place - 16)] == b"PK\x06\x07":
        stream.seek(struct.unpack_from("<Q", tail, place - 12)[0])
        long_end = stream.read(56)
        length = struct.unpack_from("<Q", long_end, 40)[0]
    if length > MOST_INDEX_BYTES:
        raise CheckpointError(f"{path}: a directory of {length} bytes, {MOST_INDEX_BYTES} are allowed")
    stream.seek(0)


def _read_record(stream: BinaryIO, entry: zipfile.ZipInfo, path: Path) -> Record:
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
        raise CheckpointError(f"{path}: record {entry.filename[:80]!r} is compressed or encrypted: not from torch.save")
    stream.seek(entry.header_offset)
    magic, name, extra = _LOCAL.unpack(stream.read(_LOCAL.size))
    if magic != b"PK\x03\x04":
        raise CheckpointError(f"{path}: record {entry.filename[:80]!r} has no header; get the file again")
    return Record(entry.filename, entry.header_offset + _LOCAL.size + name + extra, entry.file_size, entry.CRC)


def _check_places(records: list[Record], directory: int, path: Path) -> None:
    end = 0
    for record in sorted(records, key=lambda record: (record.start, record.size)):
        if record.start < end or record.start + record.size > directory:
            raise CheckpointError(f"{path}: record {record.name[:80]!r} overlaps another or lies outside the file")
        end = record.start + record.size


def _read_ahead(stream: BinaryIO) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:200] or type(fault).__name__
