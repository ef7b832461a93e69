"""What is decoded of a stream: which groups are read and painted, when their frames are shown, what memory allows."""

from __future__ import annotations

import io
from collections.abc import Generator
from fractions import Fraction

import numpy as np
import pytest

import tgvc
from tgvc.bitstream.container import Group, Header, Writer
from tgvc.bitstream.pictures import find_codec
from tgvc.config import DecoderConfig
from tgvc.decoder import Decoder
from tgvc.errors import BitstreamError, ConfigError
from tgvc.overlap import StageClock
from tgvc.synthesis import room
from tgvc.synthesis.group import DecodedGroup
from tgvc.types import Picture
from video_samples import smooth_picture

STEP = 40_000  # microseconds of a frame
EVEN, EARLY = (0, STEP, 2 * STEP, 3 * STEP), (-STEP // 2, STEP // 2, 3 * STEP // 2, 5 * STEP // 2)


def group_of(times: tuple[int, ...] | None = None, hide_tail: int = 0) -> Group:
    keys = find_codec(0).encode([smooth_picture(n, 64, 64) for n in range(2)], 40, 12)
    return Group(
        frames=4,
        keys=(0, 3),
        codec=0,
        key_width=64,
        key_height=64,
        pictures=keys.payload,
        times=times,
        hide_tail=hide_tail,
    )


def stream_of(*groups: Group, side: int = 64) -> bytes:
    out = io.BytesIO()
    writer = Writer(out, Header(width=side, height=side, source_width=side, source_height=side, fps=Fraction(25)))
    for group in groups:
        writer.write(group)
    writer.finish()
    return out.getvalue()


def times_of(data: bytes, **fields: float) -> list[float]:
    return [round(float(frame.time), 6) for frame in tgvc.decode_frames(io.BytesIO(data), **fields)]


def test_a_stream_that_was_cut_before_an_early_group_begins_at_zero_with_all_of_its_frames() -> None:
    whole, part = stream_of(group_of(EVEN), group_of(EARLY)), io.BytesIO()
    assert times_of(whole) == [0, 0.04, 0.08, 0.12, 0.14, 0.18, 0.22, 0.26]
    tgvc.trim(io.BytesIO(whole), part, start=0.14)
    assert times_of(part.getvalue()) == [0, 0.04, 0.08, 0.12]
    assert tgvc.info(io.BytesIO(part.getvalue()))["frames"] == 4


def test_decoding_to_an_end_shows_what_trimming_to_it_keeps() -> None:
    whole, part = stream_of(group_of(EVEN), group_of(EARLY)), io.BytesIO()
    tgvc.trim(io.BytesIO(whole), part, end=0.15)
    assert times_of(part.getvalue()) == times_of(whole, end=0.15) == [0, 0.04, 0.08, 0.12, 0.14]


def test_joined_streams_never_go_back_in_time() -> None:
    joined = stream_of(group_of(EVEN), group_of(tuple(t - STEP for t in EVEN)))
    found = times_of(joined)
    assert found == sorted(set(found))
    assert len(found) == 8


def test_damage_behind_the_range_harms_nobody() -> None:
    data = stream_of(group_of(), group_of())
    hurt = bytearray(data)
    hurt[len(data) * 3 // 4] ^= 1
    assert times_of(bytes(hurt), end=0.1) == [0, 0.04, 0.08]
    with pytest.raises(BitstreamError):
        times_of(bytes(hurt), end=0.2)


class Counting:
    """A generator that tells how many frames it painted and whether it came to its end."""

    facts = {"generator": "counting"}  # noqa: RUF012

    def __init__(self) -> None:
        self.painted, self.ended = 0, 0

    def render_group(self, group: DecodedGroup, clock: StageClock, on_progress: object = None) -> Generator[Picture]:
        for _ in range(group.frames):
            self.painted += 1
            yield group.keys[0]
        self.ended += 1


@pytest.mark.parametrize(
    ("fields", "painted", "ended"), [({}, 8, 2), ({"end": 0.04}, 1, 0), ({"start": 0.2}, 4, 1)], ids=str
)
def test_generators_paint_what_is_shown_and_come_to_their_end(
    fields: dict[str, float], painted: int, ended: int
) -> None:
    decoder, counting = Decoder(DecoderConfig(threads=1, **fields)), Counting()
    decoder._generator = counting  # type: ignore[assignment]
    shown = list(decoder.frames(io.BytesIO(stream_of(group_of(), group_of()))))
    assert (counting.painted, counting.ended) == (painted, ended)
    assert len(shown) <= painted


def test_hidden_frames_at_the_tail_are_not_painted() -> None:
    decoder, counting = Decoder(DecoderConfig(threads=1)), Counting()
    decoder._generator = counting  # type: ignore[assignment]
    assert len(list(decoder.frames(io.BytesIO(stream_of(group_of(hide_tail=2)))))) == 2
    assert counting.painted == 2


def test_a_group_that_asks_for_more_memory_than_there_is_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = np.full((96, 64), 120, np.uint8)
    keys = find_codec(0).encode([flat] * 64, 60, 12)
    group = Group(frames=64, keys=tuple(range(64)), codec=0, key_width=64, key_height=64, pictures=keys.payload)
    data = stream_of(group, side=4096)
    assert len(data) < 4000
    monkeypatch.setattr(room, "available_memory", lambda: 1 << 30)
    with pytest.raises(ConfigError, match=r"64 key pictures at 4096x4096 takes about 2\.0 GB of memory, 1\.1 GB"):
        next(iter(tgvc.decode_frames(io.BytesIO(data), threads=1)))
    monkeypatch.setattr(room, "available_memory", lambda: None)  # where the system does not say, nothing is refused
    assert room.group_room(group, (64, 64), 1) < 2_000_000
    room.check_room(group, (4096, 4096), 1)


def test_lanes_of_a_generator_are_used_again() -> None:
    pytest.importorskip("onnxruntime")
    decoder = Decoder(DecoderConfig(generator="latent", steps=1, threads=1))
    assert len(list(decoder.frames(io.BytesIO(stream_of(group_of(), group_of(), group_of()))))) == 12
    lanes = decoder._generator._tracks._lanes  # type: ignore[attr-defined]
    assert len(lanes._free) == 1
