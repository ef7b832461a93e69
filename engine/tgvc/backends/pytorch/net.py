"""A network in torch: one plan per set of shapes, run on host arrays or on arrays where they lie."""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tgvc.backends.places import HOST, Place, prepare_launch
from tgvc.backends.pytorch.exact import exact
from tgvc.backends.pytorch.graph import Graph
from tgvc.backends.pytorch.plan import Plan, make_plan
from tgvc.backends.pytorch.weights import Weights
from tgvc.backends.spec import NetRecord, check_inputs, check_outputs
from tgvc.errors import BackendError

_MOST_PLANS = 16  # sets of shapes that are kept ready for `run`
_Shapes = tuple[tuple[int, ...], ...]


class _Lent:
    """Memory that torch may look at and does not own."""

    def __init__(self, place: Place) -> None:
        self.__cuda_array_interface__ = {
            "shape": place.shape,
            "typestr": np.dtype(place.dtype).str,
            "data": (place.pointer, False),
            "strides": None,
            "version": 3,
        }


class TorchNet:
    """A network as torch calls; see `tgvc.backends.base.DeviceNet`.

    Args:
        record: of the network.
        graph: of its file.
        device: ``cpu`` or ``cuda:N``.
        compiled: whether plans go through `torch.compile`, which takes up to minutes for each.
    """

    def __init__(self, record: NetRecord, graph: Graph, device: str, *, compiled: bool = False) -> None:
        self.record, self.device, self.capturable = record, device, device != HOST
        self._graph, self._compiled = graph, compiled
        self._weights = Weights(graph, torch.device(device))
        self._plans: OrderedDict[_Shapes, tuple[Plan, Any]] = OrderedDict()
        self._pools: dict[tuple[_Shapes, int], Any] = {}
        self._kept: dict[str, tuple[npt.NDArray[Any], Any]] = {}  # inputs that stay on the device between calls
        self._lock = threading.RLock()
        self._stream = None if device == HOST else torch.cuda.Stream(torch.device(device))

    def run(self, **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name; see `tgvc.backends.base.Net.run`."""
        lengths = check_inputs(self.record, inputs)
        if self._stream is None:
            given = {name: _host_tensor(_place_of(array)) for name, array in inputs.items()}
            values = self._own(self._compute(given), given)
        else:
            with self._lock, torch.cuda.stream(self._stream):
                given = {name: self._upload(name, array) for name, array in inputs.items()}
                values = [value.cpu() for value in self._compute(given)]
        outputs = {name: value.contiguous().numpy() for name, value in zip(self._graph.outputs, values, strict=True)}
        check_outputs(self.record, lengths, outputs)
        return outputs

    def launch(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: int) -> None:
        """Queue one run on a stream; see `tgvc.backends.base.DeviceNet.launch`."""
        launch = prepare_launch(self.record, self.device, inputs, outputs, stream)
        with self._on(stream, tuple(launch.inputs[name].shape for name in self._graph.inputs)):
            given = {name: self._tensor(place) for name, place in launch.inputs.items()}
            values = self._compute(given)
            for name, value in zip(self._graph.outputs, values, strict=True):
                target = self._tensor(launch.outputs[name])
                if (value.shape, value.dtype) != (target.shape, target.dtype):
                    raise BackendError(
                        f"{self.record.name}: gave {name} {value.dtype} {tuple(value.shape)}, expected {target.dtype} "
                        f"{tuple(target.shape)}; the file is not what its manifest says"
                    )
                target.copy_(value)

    def swap_weights(self, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put other weights in the place of those of the file, such as distilled ones; see `Weights.swap`.

        The memory stays the same, so that graphs that were recorded on a GPU use the new ones.

        Args:
            weights: by their names in the ONNX file, of the same shapes and types.

        Raises:
            BackendError: a name, shape or type is not that of the file.
        """
        with self._lock:
            changed = self._weights.swap(weights)
            for shapes in [key for key, (plan, _) in self._plans.items() if plan.frozen & changed]:
                del self._plans[shapes]

    def _compute(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        shapes = tuple(tuple(given[name].shape) for name in self._graph.inputs)
        run = self._find_plan(shapes, given)
        try:
            with torch.inference_mode(), exact():
                found: tuple[Any, ...] = run(*(given[name] for name in self._graph.inputs))
        except RuntimeError as fault:
            raise BackendError(f"{self.record.name} failed: {' '.join(str(fault).split())[:500]}") from fault
        return found

    def _find_plan(self, shapes: _Shapes, given: Mapping[str, Any]) -> Any:
        with self._lock:
            if shapes not in self._plans:
                described = {name: (tuple(value.shape), value.dtype) for name, value in given.items()}
                try:
                    plan = make_plan(self._graph, self._weights, described)
                except RuntimeError as fault:
                    if isinstance(fault, BackendError):
                        raise
                    why = " ".join(str(fault).split())[:500]
                    raise BackendError(f"{self.record.name} does not fit {list(shapes)}: {why}") from fault
                run = torch.compile(plan.module, dynamic=False, fullgraph=True) if self._compiled else plan.module
                self._plans[shapes] = plan, run
                launched = {key for key, _ in self._pools}  # which a recorded graph may refer to: they stay
                spare = [key for key in self._plans if key not in launched]
                if len(spare) > _MOST_PLANS:
                    del self._plans[spare[0]]
            self._plans.move_to_end(shapes)
            return self._plans[shapes][1]

    def _own(self, values: tuple[Any, ...], given: Mapping[str, Any]) -> list[Any]:
        """Results in memory of their own: some operators give a view of what they took."""
        taken = {value.untyped_storage().data_ptr() for value in given.values()}
        taken |= {value.untyped_storage().data_ptr() for value in self._weights.tensors.values()}
        owned = []
        for value in values:
            pointer = value.untyped_storage().data_ptr()
            owned.append(value.clone() if pointer in taken else value)
            taken.add(pointer)
        return owned

    def _upload(self, name: str, array: npt.NDArray[Any]) -> Any:
        kept = self._kept.get(name)
        if kept is None or kept[0] is not array:
            kept = array, _host_tensor(_place_of(array)).to(self.device)
        if array.flags.writeable:
            self._kept.pop(name, None)
        else:
            self._kept[name] = kept
        return kept[1]

    def _tensor(self, place: Place) -> Any:
        return _host_tensor(place) if self.device == HOST else torch.as_tensor(_Lent(place), device=self.device)

    @contextmanager
    def _on(self, stream: int, shapes: _Shapes) -> Iterator[None]:
        """Work goes to a stream; its memory comes from a pool that nothing but this plan on this stream uses.

        A recorded graph keeps the addresses of its intermediate values, so that nobody else may ever be given them.
        """
        if self.device == HOST:
            yield
            return
        device = torch.device(self.device)
        with self._lock:
            pool = self._pools.get((shapes, stream))
            if pool is None:
                pool = self._pools[shapes, stream] = torch.cuda.MemPool()
            queue = torch.cuda.ExternalStream(stream, device) if stream else torch.cuda.default_stream(device)
            with torch.cuda.stream(queue), torch.cuda.use_mem_pool(pool, device):
                yield


def _place_of(array: npt.NDArray[Any]) -> Place:
    return Place(int(array.ctypes.data), array.shape, array.dtype.name)


def _host_tensor(place: Place) -> Any:
    """Host memory as a tensor, read-only memory too: nothing writes to inputs."""
    if not place.size:
        return torch.empty(place.shape, dtype=getattr(torch, place.dtype))
    held = (ctypes.c_uint8 * place.size).from_address(place.pointer)
    return torch.from_numpy(np.frombuffer(memoryview(held), place.dtype).reshape(place.shape))
