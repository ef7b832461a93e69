"""Which frames of a segment the UNet sees at once, always as many as it was trained for, and its tracks at these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tgvc.diffusion.guidance import Course
from tgvc.diffusion.windows import Window, plan_windows
from tgvc.errors import ConfigError
from tgvc.types import BoolArray, FloatArray


@dataclass(frozen=True)
class Stage:
    """One run of the sampler.

    ``window``: what its slots show, on the scale of the course that `plan_stages` gives. ``shown``: frames between the
    segment's keys that are taken from it -> their slots.
    """

    window: Window
    shown: Mapping[int, int]


def plan_stages(xy: FloatArray, visible: BoolArray, slots: int, *, parity: bool = False) -> tuple[Course, list[Stage]]:
    """The runs that make the frames of a segment, in order, and its tracks on their scale of time.

    A segment of fewer frames than slots is stretched: the UNet makes all slots, evenly spread over the segment, tracks
    are resampled to these moments, and each frame is the slot nearest to it. Longer ones take several runs, see
    `tgvc.diffusion.windows`.

    Args:
        xy: float32 (K, n, 2) px, tracks of the segment, n >= 3 with both keys.
        visible: bool (K, n).
        slots: frames of a run.
        parity: as published, which takes up to ``2 slots - 2`` frames.

    Raises:
        ConfigError: a segment that the published form cannot make.

    Source: T-GVC for 16 frames and more; for fewer the release has no rule, this one is our own.
    """
    length = xy.shape[1]
    inner = range(1, length - 1)
    if length < slots:
        window = plan_windows(slots, slots)[0]
        shown = {frame: nearest_slot(frame, length, slots) for frame in inner}
        return Course(0, *stretch_tracks(xy, visible, slots)), [Stage(window, shown)]
    if parity and length > 2 * slots - 2:
        raise ConfigError(
            f"segment of {length} frames: the published form makes up to {2 * slots - 2}; decode without parity, or "
            "encode with closer key frames"
        )
    windows = plan_windows(length, slots, "parity" if parity else "dual")
    stages = [Stage(w, {f: s for f, s in zip(w.outputs, w.slots, strict=True) if f in inner}) for w in windows]
    return Course(0, xy, visible), stages


def nearest_slot(frame: int, length: int, slots: int) -> int:
    """The slot nearest to a frame of a segment that is stretched; in the middle, the later one."""
    return (2 * frame * (slots - 1) + length - 1) // (2 * (length - 1))


def stretch_tracks(xy: FloatArray, visible: BoolArray, slots: int) -> tuple[FloatArray, BoolArray]:
    """Tracks at ``slots`` moments evenly spread over their frames.

    Args:
        xy: float32 (K, n, 2) px, n >= 2.
        visible: bool (K, n).
        slots: moments, at least 2.

    Returns:
        float32 (K, slots, 2) in a straight line between frames, and bool (K, slots): seen in both frames around.
    """
    length = xy.shape[1]
    place = np.arange(slots) * (length - 1)
    before, rest = np.divmod(place, slots - 1)
    after = np.minimum(before + (rest > 0), length - 1)
    share = (rest / (slots - 1)).astype(np.float32)[:, None]
    between = xy[:, before] * (1 - share) + xy[:, after] * share
    return np.asarray(between, np.float32), visible[:, before] & visible[:, after]
