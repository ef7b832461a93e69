"""The .tgvc stream: read as written from files and pipes, what it costs, and random access."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from container_samples import HEADER, Pipe, group_of, groups, groups_in, stream_of
from tgvc.bitstream import container
from tgvc.bitstream.container import Group, GroupEntry, Header, Reader, Writer
from tgvc.bitstream.group import pack_group, pack_keys, parse_group
from tgvc.bitstream.header import RATES
from tgvc.errors import BitstreamError, ConfigError

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
    seed=st.integers(0, 2**32 - 1),
)


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


def test_nothing_can_follow_the_end():
    writer = Writer(io.BytesIO(), HEADER)
    writer.write(group_of(9))
    writer.finish()
    with pytest.raises(ConfigError, match="finished"):
        writer.write(group_of(9))
