"""DynamiCrafter's video network at its published size: exported with random weights, compared with torch.

``OMP_NUM_THREADS=1 python -m tgvc_bench.full_unet -o bench/results/export_unet.json``; every size in a process of its
own, one thread. Weights are random halves, so that torch and the file hold the same numbers; torch computes with one
layer after another in float32, so that they are never all held twice.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgvc.memory import release_memory
from tgvc.models.contract import UNET, interpolation_contract
from tgvc_bench.full_size import FORMAT, draw_inputs, fill_halves
from tgvc_bench.machine import describe_machine, read_versions, time_call
from tgvc_bench.records import shorten, write_record

if TYPE_CHECKING:  # torch takes long to import
    from torch import Tensor, nn

    from tgvc_export.dynamicrafter.published import PublishedSizes

CHECKED = {"T": 2, "h": 8, "w": 16}  # small enough to be computed on a CPU; h and w are multiples of 8
USED = {"T": 16, "h": 40, "w": 64}  # of 16 frames of 320 x 512 px
_SEED = 20
_ROOM = 9_000_000_000  # bytes on the disk: two copies of the weights at most, and some
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "tensorrt-rtx-cu13")
_NOTES = (
    "weights: random halves; fp16 with float32 islands, fixed sizes, opset 20; no node asks for a shape",
    "error: the file in ONNX Runtime against torch with the same weights widened to float32, in a fresh process; a CPU "
    "computes halves in float32 where it has no kernel for them",
    "peak_bytes: largest memory of the exporting process itself; check_peak_bytes: largest resident set of the check",
    "export_s: wall seconds with one thread, tracing and writing; export_cpu_s: of the processor",
)


def run_full_unet(output: Path, engine: Sequence[str] = ()) -> Iterator[str]:
    """Export both sizes, check the small one; yields a line after each, writes the file after each.

    Args:
        output: of the record; the networks lie in a folder beside it until they are measured.
        engine: GPUs that TensorRT-RTX builds the large one for, as ``SM89``; takes 12 GB of memory.

    Raises:
        OSError: the disk has no room.
    """
    free = shutil.disk_usage(output.parent).free
    if free < _ROOM:
        raise OSError(f"{output.parent}: {_ROOM / 1e9:.0f} GB are needed, {free / 1e9:.1f} GB are free")
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": f"python -m tgvc_bench.full_unet -o {output.name}"
        + (f" --engine {' '.join(engine)}" if engine else ""),
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False) | _export_versions(),
        "precision": "fp16",
        "notes": list(_NOTES),
        "networks": {},
    }
    fresh = multiprocessing.get_context("spawn")
    for name, lengths, checked in (("checked", CHECKED, True), ("used", USED, False)):
        with (
            tempfile.TemporaryDirectory(prefix=".full-unet-", dir=output.parent) as folder,
            ProcessPoolExecutor(1, mp_context=fresh) as pool,  # so that each has its own peak of memory
        ):
            asked = () if checked else tuple(engine)
            found = pool.submit(measure_unet, Path(folder), lengths, checked, asked).result()
        record["networks"][name] = found
        write_record(output, record)
        told = f", error {found['relative_rms']}" if checked else ""
        yield f"{name}: {found['export_s']} s, {found['nodes']} nodes, {found['file_bytes']} bytes{told}"


def measure_unet(
    folder: Path,
    lengths: Mapping[str, int],
    checked: bool,
    engine: Sequence[str] = (),
    sizes: PublishedSizes | None = None,
) -> dict[str, Any]:
    """Make and export the network with fixed sizes, compare it with torch if wanted, build it if wanted.

    Args:
        folder: for the files.
        lengths: frames ``T``, rows ``h`` and columns ``w`` of latent cells.
        checked: run it in torch and in ONNX Runtime.
        engine: GPUs that TensorRT-RTX builds it for.
        sizes: of the networks; the published ones if None.

    Returns:
        What the record holds of it.
    """
    import onnx
    import torch

    from tgvc.backends.spec import bind_shapes
    from tgvc_export.check import Case, check_files, describe_file
    from tgvc_export.dynamicrafter import published
    from tgvc_export.dynamicrafter.bundle import build_hollow
    from tgvc_export.graph_rules import count_nodes, fix_specs
    from tgvc_export.onnx_file import export_module
    from tgvc_export.resident import MemoryWatch
    from tgvc_export.trt import build_engine

    torch.set_num_threads(1)
    sizes = sizes or published.PublishedSizes()
    inputs, outputs = interpolation_contract(sizes.constants())[UNET]
    path = folder / f"{UNET}.onnx"
    example = make_example(sizes, lengths)
    with MemoryWatch() as watch:
        module = fill_halves(build_hollow(sizes, UNET))
        found: dict[str, Any] = {"values": sum(value.numel() for value in module.parameters())}
        case = None
        if checked:
            with torch.no_grad(), widened(module):
                given, run = time_call(partial(module, **example))
            found |= {"torch_float32_cpu_s": shorten(run.cpu, 3), "deviation": shorten(float(given.std()), 3)}
            case = Case({name: value.numpy() for name, value in example.items()}, [given.numpy()])
        options: Any = {"precision": "fp16", "static": True}
        files, export = time_call(partial(export_module, module, example, inputs, outputs, path, **options))
    del module
    gc.collect()
    release_memory()
    nodes = count_nodes(onnx.load(path, load_external_data=False))
    found |= {
        "inputs": {name: list(value.shape) for name, value in example.items()},
        "export_s": shorten(export.wall, 3),
        "export_cpu_s": shorten(export.cpu, 3),
        "peak_bytes": watch.own,
        "files": {file.name: file.stat().st_size for file in files},
        "file_bytes": sum(file.stat().st_size for file in files),
        "nodes": sum(nodes.values()),
        "operators": nodes,
    }
    bound = bind_shapes(inputs, {name: tuple(value.shape) for name, value in example.items()})
    record = describe_file(UNET, path, (fix_specs(inputs, bound), fix_specs(outputs, bound)))
    if case is not None:
        errors, check = time_call(lambda: check_files([record], {UNET: [case]})[UNET])
        found |= {name: shorten(value, 3) for name, value in errors.items()}
        found |= {"check_s": shorten(check.wall, 3)}
        found |= {"check_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}
    if engine:
        with MemoryWatch() as watch:
            built, build = time_call(lambda: build_engine(record, tuple(engine)))
        found["engine"] = {
            "targets": list(engine),
            "bytes": len(built),
            "wall_s": shorten(build.wall, 3),
            "peak_bytes": watch.own,
        }
    return found


def make_example(sizes: PublishedSizes, lengths: Mapping[str, int]) -> dict[str, Tensor]:
    """Inputs of one run, normal numbers, with picture tokens for every frame; ``lengths`` as for `measure_unet`."""
    inputs, _ = interpolation_contract(sizes.constants())[UNET]
    return draw_inputs(inputs, {"B": 1, "M": sizes.projection.num_queries, **lengths}, _SEED)


@contextmanager
def widened(module: nn.Module) -> Iterator[None]:
    """Let a module of halves compute in float32: each layer is widened when it is called and narrowed after it."""
    narrow: dict[int, dict[str, Tensor]] = {}

    def widen(part: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        narrow[id(part)] = {name: value.data for name, value in part.named_parameters(recurse=False)}
        for value in part.parameters(recurse=False):
            value.data = value.data.float()
        return tuple(each.float() for each in args)

    def restore(part: Any, _: object, __: object) -> None:
        for name, value in narrow.pop(id(part)).items():
            getattr(part, name).data = value

    hooks = []
    for part in module.modules():
        if next(part.parameters(recurse=False), None) is not None:
            hooks += [part.register_forward_pre_hook(widen), part.register_forward_hook(restore)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _export_versions() -> dict[str, str]:
    from tgvc.doctor import find_version

    return {name: find_version(name) or "not installed" for name in _PACKAGES}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(prog="python -m tgvc_bench.full_unet", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="JSON")
    parser.add_argument("--engine", nargs="+", default=[], metavar="SM", help="also build with TensorRT-RTX")
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for line in run_full_unet(given.output, given.engine):
        print(line, file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
