"""A network in a session of ONNX Runtime: plain calls, and launches on arrays where they lie."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.backends.cuda import Gpu
from tgvc.backends.places import HOST, Launch, prepare_launch
from tgvc.backends.spec import NetRecord, check_inputs, check_outputs
from tgvc.errors import BackendError

_MOST_BINDINGS = 64  # sets of addresses and shapes that are kept ready
_NO_GRAPH = -1
_log = logging.getLogger("tgvc.backends")


@dataclass
class OnGpu:
    """Where a session computes: on ``stream`` of its own, which waits for and is waited for by those of callers.

    ``graphs``: whether the session records a CUDA graph per set of addresses, which its runtime then replays.
    """

    gpu: Gpu
    stream: int
    event: int
    graphs: bool = False


class OrtNet:
    """A network in a session; see `tgvc.backends.base.DeviceNet`.

    Args:
        record: of the network.
        session: of ONNX Runtime.
        runtime: the module.
        device: ``cpu`` or ``cuda:N``, where launches want arrays.
        on_gpu: how it computes on a GPU; None on the CPU.
        guard: what the first run with other shapes than before happens inside.
    """

    capturable = False  # capturing a run of ONNX Runtime in another graph fails with CUDA's error 900

    def __init__(
        self,
        record: NetRecord,
        session: Any,
        runtime: Any,
        device: str = HOST,
        on_gpu: OnGpu | None = None,
        guard: Callable[[], AbstractContextManager[object]] | None = None,
    ) -> None:
        self.record, self.device = record, device
        self._session, self._runtime, self._on_gpu, self._guard = session, runtime, on_gpu, guard
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[npt.NDArray[Any], Any]] = {}  # inputs that stay on the device between calls
        self._bindings: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()
        self._graphs = 0
        self._seen: set[tuple[tuple[str, int], ...]] = set()

    def run(self, **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name; see `tgvc.backends.base.Net.run`."""
        lengths = check_inputs(self.record, inputs)
        names = [spec.name for spec in self.record.outputs]
        try:
            if self.device == HOST:
                values = self._session.run(names, inputs)
            else:
                with self._lock, self._guarded(lengths):
                    values = self.run_bound(names, inputs, *self._kind)
        except BackendError:
            raise
        except Exception as fault:  # the runtime's errors have no common root below this
            raise BackendError(f"{self.record.name} failed: {one_line(fault)}") from fault
        outputs = dict(zip(names, values, strict=True))
        check_outputs(self.record, lengths, outputs)
        return outputs

    def launch(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: int) -> None:
        """Queue one run on a stream; see `tgvc.backends.base.DeviceNet.launch`."""
        launch = prepare_launch(self.record, self.device, inputs, outputs, stream)
        place = self._on_gpu
        try:
            if place is None:
                self._session.run_with_iobinding(self._bind(launch), self._options(None))
            else:
                with self._lock, self._guarded(launch.lengths):
                    binding, options = self._find_binding(launch, place)
                    place.gpu.order(stream, place.stream, place.event)
                    self._session.run_with_iobinding(binding, options)
                    place.gpu.order(place.stream, stream, place.event)
        except BackendError:
            raise
        except Exception as fault:  # the runtime's errors have no common root below this
            raise BackendError(f"{self.record.name} failed: {one_line(fault)}") from fault

    def run_bound(
        self, names: Sequence[str], inputs: Mapping[str, npt.NDArray[Any]], kind: str, ordinal: int
    ) -> list[npt.NDArray[Any]]:
        """Outputs in the order of their names, through the memory of a device: one copy each way.

        Args:
            names: of the outputs.
            inputs: by name; those that are read-only stay on the device.
            kind: of the device, in the runtime's words.
            ordinal: of the device.
        """
        binding = self._session.io_binding()
        for name, array in inputs.items():
            kept = self._kept.get(name)
            if kept is None or kept[0] is not array:
                kept = array, self._runtime.OrtValue.ortvalue_from_numpy(array, kind, ordinal)
            if array.flags.writeable:
                self._kept.pop(name, None)
            else:
                self._kept[name] = kept
            binding.bind_ortvalue_input(name, kept[1])
        for name in names:
            binding.bind_output(name, kind, ordinal)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding, self._options(_NO_GRAPH, wait=True))
        binding.synchronize_outputs()
        return [np.asarray(value) for value in binding.copy_outputs_to_cpu()]

    @property
    def _kind(self) -> tuple[str, int]:
        kind, _, ordinal = self.device.partition(":")
        return kind, int(ordinal or 0)

    def _find_binding(self, launch: Launch, place: OnGpu) -> tuple[Any, Any]:
        """What was bound for these addresses and shapes; a graph replays the addresses that it was recorded with."""
        found = self._bindings.get(launch.key)
        if found is None:
            graph = _NO_GRAPH
            if place.graphs and self._graphs < _MOST_BINDINGS:
                self._graphs += 1
                graph = self._graphs
            elif place.graphs:
                _log.info("%s: %d graphs are recorded, further addresses run without", self.record.name, self._graphs)
            found = self._bind(launch), self._options(graph)
            self._bindings[launch.key] = found
            if len(self._bindings) > 2 * _MOST_BINDINGS:
                # the first ones may be recorded, and a recorded graph cannot be made again under its number
                self._bindings.popitem(last=True) if place.graphs else self._bindings.popitem(last=False)
        return found

    def _bind(self, launch: Launch) -> Any:
        binding = self._session.io_binding()
        for name, place in launch.inputs.items():
            binding.bind_input(name, *self._kind, np.dtype(place.dtype), place.shape, place.pointer)
        for name, place in launch.outputs.items():
            binding.bind_output(name, *self._kind, np.dtype(place.dtype), place.shape, place.pointer)
        return binding

    def _options(self, graph: int | None, *, wait: bool = False) -> Any:
        """Options of a run. ``graph``: number under which it is recorded; None on the CPU, where there are none."""
        options = self._runtime.RunOptions()
        if graph is not None and self._on_gpu is not None:
            if not wait:
                options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            if self._on_gpu.graphs:
                options.add_run_config_entry("gpu_graph_id", str(graph))
        return options

    @contextmanager
    def _guarded(self, lengths: Mapping[str, int]) -> Iterator[None]:
        shapes = tuple(sorted(lengths.items()))
        if self._guard is None or shapes in self._seen:
            yield
            return
        with self._guard():
            yield
        self._seen.add(shapes)


def one_line(fault: BaseException) -> str:
    """The message of an error of a runtime, cut to what fits a line."""
    return " ".join(str(fault).split())[:500]
