"""Launches and memory, through CuPy: its RawModule loads what `binaries` compiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc_kernels.device.binaries import find_binary
from tgvc_kernels.device.driver import device_capability
from tgvc_kernels.errors import GpuUnavailableError

BLOCK = 256  # threads of a block; the same number is in base.cuh
_MOST_BLOCKS = (1 << 31) - 1


class _Stream:
    """A pointer that speaks the protocol of streams."""

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


class Runtime:
    """One GPU, ready to launch.

    Args:
        cupy: the module.
        device: ordinal.
        capability: of the device.
        binaries: folder of compiled units (`tgvc_kernels.device.binaries.ship_binaries`); None: compile and keep.
    """

    def __init__(self, cupy: Any, device: int, capability: tuple[int, int], binaries: Path | None = None) -> None:
        self.cupy, self.device, self.capability, self.binaries = cupy, device, capability, binaries
        self._kernels: dict[str, Any] = {}
        self._work: dict[int, tuple[Any, Any]] = {}

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike, stream: int) -> Any:
        """New memory, as a CuPy array of the order of a stream."""
        with self._on(stream):
            return self.cupy.empty(tuple(shape), dtype)

    def upload(self, array: npt.NDArray[Any], stream: int) -> Any:
        """A CuPy array of the same content."""
        with self._on(stream):
            return self.cupy.asarray(np.ascontiguousarray(array))

    def launch(
        self, unit: str, kernel: str, blocks: int, arguments: Sequence[Any], stream: int, *, cooperative: bool = False
    ) -> None:
        """Queue a kernel of `BLOCK` threads per block.

        Args:
            unit: file that holds it.
            kernel: its name.
            blocks: at least 1.
            arguments: NumPy scalars, pointers as uint64, structures as arrays of one element.
            stream: pointer.
            cooperative: all blocks are alive at once.
        """
        if not 1 <= blocks <= _MOST_BLOCKS:
            raise ValueError(f"{kernel}: {blocks} blocks, expected 1 to {_MOST_BLOCKS}")
        function = self._kernels.get(kernel)
        if function is None:
            path = find_binary(unit, self.capability, self.binaries)
            module = self.cupy.RawModule(path=str(path), enable_cooperative_groups=cooperative)
            function = self._kernels[kernel] = module.get_function(kernel)
        with self._on(stream) as ours:
            function((blocks,), (BLOCK,), tuple(arguments), stream=ours)

    def spread_work(self, stream: int, size: int) -> tuple[Any, Any]:
        """Memory of `step_factor` for one stream, zeroed once: ``size`` bytes, and one float32 for its result."""
        if stream not in self._work:
            with self._on(stream):
                self._work[stream] = self.cupy.zeros((size,), np.uint8), self.cupy.zeros((1,), np.float32)
        return self._work[stream]

    @contextmanager
    def _on(self, stream: int) -> Iterator[Any]:
        streams = self.cupy.cuda.Stream
        ours = streams.from_external(_Stream(stream)) if stream else streams.null
        with self.cupy.cuda.Device(self.device), ours:
            yield ours


@cache
def find_runtime(device: int = 0) -> Runtime:
    """The runtime of a device, made at its first use.

    Raises:
        GpuUnavailableError: no driver, no such device, or no CuPy.
    """
    capability = device_capability(device)  # before CuPy: see `driver`
    try:
        cupy = import_module("cupy")
    except ImportError as fault:
        raise GpuUnavailableError(f"gpu: CuPy is missing: pip install cupy-cuda13x ({fault})") from fault
    if not hasattr(cupy.cuda.Stream, "from_external"):
        raise GpuUnavailableError(f"gpu: CuPy {cupy.__version__} is too old: pip install 'cupy-cuda13x>=14'")
    return Runtime(cupy, device, capability)


def use_binaries(folder: Path | None, device: int = 0) -> None:
    """Look for compiled units in a folder that `binaries.ship_binaries` filled, before compiling; None: no longer.

    Raises:
        GpuUnavailableError: as `find_runtime`.
    """
    find_runtime(device).binaries = folder
