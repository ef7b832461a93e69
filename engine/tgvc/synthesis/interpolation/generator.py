"""T-GVC's decoder behind the interface of all generators: key pictures as they were coded, diffusion between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from tgvc.devices.base import Device
from tgvc.devices.host import HostDevice
from tgvc.devices.pool import Pool
from tgvc.devices.scratch import Scratch
from tgvc.diffusion.guidance import Course
from tgvc.diffusion.noise import NoiseSource
from tgvc.diffusion.schedule import Schedule, make_schedule
from tgvc.diffusion.solvers import DEFAULT, Plan
from tgvc.errors import ConfigError
from tgvc.models.interpolation import InterpolationCalls, Tokens, queued_decoder, queued_sampler
from tgvc.models.rgb import to_rgb
from tgvc.overlap import StageClock
from tgvc.synthesis.densify import frame_fields
from tgvc.synthesis.flow import CELL, measure_key_flow
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.interpolation.conditioning import Conditioner
from tgvc.synthesis.interpolation.pictures import RgbQueue, Sampled
from tgvc.synthesis.interpolation.segment import Segment, SegmentSampler
from tgvc.synthesis.interpolation.stages import Stage, plan_stages
from tgvc.synthesis.loop import Progress
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
    strength has no part in it then, but 0 is still none. ``plan``: solver, where its steps lie, which are guided.
    """

    steps: int
    eta: float = 1.0
    scale: float = 7.5
    rescale: float = 0.7
    fs: int = 5
    guidance: float = STRENGTH
    parity: bool = False
    plan: Plan = DEFAULT


class _Lane:
    """One stream for the sampler and one for pictures, with their memory: a group has them while it is painted."""

    def __init__(
        self, calls: InterpolationCalls, device: Device, schedule: Schedule, options: InterpolationOptions
    ) -> None:
        constants = calls.constants
        self.scratch = Scratch(device, device.make_stream())
        self.sampler = SegmentSampler(
            queued_sampler(calls, device),
            self.scratch,
            schedule,
            fs=options.fs,
            scale=options.scale,
            rescale=options.rescale,
            cell_px=constants.cell_px,
            plan=options.plan,
            parity=options.parity,
        )
        self._shown = Scratch(device, device.make_stream())
        self.pictures = RgbQueue(queued_decoder(calls, device), self._shown, constants.latent_scale)

    def rest(self) -> None:
        """Wait until nothing is queued any more."""
        self.scratch.stream.synchronize()
        self._shown.stream.synchronize()


class InterpolationGenerator:
    """Paints groups with networks of kind ``interpolation``; holds between groups what prompts say, and memory.

    Args:
        calls: the networks.
        options: how to sample.
        prompts: tokens int64 (2, 77), of the prompt and of the empty one.
        facts: what `facts` tells beside the generator and the steps: bundle, backend, providers.
        device: where the loop and the pictures are computed; the host by default.
    """

    def __init__(
        self,
        calls: InterpolationCalls,
        options: InterpolationOptions,
        prompts: Tokens,
        facts: dict[str, Any],
        device: Device | None = None,
    ) -> None:
        constants = calls.constants
        self._calls, self._options, self._facts = calls, options, facts
        self._device = device or HostDevice()
        self._conditioner = Conditioner(calls, prompts, guided=options.scale != 1.0)
        schedule = make_schedule(
            options.steps,
            spacing=options.plan.spacing,
            name=constants.schedule,
            train_steps=constants.train_steps,
            eta=options.eta,
            dynamic=constants.dynamic,
            strength=options.guidance,
            parity=options.parity,
        )
        self._steps = schedule.steps
        self._lanes = Pool(lambda: _Lane(calls, self._device, schedule, options))

    @property
    def facts(self) -> dict[str, Any]:
        """See `tgvc.synthesis.group.GroupGenerator.facts`."""
        return {
            "generator": "latent",
            "steps": self._options.steps,
            "solver": self._options.plan.label,
            "paint": "all",
            "device": self._device.name,
            **self._facts,
        }

    def render_group(
        self, group: DecodedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[Picture]:
        """See `tgvc.synthesis.group.GroupGenerator.render_group`.

        Where the device works by itself, a segment is queued before the one before it is shown.

        Raises:
            ConfigError: a segment that the published form cannot make.
        """
        if group.open:
            raise ConfigError(
                "this stream has a group that ends without a key picture, between which and the one before it these "
                "networks paint; expected one: decode without networks, or with the bundle nano"
            )
        slots = self._calls.constants.window
        with clock.measure("conditions"):
            plans = [self._plan(group, n, slots) for n in range(len(group.motions))]
        progress = Progress(on_progress, self._steps * sum(len(plan[1]) for plan in plans if plan))
        ahead, number = 1 if self._device.remote else 0, 0
        waiting: deque[Iterator[Picture]] = deque()
        with self._lanes.take() as lane:
            try:
                yield group.keys[0]
                for index, plan in enumerate(plans):
                    between: Iterator[Picture] = iter(())
                    if plan is not None:
                        between = self._queue(lane, group, index, plan, number, clock, progress)
                        number += len(plan[1])
                    waiting.append(chain(between, [group.keys[index + 1]]))
                    while len(waiting) > ahead:
                        yield from waiting.popleft()
                while waiting:
                    yield from waiting.popleft()
            finally:
                lane.rest()  # what is still queued uses memory that goes now

    def _plan(self, group: DecodedGroup, index: int, slots: int) -> tuple[Course, list[Stage]] | None:
        """Tracks and runs of a segment; None for one without frames between its keys."""
        motion, length = group.motions[index]
        if length <= 2:
            return None
        paths = no_paths(length)
        if self._options.guidance > 0:
            paths = segment_paths(motion, length, group.keys[index], group.keys[index + 1])
        return plan_stages(*paths, slots, parity=self._options.parity)

    def _queue(
        self,
        lane: _Lane,
        group: DecodedGroup,
        index: int,
        plan: tuple[Course, list[Stage]],
        number: int,
        clock: StageClock,
        progress: Progress,
    ) -> Iterator[Picture]:
        """Sample what is between two key pictures, and show it later; ``number``: of the first run in the group."""
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
        stream = lane.scratch.stream
        began = stream.record()
        latents = lane.sampler.sample(Segment(ends, *plan, number), condition, source, progress)
        sampled = Sampled([latents[frame] for frame in sorted(latents)], began, stream.record(), progress)
        return lane.pictures.show(sampled, (width, height), group.matrix, clock)


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
