"""Torch modules to a bundle: one file per network, checked in a fresh process, then put in its place."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tgvc.models.bundle import ModelBundle, load_bundle, write_manifest
from tgvc.models.constants import AnyConstants
from tgvc.models.contract import contract_of
from tgvc.models.manifest import MANIFEST
from tgvc_export.check import Case, check_bundle
from tgvc_export.graph_rules import ExportError
from tgvc_export.onnx_file import export_module
from tgvc_export.precision import STORED_IN_HALVES

PRECISION = "weights stored as float16, float32 arithmetic"
MAX_BYTES = 40_000_000
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
# Runtime against torch with the same rounded weights: sums in another order, 1e-6 per layer, a few dozen layers deep
_RUNTIME_TOLERANCE = 1e-4
# Rounding to halves changes a weight by 1/2048 at most; what a network makes of that stays far below what can be seen
_STORAGE_TOLERANCE = 2e-2


@dataclass(frozen=True)
class NetExport:
    """A network to be exported.

    ``module``: takes the inputs of the contract by name. ``examples``: inputs by name; the first one traces the module,
    all of them are run in torch and in the shipped runtime. Give real data: the error that the manifest names is
    measured on it. In the first, every free dimension should be longer than 1, and no two alike; the others should have
    other sizes.
    """

    module: nn.Module
    examples: Sequence[Mapping[str, Tensor]]


def export_bundle(
    nets: Mapping[str, NetExport],
    folder: Path,
    *,
    name: str,
    revision: str,
    licence: str,
    constants: AnyConstants,
    notes: Mapping[str, Any] | None = None,
    max_bytes: int = MAX_BYTES,
) -> ModelBundle:
    """Export, check and write a bundle of kind ``residual`` or ``human``; other files of the folder are left alone.

    Args:
        nets: those that the kind of ``constants`` has, see `tgvc.models.contract`.
        folder: to write into, made if needed.
        name: of the bundle.
        revision: of the bundle.
        licence: of the weights.
        constants: of the networks.
        notes: plain values for the manifest: where the data came from, who trained, what was measured.
        max_bytes: of all files together.

    Raises:
        ExportError: a module cannot be exported, differs in the shipped runtime, or the files are too large.
        BundleError: what was written is not a valid bundle.
    """
    contract = contract_of(constants)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as workshop:
        work = Path(workshop)
        for net, export in nets.items():
            export_module(export.module, export.examples[0], *contract[net], work / f"{net}.onnx")

        def describe(errors: Mapping[str, Mapping[str, float]]) -> ModelBundle:
            return write_manifest(
                work,
                name=name,
                revision=revision,
                licence=licence,
                constants=constants,
                nets={net: work / f"{net}.onnx" for net in nets},
                precision=PRECISION,
                errors=errors,
                notes={"exported_with": f"torch {torch.__version__.partition('+')[0]}", **(notes or {})},
            )

        size = sum((work / f"{net}.onnx").stat().st_size for net in nets)
        if size > max_bytes:
            raise ExportError(f"the files take {size} bytes, {max_bytes} are allowed")
        describe({})
        describe(_measure_errors(nets, work))
        for path in (*(work / f"{net}.onnx" for net in nets), work / MANIFEST):
            path.replace(folder / path.name)
    return load_bundle(folder)


def round_weights(module: nn.Module) -> nn.Module:
    """A copy of a module with the weights that the file will hold."""
    rounded = copy.deepcopy(module)
    for layer in rounded.modules():
        if isinstance(layer, _LAYERS) and layer.weight.numel() >= STORED_IN_HALVES:
            layer.weight.data = layer.weight.data.half().float()
    return rounded


def _measure_errors(nets: Mapping[str, NetExport], folder: Path) -> dict[str, dict[str, float]]:
    """Errors of the shipped files against torch, on all examples; refuses those that are too large."""
    errors: dict[str, dict[str, float]] = {}
    for label, tolerance, change in (
        ("runtime", _RUNTIME_TOLERANCE, round_weights),
        ("storage", _STORAGE_TOLERANCE, copy.deepcopy),
    ):
        cases = {
            net: [_record_case(change(export.module).eval(), example) for example in export.examples]
            for net, export in nets.items()
        }
        for net, found in check_bundle(folder, cases).items():
            worst = found["relative_rms"]
            if not worst <= tolerance:
                raise ExportError(f"{net}: relative error of {worst:.2g} ({label}), {tolerance:g} is allowed")
            errors.setdefault(net, {}).update({f"{label}_{kind}": float(f"{v:.3g}") for kind, v in found.items()})
    return errors


def _record_case(module: nn.Module, example: Mapping[str, Tensor]) -> Case:
    with torch.no_grad():
        given = module(**example)
    outputs = [given] if isinstance(given, Tensor) else list(given)
    return Case({name: value.numpy() for name, value in example.items()}, [value.numpy() for value in outputs])
