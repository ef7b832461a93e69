"""A stream of open groups, in plain integers: one of tracks without a last key picture, one of states.

Its key pictures are letters. Run this file to write ``open.tgvc`` anew.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np

from tgvc.bitstream.affine import AffineMotion, encode_affine, sent_frames
from tgvc.bitstream.container import Group, Header, Writer
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.tracks import encode_motion

STREAM = Path(__file__).with_name("open.tgvc")
HEADER = Header(width=256, height=256, source_width=256, source_height=256, fps=Fraction(25), profile=4)
SERVED = (7, 1, 40)  # frames of each key picture of the group of states


def tracks() -> list[SegmentMotion]:
    """Two segments, of which the second has no key picture at its end."""
    coefs = np.array([[[3, -1], [1, 0], [0, 2], [0, 0]], [[-9, 4], [0, 0], [2, 1], [1, 1]]], np.int32)
    anchors = np.array([[10, 5], [3, 60]], np.int32)
    return [SegmentMotion.empty("F", 4), SegmentMotion.of("G", 5, anchors=anchors, coefs=coefs, track_step=18)]


def states() -> AffineMotion:
    """Rest, small steps, sudden ones, and a second key picture that serves nothing."""
    levels, number = [], 0
    for frames in SERVED:
        run = []
        for _ in sent_frames(frames, 2):
            number += number % 5 != 3  # every fifth state rests, but for what is expected of it
            run.append([(number * (i + 2) * 7) % (9 + 40 * (i == 4)) - 4 + 90 * (number > 12) for i in range(6)])
        levels.append(np.asarray(run, np.int32).reshape(-1, 6))
    return AffineMotion(networks=41235, channels=3, step=20, decimation=2, momentum=1, levels=tuple(levels))


def build() -> bytes:
    """The stream."""
    target = io.BytesIO()
    writer = Writer(target, HEADER)
    base = {"codec": 0, "key_width": 256, "key_height": 256}
    motion = encode_motion(tracks(), anchor_grid(256, 256))
    writer.write(Group(frames=8, keys=(0, 3), pictures=b"two pictures", motion=motion, **base))
    served = encode_affine(states())
    writer.write(Group(frames=48, keys=(0, 7, 8), pictures=b"three", motion=served, kind="affine", hide_head=2, **base))
    writer.finish()
    return target.getvalue()


if __name__ == "__main__":
    STREAM.write_bytes(build())
