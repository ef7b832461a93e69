"""Which implementation of the kernels runs: the one that was asked for, or the one for the arrays, or an error."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, cast

from tgvc_kernels.device.arrays import on_device

Implementation: TypeAlias = Literal["cpu", "gpu", "reference"]
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def choose(implementation: Implementation | None, **modules: ModuleType) -> ModuleType:
    """The module of an implementation, None being ``cpu``; ValueError for a name that is not among them."""
    name = implementation or "cpu"
    if name not in modules:
        raise ValueError(f"implementation={name!r}: expected one of {sorted({*modules, 'gpu'})}")
    return modules[name]


def by_array(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Calls the twin of the same name in `tgvc_kernels.gpu` where arrays on a GPU come in, or where it was asked for.

    The function has the keyword-only arguments ``implementation`` and ``stream``; it gets what is in host memory.
    """
    name = function.__name__

    @wraps(function)
    def chosen(*arguments: Any, implementation: Any = None, stream: Any = None, **named: Any) -> Any:
        far = [array for array in (*arguments, *named.values()) if on_device(array)]
        if implementation == "gpu" or (implementation is None and far):
            from tgvc_kernels import gpu

            return getattr(gpu, name)(*arguments, **named, stream=stream)
        if stream is not None:
            raise ValueError(f"stream: only kernels on a GPU take one, not implementation={implementation or 'cpu'!r}")
        if far:
            raise ValueError(
                f"{name}: expected arrays in host memory for implementation={implementation!r}, got one on a GPU"
            )
        return cast("Any", function)(*arguments, **named, implementation=implementation)

    return chosen
