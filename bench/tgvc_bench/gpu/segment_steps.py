"""Whole segments with networks of full size: what the product's own loop takes, and how much of it is no network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.backends.base import load_backend
from tgvc.devices.base import HOST
from tgvc.devices.choice import find_device
from tgvc.errors import BackendError
from tgvc.models.interpolation import InterpolationNetworks
from tgvc.overlap import StageClock
from tgvc.synthesis.group import DecodedGroup, GroupGenerator
from tgvc.synthesis.interpolation.generator import STRENGTH, InterpolationGenerator, InterpolationOptions
from tgvc.synthesis.interpolation.setup import read_prompts
from tgvc.types import Motion, Picture, join_planes
from tgvc_bench.gpu.backend_steps import describe_backend
from tgvc_bench.gpu.bundle_steps import open_bundle
from tgvc_bench.gpu.sizes import Sizes
from tgvc_bench.gpu.timing import measure_energy, used_memory
from tgvc_bench.protocol.agreement import require
from tgvc_bench.protocol.latency import measure_runs, summarise_runs, warm_up
from tgvc_bench.protocol.schema import SINGLE_STREAM
from tgvc_bench.protocol.stages import SpanClock, break_down
from tgvc_bench.records import shorten
from tgvc_bench.timed.plain import compare_frames

NETWORKS = ("denoise", "decode")  # stages that are networks and the steps between them


def measure_segment(
    sizes: Sizes, folder: Path, have: frozenset[str], name: str, steps: int, scale: float
) -> Iterator[dict[str, Any]]:
    """The row of one segment between two key pictures, from parsed layers to pictures in host memory.

    Before it is timed, its frames are compared with those of the same networks under the loop of the processor, which
    shares no kernel, no graph and no stream with that of the GPU.

    Args:
        sizes: of everything.
        folder: of the run.
        have: keys of rows that are there.
        name: of the backend.
        steps: of denoising.
        scale: of the guidance without a classifier; 1 = none, one run of the UNet per step.
    """
    runs = 1 if scale == 1 else 2
    key = f"segment {steps}x{runs} {name}"
    if key in have:
        return
    bundle, backend = open_bundle(folder), load_backend(name)
    networks = InterpolationNetworks(bundle, backend)
    options = InterpolationOptions(steps=steps, scale=scale, guidance=STRENGTH)
    prompts = read_prompts(bundle, "")

    def make(place: str) -> InterpolationGenerator:
        return InterpolationGenerator(networks, options, prompts, {}, find_device(place))

    group = make_group(sizes, sizes.segment_size)
    generator = make(backend.device)
    began = time.perf_counter()
    got = paint(generator, group)
    first_s = time.perf_counter() - began
    if np.std(np.stack(got[1:-1]), axis=0).max(initial=0) < 1:
        raise BackendError(f"{key}: all frames are alike; nothing can be told from them")
    agreement = require(key, compare_frames(got, paint(make(HOST), group), networks=True, by="the processor's loop"))

    def run() -> None:
        paint(generator, group)

    warm = warm_up(run, sizes.budget)
    seconds = measure_runs(run, sizes.budget)
    clock = SpanClock()
    began = time.perf_counter()
    for _ in generator.render_group(group, clock):
        pass
    parts = break_down(clock.spans, began, time.perf_counter())
    busy = sum(parts.stages.get(stage, 0.0) for stage in NETWORKS)
    yield {
        "key": key,
        "name": f"segment {steps}x{runs}",
        "scenario": SINGLE_STREAM,
        "backend": describe_backend(backend),
        "device": backend.device,
        "precision": next(iter(bundle.nets.values())).precision,
        "agreement": agreement,
        "steps": steps,
        "runs_of_unet": steps * runs,
        "frames": group.frames,
        "latency": summarise_runs(seconds),
        "warm_up": warm.as_dict(),
        "breakdown": parts.as_dict(),
        "overhead": shorten(1 - busy / parts.whole_s, 3),
        "frames_per_second": shorten(group.frames / min(seconds), 4),
        "first_s": shorten(first_s, 4),
        **used_memory(),
        **measure_energy(sizes, run, lambda: None),
    }


def paint(generator: GroupGenerator, group: DecodedGroup) -> list[Picture]:
    """All frames of a group."""
    return list(generator.render_group(group, StageClock()))


def make_group(sizes: Sizes, size: tuple[int, int], segments: int = 1) -> DecodedGroup:
    """Moving waves of ``size`` px: key pictures at the ends of segments, and trajectories on smooth random paths."""
    keys = [make_key(n * (sizes.frames - 1), size) for n in range(segments + 1)]
    motions = [(make_motion(sizes, size, seed), sizes.frames) for seed in range(segments)]
    return DecodedGroup(number=1, seed=0, keys=keys, motions=motions, fine=0.5)


def make_key(moment: int, size: tuple[int, int]) -> Picture:
    """A picture of waves that drift: I420 uint8 (3H/2, W)."""
    (width, height), rng = size, np.random.default_rng(0)
    planes = []
    for shape, count in (((height, width), 9), ((height // 2, width // 2), 3), ((height // 2, width // 2), 3)):
        y, x = np.mgrid[: shape[0], : shape[1]]
        plane = np.full(shape, 128.0)
        for angle, period, speed in rng.uniform((0, 8, -2), (np.pi, 80, 2), (count, 3)):
            plane += 11 * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle) - speed * moment) / period)
        planes.append(np.clip(plane, 16, 235).astype(np.uint8))
    return join_planes(*planes)


def make_motion(sizes: Sizes, size: tuple[int, int], seed: int) -> Motion:
    """Motion of mode G of a segment: `Sizes.points` trajectories, no global model."""
    rng, count, length = np.random.default_rng(seed), sizes.points, sizes.frames - 1
    anchors = rng.uniform(0, 1, (count, 2)) * size
    speeds = rng.normal(0, 2, (count, 1, 2)) * np.arange(1, length + 1)[:, None]
    return Motion(
        mode="G",
        model=np.zeros((length, 4, 2), np.float32),
        phase=np.zeros(length, np.float32),
        anchors=anchors.astype(np.float32),
        from_last=np.zeros(count, np.bool_),
        tracks=(speeds + rng.normal(0, 0.3, speeds.shape)).astype(np.float32),
        visible=np.ones((count, length), np.bool_),
    )
