"""The generator `flow`: features of key pictures moved by the stream's motion, which a network first makes fine.

Source: Dynamics-Codec's decoder, its flow-driven generator; at nano size, and without diffusion of its own. With two
key pictures around a frame it moves both.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from tgvc.models.flow import FlowNetworks
from tgvc.overlap import StageClock
from tgvc.synthesis.densify import frame_fields
from tgvc.synthesis.flow import CELL, measure_key_flow
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.paths import sent_paths
from tgvc.synthesis.rough import Rough, describe_motion
from tgvc.types import Motion, OnProgress, Picture, picture_planes, picture_size

NAME = "flow"


class DrivenGroups:
    """Paints groups of trajectories segment by segment; key pictures are shown as they are.

    Args:
        nets: of a bundle of kind ``flow``.
    """

    def __init__(self, nets: FlowNetworks) -> None:
        self._nets = nets

    @property
    def facts(self) -> dict[str, Any]:
        """See `tgvc.synthesis.group.GroupGenerator.facts`."""
        backend = self._nets.backend
        return {
            "generator": NAME,
            "bundle": self._nets.bundle.label,
            "backend": f"{backend.name} {backend.version}",
            "providers": backend.providers,
        }

    def render_group(
        self, group: DecodedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[Picture]:
        """See `tgvc.synthesis.group.GroupGenerator.render_group`."""
        yield group.keys[0]
        before = self._nets.know(group.keys[0])
        for index, (motion, length) in enumerate(group.motions):
            first, *last = group.keys[index : index + 2]
            after = self._nets.know(last[0]) if last else before
            if length > 2 or not last:
                with clock.measure("conditions"):
                    rough = rough_motion(first, last[0] if last else None, motion, length)
                with clock.measure("render"):
                    frames = self._nets.paint(before, after, *rough)
                yield from frames
            yield from last
            before = after


def rough_motion(first: Picture, last: Picture | None, motion: Motion, length: int) -> Rough:
    """What the network is told of the frames between two decoded key pictures, or after one.

    Args:
        first: I420 uint8 (3H/2, W).
        last: the next one, or None.
        motion: of the segment.
        length: frames of the segment, its keys included.
    """
    width, height = picture_size(first)
    flow = None
    if last is not None and motion.mode in ("F", "T"):
        flow = measure_key_flow(picture_planes(first)[0], picture_planes(last)[0])
    open_end = last is None
    fields = frame_fields(motion, flow, length, height // CELL, width // CELL, open_end=open_end)
    return describe_motion(fields, sent_paths(motion, fields, width, height), open_end=open_end)
