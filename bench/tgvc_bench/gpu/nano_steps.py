"""The bundle ``nano``: frames per second with one stream and with several at once, on every backend."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tgvc.backends.base import load_backend
from tgvc.config import DecoderConfig
from tgvc.generators import make_generator
from tgvc.models.bundle import load_bundle
from tgvc_bench.gpu.backend_steps import describe_backend
from tgvc_bench.gpu.segment_steps import make_group, paint
from tgvc_bench.gpu.sizes import Sizes
from tgvc_bench.protocol.agreement import require
from tgvc_bench.protocol.schema import OFFLINE
from tgvc_bench.records import shorten
from tgvc_bench.timed.plain import PLAIN_BACKEND, compare_frames, reference_kernels

_SEGMENTS = 4
_STEPS = 4


def measure_nano(sizes: Sizes, have: frozenset[str], name: str) -> Iterator[dict[str, Any]]:
    """Rows of painting groups of four segments with the bundle ``nano``, one row per number of groups at once."""
    wanted = [jobs for jobs in sizes.jobs if f"nano {name} {jobs}" not in have]
    if not wanted:
        return
    bundle, backend = load_bundle("nano"), load_backend(name)
    generator = make_generator(DecoderConfig(generator="latent", steps=_STEPS), (bundle, backend))
    group = make_group(sizes, sizes.size, 1 if sizes.dry else _SEGMENTS)
    got = paint(generator, group)
    with reference_kernels():
        slow = make_generator(
            DecoderConfig(generator="latent", steps=_STEPS, threads=1), (bundle, load_backend(PLAIN_BACKEND))
        )
        want = paint(slow, group)
    agreement = require(f"nano on {name}", compare_frames(got, want, networks=True))
    for jobs in wanted:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda _: paint(generator, group), range(jobs)))  # memory of all lanes, graphs
            began, done = time.perf_counter(), 0
            while not done or time.perf_counter() - began < sizes.budget.seconds:
                done += sum(len(frames) for frames in pool.map(lambda _: paint(generator, group), range(2 * jobs)))
            spent = time.perf_counter() - began
        yield {
            "key": f"nano {name} {jobs}",
            "name": "nano bundle",
            "scenario": OFFLINE,
            "backend": describe_backend(backend),
            "device": backend.device,
            "precision": next(iter(bundle.nets.values())).precision,
            "agreement": agreement,
            "steps": _STEPS,
            "batch": jobs,
            "seconds": shorten(spent, 4),
            "done": done,
            "per_second": shorten(done / spent, 4),
            "unit": "frames",
        }
