"""Energy of a GPU by its own counter, where nvidia-ml-py is installed and the GPU has one.

The counter moves every 20 to 100 ms, so windows are long. Clocks and limits are only read, never set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tgvc_bench.records import shorten

LEAST_S, IDLE_S = 10.0, 3.0
_THROTTLES = {0x1: "idle", 0x4: "power cap", 0x8: "hardware slowdown", 0x20: "thermal", 0x40: "hardware thermal"}


@dataclass(frozen=True)
class Reading:
    """The counter in joule at a moment in seconds, the clock in MHz, why it is held back, in words."""

    joule: float
    second: float
    clock_mhz: int
    held_back: tuple[str, ...]


class EnergyMeter:
    """The counter of one GPU.

    Args:
        library: nvidia-ml-py's module, started.
        device: ordinal.
    """

    def __init__(self, library: Any, device: int = 0) -> None:
        self._library, self._handle = library, library.nvmlDeviceGetHandleByIndex(device)

    def read(self) -> Reading:
        """The counter now."""
        library, handle = self._library, self._handle
        reasons = library.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return Reading(
            library.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000,
            time.perf_counter(),
            int(library.nvmlDeviceGetClockInfo(handle, library.NVML_CLOCK_SM)),
            tuple(name for bit, name in _THROTTLES.items() if reasons & bit),
        )

    def used_bytes(self) -> int:
        """Memory of the GPU that is in use, by whatever process."""
        return int(self._library.nvmlDeviceGetMemoryInfo(self._handle).used)

    def measure(self, call: Callable[[], object], seconds: float = LEAST_S, idle: float = IDLE_S) -> dict[str, Any]:
        """Energy of one run of something, from as many runs as fit into the time.

        Args:
            call: waits for the GPU itself.
            seconds: of the window, at least.
            idle: seconds without work before it, of which the power is taken off in ``joule_idle_subtracted``.

        Returns:
            ``joule``, ``joule_idle_subtracted`` (of one run), ``runs``, ``clock_mhz`` (mean), ``held_back``.
        """
        first = self.read()
        time.sleep(idle)
        begin = self.read()
        idle_watt = (begin.joule - first.joule) / max(begin.second - first.second, 1e-9)
        runs, clocks, reasons = 0, list[int](), set[str]()
        while not runs or time.perf_counter() - begin.second < seconds:
            call()
            runs += 1
            now = self.read()
            clocks.append(now.clock_mhz)
            reasons |= set(now.held_back)
        end = self.read()
        spent = end.joule - begin.joule
        net = spent - idle_watt * (end.second - begin.second)
        return {
            "joule": shorten(spent / runs, 4),
            "joule_idle_subtracted": shorten(net / runs, 4),
            "runs": runs,
            "idle_watt": shorten(idle_watt, 3),
            "clock_mhz": round(sum(clocks) / len(clocks)),
            "held_back": sorted(reasons),
        }


@contextmanager
def open_meter(device: int = 0) -> Iterator[EnergyMeter | None]:
    """The meter of a GPU; None where nvidia-ml-py, the driver or the counter is not there."""
    try:
        library = import_module("pynvml")
    except ImportError:
        yield None
        return
    try:
        library.nvmlInit()
    except library.NVMLError:
        yield None
        return
    try:
        try:
            meter: EnergyMeter | None = EnergyMeter(library, device)
            assert meter is not None
            meter.read()
        except library.NVMLError:
            meter = None
        yield meter
    finally:
        library.nvmlShutdown()
