"""Weights of a network on a device: what its nodes ask for, in the precision of the graph, and how they are swapped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tgvc.backends.pytorch.graph import SHAPE, Array, Graph, Node
from tgvc.backends.pytorch.layers import LAYERS
from tgvc.backends.pytorch.operators import HOST
from tgvc.errors import BackendError

_MOST_NUMBERS, _MOST_INTEGERS = 64, 4096  # what may say a shape or a place has no more


def run_node(node: Node, inputs: list[Any]) -> Any:
    """What a node gives for tensors, with numbers where `HOST` says so; None for an input that is left out."""
    try:
        return LAYERS[node.kind](*inputs, **attributes_of(node))
    except (NotImplementedError, TypeError, KeyError) as fault:
        raise BackendError(f"torch does not take {node.kind} {node.outputs[0]}: {fault}") from fault


def attributes_of(node: Node) -> dict[str, Any]:
    """Attributes as keywords; a tensor among them as a torch tensor."""
    return {name: tensor_of(value) for name, value in node.attributes.items()}


def tensor_of(value: Any) -> Any:
    """A tensor of ONNX as one of torch; anything else as it is."""
    if hasattr(value, "data_type"):
        from onnx import numpy_helper

        return torch.from_numpy(numpy_helper.to_array(value).copy())
    return value


def from_array(array: Array) -> Tensor:
    """A copy of an array, in memory of its own."""
    return torch.from_numpy(np.array(array))


class Weights:
    """The weights of a graph, ready on a device.

    ``tensors``: by name, what nodes ask for: weights in the precision of the file, and constants made of them. Weights
    that only feed constants, such as halves that are cast to float32 first, are not kept. ``host``: those of them that
    are small enough to say a shape or a place, on the CPU.

    Args:
        graph: of the network.
        device: of torch.
    """

    def __init__(self, graph: Graph, device: Any) -> None:
        self.graph, self.device = graph, device
        self._makers = {name: node for node in graph.constants for name in node.outputs}
        self._swapped: dict[str, Array] = {}
        used = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
        kept = sorted(used & {*graph.weights, *self._makers})
        self.tensors = {name: self._compute(name, {}) for name in kept}
        self.host = {name: value.cpu() for name, value in self.tensors.items() if _small(value)}

    def swap(self, weights: Mapping[str, Array]) -> set[str]:
        """Put other numbers in the place of weights, in the memory where they are: recorded graphs see them too.

        Args:
            weights: by the names in the ONNX file, of the same shapes and types.

        Returns:
            Names in ``host`` that changed.

        Raises:
            BackendError: a name is not known, or a shape or type is another: all are named.
        """
        faults = []
        for name, array in weights.items():
            old = self.graph.weights.get(name)
            if old is None:
                faults.append(f"{name} is not known")
            elif (old.shape, old.dtype) != (array.shape, array.dtype):
                faults.append(f"{name} is {array.dtype} {array.shape}, expected {old.dtype} {old.shape}")
        if faults:
            raise BackendError(f"{self.graph.name}: weights: {'; '.join(faults)}")
        self._swapped |= weights
        changed = set(weights)
        for node in self.graph.constants:
            if changed & set(node.inputs):
                changed.update(node.outputs)
        for name in changed & set(self.tensors):
            self.tensors[name].copy_(self._compute(name, {}))
        small = changed & set(self.host)
        self.host |= {name: self.tensors[name].cpu() for name in small}
        return small

    def _compute(self, name: str, done: dict[str, Tensor]) -> Tensor:
        """A weight, or a constant made of weights, on the device and in memory of its own."""
        if name in done:
            return done[name]
        node = self._makers.get(name)
        if node is None:
            array = self._swapped.get(name)
            done[name] = from_array(self.graph.weights[name] if array is None else array).to(self.device)
        elif node.kind == SHAPE:
            done[name] = shape_of(self._compute(node.inputs[0], done), node)
        else:
            places = HOST.get(node.kind, ())
            inputs = [self._compute(given, done) if given else None for given in node.inputs]
            numbers = [numbers_of(v) if v is not None and n in places else v for n, v in enumerate(inputs)]
            with torch.no_grad():
                found = run_node(node, numbers)
            pieces = found if isinstance(found, tuple) else (found,)
            done |= {made: piece.contiguous().clone() for made, piece in zip(node.outputs, pieces, strict=True)}
        return done[name]


def shape_of(value: Tensor, node: Node) -> Tensor:
    """The answer of a Shape node: int64 on the CPU."""
    start, end = int(node.attributes.get("start", 0)), node.attributes.get("end")
    return torch.tensor(tuple(value.shape)[start:end], dtype=torch.int64)


def numbers_of(value: Tensor) -> Any:
    """Numbers of a small tensor: one, or a tuple of them."""
    found = value.tolist()
    return tuple(found) if isinstance(found, list) else found


def _small(value: Tensor) -> bool:
    return int(value.numel()) <= (_MOST_NUMBERS if value.is_floating_point() else _MOST_INTEGERS)
