"""The pull of trajectories at latents: our closed form against autograd of the published loss, window by window.

The published sampler adds up one small loss per track and frame and calls autograd once per motion instance. Both
answers must be the same to the bit before anything is timed. All in one run, one thread each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.errors import BackendError, BackendUnavailableError
from tgvc_bench.machine import describe_machine, read_versions, summarise, time_repeats
from tgvc_bench.records import shorten, write_record
from tgvc_kernels import ops
from tgvc_kernels.plan import GuidancePlan

FORMAT = "tgvc-guidance 1"
GOAL = 100.0  # times faster than autograd window by window
TRACKS = (15, 128, 600)  # one instance as sent; a rich segment; the published worst case, 20 instances of 30
_PER_INSTANCE = 30
_FRAMES, _HEIGHT, _WIDTH, _CELL, _RADIUS = 16, 40, 64, 8, 2
_NOTES = (
    "closed form: the Numba kernel on one thread; plan: its one-off cost per window of frames, not in the ratio",
    "per window: torch autograd on one CPU thread, a loss per track and frame, one backward pass per 30 tracks; its "
    "geometry is worked out beforehand and not timed",
    "batched: torch autograd too, but all windows gathered by one index; what vectorising alone would give",
    "ratio: smallest time against smallest time; all answers are the same to the bit",
)
_Latents = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Patch:
    """One track in one frame: the window there and those in the references, as slices, and the two weights."""

    slot: int
    here: tuple[slice, slice]
    first: tuple[slice, slice]
    last: tuple[slice, slice]
    alpha: float
    beta: float


def make_tracks(count: int, seed: int = 0) -> tuple[_Latents, npt.NDArray[np.bool_]]:
    """Straight tracks with a little jitter, float32 (count, 16, 2) px and bool (count, 16); some leave the picture."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 1, (count, 1, 2)) * (_WIDTH * _CELL, _HEIGHT * _CELL)
    path = start + rng.normal(0, 4, (count, 1, 2)) * np.arange(_FRAMES)[:, None]
    return (path + rng.normal(0, 1, path.shape)).astype(np.float32), rng.random((count, _FRAMES)) > 0.05


def list_patches(xy: _Latents, visible: npt.NDArray[np.bool_]) -> list[Patch]:
    """All windows that the loss of some tracks is made of, point by point: the plan's rules said in another way."""
    found = []
    limits = _HEIGHT, _WIDTH
    for track, seen in zip(xy, visible, strict=True):
        cells = [(math.floor(y / _CELL), math.floor(x / _CELL)) for x, y in track]
        valid = [bool(s) and 0 <= y < _HEIGHT and 0 <= x < _WIDTH for s, (y, x) in zip(seen, cells, strict=True)]
        for slot in range(1, _FRAMES - 1):
            alpha, beta = _weights(slot / (_FRAMES - 1), valid[0], valid[-1])
            if not valid[slot] or alpha + beta == 0:
                continue
            used = [cells[slot]] + [cells[0]] * (alpha > 0) + [cells[-1]] * (beta > 0)
            low = [max(-_RADIUS, *(-c[axis] for c in used)) for axis in (0, 1)]
            high = [min(_RADIUS, *(limits[axis] - 1 - c[axis] for c in used)) + 1 for axis in (0, 1)]
            spans = [
                (slice(y + low[0], y + high[0]), slice(x + low[1], x + high[1]))
                for y, x in (cells[slot], cells[0], cells[-1])
            ]
            found.append(Patch(slot, spans[0], spans[1], spans[2], alpha, beta))
    return found


def _weights(u: float, first: bool, last: bool) -> tuple[float, float]:
    if first and last:
        beta = 0.0 if u < 0.375 else 1.0 if u > 0.625 else 0.5
        return 1 - beta, beta
    return float(first), float(last)


def differentiate_patches(torch: Any, z: Any, instances: Sequence[Sequence[Patch]]) -> Any:
    """Minus the gradient of the loss at a tensor (C, T, h, w), one backward pass per instance."""
    leaf = z.clone().requires_grad_()
    start, end = z[:, 0], z[:, -1]
    total = torch.zeros_like(z)
    for patches in instances:
        loss = torch.zeros(())
        for patch in patches:
            window = leaf[:, patch.slot, *patch.here]
            if patch.alpha:
                loss = loss + patch.alpha * (start[:, *patch.first] - window).abs().sum()
            if patch.beta:
                loss = loss + patch.beta * (end[:, *patch.last] - window).abs().sum()
        if patches:
            total -= torch.autograd.grad(loss, leaf)[0]
    return total


def differentiate_batch(torch: Any, z: Any, plan: GuidancePlan) -> Any:
    """The same gradient from one loss over all entries of a plan."""
    leaf = z.clone().requires_grad_()
    flat, still = leaf.flatten(1), z.flatten(1)
    here = flat[:, torch.from_numpy(np.repeat(plan.cells, np.diff(plan.rows)))]
    loss = sum(
        (torch.from_numpy(halves / np.float32(2)) * (still[:, torch.from_numpy(index)] - here).abs()).sum()
        for index, halves in ((plan.first, plan.first_halves), (plan.last, plan.last_halves))
    )
    return -torch.autograd.grad(loss, leaf)[0]


def measure_case(torch: Any, count: int, channels: int, repeats: int) -> dict[str, Any]:
    """Times, ms, of all ways to the gradient of ``count`` tracks at random latents.

    Raises:
        BackendError: Two of them disagree.
    """
    xy, visible = make_tracks(count)
    size = _FRAMES, _HEIGHT, _WIDTH
    z = np.random.default_rng(1).standard_normal((channels, *size)).astype(np.float32)
    patches = [
        list_patches(xy[k : k + _PER_INSTANCE], visible[k : k + _PER_INSTANCE]) for k in range(0, count, _PER_INSTANCE)
    ]
    make_plan = functools.partial(ops.guidance_plan, xy, visible, np.arange(_FRAMES), size, _CELL, _RADIUS)
    plan = make_plan()
    tensor = torch.from_numpy(z)
    calls = {
        "closed_form": (functools.partial(ops.guidance_gradient, z, plan), 10 * repeats),
        "per_window": (functools.partial(differentiate_patches, torch, tensor, patches), repeats),
        "batched": (functools.partial(differentiate_batch, torch, tensor, plan), 3 * repeats),
    }
    want = calls["closed_form"][0]()
    for name in ("per_window", "batched"):
        check_gradient(name, calls[name][0]().numpy(), want)
    times = {name: summarise(time_repeats(call, runs))["wall_s"] for name, (call, runs) in calls.items()}
    times["plan"] = summarise(time_repeats(make_plan, 10 * repeats))["wall_s"]
    return {
        "tracks": count,
        "windows": sum(map(len, patches)),
        "entries": int(plan.first.size),
        **{f"{name}_ms": {k: shorten(1000 * v, 4) for k, v in t.items()} for name, t in times.items()},
        "ratio": shorten(times["per_window"]["min"] / times["closed_form"]["min"], 4),
        "ratio_to_batched": shorten(times["batched"]["min"] / times["closed_form"]["min"], 4),
    }


def check_gradient(name: str, got: _Latents, want: _Latents) -> None:
    """Raise BackendError unless two gradients are the same to the bit."""
    if not np.array_equal(got, want):
        wrong = np.count_nonzero(got != want) if got.shape == want.shape else want.size
        raise BackendError(
            f"guidance: {name} and the closed form differ at {wrong} places; a timing would mean nothing"
        )


def run_guidance(output: Path, tracks: Sequence[int] = TRACKS, channels: int = 4, repeats: int = 3) -> Iterator[str]:
    """Measure all cases; yields a line of text after each, writes the file at the end.

    Raises:
        BackendUnavailableError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailableError("guidance: torch is not installed: pip install torch") from error
    counts = " ".join(f"--tracks {n}" for n in tracks)
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": f"tgvc-bench guidance {counts} --channels {channels} --repeats {repeats}",
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False) | {"torch": torch.__version__},
        "latents": [channels, _FRAMES, _HEIGHT, _WIDTH],
        "notes": list(_NOTES),
        "cases": [],
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for count in tracks:
            case = measure_case(torch, count, channels, repeats)
            record["cases"].append(case)
            yield (
                f"{count} tracks: {case['ratio']} x autograd per window, {case['ratio_to_batched']} x batched "
                f"autograd; {case['closed_form_ms']['min']} ms, plan {case['plan_ms']['min']} ms"
            )
    finally:
        torch.set_num_threads(threads)
    record["goal"] = {"ratio": GOAL, "met": all(case["ratio"] >= GOAL for case in record["cases"])}
    record["machine"]["load_at_end"] = describe_machine()["load"]
    write_record(output, record)
