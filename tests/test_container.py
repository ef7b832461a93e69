"""The .tgvc stream: read as written from files and pipes, damage never goes unnoticed, editing codes nothing again."""

from __future__ import annotations

import io
import itertools
import zlib
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgvc.bitstream import container
from tgvc.bitstream.container import Group, GroupEntry, Header, Reader, Writer
from tgvc.bitstream.edit import concatenate, trim
from tgvc.bitstream.group import pack_group, pack_keys, parse_group, texture_levels, uniform_keys
from tgvc.bitstream.header import RATES
from tgvc.errors import BitstreamError, ChecksumError, ConfigError, TruncatedError, UnsupportedVersionError

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


headers = st.builds(
    lambda w, h, **rest: Header(width=16 * w, height=16 * h, **rest),
    st.integers(1, 512),
    st.integers(1, 512),
    source_width=st.integers(1, 32768),
    source_height=st.integers(1, 32768),
    fps=st.one_of(st.sampled_from(RATES), st.fractions(Fraction(1, 4000), 1000, max_denominator=2**32 - 1)).filter(
        lambda fps: fps.numerator < 2**32
    ),
    matrix=st.integers(0, 255),
    profile=st.integers(0, 255),
    generator=st.integers(0, 255),
    bundle=st.integers(0, 2**32 - 1),
    seed=st.integers(0, 2**32 - 1),
)


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


# ---- what comes back


@given(
    headers,
    st.lists(groups(), min_size=1, max_size=3),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
)
@settings(deadline=None, max_examples=60)
def test_every_stream_comes_back(header, written, meta):
    reader = Reader(io.BytesIO(stream_of(*written, header=header, meta=meta)))
    assert list(reader) == written
    assert (reader.header, reader.meta) == (header, meta)


def test_a_pipe_yields_each_group_before_the_next_has_come():
    first, second = group_of(9), group_of(13)
    data = stream_of(first, second)
    pipe = Pipe(data)
    reader = iter(Reader(pipe))
    assert next(reader) == first
    assert pipe.given <= len(stream_of(first))
    assert list(reader) == [second]


@pytest.mark.parametrize("late", [5_000_000, 0, -7_000])
def test_times_are_kept_with_a_late_or_early_first_frame(late):
    times = tuple(late + 40_000 * i + (i == 3) * 9 for i in range(9))
    (back,) = groups_in(stream_of(group_of(9, times=times)))
    assert back.times == times


@pytest.mark.parametrize("late", [-3_007, 7, 123_456_789])
def test_a_group_that_begins_early_or_late_pays_for_it_once(late):
    even, moved = (tuple(start + 40_000 * i + 20_000 * (i > 5) for i in range(40)) for start in (0, late))
    # 60 bits at most: 28 of a length in unary at first sight, 27 below the leading one, the sign
    assert len(stream_of(group_of(40, times=moved))) <= len(stream_of(group_of(40, times=even))) + 8


def test_a_dropped_frame_costs_a_few_bytes():
    even = [round(i * 1_000_000 / Fraction(30000, 1001) / 1000) * 1000 for i in range(98)]
    times = tuple(even[:40] + even[42:])
    assert (
        len(stream_of(group_of(96, times=times))) - len(stream_of(group_of(96))) < 32
    )  # 2 of 3 gaps are 33 ms, 1 is 34


# ---- what it costs


def test_a_group_of_64_frames_costs_at_most_36_bytes_beside_its_layers():
    group = group_of(64)
    reader = Reader(io.BytesIO(stream_of(group)))
    list(reader)
    assert reader.layers["pictures"] == len(group.pictures)
    assert reader.layers["motion"] == len(group.motion)
    assert reader.layers["header"] + reader.layers["overhead"] <= 36


@pytest.mark.parametrize("gaps", [[8] * 8, [3, 30, 1, 17, 32, 5]])
def test_overhead_is_at_most_40_bytes_and_4_per_segment(gaps):
    keys = tuple(sum(gaps[:i]) for i in range(len(gaps) + 1))
    group = Group(
        frames=keys[-1] + 1, keys=keys, codec=0, key_width=256, key_height=160, pictures=bytes(5000), motion=bytes(300)
    )
    assert len(stream_of(group)) - 5300 <= 40 + 4 * len(gaps)


@pytest.mark.parametrize("gaps", [[2, 2, 8, 8, 8], [1] * 20 + [5], [32, 1] * 3, [4, 4, 4, 3, 3]])
def test_uneven_keys_cost_a_byte_per_run_of_up_to_eight_equal_gaps(gaps):
    keys = tuple(sum(gaps[:i]) for i in range(len(gaps) + 1))
    runs = sum(-(-len(list(run)) // 8) for _, run in itertools.groupby(gaps))
    assert len(pack_keys(keys)) == 1 + runs
    group = group_of(keys[-1] + 1, keys=keys)
    assert groups_in(stream_of(group))[0].keys == keys


def test_keys_beyond_the_last_frame_are_refused():
    packed = pack_group(group_of(10, keys=(0, 4, 9)), HEADER.fps)
    at = packed.index(bytes([0, 3, 4]))  # uneven; a gap of 4, a gap of 5
    parse_group(packed, HEADER.fps, 0)
    for byte in (5, 32 + 2, 255):
        with pytest.raises(BitstreamError, match="gaps of keys: reach frame"):
            parse_group(packed[: at + 2] + bytes([byte]) + packed[at + 3 :], HEADER.fps, 0)


def test_layers_add_up_to_the_stream():
    data = stream_of(group_of(9), group_of(20), meta={"title": "a"})
    reader = Reader(io.BytesIO(data))
    list(reader)
    assert sum(reader.layers.values()) == len(data)


def test_one_group_needs_no_index_and_two_have_one():
    one, two = stream_of(group_of(9)), stream_of(group_of(9), group_of(9))
    assert len(two) - len(one) > len(stream_of(group_of(9))) - len(HEADER.to_bytes())
    assert Reader(io.BytesIO(one))._stored_index() is None
    assert Reader(io.BytesIO(two))._stored_index() is not None


# ---- random access


def three() -> tuple[list[Group], bytes]:
    some = [group_of(9), group_of(20, hide_head=2, hide_tail=3), group_of(33)]
    return some, stream_of(*some, meta={"title": "three"})


def test_index_tells_where_groups_are_and_what_they_show():
    some, data = three()
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    reader = Reader(file)  # a stream may lie inside a file
    entries = reader.index()
    assert [(e.first, e.frames) for e in entries] == [(0, 9), (9, 15), (24, 33)]
    assert [data[e.offset] for e in entries] == [container.GROUP] * 3
    assert [reader.read_group(i) for i in (2, 0, 1)] == [some[2], some[0], some[1]]
    assert list(reader) == [some[2]]


@pytest.mark.parametrize("damage", ["lost", "cut", "flipped"])
def test_a_missing_or_damaged_index_is_replaced_by_hopping(damage):
    some, data = three()
    expected = Reader(io.BytesIO(data)).index()
    start = expected[-1].offset + len(stream_of(some[2])) - len(HEADER.to_bytes())
    assert data[start] == container.INDEX
    hurt = {"lost": data[:start], "cut": data[:-3], "flipped": data[: start + 3] + b"\xff" + data[start + 4 :]}[damage]
    reader = Reader(io.BytesIO(hurt))
    assert reader.index() == expected
    assert reader.read_group(2) == some[2]


def test_a_pipe_has_no_index():
    with pytest.raises(ConfigError, match="cannot seek"):
        Reader(Pipe(stream_of(group_of(9)))).index()


def test_an_index_that_lies_is_noticed():
    data = three()[1]
    entries = Reader(io.BytesIO(data)).index()
    reader = Reader(io.BytesIO(data))
    reader._entries = [GroupEntry(entries[0].offset + 1, 0, 9), replace(entries[1], frames=14)]
    for number in (0, 1):
        with pytest.raises(BitstreamError):
            reader.read_group(number)
    with pytest.raises(ConfigError, match="group=2: expected"):
        reader.read_group(2)


# ---- damage


@pytest.mark.parametrize("seekable", [True, False])
def test_every_flipped_bit_is_refused(seekable):
    data = stream_of(group_of(9), group_of(6), meta={"k": "v"})
    for at in range(len(data)):
        for bit in range(8):
            hurt = bytearray(data)
            hurt[at] ^= 1 << bit
            with pytest.raises(BitstreamError):
                list(Reader(io.BytesIO(bytes(hurt)) if seekable else Pipe(bytes(hurt))))


@pytest.mark.parametrize("meta", [None, {"k": "v"}])
def test_every_prefix_of_a_stream_of_one_group_is_refused(meta):
    data = stream_of(group_of(9), meta=meta)
    for size in range(len(data)):
        with pytest.raises(BitstreamError):
            list(Reader(io.BytesIO(data[:size])))
        with pytest.raises(BitstreamError):
            Reader(io.BytesIO(data[:size])).index()


def test_a_prefix_of_a_longer_stream_gives_whole_groups_or_is_refused():
    some = [group_of(9), group_of(6)]
    data = stream_of(*some)
    ends = [
        len(stream_of(some[0])),
        Reader(io.BytesIO(data)).index()[1].offset + len(stream_of(some[1])) - len(HEADER.to_bytes()),
    ]
    for size in range(len(stream_of(some[0])), len(data)):
        read = []
        try:
            read.extend(Reader(io.BytesIO(data[:size])))
            assert size in ends
        except TruncatedError:
            assert size not in ends
        assert read == some[: len(read)]


@given(st.binary(max_size=200))
def test_foreign_bytes_after_a_sound_header_are_a_bitstream_error(data):
    for tail in (data, bytes([container.GROUP, len(data) & 127]) + data):
        with pytest.raises(BitstreamError):
            list(Reader(io.BytesIO(HEADER.to_bytes() + tail)))


@given(st.binary(max_size=120))
def test_foreign_payloads_with_a_sound_checksum_are_groups_or_a_bitstream_error(payload):
    chunk = container._pack_chunk(container.GROUP, payload)
    try:
        (group,) = groups_in(HEADER.to_bytes() + chunk)
    except BitstreamError:
        return
    assert groups_in(stream_of(group)) == [group]


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", BitstreamError, "empty"),
        (b"RIFF....WEBP", BitstreamError, "not a .tgvc stream"),
        (b"TG", TruncatedError, "ends inside its header"),
        (b"TGVC\x02" + bytes(40), UnsupportedVersionError, "version 2, expected 1"),
        (HEADER.to_bytes()[:-1] + b"\0", ChecksumError, "header, byte"),
        (HEADER.to_bytes(), TruncatedError, "before its first group"),
        (stream_of(group_of(9))[:-1], TruncatedError, "group, byte"),
        (stream_of(group_of(9))[:-1] + b"\0", ChecksumError, f"group, byte {len(HEADER.to_bytes())}"),
        (stream_of(group_of(9)) + b"\x41", BitstreamError, "type 0x41 is not known"),
        (stream_of(group_of(9), group_of(9)) + b"x", BitstreamError, "goes on after its index"),
        (HEADER.to_bytes() + b"\x47\xff\xff\xff\xff\x0f", BitstreamError, "length=4294967295: expected 0..67108864"),
        (HEADER.to_bytes() + b"\x47\xff\xff\xff\xff\xff", BitstreamError, "more than five bytes"),
        (HEADER.to_bytes() + b"\x47\x80\x00", BitstreamError, "longer than it need be"),
    ],
)
def test_errors_name_the_section_and_the_fault(data, kind, message):
    with pytest.raises(kind, match=message):
        list(Reader(io.BytesIO(data)))


def test_a_lie_about_a_length_allocates_no_more_than_there_is():
    class Watched(io.BytesIO):
        asked = 0

        def read(self, size: int | None = -1) -> bytes:
            Watched.asked = max(Watched.asked, size or 0)
            return super().read(size)

    with pytest.raises(TruncatedError):
        list(Reader(Watched(HEADER.to_bytes() + b"\x47\xff\xff\xff\x1f" + bytes(100))))
    assert 0 < Watched.asked <= 1 << 20


def test_unknown_chunks_that_may_be_skipped_are_and_others_are_not():
    group = group_of(9)
    head, body = HEADER.to_bytes(), stream_of(group)[len(HEADER.to_bytes()) :]
    assert groups_in(head + container._pack_chunk(0xF0, b"later") + body) == [group]
    with pytest.raises(BitstreamError, match="0x70"):
        groups_in(head + container._pack_chunk(0x70, b"later") + body)


def test_headers_with_impossible_values_are_refused_even_with_a_sound_checksum():
    data = bytearray(HEADER.to_bytes()[:-4])
    for at, value in ((6, 0), (8, 200), (9, 255)):
        hurt = data.copy()
        hurt[at] = value
        with pytest.raises(BitstreamError, match="header, byte"):
            Reader(io.BytesIO(bytes(hurt) + zlib.crc32(hurt).to_bytes(4, "little")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 500}, "width=500: expected a multiple of 16"),
        ({"height": 8208}, "height=8208"),
        ({"fps": Fraction(0)}, "fps=0"),
        ({"source_width": 0}, "source_width=0: expected 1..32768"),
        ({"seed": 2**32}, "seed="),
    ],
)
def test_headers_that_cannot_be_written_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(HEADER, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0, "keys": ()}, "frames=0"),
        ({"frames": 4097, "keys": uniform_keys(4097, 32)}, "frames=4097: expected 1..4096"),
        ({"keys": (1, 8)}, "increasing from 0 to the last frame, 8"),
        ({"keys": (0, 9)}, "increasing from 0 to the last frame, 8"),
        ({"frames": 34, "keys": (0, 33)}, "at most 32 frames from one"),
        ({"frames": 34, "keys": (0,)}, "at most 32 frames from one"),
        ({"kind": "affine", "keys": (0,), "motion": b""}, "motion: got 0 bytes"),
        ({"kind": "affine", "keys": tuple(range(9)), "motion": b"a"}, "every frame is one"),
        ({"kind": "pixels"}, "kind='pixels'"),
        ({"keys": (0, 4, 4, 8)}, "increasing"),
        ({"key_width": 255}, "even"),
        ({"texture": bytes(2)}, "got 2 levels, expected 1 or none"),
        ({"hide_head": 4, "hide_tail": 5}, "leave a frame of 9"),
        ({"times": (0, 1, 2)}, "got 3, expected 9"),
        ({"times": (0, 1, 2, 3, 4, 5, 6, 7, 7)}, "increasing"),
    ],
)
def test_groups_that_cannot_be_written_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        group_of(9, **change)


def test_nothing_can_follow_the_end():
    writer = Writer(io.BytesIO(), HEADER)
    writer.write(group_of(9))
    writer.finish()
    with pytest.raises(ConfigError, match="finished"):
        writer.write(group_of(9))


# ---- editing


def shown(data: bytes) -> list[tuple[bytes, int]]:
    """Every shown frame as (its group's pictures, its number in the group)."""
    return [(g.pictures, i) for g in groups_in(data) for i in range(g.hide_head, g.frames - g.hide_tail)]


def numbered() -> bytes:
    return stream_of(*(group_of(n, pictures=bytes([n])) for n in (9, 12, 5)), meta={"title": "t"})


@pytest.mark.parametrize(("first", "last"), [(0, 25), (0, 0), (8, 9), (3, 24), (21, 25), (10, 12), (5, 99)])
def test_trim_keeps_exactly_the_frames_asked_for(first, last):
    data, target = numbered(), io.BytesIO()
    assert trim(io.BytesIO(data), target, first, last) == len(target.getvalue())
    assert shown(target.getvalue()) == shown(data)[first : last + 1]


def test_trims_of_a_trim_add_up():
    data, once, twice = numbered(), io.BytesIO(), io.BytesIO()
    trim(io.BytesIO(data), once, 3, 20)
    trim(io.BytesIO(once.getvalue()), twice, 2, 10)
    assert shown(twice.getvalue()) == shown(data)[5:14]


def test_trim_to_everything_and_concatenate_of_one_change_no_byte():
    data = numbered()
    for edit in (lambda t: trim(io.BytesIO(data), t, 0, 25), lambda t: concatenate([io.BytesIO(data)], t)):
        target = io.BytesIO()
        edit(target)
        assert target.getvalue() == data


@pytest.mark.parametrize(
    ("first", "last", "message"), [(5, 4, "first <= last"), (-1, 4, "0 <= first"), (26, 30, "has 26 frames")]
)
def test_trim_refuses_ranges_without_frames(first, last, message):
    with pytest.raises(ConfigError, match=message):
        trim(io.BytesIO(numbered()), io.BytesIO(), first, last)


def test_concatenate_appends_pipes_and_keeps_what_all_agree_on():
    one = stream_of(group_of(9), meta={"by": "me", "title": "one"})
    two = stream_of(group_of(6), group_of(7), meta={"by": "me", "title": "two"})
    target = io.BytesIO()
    concatenate([Pipe(one), Pipe(two)], target)
    reader = Reader(io.BytesIO(target.getvalue()))
    assert list(reader) == groups_in(one) + groups_in(two)
    assert reader.meta == {"by": "me"}
    assert [e.first for e in reader.index()] == [0, 9, 15]


def test_cutting_in_two_and_joining_shows_the_same_frames():
    data, parts = numbered(), [io.BytesIO(), io.BytesIO()]
    trim(io.BytesIO(data), parts[0], 0, 13)
    trim(io.BytesIO(data), parts[1], 14, 25)
    whole = io.BytesIO()
    concatenate([io.BytesIO(p.getvalue()) for p in parts], whole)
    assert shown(whole.getvalue()) == shown(data)


@pytest.mark.parametrize(
    "change", [{"width": 528}, {"fps": Fraction(25)}, {"bundle": 7}, {"seed": 1}, {"source_height": 720}]
)
def test_concatenate_refuses_streams_that_differ(change):
    name = next(iter(change))
    other = stream_of(group_of(9), header=replace(HEADER, **change))
    with pytest.raises(ConfigError, match=f"source 1: {name}="):
        concatenate([io.BytesIO(stream_of(group_of(9))), io.BytesIO(other)], io.BytesIO())


def test_concatenate_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        concatenate([], io.BytesIO())
