"""One torch module to one ONNX file that every backend takes: opset 20, free dimensions, weights stored in halves."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tgvc.backends.spec import Dimension, TensorSpec, bind_shapes, split_dimension

OPSET = 20  # from 23 on attention is one node, which TensorRT-RTX does not build
STORED_IN_HALVES = 64  # values from which on a weight is
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # whose second input is the weights
_REFUSED = {"If", "Loop", "Scan", "Attention", "SequenceConstruct", "ConvInteger", "MatMulInteger", "NonZero"}
_MAX_RANK_OF_WEIGHTS = {"Conv": 4, "ConvTranspose": 4}


class ExportError(ValueError):
    """A module that does not become a file as the bundle wants it: names what is wrong."""


def export_module(
    module: nn.Module,
    example: Mapping[str, Tensor],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    path: Path,
) -> None:
    """Write a module as an ONNX file.

    Args:
        module: its ``forward`` takes the inputs by name and gives the outputs in order.
        example: tensors to trace with; every free dimension should be longer than 1, and no two alike.
        inputs: specs of the inputs.
        outputs: specs of the outputs.
        path: of the file.

    Raises:
        ExportError: the example does not fit the specs, or the graph holds what a backend refuses.
    """
    given = {spec.name: example[spec.name] for spec in inputs}
    try:
        bind_shapes(inputs, {name: tuple(value.shape) for name, value in given.items()})
    except ValueError as fault:
        raise ExportError(f"example: {fault}") from fault
    module = module.eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of packages that nothing here needs
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself; what matters is checked below
        program = torch.onnx.export(
            module,
            args=(),
            kwargs=given,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=_dynamic_shapes(inputs),
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            verbose=False,
        )
    model = program.model_proto
    tidy_graph(model, inputs, outputs)
    store_in_halves(model)
    check_graph(model, inputs, outputs)
    path.write_bytes(model.SerializeToString())


def tidy_graph(model: onnx.ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Drop traces of the sources and shapes of values in between; name dimensions as in the specs."""
    del model.graph.value_info[:]
    for thing in (model, model.graph, *model.graph.node, *model.graph.initializer):
        del thing.metadata_props[:]
        thing.doc_string = ""
    model.graph.name = "net"
    model.producer_name, model.producer_version = "tgvc", ""
    for values, specs in ((model.graph.input, inputs), (model.graph.output, outputs)):
        by_name = {spec.name: spec for spec in specs}
        for value in values:
            if value.name in by_name:
                spec = by_name[value.name]
                del value.metadata_props[:]
                value.type.tensor_type.shape.CopyFrom(_shape_proto(spec.shape))


def store_in_halves(model: onnx.ModelProto) -> None:
    """Store large float32 weights as float16, each behind a Cast back to float32: half the file, the same arithmetic.

    Only what layers multiply with: biases and scales cost nothing, and rates of sines would not bear it.

    Raises:
        ExportError: a weight does not fit in a half.
    """
    used = [(n.input[k], k == 1 and n.op_type in _WEIGHTED) for n in model.graph.node for k in range(len(n.input))]
    weights = {name for name, weighted in used if weighted} - {name for name, weighted in used if not weighted}
    casts = []
    for weight in model.graph.initializer:
        if (
            weight.name not in weights
            or weight.data_type != TensorProto.FLOAT
            or int(np.prod(weight.dims)) < STORED_IN_HALVES
        ):
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if not np.isfinite(halves).all():
            raise ExportError(f"weight {weight.name}: values up to {np.abs(values).max():g} do not fit in float16")
        stored = numpy_helper.from_array(halves, weight.name + ".half")
        name = weight.name
        casts.append(helper.make_node("Cast", [stored.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
        weight.CopyFrom(stored)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def check_graph(model: onnx.ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Refuse a graph that does not keep the rules of a bundle.

    Raises:
        ExportError: every fault found.
    """
    faults = [f"opset {o.version} of {o.domain or 'ai.onnx'}" for o in model.opset_import if _foreign(o)]
    faults += [f"function {f.name}" for f in model.functions]
    rank = {weight.name: len(weight.dims) for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in rank:
            rank[node.output[0]] = rank[node.input[0]]
    for node in model.graph.node:
        if node.op_type in _REFUSED or node.domain not in ("", "ai.onnx"):
            faults.append(f"node {node.op_type} of {node.domain or 'ai.onnx'}")
        most = _MAX_RANK_OF_WEIGHTS.get(node.op_type)
        if most is not None and rank.get(node.input[1], most + 1) > most:
            faults.append(f"{node.op_type} {node.name} whose weights are not constants of {most} dimensions")
    faults += [f"weights of {w.name} in another file" for w in model.graph.initializer if w.external_data]
    for found, specs in ((model.graph.input, inputs), (model.graph.output, outputs)):
        names = [value.name for value in found]
        if names != [spec.name for spec in specs]:
            faults.append(f"tensors {', '.join(names)}, expected {', '.join(s.name for s in specs)}")
        faults += [
            f"{value.name} of type {value.type.tensor_type.elem_type}, expected {spec.dtype}"
            for value in found
            for spec in specs
            if spec.name == value.name and value.type.tensor_type.elem_type != _element(spec.dtype)
        ]
    if faults:
        raise ExportError("the graph has " + "; ".join(sorted(set(faults))))
    onnx.checker.check_model(model, full_check=True)


def _foreign(opset: Any) -> bool:
    return opset.domain not in ("", "ai.onnx") or opset.version != OPSET


def _element(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


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


def _shape_proto(shape: Sequence[Dimension]) -> onnx.TensorShapeProto:
    proto = onnx.TensorShapeProto()
    for dimension in shape:
        entry = proto.dim.add()
        if isinstance(dimension, int):
            entry.dim_value = dimension
        else:
            entry.dim_param = dimension
    return proto
