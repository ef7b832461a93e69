"""CoTracker3 at its published size with random weights: exported, compared with torch, timed, and a whole grid run.

``OMP_NUM_THREADS=1 python -m tgvc_bench.full_tracker -o bench/results/export_cotracker.json``; every part in a process
of its own, one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tgvc.backends.base import load_backend
from tgvc.doctor import find_version
from tgvc.models.bundle import load_bundle
from tgvc.models.contract import FEATURES, UPDATE
from tgvc.types import FloatArray
from tgvc_bench.machine import describe_machine, read_versions, summarise, time_call, time_repeats
from tgvc_bench.records import shorten, write_record

if TYPE_CHECKING:  # torch takes long to import
    from tgvc_export.cotracker.tracker import CoTracker3
    from tgvc_export.precision import Precision

FORMAT = "tgvc-full-tracker 1"
TRACKERS = {"offline": {"window": 60, "sliding": False}, "online": {"window": 16, "sliding": True}}
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
FRAMES, POINTS, GRID_POINTS = 16, 256, 4096
# of an engine: shortest, usual and longest
_LENGTHS = {"N": (1, 8, 32), "T": (2, 16, 60), "K": (1, 4096, 4096)}
_SEED = 20
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "tensorrt-rtx-cu13")
_NOTES = (
    "weights: random; error: the file in ONNX Runtime against torch in float32, in a fresh process, worst of two "
    "cases; a CPU computes halves in float32 where it has no kernel for them",
    "export_s: wall seconds with one thread, both networks traced, written and checked; peak_bytes: of that process",
    "engine: built ahead of time by TensorRT-RTX for SM80, SM86, SM89 and SM120, without a GPU",
    f"runtimes: one update of {POINTS} points in {FRAMES} frames, and features of one picture of 512x384; seconds of "
    "one thread, torch eager against ONNX Runtime in float32, by turns; ratio = torch / ONNX Runtime, smallest wall",
    f"grid: one update of {GRID_POINTS} points in {FRAMES} frames in ONNX Runtime, inputs of 0.5 GB included; a "
    "segment of 24 frames takes 24 of them",
)
_Result = TypeVar("_Result")


def run_full_tracker(output: Path, repeats: int = 5) -> Iterator[str]:
    """Measure everything; yields a line after each part, writes the file after each."""
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": f"python -m tgvc_bench.full_tracker -o {output.name}",
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False) | {name: find_version(name) or "not installed" for name in _PACKAGES},
        "notes": list(_NOTES),
        "exports": {},
    }
    with tempfile.TemporaryDirectory(prefix=".full-tracker-", dir=output.parent) as made:
        for name in TRACKERS:
            for precision in PRECISIONS:
                folder = Path(made) / f"{name}-{precision}"
                found = run_apart(partial(measure_export, name, precision, folder))
                record["exports"][f"{name} {precision}"] = found
                write_record(output, record)
                yield f"{name} {precision}: {found['export_s']} s, {found['peak_bytes']} bytes at most"
        kept = Path(made) / "online-fp32"
        record["runtimes"] = run_apart(partial(compare_runtimes, kept, repeats))
        write_record(output, record)
        yield f"ONNX Runtime against torch: { ({net: v['ratio'] for net, v in record['runtimes'].items()}) }"
        record["grid"] = run_apart(partial(measure_grid, kept))
        write_record(output, record)
        yield f"grid: {record['grid']['wall_s']} s, {record['grid']['peak_bytes']} bytes at most"


def run_apart(call: Callable[[], _Result]) -> _Result:
    """Call in a process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call).result()


def make_tracker(name: str) -> CoTracker3:
    """A tracker of the published size, random weights, the same ones every time."""
    import torch

    from tgvc_export.cotracker.tracker import CoTracker3

    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    options = TRACKERS[name]
    tracker: CoTracker3 = CoTracker3(options["window"], sliding=bool(options["sliding"])).eval()
    return tracker


def measure_export(name: str, precision: Precision, folder: Path) -> dict[str, Any]:
    """Export and check a bundle, and build engines of it.

    Raises:
        BackendUnavailableError: tensorrt_rtx is not installed.
        BackendError: it does not take a network.
    """
    from tgvc_export.cotracker.export import export_tracker
    from tgvc_export.resident import MemoryWatch
    from tgvc_export.trt import build_engine

    tracker = make_tracker(name)
    with MemoryWatch() as watch:
        bundle, spent = time_call(
            lambda: export_tracker(tracker, folder, name="random", revision=precision, precision=precision)
        )
    found: dict[str, Any] = {
        "values": sum(value.numel() for value in tracker.parameters()),
        "export_s": shorten(spent.wall, 3),
        "peak_bytes": watch.own,
        "networks": {},
    }
    for net, record in bundle.nets.items():
        engine, build = time_call(partial(build_engine, record, lengths=_LENGTHS))
        found["networks"][net] = {
            "file_bytes": record.size,
            "error": dict(record.error),
            "engine_bytes": len(engine),
            "engine_s": shorten(build.wall, 3),
        }
    return found


def compare_runtimes(
    folder: Path, repeats: int, points: int = POINTS, tracker: CoTracker3 | None = None
) -> dict[str, Any]:
    """Seconds of both networks of a bundle of `make_tracker`'s in ONNX Runtime and in torch, by turns.

    Args:
        folder: of the bundle, float32.
        repeats: counted runs of each.
        points: of the update.
        tracker: that the bundle was made of; the one of full size if None.
    """
    import torch

    from tgvc_export.cotracker.export import make_examples
    from tgvc_export.cotracker.networks import FeatureNetwork, UpdateNetwork

    torch.set_num_threads(1)
    tracker = tracker or make_tracker("online")
    bundle, backend = load_bundle(folder), load_backend("onnxruntime", threads=1)
    examples = make_examples(tracker, 1, FRAMES, points)
    found: dict[str, Any] = {}
    for net, module in ((FEATURES, FeatureNetwork(tracker)), (UPDATE, UpdateNetwork(tracker))):
        tensors = examples[net]
        arrays = {name: value.numpy() for name, value in tensors.items()}
        ours, theirs = partial(backend.load(bundle.nets[net]).run, **arrays), partial(module.eval(), **tensors)
        spent: dict[str, list[Any]] = {"onnxruntime": [], "torch": []}
        with torch.no_grad():
            for _ in range(repeats):
                spent["onnxruntime"] += time_repeats(ours, 1, warm_up=not spent["onnxruntime"])
                spent["torch"] += time_repeats(theirs, 1, warm_up=not spent["torch"])
        found[net] = {name: summarise(runs) for name, runs in spent.items()}
        ratio = found[net]["torch"]["wall_s"]["min"] / found[net]["onnxruntime"]["wall_s"]["min"]
        found[net]["ratio"] = shorten(ratio, 3)
    return found


def measure_grid(folder: Path, points: int = GRID_POINTS) -> dict[str, Any]:
    """One update of a whole grid in ONNX Runtime without torch: seconds and the largest memory of the process."""
    from tgvc_export.resident import MemoryWatch

    bundle = load_bundle(folder)
    random = np.random.default_rng(_SEED)
    net = load_backend("onnxruntime", threads=1).load(bundle.nets[UPDATE])
    inputs: dict[str, FloatArray] = {}
    for spec in bundle.nets[UPDATE].inputs:
        shape = [{"T": FRAMES, "K": points}.get(str(length)) or int(length) for length in spec.shape]
        inputs[spec.name] = random.standard_normal(shape, np.float32)
    rows, columns = inputs["level0"].shape[2:]
    inputs["coords"] = random.random((FRAMES, points, 2), np.float32) * np.array([columns, rows], np.float32)
    with MemoryWatch() as watch:
        _, spent = time_call(lambda: net.run(**inputs))
    return {
        "points": points,
        "frames": FRAMES,
        "wall_s": shorten(spent.wall, 3),
        "cpu_s": shorten(spent.cpu, 3),
        "peak_bytes": watch.own,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(prog="python -m tgvc_bench.full_tracker", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="JSON")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for line in run_full_tracker(given.output, given.repeats):
        print(line, file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
