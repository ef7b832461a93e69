"""An ONNX file as plain values: nodes in order, weights as arrays, tensors that go in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from tgvc.backends.pytorch.layers import LAYERS
from tgvc.backends.spec import NetRecord, tensor_faults
from tgvc.errors import BackendError, BundleError

OPSETS = range(20, 24)  # whose operators are those of `LAYERS`
SHAPE = "Shape"  # answered from what is known before anything runs, so that it is no function on tensors
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Node:
    """One operator: its kind, names of what it takes (empty: left out) and gives, its attributes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """A network. ``weights``: by name, of the precision in the file; large ones are mapped from their file.

    ``constants``: nodes whose inputs are weights or constants themselves, in order. ``nodes``: all others, in order.
    """

    name: str
    nodes: Sequence[Node]
    constants: Sequence[Node]
    weights: Mapping[str, Array]
    inputs: Sequence[str]
    outputs: Sequence[str]


def read_graph(record: NetRecord) -> Graph:
    """Read and check the file of a record; nothing in it is run.

    Raises:
        BundleError: the file is not that of the record, or its tensors are not.
        BackendError: it is no ONNX file of a known opset, or has operators that are not known: all are named.
    """
    data = record.read()
    if record.data is not None:
        record.verify()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as fault:  # protobuf's errors have no common root below this
        raise BackendError(f"torch does not take {record.name}: {' '.join(str(fault).split())[:300]}") from fault
    if faults := _faults(model):
        raise BackendError(f"torch does not take {record.name}: {'; '.join(faults)}")
    weights = {weight.name: _read_weight(record, weight) for weight in model.graph.initializer}
    found = [{v.name: _describe(v) for v in side if v.name not in weights} for side in (model.graph.input,)]
    found.append({value.name: _describe(value) for value in model.graph.output})
    if told := [*tensor_faults(found[0], record.inputs), *tensor_faults(found[1], record.outputs)]:
        raise BundleError(f"{record.path.name}: " + "; ".join(told))
    nodes, constants, known = [], [], set(weights)
    for node in map(_read_node, model.graph.node):
        if node.kind == "Constant":
            weights[node.outputs[0]] = _constant(record, node)
            known.update(node.outputs)
        elif all(name in known for name in node.inputs if name) and any(node.inputs):
            constants.append(node)
            known.update(node.outputs)
        else:
            nodes.append(node)
    return Graph(record.name, nodes, constants, weights, tuple(found[0]), [v.name for v in model.graph.output])


def _faults(model: onnx.ModelProto) -> list[str]:
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    faults = [] if opset in OPSETS else [f"opset {opset}, expected {OPSETS[0]} to {OPSETS[-1]}"]
    if not model.graph.node:
        faults.append("a graph without nodes")
    known = {("ai.onnx", kind) for kind in (*LAYERS, SHAPE, "Constant")}
    used = {(node.domain or "ai.onnx", node.op_type) for node in model.graph.node}
    return faults + [f"operator {kind} of {domain} is not known" for domain, kind in sorted(used - known)]


def _read_node(node: onnx.NodeProto) -> Node:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    plain = {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}
    return Node(node.op_type, tuple(node.input), tuple(node.output), plain)


def _read_weight(record: NetRecord, weight: onnx.TensorProto) -> Array:
    if weight.data_location != onnx.TensorProto.EXTERNAL:
        return np.asarray(numpy_helper.to_array(weight))
    place = {entry.key: entry.value for entry in weight.external_data}
    if record.data is None or place.get("location") != record.data.path.name:
        raise BackendError(
            f"torch does not take {record.name}: weights of {weight.name} lie in a file that its manifest does not name"
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(weight.data_type)
    shape, offset = tuple(weight.dims), int(place.get("offset", 0))
    if offset < 0 or offset + int(np.prod(shape)) * dtype.itemsize > record.data.size:
        raise BackendError(f"torch does not take {record.name}: weights of {weight.name} end after their file")
    if not shape:
        return np.fromfile(record.data.path, dtype, 1, offset=offset).reshape(())
    return np.memmap(record.data.path, dtype, "r", offset, shape)


def _constant(record: NetRecord, node: Node) -> Array:
    (name, value), *_ = node.attributes.items()
    if isinstance(value, onnx.TensorProto):
        return np.asarray(numpy_helper.to_array(value))
    if name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    if name in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    raise BackendError(f"torch does not take {record.name}: a Constant of {name}")


def _describe(value: onnx.ValueInfoProto) -> tuple[str, list[Any]]:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "none"
    return dtype, [d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim]
