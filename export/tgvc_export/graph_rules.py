"""What a graph has to keep to so that every backend takes it: read from the graph, not believed of the exporter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tgvc.backends.spec import Dimension, TensorSpec, split_dimension

OPSET = 20  # from 23 on attention is one node, which TensorRT-RTX does not build
OPSETS = (20, 23)
_CONTROL = {"If", "Loop", "Scan", "SequenceConstruct", "NonZero"}
_REFUSED = _CONTROL | {"ConvInteger", "MatMulInteger"}
_OF_SHAPES = {"Shape", "Size"}  # whose answers a static graph knows already
_MAX_RANK_OF_WEIGHTS = {"Conv": 4, "ConvTranspose": 4}
_SMALL = 64  # values of an initializer that may say what a shape is
_SUMS = {
    "InstanceNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "Softmax",
    "LogSoftmax",
}  # of float32, always


class ExportError(ValueError):
    """A module that does not become a file as the bundle wants it: names what is wrong."""


def check_graph(
    model: onnx.ModelProto,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    opset: int = OPSET,
    static: bool = False,
    folder: Path | None = None,
) -> None:
    """Refuse a graph that does not keep the rules of a bundle.

    Args:
        model: without the data of weights if they lie in another file.
        inputs: specs of the inputs.
        outputs: specs of the outputs.
        opset: that the graph has to be of.
        static: no node may ask for a shape, and no dimension may be free.
        folder: of the model, if weights may lie in another file, which must be there.

    Raises:
        ExportError: every fault found.
    """
    faults = [f"opset {o.version} of {o.domain or 'ai.onnx'}" for o in model.opset_import if _foreign(o, opset)]
    faults += [f"function {f.name}" for f in model.functions]
    refused = _REFUSED | (_OF_SHAPES if static else set()) | ({"Attention"} if opset < 23 else set())
    for node in model.graph.node:
        if node.op_type in refused or node.domain not in ("", "ai.onnx"):
            faults.append(f"node {node.op_type} of {node.domain or 'ai.onnx'}")
    faults += _faults_of_weights(model)
    if folder is None:
        faults += [f"weights of {w.name} in another file" for w in model.graph.initializer if w.external_data]
    for found, specs in ((model.graph.input, inputs), (model.graph.output, outputs)):
        faults += _faults_of_tensors(found, specs, static)
    if faults:
        raise ExportError("the graph has " + "; ".join(sorted(set(faults))))
    if folder is None:
        onnx.checker.check_model(model, full_check=True)
    if wrong := _narrow_sums(model):
        raise ExportError("the graph has " + "; ".join(wrong))


def tidy_graph(model: onnx.ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Drop traces of the sources and shapes of values in between; name dimensions as in the specs.

    Raises:
        ExportError: an input or output has not the shape of its spec.
    """
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
                _refuse_other_shape(value, spec)
                del value.metadata_props[:]
                value.type.tensor_type.shape.CopyFrom(_shape_proto(spec.shape))


def fix_specs(specs: Sequence[TensorSpec], lengths: dict[str, int]) -> tuple[TensorSpec, ...]:
    """Specs with lengths in place of symbols, as a static graph has them.

    Raises:
        ExportError: a symbol has no length.
    """
    fixed = []
    for spec in specs:
        parts = [split_dimension(dimension) for dimension in spec.shape]
        if unknown := [symbol for _, symbol in parts if symbol and symbol not in lengths]:
            raise ExportError(f"{spec.name}: no input says how long {', '.join(unknown)} is")
        fixed.append(TensorSpec(spec.name, spec.dtype, tuple(f * lengths[s] if s else f for f, s in parts)))
    return tuple(fixed)


def count_nodes(model: onnx.ModelProto) -> dict[str, int]:
    """How many nodes of each operator a graph has, by name."""
    kinds = [node.op_type for node in model.graph.node]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _faults_of_weights(model: onnx.ModelProto) -> list[str]:
    rank = {weight.name: len(weight.dims) for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in rank:
            rank[node.output[0]] = rank[node.input[0]]
    faults = []
    for node in model.graph.node:
        most = _MAX_RANK_OF_WEIGHTS.get(node.op_type)
        if most is not None and rank.get(node.input[1], most + 1) > most:
            faults.append(f"{node.op_type} {node.name} whose weights are not constants of {most} dimensions")
    return faults


def _faults_of_tensors(found: Sequence[onnx.ValueInfoProto], specs: Sequence[TensorSpec], static: bool) -> list[str]:
    names = [value.name for value in found]
    if names != [spec.name for spec in specs]:
        return [f"tensors {', '.join(names)}, expected {', '.join(s.name for s in specs)}"]
    faults = []
    for value, spec in zip(found, specs, strict=True):
        kind = value.type.tensor_type.elem_type
        if kind != helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)):
            faults.append(f"{value.name} of type {kind}, expected {spec.dtype}")
        if static and not all(d.dim_value for d in value.type.tensor_type.shape.dim):
            faults.append(f"{value.name} with free dimensions, expected lengths")
    return faults


def _narrow_sums(model: onnx.ModelProto) -> list[str]:
    """Norms and softmaxes whose input is not float32."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    for weight in model.graph.initializer:
        if int(np.prod(weight.dims)) > _SMALL or weight.external_data:  # of a weight the type and shape are enough
            light.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
        else:
            light.graph.initializer.append(weight)
    typed = onnx.shape_inference.infer_shapes(light)
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*typed.graph.value_info, *typed.graph.input)}
    return [
        f"{node.op_type} {node.name} of float16, expected float32"
        for node in model.graph.node
        if node.op_type in _SUMS and kinds.get(node.input[0]) == TensorProto.FLOAT16
    ]


def _foreign(opset: onnx.OperatorSetIdProto, wanted: int) -> bool:
    return opset.domain not in ("", "ai.onnx") or opset.version != wanted


def _refuse_other_shape(value: onnx.ValueInfoProto, spec: TensorSpec) -> None:
    found = [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
    same = len(found) == len(spec.shape) and all(
        a == b for a, b in zip(found, spec.shape, strict=True) if isinstance(a, int) and isinstance(b, int)
    )
    if not same:
        raise ExportError(f"{value.name} has shape {tuple(found)}, expected ({', '.join(map(str, spec.shape))})")


def _shape_proto(shape: Sequence[Dimension]) -> onnx.TensorShapeProto:
    proto = onnx.TensorShapeProto()
    for dimension in shape:
        entry = proto.dim.add()
        if isinstance(dimension, int):
            entry.dim_value = dimension
        else:
            entry.dim_param = dimension
    return proto
