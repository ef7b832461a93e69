"""The AFFINE payload and the open groups that carry it."""

from __future__ import annotations

import contextlib
import io
import time
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgvc.bitstream import edit
from tgvc.bitstream.affine import (
    LEVEL_LIMIT,
    AffineMotion,
    AffineReader,
    affine_bits,
    decode_affine,
    encode_affine,
    quantise_states,
    restore_states,
    sent_frames,
    step_size,
)
from tgvc.bitstream.container import Group, Header, Reader, Writer
from tgvc.bitstream.group import pack_group, parse_group
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.rangecoder import NumberContexts, RangeEncoder
from tgvc.bitstream.segments import read_states, read_tracks
from tgvc.bitstream.tracks import encode_motion
from tgvc.errors import BitstreamError, ConfigError, TruncatedError
from tgvc.summary import describe_stream

FPS = Fraction(25)
HEADER = Header(width=256, height=256, source_width=256, source_height=256, fps=FPS, profile=4)


def walk(frames: int, channels: int, scale: float, seed: int = 0) -> np.ndarray:
    """A random walk of states float32 (frames, 2C), in units of the step of code 18, Laplacian."""
    steps = np.random.default_rng(seed).laplace(0, scale, (frames, 2 * channels))
    return np.asarray(np.cumsum(steps, axis=0) * step_size(18), np.float32)


def motion_of(lengths: tuple[int, ...] = (9, 1, 4), **fields) -> AffineMotion:
    chosen = {"step": 18, "decimation": 1, "momentum": 0, "networks": 41235} | fields
    return quantise_states([walk(n, 3, 1.5, n) for n in lengths], **chosen)


def group_of(lengths: tuple[int, ...] = (9, 1, 4), **fields) -> Group:
    keys = tuple(sum(lengths[:i]) for i in range(len(lengths)))
    base = {"codec": 0, "key_width": 256, "key_height": 160, "pictures": b"pictures", "kind": "affine"}
    return Group(
        **({"frames": sum(lengths), "keys": keys, "motion": encode_affine(motion_of(lengths))} | base | fields)
    )


@st.composite
def motions(draw) -> tuple[AffineMotion, list[int]]:
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4).filter(lambda n: max(n) > 1))
    channels, decimation = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    size = draw(st.sampled_from([0, 1, 9, 500, LEVEL_LIMIT]))
    levels = []
    for n in lengths:
        count = len(sent_frames(n, decimation))
        values = draw(st.lists(st.integers(-size, size), min_size=count * 2 * channels, max_size=count * 2 * channels))
        levels.append(np.asarray(values, np.int32).reshape(count, 2 * channels))
    return AffineMotion(
        networks=draw(st.integers(1, 65535)),
        channels=channels,
        step=draw(st.integers(0, 63)),
        decimation=decimation,
        momentum=draw(st.integers(0, 4)),
        levels=tuple(levels),
    ), lengths


# ---- the payload


@given(motions())
@settings(deadline=None, max_examples=120)
def test_every_motion_comes_back(given_motion):
    motion, lengths = given_motion
    assert decode_affine(encode_affine(motion), lengths) == motion


def test_the_bytes_of_a_small_payload_are_pinned():
    levels = [[[5, -7, 0, 300], [6, -7, 0, 290], [6, -7, 0, 290], [4, 9, -1, 270]], [[1, 2, 3, 4], [1, 2, 4, 4]]]
    runs = tuple(np.asarray(run, np.int32) for run in levels)
    motion = AffineMotion(networks=41235, channels=2, step=18, decimation=2, momentum=1, levels=runs)
    assert encode_affine(motion).hex() == "a112640f7450c0357647a6558faf198b29c444a8af9377306a0fdc"
    assert decode_affine(bytes.fromhex("a112640f7450c0357647a6558faf198b29c444a8af9377306a0fdc"), [6, 2]) == motion


@pytest.mark.parametrize("networks", range(1, 9))
def test_a_truncated_payload_is_refused_or_other_states(networks):
    motion = motion_of(networks=networks)
    data, refused = encode_affine(motion), 0
    for size in range(len(data)):
        try:
            assert decode_affine(data[:size], [9, 1, 4]) != motion  # the checksum of the chunk tells
        except BitstreamError:
            refused += 1
    assert refused > len(data) * 0.8


def test_bytes_too_many_are_refused():
    with pytest.raises(BitstreamError, match="bytes too many"):
        decode_affine(encode_affine(motion_of()) + bytes(9), [9, 1, 4])


@given(st.binary(max_size=60), st.lists(st.integers(1, 40), min_size=1, max_size=3))
@settings(deadline=None, max_examples=200)
def test_foreign_bytes_are_a_motion_or_a_bitstream_error(data, lengths):
    try:
        motion = decode_affine(data, lengths)
    except BitstreamError:
        return
    assert len(encode_affine(motion)) <= len(data)


def write_numbers(first: list[int], changes: list[list[int]]) -> bytes:
    """A payload of one channel and arbitrary residuals, whatever levels they lead to."""
    from tgvc.bitstream.affine import _put_residuals, _StateContexts

    encoder, contexts = RangeEncoder(), _StateContexts(1)
    for value, bits in ((1, 16), (0, 6), (18, 6), (0, 3), (0, 3)):
        encoder.bits_raw(value, bits)
    for numbers, value in zip(contexts.first, first, strict=True):
        encoder.sint(numbers, value)
    for change in changes:
        encoder.bit(contexts.moved[contexts.did_move], 1)
        _put_residuals(encoder, contexts, contexts.change, change)
        contexts.did_move = 1
    return encoder.finish()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (write_numbers([LEVEL_LIMIT + 1, 0], []), "at most 32767"),
        (write_numbers([LEVEL_LIMIT, 0], [[1, 0]]), "a level of magnitude 32768"),
        (write_numbers([0, -LEVEL_LIMIT], [[0, -1]]), "a level of magnitude 32768"),
        (write_numbers([0, 0], [[2**31, 0]]), "got 2147483648, expected at most"),
        (write_numbers([0, 0], [[0, 0]]), "moves by nothing"),
    ],
)
def test_overflow_and_states_that_no_writer_makes_are_refused(data, message):
    with pytest.raises(BitstreamError, match=message):
        decode_affine(data, [2])


def test_states_of_no_networks_are_refused():
    encoder = RangeEncoder()
    encoder.bits_raw(0, 16)
    with pytest.raises(BitstreamError, match=r"networks=0: expected 1\.\.65535"):
        AffineReader(encoder.finish(), [2])


def test_an_unknown_prediction_is_refused():
    encoder = RangeEncoder()
    for value, bits in ((1, 16), (0, 6), (18, 6), (0, 3), (5, 3)):
        encoder.bits_raw(value, bits)
    with pytest.raises(BitstreamError, match="momentum=5"):
        AffineReader(encoder.finish(), [2])


def test_a_flood_of_escapes_ends_at_once_and_takes_no_memory():
    flood = b"\xff" * (1 << 20)  # every decision a 1: numbers without end
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(BitstreamError):
        decode_affine(flood, [4096])
    took, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 1.0  # refused at its first number: microseconds, and a slow machine's pause
    assert peak < 1 << 20  # contexts alone; no list of states was begun


def test_a_short_payload_of_the_longest_group_is_read_in_bounded_time():
    motion = AffineMotion(
        networks=1, channels=64, step=0, decimation=1, momentum=0, levels=(np.zeros((4096, 128), np.int32),)
    )
    data = encode_affine(motion)
    assert len(data) < 60
    began = time.perf_counter()
    assert decode_affine(data, [4096]) == motion
    assert time.perf_counter() - began < 10  # half a second when idle


@pytest.mark.parametrize("momentum", range(5))
@pytest.mark.parametrize("decimation", [1, 3])
def test_prediction_never_drifts(momentum, decimation):
    states = walk(400, 4, 2.0)
    motion = quantise_states([states], step=18, decimation=decimation, momentum=momentum, dead_zone=0.3)
    back = decode_affine(encode_affine(motion), [400])
    sent = sent_frames(400, decimation)
    restored = restore_states(back.levels[0], 400, step=back.step, decimation=back.decimation)
    # a dead zone of 0.3 leaves at most 0.8 of a step, in the last state as in the second; float32 adds a little
    assert np.abs(restored[sent] - states[sent]).max() <= 0.8001 * step_size(18)
    assert np.array_equal(restored[sent], (back.levels[0] * step_size(18)).astype(np.float32))


def test_states_between_sent_ones_lie_on_a_line():
    levels = np.array([[0, 0], [30, -30], [60, 0]], np.int32)
    restored = restore_states(levels, 6, step=60, decimation=3) / step_size(60)
    assert np.allclose(restored[:, 0], [0, 10, 20, 30, 45, 60], atol=1e-4)
    assert np.allclose(restored[:, 1], [0, -10, -20, -30, -15, 0], atol=1e-4)


def test_values_beyond_the_limit_are_cut_and_come_back():
    states = np.array([[1e9, -1e9], [-1e9, 1e9], [3, 4]], np.float32)
    motion = quantise_states([states], step=60)
    assert motion.levels[0][0].tolist() == [LEVEL_LIMIT, -LEVEL_LIMIT]
    assert decode_affine(encode_affine(motion), [3]) == motion


def test_a_state_is_known_as_soon_as_its_bytes_are_there():
    motion = quantise_states([walk(200, 10, 2.0)], step=18)
    data = encode_affine(motion)
    reader = AffineReader(data, [200])
    marks = [(reader.position, state) for _, _, state in reader]
    assert marks[100][0] < 0.6 * len(data)
    for n in (0, 50, 150):
        position, state = marks[n]
        early = iter(AffineReader(data[:position], [200]))
        read = [next(early)[2] for _ in range(n + 1)]
        assert read[-1] == state


def test_stillness_costs_next_to_nothing():
    still = np.tile(walk(1, 20, 30.0), (251, 1))
    whole, alone = (encode_affine(quantise_states([still[:n]], step=18)) for n in (251, 2))
    assert len(whole) - len(alone) <= 3  # 250 frames; the published coder takes 2 bytes for each


@pytest.mark.parametrize(("scale", "published"), [(0.3, 8.0), (1.0, 16.5), (4.0, 29.0), (8.0, 36.0)])
def test_a_frame_costs_less_than_with_the_published_coder(scale, published):
    # published: bytes per frame of 40 Laplacian residuals, measured on the coder of the authors' release
    motion = quantise_states([walk(251, 20, scale)], step=18, dead_zone=0.0)
    assert len(encode_affine(motion)) / 250 < 0.83 * published


def test_the_price_is_what_is_written():
    motion = motion_of((60, 30))
    assert abs(affine_bits(motion) / 8 - len(encode_affine(motion))) <= 2


# ---- groups


@pytest.mark.parametrize("lengths", [(2,), (9, 1, 4), (1, 1, 300), (500, 7)])
def test_a_group_of_states_comes_back(lengths):
    group = group_of(lengths)
    back = parse_group(pack_group(group, FPS), FPS, 0)
    assert back == group
    assert back.open
    assert back.segment_lengths == list(lengths)
    assert read_states(back) == motion_of(lengths)
    assert read_tracks(back, 256, 256) == []


def test_pictures_come_before_states_so_that_a_pipe_can_be_shown():
    group = group_of()
    packed = pack_group(group, FPS)
    assert packed.index(group.pictures) < packed.index(group.motion)
    assert packed.endswith(group.motion)


@pytest.mark.parametrize("frames", [2, 20, 33])
def test_an_open_group_of_tracks_comes_back(frames):
    base = {"codec": 0, "key_width": 256, "key_height": 160, "pictures": b"pictures"}
    keys = (0,) if frames < 20 else (0, 8)
    segments = [SegmentMotion.empty("F", 9)] if len(keys) == 2 else []
    segments.append(SegmentMotion.of("G", frames - keys[-1], global_step=12, track_step=18))
    motion = encode_motion(segments, anchor_grid(256, 256))
    group = Group(frames=frames, keys=keys, motion=motion, **base)
    back = parse_group(pack_group(group, FPS), FPS, 0)
    assert back == group
    assert back.open
    assert read_tracks(back, 256, 256) == segments


def test_an_open_end_that_needs_another_key_picture_is_refused():
    group = Group(frames=9, keys=(0,), codec=0, key_width=256, key_height=160, pictures=b"p")
    with pytest.raises(BitstreamError, match="expected G"):
        read_tracks(group, 256, 256)  # an empty payload is mode F


def test_the_same_group_has_one_form_only():
    packed = bytearray(pack_group(group_of((3, 2)), FPS))
    flags = packed[0]
    assert flags == 0b1100000
    for wrong in (flags & ~0b100000, flags | 0b1000, flags | 0b10000000):
        with pytest.raises(BitstreamError, match="flags"):
            parse_group(bytes([wrong]) + bytes(packed[1:]), FPS, 0)
    closed = pack_group(Group(frames=3, keys=(0, 2), codec=0, key_width=8, key_height=8, pictures=b"p"), FPS)
    reopened = bytes([closed[0] | 0b100000, 3, 1, 2]) + closed[3:]
    with pytest.raises(BitstreamError, match="of an open group"):
        parse_group(reopened, FPS, 0)


@pytest.mark.parametrize("kind", ["tracks", "affine"])
def test_listed_keys_that_no_writer_makes_are_refused(kind):
    group = (
        group_of((3, 2))
        if kind == "affine"
        else Group(frames=5, keys=(0, 3), codec=0, key_width=8, key_height=8, pictures=b"p")
    )
    packed = pack_group(group, FPS)
    assert packed[1:4] == bytes([5, 1, 3])
    for keys in (b"\x01\x05", b"\x01\x00", b"\x05\x01\x01\x01\x01\x01", b"\x04\x01\x01\x01\x01"):
        with pytest.raises(BitstreamError):
            parse_group(packed[:2] + keys + packed[4:], FPS, 0)


def test_every_prefix_of_a_group_of_states_is_refused_or_has_damaged_states():
    group = group_of()
    packed, whole = pack_group(group, FPS), read_states(group)
    for size in range(len(packed)):
        with contextlib.suppress(BitstreamError):
            assert read_states(parse_group(packed[:size], FPS, 0)) != whole


@given(st.binary(max_size=80))
@settings(deadline=None, max_examples=200)
def test_foreign_payloads_are_groups_or_a_bitstream_error(payload):
    for flags in (0b100000, 0b1100000, 0b1100010):
        try:
            group = parse_group(bytes([flags]) + payload, FPS, 0)
        except BitstreamError:
            continue
        assert parse_group(pack_group(group, FPS), FPS, 0) == group


def stream_of(*groups: Group) -> bytes:
    target = io.BytesIO()
    writer = Writer(target, HEADER)
    for group in groups:
        writer.write(group)
    writer.finish()
    return target.getvalue()


def test_trimming_and_joining_keep_states():
    data = stream_of(group_of((9, 1, 4)), group_of((20,)))
    part = io.BytesIO()
    edit.trim(io.BytesIO(data), part, 3, 20)
    groups = list(Reader(io.BytesIO(part.getvalue())))
    assert [(g.hide_head, g.hide_tail, g.shown) for g in groups] == [(3, 0, 11), (0, 13, 7)]
    assert [replace(g, hide_head=0, hide_tail=0) for g in groups] == list(Reader(io.BytesIO(data)))
    joined = io.BytesIO()
    edit.concatenate([io.BytesIO(part.getvalue()), io.BytesIO(data)], joined)
    assert len(list(Reader(io.BytesIO(joined.getvalue())))) == 4


def test_a_summary_tells_of_states():
    told = describe_stream(io.BytesIO(stream_of(group_of((9, 1, 4)), group_of((20,)))))
    assert told["profile"] == "human"
    assert told["modes"] == {"A": 3, "plain": 1}
    assert told["frames"] == 34
    first = told["groups"][0]
    assert first["keys"] == [0, 9, 10]
    assert first["states"] == {"sent": 13, "parameters": 6, "step": round(step_size(18), 5), "every": 1}


def test_states_are_asked_for_of_groups_that_have_them():
    group = Group(frames=1, keys=(0,), codec=0, key_width=8, key_height=8, pictures=b"p")
    with pytest.raises(ConfigError, match="expected affine"):
        read_states(group)


def test_a_number_that_ends_too_early_is_a_truncation():
    encoder = RangeEncoder()
    encoder.bits_raw(0, 18)
    encoder.sint(NumberContexts.fresh(12, 3, signed=True), 77)
    with pytest.raises(TruncatedError):
        decode_affine(encoder.finish()[:1], [300])
