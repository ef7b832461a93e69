"""The motion of a whole group out of its bytes, by its kind."""

from __future__ import annotations

from tgvc.bitstream.affine import AffineMotion, decode_affine
from tgvc.bitstream.group import Group
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.tracks import decode_motion
from tgvc.errors import BitstreamError, ConfigError


def read_tracks(group: Group, width: int, height: int) -> list[SegmentMotion]:
    """The segments of a group of kind "tracks"; none of one of kind "affine".

    Args:
        group: as parsed.
        width: working size, px.
        height: likewise.

    Raises:
        BitstreamError: damaged motion, or an open end that needs the key picture which it lacks.
    """
    if group.kind != "tracks":
        return []
    segments = decode_motion(group.motion, group.segment_lengths, anchor_grid(width, height))
    if group.open and (segments[-1].mode != "G" or segments[-1].origin.any()):
        raise BitstreamError(
            f"motion: the segment without a last key picture has mode {segments[-1].mode}, expected G with no tracks "
            "of that key"
        )
    return segments


def read_states(group: Group) -> AffineMotion:
    """The states of a group of kind "affine".

    Raises:
        BitstreamError: damaged motion.
        ConfigError: a group of another kind.
    """
    if group.kind != "affine":
        raise ConfigError(f"kind={group.kind!r}: expected affine")
    return decode_affine(group.motion, group.segment_lengths)
