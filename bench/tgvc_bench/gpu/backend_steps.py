"""The networks of the bundle on every backend of the product: loaded, compared with torch in float32, timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tgvc.backends.base import Backend, DeviceNet, load_backend
from tgvc.backends.places import full_shape
from tgvc.backends.spec import bind_shapes
from tgvc.devices.base import Array, Device, Stream, put
from tgvc.devices.choice import find_device
from tgvc.models.graph_cost import measure_graph
from tgvc_bench.gpu.bundle_steps import open_bundle
from tgvc_bench.gpu.network_steps import NAMES
from tgvc_bench.gpu.sizes import HALVES, Sizes, make_inputs, reference_output
from tgvc_bench.gpu.timing import measure_energy
from tgvc_bench.protocol.agreement import compare_relative, require
from tgvc_bench.protocol.latency import Budget, summarise_runs
from tgvc_bench.protocol.schema import SINGLE_STREAM
from tgvc_bench.records import shorten
from tgvc_bench.timed.efficiency import describe_cost

_WARM = 3


def measure_backend(
    sizes: Sizes, folder: Path, have: frozenset[str], name: str, net: str, batches: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """Rows of a network of the bundle on a backend, one per batch; `build_s` is what making it ready took.

    Raises:
        BackendUnavailableError: the backend does not run here.
        BackendError: it does not take the network, or gives something else.
    """
    wanted = [batch for batch in batches if f"{net} {name} batch {batch}" not in have]
    if not wanted:
        return
    backend = load_backend(name)
    ceilings = sizes.ceilings()
    yield {"ceilings": ceilings.as_dict()}
    record = open_bundle(folder).nets[net]
    began = time.perf_counter()
    loaded = backend.load(record)
    load_s = time.perf_counter() - began
    device = find_device(backend.device)
    for batch in wanted:
        inputs = {n: value.numpy() for n, value in make_inputs(sizes, net, batch).items()}
        began = time.perf_counter()
        run = QueuedRun(loaded, device, inputs)
        first_s = time.perf_counter() - began
        (output,) = run.download().values()
        reference = reference_output(sizes, net, batch, folder)
        agreement = require(f"{net} on {name}", compare_relative(output, reference, HALVES))
        seconds = run.measure(sizes.budget)
        cost = measure_graph(record.path, {n: value.shape for n, value in inputs.items()}, net)
        yield {
            "key": f"{net} {name} batch {batch}",
            "name": NAMES[net],
            "scenario": SINGLE_STREAM,
            "backend": describe_backend(backend),
            "device": backend.device,
            "precision": record.precision,
            "engine": record.sha256[:12],
            "agreement": agreement,
            "batch": batch,
            "captured": run.captured,
            "load_s": shorten(load_s, 4),
            "first_s": shorten(first_s, 4),
            "latency": summarise_runs(seconds),
            "warm_up": {"runs": _WARM, "settled": False},
            "per_item_s": shorten(min(seconds) / batch, 4),
            **describe_cost(cost, min(seconds), ceilings),
            **measure_energy(sizes, run.queue, run.stream.synchronize),
        }


def describe_backend(backend: Backend) -> str:
    """Name, version and what computes."""
    return f"{backend.name} {backend.version} with {', '.join(backend.providers)}"


class QueuedRun:
    """One run of a network on arrays of its device, recorded where that is allowed.

    Args:
        net: of a backend.
        device: where it runs.
        inputs: of the host.
    """

    def __init__(self, net: DeviceNet, device: Device, inputs: Mapping[str, Any]) -> None:
        self._device, self._stream = device, device.make_stream()
        lengths = bind_shapes(net.record.inputs, {name: value.shape for name, value in inputs.items()})
        dtypes = {spec.name: spec.dtype for spec in net.record.inputs}
        given = {
            name: put(device, value.astype(dtypes[name], copy=False), self._stream) for name, value in inputs.items()
        }
        self._outputs: dict[str, Array] = {
            spec.name: device.empty(full_shape(spec, lengths), spec.dtype, self._stream) for spec in net.record.outputs
        }

        def launch() -> None:
            net.launch(given, self._outputs, self._stream.handle)

        launch()
        self._stream.synchronize()
        self.captured = net.capturable and device.remote
        self._launch: Callable[[], None] = launch
        if self.captured:
            graph = device.capture(launch, self._stream)
            self._launch = lambda: graph.launch(self._stream)

    @property
    def stream(self) -> Stream:
        """That it queues on."""
        return self._stream

    def queue(self) -> None:
        """Queue a run."""
        self._launch()

    def download(self) -> dict[str, Any]:
        """What a run gives, in host memory; results are overwritten first, so that they are its own."""
        for array in self._outputs.values():
            self._device.apply(_poison, array, stream=self._stream)
        self._launch()
        return {name: self._device.download(array, self._stream).wait() for name, array in self._outputs.items()}

    def measure(self, budget: Budget) -> list[float]:
        """Seconds of each run, between two places in the stream."""
        found, began = list[float](), time.perf_counter()
        for _ in range(_WARM):
            self._launch()
        self._stream.synchronize()
        while not found or (len(found) < budget.runs and time.perf_counter() - began < budget.seconds):
            first = self._stream.record()
            self._launch()
            last = self._stream.record()
            last.wait()
            found.append(last.seconds_since(first))
        return found


def _poison(out: Array) -> None:
    out[...] = float("nan")
