"""Whether there is a GPU, asked of the driver itself before any GPU library is touched.

Libraries that find no driver differ in how they fail, and some hang afterwards; the driver answers at once.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

from tgvc_kernels.errors import GpuUnavailableError

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NO_DEVICE = 100


@cache
def open_driver(library: str = _LIBRARY) -> ctypes.CDLL:
    """The CUDA driver, initialised.

    Args:
        library: its file name, found by the system's loader.

    Raises:
        GpuUnavailableError: there is no driver, it does not start, or it knows no device.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError as fault:
        raise GpuUnavailableError(f"gpu: {library} is missing: install the NVIDIA driver ({fault})") from fault
    code = int(driver.cuInit(0))
    if code == _NO_DEVICE:
        raise GpuUnavailableError(f"gpu: {library} finds no NVIDIA GPU on this machine")
    if code:
        raise GpuUnavailableError(f"gpu: {library} does not start: {_describe(driver, code)}")
    count = ctypes.c_int()
    if int(driver.cuDeviceGetCount(ctypes.byref(count))) or count.value < 1:
        raise GpuUnavailableError(f"gpu: {library} finds no NVIDIA GPU on this machine")
    return driver


def device_capability(device: int = 0, library: str = _LIBRARY) -> tuple[int, int]:
    """Compute capability (major, minor) of a device, such as (9, 0).

    Args:
        device: ordinal, from 0.
        library: see `open_driver`.

    Raises:
        GpuUnavailableError: as `open_driver`, or there is no device of this number.
    """
    driver = open_driver(library)
    handle, value = ctypes.c_int(), ctypes.c_int()
    code = int(driver.cuDeviceGet(ctypes.byref(handle), device))
    if code:
        raise GpuUnavailableError(f"gpu: there is no device {device}: {_describe(driver, code)}")
    found = []
    for attribute in (_MAJOR, _MINOR):
        code = int(driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle))
        if code:
            raise GpuUnavailableError(f"gpu: device {device} does not say what it is: {_describe(driver, code)}")
        found.append(value.value)
    return found[0], found[1]


def missing_gpu(library: str = _LIBRARY) -> str:
    """Empty if a GPU is there, else the reason."""
    try:
        open_driver(library)
    except GpuUnavailableError as fault:
        return str(fault)
    return ""


def _describe(driver: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    if int(driver.cuGetErrorString(code, ctypes.byref(text))) or text.value is None:
        return f"error {code}"
    return f"error {code}, {text.value.decode()}"
