"""T-GVC's decoder behind the interface of all generators: key pictures as they were coded, diffusion between them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tgvc.diffusion.guidance import Course
from tgvc.diffusion.noise import NoiseSource
from tgvc.diffusion.sampler import OnStep
from tgvc.diffusion.schedule import make_schedule
from tgvc.models.interpolation import InterpolationCalls, Tokens
from tgvc.models.rgb import from_rgb, to_rgb
from tgvc.overlap import StageClock
from tgvc.synthesis.densify import frame_fields
from tgvc.synthesis.flow import CELL, measure_key_flow
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.interpolation.conditioning import Conditioner
from tgvc.synthesis.interpolation.segment import Segment, SegmentSampler
from tgvc.synthesis.interpolation.stages import Stage, plan_stages
from tgvc.synthesis.paths import Paths, sent_paths
from tgvc.types import FloatArray, Motion, OnProgress, Picture, picture_planes, picture_size

STRENGTH = 1.1  # of the guidance: about the published sum of weights over 50 steps
_POSTERIOR = 1 << 31  # where steps of sampling would count the noise of key pictures: no schedule has so many


@dataclass(frozen=True, kw_only=True)
class InterpolationOptions:
    """How to sample.

    ``steps``: of denoising. ``eta``: share of fresh noise in every step. ``scale``: of the guidance without a
    classifier, 1 = none. ``rescale``: of its result, 0..1. ``fs``: frame rate that the UNet is told, smaller = more
    motion. ``guidance``: strength of the trajectories' pull, 0 = none. ``parity``: as published, with its faults; the
    strength has no part in it then, but 0 is still none.
    """

    steps: int
    eta: float = 1.0
    scale: float = 7.5
    rescale: float = 0.7
    fs: int = 5
    guidance: float = STRENGTH
    parity: bool = False


class InterpolationGenerator:
    """Paints groups with networks of kind ``interpolation``; holds no state between groups but what prompts say.

    Args:
        calls: the networks.
        options: how to sample.
        prompts: tokens int64 (2, 77), of the prompt and of the empty one.
        facts: what `facts` tells beside the generator and the steps: bundle, backend, providers.
    """

    def __init__(
        self, calls: InterpolationCalls, options: InterpolationOptions, prompts: Tokens, facts: dict[str, Any]
    ) -> None:
        constants = calls.constants
        self._calls, self._options, self._facts = calls, options, facts
        self._conditioner = Conditioner(calls, prompts, options.fs, guided=options.scale != 1.0)
        schedule = make_schedule(
            options.steps,
            name=constants.schedule,
            train_steps=constants.train_steps,
            eta=options.eta,
            dynamic=constants.dynamic,
            strength=options.guidance,
            parity=options.parity,
        )
        self._steps = schedule.steps
        self._sampler = SegmentSampler(
            calls, schedule, scale=options.scale, rescale=options.rescale, parity=options.parity
        )

    @property
    def facts(self) -> dict[str, Any]:
        """See `tgvc.synthesis.group.GroupGenerator.facts`."""
        return {"generator": "latent", "steps": self._options.steps, "paint": "all", **self._facts}

    def render_group(
        self, group: DecodedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[Picture]:
        """See `tgvc.synthesis.group.GroupGenerator.render_group`.

        Raises:
            ConfigError: a segment that the published form cannot make.
        """
        slots = self._calls.constants.window
        with clock.measure("conditions"):
            plans = [self._plan(group, n, slots) for n in range(len(group.motions))]
        done, total = 0, self._steps * sum(len(plan[1]) for plan in plans if plan)

        def step(i: int, clean: FloatArray) -> None:
            nonlocal done
            done += 1
            if on_progress:
                on_progress("denoise", done, total)

        number = 0
        yield group.keys[0]
        for index, plan in enumerate(plans):
            if plan is not None:
                yield from self._paint(group, index, plan, number, clock, step)
                number += len(plan[1])
            yield group.keys[index + 1]

    def _plan(self, group: DecodedGroup, index: int, slots: int) -> tuple[Course, list[Stage]] | None:
        """Tracks and runs of a segment; None for one without frames between its keys."""
        motion, length = group.motions[index]
        if length <= 2:
            return None
        paths = no_paths(length)
        if self._options.guidance > 0:
            paths = segment_paths(motion, length, group.keys[index], group.keys[index + 1])
        return plan_stages(*paths, slots, parity=self._options.parity)

    def _paint(
        self,
        group: DecodedGroup,
        index: int,
        plan: tuple[Course, list[Stage]],
        number: int,
        clock: StageClock,
        step: OnStep,
    ) -> Generator[Picture]:
        """The frames between two key pictures; ``number``: of the first run in the group."""
        constants, source = self._calls.constants, NoiseSource(group.seed, group.number)
        width, height = picture_size(group.keys[index])
        with clock.measure("conditions"):
            keys = to_rgb([group.keys[index], group.keys[index + 1]], group.matrix)
            condition = self._conditioner.describe(keys[0], constants.window)
        with clock.measure("encode"):
            padded = pad_pictures(keys, constants.divisor * constants.cell_px)
            size = constants.latent_channels, *(side // constants.cell_px for side in padded.shape[2:])
            noise = source.field([index, index + 1], size, _POSTERIOR)
            ends = self._conditioner.key_latents(padded, noise)
        with clock.measure("denoise"):
            latents = self._sampler.sample(Segment(ends, *plan, number), condition, source, step)
        for frame in sorted(latents):
            with clock.measure("decode"):
                z = latents[frame][None] / np.float32(constants.latent_scale)
                rgb = self._calls.decode(np.ascontiguousarray(z))[..., :height, :width]
                picture = from_rgb(rgb, group.matrix)[0]
            yield picture


def no_paths(length: int) -> Paths:
    """No tracks over a number of frames."""
    return Paths(np.zeros((0, length, 2), np.float32), np.zeros((0, length), np.bool_))


def segment_paths(motion: Motion, length: int, first: Picture, last: Picture) -> Paths:
    """The trajectories that the stream carries for a segment of ``length`` frames between two key pictures."""
    if not len(motion.anchors):
        return no_paths(length)
    width, height = picture_size(first)
    flow = None
    if motion.mode == "T":
        flow = measure_key_flow(picture_planes(first)[0], picture_planes(last)[0])
    fields = list(frame_fields(motion, flow, length, height // CELL, width // CELL))
    return sent_paths(motion, fields, width, height)


def pad_pictures(pictures: FloatArray, multiple: int) -> FloatArray:
    """Pictures float32 (N, 3, H, W) continued by their last row and column until both sides are multiples."""
    height, width = pictures.shape[2:]
    return np.pad(pictures, ((0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple)), mode="edge")
