"""Compiled units on disk: made once per text, architecture and compiler, or shipped."""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tgvc_kernels.device.nvrtc import OPTIONS, compile_text, nvrtc_version, supported_architectures
from tgvc_kernels.device.sources import UNITS, unit_text

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)


def cache_folder() -> Path:
    """Where units that were compiled at run time are kept: ``tgvc/kernels`` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tgvc" / "kernels"


def text_hash(unit: str) -> str:
    """First 16 digits of the SHA-256 of a unit's text and the compiler's options."""
    return hashlib.sha256("\0".join((unit_text(unit), *OPTIONS)).encode()).hexdigest()[:16]


def shipped_name(unit: str, architecture: int) -> str:
    """File name of a unit that was compiled elsewhere; another text has another name."""
    return f"{unit}-sm{architecture}-{text_hash(unit)}.cubin"


def cached_name(unit: str, architecture: int) -> str:
    """The same in the cache, where the compiler's version counts too."""
    version = ".".join(map(str, nvrtc_version()))
    return f"{unit}-sm{architecture}-{text_hash(unit)}-nvrtc{version}.cubin"


def find_binary(
    unit: str, capability: tuple[int, int], shipped: Path | None = None, cached: Path | None = None
) -> Path:
    """A cubin of a unit that runs on a device; compiled now if there is none yet.

    Args:
        unit: one of `UNITS`.
        capability: (major, minor) of the device.
        shipped: folder that `ship_binaries` filled; looked into first.
        cached: folder to keep what is compiled here; `cache_folder` by default.

    Raises:
        GpuUnavailableError: nothing fits and NVRTC is missing or too old for the device.
        RuntimeError: NVRTC failed.
    """
    # a cubin runs on its own architecture and on later minor ones of the same major
    usable = [10 * capability[0] + minor for minor in range(capability[1], -1, -1)]
    if shipped is not None:
        for architecture in usable:
            if (path := shipped / shipped_name(unit, architecture)).is_file():
                return path
    known = supported_architectures()
    architecture = next((a for a in usable if a in known), usable[0])
    folder = cache_folder() if cached is None else cached
    path = folder / cached_name(unit, architecture)
    if not path.is_file():
        _write_whole(path, compile_text(unit_text(unit), architecture, f"{unit}.cu"))
    return path


def ship_binaries(folder: Path, architectures: Sequence[int] = ARCHITECTURES) -> list[Path]:
    """Compile every unit for every architecture into a folder; needs NVRTC, no GPU.

    Raises:
        GpuUnavailableError: NVRTC is missing or does not know an architecture.
        RuntimeError: NVRTC failed.
    """
    paths = []
    for unit in UNITS:
        for architecture in architectures:
            paths.append(folder / shipped_name(unit, architecture))
            _write_whole(paths[-1], compile_text(unit_text(unit), architecture, f"{unit}.cu"))
    return paths


def _write_whole(path: Path, content: bytes) -> None:
    """Beside, then renamed: several processes may compile the same unit at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m tgvc_kernels.device.binaries FOLDER [--architectures 80 90]``: see `ship_binaries`."""
    parser = argparse.ArgumentParser(description="Compile the CUDA kernels ahead of time, without a GPU.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architectures", type=int, nargs="+", default=list(ARCHITECTURES), metavar="90")
    options = parser.parse_args(arguments)
    for path in ship_binaries(options.folder, options.architectures):
        print(path)


if __name__ == "__main__":
    main()
