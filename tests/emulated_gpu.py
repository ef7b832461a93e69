"""A GPU that is a CPU: the text of the kernels compiled for the host, launched by the product's own Python code.

What stands in for CuPy and for arrays on a GPU is here; everything between (array protocols, checks, packing of
arguments, grids, names of kernels and units) is the product's. The emulator is in kernels/check.
"""

from __future__ import annotations

import atexit
import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from tgvc_kernels.device.call import numpy_type
from tgvc_kernels.device.runtime import Runtime

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "kernels"
FLAGS = ("-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")
FOLDERS = ("check/emulated", "check", "include", "tgvc_kernels/cuda")
INCLUDES = tuple(f"-I{KERNELS / folder}" for folder in FOLDERS)
CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4, "bool": 6}


def find_compiler() -> str | None:
    """A C++ compiler of the host."""
    return shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@cache
def load_emulator() -> ctypes.CDLL:
    """Compile and load kernels/check/emulate.cpp, once per process."""
    compiler = find_compiler()
    assert compiler is not None
    folder = Path(tempfile.mkdtemp(prefix="tgvc-emulator-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "emulate.so"
    source = KERNELS / "check" / "emulate.cpp"
    command = [compiler, *FLAGS, "-fPIC", "-shared", *INCLUDES, str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(library))
    loaded.tgvc_kernel_name.restype = ctypes.c_char_p
    loaded.tgvc_float_of_half.restype = ctypes.c_float
    for name in ("tgvc_half_of", "tgvc_bfloat_of"):
        getattr(loaded, name).argtypes = (ctypes.c_float,)
        getattr(loaded, name).restype = ctypes.c_uint16
    return loaded


# ---------------------------------------------------------------- arrays


class _Managed(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("kind", ctypes.c_int32),
        ("number", ctypes.c_int32),
        ("dimensions", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class DlpackArray:
    """An array "on a GPU" that speaks DLPack. bfloat16 is held as uint16."""

    alive: ClassVar[list[DlpackArray] | None] = None  # a list here keeps every array that is made

    def __init__(self, host: np.ndarray, *, bfloat: bool = False, device: tuple[int, int] = (2, 0)) -> None:
        self.host, self.bfloat, self.device = host, bfloat, device
        self.streams: list[int] = []
        if DlpackArray.alive is not None:
            DlpackArray.alive.append(self)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.host.shape

    @property
    def dtype(self) -> str:
        return "bfloat16" if self.bfloat else self.host.dtype.name

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, stream: int | None = None) -> Any:
        assert stream is not None
        self.streams.append(stream)
        sides, n = self.host.shape, self.host.ndim
        kind = "bool" if self.host.dtype == bool else self.host.dtype.name.rstrip("0123456789")
        self.sides = (ctypes.c_int64 * max(n, 1))(*sides)
        self.steps = (ctypes.c_int64 * max(n, 1))(*(s // self.host.itemsize for s in self.host.strides))
        code = CODES["bfloat"] if self.bfloat else CODES[kind]
        self.managed = _Managed(
            self.host.ctypes.data,
            *self.device,
            n,
            code,
            8 * self.host.itemsize,
            1,
            self.sides,
            self.steps,
            0,
            None,
            None,
        )
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return make(ctypes.addressof(self.managed), b"dltensor", None)


class InterfaceArray:
    """An array "on a GPU" that speaks the CUDA array interface alone, as numba's and PyCUDA's."""

    def __init__(self, host: np.ndarray) -> None:
        self.host = host

    @property
    def shape(self) -> tuple[int, ...]:
        return self.host.shape

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        dense = self.host.flags.c_contiguous
        return {
            "shape": self.host.shape,
            "typestr": self.host.dtype.str,
            "data": (self.host.ctypes.data, False),
            "strides": None if dense else self.host.strides,
            "version": 3,
            "stream": 1,
        }


def to_bfloat(values: np.ndarray) -> np.ndarray:
    """Nearest bfloat16 of float32, halves to even, as uint16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bfloat(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float32 numbers as they are after storage in a type."""
    if dtype == "bfloat16":
        return from_bfloat(to_bfloat(values)).reshape(values.shape)
    return values.astype(dtype).astype(np.float32)


def to_device(values: np.ndarray, dtype: str | None = None) -> Any:
    """A copy "on the GPU", in a storage type if one is given."""
    if PLACE.cupy is not None:
        bits = PLACE.cupy.asarray(to_bfloat(values) if dtype == "bfloat16" else values)
        return bits.view(numpy_type("bfloat16")) if dtype == "bfloat16" else bits.astype(dtype or bits.dtype)
    if dtype == "bfloat16":
        return DlpackArray(to_bfloat(values), bfloat=True)
    return DlpackArray(np.array(values, dtype or values.dtype, order="C"))


def to_host(array: Any) -> np.ndarray:
    """Content of an array "on the GPU"; what was stored in 16 bits is widened."""
    if PLACE.cupy is not None:
        PLACE.cupy.cuda.Device().synchronize()
        host = PLACE.cupy.asnumpy(array.view(np.uint16) if array.dtype.name == "bfloat16" else array)
        return from_bfloat(host) if array.dtype.name == "bfloat16" else _widen(host)
    return from_bfloat(array.host) if array.bfloat else _widen(array.host)


def _widen(host: np.ndarray) -> np.ndarray:
    return host.astype(np.float32) if host.dtype == np.float16 else host


class Place:
    """Where the arrays of the tests are: emulated, or on a real GPU once ``cupy`` is set."""

    cupy: Any = None
    stream: int = 7

    @property
    def ptr(self) -> int:
        """Pointer of the stream of the tests, which may be given as such."""
        return self.stream


PLACE = Place()


# ---------------------------------------------------------------- CuPy


@dataclass
class Launch:
    """A launch as CuPy was asked for it."""

    kernel: str
    grid: int
    block: int
    cooperative: bool
    arguments: tuple[Any, ...]
    stream: int
    path: str


@dataclass
class FakeCupy:
    """What `Runtime` uses of CuPy. Memory is not cleared, as on a device."""

    library: ctypes.CDLL
    launches: list[Launch] = field(default_factory=list)
    before: Callable[[Launch], None] | None = None
    __version__ = "14.0.0"

    @property
    def cuda(self) -> Any:
        return SimpleNamespace(Stream=_FakeStream, Device=lambda number: nullcontext(number))

    def empty(self, shape: Sequence[int], dtype: Any) -> DlpackArray:
        dtype, bfloat = np.dtype(dtype), np.dtype(dtype).name == "bfloat16"
        host = np.empty(tuple(shape), np.uint16 if bfloat else dtype)
        host.reshape(-1).view(np.uint8)[:] = 0xA5
        return DlpackArray(host, bfloat=bfloat)

    def zeros(self, shape: Sequence[int], dtype: Any) -> DlpackArray:
        return DlpackArray(np.zeros(tuple(shape), dtype))

    def asarray(self, array: np.ndarray) -> DlpackArray:
        return DlpackArray(array.copy())

    def RawModule(self, *, path: str, enable_cooperative_groups: bool = False) -> Any:  # noqa: N802
        return SimpleNamespace(get_function=lambda name: self._function(name, path, enable_cooperative_groups))

    def _function(self, name: str, path: str, cooperative: bool) -> Callable[..., None]:
        assert Path(path).is_file()

        def call(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...], *, stream: Any) -> None:
            launch = Launch(name, grid[0], block[0], cooperative, arguments, stream.ptr, path)
            if self.before is not None:
                self.before(launch)
            self.launches.append(launch)
            held = [np.atleast_1d(np.asarray(argument)).copy() for argument in arguments]
            pointers = (ctypes.c_void_p * len(held))(*(argument.ctypes.data for argument in held))
            code = self.library.tgvc_emulate(name.encode(), grid[0], block[0], int(cooperative), pointers)
            assert code == 0, f"{name}: {['', 'no such kernel', 'its threads wait for ever'][code]}"

        return call


class _FakeStream(AbstractContextManager["_FakeStream"]):
    null: Any = None

    def __init__(self, pointer: int) -> None:
        self.ptr = pointer

    @classmethod
    def from_external(cls, stream: Any) -> _FakeStream:
        version, pointer = stream.__cuda_stream__()
        assert version == 0
        return cls(pointer)

    def __exit__(self, *_: object) -> None:
        return None


_FakeStream.null = _FakeStream(0)


@cache
def empty_binaries(folder: Path) -> Path:
    """Files of the names that compiled units have: what the fake loads is in the emulator already."""
    from tgvc_kernels.device.binaries import shipped_name
    from tgvc_kernels.device.sources import UNITS

    for unit in UNITS:
        (folder / shipped_name(unit, 90)).touch()
    return folder


def make_runtime(library: ctypes.CDLL, folder: Path) -> tuple[FakeCupy, Runtime]:
    """A runtime whose launches are emulated."""
    cupy = FakeCupy(library)
    return cupy, Runtime(cupy, 0, (9, 0), empty_binaries(folder))
