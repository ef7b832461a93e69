"""Stable Video Diffusion and MOFA-Video's adapter to a bundle of kind ``animation``, one network after another."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tgvc.backends.spec import split_dimension
from tgvc.memory import release_memory
from tgvc.models.bundle import DATA_ENDING, ModelBundle, load_bundle, write_manifest
from tgvc.models.contract import ADAPTER, IMAGE_TOWER, REFERENCE, UNET, VAE_DECODER, VAE_ENCODER, Tensors, contract_of
from tgvc.models.manifest import MANIFEST
from tgvc.types import OnProgress
from tgvc_export.check import Case, check_files, describe_file
from tgvc_export.dynamicrafter.bundle import TOLERANCES, WORDS, BundleLabel
from tgvc_export.graph_rules import OPSET, ExportError
from tgvc_export.mofa import published
from tgvc_export.mofa.networks import AdapterGraph, Reference, UNetGraph, VaeDecoder, VaeEncoder
from tgvc_export.onnx_file import export_module
from tgvc_export.precision import Precision

# The smallest first: what is wrong with a file is told before the largest is begun
PARTS: Mapping[str, str] = {
    REFERENCE: published.CONTROL,
    VAE_ENCODER: published.VAE,
    VAE_DECODER: published.VAE,
    IMAGE_TOWER: published.IMAGE,
    ADAPTER: published.CONTROL,
    UNET: published.UNET,
}
_WRAPPERS: Mapping[str, Callable[..., nn.Module]] = {
    VAE_ENCODER: VaeEncoder,
    VAE_DECODER: VaeDecoder,
    IMAGE_TOWER: lambda tower: tower,
    ADAPTER: AdapterGraph,
    UNET: UNetGraph,
}


def export_animation(
    opened: published.PublishedFolder,
    folder: Path,
    label: BundleLabel,
    *,
    forwards: bool = True,
    precision: Precision = "fp32",
    opset: int = OPSET,
    on_progress: OnProgress | None = None,
) -> ModelBundle:
    """Export all networks, check each in a fresh process without torch, and write the bundle.

    Args:
        opened: the published folder.
        folder: to write into, made if needed; other files in it are left alone.
        label: for the manifest.
        forwards: features are splatted as published; else looked up by the inverse flow, for what cannot scatter.
        precision: of all networks; see `tgvc_export.onnx_file.export_module`.
        opset: of all networks.
        on_progress: called with ("export NET" or "check NET", networks done, networks in all).

    Raises:
        CheckpointError: the files do not hold these networks.
        ExportError: a network cannot be exported, or gives something else in the shipped runtime.
        BundleError: what was written is not a valid bundle.
    """
    tensors = opened.tensors()
    constants = opened.sizes.constants()
    contract, errors = contract_of(constants), {}
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(folder, tensors, precision)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as workshop:
        work = Path(workshop)
        paths = {net: work / f"{net}.onnx" for net in PARTS}
        for number, (net, part) in enumerate(PARTS.items()):

            def tell(what: str, net: str = net, done: int = number) -> None:
                if on_progress:
                    on_progress(f"{what} {net}", done, len(PARTS))

            tell("export")
            module = wrap_network(net, opened.load(part, tensors[part]), forwards)
            traced, other = (make_example(contract[net], small=small) for small in (False, True))
            used = choose_precision(net, precision, upcast=opened.sizes.vae.force_upcast)
            export_module(module, traced, *contract[net], paths[net], precision=used, opset=opset)
            case = _record_case(module, other)
            del module
            gc.collect()
            release_memory()
            tell("check")
            record = describe_file(net, paths[net], contract[net])
            found = check_files([record], {net: [case]})[net]
            errors[net] = {kind: float(f"{value:.3g}") for kind, value in found.items()}
            if not found["relative_rms"] <= TOLERANCES[used]:
                raise ExportError(
                    f"{net}: relative error of {found['relative_rms']:g} in the shipped runtime, "
                    f"{TOLERANCES[used]:g} is allowed in {used}"
                )
        write_manifest(
            work,
            name=label.name,
            revision=label.revision,
            licence=label.licence,
            constants=constants,
            nets=paths,
            precision=WORDS[precision],
            errors=errors,
            notes={
                "exported_with": f"torch {torch.__version__.partition('+')[0]}",
                "features": "splatted forwards" if forwards else "looked up by the inverse flow",
                **label.notes,
            },
        )
        for net in PARTS:  # weights that an earlier export left there would not fit
            (folder / f"{net}.onnx{DATA_ENDING}").unlink(missing_ok=True)
        for path in sorted(work.iterdir(), key=lambda path: path.name == MANIFEST):
            path.replace(folder / path.name)
    if on_progress:
        on_progress("verify bundle", len(PARTS), len(PARTS))
    return load_bundle(folder)


def choose_precision(net: str, precision: Precision, *, upcast: bool) -> Precision:
    """That of a network where ``precision`` is asked for all.

    The encoder of an autoencoder whose configuration says ``force_upcast`` (the published one does) computes in float32
    in any case, with weights in halves; it runs once per key picture.
    """
    return "stored-halves" if net == VAE_ENCODER and upcast and precision == "fp16" else precision


def wrap_network(net: str, module: nn.Module, forwards: bool = True) -> nn.Module:
    """A published network with the inputs of a bundle's network ``net``, one of `PARTS`."""
    wrapped = Reference(module, forwards) if net == REFERENCE else _WRAPPERS[net](module)
    return wrapped.eval()


def make_example(tensors: Tensors, *, small: bool) -> dict[str, Tensor]:
    """Inputs of a network: noise, flow of a few cells that ends up inside and outside, times of the sampler.

    Args:
        tensors: of the contract.
        small: lengths to be computed with; else those to be traced with, of which no two are alike.
    """
    random = torch.Generator().manual_seed(7)
    lengths = {"N": 1, "B": 1, "T": 2, "h": 1, "w": 2} if small else {"N": 4, "B": 2, "T": 3, "h": 2, "w": 3}
    if not small and any(spec.name in ("z", "picture") for spec in tensors[0]) and len(tensors[0]) == 1:
        lengths |= {"h": 5, "w": 7}
    given: dict[str, Tensor] = {}
    for spec in tensors[0]:
        shape = [factor * lengths[symbol] if symbol else factor for factor, symbol in map(split_dimension, spec.shape)]
        given[spec.name] = torch.randn(shape, generator=random)
        if spec.name == "flow":
            given[spec.name] *= 20
            given[spec.name][:, 0] = 0
        elif spec.name == "ids":
            given[spec.name] = torch.tensor([[6.0, 128.0, 0.02]]).expand(shape).contiguous()
    return given


def _record_case(module: nn.Module, example: Mapping[str, Tensor]) -> Case:
    with torch.no_grad():
        given = module(**example)
    outputs = [given] if isinstance(given, Tensor) else list(given)
    return Case({name: value.numpy() for name, value in example.items()}, [value.numpy() for value in outputs])


def _check_room(folder: Path, tensors: Mapping[str, Mapping[str, Any]], precision: Precision) -> None:
    """Refuse to begin where the disk cannot hold the bundle and the largest network a second time."""
    width = 4 if precision == "fp32" else 2
    values = [sum(tensor.numel() for tensor in network.values()) for network in tensors.values()]
    needed, free = sum(values) * width + max(values) * 4, shutil.disk_usage(folder).free
    if needed > free:
        raise ExportError(f"{folder}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
