"""The generator `flow`: key pictures and their features moved by the stream's motion, which a network first makes fine.

Source: Dynamics-Codec's decoder, its flow-driven generator; at nano size, and over the weight-free picture. With two
key pictures around a frame it moves both. Diffusion may go on from what it paints, see `tgvc.synthesis.latent`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import lru_cache
from typing import Any

from tgvc.models.flow import FlowNetworks
from tgvc.overlap import StageClock
from tgvc.synthesis.conditions import Condition, group_conditions
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.paths import sent_paths
from tgvc.synthesis.rough import describe_motion
from tgvc.synthesis.stretches import Repaint
from tgvc.types import FloatArray, Motion, OnProgress, Picture, picture_size

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
        conditions, repaint = group_conditions(group.keys, group.motions, group.fine), self.repaint_of(group)
        yield next(conditions).picture
        for motion, length in group.motions:
            with clock.measure("conditions"):
                frames = [next(conditions) for _ in range(length - 1)]
            with clock.measure("render"):
                pictures = repaint(frames, motion)
            yield from pictures

    def repaint_of(self, group: DecodedGroup) -> Repaint:
        """See `tgvc.synthesis.stretches.Underpainter`; key pictures are left as they are."""

        @lru_cache(maxsize=2)
        def know(key: int) -> FloatArray:
            return self._nets.know(group.keys[key])

        def repaint(frames: Sequence[Condition], motion: Motion) -> list[Picture]:
            between = [frame for frame in frames if frame.fields is not None]
            if not between:
                return [frame.picture for frame in frames]
            fields = [frame.fields for frame in between if frame.fields is not None]
            pictures = [frame.picture for frame in between]
            paths = sent_paths(motion, fields, *picture_size(pictures[0]))
            rough = describe_motion(fields, paths, open_end=len(between) == len(frames))
            painted = self._nets.paint(know(between[0].before), know(between[0].after), pictures, *rough)
            return painted + [frame.picture for frame in frames[len(between) :]]

        return repaint
