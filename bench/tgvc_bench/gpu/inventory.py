"""What a machine has of what the slices need; what is missing is named, with how to get it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tgvc_bench.gpu.bundle_steps import has_bundle
from tgvc_bench.gpu.sizes import Sizes
from tgvc_kernels.device.driver import missing_gpu

_ADVICE = {
    "torch": "torch is not installed: pip install torch",
    "triton": "Triton is not installed: it comes with torch for CUDA",
    "cupy": "CuPy is not installed: pip install cupy-cuda13x",
    "onnx": "onnx is not installed: pip install onnx",
    "onnxscript": "onnxscript is not installed: pip install onnxscript",
}


def find_missing(needs: tuple[str, ...], sizes: Sizes, folder: Path) -> str:
    """What of these is not here, in one line; empty if everything is.

    Args:
        needs: ``gpu``, ``bundle``, or modules of Python.
        sizes: a dry run needs neither GPU nor what belongs to it.
        folder: of the run.
    """
    faults = []
    for name in needs:
        if name == "gpu":
            faults += [fault for fault in [missing_gpu()] if fault and not sizes.dry]
        elif name == "bundle":
            faults += [] if has_bundle(folder) else ["the slice `bundle` has not been run"]
        elif not (sizes.dry and name in ("cupy", "triton")) and find_spec(name) is None:
            faults.append(_ADVICE[name])
    return "; ".join(faults)
