"""Arrays on a GPU, whoever made them, as a pointer, a shape and a type; nothing is copied.

DLPack is asked first (CuPy, torch, JAX: it knows bfloat16 and lets the producer order its stream before ours), then
``__cuda_array_interface__`` (numba.cuda, PyCUDA): there the caller orders streams.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_GPU = (2, 13)  # DLDeviceType: CUDA, CUDA managed
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 6: "bool"}  # DLDataTypeCode
_HOST = (np.ndarray, np.generic, int, float, str, bytes, tuple, list, type(None))  # most arguments: decided at once
_LEGACY_STREAM = 1  # what DLPack calls the default stream


@dataclass(frozen=True)
class DeviceArray:
    """Memory on a GPU, C-contiguous. ``owner`` keeps it alive. ``dtype`` is a name such as ``float16``."""

    pointer: int
    shape: tuple[int, ...]
    dtype: str
    device: int | None
    owner: Any

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("number", ctypes.c_int32))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("dimensions", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    )


def on_device(array: Any) -> bool:
    """Whether an object is an array on a GPU; asks nothing of any GPU library."""
    if isinstance(array, _HOST):
        return False
    if hasattr(array, "__dlpack_device__"):
        return int(array.__dlpack_device__()[0]) in _GPU
    return hasattr(array, "__cuda_array_interface__")


def view_array(name: str, array: Any, stream: int) -> DeviceArray:
    """What a kernel needs to know of an array.

    Args:
        name: what messages call it.
        array: of CuPy, torch, numba.cuda, PyCUDA or another library that knows one of the two protocols.
        stream: pointer of the stream that will use it.

    Raises:
        ValueError: it is not on a GPU, or not C-contiguous.
    """
    if not on_device(array):
        raise ValueError(f"{name}: expected an array on a GPU, got {type(array).__name__} in host memory")
    if hasattr(array, "__dlpack__"):
        return read_capsule(name, array.__dlpack__(stream=stream or _LEGACY_STREAM))
    return _read_interface(name, array)


def read_capsule(name: str, capsule: Any) -> DeviceArray:
    """The array in a DLPack capsule; the capsule is left as it was and owns the memory.

    Raises:
        ValueError: its type is not known, or it is not C-contiguous.
    """
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(get(capsule, b"dltensor"))
    kind = _KINDS.get(tensor.code)
    if kind is None or tensor.lanes != 1:
        raise ValueError(f"{name}: DLPack type {tensor.code} of {tensor.lanes} lanes is not known")
    dtype = "bool" if kind == "bool" else f"{kind}{tensor.bits}"
    shape = tuple(tensor.shape[n] for n in range(tensor.dimensions))
    if tensor.strides:
        _check_dense(name, shape, tuple(tensor.strides[n] for n in range(tensor.dimensions)))
    pointer = (tensor.data or 0) + tensor.offset
    return DeviceArray(pointer, shape, dtype, int(tensor.device.number), capsule)


def _read_interface(name: str, array: Any) -> DeviceArray:
    interface = array.__cuda_array_interface__
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    if strides := interface.get("strides"):
        _check_dense(name, shape, tuple(step // dtype.itemsize for step in strides))
    return DeviceArray(int(interface["data"][0] or 0), shape, dtype.name, None, array)


def _check_dense(name: str, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """Strides in elements; those of sides of length 1, and of empty arrays, may be anything."""
    if 0 in shape:
        return
    expected = 1
    for length, step in zip(reversed(shape), reversed(strides), strict=True):
        if length > 1 and step != expected:
            raise ValueError(f"{name}: expected C-contiguous memory, got strides {strides} for shape {shape}")
        expected *= length


def stream_pointer(stream: Any) -> int:
    """The pointer of a stream; 0 is the default stream.

    Args:
        stream: a number, or a stream of CuPy (``ptr``), torch (``cuda_stream``), numba or PyCUDA (``handle``), or of
            any library that knows ``__cuda_stream__``.

    Raises:
        ValueError: it is none of these; there is no default.
    """
    if isinstance(stream, int | np.integer) and not isinstance(stream, bool) and int(stream) >= 0:
        return int(stream)
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for attribute in ("ptr", "cuda_stream", "handle"):
        found = getattr(stream, attribute, None)
        if found is not None:
            return int(getattr(found, "value", found) or 0)
    raise ValueError(f"stream: expected a CUDA stream or its pointer, 0 for the default one, got {stream!r}")
