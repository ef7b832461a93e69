"""Trajectories of the segments in a window, as a pull at its latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tgvc.diffusion.windows import Window
from tgvc.errors import ConfigError
from tgvc.types import BoolArray, FloatArray, IntArray, check_array
from tgvc_kernels import ops
from tgvc_kernels.plan import GuidancePlan

CELL_PX, RADIUS = 8, 2
PARITY_SLOTS = 16


@dataclass(frozen=True)
class Course:
    """Where the points of one segment are in each of its frames.

    ``first``: number of the segment's first key frame, on the scale of `Window.frames`. ``xy`` float32 (K, n, 2) px of
    the working size, for the n frames from key to key, both included. ``visible`` bool (K, n).
    """

    first: int
    xy: FloatArray
    visible: BoolArray

    def __post_init__(self) -> None:
        check_array("xy", self.xy, np.float32, (None, None, 2))
        check_array("visible", self.visible, np.bool_, self.xy.shape[:2])
        if self.xy.shape[1] < 2:
            raise ValueError(f"xy: expected at least 2 frames, got {self.xy.shape[1]}")

    @property
    def last(self) -> int:
        """Number of the segment's last key frame."""
        return self.first + int(self.xy.shape[1]) - 1


class Guidance:
    """The ``correct`` of a sampler for one window.

    Looks at ``z = base + scale * x0``: at the latents that will be shown, where the sampler works on what is missing
    from a base. The references of a segment are its key frames: as they are in z, where the window shows them, else as
    they came out of an earlier window.

    Args:
        courses: trajectories of all segments that the window touches; segments may share key frames, nothing else.
        window: what is denoised.
        size: h, w of the latents, cells.
        base: float32 (C, T, h, w), 0 by default.
        scale: number, or float32 (C,), that x0 is multiplied with.
        outside: latents z float32 (C, h, w) of frames that are not in the window, by number. Only key frames are used.
        cell: px per latent cell.
        mean: every cell is pulled by the mean of what pulls there, not by the sum, so that the pull does not grow with
            the number of trajectories.
        parity: published weights, windows and positions, for one segment and the windows of form ``parity``. The second
            stage needs the first key frame in ``outside`` (the published sampler compares with its noisy state).

    Raises:
        ConfigError: Segments that overlap, or one that the published form cannot guide.

    Source: T-GVC, trajectory-aligned latent guidance. Several segments and outside references are our own.
    """

    def __init__(
        self,
        courses: Sequence[Course],
        window: Window,
        size: tuple[int, int],
        *,
        base: FloatArray | None = None,
        scale: float | FloatArray = 1.0,
        outside: Mapping[int, FloatArray] | None = None,
        cell: int = CELL_PX,
        mean: bool = False,
        parity: bool = False,
    ) -> None:
        courses = sorted(courses, key=lambda course: course.first)
        for before, course in pairwise(courses):
            if course.first < before.last:
                raise ConfigError(f"courses: the segments from {before.first} and from {course.first} overlap")
        slot = {frame: n for n, frame in enumerate(window.frames)}
        stored = {
            f: z for f, z in (outside or {}).items() if f not in slot and any(f in (c.first, c.last) for c in courses)
        }
        volume = slot | {frame: len(slot) + n for n, frame in enumerate(stored)}
        shape = (len(slot), *size)
        plans = []
        for course in courses:
            xy, visible, slots = _published(course, window) if parity else _timed(course, window, slot, volume)
            if parity:
                if course.first not in volume:
                    raise ConfigError(
                        f"outside: expected the latents of key frame {course.first}, which stage 2 looks at"
                    )
                slots[0] = volume[course.first]
            plans.append(ops.guidance_plan(xy, visible, slots, shape, cell, RADIUS, parity))
        self.plan = _join(plans, shape)
        self.base, self.outside = base, list(stored.values())
        self.shares = _pulls_per_cell(self.plan) if mean and self.plan.cells.size else None
        self.scale = np.float32(scale) if np.ndim(scale) == 0 else np.asarray(scale, np.float32)[:, None, None, None]

    def __call__(self, x0: FloatArray, i: int) -> FloatArray | None:
        """Gradient float32 (C, T, h, w) at an estimate; None where nothing pulls. ``i`` has no part in it."""
        if not self.plan.cells.size:
            return None
        z = self.scale * x0 if self.base is None else self.base + self.scale * x0
        volume = np.concatenate([z, np.stack(self.outside, axis=1)], axis=1) if self.outside else None
        gradient = ops.guidance_gradient(z, self.plan, volume, volume)
        if self.shares is not None:
            gradient.reshape(len(gradient), -1)[:, self.plan.cells] /= self.shares
        return gradient


def _pulls_per_cell(plan: GuidancePlan) -> FloatArray:
    """Sum of the weights at every cell of a plan that has any, float32 (M,)."""
    halves = plan.first_halves.astype(np.int64) + plan.last_halves
    return np.asarray(np.maximum(np.add.reduceat(halves, plan.rows[:-1]), 1) / 2, np.float32)


def _timed(
    course: Course, window: Window, slot: Mapping[int, int], volume: Mapping[int, int]
) -> tuple[FloatArray, BoolArray, IntArray]:
    """All frames of a segment; those that are held, or not in the window, are not pulled."""
    frames = range(course.first, course.last + 1)
    slots = [slot[f] if f in slot and not window.given[slot[f]] else -1 for f in frames]
    slots[0], slots[-1] = volume.get(course.first, -1), volume.get(course.last, -1)
    return course.xy, course.visible, np.array(slots, np.int64)


def _published(course: Course, window: Window) -> tuple[FloatArray, BoolArray, IntArray]:
    """The 16 samples of a stage: the position in slot 0 is always that of the first key frame."""
    if len(window.frames) != PARITY_SLOTS or window.frames[-1] != course.last or window.frames[0] < course.first:
        raise ConfigError(
            f"parity: expected {PARITY_SLOTS} slots that end on the segment's last frame {course.last}, "
            f"got {len(window.frames)} that end on {window.frames[-1]}"
        )
    samples = [f - course.first for f in window.frames]
    samples[0] = 0
    return course.xy[:, samples], course.visible[:, samples], np.arange(PARITY_SLOTS)


def _join(plans: Sequence[GuidancePlan], size: tuple[int, int, int]) -> GuidancePlan:
    """One plan of several, whose cells are in different frames and in order of time."""
    if len(plans) == 1:
        return plans[0]
    if not plans:
        none, small = np.zeros(0, np.int32), np.zeros(0, np.int8)
        return GuidancePlan(size, none, np.zeros(1, np.int32), none, none, small, small)
    offsets = np.cumsum([0, *(plan.first.size for plan in plans)])
    rows = [plan.rows[1:] + offset for plan, offset in zip(plans, offsets, strict=False)]
    first, last, alpha, beta = (np.concatenate([plan[n] for plan in plans]) for n in (3, 4, 5, 6))
    cells = np.concatenate([plan.cells for plan in plans])
    return GuidancePlan(size, cells, np.concatenate([[0], *rows]).astype(np.int32), first, last, alpha, beta)
