"""Small networks of the structure of the published ones, and how their exports are compared with torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from golden import FOLDER
from published_sizes import PUBLISHED
from tgvc.backends.base import load_backend
from tgvc.backends.spec import NetRecord, bind_shapes
from tgvc.models.contract import interpolation_contract
from tgvc_export.check import Case, check_files, describe_file, measure_error
from tgvc_export.graph_rules import fix_specs
from tgvc_export.onnx_file import export_module
from tgvc_export.precision import Precision
from tgvc_export.trt import CAPABILITIES, build_engine
from tgvc_kernels.device.driver import missing_gpu

SMALL = {"cell_px": 2, "window": 3, "context": 24, "image_tokens": 5, "embedding": 40}
CONSTANTS = replace(PUBLISHED, **SMALL, shifts=160, heads=8, head_width=8)
CONTRACT = interpolation_contract(CONSTANTS)


def published_shapes(table: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a published file; the test is skipped where the table is not there."""
    path = FOLDER / "keys" / f"{table}.keys.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there: set TGVC_GOLDEN")
    shapes = json.loads(path.read_text(encoding="utf-8"))["shapes"]
    return {name: tuple(shape) for name, shape in shapes.items()}


def own_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def random_weights(module: nn.Module, seed: int = 5) -> nn.Module:
    """A module whose norms and biases, too, are not those that a fresh one has."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            if value.ndim == 1:
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return module.eval()


def export_net(
    net: str, module: nn.Module, example: Mapping[str, Tensor], folder: Path, precision: Precision, static: bool = False
) -> NetRecord:
    """Export a network of the contract, see `export_module`."""
    path = folder / f"{net}.onnx"
    inputs, outputs = CONTRACT[net]
    export_module(module, example, inputs, outputs, path, precision=precision, static=static)
    if static:
        lengths = bind_shapes(inputs, {name: tuple(value.shape) for name, value in example.items()})
        inputs, outputs = fix_specs(inputs, lengths), fix_specs(outputs, lengths)
    return describe_file(net, path, (inputs, outputs))


def compare_with_torch(record: NetRecord, module: nn.Module, examples: list[Mapping[str, Tensor]]) -> dict[str, float]:
    """Worst errors over examples: in a fresh process with the shipped runtime, and of the backend `torch`."""
    cases = []
    for example in examples:
        with torch.no_grad():
            given: Any = module(**example)
        outputs = [given] if isinstance(given, Tensor) else list(given)
        inputs = {name: value.numpy() for name, value in example.items()}
        cases.append(Case(inputs, [np.ascontiguousarray(value.numpy()) for value in outputs]))
    worst = check_files([record], {record.name: cases})[record.name]
    if missing_gpu():  # else torch runs there, if it can
        net = load_backend("torch", threads=1).load(record)
        for case in cases:
            found = net.run(**case.inputs)
            for spec, want in zip(record.outputs, case.outputs, strict=True):
                errors = measure_error(found[spec.name], want)
                worst = {kind: max(value, errors[kind]) for kind, value in worst.items()}
    return worst


def engine_size(record: NetRecord) -> int:
    """Bytes of what TensorRT-RTX makes of a network for four generations of GPUs."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install 'tgvc[tensorrt-rtx]'")
    return len(build_engine(record, CAPABILITIES, {"N": (1, 2, 4), "h": (4, 8, 16), "w": (4, 8, 16)}))
