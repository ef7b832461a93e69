"""The frames of one segment in latents: its stages one after the other, guided by its trajectories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from tgvc.devices.base import Array, fill_zeros, put
from tgvc.devices.scratch import Scratch
from tgvc.diffusion.guidance import Course, Guidance
from tgvc.diffusion.noise import NoiseSource
from tgvc.diffusion.schedule import Schedule
from tgvc.diffusion.solvers import DEFAULT, Plan, plan_steps
from tgvc.diffusion.steps import opening_step
from tgvc.models.interpolation import QueuedSampler
from tgvc.models.queued import QueuedNet
from tgvc.synthesis.interpolation.conditioning import Condition
from tgvc.synthesis.interpolation.stages import Stage
from tgvc.synthesis.loop import Loop, Outside, Progress, Task, place_pull
from tgvc.types import FloatArray
from tgvc_kernels.step import NoiseCounter, Pull


@dataclass(frozen=True, eq=False)
class Segment:
    """What is painted.

    ``ends`` float32 (C, 2, h, w): latents of both key pictures. ``course``: tracks. ``stages``: runs. ``number``: of
    the first run in its group, which its noise depends on.
    """

    ends: FloatArray
    course: Course
    stages: list[Stage]
    number: int


@dataclass(eq=False)
class _Made:
    """What the stages of a segment leave to each other, on the device.

    ``first, last`` (C, h, w): latents of the key pictures. ``frames``: latents of every frame of every stage.
    ``early`` (S, C, 1, h, w): noisy latents of slot 0 of the first stage, by step.
    """

    first: Array
    last: Array
    frames: dict[int, Array] = field(default_factory=dict)
    early: Array | None = None


class SegmentSampler:
    """Runs the stages of segments, one after the other in the same memory.

    Args:
        nets: see `tgvc.models.interpolation.queued_sampler`.
        scratch: memory, and the stream.
        schedule: timesteps and weights; with weights of 0 nothing pulls.
        fs: frame rate that the UNet is told.
        scale: of the guidance without a classifier.
        rescale: of its result, 0..1.
        cell_px: width and height of a latent cell.
        plan: solver, and which steps are guided without a classifier.
        parity: as published: stages share no frame but one, compare with what is still noise, and end on noise.
    """

    def __init__(
        self,
        nets: QueuedSampler,
        scratch: Scratch,
        schedule: Schedule,
        *,
        fs: int,
        scale: float,
        rescale: float,
        cell_px: int,
        plan: Plan = DEFAULT,
        parity: bool,
    ) -> None:
        self._scratch, self._schedule, self._cell_px, self._parity = scratch, schedule, cell_px, parity
        self._nets, self._loop = nets, Loop(nets.unet, scratch, scale=scale, rescale=rescale)
        self._opening, self._steps = opening_step(schedule), plan_steps(schedule, plan, noisy=parity)
        self._times = np.array([step.timestep for step in self._steps], np.float32)
        self._rates = np.full(len(self._steps), fs, np.float32)
        for array in (self._times, self._rates):
            array.flags.writeable = False  # they are copied to a device once

    def sample(
        self, segment: Segment, condition: Condition, noise: NoiseSource, progress: Progress
    ) -> Mapping[int, Array]:
        """Latents float32 (C, h, w) of the frames between the keys, by their numbers in the segment.

        They are the device's, whole once the stream comes past what is queued now.

        Args:
            segment: to be painted.
            condition: of both runs of the UNet; its keys and values are made once, before the first stage.
            noise: of the group.
            progress: told of every step.
        """
        ends = put(self._scratch.device, segment.ends, self._scratch.stream)
        given = self._ask(self._nets.context, text=condition.text, image=condition.image)
        made = _Made(ends[:, 0], ends[:, 1])
        shown: dict[int, Array] = {}
        for turn, stage in enumerate(segment.stages):
            window, device, stream = stage.window, self._scratch.device, self._scratch.stream
            finished = self._loop.run(self._task(segment, turn, made, given, noise), progress)
            latents = device.empty(finished.x.shape, np.float32, stream)
            if self._parity:  # the published code leaves the level of the last step in its result
                device.copy(latents, finished.x, stream)
            else:
                level = np.float32(self._schedule.level(0))
                device.apply(partial(_divide, by=level), latents, finished.clean, stream=stream)
            slots = enumerate(window.frames)
            made.frames |= {frame: latents[:, slot] for slot, frame in slots if not window.given[slot]}
            shown |= {frame: latents[:, slot] for frame, slot in stage.shown.items()}
        return shown

    def _ask(self, net: QueuedNet, **inputs: FloatArray) -> Mapping[str, Array]:
        """What a network makes of arrays of the host; it stays where it is until the same one is asked again."""
        brought = {name: self._scratch.bring(name, array, net.dtype_of(name)) for name, array in inputs.items()}
        return net.run(brought, self._scratch)

    def _task(self, segment: Segment, turn: int, made: _Made, given: Mapping[str, Array], noise: NoiseSource) -> Task:
        scratch, device, stream = self._scratch, self._scratch.device, self._scratch.stream
        stage = segment.stages[turn]
        window, count = stage.window, len(stage.window.frames)
        size = segment.ends.shape[0], count, *segment.ends.shape[2:]
        begin = (segment.number + turn) * count
        numbers = scratch.bring("numbers", np.arange(begin, begin + count, dtype=np.int64))
        counter, start = NoiseCounter(noise.seed, noise.group, numbers), scratch.take("start", size, np.float32)
        device.normal_noise(counter, start, stream)
        held = None
        if window.held.any() and not self._parity:
            clean = scratch.take("clean", size, np.float32)
            device.apply(fill_zeros, clean, stream=stream)
            for slot in np.flatnonzero(window.held):
                device.copy(clean[:, slot], made.frames[window.frames[slot]], stream)
            held = scratch.bring("held", window.held), clean
        pull, outside = self._pull(segment, turn, made)
        if self._parity and turn == 0 and len(segment.stages) > 1:
            made.early = device.empty((len(self._steps), size[0], 1, *size[2:]), np.float32, stream)
        return Task(
            start=start,
            opening=self._opening,
            steps=self._steps,
            given=given,
            told=self._ask(self._nets.time, t=self._times, fs=self._rates),
            known={0: made.frames[window.frames[0]] if turn else made.first, count - 1: made.last},
            noise=counter,
            held=held,
            pull=pull,
            outside=outside,
            record=made.early if turn == 0 else None,
        )

    def _pull(self, segment: Segment, turn: int, made: _Made) -> tuple[Pull | None, Outside | None]:
        """What pulls at a stage: the first key picture is outside of all stages but the first."""
        weights = self._schedule.guidance
        if weights is None or not weights.any() or not len(segment.course.xy):
            return None, None
        guidance = Guidance(
            [segment.course],
            segment.stages[turn].window,
            (segment.ends.shape[2], segment.ends.shape[3]),
            outside={0: made.first} if turn else {},
            cell=self._cell_px,
            parity=self._parity,
        )
        pull = place_pull(guidance, len(segment.ends), self._scratch)
        if pull is None or pull.outside is None:
            return pull, None
        first, early, last = pull.outside, made.early, self._schedule.steps - 1

        def outside(i: int) -> tuple[Array, float]:
            return (first, self._schedule.level(i)) if early is None else (early[last - i], 1.0)

        return pull, outside


def _divide(out: Array, latents: Array, by: np.float32) -> None:
    out[...] = latents / by
