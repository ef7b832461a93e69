"""The states of the frames of a group, as the generator `human` takes them."""

from __future__ import annotations

from tgvc.bitstream.affine import restore_states
from tgvc.bitstream.group import Group
from tgvc.bitstream.segments import read_states
from tgvc.types import FloatArray


def read_runs(group: Group) -> tuple[FloatArray, ...]:
    """States of all frames of a group of kind "affine": for every key picture float32 (frames that it serves, 2C).

    Raises:
        BitstreamError: damaged motion.
    """
    motion, lengths = read_states(group), group.segment_lengths
    return tuple(
        restore_states(levels, frames, step=motion.step, decimation=motion.decimation)
        for levels, frames in zip(motion.levels, lengths, strict=True)
    )
