"""The memory that a group takes while it is painted: a few bytes of a stream can ask for very much."""

from __future__ import annotations

from tgvc.bitstream.group import Group
from tgvc.errors import ConfigError
from tgvc.memory import available_memory

_PICTURE = 1.5  # bytes per px, I420
_FIELDS = 12  # bytes per px and painted frame: fields of motion on cells of 2 px, trust in them, the picture
_SMALL = 1 << 28  # bytes that are not worth asking the system about


def group_room(group: Group, size: tuple[int, int], threads: int) -> int:
    """Bytes that a group takes at most, about: its key pictures as coded and as shown, and the segments in work.

    Args:
        group: as parsed.
        size: width and height of the shown pictures, px.
        threads: segments painted at once.
    """
    area, coded = size[0] * size[1], group.key_width * group.key_height
    longest = 1 if group.kind == "affine" else max(group.segment_lengths, default=1)
    return int(len(group.keys) * _PICTURE * (area + coded) + min(threads, len(group.keys)) * longest * _FIELDS * area)


def check_room(group: Group, size: tuple[int, int], threads: int) -> None:
    """Refuse a group that would take more memory than there is.

    Raises:
        ConfigError: how much is needed and how much there is.
    """
    need = group_room(group, size, threads)
    free = None if need < _SMALL else available_memory()
    if free is not None and need > free:
        raise ConfigError(
            f"a group of {len(group.keys)} key pictures at {size[0]}x{size[1]} takes about {need / 1e9:.1f} GB of "
            f"memory, {free / 1e9:.1f} GB are free: decode it where there is more, or with fewer threads"
        )
