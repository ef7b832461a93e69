"""Which libraries are installed, as their packages and files tell, and which of them cannot be together."""

from __future__ import annotations

import mmap
import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

_TENSORRT = ("tensorrt-cu13", "tensorrt-cu12", "tensorrt", "tensorrt-cu13-libs", "tensorrt-cu12-libs")
_PROVIDER = "libonnxruntime_providers_tensorrt.so"
_LINKED = re.compile(rb"libnvinfer\.so\.(\d+)")


def find_versions(*distributions: str) -> dict[str, str]:
    """Versions of those distributions that are installed, by name; nothing is imported."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def installed_tensorrt() -> str:
    """Version of TensorRT itself, empty if it is not installed from a package."""
    return next(iter(find_versions(*_TENSORRT).values()), "")


def linked_tensorrt(folder: Path | None = None) -> int | None:
    """Major version of TensorRT that ONNX Runtime was linked with; None if it was built without.

    Args:
        folder: of the package; found without importing it by default.
    """
    if folder is None:
        spec = find_spec("onnxruntime")
        if spec is None or not spec.submodule_search_locations:
            return None
        folder = Path(next(iter(spec.submodule_search_locations)))
    path = folder / "capi" / _PROVIDER
    if not path.is_file() or not path.stat().st_size:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = _LINKED.search(content)
        return int(found[1]) if found else None


def tensorrt_range(major: int) -> str:
    """What to install for a major version of TensorRT: 10.13 is the first whose networks are strongly typed as here."""
    return f"tensorrt-cu13>={'10.13' if major == 10 else f'{major}.0'},<{major + 1}"


def tensorrt_clash() -> str:
    """Why ONNX Runtime cannot use the TensorRT that is installed; empty if it can, or if one of them is not there."""
    linked, installed = linked_tensorrt(), installed_tensorrt()
    if linked is None or not installed or installed.partition(".")[0] == str(linked):
        return ""
    runtime = next(iter(find_versions("onnxruntime-gpu", "onnxruntime").values()), "")
    return (
        f"ONNX Runtime {runtime} is linked with libnvinfer.so.{linked}, and TensorRT {installed} is installed: "
        f"pip install '{tensorrt_range(linked)}', or an environment of its own for onnxruntime-tensorrt"
    )


def find_clashes() -> list[str]:
    """Packages that are installed and break each other, one line for each pair with what to do."""
    both = find_versions("onnxruntime", "onnxruntime-gpu")
    clashes = []
    if len(both) == 2:
        clashes.append(
            f"onnxruntime {both['onnxruntime']} and onnxruntime-gpu {both['onnxruntime-gpu']} share one folder, the "
            "last one wins: pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them"
        )
    return [*clashes, *filter(None, [tensorrt_clash()])]
