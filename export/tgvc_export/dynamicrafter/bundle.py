"""A checkpoint of DynamiCrafter to a bundle of kind ``interpolation``, one network after another.

Weights stay in the checkpoint's file until a network needs them, and are let go before the next one: what it takes is
little more than the largest network in the precision wanted.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tgvc.backends.spec import split_dimension
from tgvc.errors import BundleError
from tgvc.memory import release_memory
from tgvc.models.bundle import DATA_ENDING, ModelBundle, load_bundle, write_manifest
from tgvc.models.clip_text import END, START, VOCABULARY_FILE, Vocabulary
from tgvc.models.contract import (
    CONTEXT,
    IMAGE_TOWER,
    TEXT_TOWER,
    TIME,
    UNET,
    VAE_DECODER,
    VAE_ENCODER,
    VOCABULARY,
    Tensors,
    contract_of,
)
from tgvc.models.manifest import MANIFEST
from tgvc.types import OnProgress
from tgvc_export.check import Case, check_files, describe_file
from tgvc_export.checkpoint import Checkpoint
from tgvc_export.checkpoint_weights import check_constants, fill_module, share_out
from tgvc_export.dynamicrafter import published
from tgvc_export.dynamicrafter.networks import ImageContext, VaeDecoder, VaeEncoder
from tgvc_export.dynamicrafter.unet import UNetGraph
from tgvc_export.graph_rules import OPSET, ExportError
from tgvc_export.onnx_file import export_module
from tgvc_export.precision import Precision

WORDS: Mapping[str, str] = {
    "fp32": "float32",
    "fp16": "float16, norms and softmax float32",
    "stored-halves": "weights stored as float16, float32 arithmetic",
}
# Relative error against torch in float32. fp32: sums in another order, hundreds of layers deep. Halves: every layer
# rounds by 1/2048 at most, at random; a hundred of them one after another add up to a few hundredths
TOLERANCES: Mapping[str, float] = {"fp32": 1e-3, "fp16": 5e-2, "stored-halves": 2e-2}
NETS = (TEXT_TOWER, IMAGE_TOWER, VAE_ENCODER, VAE_DECODER, TIME, CONTEXT, UNET)
_PARTS = {
    TIME: (published.UNET,),
    CONTEXT: (published.UNET,),
    UNET: (published.UNET,),
    VAE_ENCODER: (published.VAE,),
    VAE_DECODER: (published.VAE,),
    IMAGE_TOWER: (published.IMAGE, published.PROJECTION),
    TEXT_TOWER: (published.TEXT,),
}
_WRAPPERS: Mapping[str, Callable[..., nn.Module]] = {
    TIME: lambda unet: unet.time_network(),
    CONTEXT: lambda unet: unet.context_network(),
    UNET: UNetGraph,
    VAE_ENCODER: VaeEncoder,
    VAE_DECODER: VaeDecoder,
    IMAGE_TOWER: ImageContext,
    TEXT_TOWER: lambda tower: tower,
}


@dataclass(frozen=True, kw_only=True)
class BundleLabel:
    """What a manifest says of a bundle beside its networks: ``name``, ``revision``, ``licence`` and ``notes``."""

    name: str
    revision: str
    licence: str
    notes: Mapping[str, Any]


def export_interpolation(
    checkpoint: Checkpoint,
    folder: Path,
    label: BundleLabel,
    *,
    sizes: published.PublishedSizes | None = None,
    precision: Precision = "fp32",
    opset: int = OPSET,
    vocabulary: Path | None = None,
    on_progress: OnProgress | None = None,
) -> ModelBundle:
    """Export all networks, check each in a fresh process without torch, and write the bundle.

    Args:
        checkpoint: with the names of the published one.
        folder: to write into, made if needed; other files in it are left alone.
        label: for the manifest.
        sizes: of the networks; those of the 512-pixel models if None.
        precision: of all networks; see `tgvc_export.onnx_file.export_module`.
        opset: of all networks.
        vocabulary: file of the byte pairs of CLIP, for prompts; the empty prompt needs none.
        on_progress: called with ("export NET" or "check NET", networks done, networks in all).

    Raises:
        CheckpointError: the checkpoint does not hold these networks, or was trained with other constants.
        ExportError: a network cannot be exported, or gives something else in the shipped runtime.
        BundleError: what was written is not a valid bundle, or the vocabulary is not one.
    """
    sizes = sizes or published.PublishedSizes()
    buffers = published.schedule_buffers()
    shared = share_out(checkpoint, sizes.parts(), ignored=buffers)
    check_constants(checkpoint, buffers)
    words = _read_vocabulary(vocabulary)
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(folder, shared, precision)
    constants = sizes.constants()
    contract, errors = contract_of(constants), {}
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as workshop:
        work = Path(workshop)
        paths = {net: work / f"{net}.onnx" for net in NETS}
        for number, net in enumerate(NETS):

            def tell(what: str, net: str = net, done: int = number) -> None:
                if on_progress:
                    on_progress(f"{what} {net}", done, len(NETS))

            tell("export")
            module = _build(sizes, net, shared, checkpoint.path)
            traced, other = (make_example(sizes, net, contract[net], small=small) for small in (False, True))
            export_module(module, traced, *contract[net], paths[net], precision=precision, opset=opset)
            case = _record_case(module, other)
            del module
            _let_go()
            tell("check")
            record = describe_file(net, paths[net], contract[net])
            errors[net] = {
                kind: float(f"{value:.3g}") for kind, value in check_files([record], {net: [case]})[net].items()
            }
            if not errors[net]["relative_rms"] <= TOLERANCES[precision]:
                raise ExportError(
                    f"{net}: relative error of {errors[net]['relative_rms']:g} in the shipped runtime, "
                    f"{TOLERANCES[precision]:g} is allowed in {precision}"
                )
        files = {}
        if words is not None:
            files[VOCABULARY] = work / VOCABULARY_FILE
            files[VOCABULARY].write_bytes(words)
        write_manifest(
            work,
            name=label.name,
            revision=label.revision,
            licence=label.licence,
            constants=constants,
            nets=paths,
            precision=WORDS[precision],
            errors=errors,
            notes={"exported_with": f"torch {torch.__version__.partition('+')[0]}", **label.notes},
            files=files or None,
        )
        for net in NETS:  # weights that an earlier export left there would not fit
            (folder / f"{net}.onnx{DATA_ENDING}").unlink(missing_ok=True)
        for path in sorted(work.iterdir(), key=lambda path: path.name == MANIFEST):
            path.replace(folder / path.name)
    if on_progress:
        on_progress("verify bundle", len(NETS), len(NETS))
    return load_bundle(folder)


def make_example(sizes: published.PublishedSizes, net: str, tensors: Tensors, *, small: bool) -> dict[str, Tensor]:
    """Inputs of a network: noise, prompts of random words, timesteps.

    Args:
        sizes: of the networks.
        net: its name in the contract.
        tensors: of the contract.
        small: lengths to be computed with; else those to be traced with, of which no two are alike.
    """
    random = torch.Generator().manual_seed(7)
    cell = max(4, 2 ** (len(sizes.unet.channel_mult) - 1)) if net == UNET else 2
    lengths = {"N": 1, "S": 2, "B": 2, "T": 2, "M": sizes.projection.num_queries, "h": cell, "w": 2 * cell}
    if not small:
        lengths = {"N": 3, "S": 5, "B": 2, "T": 3, "M": 11, "h": 3 * cell, "w": 5 * cell}
    given = {}
    for spec in tensors[0]:
        shape = [factor * lengths[symbol] if symbol else factor for factor, symbol in map(split_dimension, spec.shape)]
        if spec.name == "tokens":
            given[spec.name] = torch.randint(1, START, shape, generator=random)
            given[spec.name][:, 0], given[spec.name][:, 9] = START, END
            given[spec.name][:, 10:] = 0
        elif spec.name in ("t", "fs"):
            given[spec.name] = torch.arange(1, shape[0] + 1, dtype=torch.float32) * (400 if spec.name == "t" else 5)
        else:
            given[spec.name] = torch.randn(shape, generator=random)
    return given


def build_hollow(sizes: published.PublishedSizes, net: str) -> nn.Module:
    """A network of the contract without values, on ``meta``."""
    return _wrap(net, [sizes.build(name) for name in _PARTS[net]])


def _wrap(net: str, parts: Sequence[nn.Module]) -> nn.Module:
    return _WRAPPERS[net](*parts).eval()


def _build(
    sizes: published.PublishedSizes, net: str, shared: Mapping[str, Mapping[str, Tensor]], path: Path
) -> nn.Module:
    """A network with its weights in float32: mapped where the checkpoint has them so; those of others are not read."""
    parts = {name: sizes.build(name) for name in _PARTS[net]}
    places = {
        id(value): (name, own) for name, part in parts.items() for own, value in part.state_dict(keep_vars=True).items()
    }
    module = _wrap(net, list(parts.values()))
    found = {name: places[id(value)] for name, value in module.state_dict(keep_vars=True).items()}
    tensors = {name: shared[part][own] for name, (part, own) in found.items()}
    names = {name: published.PREFIXES[part] + own for name, (part, own) in found.items()}
    return fill_module(module, tensors, torch.float32, path=path, names=names)


def _record_case(module: nn.Module, example: Mapping[str, Tensor]) -> Case:
    with torch.no_grad():
        given = module(**example)
    outputs = [given] if isinstance(given, Tensor) else list(given)
    return Case({name: value.numpy() for name, value in example.items()}, [value.numpy() for value in outputs])


def _read_vocabulary(path: Path | None) -> bytes | None:
    """The bytes of a vocabulary, after they were parsed."""
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise BundleError(f"{path}: cannot be read ({fault.strerror})") from fault
    Vocabulary.parse(data)
    return data


def _check_room(folder: Path, shared: Mapping[str, Mapping[str, Tensor]], precision: Precision) -> None:
    """Refuse to begin where the disk cannot hold the bundle and the largest network a second time."""
    width = 4 if precision == "fp32" else 2
    values = {name: sum(tensor.numel() for tensor in tensors.values()) for name, tensors in shared.items()}
    # torch writes the largest network in float32 before it is written as wanted
    needed = sum(values.values()) * width + max(values.values()) * 4
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ExportError(f"{folder}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")


def _let_go() -> None:
    gc.collect()
    release_memory()
