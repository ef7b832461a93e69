"""How every CPU kernel is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Numba without the interpreter's lock, kept on disk, with IEEE arithmetic in the order written (no fast-math)."""
    return cast("_Function", njit(nogil=True, cache=True, error_model="numpy")(function))
