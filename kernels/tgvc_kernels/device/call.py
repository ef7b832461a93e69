"""One call of a kernel: its arrays are looked at, its outputs made, its arguments packed, its grid measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc_kernels.device.arrays import DeviceArray, stream_pointer, view_array
from tgvc_kernels.device.runtime import BLOCK, Runtime, find_runtime

SUFFIXES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}  # storage types
_LARGEST = (1 << 31) - 1  # elements that 32 bits can count
Shape = Sequence[int | None]


class Call:
    """What the functions of `tgvc_kernels.gpu` share. The first storage array decides the type of all others.

    Args:
        unit: file of the kernels.
        stream: see `tgvc_kernels.device.arrays.stream_pointer`.

    Raises:
        GpuUnavailableError: there is no GPU, or something that is needed for one is missing.
    """

    def __init__(self, unit: str, stream: Any) -> None:
        self.unit, self.stream = unit, stream_pointer(stream)
        self.storage: str | None = None
        self._device: int | None = None
        self._owners: list[Any] = []
        find_runtime(0)  # first of all, so that what is missing is named whatever the arguments are

    @property
    def runtime(self) -> Runtime:
        """Of the device that the arrays are on."""
        return find_runtime(self._device or 0)

    def take(self, name: str, array: Any, shape: Shape, dtypes: Sequence[str] | None = None) -> DeviceArray:
        """An input.

        Args:
            name: what messages call it.
            array: of any library.
            shape: expected sides; None = any.
            dtypes: allowed types; None = the call's storage type, which the first such array decides.

        Raises:
            ValueError: it is not on the GPU of the others, or is not of this shape and type.
        """
        view = view_array(name, array, self.stream)
        if dtypes is None:
            dtypes = tuple(SUFFIXES) if self.storage is None else (self.storage,)
            if view.dtype in dtypes:
                self.storage = view.dtype
        fits = len(view.shape) == len(shape) and all(w in (None, g) for w, g in zip(shape, view.shape, strict=True))
        if view.dtype not in dtypes or not fits:
            sides = ", ".join("any" if side is None else str(side) for side in shape)
            raise ValueError(f"{name}: expected {' or '.join(dtypes)} ({sides}), got {view.dtype} {view.shape}")
        if view.size > _LARGEST:
            raise ValueError(f"{name}: {view.size} elements, expected at most {_LARGEST}")
        if view.device is not None:
            if self._device not in (None, view.device):
                raise ValueError(f"{name}: expected an array on device {self._device} as the others, got {view.device}")
            self._device = view.device
        self._owners.append(view.owner)
        return view

    def take_optional(
        self, name: str, array: Any, shape: Shape, dtypes: Sequence[str] | None = None
    ) -> DeviceArray | None:
        """The same for an input that may be None."""
        return None if array is None else self.take(name, array, shape, dtypes)

    def give(self, out: Any, shape: Sequence[int], dtype: str | None = None) -> tuple[Any, DeviceArray]:
        """An output: the array that the caller gave, or new memory. ``dtype`` None = the storage type.

        Raises:
            ValueError: the caller's does not fit.
        """
        dtype = dtype or self.storage
        assert dtype is not None
        if out is None:
            out = self.runtime.empty(shape, numpy_type(dtype), self.stream)
        return out, self.take("out", out, shape, (dtype,))

    def launch(self, kernel: str, threads: int, *arguments: Any, typed: bool = True) -> None:
        """Queue a kernel with at least so many threads; none if there is nothing to do. ``typed``: add the suffix."""
        if threads:
            self.launch_blocks(kernel, -(-threads // BLOCK), *arguments, typed=typed)

    def launch_blocks(
        self, kernel: str, blocks: int, *arguments: Any, cooperative: bool = False, typed: bool = True
    ) -> None:
        """Queue a kernel with so many blocks."""
        name = f"{kernel}_{SUFFIXES[self.storage]}" if typed and self.storage else kernel
        packed = [pack_argument(argument) for argument in arguments]
        self.runtime.launch(self.unit, name, blocks, packed, self.stream, cooperative=cooperative)


def pack_argument(argument: Any) -> Any:
    """As a launch takes it: an array is its pointer, None the null pointer, an int 32 bits, a float float32."""
    if isinstance(argument, np.generic | np.ndarray):  # float64 is a float too
        return argument
    if argument is None:
        return np.uint64(0)
    if isinstance(argument, DeviceArray):
        return np.uint64(argument.pointer)
    if isinstance(argument, bool | int):
        return np.uint32(argument)
    return np.float32(argument)


def pointer_of(array: DeviceArray | None) -> int:
    """Address, 0 for None."""
    return 0 if array is None else array.pointer


def numpy_type(dtype: str) -> npt.DTypeLike:
    """NumPy's type of a name.

    Raises:
        ValueError: bfloat16, where the package that adds it to NumPy is missing.
    """
    if dtype != "bfloat16":
        return np.dtype(dtype)
    try:
        from ml_dtypes import bfloat16
    except ImportError as fault:
        raise ValueError("out: give an array, or pip install ml_dtypes: NumPy alone has no bfloat16") from fault
    wide: npt.DTypeLike = np.dtype(bfloat16)
    return wide


def check_scale(name: str, shape: tuple[int, ...], cells: tuple[int, ...]) -> None:
    """A plane must measure the same whole number of pixels per cell both ways.

    Raises:
        ValueError: it does not.
    """
    scale = shape[0] // cells[0]
    if scale < 1 or shape != (scale * cells[0], scale * cells[1]):
        raise ValueError(f"{name}: expected a whole multiple of {cells[0]} x {cells[1]} cells, got {shape}")


def check_cells(name: str, cells: tuple[int, ...]) -> None:
    """Bilinear samples need two cells each way.

    Raises:
        ValueError: there are fewer.
    """
    if min(cells) < 2:
        raise ValueError(f"{name}: expected at least 2 x 2 cells, got {cells}")
