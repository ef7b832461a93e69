"""What a stream holds, as far as a drawing needs it: segments with their bytes, and decoded key pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import BinaryIO

from tgvc.bitstream.container import Group, Header, Reader
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.pictures import find_codec, resize_picture
from tgvc.bitstream.segments import read_states
from tgvc.bitstream.tracks import MotionCoder
from tgvc.summary import read_segments
from tgvc.synthesis.room import check_room
from tgvc.timing import shown_times
from tgvc.types import Picture
from tgvc.view.obu import picture_sizes


@dataclass(frozen=True)
class Piece:
    """A segment: frames ``first`` to ``last`` of the video; ``number`` within its group.

    The first is a key picture, and so is the last unless the group is open there or its motion is of kind "affine",
    which has no ``motion`` that a drawing could show. Where frames are decoded and not shown, it is cut to those that
    are; ``whole`` says that its first key is shown.
    """

    first: int
    last: int
    motion: SegmentMotion | None
    motion_bytes: float
    group: Group
    number: int
    whole: bool

    @property
    def mode(self) -> str:
        """The motion mode, or ``plain`` where no frame has to be painted."""
        if self.motion is None:
            return "A" if self.last > self.first else "plain"
        return self.motion.mode if self.motion.length > 2 else "plain"

    @property
    def tracks(self) -> int:
        """Trajectories that are sent."""
        return 0 if self.motion is None else len(self.motion.anchors)


@dataclass
class Contents:
    """A whole stream. ``keys``: frame number -> bytes of that key picture; ``cuts``: first frame of every group."""

    header: Header
    frames: int = 0
    seconds: float = 0.0
    bytes: int = 0
    pieces: list[Piece] = field(default_factory=list)
    keys: dict[int, float] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    lone: list[Group] = field(default_factory=list)

    @property
    def layers(self) -> dict[str, int]:
        """Bytes by layer."""
        pictures = round(sum(self.keys.values()))
        motion = round(sum(p.motion_bytes for p in self.pieces))
        return {"pictures": pictures, "motion": motion, "overhead": self.bytes - pictures - motion}


def read_contents(stream: BinaryIO) -> Contents:
    """Read a stream to its end.

    A key's bytes are those that have to arrive before it can be shown; where the picture codec cannot tell, the group's
    are shared out evenly. The bytes of a group's motion are shared out by the price of each segment.

    Raises:
        BitstreamError: not a valid stream.
    """
    reader = Reader(stream)
    header = reader.header
    contents, clock = Contents(header), Fraction(0)
    for group in reader:
        frames = _shown_numbers(group, contents.frames)
        segments, shares = _read_motion(group, header)
        ends = [*frames[1:], contents.frames + group.shown - 1] if group.open else frames[1:]
        for number, (segment, share) in enumerate(zip(segments, shares, strict=True)):
            first, last = frames[number], ends[number]
            whole = group.keys[number] >= group.hide_head and last > first
            contents.pieces.append(Piece(first, last, segment, share, group, number, whole))
        for frame, size in zip(frames, _share_pictures(group), strict=True):
            contents.keys[frame] = contents.keys.get(frame, 0) + size
        if not segments:
            contents.lone.append(group)
        contents.cuts.append(contents.frames)
        contents.frames += group.shown
        clock = shown_times(group, clock, header.fps)[-1] + 1 / header.fps
    contents.seconds, contents.bytes = float(clock), reader.position
    return contents


def decode_keys(group: Group, header: Header) -> list[Picture]:
    """All key pictures of a group at the working size, I420 uint8 (3H/2, W).

    Raises:
        BitstreamError: damaged pictures.
        ConfigError: there is no memory for them.
    """
    check_room(group, (header.width, header.height), threads=1)
    keys = find_codec(group.codec).decode(group.pictures, group.key_width, group.key_height, len(group.keys))
    return [resize_picture(key, header.width, header.height) for key in keys]


def _shown_numbers(group: Group, start: int) -> list[int]:
    """Frame numbers in the video of the group's keys; those of hidden ones are of the nearest frame that is shown."""
    return [start + min(max(key - group.hide_head, 0), group.shown - 1) for key in group.keys]


def _share_pictures(group: Group) -> Sequence[float]:
    """Bytes of the group's key pictures, one by one if the codec is AV1, else evenly."""
    count = len(group.keys)
    sizes = picture_sizes(group.pictures, count) if find_codec(group.codec).name == "av1" else None
    return sizes or [len(group.pictures) / count] * count


def _read_motion(group: Group, header: Header) -> tuple[Sequence[SegmentMotion | None], list[float]]:
    """The segments of a group and the bytes of motion of each, of kind "affine" in proportion to its states."""
    if group.kind == "tracks":
        segments = read_segments(group, header.width, header.height)
        return segments, _share_motion(group, segments, header)
    sent = [len(levels) for levels in read_states(group).levels]
    return [None] * len(sent), [len(group.motion) * count / sum(sent) for count in sent]


def _share_motion(group: Group, segments: Sequence[SegmentMotion], header: Header) -> list[float]:
    """Bytes of the group's motion by segment, in proportion to what each costs where it comes."""
    coder, prices = MotionCoder(anchor_grid(header.width, header.height)), list[float]()
    for segment in segments:
        prices.append(coder.cost_bits(segment))
        coder.append(segment)
    total = sum(prices) or 1.0
    return [len(group.motion) * price / total for price in prices]
