"""Times of what runs on a GPU: marks on its own stream, replays of a recorded graph, and the host as a stand-in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tgvc.devices.base import Device, Stream
from tgvc_bench.gpu.sizes import Sizes
from tgvc_bench.protocol.latency import Budget

if TYPE_CHECKING:
    from torch import Tensor

_WARM = 3


def time_graph(
    device: Device,
    stream: Stream,
    calls: Sequence[Callable[[], None]],
    nodes: int,
    replays: int,
    *,
    recorded: bool = True,
) -> list[float]:
    """Seconds per call of calls that are recorded one after the other into one graph, one number per replay.

    Args:
        device: of `tgvc.devices`.
        stream: that the calls queue on.
        calls: taken in turn: of one only, its inputs stay in the caches.
        nodes: calls in the graph; so many that the time of starting it is no part of theirs.
        replays: of the graph, after some that do not count.
        recorded: False for calls that may not be recorded: they are launched one after the other.
    """

    def work() -> None:
        for n in range(nodes):
            calls[n % len(calls)]()

    work()  # compiles, and makes memory
    stream.synchronize()
    graph = device.capture(work, stream) if recorded else None

    def replay() -> None:
        if graph is None:
            work()
        else:
            graph.launch(stream)

    for _ in range(_WARM):
        replay()
    stream.synchronize()
    found = []
    for _ in range(replays):
        began = stream.record()
        replay()
        ended = stream.record()
        ended.wait()
        found.append(ended.seconds_since(began) / nodes)
    return found


class TorchTimer:
    """Times calls of torch on the device of some sizes.

    Args:
        sizes: whose device it is.
    """

    def __init__(self, sizes: Sizes) -> None:
        import torch

        self._torch, self._sizes = torch, sizes
        self.on_gpu = sizes.device.startswith("cuda")

    def wait(self) -> None:
        """Until all that was queued is done."""
        if self.on_gpu:
            self._torch.cuda.synchronize()

    def record(self, call: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """A call as a CUDA graph, and where its result lies; on the host the call itself, which writes there."""
        torch = self._torch
        if not self.on_gpu:
            made = call()

            def again() -> None:
                made.copy_(call())

            return again, made
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = call()
        return graph.replay, result

    def measure(self, call: Callable[[], object], budget: Budget) -> list[float]:
        """Seconds of each run, by events around it on a GPU."""
        torch, found, began = self._torch, list[float](), time.perf_counter()
        for _ in range(_WARM):
            call()
        self.wait()
        while not found or (len(found) < budget.runs and time.perf_counter() - began < budget.seconds):
            if not self.on_gpu:
                start = time.perf_counter()
                call()
                found.append(time.perf_counter() - start)
                continue
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            call()
            last.record()
            last.synchronize()
            found.append(first.elapsed_time(last) / 1000)
        return found

    def peak_bytes(self) -> int:
        """Most memory that torch has had on the GPU since this process began; 0 on the host."""
        return int(self._torch.cuda.max_memory_allocated()) if self.on_gpu else 0


def measure_energy(sizes: Sizes, call: Callable[[], object], wait: Callable[[], None]) -> dict[str, Any]:
    """``{"energy": ...}`` of one run by the GPU's counter; empty where it has none or nvidia-ml-py is missing."""
    from tgvc_bench.protocol.energy import open_meter

    def run() -> None:
        call()
        wait()

    if sizes.dry:
        return {}
    with open_meter() as meter:
        return {} if meter is None else {"energy": meter.measure(run, sizes.energy_s)}


def used_memory() -> dict[str, int]:
    """``{"device_bytes": ...}`` in use on the GPU, pools of all libraries included; empty where nothing can tell."""
    from tgvc_bench.protocol.energy import open_meter

    with open_meter() as meter:
        return {} if meter is None else {"device_bytes": meter.used_bytes()}
