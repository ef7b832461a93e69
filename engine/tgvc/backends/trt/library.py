"""Which TensorRT is installed: `tensorrt` 10.13 to 11, or `tensorrt_rtx`; one way of writing for both.

Their calls are the same as long as networks are strongly typed, tensors have addresses and shapes are fixed. What only
one of them has is asked for by `hasattr`, never by its version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from tgvc.errors import BackendUnavailableError

RTX = "tensorrt_rtx"
_MODULES = {"tensorrt": ("tensorrt", RTX), "tensorrt-rtx": (RTX,)}
_RANGES = {"tensorrt": ((10, 13), (12, 0)), RTX: ((1, 2), (2, 0))}  # first that is taken, first that is not
_GET = {"tensorrt": "pip install 'tgvc[tensorrt]'", RTX: "pip install 'tgvc[tensorrt-rtx]'"}


@dataclass(frozen=True)
class Library:
    """``module``: what was imported. ``name``: its name. ``version``: its own."""

    module: Any
    name: str
    version: str

    @property
    def label(self) -> str:
        """Name and version, such as ``tensorrt 11.4.0.106``."""
        return f"{self.name} {self.version}"

    @cached_property
    def log(self) -> Any:
        """A logger of the library that keeps what goes wrong in ``told`` instead of printing it."""
        return _collecting_log(self.module)

    @property
    def targets(self) -> tuple[str, ...]:
        """Architectures that can be built for without a GPU, such as ``sm_89``."""
        known = getattr(self.module, "ComputeCapability", None)
        names = [name for name in dir(known) if name.startswith("SM")] if known is not None else []
        return tuple(f"sm_{name[2:]}" for name in sorted(names, key=lambda name: int(name[2:])))

    def take_log(self) -> str:
        """What went wrong since the last call, on one line."""
        told, self.log.told = self.log.told, []
        return join_lines(told)


def find_library(name: str = "tensorrt") -> Library:
    """The library of a backend: for ``tensorrt`` whichever is installed, TensorRT itself first.

    Raises:
        BackendUnavailableError: none is, or it does not load, or is of another version: what to install.
    """
    faults = []
    for module_name in _MODULES[name]:
        try:
            module = import_module(module_name)
        except (ImportError, OSError, RuntimeError) as fault:  # what their packages raise when a library is missing
            faults.append(f"{module_name} ({' '.join(str(fault).split())[:200]}), {_GET[module_name]}")
            continue
        library = Library(module, module_name, str(getattr(module, "__version__", "0")))
        if fault_of_version := _version_fault(library):
            faults.append(fault_of_version)
            continue
        return library
    raise BackendUnavailableError(f"{name}: needs {' or '.join(faults)}")


def join_lines(messages: Sequence[str]) -> str:
    """Messages of a library on one line, cut to what can be read."""
    return " ".join("; ".join(messages).split())[:2000] or "no message"


def _version_fault(library: Library) -> str:
    first, last = _RANGES[library.name]
    found = tuple(int(part) for part in library.version.split(".")[:2] if part.isdigit())
    if not first <= found < last:
        wanted = f"{first[0]}.{first[1]} to before {last[0]}.{last[1]}"
        return f"{library.label}, expected {wanted}: {_GET[library.name]}"
    if not hasattr(library.module, "OnnxParser") or not hasattr(library.module, "Builder"):
        return f"{library.label} that can build: this one only runs engines; {_GET[library.name]}"
    return ""


def _collecting_log(module: Any) -> Any:
    class Log(module.ILogger):  # type: ignore[misc]
        """Keeps what goes wrong instead of printing it."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.told: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                self.told.append(message)

    return Log()
