"""The frames of one segment in latents: its stages one after the other, guided by its trajectories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tgvc.diffusion.guidance import Course, Guidance
from tgvc.diffusion.noise import NoiseSource
from tgvc.diffusion.sampler import Correct, Denoise, Hold, OnStep, Options, ddim
from tgvc.diffusion.schedule import Schedule
from tgvc.models.interpolation import InterpolationCalls
from tgvc.synthesis.interpolation.conditioning import Condition, make_denoiser, place_ends
from tgvc.synthesis.interpolation.stages import Stage
from tgvc.types import FloatArray


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


class SegmentSampler:
    """Runs the stages of segments.

    Args:
        calls: the networks.
        schedule: timesteps and weights; with weights of 0 nothing pulls.
        scale: of the guidance without a classifier.
        rescale: of its result, 0..1.
        parity: as published: stages share no frame but one, compare with what is still noise, and end on noise.
    """

    def __init__(
        self, calls: InterpolationCalls, schedule: Schedule, *, scale: float, rescale: float, parity: bool
    ) -> None:
        self._calls, self._schedule = calls, schedule
        self._scale, self._rescale, self._parity = scale, rescale, parity

    def sample(self, segment: Segment, condition: Condition, noise: NoiseSource, step: OnStep) -> dict[int, FloatArray]:
        """Latents float32 (C, h, w) of the frames between the keys, by their numbers in the segment.

        Args:
            segment: to be painted.
            condition: of both runs of the UNet.
            noise: of the group.
            step: told of every step.
        """
        first, last = segment.ends[:, 0], segment.ends[:, 1]
        made: dict[int, FloatArray] = {}  # every frame of every stage
        shown: dict[int, FloatArray] = {}
        early: list[FloatArray] = []  # noisy latents of slot 0 of the first stage, by step
        for turn, stage in enumerate(segment.stages):
            window = stage.window
            start = made[window.frames[0]] if turn else first
            known = place_ends(start, last, len(window.frames))
            size = known.shape[0], *known.shape[2:]
            begin = (segment.number + turn) * len(window.frames)
            numbers = range(begin, begin + len(window.frames))
            denoise = make_denoiser(self._calls, condition, known)
            if turn == 0:
                denoise = _recording(denoise, early)
            hold = None
            if window.held.any() and not self._parity:
                clean = np.zeros_like(known)
                clean[:, window.held] = np.stack([made[f] for f in np.array(window.frames)[window.held]], axis=1)
                hold = Hold(window.held, clean)
            latents = ddim(
                denoise,
                noise.field(numbers, size),
                self._schedule,
                noise.steps(numbers, size),
                self._pull(segment, stage, turn, early),
                step,
                Options(hold=hold, scale=self._scale, rescale=self._rescale, noisy=self._parity),
            )
            if not self._parity:
                latents /= np.float32(self._schedule.level(0))  # the published code leaves this factor in its result
            made |= {frame: latents[:, slot] for slot, frame in enumerate(window.frames) if not window.given[slot]}
            shown |= {frame: latents[:, slot] for frame, slot in stage.shown.items()}
        return shown

    def _pull(self, segment: Segment, stage: Stage, turn: int, early: list[FloatArray]) -> Correct | None:
        """What pulls at a stage: the first key picture is outside of all stages but the first."""
        weights = self._schedule.guidance
        if weights is None or not weights.any() or not len(segment.course.xy):
            return None
        first, steps = segment.ends[:, 0], self._schedule.steps
        guidance = Guidance(
            [segment.course],
            stage.window,
            (first.shape[1], first.shape[2]),
            outside={0: first} if turn else {},
            cell=self._calls.constants.cell_px,
            parity=self._parity,
        )

        def correct(x0: FloatArray, i: int) -> FloatArray | None:
            if guidance.outside:
                level = np.float32(self._schedule.level(i))
                guidance.outside = [early[steps - 1 - i] if self._parity else level * first]
            return guidance(x0, i)

        return correct


def _recording(denoise: Denoise, early: list[FloatArray]) -> Denoise:
    def record(x: FloatArray, t: float) -> FloatArray | tuple[FloatArray, FloatArray]:
        early.append(x[:, 0].copy())
        return denoise(x, t)

    return record
