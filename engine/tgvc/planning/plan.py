"""A group ready to be written, and what the decoder will show of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tgvc.bitstream.group import MotionKind, pack_keys, pack_open_keys
from tgvc.bitstream.motion import SegmentMotion
from tgvc.planning.judge import Verdict
from tgvc.synthesis.densify import frame_fields
from tgvc.synthesis.flow import CELL
from tgvc.synthesis.motion import read_motion
from tgvc.synthesis.warp import WarpGenerator, blend_luma
from tgvc.types import Picture, picture_planes, picture_size

FILLED = 0.96  # share of the budget that has to be filled: less would miss the 95 % of a target that are promised
_MERIT_PER_OCTAVE = 5.0  # dB of PSNR plus dB of MS-SSIM per doubling of the rate


@dataclass(frozen=True, kw_only=True)
class GroupPlan:
    """Both layers of a group as bytes, and the frames they decode to.

    ``keys``: frame numbers of the key pictures in the group. ``key_size``: their coded width and height, px.
    ``quality``: of the picture codec. ``reconstruction``: all frames, I420 uint8 (3H/2, W). ``fits``: the budget was
    met. ``trials``: what else was tried, for the report.
    """

    keys: tuple[int, ...]
    codec: int
    key_size: tuple[int, int]
    quality: float
    pictures: bytes
    segments: list[SegmentMotion]
    motion: bytes
    reconstruction: list[Picture]
    verdict: Verdict
    fits: bool
    trials: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kind(self) -> MotionKind:
        """Of the motion."""
        return "tracks"

    @property
    def modes(self) -> dict[str, int]:
        """Segments by their motion mode; ``plain`` are those in which nothing has to be painted."""
        return dict(Counter(s.mode if s.length > 2 else "plain" for s in self.segments))

    @property
    def size(self) -> int:
        """Bytes of both layers, and those that uneven keys take beyond even ones."""
        return len(self.pictures) + len(self.motion) + position_bytes(self.keys, self.frames)

    @property
    def frames(self) -> int:
        """Frames of the group."""
        return 1 + sum(segment.length - 1 for segment in self.segments)

    @property
    def spacing(self) -> int:
        """Largest distance between two key pictures, frames."""
        return max((segment.length - 1 for segment in self.segments), default=1)

    def merit(self, budget: float) -> float:
        """Merit corrected to a budget, so that a candidate that used fewer bytes is not blamed for it."""
        penalty = _MERIT_PER_OCTAVE * math.log2(self.size / budget)
        return self.verdict.merit - (penalty if self.fits else 4 * penalty)

    def worth(self, budget: float) -> float:
        """Merit, where a few bytes left are no blame and many are no credit: there was nothing to buy for them."""
        return self.merit(min(budget, self.size / FILLED))

    def summary(self) -> dict[str, Any]:
        """The plan as a line of the report."""
        return {
            "spacing": self.spacing,
            "keys": len(self.keys),
            "key_size": list(self.key_size),
            "quality": self.quality,
            "pictures": len(self.pictures),
            "motion": len(self.motion),
            "psnr_y": round(self.verdict.psnr, 3),
            "ms_ssim": round(self.verdict.ms_ssim, 5),
            "fits": self.fits,
        }


def shown_error(pictures: Sequence[Picture], first: Picture, last: Picture | None, motion: SegmentMotion) -> float:
    """Squared luma error of the frames between two key pictures as the decoder will render them.

    Args:
        pictures: the source of the frames between.
        first: decoded first key picture.
        last: decoded last key picture; None: they are painted from the first alone.
        motion: mode G, which needs no flow between them.
    """
    width, height = picture_size(first)
    a, b = (picture_planes(first if p is None else p)[0] for p in (first, last))
    total, alone = 0.0, last is None
    known, size = read_motion(motion, width, height), (height // CELL, width // CELL)
    fields = frame_fields(known, None, motion.length, *size, open_end=alone)[: motion.length - 2]
    for picture, field_ in zip(pictures, fields, strict=True):
        d = picture_planes(picture)[0].astype(np.float32) - blend_luma(a, b, field_)[0]
        total += float(np.dot(d.ravel(), d.ravel()))
    return total


def position_bytes(keys: tuple[int, ...], frames: int) -> int:
    """Bytes that say where the keys of a group of so many frames are, beyond the one that evenly spaced keys take."""
    return len(pack_keys(keys) if keys[-1] == frames - 1 else pack_open_keys(keys)) - 1


def render_group(keys: Sequence[Picture], segments: Sequence[SegmentMotion], *, tails: bool = True) -> list[Picture]:
    """All frames of a group from its decoded key pictures and motion, exactly as the decoder renders them.

    One segment more than there are pairs of keys is an open end. Without ``tails`` the frames of mode G are painted
    from the key before them alone, as a decoder does only if it is told to: it shows what the key after them is worth.
    """
    generator = WarpGenerator()
    width, height = picture_size(keys[0])
    frames = [keys[0]]
    for index, motion in enumerate(segments):
        first, *last = keys[index : index + 2]
        used = last[0] if last and (tails or motion.mode != "G") else None
        painted = generator.render(first, used, read_motion(motion, width, height), motion.length)
        frames += painted[: motion.length - 2] + last if last else painted
    return frames
