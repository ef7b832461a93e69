"""Trimming and joining streams without decoding them."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import pytest

from container_samples import HEADER, Pipe, group_of, groups_in, stream_of
from tgvc.bitstream.container import Reader
from tgvc.bitstream.edit import concatenate, trim
from tgvc.errors import ConfigError


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


@pytest.mark.parametrize("change", [{"width": 528}, {"fps": Fraction(25)}, {"seed": 1}, {"source_height": 720}])
def test_concatenate_refuses_streams_that_differ(change):
    name = next(iter(change))
    other = stream_of(group_of(9), header=replace(HEADER, **change))
    with pytest.raises(ConfigError, match=f"source 1: {name}="):
        concatenate([io.BytesIO(stream_of(group_of(9))), io.BytesIO(other)], io.BytesIO())


def test_concatenate_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        concatenate([], io.BytesIO())
