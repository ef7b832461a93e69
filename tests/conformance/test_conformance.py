"""The committed stream and the worked example of docs/bitstream.md: what every machine has to read and write."""

from __future__ import annotations

import io
import json
import re
from itertools import pairwise
from pathlib import Path

import doc_example
import open_recipe
import plain_decoder
import pytest
import stream_recipe

from tgvc.bitstream.container import Reader
from tgvc.bitstream.motion import anchor_grid
from tgvc.bitstream.segments import read_states, read_tracks
from tgvc.bitstream.tracks import canonical, decode_motion
from tgvc.errors import BitstreamError

DOCUMENT = Path(__file__).parents[2] / "docs" / "bitstream.md"
DATA = stream_recipe.STREAM.read_bytes()


def block(name: str) -> list[str]:
    found = re.search(rf"```{name}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1].splitlines()


def read_motion(data: bytes) -> list:
    reader = Reader(io.BytesIO(data))
    grid = anchor_grid(reader.header.width, reader.header.height)
    return [decode_motion(g.motion, [b - a + 1 for a, b in pairwise(g.keys)], grid) for g in reader]


def test_the_stream_says_what_was_committed():
    expected = json.loads(stream_recipe.EXPECTED.read_text(encoding="utf-8"))
    assert json.loads(json.dumps(stream_recipe.describe(DATA))) == expected


def test_the_stream_holds_the_motion_of_its_recipe():
    assert read_motion(DATA) == stream_recipe.expected_motion()


def test_writing_the_recipe_anew_gives_the_same_bytes():
    pictures = [group.pictures for group in Reader(io.BytesIO(DATA))]
    assert stream_recipe.build(pictures) == DATA


def test_the_stream_uses_every_mode_and_transform():
    segments = [s for group in read_motion(DATA) for s in group]
    assert {s.mode for s in segments} == set("FGHT")
    assert {s.transform for s in segments if s.mode in "GT"} == {"dst", "bridge", "dct", "dpcm"}


def test_every_flipped_byte_is_refused():
    for at in range(len(DATA)):
        hurt = bytearray(DATA)
        hurt[at] ^= 1 << at % 8
        with pytest.raises(BitstreamError):
            list(Reader(io.BytesIO(bytes(hurt))))


def test_every_prefix_gives_whole_groups_or_is_refused():
    whole = list(Reader(io.BytesIO(DATA)))
    complete = []
    for size in range(len(DATA)):
        read = []
        try:
            read.extend(Reader(io.BytesIO(DATA[:size])))
            complete.append(len(read))
        except BitstreamError:
            pass
        assert read == whole[: len(read)]
    assert complete == [1, 2]  # after the first group, and after the second where only the index is missing


def test_a_decoder_written_from_the_document_alone_reads_the_same():
    read = plain_decoder.read_stream(DATA, DOCUMENT.read_text(encoding="utf-8"))
    expected = json.loads(stream_recipe.EXPECTED.read_text(encoding="utf-8"))
    payloads = [group.pop("pictures") for group in read["groups"]]
    assert payloads == [group.pictures for group in Reader(io.BytesIO(DATA))]
    for group in expected["groups"]:
        del group["pictures_crc"]
    assert read == expected


def test_open_groups_are_written_and_read_as_committed():
    data = open_recipe.STREAM.read_bytes()
    assert open_recipe.build() == data
    first, second = Reader(io.BytesIO(data))
    assert read_tracks(first, 256, 256) == [canonical(s, (64, 64)) for s in open_recipe.tracks()]
    assert read_states(second) == open_recipe.states()


def test_a_decoder_written_from_the_document_alone_reads_open_groups():
    data = open_recipe.STREAM.read_bytes()
    read = plain_decoder.read_stream(data, DOCUMENT.read_text(encoding="utf-8"))["groups"]
    motion = open_recipe.states()
    assert [(g["frames"], g["keys"], g["pictures"]) for g in read] == [
        (8, [0, 3], b"two pictures"),
        (48, [0, 7, 8], b"three"),
    ]
    assert read[0]["motion"] == [stream_recipe.plain(canonical(s, (64, 64))) for s in open_recipe.tracks()]
    plain = {name: getattr(motion, name) for name in ("networks", "channels", "step", "decimation", "momentum")}
    assert read[1]["motion"] == plain | {"levels": [levels.tolist() for levels in motion.levels]}


def test_the_documented_example_is_what_the_code_writes():
    rows = [re.fullmatch(r" *(\d+)  ((?:[0-9a-f]{2} ?)+) +\S.*", line) for line in block("example")]
    assert all(rows)
    data = bytes.fromhex("".join(row[2] for row in rows))
    assert data == doc_example.stream()
    assert [int(row[1]) for row in rows] == [sum(len(bytes.fromhex(r[2])) for r in rows[:i]) for i in range(len(rows))]


def test_the_documented_decisions_are_what_the_code_takes():
    assert block("trace") == doc_example.trace()


def test_the_documented_priors_are_those_of_the_code():
    assert block("priors") == doc_example.table()
