"""The weight-free generator: both key pictures are moved to the time of a frame and blended there.

It decodes every stream of the TRACKS kind, so preview, concealment and the conditions of the networks need no weights.
"""

from __future__ import annotations

from concurrent.futures import Executor

from tgvc.synthesis.densify import FrameFields, Spread, frame_fields
from tgvc.synthesis.flow import CELL, KeyFlow, measure_key_flow
from tgvc.types import FloatArray, Motion, Picture, Plane, join_planes, picture_planes, picture_size
from tgvc_kernels import ops


def blend_luma(first: Plane, last: Plane, fields: FrameFields) -> tuple[Plane, FloatArray]:
    """Luma of the frame between two pictures, uint8 (H, W), and the share of the later one, float32 (H/2, W/2)."""
    a, b = ops.warp(first, fields.to_first), ops.warp(last, fields.to_last)
    weights = ops.blend_weights(a, b, fields.trust_first, fields.trust_last, fields.tau)
    return ops.mix(a, b, weights), weights


def blend_frame(first: Picture, last: Picture, fields: FrameFields) -> Picture:
    """The frame between two pictures under given fields, uint8 (3H/2, W)."""
    early, late = picture_planes(first), picture_planes(last)
    luma, weights = blend_luma(early[0], late[0], fields)
    u, v = (
        ops.mix(ops.warp(one, fields.to_first), ops.warp(two, fields.to_last), weights)
        for one, two in zip(early[1:], late[1:], strict=True)
    )
    return join_planes(luma, u, v)


class WarpGenerator:
    """Renders the frames between key pictures by moving and blending them; keeps nothing between calls.

    Args:
        spread: how trajectories fill the picture between them, see `tgvc.synthesis.densify.frame_fields`.
    """

    name = "warp"

    def __init__(self, spread: Spread = "shepard") -> None:
        self._spread = spread

    def render(
        self,
        first: Picture,
        last: Picture | None,
        motion: Motion,
        length: int,
        executor: Executor | None = None,
        flow: KeyFlow | None = None,
    ) -> list[Picture]:
        """Frames strictly between two key pictures, or after one.

        Args:
            first: I420 uint8 (3H/2, W), decoded key picture.
            last: the next one; None where motion of mode G leads on from the first alone.
            motion: motion of the segment.
            length: frames of the segment, its keys included.
            executor: runs frames in parallel; the result does not depend on it.
            flow: flow between the two, if the caller has it already.

        Returns:
            ``length - 2`` pictures in time order, ``length - 1`` without a last one.
        """
        open_end, last = last is None, first if last is None else last
        if length <= 2 and not open_end:
            return []
        width, height = picture_size(first)
        if flow is None and motion.mode in ("F", "T"):
            flow = measure_key_flow(picture_planes(first)[0], picture_planes(last)[0])
        fields = frame_fields(
            motion, flow, length, height // CELL, width // CELL, open_end=open_end, spread=self._spread
        )
        run = map if executor is None else executor.map
        return list(run(lambda f: blend_frame(first, last, f), fields))
