"""TensorRT inside ONNX Runtime: its options, and the signed folder where it keeps engines."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tgvc.backends.cuda import Gpu
from tgvc.backends.engines.store import EngineStore
from tgvc.backends.libraries import installed_tensorrt, linked_tensorrt, tensorrt_clash, tensorrt_range
from tgvc.backends.spec import NetRecord

PROVIDER = "TensorrtExecutionProvider"


def missing_tensorrt() -> str:
    """Why the provider cannot load TensorRT here, and what to do; empty if it can."""
    linked = linked_tensorrt()
    if linked is None:
        return "this ONNX Runtime is built without TensorRT; pip install 'onnxruntime-gpu[cuda,cudnn]'"
    if clash := tensorrt_clash():
        return clash
    with suppress(ImportError, OSError, RuntimeError):
        import_module("tensorrt")  # loads its libraries where the system's loader does not find them
    try:
        ctypes.CDLL(f"libnvinfer.so.{linked}")
    except OSError as fault:
        return f"{' '.join(str(fault).split())}; pip install '{tensorrt_range(linked)}'"
    return ""


class EngineCache:
    """The folder of one network: what the provider writes there is signed, and checked before it reads it again."""

    def __init__(self, store: EngineStore, record: NetRecord, runtime: str, gpu: Gpu) -> None:
        self._store = store
        self.about: dict[str, Any] = {
            "kind": "onnxruntime",
            "net": record.name,
            "onnx": record.sha256,
            "data": record.data.sha256 if record.data else "",
            "library": f"onnxruntime {runtime} with tensorrt {installed_tensorrt() or linked_tensorrt()}",
            "shapes": {},
            "gpu": gpu.name,
            "architecture": gpu.architecture,
            "driver": gpu.driver,
            "targets": [],
        }

    @contextmanager
    def open(self) -> Iterator[Path]:
        """The folder, checked; nobody else writes there meanwhile, and all of it is signed at the end.

        What a run that failed has written there is dropped: it may be half of an engine.
        """
        with self._store.lock(self.about):
            folder = self._store.open_folder(self.about)
            try:
                yield folder
            except BaseException:
                self._store.drop_unsigned(self.about)
                raise
            self._store.seal_folder(self.about)


def provider_options(device: int, stream: int | None, folder: Path | None) -> dict[str, str]:
    """Options of the provider.

    Networks are strongly typed as long as no narrower type is allowed. Its own CUDA graph stays off: it keeps one, and
    replays it for whatever addresses a later run is given.

    Args:
        device: ordinal.
        stream: that everything is queued on; None for one of its own.
        folder: of its engines and timings; None keeps none.
    """
    options = {
        "device_id": str(device),
        "trt_fp16_enable": "0",
        "trt_bf16_enable": "0",
        "trt_int8_enable": "0",
        "trt_cuda_graph_enable": "0",
        "trt_context_memory_sharing_enable": "1",
    }
    if stream is not None:
        options["user_compute_stream"] = str(stream)
    if folder is not None:
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
        options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(folder)}
    return options
