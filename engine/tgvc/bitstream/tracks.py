"""The TRACKS payload: the motion of all segments of one group <-> bytes.

One range coder and one set of contexts run through the whole group, a closed run of segments in one shot. Bit by bit:
docs/bitstream.md. The empty payload is a group in which every segment has mode ``F``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tgvc.bitstream.anchors import anchor_bits, anchor_ranks, get_anchors, put_anchors
from tgvc.bitstream.contexts import MotionContexts, SeriesContexts
from tgvc.bitstream.motion import (
    GLOBAL_TERMS,
    MAX_LENGTH,
    MAX_TRACKS,
    MIN_LENGTH,
    MODES,
    Anchors,
    Grid,
    Mode,
    SegmentMotion,
    series_samples,
)
from tgvc.bitstream.rangecoder import BitWriter, Context, CostMeter, RangeDecoder, RangeEncoder
from tgvc.bitstream.series import get_dpcm, get_series, put_dpcm, put_series
from tgvc.bitstream.transform import COEF_LIMIT, TRANSFORMS, Coefs, Transform
from tgvc.errors import BitstreamError
from tgvc.types import BoolArray

MAX_GROUP_TRACKS = 1 << 16  # bounds what a reader allocates for one group
FIRST_STEPS = (12, 18)  # what "the same step as before" means at first: 0.5 px of the model, 1 px of tracks


class _Memory:
    """What a segment may refer to: the mode and steps before it, and the last global model of mode ``G``."""

    def __init__(self) -> None:
        self.mode = 0
        self.steps = list(FIRST_STEPS)
        self.key: tuple[int, str, int] | None = None
        self.coefs: Coefs = np.zeros((0, GLOBAL_TERMS, 2), np.int32)

    def copy(self) -> _Memory:
        out = _Memory()
        out.mode, out.steps, out.key, out.coefs = self.mode, list(self.steps), self.key, self.coefs
        return out

    def model_for(self, mode: Mode, length: int, transform: str, step: int) -> Coefs | None:
        """The model that a global model may be coded against: one of the same length, transform and step."""
        return self.coefs if mode == "G" and self.key == (length, transform, step) else None

    def keep_model(self, mode: Mode, length: int, transform: str, step: int, coefs: Coefs) -> None:
        if mode == "G":
            self.key, self.coefs = (length, transform, step), coefs


class MotionCoder:
    """The state of a payload being written, and the price of what might come next.

    Args:
        grid: cells of the anchors' grid, across and down.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._contexts = MotionContexts()
        self._memory = _Memory()

    def clone(self) -> MotionCoder:
        """An independent copy in the same state."""
        out = MotionCoder(self.grid)
        out._contexts.restore(self._contexts.save())
        out._memory = self._memory.copy()
        return out

    def cost_bits(self, segment: SegmentMotion) -> float:
        """The ideal length in bits of the segment if it came next; the state stays as it is."""
        state, memory = self._contexts.save(), self._memory.copy()
        meter = CostMeter()
        self._put(meter, segment)
        self._contexts.restore(state)
        self._memory = memory
        return meter.bits

    def track_bits(self, coefs: Coefs, transform: Transform) -> float:
        """The price in bits of one always visible track int32 (n, 2) under the present contexts, without its anchor.

        Nothing is learnt or copied: fit for the inner loop of a greedy encoder.
        """
        meter = CostMeter(learn=False)
        put = put_dpcm if transform == "dpcm" else put_series
        for axis in coefs.T.tolist():
            put(meter, self._contexts.track, axis)
        return meter.bits

    def anchor_bits(self, count: int) -> float:
        """The price in bits of one anchor in a set of ``count``."""
        return anchor_bits(count, self.grid)

    def append(self, segment: SegmentMotion, writer: BitWriter | None = None) -> None:
        """Go on to the state after the segment; write it when there is a writer."""
        self._put(CostMeter() if writer is None else writer, segment)

    def _put(self, writer: BitWriter, segment: SegmentMotion) -> None:
        memory, contexts = self._memory, self._contexts
        mode = MODES.index(segment.mode)
        _put_pair(writer, contexts.mode[3 * memory.mode :], mode)
        memory.mode = mode
        if segment.mode in "FH":
            return
        _put_pair(writer, contexts.transform[3 * (segment.mode == "T") :], TRANSFORMS.index(segment.transform))
        self._put_global(writer, segment)
        self._put_tracks(writer, segment)

    def _put_step(self, writer: BitWriter, kind: int, code: int) -> None:
        same = code == self._memory.steps[kind]
        writer.bit(self._contexts.same_step[kind], same)
        if not same:
            writer.bits_raw(code, 6)
        self._memory.steps[kind] = code

    def _put_global(self, writer: BitWriter, segment: SegmentMotion) -> None:
        self._put_step(writer, 0, segment.global_step)
        coefs = segment.global_coefs
        key = (segment.mode, segment.length, segment.transform, segment.global_step)
        model = self._memory.model_for(*key)
        if model is not None:
            prices = [self._model_bits(candidate, segment) for candidate in (coefs, coefs - model)]
            difference = prices[1] < prices[0]
            writer.bit(self._contexts.difference, difference)
            self._put_model(writer, coefs - model if difference else coefs, segment)
        else:
            self._put_model(writer, coefs, segment)
        self._memory.keep_model(*key, coefs)
        if segment.mode == "T":
            present = bool(segment.phase_coefs.any())
            writer.bit(self._contexts.phase, present)
            if present:
                self._put_one(segment)(writer, self._contexts.globals, segment.phase_coefs.tolist())

    def _model_bits(self, coefs: Coefs, segment: SegmentMotion) -> float:
        state, meter = self._contexts.save(), CostMeter()
        self._put_model(meter, coefs, segment)
        self._contexts.restore(state)
        return meter.bits

    def _put_model(self, writer: BitWriter, coefs: Coefs, segment: SegmentMotion) -> None:
        terms = GLOBAL_TERMS
        while terms and not coefs[:, terms - 1].any():
            terms -= 1
        for i in range(GLOBAL_TERMS):
            writer.bit(self._contexts.terms[segment.mode == "T"][i], i < terms)
            if i == terms:
                break
        put = self._put_one(segment)
        for series in coefs[:, :terms].reshape(len(coefs), 2 * terms).T.tolist():
            put(writer, self._contexts.globals, series)

    @staticmethod
    def _put_one(segment: SegmentMotion) -> Callable[[BitWriter, SeriesContexts, Sequence[int]], None]:
        return put_dpcm if segment.transform == "dpcm" else put_series

    def _put_tracks(self, writer: BitWriter, segment: SegmentMotion) -> None:
        contexts = self._contexts
        self._put_step(writer, 1, segment.track_step)
        segment = canonical(segment, self.grid)
        ranks = anchor_ranks(segment.anchors, self.grid).tolist()
        forwards = len(ranks) - int(np.count_nonzero(segment.origin))
        writer.uint(contexts.count[0], forwards)
        writer.uint(contexts.count[1], len(ranks) - forwards)
        put_anchors(writer, contexts.anchor, ranks[:forwards], self.grid)
        put_anchors(writer, contexts.anchor, ranks[forwards:], self.grid)
        self._put_visibility(writer, segment.visible)
        put = self._put_one(segment)
        for track in segment.coefs.transpose(0, 2, 1).tolist():
            put(writer, contexts.track, track[0])
            put(writer, contexts.track, track[1])

    def _put_visibility(self, writer: BitWriter, visible: BoolArray) -> None:
        if not len(visible):
            return
        contexts = self._contexts
        everything = bool(visible.all())
        writer.bit(contexts.all_visible, everything)
        for track in () if everything else visible.tolist():
            whole = all(track)
            writer.bit(contexts.track_visible, whole)
            if whole:
                continue
            writer.bit(contexts.first_visible, track[0])
            at = 0
            while at < len(track):
                run = 1
                while at + run < len(track) and track[at + run] == track[at]:
                    run += 1
                writer.uint(contexts.run[track[at]], run - 1)
                at += run


class _MotionReader:
    """The mirror of `MotionCoder`: the same steps in the same order."""

    def __init__(self, data: bytes, grid: Grid) -> None:
        self._reader = RangeDecoder(data)
        self._grid = grid
        self._contexts = MotionContexts()
        self._memory = _Memory()
        self._tracks = 0

    def segment(self, length: int) -> SegmentMotion:
        reader, memory, contexts = self._reader, self._memory, self._contexts
        memory.mode = _get_pair(reader, contexts.mode[3 * memory.mode :])
        mode = MODES[memory.mode]
        if mode in "FH":
            return SegmentMotion.empty(mode, length)
        if mode == "T" and length < MIN_LENGTH + 1:
            raise BitstreamError(f"motion, byte {reader.position}: mode T between neighbouring frames")
        transform = TRANSFORMS[_get_pair(reader, contexts.transform[3 * (mode == "T") :])]
        get = get_dpcm if transform == "dpcm" else get_series
        n = series_samples(mode, length)
        global_step = self._step(0)
        model = self._global(mode, length, transform, global_step)
        phase = [0] * n
        if mode == "T" and reader.bit(contexts.phase):
            phase = get(reader, contexts.globals, n)
        track_step = self._step(1)
        anchors, origin = self._anchors()
        visible = self._visibility(len(anchors), length)
        tracks = np.array([get(reader, contexts.track, n) for _ in range(2 * len(anchors))], np.int64)
        return SegmentMotion(
            mode=mode,
            length=length,
            transform=transform,
            global_step=global_step,
            track_step=track_step,
            global_coefs=model,
            phase_coefs=self._checked(np.array(phase, np.int64)),
            anchors=anchors,
            origin=origin,
            coefs=self._checked(tracks.reshape(len(anchors), 2, n).transpose(0, 2, 1)),
            visible=visible,
        )

    def finish(self) -> None:
        self._reader.finish()

    def _step(self, kind: int) -> int:
        if not self._reader.bit(self._contexts.same_step[kind]):
            self._memory.steps[kind] = self._reader.bits_raw(6)
        return self._memory.steps[kind]

    def _global(self, mode: Mode, length: int, transform: Transform, step: int) -> Coefs:
        reader, contexts = self._reader, self._contexts
        n = series_samples(mode, length)
        model = self._memory.model_for(mode, length, transform, step)
        difference = model is not None and reader.bit(contexts.difference)
        terms = 0
        while terms < GLOBAL_TERMS and reader.bit(contexts.terms[mode == "T"][terms]):
            terms += 1
        get = get_dpcm if transform == "dpcm" else get_series
        read = np.array([get(reader, contexts.globals, n) for _ in range(2 * terms)], np.int64)
        coefs = np.zeros((n, GLOBAL_TERMS, 2), np.int64)
        coefs[:, :terms] = read.reshape(2 * terms, n).T.reshape(n, terms, 2)
        checked = self._checked(coefs + model if model is not None and difference else coefs)
        self._memory.keep_model(mode, length, transform, step, checked)
        return checked

    def _anchors(self) -> tuple[Anchors, BoolArray]:
        reader, contexts, grid = self._reader, self._contexts, self._grid
        most = min(MAX_TRACKS, MAX_GROUP_TRACKS - self._tracks)
        forwards = reader.uint(contexts.count[0], min(most, grid[0] * grid[1]))
        backwards = reader.uint(contexts.count[1], min(most - forwards, grid[0] * grid[1]))
        self._tracks += forwards + backwards
        parts = [get_anchors(reader, contexts.anchor, count, grid) for count in (forwards, backwards)]
        return np.concatenate(parts), np.arange(forwards + backwards) >= forwards

    def _visibility(self, count: int, length: int) -> BoolArray:
        reader, contexts = self._reader, self._contexts
        visible = np.ones((count, length), np.bool_)
        if not count or reader.bit(contexts.all_visible):
            return visible
        for row in visible:
            if reader.bit(contexts.track_visible):
                continue
            state = reader.bit(contexts.first_visible)
            at = 0
            while at < length:
                run = reader.uint(contexts.run[state], length - at - 1) + 1
                row[at : at + run] = state
                at += run
                state = 1 - state
        return visible

    def _checked(self, coefs: npt.NDArray[np.int64]) -> Coefs:
        if coefs.size and np.abs(coefs).max() > COEF_LIMIT:
            raise BitstreamError(f"motion, byte {self._reader.position}: a coefficient beyond {COEF_LIMIT}")
        return np.ascontiguousarray(coefs, np.int32)


def _put_pair(writer: BitWriter, contexts: Sequence[Context], value: int) -> None:
    """Write 0..3: the high bit, then the low bit in a context that the high one chooses."""
    writer.bit(contexts[0], value >> 1)
    writer.bit(contexts[1 + (value >> 1)], value & 1)


def _get_pair(reader: RangeDecoder, contexts: Sequence[Context]) -> int:
    high = reader.bit(contexts[0])
    return 2 * high + reader.bit(contexts[1 + high])


def canonical(segment: SegmentMotion, grid: Grid) -> SegmentMotion:
    """The segment with its tracks as coded: those of the first key, then of the last, each along the Morton curve."""
    order = np.lexsort((anchor_ranks(segment.anchors, grid), segment.origin))
    return segment.take(order)


def encode_motion(segments: Sequence[SegmentMotion], grid: Grid) -> bytes:
    """The payload of a group.

    Args:
        segments: in order of time.
        grid: cells of the anchors' grid, across and down (`anchor_grid` of the working size).

    Returns:
        b"" where every segment has mode ``F``. `decode_motion` gives each segment back in `canonical` order.

    Raises:
        ValueError: an anchor outside the grid, or more than 65 536 tracks in all.
    """
    if all(segment.mode == "F" for segment in segments):
        return b""
    if sum(len(segment.anchors) for segment in segments) > MAX_GROUP_TRACKS:
        raise ValueError(f"segments: expected at most {MAX_GROUP_TRACKS} tracks in a group")
    coder, encoder = MotionCoder(grid), RangeEncoder()
    for segment in segments:
        coder.append(segment, encoder)
    return encoder.finish() or b"\0"


def decode_motion(data: bytes, lengths: Sequence[int], grid: Grid) -> list[SegmentMotion]:
    """The segments of a payload.

    Args:
        data: what `encode_motion` gave.
        lengths: frames of each segment, both keys included, 2..33: the key frames' positions tell.
        grid: as for `encode_motion`.

    Raises:
        BitstreamError: bytes that no encoder writes.
    """
    if not all(MIN_LENGTH <= length <= MAX_LENGTH for length in lengths):
        raise ValueError(f"lengths: expected {MIN_LENGTH}..{MAX_LENGTH} frames each, got {list(lengths)}")
    if not data:
        return [SegmentMotion.empty("F", length) for length in lengths]
    reader = _MotionReader(data, grid)
    segments = [reader.segment(length) for length in lengths]
    reader.finish()
    return segments
