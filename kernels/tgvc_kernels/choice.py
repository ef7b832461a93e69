"""Which implementation of the kernels runs: the one that was asked for, or an error."""

from __future__ import annotations

from types import ModuleType
from typing import Literal, TypeAlias

Implementation: TypeAlias = Literal["cpu", "reference"]


def choose(implementation: Implementation, **modules: ModuleType) -> ModuleType:
    """The module of an implementation; ValueError for a name that is not among them."""
    if implementation not in modules:
        raise ValueError(f"implementation={implementation!r}: expected one of {sorted(modules)}")
    return modules[implementation]
