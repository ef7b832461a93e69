"""How the trajectories of a window's segments pull at its latents, while they are being sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tgvc.synthesis.paths import Paths
from tgvc.types import FloatArray
from tgvc_kernels import ops
from tgvc_kernels.plan import GuidancePlan


class Span(NamedTuple):
    """Trajectories of one segment: ``paths`` over its frames, the first of which is frame ``first`` of the group.

    ``keys``: numbers of the key pictures at both ends.
    """

    paths: Paths
    first: int
    keys: tuple[int, int]


def plan_pull(
    spans: Sequence[Span],
    window: tuple[int, int],
    keys: Sequence[int],
    size: tuple[int, int],
    cell_px: int,
    radius: int,
) -> GuidancePlan:
    """One plan for all segments that a window touches.

    Args:
        spans: in order of time.
        window: first frame, and the frame after the last, of the group.
        keys: numbers of the key pictures in the reference volume, in its order.
        size: h, w in latent cells.
        cell_px: width and height of a cell, px.
        radius: cells on each side of a point that are pulled with it.
    """
    start, stop = window
    plans = []
    for span in spans:
        frames = np.arange(span.first, span.first + span.paths.xy.shape[1])
        slots = np.where((frames >= start) & (frames < stop), frames - start, -1).astype(np.int64)
        slots[0], slots[-1] = keys.index(span.keys[0]), keys.index(span.keys[1])
        shape = (stop - start, *size)
        plans.append(ops.guidance_plan(span.paths.xy, span.paths.visible, slots, shape, cell_px, radius))
    # what is pulled in different segments are different frames, so that rows stay in order and none occurs twice
    sizes = np.cumsum([0, *(len(plan.first) for plan in plans)])
    rows = [plan.rows[1:] + base for plan, base in zip(plans, sizes, strict=False)]
    joined = (
        np.concatenate([np.zeros(0, dtype), *(getattr(plan, name) for plan in plans)])
        for name, dtype in (
            ("cells", np.int32),
            ("first", np.int32),
            ("last", np.int32),
            ("first_halves", np.int8),
            ("last_halves", np.int8),
        )
    )
    cells, first, last, first_halves, last_halves = joined
    all_rows = np.concatenate([np.zeros(1, np.int32), *rows]).astype(np.int32)
    return GuidancePlan((stop - start, *size), cells, all_rows, first, last, first_halves, last_halves)


def make_correction(
    plans: Sequence[GuidancePlan], base: FloatArray, scale: float, references: Callable[[FloatArray], FloatArray]
) -> Callable[[FloatArray, int], FloatArray | None]:
    """The ``correct`` of a sampler.

    Args:
        plans: whose pulls are added up.
        base: float32 (C, T, h, w), what the residual is added to.
        scale: what the residual is multiplied with before that.
        references: from the latents of the window to those of the key pictures, float32 (C, R, h, w).
    """

    def correct(clean: FloatArray, step: int) -> FloatArray | None:
        latents = base + np.float32(scale) * clean
        known = references(latents)
        pulls = [ops.guidance_gradient(latents, plan, known, known) for plan in plans if len(plan.cells)]
        return np.asarray(sum(pulls[1:], pulls[0]), np.float32) if pulls else None

    return correct
