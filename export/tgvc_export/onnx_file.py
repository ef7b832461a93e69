"""One torch module to one ONNX file that every backend takes, in a chosen precision, with free or fixed dimensions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tgvc.backends.spec import TensorSpec, bind_shapes, split_dimension
from tgvc_export.folding import tidy_program
from tgvc_export.graph_rules import OPSET, OPSETS, ExportError, check_graph, fix_specs, tidy_graph
from tgvc_export.large_file import MOST_BYTES, save_large
from tgvc_export.precision import Precision, halve_module, store_in_halves
from tgvc_export.translations import translation_table


def export_module(
    module: nn.Module,
    example: Mapping[str, Tensor],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    path: Path,
    *,
    precision: Precision = "stored-halves",
    static: bool = False,
    opset: int = OPSET,
) -> tuple[Path, ...]:
    """Write a module as an ONNX file.

    Args:
        module: its ``forward`` takes the inputs by name and gives the outputs in order; see `halve_module` for what it
            may say about ``fp16``.
        example: tensors to trace with, of the types of the specs. For free dimensions, every length should be longer
            than 1, and no two lengths or products of lengths alike. With ``static``, their lengths become fixed.
        inputs: specs of the inputs.
        outputs: specs of the outputs.
        path: of the file.
        precision: ``fp32``; ``fp16`` with float32 inputs, outputs and islands; or ``stored-halves``: float16 weights,
            float32 arithmetic.
        static: fix all dimensions at the lengths of the example; the graph then asks for no shape. The specs of such a
            file are those that `fix_specs` makes.
        opset: 20, which everything takes; or 23, where attention is one node, for ONNX Runtime alone.

    Returns:
        The files that were written: the graph, and beside it the weights where one file could not hold them.

    Raises:
        ExportError: the example does not fit the specs, or the graph holds what a backend refuses.
    """
    if opset not in OPSETS:
        raise ExportError(f"opset {opset}: expected one of {', '.join(map(str, OPSETS))}")
    given = {spec.name: example[spec.name] for spec in inputs}
    try:
        lengths = bind_shapes(inputs, {name: tuple(value.shape) for name, value in given.items()})
    except ValueError as fault:
        raise ExportError(f"example: {fault}") from fault
    if static:
        inputs, outputs = fix_specs(inputs, lengths), fix_specs(outputs, lengths)
    module = halve_module(module).eval() if precision == "fp16" else module.eval()
    program = _trace(module, given, inputs, outputs, opset)
    tidy_program(program.model)
    rules: Any = {"opset": opset, "static": static}
    if _bytes_of_weights(program.model) > MOST_BYTES:
        return save_large(program.model, path, inputs, outputs, halves=precision == "stored-halves", **rules)
    model = program.model_proto
    tidy_graph(model, inputs, outputs)
    if precision == "stored-halves":
        store_in_halves(model)
    check_graph(model, inputs, outputs, **rules)
    path.write_bytes(model.SerializeToString())
    return (path,)


def _trace(
    module: nn.Module,
    given: dict[str, Tensor],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    opset: int,
) -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of packages that nothing here needs
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself; what matters is checked afterwards
        return torch.onnx.export(
            module,
            args=(),
            kwargs=given,
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=_dynamic_shapes(inputs),
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            custom_translation_table=dict(translation_table(opset)),
            optimize=False,  # done by `tidy_program`
            verbose=False,
        )


def _bytes_of_weights(model: Any) -> int:
    weights = model.graph.initializers.values()
    return sum(weight.const_value.nbytes for weight in weights if weight.const_value is not None)


def _dynamic_shapes(specs: Sequence[TensorSpec]) -> dict[str, dict[int, Any]]:
    """Free dimensions of each input; multiples such as 4*h share their symbol, so that torch sees how they relate."""
    symbols: dict[str, Any] = {}
    shapes: dict[str, dict[int, Any]] = {}
    for spec in specs:
        shapes[spec.name] = {}
        for axis, dimension in enumerate(spec.shape):
            factor, symbol = split_dimension(dimension)
            if symbol:
                free = symbols.setdefault(symbol, torch.export.Dim(symbol, min=1, max=4096))
                shapes[spec.name][axis] = free if factor == 1 else factor * free
    return shapes
