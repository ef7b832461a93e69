"""What the networks are told about a group: the weight-free picture of every frame, and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tgvc.synthesis.densify import FrameFields, frame_fields
from tgvc.synthesis.flow import CELL, measure_key_flow
from tgvc.synthesis.warp import blend_luma
from tgvc.types import FloatArray, Motion, Picture, join_planes, picture_planes, picture_size
from tgvc_kernels import ops

CELL_PX = 8  # of the latents
HINTS = 4
_GREY_LEVELS = 32.0  # disagreement of the moved keys that counts as 1
_DISTANCE = 16.0  # frames to the nearer key that count as 1
_FINE_OCTAVES = 10.0  # bits per pixel of the key pictures from 2**-10 to 1 are mapped to 0..1


@dataclass(frozen=True)
class Condition:
    """One frame of a group as the networks see it.

    ``picture``: the weight-free reconstruction, I420 uint8 (3H/2, W). ``before, after``: numbers of the key pictures
    around it, equal on key frames. ``hints`` float32 (4, H/8, W/8), all in 0..1: disagreement of the two moved key
    pictures, place between the keys, distance to the nearer one, fineness of the key pictures. ``fields``: where the
    frame's pixels lie in both keys; None on key frames.
    """

    picture: Picture
    before: int
    after: int
    hints: FloatArray
    fields: FrameFields | None


def key_fineness(size: int, count: int, width: int, height: int) -> float:
    """How finely key pictures are coded, 0..1: the logarithm of their bits per pixel of the working size.

    Args:
        size: bytes of all key pictures of a group.
        count: key pictures.
        width: working width, px.
        height: working height, px.
    """
    bits = 8 * max(size, 1) / (count * width * height)
    return min(max(1 + math.log2(bits) / _FINE_OCTAVES, 0.0), 1.0)


def group_conditions(
    keys: Sequence[Picture], motions: Sequence[tuple[Motion, int]], fine: float, *, moved: bool = True
) -> Iterator[Condition]:
    """The conditions of all frames of a group in order of time.

    Args:
        keys: decoded key pictures, I420 uint8 (3H/2, W).
        motions: motion and length (frames, keys included) of each segment between them; one more leads on from the
            last key alone.
        fine: `key_fineness` of the group.
        moved: False shows a cross-fade of the key pictures instead; where they have moved is still told.
    """
    yield _key_condition(keys, 0, fine)
    for index, (motion, length) in enumerate(motions):
        yield from segment_conditions(keys, index, motion, length, fine, moved=moved)
        if index + 1 < len(keys):
            yield _key_condition(keys, index + 1, fine)


def segment_conditions(
    keys: Sequence[Picture], index: int, motion: Motion, length: int, fine: float, *, moved: bool = True
) -> list[Condition]:
    """The conditions of the frames between key pictures ``index`` and ``index + 1``, or after the last one."""
    open_end = index + 1 == len(keys)
    if length <= 2 and not open_end:
        return []
    width, height = picture_size(keys[index])
    after = index if open_end else index + 1
    early, late = picture_planes(keys[index]), picture_planes(keys[after])
    flow = measure_key_flow(early[0], late[0]) if motion.mode in ("F", "T") else None
    result = []
    all_fields = frame_fields(motion, flow, length, height // CELL, width // CELL, open_end=open_end)
    for n, fields in enumerate(all_fields, start=1):
        used = fields if moved else _still_fields(fields)
        luma, weights = blend_luma(early[0], late[0], used)
        u, v = (
            ops.mix(ops.warp(a, used.to_first), ops.warp(b, used.to_last), weights)
            for a, b in zip(early[1:], late[1:], strict=True)
        )
        apart = np.abs(ops.warp(early[0], used.to_first) - ops.warp(late[0], used.to_last))
        tau, distance = (0.0, n) if open_end else (n / (length - 1), min(n, length - 1 - n))
        hints = _hints(_cell_means(apart), tau, distance, fine)
        result.append(Condition(join_planes(luma, u, v), index, after, hints, fields))
    return result


def _still_fields(fields: FrameFields) -> FrameFields:
    """The same moment if nothing moved."""
    zeros, ones = np.zeros_like(fields.to_first), np.ones_like(fields.trust_first)
    return FrameFields(fields.tau, zeros, zeros, ones, ones)


def _key_condition(keys: Sequence[Picture], index: int, fine: float) -> Condition:
    width, height = picture_size(keys[index])
    agree = np.zeros((height // CELL_PX, width // CELL_PX), np.float32)
    return Condition(keys[index], index, index, _hints(agree, 0.0, 0, fine), None)


def _cell_means(plane: FloatArray) -> FloatArray:
    height, width = plane.shape
    cells = plane.reshape(height // CELL_PX, CELL_PX, width // CELL_PX, CELL_PX)
    return np.asarray(cells.mean(axis=(1, 3)), dtype=np.float32)


def _hints(apart: FloatArray, tau: float, distance: int, fine: float) -> FloatArray:
    hints = np.empty((HINTS, *apart.shape), np.float32)
    hints[0] = np.minimum(apart / _GREY_LEVELS, 1)
    hints[1], hints[2], hints[3] = tau, min(distance / _DISTANCE, 1.0), fine
    return hints
