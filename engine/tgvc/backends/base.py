"""The protocols of backends, which ones there are, whether they run here and why not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy.typing as npt

from tgvc.backends.spec import NetRecord
from tgvc.config import BACKENDS as CHOICES
from tgvc.errors import BackendUnavailableError, ConfigError
from tgvc.types import OnProgress
from tgvc_kernels.device.driver import missing_gpu

if TYPE_CHECKING:
    from tgvc.backends.engines.store import EngineStore

AUTO = "auto"
BACKENDS = tuple(name for name in CHOICES if name != AUTO)  # what may be asked for by name
_BY_SPEED = ("onnxruntime-cuda", "torch", "onnxruntime")  # in which order "auto" looks: what starts at once
_OF_TORCH = ("torch", "torch-compile")
_OF_TENSORRT = ("tensorrt", "tensorrt-rtx")
_log = logging.getLogger("tgvc.backends")


class Net(Protocol):
    """A network that is ready to run."""

    @property
    def record(self) -> NetRecord:
        """What the network takes and gives."""

    def run(self, **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name for inputs by name.

        An input that is read-only and the same object as in the call before counts as unchanged: a backend with memory
        of its own keeps it there. Calls from several threads are allowed.

        Raises:
            BackendError: a name, dtype, shape or the order in memory is not the record's, or the runtime failed.
        """


@runtime_checkable
class DeviceNet(Net, Protocol):
    """A network that runs on arrays where they lie: on a GPU, or in host memory where `Backend.device` is ``cpu``."""

    @property
    def capturable(self) -> bool:
        """Whether `launch` may be recorded into a CUDA graph once it has run with these shapes on this stream."""

    def launch(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: int) -> None:
        """Queue one run on a CUDA stream; nothing is copied, nothing waits.

        After the first call with the same shapes and stream nothing is allocated. Arrays have to live until the stream
        has come past the run. On the CPU the run is over when this returns.

        Args:
            inputs: by name: arrays of any library that knows the CUDA array interface or DLPack, C order, dtypes of the
                record; NumPy arrays on the CPU.
            outputs: the same, written in place; none may share memory with another array of the call.
            stream: handle of the stream, as an integer; 0 on the CPU.

        Raises:
            BackendError: a name, a dtype, a shape, the order in memory or the place is another, or the runtime failed.
        """


class Backend(Protocol):
    """A runtime that was found to work on this machine."""

    @property
    def name(self) -> str:
        """One of `BACKENDS`."""

    @property
    def providers(self) -> tuple[str, ...]:
        """What computes, in the runtime's own words, as it is in force and not as it was asked for."""

    @property
    def version(self) -> str:
        """Of the runtime; what else it needs to be named by stands before it, such as ``tensorrt_rtx 1.7.1``."""

    @property
    def device(self) -> str:
        """Where `DeviceNet.launch` wants arrays: ``cpu``, or ``cuda:0`` with the ordinal of the GPU."""

    def load(self, record: NetRecord) -> DeviceNet:
        """Make a network ready.

        Raises:
            BundleError: the file is not the one of the record, or its tensors are not those of the record.
            BackendError: the runtime does not take the network.
            BackendUnavailableError: the runtime would run it, but not on what was asked for.
        """


def load_backend(
    name: str = AUTO,
    *,
    threads: int = 2,
    device: int = 0,
    store: EngineStore | None = None,
    on_progress: OnProgress | None = None,
) -> Backend:
    """The backend of a name; never another one.

    Args:
        name: one of `BACKENDS`, or ``auto`` for the fastest that runs here and starts at once, which is logged. Those
            that build engines first, for minutes, are used when they are asked for.
        threads: of the CPU, for one network.
        device: ordinal of the GPU; ignored by backends without one.
        store: of engines, for the backends that build some; the user's by default.
        on_progress: of such builds: phase, steps done, steps in all.

    Raises:
        ConfigError: an unknown name.
        BackendUnavailableError: it does not run here: what is missing, how to get it.
    """
    if name == AUTO:
        return _choose_backend(threads, device)
    if name not in BACKENDS:
        raise ConfigError(f"backend={name!r}: expected one of {', '.join((AUTO, *BACKENDS))}")
    if name in _OF_TENSORRT:
        from tgvc.backends.trt.backend import TrtBackend

        return TrtBackend(name, device=device, store=store, on_progress=on_progress)
    if name in _OF_TORCH:
        from tgvc.backends.pytorch.backend import TorchBackend

        return TorchBackend(name, threads=threads, device=device)
    from tgvc.backends.ort import OrtBackend

    return OrtBackend(name, threads=threads, device=device, store=store)


def find_backends() -> Mapping[str, str]:
    """All backends: name -> empty if it runs here, else what is missing and how to get it."""
    found = {}
    for name in BACKENDS:
        try:
            load_backend(name)
            found[name] = ""
        except BackendUnavailableError as fault:
            found[name] = str(fault)
    return found


def _choose_backend(threads: int, device: int) -> Backend:
    reasons = []
    for name in _BY_SPEED:
        if name in _OF_TORCH and missing_gpu():
            continue  # on the CPU it is slower than ONNX Runtime, and takes seconds to import
        try:
            backend = load_backend(name, threads=threads, device=device)
        except BackendUnavailableError as fault:
            reasons.append(str(fault))
            continue
        why = f" ({'; '.join(reasons)})" if reasons else ""
        _log.info("backend auto: chose %s %s%s", name, backend.version, why)
        return backend
    raise BackendUnavailableError("backend auto: none runs here: " + "; ".join(reasons))
