"""The published networks at small width: ONNX Runtime on the CPU against torch eager, in one run.

``python -m tgvc_bench.published_networks -o bench/results/networks_published.json``. Each network is exported with
random weights and fixed sizes; its runs alternate with those of torch, so that whatever else the machine does falls on
both. A network is a function of `NETS` that gives a `Subject`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tgvc.backends.base import load_backend
from tgvc.models.contract import UNET, UPDATE, VAE_DECODER, Tensors, interpolation_contract, tracker_contract
from tgvc_bench.machine import Spent, describe_machine, read_versions, summarise, time_call
from tgvc_bench.records import shorten, write_record

if TYPE_CHECKING:  # torch takes long to import
    from torch import Tensor, nn

FORMAT = "tgvc-published-networks 1"
_SEED = 9
_EXPORTS = {"opset 20": 20, "opset 23": 23}  # where attention is nodes, and one node
_NOTES = (
    "networks of the published structure at small width, random weights, float32, fixed sizes, as many threads each",
    "ratio: smallest time of torch eager over smallest time of ONNX Runtime, runs of both alternating; of CPU seconds, "
    "which a busy machine changes little",
    "max_abs: largest difference of the two answers",
)


@dataclass(frozen=True)
class Subject:
    """A network to be measured: ``module`` takes ``example`` by name; ``tensors`` are those of its contract."""

    module: nn.Module
    tensors: Tensors
    example: Mapping[str, Tensor]


def make_unet() -> Subject:
    """The video network with 32 channels at its finest level, 8 frames of 16 x 24 cells."""
    from tgvc_bench.full_size import draw_inputs
    from tgvc_export.dynamicrafter.published import PublishedSizes
    from tgvc_export.dynamicrafter.unet import UNet3D, UNetConfig, UNetGraph

    config = UNetConfig(model_channels=32, num_head_channels=8, context_dim=48)
    sizes = PublishedSizes()
    constants = replace(sizes, unet=replace(config, context_dim=sizes.unet.context_dim)).constants()
    contract = interpolation_contract(constants)[UNET]
    lengths = {"B": 1, "T": 8, "M": constants.image_tokens, "h": 16, "w": 24}
    return Subject(UNetGraph(UNet3D(**vars(config))), contract, draw_inputs(contract[0], lengths, _SEED))


def make_vae_decoder() -> Subject:
    """The decoder of the autoencoder with 32 channels at its finest level, 2 pictures of 128 x 192 px."""
    import torch

    from tgvc_export.dynamicrafter.autoencoder import Autoencoder, AutoencoderConfig
    from tgvc_export.dynamicrafter.networks import VaeDecoder
    from tgvc_export.dynamicrafter.published import PublishedSizes

    module = VaeDecoder(Autoencoder(AutoencoderConfig(width=32)))
    contract = interpolation_contract(PublishedSizes().constants())
    return Subject(module, contract[VAE_DECODER], {"z": torch.randn(2, 4, 16, 24)})


def make_tracker_update() -> Subject:
    """One iteration of the point tracker at its published width: 64 points, 16 frames of 96 x 128 cells."""
    import torch

    from tgvc_export.cotracker.networks import UpdateNetwork, tracker_constants
    from tgvc_export.cotracker.tracker import CoTracker3

    points, frames, rows, columns = 64, 16, 96, 128
    tracker = CoTracker3(frames, sliding=True)
    constants = tracker_constants(tracker)
    around = (2 * constants.radius + 1) ** 2
    unit = partial(torch.nn.functional.normalize, dim=1)
    example = {
        f"level{n}": unit(torch.randn(frames, constants.channels, rows >> n, columns >> n))
        for n in range(constants.levels)
    }
    example |= {
        f"support{n}": torch.nn.functional.normalize(torch.randn(points, around, constants.channels), dim=2)
        for n in range(constants.levels)
    }
    example |= {
        "coords": torch.rand(frames, points, 2) * torch.tensor([columns - 1.0, rows - 1.0]),
        "visible": torch.randn(frames, points),
        "confident": torch.randn(frames, points),
        "time": torch.randn(frames, constants.token),
    }
    return Subject(UpdateNetwork(tracker), tracker_contract(constants)[UPDATE], example)


NETS: Mapping[str, Callable[[], Subject]] = {
    "unet": make_unet,
    "vae_decoder": make_vae_decoder,
    "tracker_update": make_tracker_update,
}


def run_published_networks(output: Path, nets: Sequence[str], threads: int, repeats: int) -> Iterator[str]:
    """Measure networks one after another; yields a line after each, writes the file after each."""
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": f"python -m tgvc_bench.published_networks --threads {threads} --repeats {repeats} -o {output.name}",
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False),
        "threads": threads,
        "notes": list(_NOTES),
        "networks": {},
    }
    for net in nets:
        record["networks"][net] = compare_with_eager(NETS[net], threads, repeats)
        write_record(output, record)
        for name in _EXPORTS:
            found = record["networks"][net][name]
            yield f"{net}, {name}: ONNX Runtime {found['ratio']} x torch, differs by {found['max_abs']}"


def compare_with_eager(make: Callable[[], Subject], threads: int, repeats: int) -> dict[str, Any]:
    """Times of a network in torch eager and in ONNX Runtime, exported at each opset.

    Args:
        make: gives the network.
        threads: of either.
        repeats: runs of either that count, after one that does not.
    """
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(_SEED)
    subject = make()
    module = subject.module.eval()
    result: dict[str, Any] = {
        "values": sum(value.numel() for value in module.parameters()),
        "inputs": {name: list(value.shape) for name, value in subject.example.items()},
    }
    with tempfile.TemporaryDirectory(prefix="tgvc-published-") as folder, torch.no_grad():
        for name, opset in _EXPORTS.items():
            result[name] = _compare(subject, Path(folder) / f"{opset}.onnx", opset, threads, repeats)
    return result


def _compare(subject: Subject, path: Path, opset: int, threads: int, repeats: int) -> dict[str, Any]:
    import onnx

    from tgvc.backends.spec import bind_shapes
    from tgvc_export.check import describe_file
    from tgvc_export.graph_rules import count_nodes, fix_specs
    from tgvc_export.onnx_file import export_module

    inputs, outputs = subject.tensors
    options: Any = {"precision": "fp32", "static": True, "opset": opset}
    _, spent = time_call(lambda: export_module(subject.module, subject.example, inputs, outputs, path, **options))
    lengths = bind_shapes(inputs, {name: tuple(value.shape) for name, value in subject.example.items()})
    record = describe_file("net", path, (fix_specs(inputs, lengths), fix_specs(outputs, lengths)))
    net = load_backend("onnxruntime", threads=threads).load(record)
    arrays = {name: value.numpy() for name, value in subject.example.items()}
    times: dict[str, list[Spent]] = {"torch": [], "onnxruntime": []}
    worst = 0.0
    for number in range(repeats + 1):
        given, eager = time_call(lambda: subject.module(**subject.example))
        got, runtime = time_call(lambda: net.run(**arrays))
        if number:  # the first runs of both make what the others use
            times["torch"].append(eager)
            times["onnxruntime"].append(runtime)
        wanted = given if isinstance(given, tuple | list) else [given]
        apart = [np.abs(got[spec.name] - want.numpy()).max() for spec, want in zip(outputs, wanted, strict=True)]
        worst = max(worst, *map(float, apart))
    result = {name: summarise(spent) for name, spent in times.items()}
    ratio = result["torch"]["cpu_s"]["min"] / result["onnxruntime"]["cpu_s"]["min"]
    nodes = sum(count_nodes(onnx.load(path, load_external_data=False)).values())
    return {
        **result,
        "ratio": shorten(ratio, 3),
        "max_abs": shorten(worst, 2),
        "nodes": nodes,
        "export_s": shorten(spent.wall, 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(prog="python -m tgvc_bench.published_networks", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="JSON")
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    for line in run_published_networks(given.output, given.nets, given.threads, given.repeats):
        print(line, file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
