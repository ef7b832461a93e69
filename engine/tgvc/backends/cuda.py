"""The few calls of the CUDA driver that backends need: memory, copies, and the order of streams.

The driver itself and no library above it, so that neither CuPy nor torch is needed; the primary context is theirs too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.errors import BackendError, BackendUnavailableError
from tgvc_kernels.device.driver import device_capability, open_driver
from tgvc_kernels.errors import GpuUnavailableError

_NON_BLOCKING, _NO_TIMING = 1, 2  # CU_STREAM_NON_BLOCKING, CU_EVENT_DISABLE_TIMING
_OUT_OF_MEMORY = 2


class Gpu:
    """One GPU through its primary context.

    ``ordinal``: from 0. ``name``: as the driver has it. ``capability``: (major, minor). ``driver``: the CUDA version
    that the driver speaks, such as ``13.0``.
    """

    def __init__(self, driver: Any, ordinal: int, capability: tuple[int, int]) -> None:
        self.ordinal, self.capability, self._driver = ordinal, capability, driver
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(self._device), ordinal)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        text = ctypes.create_string_buffer(128)
        self._call("cuDeviceGetName", text, len(text), self._device)
        self.name = text.value.decode(errors="replace")
        number = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(number))
        self.driver = f"{number.value // 1000}.{number.value % 1000 // 10}"

    @property
    def architecture(self) -> str:
        """Such as ``sm_90``."""
        return f"sm_{self.capability[0]}{self.capability[1]}"

    @contextmanager
    def active(self) -> Iterator[None]:
        """The context is current in this thread, and what was current before is again afterwards."""
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def make_stream(self) -> int:
        """Handle of a new stream that waits for no other."""
        handle = ctypes.c_void_p()
        with self.active():
            self._call("cuStreamCreate", ctypes.byref(handle), _NON_BLOCKING)
        return int(handle.value or 0)

    def make_event(self) -> int:
        """Handle of a new event."""
        handle = ctypes.c_void_p()
        with self.active():
            self._call("cuEventCreate", ctypes.byref(handle), _NO_TIMING)
        return int(handle.value or 0)

    def order(self, first: int, then: int, event: int) -> None:
        """Let what is queued on stream ``then`` from now on wait for all that is queued on ``first``; nobody waits."""
        with self.active():
            self._call("cuEventRecord", ctypes.c_void_p(event), ctypes.c_void_p(first))
            self._call("cuStreamWaitEvent", ctypes.c_void_p(then), ctypes.c_void_p(event), 0)

    def wait(self, stream: int | None = None) -> None:
        """Until a stream has come to its end; all of the device if None."""
        with self.active():
            if stream is None:
                self._call("cuCtxSynchronize")
            else:
                self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def allocate(self, size: int) -> int:
        """Address of ``size`` new bytes, aligned to 256; freed by `free` and by the end of the process.

        Raises:
            BackendError: there is not that much.
        """
        pointer = ctypes.c_uint64()
        with self.active():
            self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(size, 1)))
        return pointer.value

    def free(self, pointer: int) -> None:
        """Give memory back; the device comes to rest first."""
        with self.active():
            self._call("cuMemFree_v2", ctypes.c_uint64(pointer))

    def upload(self, array: npt.NDArray[Any], pointer: int, stream: int) -> None:
        """Copy a C-contiguous array to the device; it was read when this returns."""
        with self.active():
            source, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
            self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(pointer), source, size, ctypes.c_void_p(stream))
            self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def download(self, pointer: int, shape: tuple[int, ...], dtype: str, stream: int) -> npt.NDArray[Any]:
        """An array of what lies on the device once the stream has come there."""
        array = np.empty(shape, dtype)
        with self.active():
            target, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
            self._call("cuMemcpyDtoHAsync_v2", target, ctypes.c_uint64(pointer), size, ctypes.c_void_p(stream))
            self._call("cuStreamSynchronize", ctypes.c_void_p(stream))
        return array

    def _call(self, name: str, *arguments: Any) -> None:
        code = int(getattr(self._driver, name)(*arguments))
        if code == _OUT_OF_MEMORY:
            raise BackendError(f"gpu {self.ordinal}: out of memory in {name}")
        if code:
            text = ctypes.c_char_p()
            known = not int(self._driver.cuGetErrorString(code, ctypes.byref(text))) and text.value
            told = text.value.decode(errors="replace") if known and text.value else "no description"
            raise BackendError(f"gpu {self.ordinal}: {name} failed with error {code}, {told}")


@cache
def find_gpu(ordinal: int = 0) -> Gpu:
    """A GPU by its number.

    Raises:
        BackendUnavailableError: no driver, or no such GPU.
    """
    try:
        return Gpu(open_driver(), ordinal, device_capability(ordinal))
    except GpuUnavailableError as fault:
        raise BackendUnavailableError(str(fault)) from fault
    except BackendError as fault:
        raise BackendUnavailableError(f"gpu {ordinal}: does not start: {fault}") from fault
