"""A group: a run of frames that can be decoded on its own, as the payload of one chunk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Literal, TypeAlias, get_args

from tgvc.bitstream.fields import FieldReader, varint
from tgvc.bitstream.motion import MAX_LENGTH
from tgvc.bitstream.rangecoder import NumberContexts, RangeDecoder, RangeEncoder
from tgvc.errors import BitstreamError, ConfigError

MAX_FRAMES = 4096
MAX_GAP = MAX_LENGTH - 1  # frames from one key to the next
MAX_KEY_SIDE = 8192
_MAX_RUN = 8  # equal gaps of keys that one byte can stand for
TEXTURE_FRAMES = 32  # that one level of texture stands for
MAX_MOTION = 1 << 20  # bytes: bounds the seconds that a hostile payload can take
MAX_STEP = (1 << 31) - 1  # longest time from one frame to the next, microseconds: 35 minutes
_TEXTURE, _HIDDEN, _TIMES, _MOTION, _FINE, _OPEN, _AFFINE = (1 << i for i in range(7))
AFFINE_FLAG = _AFFINE
MotionKind: TypeAlias = Literal["tracks", "affine"]  # see `tgvc.bitstream.tracks` and `tgvc.bitstream.affine`


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of frames, pictures and motion as coded bytes.

    ``frames``: coded frames, 1..4096. ``keys``: frame numbers in the group that are key pictures, from 0 on. A group of
    ``kind`` "tracks" is closed where its last frame is one of them, else open: then motion alone leads on from the last
    one. No two of them, and no frame and the one before it, are more than 32 apart; a group of kind "affine" is open,
    and its keys lie anywhere. ``codec``: number of the picture codec. ``key_width, key_height``: coded size of the key
    pictures in px, even. ``pictures, motion``: the two layers. ``texture``: one level per 32 frames, or none: how much
    fine texture the source has there, see `tgvc.synthesis.grain`. ``hide_head, hide_tail``: frames at either end that
    are decoded and not shown. ``times``: time of each frame in microseconds where the rate is not constant, increasing,
    counted from the moment at which the first frame is due (one even step after the last frame of the group before);
    the first may be late or early.
    """

    frames: int
    keys: tuple[int, ...]
    codec: int
    key_width: int
    key_height: int
    pictures: bytes
    motion: bytes = b""
    texture: bytes = b""
    hide_head: int = 0
    hide_tail: int = 0
    times: tuple[int, ...] | None = None
    kind: MotionKind = "tracks"

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= MAX_FRAMES:
            raise ConfigError(f"frames={self.frames}: expected 1..{MAX_FRAMES} in a group")
        if self.kind not in get_args(MotionKind):
            raise ConfigError(f"kind={self.kind!r}: expected one of {', '.join(get_args(MotionKind))}")
        _check_keys(self.keys, self.frames, self.kind)
        if not 0 <= self.codec <= 255:
            raise ConfigError(f"codec={self.codec}: expected 0..255")
        if any(side % 2 or not 2 <= side <= MAX_KEY_SIDE for side in (self.key_width, self.key_height)):
            raise ConfigError(f"key size={self.key_width}x{self.key_height}: expected even sides up to {MAX_KEY_SIDE}")
        if not (self.kind == "affine") <= len(self.motion) <= MAX_MOTION:
            raise ConfigError(f"motion: got {len(self.motion)} bytes, expected at most {MAX_MOTION}, of affine some")
        levels = texture_levels(self.frames)
        if len(self.texture) not in (0, levels):
            raise ConfigError(f"texture: got {len(self.texture)} levels, expected {levels} or none")
        if min(self.hide_head, self.hide_tail) < 0 or self.hide_head + self.hide_tail >= self.frames:
            raise ConfigError(f"hidden={self.hide_head}+{self.hide_tail}: expected to leave a frame of {self.frames}")
        if self.times is not None:
            _check_times(self.times, self.frames)

    @property
    def open(self) -> bool:
        """Whether motion alone leads on from the last key picture; always so in groups of kind "affine"."""
        return self.kind == "affine" or self.keys[-1] != self.frames - 1

    @property
    def segment_lengths(self) -> list[int]:
        """Frames of each segment, in order.

        Of kind "tracks" both keys are counted, or the one there is where an open group ends. Of kind "affine" they are
        those that a key picture serves: itself and all up to the next one, without it.
        """
        shared = self.kind == "tracks"
        lengths = [b - a + shared for a, b in pairwise(self.keys)]
        return [*lengths, self.frames - self.keys[-1]] if self.open else lengths

    @property
    def shown(self) -> int:
        """Frames that are shown."""
        return self.frames - self.hide_head - self.hide_tail


def pack_group(group: Group, fps: Fraction) -> bytes:
    """A group as the payload of a chunk; ``fps`` is the header's, from which uneven times are told."""
    fine = bool(group.key_width % 8 or group.key_height % 8)
    hidden = bool(group.hide_head or group.hide_tail)
    flags = _TEXTURE * bool(group.texture) | _HIDDEN * hidden | _TIMES * (group.times is not None)
    affine = group.kind == "affine"
    flags |= _MOTION * bool(group.motion and not affine) | _FINE * fine | _OPEN * group.open | _AFFINE * affine
    unit = 2 if fine else 8
    keys = pack_open_keys(group.keys) if group.open else pack_keys(group.keys)
    out = bytes([flags]) + varint(group.frames) + keys
    out += bytes([group.codec]) + varint(group.key_width // unit) + varint(group.key_height // unit)
    out += group.texture
    if hidden:
        out += varint(group.hide_head) + varint(group.hide_tail)
    if group.times is not None:
        out += _pack_times(group.times, fps)
    if affine:  # pictures first: who reads a pipe has what the first frame needs, and then state after state
        return out + varint(len(group.pictures)) + group.pictures + group.motion
    if group.motion:
        out += varint(len(group.motion)) + group.motion
    return out + group.pictures


def parse_group(data: bytes, fps: Fraction, offset: int) -> Group:
    """The inverse of `pack_group`; ``offset`` is where the payload lies in the stream.

    Raises:
        BitstreamError: bytes that no writer makes.
    """
    reader = FieldReader(data, "group", offset)
    flags = reader.byte("flags", 2 * _AFFINE - 1)
    kind: MotionKind = "affine" if flags & _AFFINE else "tracks"
    if kind == "affine" and (not flags & _OPEN or flags & _MOTION):
        raise reader.error(f"flags={flags:#x}: affine motion lies in an open group behind its pictures")
    frames = reader.varint("frames", 1, MAX_FRAMES)
    keys = _parse_open_keys(reader, frames, kind) if flags & _OPEN else _parse_keys(reader, frames)
    codec = reader.byte("codec")
    unit = 2 if flags & _FINE else 8
    width, height = (unit * reader.varint(name, 1, MAX_KEY_SIDE // unit) for name in ("key width", "key height"))
    texture = reader.take("texture", texture_levels(frames)) if flags & _TEXTURE else b""
    head = reader.varint("hidden head", 0, frames - 1) if flags & _HIDDEN else 0
    tail = reader.varint("hidden tail", 0, frames - 1 - head) if flags & _HIDDEN else 0
    times = _parse_times(reader, frames, fps) if flags & _TIMES else None
    motion = reader.take("motion", reader.varint("length of motion", 0, MAX_MOTION)) if flags & _MOTION else b""
    pictures = reader.take("pictures", reader.varint("length of pictures")) if kind == "affine" else reader.rest()
    if kind == "affine":
        if not 1 <= reader.left <= MAX_MOTION:
            raise reader.error(f"motion: {reader.left} bytes, expected 1..{MAX_MOTION}")
        motion = reader.lazy_rest()
    return Group(
        frames=frames,
        keys=keys,
        codec=codec,
        key_width=width,
        key_height=height,
        pictures=pictures,
        motion=motion,
        texture=texture,
        hide_head=head,
        hide_tail=tail,
        times=times,
        kind=kind,
    )


def texture_levels(frames: int) -> int:
    """How many levels of texture a group of so many frames has, if any."""
    return -(-frames // TEXTURE_FRAMES)


def uniform_keys(frames: int, spacing: int) -> tuple[int, ...]:
    """Keys 0, spacing, 2 * spacing ... and always the last frame."""
    return (*range(0, frames - 1, spacing), frames - 1)


def pack_keys(keys: tuple[int, ...]) -> bytes:
    """Key frames as bytes: one byte where they are evenly spaced, else one more per run of equal gaps."""
    spacing = keys[1] - keys[0] if len(keys) > 1 else 1
    if keys == uniform_keys(keys[-1] + 1, spacing):
        return bytes([spacing])
    out = bytearray(1)
    for gap, run in groupby(b - a for a, b in pairwise(keys)):
        count = len(list(run))
        while count > 0:
            out.append((min(count, _MAX_RUN) - 1) * MAX_GAP + gap - 1)
            count -= _MAX_RUN
    return bytes(out)


def pack_open_keys(keys: tuple[int, ...]) -> bytes:
    """Key frames of an open group as bytes: how many follow the first, and the gaps between them."""
    return varint(len(keys) - 1) + b"".join(varint(b - a) for a, b in pairwise(keys))


def _parse_open_keys(reader: FieldReader, frames: int, kind: MotionKind) -> tuple[int, ...]:
    keys, widest = [0], MAX_GAP if kind == "tracks" else frames
    for _ in range(reader.varint("further keys", 0, frames - 1)):
        keys.append(keys[-1] + reader.varint("gap of keys", 1, widest))
        if keys[-1] > frames - 1:
            raise reader.error(f"gaps of keys: reach frame {keys[-1]}, expected at most the last one, {frames - 1}")
    try:
        _check_keys(tuple(keys), frames, kind)
        if kind == "tracks" and keys[-1] == frames - 1:
            raise ConfigError(f"keys={keys}: of an open group, and the last frame is one")
    except ConfigError as error:
        raise reader.error(str(error)) from error
    return tuple(keys)


def _parse_keys(reader: FieldReader, frames: int) -> tuple[int, ...]:
    spacing = reader.byte("key spacing", MAX_GAP)
    if spacing:
        return uniform_keys(frames, spacing)
    keys = [0]
    while keys[-1] < frames - 1:
        run, gap = divmod(reader.byte("gaps of keys"), MAX_GAP)
        keys += [keys[-1] + (gap + 1) * i for i in range(1, run + 2)]
        if keys[-1] > frames - 1:
            raise reader.error(f"gaps of keys: reach frame {keys[-1]}, expected at most the last one, {frames - 1}")
    return tuple(keys)


def _check_keys(keys: tuple[int, ...], frames: int, kind: MotionKind) -> None:
    gaps = [b - a for a, b in pairwise(keys)]
    if not keys or keys[0] != 0 or keys[-1] > frames - 1 or any(gap < 1 for gap in gaps):
        raise ConfigError(f"keys={keys}: expected increasing from 0 to the last frame, {frames - 1}, at most")
    if kind == "affine":
        if len(keys) == frames:
            raise ConfigError(f"keys={keys}: every frame is one, expected no affine motion then")
        return
    if max([*gaps, frames - 1 - keys[-1]], default=0) > MAX_GAP:
        raise ConfigError(f"keys={keys}: expected at most {MAX_GAP} frames from one to the next and to the last frame")


def _check_times(times: Sequence[int], frames: int) -> None:
    if len(times) != frames:
        raise ConfigError(f"times: got {len(times)}, expected {frames}, one per frame")
    gaps = [b - a for a, b in pairwise(times)]
    if abs(times[0]) > MAX_STEP or any(not 1 <= gap <= MAX_STEP for gap in gaps):
        raise ConfigError(f"times: expected increasing, by at most {MAX_STEP} microseconds")


def _pack_times(times: Sequence[int], fps: Fraction) -> bytes:
    """The unit of steps; then, range coded, the first time in microseconds and how each step differs from the last."""
    gaps = [b - a for a, b in pairwise(times)]
    unit = math.gcd(*gaps) or 1
    encoder, contexts = RangeEncoder(), NumberContexts.fresh(12, 6, signed=True)
    encoder.sint(NumberContexts.fresh(12, 6, signed=True), times[0])
    last = _even_gap(fps, unit)
    for gap in gaps:
        encoder.sint(contexts, gap // unit - last)
        last = gap // unit
    data = encoder.finish()
    return varint(unit) + varint(len(data)) + data


def _parse_times(reader: FieldReader, frames: int, fps: Fraction) -> tuple[int, ...]:
    unit = reader.varint("unit of time", 1, MAX_STEP)
    decoder = RangeDecoder(reader.take("times", reader.varint("length of times")))
    contexts = NumberContexts.fresh(12, 6, signed=True)
    last = _even_gap(fps, unit)
    try:
        times = [decoder.sint(NumberContexts.fresh(12, 6, signed=True), MAX_STEP)]
        for _ in range(frames - 1):
            last += decoder.sint(contexts)
            if not 1 <= last * unit <= MAX_STEP:
                raise BitstreamError(f"a frame of {last * unit} microseconds, expected 1..{MAX_STEP}")
            times.append(times[-1] + last * unit)
        decoder.finish()
    except BitstreamError as error:
        raise reader.error(f"times: {error}") from error
    return tuple(times)


def _even_gap(fps: Fraction, unit: int) -> int:
    """What the first frame's duration is told from: an even rate's, in the group's unit, at most `MAX_STEP`."""
    return min(round(1_000_000 / (fps * unit)), MAX_STEP)
