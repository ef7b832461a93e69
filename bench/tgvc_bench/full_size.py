"""The networks around DynamiCrafter's UNet at their published size: exported with random weights, compared with torch.

``python -m tgvc_bench.full_size -o bench/results/export_vae_clip.json``; every network in a process of its own, one
thread. Weights are normal numbers of a deviation that keeps values near 1, already rounded to halves, so that torch in
float32 and the file compute with the same numbers.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import resource
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgvc.memory import release_memory
from tgvc.models.contract import IMAGE_PX, IMAGE_TOWER, RGB, TEXT_TOKENS, TEXT_TOWER, VAE_DECODER, VAE_ENCODER
from tgvc_bench.machine import describe_machine, read_versions, time_call
from tgvc_bench.records import shorten, write_record

if TYPE_CHECKING:  # torch takes long to import
    from torch import Tensor, nn

    from tgvc.backends.spec import TensorSpec
    from tgvc.models.contract import Tensors
    from tgvc_export.check import Case
    from tgvc_export.dynamicrafter.published import PublishedSizes
    from tgvc_export.precision import Precision

FORMAT = "tgvc-full-size 1"
NETS = (VAE_ENCODER, VAE_DECODER, IMAGE_TOWER, TEXT_TOWER)
CELLS = (40, 64)  # latent cells of 320 x 512 px, rows first
_TRACED = (5, 7)  # cells that the autoencoder is traced with: no two lengths of an example may be alike
_SEED = 20
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "tensorrt-rtx-cu13")
_NOTES = (
    "weights: random halves; error: the file in ONNX Runtime against torch in float32 with the same weights, in a "
    "fresh process",
    "a CPU computes halves in float32 where it has no kernel for them, so the error is mostly that of the graph",
    "peak_bytes: largest memory of the exporting process itself; check_peak_bytes: largest resident set of the check",
    "engine: built ahead of time by TensorRT-RTX for SM80, SM86, SM89 and SM120, without a GPU",
    "export: wall seconds with one thread, tracing and writing",
)


def run_full_size(
    output: Path, nets: Sequence[str] = NETS, precision: Precision = "fp16", cells: tuple[int, int] = CELLS
) -> Iterator[str]:
    """Measure networks one after another; yields a line after each, writes the file after each."""
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": f"python -m tgvc_bench.full_size -o {output.name} --precision {precision}",
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False) | _export_versions(),
        "precision": precision,
        "cells": list(cells),
        "notes": list(_NOTES),
        "networks": {},
    }
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix=".full-size-", dir=output.parent) as folder:
        for net in nets:
            with ProcessPoolExecutor(1, mp_context=fresh) as pool:  # so that each has its own peak of memory
                found = pool.submit(measure_net, net, Path(folder), precision, cells).result()
            record["networks"][net] = found
            write_record(output, record)
            for path in Path(folder).iterdir():
                path.unlink()
            yield f"{net}: {found['export_s']} s, {found['file_bytes']} bytes, error {found['relative_rms']}"


def measure_net(
    net: str, folder: Path, precision: Precision, cells: tuple[int, int], sizes: PublishedSizes | None = None
) -> dict[str, Any]:
    """Make, run, export, check and build one network.

    Args:
        net: one of `NETS`.
        folder: for the files.
        precision: see `tgvc_export.onnx_file.export_module`.
        cells: rows and columns of latent cells that the autoencoder is run at.
        sizes: of the networks; the published ones if None.

    Returns:
        What the record holds of a network.

    Raises:
        BackendUnavailableError: tensorrt_rtx is not installed.
        BackendError: it does not take the network.
    """
    from tgvc.models.contract import interpolation_contract
    from tgvc_export.check import check_files, describe_file
    from tgvc_export.dynamicrafter.published import PublishedSizes
    from tgvc_export.resident import MemoryWatch
    from tgvc_export.trt import build_engine

    sizes = sizes or PublishedSizes()
    contract = interpolation_contract(sizes.constants())[net]
    path = folder / f"{net}.onnx"
    with MemoryWatch() as watch:
        found, case = _export_net(net, path, contract, precision, cells, sizes)
    gc.collect()
    record = describe_file(net, path, contract)
    errors, check = time_call(lambda: check_files([record], {net: [case]})[net])
    engine, build = time_call(lambda: build_engine(record))
    return {
        **found,
        **{name: shorten(value, 3) for name, value in errors.items()},
        "check_s": shorten(check.wall, 3),
        "peak_bytes": watch.own,
        "engine_bytes": len(engine),
        "engine_s": shorten(build.wall, 3),
        "check_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    }


def _export_net(
    net: str, path: Path, contract: Tensors, precision: Precision, cells: tuple[int, int], sizes: PublishedSizes
) -> tuple[dict[str, Any], Case]:
    """Export a network; what was measured, and its answer to check against."""
    import torch

    from tgvc_export.check import Case
    from tgvc_export.dynamicrafter.bundle import build_hollow
    from tgvc_export.onnx_file import export_module

    torch.set_num_threads(1)
    module = fill_halves(build_hollow(sizes, net)).float()
    example = _example(net, sizes, 1, cells)
    with torch.no_grad():
        given, run = time_call(lambda: module(**example))
    outputs = [given] if isinstance(given, torch.Tensor) else list(given)
    if precision == "fp16":
        module.half()  # the export shares what has its type already, so that there is no second copy
    gc.collect()
    release_memory()
    files, export = time_call(
        lambda: export_module(module, _example(net, sizes, 3, _TRACED), *contract, path, precision=precision)
    )
    found = {
        "values": sum(value.numel() for value in module.parameters()),
        "inputs": {name: list(value.shape) for name, value in example.items()},
        "files": {file.name: file.stat().st_size for file in files},
        "file_bytes": sum(file.stat().st_size for file in files),
        "output_deviation": [shorten(float(value.std()), 3) for value in outputs],
        "torch_float32_s": shorten(run.wall, 3),
        "export_s": shorten(export.wall, 3),
    }
    inputs = {name: value.numpy() for name, value in example.items()}
    return found, Case(inputs, [value.numpy() for value in outputs])


def fill_halves(module: nn.Module) -> nn.Module:
    """Random float16 values for a module on ``meta``, one parameter after another.

    Weights of layers have the deviation that keeps the size of what passes; scales of norms are near 1.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(_SEED)
    norms = {id(part.weight) for part in module.modules() if isinstance(part, nn.GroupNorm | nn.LayerNorm)}
    for part in module.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            made = torch.randn(value.shape, generator=generator)
            made *= 0.1 if value.ndim < 2 else float(value.shape[1:].numel()) ** -0.5
            if id(value) in norms:
                made += 1
            setattr(part, name, nn.Parameter(made.half(), requires_grad=False))
    return module.eval()


def draw_inputs(inputs: Sequence[TensorSpec], lengths: Mapping[str, int], seed: int) -> dict[str, Tensor]:
    """Normal numbers float32 for the inputs of a network, whose symbols have these lengths."""
    import torch

    from tgvc_export.graph_rules import fix_specs

    generator = torch.Generator().manual_seed(seed)
    fixed = fix_specs(inputs, dict(lengths))
    return {spec.name: torch.randn([int(length) for length in spec.shape], generator=generator) for spec in fixed}


def _example(net: str, sizes: PublishedSizes, count: int, cells: tuple[int, int]) -> Mapping[str, Tensor]:
    import torch

    generator = torch.Generator().manual_seed(_SEED + count)
    rows, columns = cells
    if net == TEXT_TOWER:
        return {"tokens": torch.randint(0, sizes.text.vocabulary, (count, TEXT_TOKENS), generator=generator)}
    if net == IMAGE_TOWER:
        return {"pixels": torch.randn(count, RGB, IMAGE_PX, IMAGE_PX, generator=generator)}
    if net == VAE_DECODER:
        return {"z": torch.randn(count, sizes.autoencoder.latents, rows, columns, generator=generator)}
    px = sizes.autoencoder.cell_px
    return {"picture": torch.rand(count, RGB, px * rows, px * columns, generator=generator) * 2 - 1}


def _export_versions() -> dict[str, str]:
    from tgvc.doctor import find_version

    return {name: find_version(name) or "not installed" for name in _PACKAGES}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(prog="python -m tgvc_bench.full_size", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="JSON")
    parser.add_argument("--precision", choices=["fp32", "fp16", "stored-halves"], default="fp16")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for line in run_full_size(given.output, given.nets, given.precision):
        print(line, file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
