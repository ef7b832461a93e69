"""Memory of loading a checkpoint with the published names and layout, a quarter of its size, by three ways.

``python -m tgvc_bench.loading -o bench/results/export_loading.json``; every way in a process of its own. Weights are
random; the checkpoint is deleted afterwards. With ``--export`` the record is given what the whole export takes.
"""

from __future__ import annotations

import argparse
import gc
import math
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgvc.memory import release_memory
from tgvc_bench.machine import describe_machine, read_versions, time_call
from tgvc_bench.records import read_record, write_record

if TYPE_CHECKING:  # torch takes long to import
    from tgvc_export.dynamicrafter.published import PublishedSizes

FORMAT = "tgvc-loading 1"
PUBLISHED_BYTES = 10_437_548_346
_NOTES = (
    "own_peak_bytes: largest memory of the process itself, Python and torch included (start_bytes: what they take); "
    "resident_peak_bytes: the same with pages of the mapped file, which the system drops when it needs them",
    "float32, float16: tgvc's loader; every network filled on meta and let go before the next one",
    "export: the whole of tgvc export with --precision fp16, without its checks, which run beside it",
    "usual: torch.load into memory and load_state_dict into modules that have memory of their own, all at once",
    "scaled_peak_bytes: own_peak_bytes - start_bytes, times the published file's bytes / this file's, plus "
    "start_bytes; tgvc's loader takes the largest network in halves instead, 2.9 GB for the published UNet",
)


def quarter_sizes() -> PublishedSizes:
    """The published networks with a narrower UNet and a lower image tower: a quarter of the bytes."""
    from tgvc_export.dynamicrafter.published import PublishedSizes

    sizes = PublishedSizes()
    return replace(
        sizes,
        unet=replace(sizes.unet, model_channels=128),
        image=replace(sizes.image, layers=4),
        text=replace(sizes.text, layers=8),
    )


def write_checkpoint(path: Path) -> int:
    """A Lightning checkpoint of random float32 weights; gives its bytes."""
    import torch

    from tgvc_export.dynamicrafter.published import PREFIXES, schedule_buffers
    from tgvc_export.openclip.image import leftover_tensors

    sizes, random = quarter_sizes(), torch.Generator().manual_seed(3)
    shapes = {part.prefix + name: shape for part in sizes.parts().values() for name, shape in part.shapes.items()}
    shapes |= {PREFIXES["image tower"] + name: shape for name, shape in leftover_tensors(sizes.text).items()}
    state = {name: torch.tensor(values) for name, values in schedule_buffers().items()}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=random)
        if len(shape) < 2:  # norms near 1, small biases
            state[name] = noise.mul_(0.1).add_(1.0 if name.endswith("weight") else 0.0)
        else:
            state[name] = noise.mul_(math.prod(shape[1:]) ** -0.5)
    torch.save({"state_dict": state, "epoch": 1, "global_step": 2}, path)
    return path.stat().st_size


def load_sparingly(path: Path, precision: str) -> int:
    """Fill all networks as the export does; gives the number of values."""
    import torch

    from tgvc_export.checkpoint import open_checkpoint
    from tgvc_export.checkpoint_weights import fill_module, share_out
    from tgvc_export.dynamicrafter.published import PREFIXES, schedule_buffers

    sizes, values = quarter_sizes(), 0
    shared = share_out(open_checkpoint(path), sizes.parts(), ignored=schedule_buffers())
    for name in PREFIXES:
        module = fill_module(sizes.build(name), shared[name], getattr(torch, precision))
        values += sum(parameter.numel() for parameter in module.parameters())
        del module
        gc.collect()
        release_memory()
    return values


def load_as_usual(path: Path) -> int:
    """Read the whole file into memory and copy it into modules; gives the number of values."""
    import torch

    from tgvc_export.dynamicrafter.published import PREFIXES

    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    sizes, values, kept = quarter_sizes(), 0, []
    for name, prefix in PREFIXES.items():
        module = sizes.build(name).to_empty(device="cpu")
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        module.load_state_dict(own, strict=False)
        values += sum(parameter.numel() for parameter in module.parameters())
        kept.append(module)
    return values


WAYS: dict[str, Callable[[Path], int]] = {
    "float32": lambda path: load_sparingly(path, "float32"),
    "float16": lambda path: load_sparingly(path, "float16"),
    "usual": load_as_usual,
}


def measure_way(way: str, path: Path) -> dict[str, Any]:
    """Seconds and memory of one way, in this process."""
    import torch

    from tgvc_export.resident import MemoryWatch

    torch.set_num_threads(1)
    with MemoryWatch() as before:
        pass
    with MemoryWatch() as watch:
        values, spent = time_call(lambda: WAYS[way](path))
    return {
        "values": values,
        "seconds": round(spent.wall, 1),
        "start_bytes": before.own,
        "own_peak_bytes": watch.own,
        "resident_peak_bytes": watch.resident,
    }


def export_whole(path: Path) -> dict[str, Any]:
    """Seconds, memory, bytes and errors of making a bundle in halves, in this process."""
    import torch

    from tgvc_export.checkpoint import open_checkpoint
    from tgvc_export.dynamicrafter.bundle import BundleLabel, export_interpolation
    from tgvc_export.resident import MemoryWatch

    torch.set_num_threads(1)
    label = BundleLabel(name="synthetic", revision="1", licence="none", notes={})
    folder = path.parent / "bundle"
    with MemoryWatch() as watch:
        bundle, spent = time_call(
            lambda: export_interpolation(open_checkpoint(path), folder, label, sizes=quarter_sizes(), precision="fp16")
        )
    return {
        "precision": "fp16",
        "seconds": round(spent.wall, 1),
        "cpu_seconds": round(spent.cpu, 1),
        "own_peak_bytes": watch.own,
        "resident_peak_bytes": watch.resident,
        "bytes": {name: sum(file.stat().st_size for file in net.paths) for name, net in bundle.nets.items()},
        "relative_rms": {name: net.error["relative_rms"] for name, net in bundle.nets.items()},
    }


def measure_loading(output: Path, *, export: bool = False) -> dict[str, Any]:
    """Measure all ways, or only the export if there is a record already, and write the record."""
    known = read_record(output) if export else None
    record: dict[str, Any] = known or {
        "format": FORMAT,
        "command": f"python -m tgvc_bench.loading -o {output.name}",
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False),
        "notes": list(_NOTES),
        "published_bytes": PUBLISHED_BYTES,
        "ways": {},
    }
    fresh = multiprocessing.get_context("spawn")

    def in_a_fresh_process(call: Callable[..., Any], *given: Any) -> Any:
        with ProcessPoolExecutor(1, mp_context=fresh) as pool:
            return pool.submit(call, *given).result()

    with tempfile.TemporaryDirectory(prefix=".loading-", dir=output.parent) as folder:
        path = Path(folder) / "model.ckpt"
        record["file_bytes"] = size = in_a_fresh_process(write_checkpoint, path)
        for way in () if known else WAYS:
            found = in_a_fresh_process(measure_way, way, path)
            if way == "usual":
                grown = found["own_peak_bytes"] - found["start_bytes"]
                found["scaled_peak_bytes"] = found["start_bytes"] + round(grown * PUBLISHED_BYTES / size)
            record["ways"][way] = found
        if export:
            record["export"] = in_a_fresh_process(export_whole, path)
    write_record(output, record)
    return record


def main() -> None:
    """Measure and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--export", action="store_true", help="the whole export too; alone if there is a record")
    chosen = parser.parse_args()
    record = measure_loading(chosen.output, export=chosen.export)
    for way, found in record["ways"].items():
        print(f"{way}: {found['seconds']} s, {found['own_peak_bytes'] / 2**30:.2f} GiB of its own")


if __name__ == "__main__":
    main()
