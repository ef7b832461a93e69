"""Every kernel against its NumPy reference: the same answer first, then the time of one call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tgvc.errors import BackendError
from tgvc.synthesis.flow import CELL
from tgvc_bench.machine import summarise, time_repeats
from tgvc_bench.records import shorten
from tgvc_kernels import ops

TOLERANCE = 1e-5  # of the largest value: what the references promise where a power or a long sum is rounded
_TRACKS = 16  # trajectories of a segment
_REACH = 35.0  # cells
_FEATURES = 16  # channels of what is moved forwards


def make_arguments(width: int, height: int, seed: int = 0) -> dict[str, tuple[Any, ...]]:
    """Arguments of every kernel as one frame of ``width`` x ``height`` px would give them; the same for a seed."""
    rng = np.random.default_rng(seed)
    h, w = height // CELL, width // CELL
    field = _smooth(rng, h, w)
    centres = (rng.uniform(0, 1, (_TRACKS, 2)) * (w, h)).astype(np.float32)
    plane = rng.integers(0, 256, (height, width), dtype=np.uint8)
    a = plane.astype(np.float32)
    b = np.clip(a + rng.normal(0, 8, a.shape), 0, 255).astype(np.float32)
    trust = rng.uniform(0.05, 1, (2, h, w)).astype(np.float32)
    return {
        "sample_field": (field, field + np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).astype(np.float32)),
        "project": (field, 0.5),
        "shift": (field, _smooth(rng, h, w)),
        "densify": (centres, rng.normal(0, 3, (_TRACKS, 2)).astype(np.float32), h, w, _REACH),
        "splat": (rng.uniform(-4, 4, (_FEATURES, h, w)).astype(np.float32), field),
        "warp": (plane, field),
        "blend_weights": (a, b, trust[0], trust[1], 0.5),
        "mix": (a, b, trust[0]),
    }


def _smooth(rng: np.random.Generator, h: int, w: int) -> npt.NDArray[np.float32]:
    """Displacements of a few cells, float32 (h, w, 2), that vary slowly."""
    y, x = np.mgrid[:h, :w] / 40.0
    phases = rng.uniform(0, 6, 4)
    waves = [3 * np.sin(x + phases[2 * i]) * np.cos(y + phases[2 * i + 1]) for i in range(2)]
    return np.stack(waves, -1).astype(np.float32)


def time_kernels(width: int, height: int, repeats: int) -> dict[str, Any]:
    """Per kernel the time of ``cpu`` and ``reference``, ms, and how many times faster ``cpu`` is.

    Raises:
        BackendError: The two disagree by more than `TOLERANCE`.
    """
    result: dict[str, Any] = {}
    for name, arguments in make_arguments(width, height).items():
        run = cast("Callable[..., npt.NDArray[Any]]", getattr(ops, name))
        want, got = run(*arguments, implementation="reference"), run(*arguments, implementation="cpu")
        check_answer(name, got, want)
        times = {}
        for implementation in ("cpu", "reference"):
            call = functools.partial(run, *arguments, implementation=implementation)
            times[implementation] = summarise(time_repeats(call, repeats))["wall_s"]
        result[name] = {
            "cpu_ms": {k: shorten(1000 * v, 4) for k, v in times["cpu"].items()},
            "reference_ms": {k: shorten(1000 * v, 4) for k, v in times["reference"].items()},
            "ratio": shorten(times["reference"]["min"] / times["cpu"]["min"], 3),
        }
    return result


def check_answer(name: str, got: npt.NDArray[Any], want: npt.NDArray[Any]) -> None:
    """Raise BackendError unless two results are the same within `TOLERANCE`."""
    largest = max(1.0, float(np.abs(want).max(initial=0)))
    if got.shape != want.shape or not np.allclose(got, want, rtol=0, atol=TOLERANCE * largest):
        raise BackendError(f"kernel {name}: cpu and reference disagree; a timing would mean nothing")
