"""What a .tgvc stream says about itself, without decoding a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, BinaryIO

from tgvc.bitstream.container import Group, Reader
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.tracks import decode_motion
from tgvc.config import PROFILE_IDS
from tgvc.timing import shown_times

PROFILE_NAMES = {number: name for name, number in PROFILE_IDS.items()}


def read_segments(group: Group, width: int, height: int) -> list[SegmentMotion]:
    """The motion of a group's segments as coded; ``width`` and ``height`` are the working size in px.

    Raises:
        BitstreamError: damaged motion.
    """
    lengths = [b - a + 1 for a, b in zip(group.keys, group.keys[1:], strict=False)]
    return decode_motion(group.motion, lengths, anchor_grid(width, height))


def count_modes(segments: Sequence[SegmentMotion]) -> dict[str, int]:
    """Segments per motion mode; ``plain`` are those whose keys are neighbours, so that nothing has to be painted."""
    return dict(sorted(Counter(s.mode if s.length > 2 else "plain" for s in segments).items()))


def describe_stream(stream: BinaryIO) -> dict[str, Any]:
    """Facts about a stream, read to its end.

    Returns:
        ``bytes``, ``frames`` (shown), ``seconds``, ``fps``, ``width, height`` (working size, px), ``source_width,
        source_height`` (px), ``bpp`` (bits per pixel of the working size), ``kbps``, ``profile``, ``seed``, ``matrix``,
        ``meta``, ``layers`` (bytes of pictures, motion and overhead), ``modes`` (segments per motion mode) and
        ``groups``: for each its first frame, frames shown, frames decoded and not shown (``hidden``), start in seconds,
        keys shown (frame numbers in the video), coded key size in px, bytes of both layers, trajectories and modes.

    Raises:
        BitstreamError: not a valid stream.
    """
    reader = Reader(stream)
    header = reader.header
    groups: list[dict[str, Any]] = []
    frames, clock, modes = 0, Fraction(0), Counter[str]()
    for group in reader:
        segments = read_segments(group, header.width, header.height)
        times = shown_times(group, clock, header.fps)
        used = count_modes(segments)
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
