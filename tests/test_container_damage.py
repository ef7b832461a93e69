"""Damaged and hostile streams are a BitstreamError that says where."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container_samples import HEADER, Pipe, group_of, groups_in, stream_of
from tgvc.bitstream import container
from tgvc.bitstream.container import Reader
from tgvc.bitstream.group import uniform_keys
from tgvc.errors import BitstreamError, ChecksumError, ConfigError, TruncatedError, UnsupportedVersionError


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
        (
            stream_of(group_of(9)) + b"\x41",
            BitstreamError,
            "type 0x41 is not known: bytes follow the end",
        ),
        (HEADER.to_bytes() + b"\x41", BitstreamError, "type 0x41 is not known: use a newer tgvc"),
        (stream_of(group_of(9), group_of(9)) + b"x", BitstreamError, "goes on after its index"),
        (HEADER.to_bytes() + b"\x47\xff\xff\xff\xff\x0f", BitstreamError, "length=4294967295: expected 0..67108864"),
        (HEADER.to_bytes() + b"\x47\xff\xff\xff\xff\xff", BitstreamError, "more than five bytes"),
        (HEADER.to_bytes() + b"\x47\x80\x00", BitstreamError, "longer than it need be"),
    ],
)
def test_errors_name_the_section_and_the_fault(data, kind, message):
    with pytest.raises(kind, match=message):
        list(Reader(io.BytesIO(data)))


def test_errors_of_a_file_name_it_once(tmp_path):
    path = tmp_path / "half.tgvc"
    path.write_bytes(stream_of(group_of(9))[:-1])
    for use in (list, Reader.index, lambda reader: reader.read_group(0)):
        with path.open("rb") as stream, pytest.raises(TruncatedError) as caught:
            use(Reader(stream))
        assert str(caught.value).startswith(f"{path}: group, byte ")
        assert str(caught.value).count(str(path)) == 1


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
