"""The cost of an ONNX file at given sizes: shapes are carried through its graph, node by node; needs onnx."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

from tgvc.backends.spec import NetRecord, split_dimension
from tgvc.errors import BackendUnavailableError, BundleError
from tgvc.models.cost import Cost, Kind, Operation

_VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Shape", "Constant", "Size"}
_LIGHT = {
    "Cast",
    "Mul",
    "Div",
    "Add",
    "Identity",
    "Where",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Sqrt",
}  # round a softmax
_SMALL = 4096  # values: what is computed on the way, because shapes depend on it
Shape = tuple[int, ...]


def measure_net(record: NetRecord, lengths: Mapping[str, int]) -> Cost:
    """The cost of a network of a bundle.

    Args:
        record: of the network.
        lengths: of all symbols in the shapes of its inputs; those of a network made for one size are ignored.

    Raises:
        BackendUnavailableError: the package onnx is not installed.
        BundleError: a symbol without a length, or a graph whose shapes cannot be told.
    """
    shapes = {}
    for spec in record.inputs:
        parts = [split_dimension(dimension) for dimension in spec.shape]
        if lost := [symbol for _, symbol in parts if symbol and symbol not in lengths]:
            raise BundleError(f"{record.name}: no length for {lost[0]} of {spec}; give one")
        shapes[spec.name] = tuple(factor * lengths[symbol] if symbol else factor for factor, symbol in parts)
    return measure_graph(record.path, shapes, record.name)


def measure_graph(path: Path, shapes: Mapping[str, Shape], name: str = "") -> Cost:
    """The cost of an ONNX file.

    Args:
        path: of the file; weights beside it are not read.
        shapes: of its inputs, by their names.
        name: of the network.

    Raises:
        BackendUnavailableError: the package onnx is not installed.
        BundleError: not such a file, or a graph whose shapes cannot be told.
    """
    try:
        onnx, _ = import_module("onnx"), import_module("onnx.reference")
    except ImportError as fault:
        raise BackendUnavailableError("cost: onnx is not installed: pip install 'tgvc[export]'") from fault
    try:
        model = onnx.load(str(path), load_external_data=False)
        return _Walk(onnx, model, shapes).cost(name or path.stem)
    except BundleError as fault:
        raise BundleError(f"{path.name}: {fault}") from fault
    except Exception as fault:  # whatever a parser of foreign files raises
        raise BundleError(f"{path.name}: its cost cannot be told: {' '.join(str(fault).split())[:200]}") from fault


@dataclass(frozen=True)
class _Value:
    """What is known of a value: its type, its content if it is small and known, whether it depends on an input."""

    type: Any
    shape: Shape
    item: int
    data: Any = None
    constant: bool = False

    @property
    def bytes(self) -> int:
        return prod(self.shape) * self.item


class _Walk:
    """One pass over a graph."""

    def __init__(self, onnx: Any, model: Any, shapes: Mapping[str, Shape]) -> None:
        self._onnx, self._nodes = onnx, list(model.graph.node)  # one object each, so that they can be told apart
        self._opsets, self._ir = list(model.opset_import), model.ir_version
        self._versions = {opset.domain: opset.version for opset in model.opset_import}
        self._values: dict[str, _Value] = {}
        self._weights: dict[str, _Value] = {}
        helper = onnx.helper
        for tensor in model.graph.initializer:
            kind = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
            small = prod(tensor.dims) <= _SMALL and not tensor.external_data
            data = onnx.numpy_helper.to_array(tensor) if small else None
            self._weights[tensor.name] = self._values[tensor.name] = self._known(kind, data, constant=True)
        for given in model.graph.input:
            if given.name in self._values:
                continue
            if given.name not in shapes:
                raise BundleError(f"no shape for the input {given.name}")
            kind = helper.make_tensor_type_proto(given.type.tensor_type.elem_type, list(shapes[given.name]))
            self._values[given.name] = self._known(kind, None)

    def cost(self, name: str) -> Cost:
        """Carry shapes through all nodes, then count."""
        for node in self._nodes:
            self._infer(node)
        scores, attention = self._find_attention()
        operations = []
        for node in self._nodes:
            if id(node) in attention:
                operations.append(attention[id(node)])
            elif id(node) not in scores and (operation := self._count(node)) is not None:
                operations.append(operation)
        fractions = [value for value in self._weights.values() if value.type.tensor_type.elem_type in self._floats()]
        written = sum(self._count_bytes(node) for node in self._nodes if id(node) in scores)
        heavy = sum(operation.bytes for operation in attention.values())
        written += sum(self._count_bytes(node) for node in self._nodes if id(node) in attention) - heavy
        return Cost(
            name,
            tuple(operations),
            sum(prod(value.shape) for value in fractions),
            sum(value.bytes for value in self._weights.values()),
            written,
        )

    def _floats(self) -> set[int]:
        kinds = self._onnx.TensorProto
        return {kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE}

    def _known(self, kind: Any, data: Any, *, constant: bool = False) -> _Value:
        tensor = kind.tensor_type
        if any(not dimension.HasField("dim_value") for dimension in tensor.shape.dim):
            raise BundleError("a length depends on what is computed")
        item = self._onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
        return _Value(kind, tuple(dimension.dim_value for dimension in tensor.shape.dim), item, data, constant)

    def _infer(self, node: Any) -> None:
        """What is known of a node's outputs, from its inputs; small contents are computed."""
        inputs = [self._values[name] for name in node.input if name]
        constant = node.op_type != "Shape" and all(value.constant for value in inputs)
        schema = self._onnx.defs.get_schema(node.op_type, self._versions.get(node.domain, 1), node.domain)
        data = {
            name: self._onnx.numpy_helper.from_array(self._values[name].data)
            for name in node.input
            if name and self._values[name].data is not None
        }
        kinds = self._onnx.shape_inference.infer_node_outputs(
            schema, node, {name: self._values[name].type for name in node.input if name}, data, None,
            opset_imports=self._opsets, ir_version=self._ir,
        )  # fmt: skip
        found: dict[str, Any] = {}
        if node.op_type == "Shape":
            found = self._evaluate(node, {node.input[0]: self._blank(inputs[0])})
        elif all(value.data is not None for value in inputs):
            found = self._evaluate(node, {name: self._values[name].data for name in node.input if name})
        for name in node.output:
            if not name:
                continue
            if name in found and found[name].size <= _SMALL:
                value = found[name]
                kind = self._onnx.helper.make_tensor_type_proto(
                    self._onnx.helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape)
                )
                self._values[name] = self._known(kind, value, constant=constant)
            elif name in kinds and kinds[name].tensor_type.HasField("shape"):
                self._values[name] = self._known(kinds[name], None, constant=constant)
            else:
                raise BundleError(f"{node.op_type} {node.name}: its shape cannot be told")

    def _blank(self, value: _Value) -> Any:
        import numpy as np

        return np.broadcast_to(np.zeros((), np.float32), value.shape)

    def _evaluate(self, node: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        import numpy as np

        outputs = self._onnx.reference.ReferenceEvaluator(node).run(None, dict(given))
        return {name: np.asarray(value) for name, value in zip(node.output, outputs, strict=False)}

    def _shapes(self, node: Any) -> tuple[Shape, ...]:
        return tuple(self._values[name].shape for name in node.input if name)

    def _count_bytes(self, node: Any) -> int:
        """Read and written; 0 for views and for what a runtime computes when it loads: weights that are cast, sizes."""
        made = [self._values[name] for name in node.output if name]
        if node.op_type in _VIEWS or all(value.constant or value.data is not None for value in made):
            return 0
        return sum(value.bytes for value in made) + sum(self._values[name].bytes for name in node.input if name)

    def _count(self, node: Any) -> Operation | None:
        """The operation of a node; None for one that moves nothing."""
        moved = self._count_bytes(node)
        if not moved:
            return None
        kind, flop = self._products(node)
        return Operation(kind, node.op_type, self._shapes(node), flop, moved)

    def _products(self, node: Any) -> tuple[Kind, int]:
        """Kind and FLOP of a node."""
        shapes, out = self._shapes(node), self._values[node.output[0]].shape
        if node.op_type == "Conv":
            return "convolution", 2 * prod(out) * prod(shapes[1][1:])
        if node.op_type == "ConvTranspose":
            return "convolution", 2 * prod(shapes[0]) * prod(shapes[1][1:])
        if node.op_type == "MatMul":
            return "product", 2 * prod(out) * shapes[0][-1]
        if node.op_type == "Gemm":
            turned = any(a.name == "transA" and a.i for a in node.attribute)
            return "product", 2 * prod(out) * shapes[0][0 if turned else 1]
        if node.op_type == "Attention":
            return "attention", _attention_flop(shapes[0], shapes[1], shapes[2], node)
        if node.op_type in ("Einsum", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"):
            raise BundleError(f"{node.op_type} {node.name}: how much it computes is not known")
        return "other", 0

    def _find_attention(self) -> tuple[set[int], dict[int, Operation]]:
        """Nodes between two products around a softmax, and what stands for the second product: both in one."""
        made_by = {name: node for node in self._nodes for name in node.output}
        used_by: dict[str, list[Any]] = {}
        for node in self._nodes:
            for name in node.input:
                used_by.setdefault(name, []).append(node)
        inside: set[int] = set()
        found: dict[int, Operation] = {}
        for softmax in self._nodes:
            if softmax.op_type != "Softmax":
                continue
            before = list(_back(softmax, made_by))
            after = list(_forth(softmax, used_by))
            if not before or not after or before[-1].op_type != "MatMul" or after[-1].op_type != "MatMul":
                continue
            first, last = before[-1], after[-1]
            flop = self._products(first)[1] + self._products(last)[1]
            ends = (*first.input, last.input[1], last.output[0])
            moved = sum(self._values[name].bytes for name in ends)
            shapes = (*self._shapes(first), self._values[last.input[1]].shape)
            found[id(last)] = Operation("attention", "Attention", shapes, flop, moved)
            inside |= {id(node) for node in (*before, softmax, *after[:-1])}
        return inside, found


def _back(node: Any, made_by: Mapping[str, Any]) -> Iterator[Any]:
    """Light nodes before a node, along their first inputs, and the first one that is not light."""
    while (before := made_by.get(node.input[0])) is not None:
        yield before
        if before.op_type not in _LIGHT:
            return
        node = before


def _forth(node: Any, used_by: Mapping[str, list[Any]]) -> Iterator[Any]:
    """Light nodes after a node, where nothing else uses what they make, and the first one that is not light."""
    while len(after := used_by.get(node.output[0], [])) == 1 and after[0].input[0] == node.output[0]:
        yield after[0]
        if after[0].op_type not in _LIGHT:
            return
        node = after[0]


def _attention_flop(q: Shape, k: Shape, v: Shape, node: Any) -> int:
    """Both products of ONNX's Attention, whose inputs have their heads beside each other (3-D) or apart (4-D)."""
    heads: dict[str, int] = {a.name: a.i for a in node.attribute}
    if len(q) == 3:
        count, inner = heads["q_num_heads"], heads.get("kv_num_heads", heads["q_num_heads"])
        key, value = k[-1] // inner, v[-1] // inner
    else:
        count, key, value = q[1], k[-1], v[-1]
    return 2 * q[0] * count * q[-2] * k[-2] * (key + value)
