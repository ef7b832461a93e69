"""A backend that counts: which network ran on which shapes how often, and so what a decode has computed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tgvc.backends.base import Backend, DeviceNet
from tgvc.backends.spec import NetRecord
from tgvc.models.cost import Cost, join_costs
from tgvc.models.graph_cost import measure_graph

_Call = tuple[str, tuple[tuple[str, tuple[int, ...]], ...]]


class CountingBackend:
    """Another backend, which remembers what its networks are given; they cannot be captured, so that none is missed.

    Args:
        backend: that computes.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self._lock = backend, threading.Lock()
        self.records: dict[str, NetRecord] = {}
        self.calls: Counter[_Call] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def load(self, record: NetRecord) -> DeviceNet:
        """See `Backend.load`."""
        self.records[record.name] = record
        net: Any = _CountingNet(self._backend.load(record), self)
        counting: DeviceNet = net
        return counting

    def count(self, name: str, inputs: Mapping[str, Any]) -> None:
        """One more run."""
        shapes = tuple(sorted((key, tuple(value.shape)) for key, value in inputs.items()))
        with self._lock:
            self.calls[name, shapes] += 1

    def cost(self, name: str) -> Cost:
        """What all runs so far have cost together.

        Raises:
            BackendUnavailableError: the package onnx is not installed.
            BundleError: a network whose cost cannot be told.
        """
        parts = [
            (measure_graph(self.records[net].path, dict(shapes), net), times)
            for (net, shapes), times in sorted(self.calls.items())
        ]
        return join_costs(name, parts)


class _CountingNet:
    capturable = False

    def __init__(self, net: DeviceNet, counter: CountingBackend) -> None:
        self._net, self._counter = net, counter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)

    def run(self, **inputs: Any) -> dict[str, Any]:
        self._counter.count(self._net.record.name, inputs)
        return self._net.run(**inputs)

    def launch(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: int) -> None:
        self._counter.count(self._net.record.name, inputs)
        self._net.launch(inputs, outputs, stream)
