"""Streams to streams without coding anything again: trim and concatenate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import BinaryIO

from tgvc.bitstream.container import Reader, Writer
from tgvc.bitstream.group import Group
from tgvc.errors import ConfigError

_MAY_DIFFER = ("profile",)


def trim(source: BinaryIO, target: BinaryIO, first: int, last: int) -> int:
    """Keep the shown frames ``first .. last``, both included, counted from 0; returns the bytes written.

    Groups outside are dropped; of a group that lies across an end, the frames outside are kept and not shown.

    Raises:
        ConfigError: an empty range, or one that begins beyond the last frame. BitstreamError: a damaged source.
    """
    if not 0 <= first <= last:
        raise ConfigError(f"first={first}, last={last}: expected 0 <= first <= last")
    reader = Reader(source)
    writer = None
    start = 0
    for group in reader:
        end = start + group.shown
        if end > first:
            writer = writer or Writer(target, reader.header, reader.meta)
            writer.write(_hide(group, max(0, first - start), max(0, end - 1 - last)))
        start = end
        if start > last:
            break
    if writer is None:
        raise ConfigError(f"first={first}: the stream has {start} frames, expected at most {start - 1}")
    return writer.finish()


def concatenate(sources: Sequence[BinaryIO], target: BinaryIO) -> int:
    """Append streams to each other; returns the bytes written. Entries of ``meta`` stay where all sources agree.

    Raises:
        ConfigError: no source, or headers that differ in size, rate, colours or seed.
        BitstreamError: a damaged source.
    """
    if not sources:
        raise ConfigError("sources: got none, expected at least one stream")
    readers = [Reader(source) for source in sources]
    header = readers[0].header
    for number, reader in enumerate(readers[1:], start=1):
        for name in (f.name for f in fields(header) if f.name not in _MAY_DIFFER):
            got, expected = getattr(reader.header, name), getattr(header, name)
            if got != expected:
                raise ConfigError(f"source {number}: {name}={got}, expected {expected} as in source 0: encode it anew")
    firsts = [next(iter(reader)) for reader in readers]  # meta is known once a group has been read
    shared = set.intersection(*(set(reader.meta.items()) for reader in readers))
    writer = Writer(target, header, {k: v for k, v in readers[0].meta.items() if (k, v) in shared})
    for head, reader in zip(firsts, readers, strict=True):
        writer.write(head)
        for group in reader:
            writer.write(group)
    return writer.finish()


def _hide(group: Group, head: int, tail: int) -> Group:
    return replace(group, hide_head=group.hide_head + head, hide_tail=group.hide_tail + tail)
