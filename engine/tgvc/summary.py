"""What a .tgvc stream says about itself, without decoding a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

from tgvc.bitstream.affine import AffineMotion, step_size
from tgvc.bitstream.container import Group, Reader
from tgvc.bitstream.motion import SegmentMotion
from tgvc.bitstream.segments import read_states, read_tracks
from tgvc.config import PROFILE_IDS
from tgvc.synthesis.motion import model_at, read_motion
from tgvc.timing import shown_times

_BACK_PX = 1.0
PROFILE_NAMES = {number: name for name, number in PROFILE_IDS.items()}


def read_segments(group: Group, width: int, height: int) -> list[SegmentMotion]:
    """The motion of a group's segments as coded; ``width`` and ``height`` are the working size in px.

    Raises:
        BitstreamError: damaged motion.
    """
    return read_tracks(group, width, height)


def count_modes(segments: Sequence[SegmentMotion]) -> dict[str, int]:
    """Segments per motion mode; ``plain`` are those whose keys are neighbours, so that nothing has to be painted."""
    return dict(sorted(Counter(s.mode if s.length > 2 else "plain" for s in segments).items()))


def count_stretches(group: Group) -> dict[str, int]:
    """Key pictures of a group of kind "affine" by what they do: ``A`` serve other frames, ``plain`` only themselves."""
    return dict(sorted(Counter("A" if frames > 1 else "plain" for frames in group.segment_lengths).items()))


def describe_stream(stream: BinaryIO) -> dict[str, Any]:
    """Facts about a stream, read to its end.

    Returns:
        ``bytes``, ``frames`` (shown), ``seconds``, ``fps``, ``width, height`` (working size, px), ``source_width,
        source_height`` (px), ``bpp`` (bits per pixel of the working size), ``kbps``, ``profile``, ``seed``, ``matrix``,
        ``meta``, ``layers`` (bytes of pictures, motion and overhead), ``modes`` (segments per motion mode) and
        ``groups``: for each its first frame, frames shown, frames decoded and not shown (``hidden``), start in seconds,
        keys shown (frame numbers in the video), coded key size in px, bytes of both layers, trajectories, modes,
        ``loopable``: whether everything that is told comes back to where it was at each key picture, and
        ``states``: how many states are sent, what a parameter's step is and every how many frames, None where motion
        is of kind "tracks".

    Raises:
        BitstreamError: not a valid stream.
    """
    reader = Reader(stream)
    header = reader.header
    groups: list[dict[str, Any]] = []
    frames, clock, modes = 0, Fraction(0), Counter[str]()
    for group in reader:
        segments = read_segments(group, header.width, header.height)
        states = None if group.kind == "tracks" else _describe_states(read_states(group))
        times = shown_times(group, clock, header.fps)
        used = count_modes(segments) if states is None else count_stretches(group)
        modes.update(used)
        groups.append(
            {
                "first": frames,
                "frames": group.shown,
                "start": float(times[0]),
                "hidden": group.frames - group.shown,
                "keys": [frames + k - group.hide_head for k in group.keys if 0 <= k - group.hide_head < group.shown],
                "key_size": [group.key_width, group.key_height],
                "pictures": len(group.pictures),
                "motion": len(group.motion),
                "trajectories": sum(len(s.anchors) for s in segments),
                "modes": used,
                "loopable": all(comes_back(s, header.width, header.height) for s in segments) if segments else False,
                "states": states,
            }
        )
        frames += group.shown
        clock = times[-1] + 1 / header.fps
    layers = {name: sum(g[name] for g in groups) for name in ("pictures", "motion")}
    total = reader.position
    layers["overhead"] = total - sum(layers.values())
    return {
        "bytes": total,
        "frames": frames,
        "seconds": float(clock),
        "fps": float(header.fps),
        "width": header.width,
        "height": header.height,
        "source_width": header.source_width,
        "source_height": header.source_height,
        "bpp": 8 * total / (header.width * header.height * frames),
        "kbps": 8 * total / float(clock) / 1000,
        "profile": PROFILE_NAMES.get(header.profile, str(header.profile)),
        "seed": header.seed,
        "matrix": header.matrix,
        "meta": dict(reader.meta),
        "layers": layers,
        "modes": dict(sorted(modes.items())),
        "groups": groups,
    }


def comes_back(segment: SegmentMotion, width: int, height: int) -> bool:
    """Whether the trajectories of a segment of mode G end within 1 px of where they begin, and it has some."""
    if segment.mode != "G" or not len(segment.anchors):
        return False
    motion = read_motion(segment, width, height)
    ends = model_at(motion.model[-1:], motion.anchors, width, height)[0] + motion.tracks[:, -1]
    return bool(np.linalg.norm(ends, axis=1).max() <= _BACK_PX)


def _describe_states(motion: AffineMotion) -> dict[str, Any]:
    return {
        "sent": sum(len(levels) for levels in motion.levels),
        "parameters": 2 * motion.channels,
        "step": round(step_size(motion.step), 5),
        "every": motion.decimation,
    }
