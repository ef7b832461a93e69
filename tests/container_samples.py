"""Streams of groups without content, drawn and plain, for tests of the container."""

from __future__ import annotations

import io
from fractions import Fraction

from hypothesis import strategies as st

from tgvc.bitstream.container import Group, Header, Reader, Writer
from tgvc.bitstream.group import texture_levels, uniform_keys

HEADER = Header(width=512, height=320, source_width=1920, source_height=1080, fps=Fraction(30000, 1001), matrix=1)


class Pipe(io.RawIOBase):
    """A stream that can neither seek nor give more than a few bytes at once, and counts what it gave."""

    def __init__(self, data: bytes) -> None:
        self._data, self.given = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        piece = self._data[self.given : self.given + min(size, 7)]
        self.given += len(piece)
        return piece


def group_of(count: int, spacing: int = 4, **fields) -> Group:
    base = {"codec": 0, "key_width": 256, "key_height": 160, "pictures": b"pictures" * 3, "motion": b"motion"}
    return Group(**({"frames": count, "keys": uniform_keys(count, spacing)} | base | fields))


def stream_of(*groups: Group, header: Header = HEADER, meta=None) -> bytes:
    target = io.BytesIO()
    writer = Writer(target, header, meta)
    for group in groups:
        writer.write(group)
    assert writer.finish() == len(target.getvalue())
    return target.getvalue()


def groups_in(data: bytes) -> list[Group]:
    return list(Reader(io.BytesIO(data)))


@st.composite
def groups(draw) -> Group:
    if draw(st.booleans()):
        keys = uniform_keys(draw(st.integers(1, 200)), draw(st.integers(1, 32)))
    else:
        keys = (0,)
        for gap in draw(st.lists(st.integers(1, 32), max_size=20)):
            keys += (keys[-1] + gap,)
    frames = keys[-1] + 1
    head, levels = draw(st.integers(0, frames - 1)), texture_levels(frames)
    times = None
    if draw(st.booleans()):
        unit = draw(st.sampled_from([1, 1000, 33366]))
        gaps = draw(st.lists(st.integers(1, 60_000), min_size=frames - 1, max_size=frames - 1))
        start = draw(st.integers(1 - 2**31, 2**31 - 1))
        times = tuple(start + unit * sum(gaps[:i]) for i in range(frames))
    return Group(
        frames=frames,
        keys=keys,
        codec=draw(st.integers(0, 255)),
        key_width=2 * draw(st.integers(1, 4096)),
        key_height=8 * draw(st.integers(1, 1024)),
        pictures=draw(st.binary(max_size=50)),
        motion=draw(st.binary(max_size=20)),
        texture=draw(st.binary(min_size=levels, max_size=levels)) if draw(st.booleans()) else b"",
        hide_head=head,
        hide_tail=draw(st.integers(0, frames - 1 - head)),
        times=times,
    )
