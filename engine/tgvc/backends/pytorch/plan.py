"""A graph for one set of shapes: everything that follows from shapes alone is worked out before anything runs.

What is left is a `torch.fx.GraphModule` of calls with fixed sizes: it asks the device for nothing, so that a CUDA graph
can record it and `torch.compile` sees all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from tgvc.backends.pytorch.graph import SHAPE, Graph, Node
from tgvc.backends.pytorch.layers import LAYERS
from tgvc.backends.pytorch.operators import HOST
from tgvc.backends.pytorch.weights import Weights, attributes_of, numbers_of, run_node, shape_of
from tgvc.errors import BackendError


@dataclass(frozen=True)
class _Traced:
    """A value that is known when the network runs: its place in the calls, its shape and type."""

    place: Any
    meta: Tensor


@dataclass(frozen=True)
class Plan:
    """``module``: takes tensors in the order of the graph's inputs, gives a tuple in the order of its outputs.

    ``frozen``: names of small weights whose values became part of the module.
    """

    module: Any
    frozen: frozenset[str]


def make_plan(graph: Graph, weights: Weights, inputs: Mapping[str, tuple[tuple[int, ...], Any]]) -> Plan:
    """Work out a graph for inputs of these shapes.

    Args:
        graph: of the network.
        weights: of the graph; the plan refers to its tensors.
        inputs: shape and type of torch by name.

    Raises:
        BackendError: an operator is used in a way that is not known, or a shape follows from what is not known yet.
    """
    return _Planner(graph, weights).make(inputs)


class _Planner:
    """Walks once over the nodes. A value is a tensor on the CPU where it is known, else `_Traced`."""

    def __init__(self, graph: Graph, weights: Weights) -> None:
        self.graph, self.weights = graph, weights
        self.calls, self.root = fx.Graph(), nn.Module()
        self.values: dict[str, Tensor | _Traced] = {}
        self.placed: dict[str, _Traced] = {}
        self.frozen: set[str] = set()

    def make(self, inputs: Mapping[str, tuple[tuple[int, ...], Any]]) -> Plan:
        for number, name in enumerate(self.graph.inputs):
            shape, dtype = inputs[name]
            meta = torch.empty(shape, dtype=dtype, device="meta")
            self.values[name] = _Traced(self.calls.placeholder(f"input{number}"), meta)
        for node in self.graph.nodes:
            self._add(node)
        self.calls.output(tuple(self._place(name).place for name in self.graph.outputs))
        module = fx.GraphModule(self.root, self.calls)
        return Plan(module.eval(), frozenset(self.frozen))

    def _add(self, node: Node) -> None:
        if node.kind == SHAPE:
            value = self._find(node.inputs[0])
            meta = value.meta if isinstance(value, _Traced) else value
            self.values[node.outputs[0]] = shape_of(meta, node)
            return
        places = HOST.get(node.kind, ())
        numbers = {n: self._numbers(node, n) for n, name in enumerate(node.inputs) if name and n in places}
        names = [name if n not in places else "" for n, name in enumerate(node.inputs)]
        if not any(self._is_traced(name) for name in names):
            known = [numbers.get(n, self._known(name)) for n, name in enumerate(names)]
            self._keep(node, run_node(node, known))
            return
        given = [self._place(name) if name else None for name in names]
        metas = [numbers.get(n, None if value is None else value.meta) for n, value in enumerate(given)]
        arguments = [numbers.get(n, None if value is None else value.place) for n, value in enumerate(given)]
        found = run_node(node, metas)
        call = self.calls.call_function(LAYERS[node.kind], tuple(arguments), attributes_of(node))
        if isinstance(found, tuple):
            pieces = tuple(_Traced(self.calls.call_function(_take, (call, n)), meta) for n, meta in enumerate(found))
            self._keep(node, pieces)
        else:
            self._keep(node, _Traced(call, found))

    def _keep(self, node: Node, found: Any) -> None:
        pieces = found if isinstance(found, tuple) else (found,)
        names = [name for name in node.outputs if name]
        if len(names) > len(pieces):
            raise BackendError(f"{self.graph.name}: torch gives {len(pieces)} of {len(names)} outputs of {node.kind}")
        self.values.update(zip(names, pieces, strict=False))

    def _find(self, name: str) -> Tensor | _Traced:
        """A value as it is known now; a weight is a value of the device that has not been asked for yet."""
        if name not in self.values:
            if name not in self.weights.tensors:
                raise BackendError(f"{self.graph.name}: {name} is made by nothing before it is used")
            return self.weights.tensors[name]
        return self.values[name]

    def _is_traced(self, name: str) -> bool:
        """Whether a value stays a tensor of the device: what follows from inputs, and weights that are summed up."""
        if not name:
            return False
        if name in self.values:
            return isinstance(self.values[name], _Traced)
        return name not in self.weights.host

    def _known(self, name: str) -> Tensor | None:
        if not name:
            return None
        found = self.values.get(name)
        if isinstance(found, Tensor):
            return found
        self.frozen.add(name)
        return self.weights.host[name]

    def _numbers(self, node: Node, place: int) -> Any:
        name = node.inputs[place]
        if self._is_traced(name):
            raise BackendError(f"{self.graph.name}: torch needs input {place} of {node.kind} before the network runs")
        found = self._known(name)
        return None if found is None or not found.numel() else numbers_of(found)

    def _place(self, name: str) -> _Traced:
        """A value as one of the device: a weight by reference, what was worked out as a copy."""
        found = self._find(name)
        if isinstance(found, _Traced):
            return found
        if name not in self.placed:
            place = f"value{len(self.placed)}"
            self.root.register_buffer(place, found.to(self.weights.device))  # where a weight is already
            self.placed[name] = _Traced(self.calls.get_attr(place), found.to("meta"))
        return self.placed[name]


def _take(pieces: tuple[Tensor, ...], number: int) -> Tensor:
    return pieces[number]
