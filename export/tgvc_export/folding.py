"""What of a traced graph is done once at export instead of at every start: weights turned into the shape they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript import optimizer

_LARGE = 8192  # values from which on a constant is not computed but kept
_Change = Callable[[np.ndarray], np.ndarray]


def tidy_program(model: ir.Model) -> None:
    """Inline, compute what is constant, drop what is unused or there twice; then `fold_weights`.

    A choice of the exporter's own passes. Its search for patterns is left out: it takes most of the time, minutes for a
    large network, and what it finds there every runtime does by itself when it loads a graph.
    """
    common.InlinePass()(model)
    optimizer.fold_constants_ir(
        model, onnx_shape_inference=True, input_size_limit=_LARGE, output_size_limit=_LARGE, should_fold=_keep_large
    )
    steps: Any = ir.passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(size_limit=_LARGE),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )
    steps(model)
    fold_weights(model)


def fold_weights(model: ir.Model) -> None:
    """Replace weights and the nodes that only turn, squeeze or reshape them by weights of that shape.

    Lazily: the numbers are moved when the file is written, one weight after another.
    """
    graph = model.graph
    changed = True
    while changed:  # a weight may be squeezed and then turned
        changed = False
        for node in list(graph):
            weight = node.inputs[0] if node.inputs else None
            if weight is None or weight.name not in graph.initializers or weight.const_value is None:
                continue
            change = _read_change(node)
            if change is None:
                continue
            folded = _fold(weight, change, f"{weight.name}.{node.op_type.lower()}", graph.initializers)
            node.outputs[0].replace_all_uses_with(folded)
            graph.remove(node, safe=True)
            changed = True
    for name, weight in list(graph.initializers.items()):
        if not weight.uses() and not weight.is_graph_output():
            del graph.initializers[name]


def _keep_large(node: ir.Node) -> bool | None:
    """No for nodes that would make a second copy of a weight now; else as the pass decides."""
    tensors = [value.const_value for value in node.inputs if value is not None]
    return False if any(tensor is not None and tensor.size > _LARGE for tensor in tensors) else None


def _fold(weight: Any, change: _Change, name: str, initializers: Any) -> Any:
    if name in initializers:
        name = f"{name}.{len(initializers)}"
    source = weight.const_value
    # a tensor without numbers, so that nothing is moved to learn the shape
    shape = change(np.broadcast_to(np.zeros((), np.int8), tuple(source.shape))).shape
    lazy = ir.LazyTensor(
        lambda: ir.Tensor(np.ascontiguousarray(change(source.numpy())), dtype=source.dtype, name=name),
        dtype=source.dtype,
        shape=ir.Shape(shape),
        name=name,
    )
    value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(source.dtype), const_value=lazy)
    initializers[name] = value
    return value


def _read_change(node: ir.Node) -> _Change | None:
    """What a node does to an array, if it only moves numbers and says so in constants."""
    read = _CHANGES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    return read(node) if read is not None else None


def _read_transpose(node: ir.Node) -> _Change:
    given = node.attributes.get("perm")
    order = None if given is None else tuple(given.as_ints())
    return lambda values: values.transpose(order)


def _read_squeeze(node: ir.Node) -> _Change | None:
    axes = _constant(node, 1)
    if axes is None:
        return None
    return lambda values: values.squeeze(tuple(int(axis) for axis in axes))


def _read_reshape(node: ir.Node) -> _Change | None:
    target = _constant(node, 1)
    if target is None:
        return None

    def change(values: np.ndarray) -> np.ndarray:
        return values.reshape([values.shape[n] if length == 0 else int(length) for n, length in enumerate(target)])

    return change


_CHANGES: Mapping[str, Callable[[ir.Node], _Change | None]] = {
    "Transpose": _read_transpose,
    "Squeeze": _read_squeeze,
    "Reshape": _read_reshape,
}


def _constant(node: ir.Node, number: int) -> np.ndarray | None:
    """An input that is constant, whether as an initializer or as the output of a node."""
    given = node.inputs[number] if len(node.inputs) > number else None
    found = None if given is None else ir.convenience.get_const_tensor(given)
    return None if found is None else found.numpy().reshape(-1)
