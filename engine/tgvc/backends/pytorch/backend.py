"""Torch as a backend: on the GPU where there is one, else on the CPU; never on the CPU of a machine with a GPU."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from typing import TYPE_CHECKING

from tgvc.backends.cuda import find_gpu
from tgvc.backends.places import HOST
from tgvc.backends.spec import NetRecord
from tgvc.errors import BackendUnavailableError
from tgvc_kernels.device.driver import missing_gpu

if TYPE_CHECKING:  # torch takes long to import
    from tgvc.backends.pytorch.net import TorchNet

COMPILED = "torch-compile"
_OLDEST = (2, 9)


class TorchBackend:
    """Torch, as it is or through its compiler; see `tgvc.backends.base.Backend`.

    A GPU that should not be used is hidden with CUDA_VISIBLE_DEVICES, as for everything else that uses CUDA.
    """

    def __init__(self, name: str = "torch", *, threads: int = 2, device: int = 0) -> None:
        """Make sure that torch is here and computes where it should.

        Raises:
            BackendUnavailableError: it does not: what is missing, how to get it.
        """
        try:
            import onnx  # noqa: F401  # reads the files
            import torch
        except (ImportError, OSError) as fault:
            why = " ".join(str(fault).split())
            raise BackendUnavailableError(f"{name}: needs torch and onnx ({why}); pip install 'tgvc[torch]'") from fault
        self.name, self.version = name, str(torch.__version__)
        if tuple(int(part) for part in self.version.split(".")[:2]) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            raise BackendUnavailableError(f"{name}: torch {self.version} is too old; pip install 'torch>={oldest}'")
        self._compiled = name == COMPILED
        if missing_gpu():
            self.device = HOST
            torch.set_num_threads(threads)
        else:
            gpu = find_gpu(device)
            if not torch.cuda.is_available():
                raise BackendUnavailableError(
                    f"{name}: this machine has {gpu.name}, and torch {self.version} is built without CUDA or does not "
                    "start it: install torch from https://pytorch.org/get-started, or set CUDA_VISIBLE_DEVICES= to "
                    "compute on the CPU"
                )
            self.device = f"cuda:{device}"
        if self._compiled:
            self._find_compiler()
        way = " compiled" if self._compiled else ""
        self.providers: tuple[str, ...] = (f"torch {self.device}{way}",)

    def load(self, record: NetRecord) -> TorchNet:
        """A network, ready to run; see `tgvc.backends.base.Backend.load`."""
        from tgvc.backends.pytorch.graph import read_graph
        from tgvc.backends.pytorch.net import TorchNet

        return TorchNet(record, read_graph(record), self.device, compiled=self._compiled)

    def _find_compiler(self) -> None:
        """What `torch.compile` makes code with: Triton for GPUs, a C++ compiler for the CPU."""
        if self.device != HOST and importlib.util.find_spec("triton") is None:
            raise BackendUnavailableError(f"{self.name}: needs Triton for this GPU; pip install triton")
        names = ("cl",) if sys.platform == "win32" else ("g++", "clang++")
        if self.device == HOST and not any(map(shutil.which, names)):
            raise BackendUnavailableError(f"{self.name}: needs a C++ compiler for the CPU: {' or '.join(names)}")
