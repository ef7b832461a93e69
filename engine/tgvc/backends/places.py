"""Where arrays lie: a pointer, a shape and a type, on a GPU or in host memory; nothing is copied and nothing waits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tgvc.backends.spec import NetRecord, TensorSpec, bind_shapes, split_dimension
from tgvc.errors import BackendError
from tgvc_kernels.device.arrays import read_capsule

HOST = "cpu"
_GPU = (2, 13)  # DLDeviceType: CUDA, CUDA managed
_NO_WAIT = -1  # what DLPack calls "the caller orders streams"


@dataclass(frozen=True)
class Place:
    """C-contiguous memory. ``pointer``: its address. ``dtype``: NumPy's name. It lives as long as its array does."""

    pointer: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def overlaps(self, other: Place) -> bool:
        """Whether any byte belongs to both."""
        return self.pointer < other.pointer + other.size and other.pointer < self.pointer + self.size


@dataclass(frozen=True)
class Launch:
    """The arrays of one run that were found to be what a record says; ``lengths``: of its symbols."""

    inputs: Mapping[str, Place]
    outputs: Mapping[str, Place]
    lengths: Mapping[str, int]

    @property
    def key(self) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
        """What a recorded graph depends on: names, addresses and shapes."""
        places = (*self.inputs.items(), *self.outputs.items())
        return tuple((name, place.pointer, place.shape) for name, place in places)


def full_shape(spec: TensorSpec, lengths: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a tensor where its symbols have these lengths."""
    return tuple(f * lengths[s] if s else f for f, s in map(split_dimension, spec.shape))


def prepare_launch(
    record: NetRecord, device: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: int
) -> Launch:
    """Refuse arrays that a network was not made for.

    Args:
        record: of the network.
        device: where the arrays have to be: ``cpu`` or ``cuda:0``.
        inputs: arrays by name.
        outputs: arrays by name, written to; none may share memory with another array.
        stream: handle of a CUDA stream; 0 for host memory.

    Raises:
        BackendError: a name is missing or unknown, an array lies elsewhere, or has another dtype, shape or order in
            memory; outputs overlap something; a stream for host memory.
    """
    name = record.name
    if isinstance(stream, bool) or not isinstance(stream, int) or stream < 0 or (device == HOST and stream):
        raise BackendError(f"{name}: stream={stream!r}: expected {'0 on the CPU' if device == HOST else 'its handle'}")
    for what, given, specs in (("inputs", inputs, record.inputs), ("outputs", outputs, record.outputs)):
        wanted = [spec.name for spec in specs]
        if set(given) != set(wanted):
            raise BackendError(f"{name}: got {what} {', '.join(sorted(given))}, expected {', '.join(wanted)}")
    read = {spec.name: _find(record, spec, inputs[spec.name], device) for spec in record.inputs}
    written = {spec.name: _find(record, spec, outputs[spec.name], device, written=True) for spec in record.outputs}
    try:
        lengths = bind_shapes(record.inputs, {key: place.shape for key, place in read.items()})
    except ValueError as fault:
        raise BackendError(f"{name}: {fault}") from fault
    for number, spec in enumerate(record.outputs):
        place, shape = written[spec.name], full_shape(spec, lengths)
        if place.shape != shape:
            raise BackendError(f"{name}: {spec.name}: shape {place.shape}, expected {shape}")
        others = read | {other.name: written[other.name] for other in record.outputs[:number]}
        if shared := [key for key, other in others.items() if place.overlaps(other)]:
            raise BackendError(f"{name}: {spec.name} shares memory with {', '.join(shared)}: give it its own")
    return Launch(read, written, lengths)


def _find(record: NetRecord, spec: TensorSpec, array: Any, device: str, *, written: bool = False) -> Place:
    label = f"{record.name}: {spec.name}"
    place = _host_place(label, array, written) if device == HOST else _gpu_place(label, array, device)
    if place.dtype != spec.dtype:
        raise BackendError(f"{label} is {place.dtype}, expected {spec.dtype}")
    return place


def _host_place(label: str, array: Any, written: bool) -> Place:
    if not isinstance(array, np.ndarray):
        raise BackendError(f"{label} is {type(array).__name__}, expected a NumPy array: this backend runs on the CPU")
    if not array.flags.c_contiguous:
        raise BackendError(f"{label} is not contiguous: give numpy.ascontiguousarray of it")
    if written and not array.flags.writeable:
        raise BackendError(f"{label} is read-only, expected an array to write to")
    return Place(int(array.ctypes.data), array.shape, array.dtype.name)


def _gpu_place(label: str, array: Any, device: str) -> Place:
    """The CUDA array interface first, which tells an address and does nothing else; then DLPack, told not to wait."""
    ordinal = int(device.partition(":")[2])
    if not isinstance(array, np.ndarray | np.generic):
        interface = getattr(array, "__cuda_array_interface__", None)
        if interface is not None:
            return _read_interface(label, interface)
        if hasattr(array, "__dlpack_device__") and int(array.__dlpack_device__()[0]) in _GPU:
            try:
                found = read_capsule(label, array.__dlpack__(stream=_NO_WAIT))
            except ValueError as fault:
                raise BackendError(str(fault)) from fault
            if found.device not in (None, ordinal):
                raise BackendError(f"{label} lies on cuda:{found.device}, expected {device}")
            return Place(found.pointer, found.shape, found.dtype)
    raise BackendError(f"{label} is {type(array).__name__} in host memory, expected an array on {device}")


def _read_interface(label: str, interface: Mapping[str, Any]) -> Place:
    dtype, shape = np.dtype(interface["typestr"]), tuple(int(length) for length in interface["shape"])
    dense = tuple(math.prod(shape[n + 1 :]) * dtype.itemsize for n in range(len(shape)))
    strides = interface.get("strides")
    if strides and any(a != b for a, b, length in zip(strides, dense, shape, strict=True) if length > 1):
        raise BackendError(f"{label} is not contiguous: expected C order")
    return Place(int(interface["data"][0] or 0), shape, dtype.name)
