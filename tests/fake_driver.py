"""A CUDA driver whose device memory is host memory and whose streams are done at once; it keeps a list of calls."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tgvc.backends.cuda import Gpu


class GpuArray:
    """An array of the CUDA array interface, in the memory of `FakeDriver`."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": None if array.flags.c_contiguous else array.strides,
            "version": 3,
        }


class FakeDriver:
    """What `tgvc.backends.cuda` calls. ``calls``: names in order, with the handles that they were given."""

    def __init__(self, name: bytes = b"Fake GPU") -> None:
        self.name, self.calls, self.blocks = name, [], {}
        self.handle = 100
        self.depth = 0

    def named(self, *names: str) -> list[Any]:
        return [call for call in self.calls if call[0] in names]

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = ordinal
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:  # noqa: N802
        context._obj.value = 1
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = self.name
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 13000
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:  # noqa: N802
        assert context.value == 1
        self.depth += 1
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:  # noqa: N802
        assert self.depth > 0
        self.depth -= 1
        return 0

    def cuStreamCreate(self, handle: Any, flags: int) -> int:  # noqa: N802
        self.handle += 1
        handle._obj.value = self.handle
        return 0

    cuEventCreate = cuStreamCreate  # noqa: N815

    def cuEventRecord(self, event: Any, stream: Any) -> int:  # noqa: N802
        return self._note("record", event, stream)

    def cuStreamWaitEvent(self, stream: Any, event: Any, flags: int) -> int:  # noqa: N802
        return self._note("wait", event, stream)

    def cuStreamSynchronize(self, stream: Any) -> int:  # noqa: N802
        return self._note("synchronize", stream)

    def cuCtxSynchronize(self) -> int:  # noqa: N802
        return self._note("synchronize")

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:  # noqa: N802
        assert self.depth
        if size.value > 1 << 40:
            return 2
        block = (ctypes.c_uint8 * size.value)()
        pointer._obj.value = ctypes.addressof(block)
        self.blocks[pointer._obj.value] = block
        return self._note("allocate", size)

    def cuMemFree_v2(self, pointer: Any) -> int:  # noqa: N802
        del self.blocks[pointer.value]
        return self._note("free", pointer)

    def cuMemcpyHtoDAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:  # noqa: N802
        ctypes.memmove(target.value, source.value, size.value)
        return self._note("upload", size)

    def cuMemcpyDtoHAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:  # noqa: N802
        ctypes.memmove(target.value, source.value, size.value)
        return self._note("download", size)

    def cuGetErrorString(self, code: int, text: Any) -> int:  # noqa: N802
        text._obj.value = b"an error"
        return 0

    def _note(self, name: str, *handles: Any) -> int:
        assert self.depth, f"{name} without a context"
        self.calls.append((name, *(handle.value or 0 for handle in handles)))
        return 0


def fake_gpu(capability: tuple[int, int] = (9, 0), name: bytes = b"Fake GPU") -> tuple[Gpu, FakeDriver]:
    driver = FakeDriver(name)
    return Gpu(driver, 0, capability), driver
