"""MTTF at its published width for faces, with random weights: exported, compared with torch, built, timed.

``OMP_NUM_THREADS=1 python -m tgvc_bench.full_human -o bench/results/export_human.json``; every part in a process of its
own, one thread. A network as torch first makes it paints all but the same whatever its state is, and a file of it
could be wrong unnoticed. So weights are drawn such that values keep their size, norms hold the statistics of pictures,
and what each input changes stands beside the error.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgvc.backends.base import load_backend
from tgvc.doctor import find_version
from tgvc.models.bundle import load_bundle
from tgvc_bench.full_tracker import run_apart
from tgvc_bench.machine import describe_machine, read_versions, summarise, time_call, time_repeats
from tgvc_bench.records import shorten, write_record

if TYPE_CHECKING:  # torch takes long to import
    from torch import Tensor, nn

    from tgvc_export.mttf.config import MttfConfig
    from tgvc_export.mttf.networks import Mttf

FORMAT = "tgvc-full-human 1"
PATH = 1  # of 512, 256 and 128 px
# of an engine: shortest, usual and longest; blocks of 128 px
_LENGTHS = {"N": (1, 1, 4), "h": (1, 2, 4), "w": (1, 2, 4)}
_WAVES_PX = (64, 16, 4)  # of random pictures
_SEED = 20
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "tensorrt-rtx-cu13")
_NOTES = (
    "weights: random; deviations that keep the size of values, norms with the statistics of four random pictures",
    "values: parameters; hourglasses: of flow, mask and background; rest: for one size of pictures, and for all",
    "error: the file in ONNX Runtime against torch in float32, in a fresh process, worst of two cases and of all "
    "outputs; runtime: torch with weights rounded as the file holds them; storage: torch with weights not rounded",
    "deviation: of the values of each output; changes: root mean square of what an output changes by when this input "
    "alone is that of other pictures, as a share of the output's, the output that changes least",
    "export_s: wall seconds with one thread, three networks traced, written and checked; export_cpu_s: of the "
    "processor, without the check; peak_bytes: largest memory of the exporting process itself; check_peak_bytes: "
    "largest resident set of the check",
    "engines: built ahead of time by TensorRT-RTX without a GPU; lengths: shortest, usual and longest, h and w in "
    "blocks of block_px",
    "runtimes: one picture or frame; seconds of one thread, torch eager against ONNX Runtime, by turns; "
    "ratio = torch / ONNX Runtime, smallest processor time",
)


def run_full_human(output: Path, repeats: int = 5) -> Iterator[str]:
    """Measure everything; yields a line after each part, writes the file after each.

    Args:
        output: of the record; the bundle lies in a folder beside it until it is measured.
        repeats: counted runs of every network in both runtimes.

    Raises:
        ExportError: a network cannot be exported, or gives something else in ONNX Runtime.
        BackendUnavailableError: tensorrt_rtx is not installed.
        BackendError: it does not take a network.
    """
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": f"python -m tgvc_bench.full_human -o {output.name}",
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False) | {name: find_version(name) or "not installed" for name in _PACKAGES},
        "notes": list(_NOTES),
    }
    with tempfile.TemporaryDirectory(prefix=".full-human-", dir=output.parent) as made:
        folder = Path(made)
        record |= run_apart(partial(measure_export, folder))
        write_record(output, record)
        yield f"exported: {record['export_s']} s, {record['peak_bytes']} bytes at most"
        for net, found in record["networks"].items():
            yield f"{net}: {found['file_bytes']} bytes, error {found['error']['runtime_relative_rms']}"
        record["engines"] = run_apart(partial(measure_engines, folder))
        write_record(output, record)
        yield f"engines: { ({net: v['bytes'] for net, v in record['engines']['networks'].items()}) }"
        record["runtimes"] = run_apart(partial(compare_runtimes, folder, repeats))
        write_record(output, record)
        yield f"ONNX Runtime against torch: { ({net: v['ratio'] for net, v in record['runtimes'].items()}) }"


def measure_export(folder: Path, config: MttfConfig | None = None, path: int = PATH) -> dict[str, Any]:
    """Export and check a bundle, and what the outputs of its networks depend on.

    Args:
        folder: for the bundle.
        config: of the networks, RGB and not measured; `FACES` if None.
        path: which size of pictures, see `MttfConfig`.

    Returns:
        What the record holds of it.

    Raises:
        ExportError: a network cannot be exported, or gives something else in ONNX Runtime.
    """
    from tgvc_export.mttf.config import FACES
    from tgvc_export.mttf.export import export_human, make_examples, make_networks
    from tgvc_export.resident import MemoryWatch

    config = config or FACES
    mttf = make_random(config, path)
    block, size = config.scale(path) << config.levels, config.feature_size * config.scale(path)
    # the first are traced with: no two free lengths alike
    traced, used = (
        tuple(draw_pictures(count, height, width, seed) for seed in (1, 2))
        for count, height, width in ((5, 2 * block, 3 * block), (2, size, size))
    )
    with MemoryWatch() as watch:
        bundle, spent = time_call(
            lambda: export_human(mttf, folder, [traced, used], name="random", revision="1", path=path)
        )
    found: dict[str, Any] = {
        "size": [size, size],
        "block_px": block,
        "values": count_values(mttf),
        "export_s": shorten(spent.wall, 3),
        "export_cpu_s": shorten(spent.cpu, 3),
        "peak_bytes": watch.own,
        "check_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
        "networks": {},
    }
    networks = make_networks(mttf, path)
    ours, others = (
        make_examples(networks, draw_pictures(1, size, size, seed), draw_pictures(1, size, size, seed + 1))
        for seed in (3, 5)
    )
    for net, record in bundle.nets.items():
        found["networks"][net] = {
            "file_bytes": record.size,
            "error": dict(record.error),
            **measure_changes(networks[net], ours[net], others[net]),
        }
    return found


def make_random(config: MttfConfig, path: int = PATH) -> Mttf:
    """Networks with random weights, the same ones every time, through which values keep their size on one path.

    Norms hold the statistics of one pass of four pictures on that path; those that only other paths use are as torch
    makes them.
    """
    import torch

    from tgvc_export.mttf.networks import FrameNetwork, KeyNetwork, Mttf, PredictorNetwork

    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    mttf: Mttf = Mttf(config)
    size = config.feature_size * config.scale(path)
    pictures = draw_pictures(4, size, size, 0)
    with torch.no_grad():
        for part in mttf.modules():
            _draw_weights(part)
        mttf.train()  # norms with momentum 1 keep what they see
        features, states = PredictorNetwork(mttf, path)(pictures)
        skips = KeyNetwork(mttf, path)(pictures)
        FrameNetwork(mttf, path)(pictures[:1], features[:1], states[:1], states, *(skip[:1] for skip in skips))
    mttf.eval()
    return mttf


def draw_pictures(count: int, height: int, width: int, seed: int) -> Tensor:
    """Smooth random pictures, RGB 0..1, (count, 3, height, width); sides in px."""
    import torch
    from torch.nn import functional

    generator = torch.Generator().manual_seed(seed)
    waves = torch.zeros(count, 3, height, width)
    for px in _WAVES_PX:
        cells = torch.randn(count, 3, -(-height // px), -(-width // px), generator=generator)
        waves += functional.interpolate(cells, (height, width), mode="bicubic", align_corners=False)
    return torch.sigmoid(waves)


def count_values(mttf: Mttf) -> dict[str, int]:
    """Parameters of the predictor, of the hourglasses, and of the rest for one size of pictures and for all."""
    import torch

    from tgvc_export.mttf.networks import Mttf

    def count(*modules: nn.Module) -> int:
        return sum(value.numel() for module in modules for value in module.parameters())

    with torch.device("meta"):
        single = Mttf(replace(mttf.config, paths=1))
    predictor, hourglasses = count(mttf.predictor), count(mttf.motion, mttf.generator.background.hourglass)
    rest, rest_of_all = (count(each) - predictor - hourglasses for each in (single, mttf))
    return {"predictor": predictor, "hourglasses": hourglasses, "rest": rest, "rest_of_all_sizes": rest_of_all}


def measure_changes(module: nn.Module, ours: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, Any]:
    """How far the outputs of a network depend on each of its inputs, in torch.

    Args:
        module: the network.
        ours: inputs by name.
        others: inputs of the same shapes, made of other pictures.

    Returns:
        ``deviation``: of the values of each output for ``ours``. ``changes``: by input, how far the outputs are from
        that if this input alone is the other one: root mean square as a share of the output's own, the smallest of all
        outputs.
    """
    import torch

    def answer(inputs: Mapping[str, Tensor]) -> list[Tensor]:
        with torch.no_grad():
            given = module(**inputs)
        return [given] if isinstance(given, torch.Tensor) else list(given)

    wanted = answer(ours)
    changes = {}
    for name in ours:
        changed = answer({**ours, name: others[name]})
        shares = [float((a - b).norm() / b.norm()) for a, b in zip(changed, wanted, strict=True)]
        changes[name] = shorten(min(shares), 3)
    return {"deviation": [shorten(float(value.std()), 3) for value in wanted], "changes": changes}


def measure_engines(
    folder: Path,
    targets: Sequence[str] | None = None,
    lengths: Mapping[str, tuple[int, int, int]] = _LENGTHS,
) -> dict[str, Any]:
    """Build every network of a bundle with TensorRT-RTX.

    Args:
        folder: of the bundle.
        targets: GPUs that are built for, as ``SM89``; `tgvc_export.trt.CAPABILITIES` if None.
        lengths: (shortest, usual, longest) of N, and of h and w in blocks.

    Raises:
        BackendUnavailableError: tensorrt_rtx is not installed.
        BackendError: it does not take a network.
    """
    from tgvc_export.resident import MemoryWatch
    from tgvc_export.trt import CAPABILITIES, build_engine

    targets, networks = list(targets or CAPABILITIES), {}
    with MemoryWatch() as watch:
        for net, record in load_bundle(folder).nets.items():
            engine, spent = time_call(partial(build_engine, record, targets, lengths))
            networks[net] = {"bytes": len(engine), "wall_s": shorten(spent.wall, 3), "cpu_s": shorten(spent.cpu, 3)}
    told = {symbol: list(three) for symbol, three in lengths.items()}
    return {"targets": targets, "lengths": told, "peak_bytes": watch.own, "networks": networks}


def compare_runtimes(
    folder: Path, repeats: int, config: MttfConfig | None = None, path: int = PATH
) -> dict[str, dict[str, Any]]:
    """Seconds of the networks of a bundle of `measure_export`'s in ONNX Runtime and in torch, by turns.

    Args:
        folder: of the bundle.
        repeats: counted runs of each.
        config: that the bundle was made of; `FACES` if None.
        path: that it was made for.
    """
    import torch

    from tgvc_export.mttf.config import FACES
    from tgvc_export.mttf.export import make_examples, make_networks

    config = config or FACES
    networks, size = make_networks(make_random(config, path), path), config.feature_size * config.scale(path)
    examples = make_examples(networks, *(draw_pictures(1, size, size, seed) for seed in (3, 4)))
    bundle, backend = load_bundle(folder), load_backend("onnxruntime", threads=1)
    found: dict[str, dict[str, Any]] = {}
    for net, module in networks.items():
        arrays = {name: value.numpy() for name, value in examples[net].items()}
        ours, theirs = partial(backend.load(bundle.nets[net]).run, **arrays), partial(module, **examples[net])
        spent: dict[str, list[Any]] = {"onnxruntime": [], "torch": []}
        with torch.no_grad():
            for turn in range(repeats):
                spent["onnxruntime"] += time_repeats(ours, 1, warm_up=not turn)
                spent["torch"] += time_repeats(theirs, 1, warm_up=not turn)
        found[net] = {name: summarise(runs) for name, runs in spent.items()}
        ratio = found[net]["torch"]["cpu_s"]["min"] / found[net]["onnxruntime"]["cpu_s"]["min"]
        found[net]["ratio"] = shorten(ratio, 3)
    return found


def _draw_weights(part: nn.Module) -> None:
    """Random numbers for one layer that keep the size of what passes; norms remember the pictures that pass."""
    from torch import nn

    from tgvc_export.mttf.predictor import Gdn

    if isinstance(part, nn.Conv2d):
        part.weight.normal_(0, float(part.weight.shape[1:].numel()) ** -0.5)
        if part.bias is not None:
            part.bias.normal_(0, 0.1)
    elif isinstance(part, nn.BatchNorm2d):
        part.weight.normal_(1, 0.1)
        part.bias.normal_(0, 0.1)
        part.momentum = 1.0
    elif isinstance(part, Gdn):
        part.gamma.normal_(0.05, 0.02).clamp_(min=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(prog="python -m tgvc_bench.full_human", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="JSON")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for line in run_full_human(given.output, given.repeats):
        print(line, file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
