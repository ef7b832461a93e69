"""The AFFINE payload: a few numbers per frame, the states of a group <-> bytes.

One range coder and one set of contexts run through the whole group. Every state is told by those before it, in whole
levels of one quantiser, so writer and reader never drift apart. Bit by bit: docs/bitstream.md, section 9.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tgvc.bitstream.rangecoder import BitWriter, Context, CostMeter, NumberContexts, RangeDecoder, RangeEncoder
from tgvc.errors import BitstreamError, TruncatedError
from tgvc.types import FloatArray

Levels = npt.NDArray[np.int32]  # (n, 2C)

NETWORKS_BITS = 16
MAX_CHANNELS = 64
STEP_CODES = 64
MAX_DECIMATION = 8
MOMENTA = 5  # quarters of the last change that are expected again: 0 .. 4
LEVEL_LIMIT = (1 << 15) - 1
_STEPS_PER_OCTAVE, _FINEST = 6, -10
_CLASSES, _LENGTHS, _TOPS = 6, 8, 3
_FIRST_LENGTHS = 12
# probability of 0 in 1/256 of "longer than i bits", by the class of the residuals around: two-sided geometric numbers
# of mean magnitude 0.15, 0.4, 0.9, 1.9, 4 and 9, worth four observations
PRIORS = (
    (220, 237, 250, 250, 250, 250, 250, 250),
    (173, 207, 247, 250, 250, 250, 250, 250),
    (114, 158, 218, 250, 250, 250, 250, 250),
    (63, 101, 163, 222, 250, 250, 250, 250),
    (32, 56, 100, 161, 221, 250, 250, 250),
    (14, 27, 51, 92, 151, 213, 249, 250),
)
PRIOR_WEIGHT = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class AffineMotion:
    """The states that a group sends.

    ``networks``: which ones tell and understand them, 1..65535, see `tgvc.models.bundle.ModelBundle.number`.
    ``channels``: C, 1..64; a state is C gains, then C offsets. ``step``: code 0..63 of the quantiser, see `step_size`.
    ``decimation``: every how many frames a state is sent, 1..8. ``momentum``: quarters of the last change that the
    prediction repeats, 0..4. ``levels``: for every key picture int32 (n, 2C), the states of its `sent_frames`, in whole
    steps, at most 32767 in magnitude.
    """

    networks: int
    channels: int
    step: int
    decimation: int
    momentum: int
    levels: tuple[Levels, ...]

    def __post_init__(self) -> None:
        for name, low, high in (
            ("networks", 1, (1 << NETWORKS_BITS) - 1),
            ("channels", 1, MAX_CHANNELS),
            ("step", 0, STEP_CODES - 1),
            ("decimation", 1, MAX_DECIMATION),
            ("momentum", 0, MOMENTA - 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)}: expected {low}..{high}")
        for levels in self.levels:
            if levels.dtype != np.int32 or levels.ndim != 2 or levels.shape[1] != 2 * self.channels:
                raise ValueError(f"levels: got {levels.dtype} {levels.shape}, expected int32 (n, {2 * self.channels})")
            if levels.size and max(int(levels.max()), -int(levels.min())) > LEVEL_LIMIT:
                raise ValueError(f"levels: expected magnitudes up to {LEVEL_LIMIT}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AffineMotion):
            return NotImplemented
        mine, theirs = (
            (m.networks, m.channels, m.step, m.decimation, m.momentum, len(m.levels)) for m in (self, other)
        )
        same = all(np.array_equal(a, b) for a, b in zip(self.levels, other.levels, strict=False))
        return mine == theirs and same

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash


def step_size(code: int) -> float:
    """Size of a quantiser's step: 2 ** (code / 6 - 10), from a thousandth to 1.4."""
    return float(2.0 ** (code / _STEPS_PER_OCTAVE + _FINEST))


def sent_frames(frames: int, decimation: int) -> list[int]:
    """Which of the ``frames`` that one key picture serves, itself the first, have their states sent.

    Every ``decimation``-th and the last one; none where the key picture serves no frame but itself.
    """
    if frames < 2:
        return []
    return [*range(0, frames - 1, decimation), frames - 1]


def quantise_states(
    states: Sequence[FloatArray],
    *,
    step: int,
    decimation: int = 1,
    momentum: int = 0,
    dead_zone: float = 1 / 6,
    networks: int = 1,
) -> AffineMotion:
    """States as they will be sent: rounded beside their prediction, cut at the limit of levels.

    Args:
        states: for every key picture float32 (frames, 2C), of all frames that it serves.
        step: code 0..63.
        decimation: 1..8.
        momentum: 0..4.
        dead_zone: share of a step by which small changes lose beside none, 0..0.5.
        networks: which ones the states are of, 1..65535.
    """
    size, sent = step_size(step), []
    for run in states:
        chosen = run[sent_frames(len(run), decimation)].astype(np.float64) / size
        levels = np.zeros(chosen.shape, np.int32)
        for n, wanted in enumerate(chosen):
            if n == 0:
                levels[0] = np.clip(np.rint(wanted), -LEVEL_LIMIT, LEVEL_LIMIT)
                continue
            expected = _predict(levels[n - 1], levels[max(n - 2, 0)], momentum)
            beyond = wanted - expected
            change = np.sign(beyond) * np.floor(np.abs(beyond) + 0.5 - dead_zone)
            levels[n] = np.clip(expected + change, -LEVEL_LIMIT, LEVEL_LIMIT)
        sent.append(levels)
    return AffineMotion(
        networks=networks,
        channels=states[0].shape[1] // 2,
        step=step,
        decimation=decimation,
        momentum=momentum,
        levels=tuple(sent),
    )


def restore_states(levels: Levels, frames: int, *, step: int, decimation: int) -> FloatArray:
    """States of all frames that a key picture serves, float32 (frames, 2C): those between sent ones lie on a line."""
    size, places = step_size(step), sent_frames(frames, decimation)
    if not places:
        return np.zeros((frames, levels.shape[1]), np.float32)
    columns = [np.interp(np.arange(frames), places, column * size) for column in levels.T]
    return np.asarray(np.stack(columns, axis=1), np.float32)


def encode_affine(motion: AffineMotion) -> bytes:
    """The payload of a group."""
    encoder = RangeEncoder()
    _put(encoder, motion)
    return encoder.finish()


def affine_bits(motion: AffineMotion) -> float:
    """The ideal length of a payload in bits."""
    meter = CostMeter()
    _put(meter, motion)
    return meter.bits


def decode_affine(data: bytes, lengths: Sequence[int]) -> AffineMotion:
    """The inverse of `encode_affine`.

    Args:
        data: the payload.
        lengths: frames that each key picture serves.

    Raises:
        BitstreamError: levels out of range, a state that moves by nothing, bytes missing or too many. Other damage
            gives other states, which the checksum of the chunk tells. Never takes more memory or time than ``lengths``
            explain.
    """
    reader = AffineReader(data, lengths)
    states: list[list[list[int]]] = [[] for _ in lengths]
    for key, _, state in reader:
        states[key].append(state)
    levels = tuple(np.asarray(s, np.int32).reshape(len(s), 2 * reader.channels) for s in states)
    return AffineMotion(
        networks=reader.networks,
        channels=reader.channels,
        step=reader.step,
        decimation=reader.decimation,
        momentum=reader.momentum,
        levels=levels,
    )


class AffineReader:
    """Reads the states of a payload one by one: each is known as soon as its bytes are there.

    Args:
        data: the payload.
        lengths: frames that each key picture serves.

    Raises:
        BitstreamError: here and while it is iterated, see `decode_affine`.

    ``networks, channels, step, decimation, momentum``: as in `AffineMotion`, known at once. ``position``: bytes read so
    far.
    """

    def __init__(self, data: bytes, lengths: Sequence[int]) -> None:
        self._decoder, self._lengths = RangeDecoder(data), lengths
        try:
            self.networks = self._decoder.bits_raw(NETWORKS_BITS)
            if not self.networks:
                raise BitstreamError(f"networks=0: expected 1..{(1 << NETWORKS_BITS) - 1}")
            self.channels = self._decoder.bits_raw(6) + 1
            self.step = self._decoder.bits_raw(6)
            self.decimation = self._decoder.bits_raw(3) + 1
            self.momentum = self._decoder.bits_raw(3)
            if self.momentum >= MOMENTA:
                raise BitstreamError(f"momentum={self.momentum}: expected 0..{MOMENTA - 1}")
        except BitstreamError as fault:
            raise self._error(fault) from fault

    @property
    def position(self) -> int:
        """Bytes read so far; the last four may not matter yet."""
        return self._decoder.position

    def __iter__(self) -> Iterator[tuple[int, int, list[int]]]:
        """Number of the key picture, frame counted from it, and the state in levels, in order."""
        try:
            yield from self._states()
            self._decoder.finish()
        except BitstreamError as fault:
            raise self._error(fault) from fault

    def _states(self) -> Iterator[tuple[int, int, list[int]]]:
        decoder, contexts = self._decoder, _StateContexts(self.channels)
        last: list[int] = []
        for key, frames in enumerate(self._lengths):
            before = last
            for frame in sent_frames(frames, self.decimation):
                if not last:
                    state = [decoder.sint(numbers, LEVEL_LIMIT) for numbers in contexts.first]
                elif frame == 0:
                    state = _sum(last, self._residuals(contexts.jump, contexts))
                else:
                    expected = _predict(np.asarray(last), np.asarray(before), self.momentum).tolist()
                    state = expected
                    if decoder.bit(contexts.moved[contexts.did_move]):
                        state = _sum(expected, self._residuals(contexts.change, contexts))
                        if state == expected:
                            raise BitstreamError("a state that moves by nothing, expected one that is said to rest")
                        contexts.did_move = 1
                    else:
                        contexts.rest()
                worst = max(max(state), -min(state))
                if worst > LEVEL_LIMIT:
                    raise BitstreamError(f"a level of magnitude {worst}, expected at most {LEVEL_LIMIT}")
                yield key, frame, state
                before, last = (last if frame else state), state

    def _residuals(self, kinds: _Kinds, contexts: _StateContexts) -> list[int]:
        values, beside = [], 0
        for n in range(2 * self.channels):
            numbers = kinds[n >= self.channels][contexts.around(n, beside)]
            value = self._decoder.uint(numbers, 4 * LEVEL_LIMIT)
            beside = value
            if value and self._decoder.bit(contexts.sign[contexts.signs[n]]):
                value = -value
            contexts.learn(n, value)
            values.append(value)
        return values

    def _error(self, fault: BitstreamError) -> BitstreamError:
        kind = TruncatedError if isinstance(fault, TruncatedError) else BitstreamError
        return kind(f"affine motion, byte {self.position}: {fault}")


_Kinds = list[list[NumberContexts]]  # for gains and offsets, by class


class _StateContexts:
    """The contexts of a payload and what they are chosen by: the residuals of the state before, and their signs."""

    def __init__(self, channels: int) -> None:
        firsts = [NumberContexts.fresh(_FIRST_LENGTHS, _TOPS, signed=True) for _ in range(2)]
        self.first = [firsts[0]] * channels + [firsts[1]] * channels
        self.jump, self.change = self._kinds(), self._kinds()
        self.moved = [Context(), Context()]
        self.sign = [Context() for _ in range(3)]
        self.did_move = 1
        self.sizes = [0] * (2 * channels)
        self.signs = [0] * (2 * channels)  # 0: never moved, 1: upwards when it last moved, 2: downwards

    @staticmethod
    def _kinds() -> _Kinds:
        tops = [[Context() for _ in range(_TOPS)] for _ in range(2)]
        return [
            [NumberContexts([Context(p, PRIOR_WEIGHT) for p in PRIORS[c]], tops[kind]) for c in range(_CLASSES)]
            for kind in range(2)
        ]

    def around(self, n: int, beside: int) -> int:
        """Class of a residual from that of its parameter in the state before, and of the parameter beside it."""
        return min((2 * self.sizes[n] + beside).bit_length(), _CLASSES - 1)

    def learn(self, n: int, value: int) -> None:
        """Note a residual."""
        self.sizes[n] = abs(value)
        if value:
            self.signs[n] = 1 if value > 0 else 2

    def rest(self) -> None:
        """Note a state without residuals."""
        self.did_move = 0
        self.sizes = [0] * len(self.sizes)


def _predict(last: npt.NDArray[np.int32], before: npt.NDArray[np.int32], momentum: int) -> npt.NDArray[np.int64]:
    """What is expected after two states: the last one, and so many quarters of the last change, rounded down."""
    last, wide = last.astype(np.int64), before.astype(np.int64)
    return np.asarray(last + ((last - wide) * momentum >> 2), np.int64)


def _sum(a: Sequence[int], b: Sequence[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _put(writer: BitWriter, motion: AffineMotion) -> None:
    writer.bits_raw(motion.networks, NETWORKS_BITS)
    for value, bits in ((motion.channels - 1, 6), (motion.step, 6), (motion.decimation - 1, 3), (motion.momentum, 3)):
        writer.bits_raw(value, bits)
    contexts = _StateContexts(motion.channels)
    last: Levels | None = None
    for levels in motion.levels:
        for n, state in enumerate(levels):
            if last is None:
                for numbers, value in zip(contexts.first, state.tolist(), strict=True):
                    writer.sint(numbers, value)
            elif n == 0:
                _put_residuals(writer, contexts, contexts.jump, (state - last).tolist())
            else:
                residuals = (state - _predict(last, levels[max(n - 2, 0)], motion.momentum)).tolist()
                moves = any(residuals)
                writer.bit(contexts.moved[contexts.did_move], moves)
                if moves:
                    _put_residuals(writer, contexts, contexts.change, residuals)
                    contexts.did_move = 1
                else:
                    contexts.rest()
            last = state


def _put_residuals(writer: BitWriter, contexts: _StateContexts, kinds: _Kinds, residuals: Sequence[int]) -> None:
    beside = 0
    for n, value in enumerate(residuals):
        writer.uint(kinds[n >= len(residuals) // 2][contexts.around(n, beside)], abs(value))
        if value:
            writer.bit(contexts.sign[contexts.signs[n]], value < 0)
        beside = abs(value)
        contexts.learn(n, value)
