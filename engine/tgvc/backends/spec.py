"""What is known of a network without running it: its file, its tensors, how far it is from the network it came from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tgvc.errors import BackendError, BundleError

DTYPES = ("float32", "float16", "int64", "int32", "uint8")
Dimension: TypeAlias = int | str  # a length, a symbol such as "T", or a multiple of one such as "4*h"
_SYMBOL = re.compile(r"(?:([1-9][0-9]{0,5})\*)?([A-Za-z][A-Za-z0-9_]{0,31})", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_MAX_LENGTH = 1 << 31
_MAX_RANK = 8
_BLOCK = 1 << 20


def split_dimension(dimension: Dimension) -> tuple[int, str]:
    """A dimension as (factor, symbol): ``"4*h"`` is (4, "h"); a fixed length is (length, "")."""
    if isinstance(dimension, int):
        return dimension, ""
    match = _SYMBOL.fullmatch(dimension)
    if match is None:
        raise ValueError(f"dimension {dimension!r}: expected a length, a symbol or a multiple such as 4*h")
    return int(match[1] or 1), match[2]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a network: ``name``, ``dtype`` of NumPy, ``shape`` of lengths and symbols."""

    name: str
    dtype: str
    shape: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"tensor {self.name!r}: expected a name of letters, digits and _")
        if self.dtype not in DTYPES:
            raise ValueError(f"tensor {self.name}: dtype {self.dtype!r}, expected one of {', '.join(DTYPES)}")
        if not isinstance(self.shape, tuple) or len(self.shape) > _MAX_RANK:
            raise ValueError(f"tensor {self.name}: expected a shape of at most {_MAX_RANK} dimensions")
        for dimension in self.shape:
            if isinstance(dimension, bool) or not isinstance(dimension, int | str):
                raise ValueError(f"tensor {self.name}: dimension {dimension!r}, expected a length or a symbol")
            if not 0 < split_dimension(dimension)[0] < _MAX_LENGTH:
                raise ValueError(f"tensor {self.name}: dimension {dimension!s:.20}, expected 1 or more")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.shape))})"


@dataclass(frozen=True)
class DataFile:
    """Weights outside an ONNX file, where they do not fit into one: ``path``, ``size`` in bytes, ``sha256`` of them."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class NetRecord:
    """One network of a bundle as its manifest has it.

    ``path``: the ONNX file. ``size``: its bytes; ``sha256``: their hash, 64 hexadecimal digits. ``precision``: how
    weights are stored and sums are taken, in words. ``error``: what the export measured against the network it came
    from, name -> number. ``data``: the file of its weights, beside the ONNX file, if they are not in it.
    """

    name: str
    path: Path
    size: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: str = "float32"
    error: Mapping[str, float] = field(default_factory=dict)
    data: DataFile | None = None

    @property
    def paths(self) -> list[Path]:
        """All files of the network."""
        return [self.path] if self.data is None else [self.path, self.data.path]

    def read(self) -> bytes:
        """The bytes of the file, which are those that the hash was made of.

        Raises:
            BundleError: they are not, or the file cannot be read.
        """
        try:
            with self.path.open("rb") as stream:
                data = stream.read(self.size + 1)  # never more, whatever the file has become
        except OSError as fault:
            raise BundleError(f"{self.path.name}: {fault.strerror or fault}; reinstall the bundle") from fault
        if len(data) != self.size:
            raise BundleError(f"{self.path.name}: not the {self.size} bytes of the manifest; reinstall the bundle")
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise BundleError(f"{self.path.name}: its sha256 is not the manifest's; reinstall the bundle")
        return data

    def verify(self) -> None:
        """Make sure that all files are what the manifest says, for a runtime that reads them itself.

        Raises:
            BundleError: they are not.
        """
        self.read()
        if self.data is not None and (fault := file_fault(self.data.path, self.data.size, self.data.sha256)):
            raise BundleError(f"{fault}; reinstall the bundle")


def file_fault(path: Path, size: int, sha256: str) -> str:
    """What is wrong with a file of a bundle: missing, of another size, of another hash; empty if nothing is."""
    try:
        if not path.is_file():
            return f"{path.name} is missing"
        found = path.stat().st_size
        if found != size:
            return f"{path.name} has {found} bytes, the manifest says {size}"
        if hash_file(path) != sha256:
            return f"{path.name} has another sha256 than the manifest says"
    except OSError as fault:
        return f"{path.name}: {fault.strerror or fault}"
    return ""


def hash_file(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def bind_shapes(specs: Iterable[TensorSpec], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The lengths of the symbols that make specs fit shapes.

    Args:
        specs: of the tensors.
        shapes: of the arrays, by the names of the specs.

    Raises:
        ValueError: a rank, a fixed length, a multiple or a symbol does not fit; the text names the tensor.
    """
    lengths: dict[str, int] = {}
    for spec in specs:
        shape = shapes[spec.name]
        fault = ValueError(f"{spec.name}: shape {shape}, expected ({', '.join(map(str, spec.shape))})")
        if len(shape) != len(spec.shape):
            raise fault
        for length, dimension in zip(shape, spec.shape, strict=True):
            factor, symbol = split_dimension(dimension)
            if not symbol:
                if length != factor:
                    raise fault
                continue
            whole, rest = divmod(length, factor)
            if rest or not whole:
                raise fault
            if lengths.setdefault(symbol, whole) != whole:
                raise ValueError(f"{fault}, and {symbol} is {lengths[symbol]} in an earlier tensor")
    return lengths


def tensor_faults(found: Mapping[str, tuple[str, Sequence[Any]]], specs: Sequence[TensorSpec]) -> list[str]:
    """Where the tensors of a file differ from those of a record; free dimensions must be free on both sides.

    Args:
        found: dtype and shape by name; a dimension that is no integer is free.
        specs: of the record.
    """
    if set(found) != {spec.name for spec in specs}:
        return [f"has tensors {', '.join(sorted(found))}, the manifest says {', '.join(s.name for s in specs)}"]
    faults = []
    for spec in specs:
        dtype, shape = found[spec.name]
        same = len(shape) == len(spec.shape) and all(
            a == b if isinstance(b, int) else not isinstance(a, int) for a, b in zip(shape, spec.shape, strict=True)
        )
        if dtype != spec.dtype or not same:
            faults.append(f"has {spec.name} {dtype} {tuple(shape)}, the manifest says {spec}")
    return faults


def check_inputs(record: NetRecord, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
    """Refuse inputs that a network was not made for; nothing is converted or copied to make them fit.

    Returns:
        The lengths of the symbols.

    Raises:
        BackendError: a name is missing or unknown, or a dtype, a shape or the order in memory is another.
    """
    wanted = [spec.name for spec in record.inputs]
    if set(inputs) != set(wanted):
        raise BackendError(f"{record.name}: got inputs {', '.join(sorted(inputs))}, expected {', '.join(wanted)}")
    for spec in record.inputs:
        value = inputs[spec.name]
        if not isinstance(value, np.ndarray) or value.dtype != np.dtype(spec.dtype):
            kind = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
            raise BackendError(f"{record.name}: {spec.name} is {kind}, expected {spec.dtype}")
        if not value.flags.c_contiguous:
            raise BackendError(f"{record.name}: {spec.name} is not contiguous: give numpy.ascontiguousarray of it")
    try:
        return bind_shapes(record.inputs, {name: value.shape for name, value in inputs.items()})
    except ValueError as fault:
        raise BackendError(f"{record.name}: {fault}") from fault


def check_outputs(record: NetRecord, lengths: Mapping[str, int], outputs: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse outputs that the manifest does not promise for inputs of these lengths.

    Raises:
        BackendError: a dtype or a shape is another.
    """
    for spec in record.outputs:
        value = outputs[spec.name]
        want = tuple(f * lengths[s] if s else f for f, s in map(split_dimension, spec.shape))
        if value.dtype != np.dtype(spec.dtype) or value.shape != want:
            raise BackendError(
                f"{record.name}: gave {spec.name} {value.dtype.name} {value.shape}, expected {spec.dtype} {want}; "
                "the file is not what its manifest says"
            )
