"""AFFINE payloads that were valid before something happened to them: in memory, from a file and through a pipe."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tgvc
from human_samples import bright_pictures, tiny_human
from tgvc.analysis.cells import measure_cells
from tgvc.backends.base import load_backend
from tgvc.bitstream.affine import (
    LEVEL_LIMIT,
    AffineMotion,
    decode_affine,
    encode_affine,
    quantise_states,
    sent_frames,
    step_size,
)
from tgvc.bitstream.arriving import open_reader
from tgvc.bitstream.container import Group, Header, Writer
from tgvc.bitstream.pictures import find_codec
from tgvc.errors import BitstreamError
from tgvc.models.bundle import load_bundle
from tgvc.models.human import HumanNetworks
from tgvc.synthesis.states import read_group_states
from tgvc.types import FloatArray

SMALL = Header(width=96, height=64, source_width=96, source_height=64, fps=Fraction(25), profile=4)
STEP = 18


class Pipe(io.RawIOBase):
    """A stream that cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._data, self._given = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        piece = self._data[self._given : self._given + size]
        self._given += len(piece)
        return piece


@st.composite
def payloads(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """What an encoder writes, and how many frames each of its key pictures serves."""
    lengths = draw(st.lists(st.integers(1, 14), min_size=1, max_size=4).filter(lambda n: max(n) > 1))
    channels, reach = draw(st.integers(1, 10)), draw(st.sampled_from([0.3, 2.0, 40.0, 9000.0]))
    rng, start = np.random.default_rng(draw(st.integers(0, 1 << 32))), draw(st.sampled_from([0, LEVEL_LIMIT]))
    runs = []
    for frames in lengths:
        walk = start + np.cumsum(rng.laplace(0, reach, (frames, 2 * channels)), axis=0)
        walk[rng.random(frames) < 0.3] = walk[0]  # now and then a state rests
        runs.append(np.asarray(walk * step_size(STEP), np.float32))
    motion = quantise_states(
        runs,
        step=STEP,
        decimation=draw(st.integers(1, 8)),
        momentum=draw(st.integers(0, 4)),
        networks=draw(st.integers(1, 65535)),
    )
    return encode_affine(motion), lengths


@st.composite
def damages(draw: st.DrawFn) -> tuple[bytes, list[int], bytes]:
    """A payload of damaged bytes, its lengths, and the payload that it was."""
    data, lengths = draw(payloads())
    hurt = bytearray(data)
    if draw(st.booleans()):
        for bit in draw(st.lists(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=3, unique=True)):
            hurt[bit // 8] ^= 1 << bit % 8
    else:
        place = draw(st.integers(0, len(data) - 1))
        piece = draw(st.binary(min_size=1, max_size=4))[: len(data) - place]
        hurt[place : place + len(piece)] = piece
    return bytes(hurt), lengths, data


def read_damaged(data: bytes, lengths: Sequence[int]) -> AffineMotion | None:
    """The motion, None if it is refused; whatever else happens is a failure."""
    try:
        return decode_affine(data, lengths)
    except BitstreamError:
        return None


# ---- in memory


@given(damages())
@settings(deadline=None, max_examples=400)
def test_damage_is_refused_or_a_motion_of_levels_in_range_that_takes_no_more_bytes(
    damage: tuple[bytes, list[int], bytes],
) -> None:
    hurt, lengths, _ = damage
    motion = read_damaged(hurt, lengths)
    if motion is None:
        return
    assert [len(levels) for levels in motion.levels] == [len(sent_frames(n, motion.decimation)) for n in lengths]
    assert max(int(np.abs(levels).max()) for levels in motion.levels if levels.size) <= LEVEL_LIMIT
    again = encode_affine(motion)
    assert len(again) <= len(hurt)
    assert decode_affine(again, lengths) == motion


def test_damage_is_refused_and_is_another_motion_both() -> None:
    """The test above sees both ends."""
    motion = quantise_states([np.cumsum(np.random.default_rng(1).laplace(0, 0.1, (20, 6)), axis=0)], step=STEP)
    data, found = encode_affine(motion), []
    for bit in range(8 * len(data)):
        hurt = bytearray(data)
        hurt[bit // 8] ^= 1 << bit % 8
        found.append(read_damaged(bytes(hurt), [20]))
    refused = sum(m is None for m in found)
    assert min(refused, len(found) - refused) > 0.1 * len(found)
    assert all(m is None or m != motion for m in found[: 8 * (len(data) - 1)])  # of the last byte not every bit matters


# ---- from a file and through a pipe


def group_of(motion: bytes, lengths: Sequence[int], pictures: bytes = b"pictures") -> Group:
    keys = tuple(accumulate(lengths[:-1], initial=0))
    base = {"codec": 0, "key_width": 96, "key_height": 64, "kind": "affine"}
    return Group(frames=sum(lengths), keys=keys, pictures=pictures, motion=motion, **base)  # type: ignore[arg-type]


def stream_of(*groups: Group) -> bytes:
    """A stream whose checksums are right."""
    target = io.BytesIO()
    writer = Writer(target, SMALL)
    for group in groups:
        writer.write(group)
    writer.finish()
    return target.getvalue()


def read_states_of(stream: Any) -> list[list[FloatArray]] | None:
    """States of all groups by key picture, None if they are refused."""
    found = []
    try:
        for group in open_reader(stream):
            found += [list(run) for run in read_group_states(group).runs]
    except BitstreamError:
        return None
    return found


def is_same(ours: list[list[FloatArray]] | None, theirs: list[list[FloatArray]] | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@given(damages())
@settings(deadline=None, max_examples=200)
def test_a_pipe_gives_the_states_that_a_file_gives_and_refuses_what_it_refuses(
    damage: tuple[bytes, list[int], bytes],
) -> None:
    hurt, lengths, data = damage
    for motion, good in ((data, True), (hurt, None), (data + bytes(9), False)):
        stream = stream_of(group_of(motion, lengths), group_of(data, lengths))
        whole, piped = read_states_of(io.BytesIO(stream)), read_states_of(Pipe(stream))
        assert is_same(whole, piped)
        assert good is None or good == (whole is not None)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("human") / "bright"
    tiny_human(folder)
    return str(folder)


SHAPES = [pytest.param((20,), id="one-key"), pytest.param((9, 11), id="two-keys"), pytest.param((19, 1), id="lone-end")]


@pytest.fixture(scope="module", params=SHAPES)
def coded(request: pytest.FixtureRequest, bundle: str) -> tuple[bytes, list[int], bytes]:
    """States that brighten a scene as it is, how many frames its key pictures serve, and these, coded."""
    lengths: tuple[int, ...] = request.param
    pictures, keys = bright_pictures(20), list(accumulate(lengths[:-1], initial=0))
    nets = HumanNetworks(load_bundle(bundle), load_backend("onnxruntime", threads=1), 6)
    runs = [
        nets.states(pictures[key], pictures[key : key + frames], measure_cells)
        for key, frames in zip(keys, lengths, strict=True)
    ]
    motion = encode_affine(quantise_states(runs, step=10, decimation=3, networks=nets.bundle.number))
    return motion, list(lengths), find_codec(0).encode([pictures[key] for key in keys], 60.0, 8).payload


def frames_of(stream: Any, bundle: str) -> Iterator[np.ndarray]:
    for shown in tgvc.decode_frames(stream, generator="human", bundle=bundle):
        yield shown.picture


def test_a_good_stream_is_painted_from_a_pipe_as_from_a_file(
    coded: tuple[bytes, list[int], bytes], bundle: str
) -> None:
    data = stream_of(*[group_of(*coded)] * 2)
    whole, piped = (list(frames_of(stream, bundle)) for stream in (io.BytesIO(data), Pipe(data)))
    assert len(whole) == 40
    assert np.ptp([float(picture.mean()) for picture in whole]) > 30  # the states do something
    assert np.array_equal(whole, piped)


@pytest.mark.parametrize("trailing", [bytes(5), b"x" * 5000], ids=["zeros", "many"])  # 4 zeros are imagined anyway
@pytest.mark.parametrize("followed", [False, True])
def test_bytes_after_the_last_state_are_refused_from_a_pipe_as_from_a_file(
    coded: tuple[bytes, list[int], bytes], bundle: str, trailing: bytes, followed: bool
) -> None:
    motion, lengths, pictures = coded
    groups = [group_of(motion + trailing, lengths, pictures)] + [group_of(*coded)] * followed
    data = stream_of(*groups)
    messages = []
    for stream in (io.BytesIO(data), Pipe(data)):
        shown: list[np.ndarray] = []
        with pytest.raises(BitstreamError, match="bytes too many") as caught:
            shown.extend(frames_of(stream, bundle))
        messages.append(str(caught.value))
        assert len(shown) < 20
    assert messages[0] == messages[1]
