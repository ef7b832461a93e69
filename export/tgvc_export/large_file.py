"""Networks whose weights one file cannot hold: the graph in one file, the weights in another beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
import onnx_ir as ir

from tgvc.backends.spec import TensorSpec
from tgvc_export.graph_rules import check_graph, tidy_graph
from tgvc_export.precision import STORED_IN_HALVES, WEIGHTED, hide_behind_cast, round_to_half

MOST_BYTES = (1 << 31) - (1 << 26)  # of weights beside their graph in one file
_KEPT = 1024  # bytes up to which a weight stays in the graph, where shapes are looked for
_ALIGNED = 4096  # a page, so that the file can be mapped


def save_large(
    model: ir.Model,
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    halves: bool,
    opset: int,
    static: bool,
) -> tuple[Path, Path]:
    """Write a graph as two files, without holding the weights a second time; `model` refers to the second then.

    Args:
        model: as torch exported it.
        path: of the graph; the weights go to the same name with ``.data`` behind it.
        inputs: specs of the inputs.
        outputs: specs of the outputs.
        halves: store float32 weights of layers as float16, each behind a Cast.
        opset: that the graph has to be of.
        static: see `tgvc_export.graph_rules.check_graph`.

    Returns:
        Both files; neither is left if something fails.

    Raises:
        ExportError: see `tgvc_export.graph_rules.check_graph`.
    """
    data, part = path.with_name(path.name + ".data"), path.with_name(path.name + ".data.part")
    try:
        with part.open("wb") as stream:
            hidden = _move_weights(model, stream, path.parent, data.name, halves)
        proto = ir.serde.serialize_model(model)
        tidy_graph(proto, inputs, outputs)
        casts = [hide_behind_cast(weight) for weight in proto.graph.initializer if weight.name in hidden]
        nodes = [*casts, *proto.graph.node]
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)
        check_graph(proto, inputs, outputs, opset=opset, static=static, folder=path.parent)
        part.replace(data)
    finally:
        part.unlink(missing_ok=True)
    path.write_bytes(proto.SerializeToString())
    onnx.checker.check_model(str(path))
    return path, data


def _move_weights(model: ir.Model, stream: BinaryIO, folder: Path, name: str, halves: bool) -> set[str]:
    """Write all weights one after another and leave references to them; gives those that were rounded to halves."""
    hidden = set()
    for weight in model.graph.initializers.values():
        source = weight.const_value
        if source is None or source.nbytes <= _KEPT:
            continue
        values, kind = source.numpy(), source.dtype
        if halves and _is_of_layer(weight):
            values, kind = round_to_half(str(weight.name), values), ir.DataType.FLOAT16
            hidden.add(str(weight.name))
        stream.write(b"\0" * (-stream.tell() % _ALIGNED))
        weight.const_value = ir.ExternalTensor(
            name,
            stream.tell(),
            values.nbytes,
            kind,
            shape=ir.Shape(values.shape),
            name=str(weight.name),
            base_dir=folder,
        )
        np.ascontiguousarray(values).tofile(stream)
    return hidden


def _is_of_layer(weight: Any) -> bool:
    """Whether a float32 weight is large, and nothing but layers multiplies with it."""
    if weight.const_value.dtype != ir.DataType.FLOAT or weight.const_value.size < STORED_IN_HALVES:
        return False
    uses = weight.uses()
    return bool(uses) and all(use.node.op_type in WEIGHTED and use.idx == 1 for use in uses)
