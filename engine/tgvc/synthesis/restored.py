"""The latent generator on key pictures only: they are restored, and everything between is moved as without networks.

Texture that was painted once per key picture moves with what it lies on, and costs a fraction of painting every frame.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

import numpy as np

from tgvc.overlap import StageClock, run_ahead
from tgvc.synthesis.flow import measure_key_flow
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.latent import LatentGenerator
from tgvc.synthesis.warp import WarpGenerator
from tgvc.types import OnProgress, Picture, picture_planes, still_motion


class RestoredKeys:
    """Paints groups like the weight-free generator, from key pictures that a latent generator has painted."""

    def __init__(self, painter: LatentGenerator) -> None:
        self._painter, self._mover = painter, WarpGenerator()

    @property
    def facts(self) -> dict[str, Any]:
        """See `tgvc.synthesis.group.GroupGenerator.facts`."""
        return {**self._painter.facts, "paint": "keys"}

    def render_group(
        self, group: DecodedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[Picture]:
        """See `tgvc.synthesis.group.GroupGenerator.render_group`."""
        neighbours = [(still_motion("F"), 2)] * (len(group.keys) - 1)
        shown = np.cumsum([0, *(length - 1 for _, length in group.motions[: len(neighbours)])])
        texture = None if group.texture is None else group.texture[shown]
        keys = DecodedGroup(group.number, group.seed, group.keys, neighbours, group.fine, group.matrix, texture)
        with closing(run_ahead(self._painter.render_group(keys, clock, on_progress), depth=2)) as painted:
            first = next(painted)
            yield first
            for index, (motion, length) in enumerate(group.motions):
                last = next(painted, None)
                with clock.measure("render"):
                    flow = None
                    if length > 2 and motion.mode in ("F", "T"):
                        # of the pictures as they were coded: the encoder chose the motion by what it does to these
                        early, late = (picture_planes(group.keys[n])[0] for n in (index, index + 1))
                        flow = measure_key_flow(early, late)
                    between = self._mover.render(first, last, motion, length, flow=flow)
                yield from between
                if last is not None:
                    yield last
                    first = last
