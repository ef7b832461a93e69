"""The states of the frames of a group, as the generator `human` takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tgvc.bitstream.affine import AffineReader, restore_states, step_size
from tgvc.bitstream.group import Group
from tgvc.bitstream.segments import read_states
from tgvc.errors import BitstreamError
from tgvc.types import FloatArray

_Doubles: TypeAlias = npt.NDArray[np.float64]


class StateRun(Protocol):
    """States of the frames that one key picture serves, float32 (2C,) each, its own first."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[FloatArray]: ...


@dataclass(frozen=True, eq=False)
class GroupStates:
    """States of all frames of a group: ``networks`` that understand them, by number; ``runs`` by key picture."""

    networks: int
    runs: tuple[StateRun, ...]


def read_group_states(group: Group) -> GroupStates:
    """States of all frames of a group of kind "affine"; runs are arrays float32 (frames, 2C).

    Of a group that is still coming through a pipe they are read while they are iterated, once and in order.

    Raises:
        BitstreamError: damaged motion; of a group that is still coming, while it is iterated.
    """
    lengths = group.segment_lengths
    payload: object = group.motion
    if not isinstance(payload, bytes):
        reader = AffineReader(group.motion, lengths)
        coming = iter(reader)
        last = max((n for n, frames in enumerate(lengths) if frames > 1), default=-1)
        if last < 0:
            finish_states(coming)
        return GroupStates(
            reader.networks,
            tuple(_ComingRun(reader, coming, frames, ends=n == last) for n, frames in enumerate(lengths)),
        )
    motion = read_states(group)
    runs = (
        restore_states(levels, frames, step=motion.step, decimation=motion.decimation)
        for levels, frames in zip(motion.levels, lengths, strict=True)
    )
    return GroupStates(motion.networks, tuple(runs))


class _ComingRun:
    """The states of one key picture, out of those of the whole group as they come."""

    def __init__(
        self, reader: AffineReader, coming: Iterator[tuple[int, int, list[int]]], frames: int, *, ends: bool
    ) -> None:
        self._reader, self._coming, self._frames, self._ends = reader, coming, frames, ends

    def __len__(self) -> int:
        return self._frames

    def __iter__(self) -> Iterator[FloatArray]:
        size, width = step_size(self._reader.step), 2 * self._reader.channels
        if self._frames == 1:
            yield np.zeros(width, np.float32)
            return
        place, last = -1, np.zeros(width)
        while place < self._frames - 1:
            _, frame, levels = next(self._coming)
            state = np.asarray(levels, np.float64) * size
            if self._ends and frame == self._frames - 1:  # before the last frame, for nobody asks after it
                finish_states(self._coming)
            yield from _between(last, state, place, frame)
            place, last = frame, state


def finish_states(coming: Iterator[tuple[int, int, list[int]]]) -> None:
    """Read on to the end of the payload, after its last state.

    Raises:
        BitstreamError: more follows.
    """
    for _ in coming:
        raise BitstreamError("affine motion: a state too many")


def _between(last: _Doubles, state: _Doubles, place: int, frame: int) -> Sequence[FloatArray]:
    """States of the frames after ``place`` up to ``frame``, on the line that `restore_states` draws."""
    if place < 0:
        return [np.asarray(state, np.float32)]
    frames = np.arange(place + 1, frame + 1)
    columns = [np.interp(frames, [place, frame], ends) for ends in zip(last, state, strict=True)]
    return list(np.asarray(np.stack(columns, axis=1), np.float32))
