"""ONNX Runtime: networks on the CPU, or on an NVIDIA GPU if it was asked for and is really used."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tgvc.backends.cuda import find_gpu
from tgvc.backends.engines.store import EngineStore
from tgvc.backends.ort_net import OnGpu, OrtNet, one_line
from tgvc.backends.ort_tensorrt import PROVIDER, EngineCache, missing_tensorrt, provider_options
from tgvc.backends.places import HOST
from tgvc.backends.spec import NetRecord, tensor_faults
from tgvc.errors import BackendError, BackendUnavailableError, BundleError

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_PROVIDERS = {  # the first computes, the others help
    "onnxruntime": (_CPU,),
    "onnxruntime-cuda": (_CUDA, _CPU),
    "onnxruntime-tensorrt": (PROVIDER, _CUDA, _CPU),
}
# y = Identity(x), float32 (1,), opset 20: shows which provider a session really gets before any network is loaded
_PROBE = base64.b64decode(
    "CAoSBHRndmM6OwoQCgF4EgF5IghJZGVudGl0eRIFcHJvYmVaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABAU"
)
_QUIET = 3  # errors only: what matters is raised
_log = logging.getLogger("tgvc.backends")


class OrtBackend:
    """ONNX Runtime with one execution provider; see `tgvc.backends.base.Backend`."""

    def __init__(
        self, name: str = "onnxruntime", *, threads: int = 2, device: int = 0, store: EngineStore | None = None
    ) -> None:
        """Make sure that the provider of ``name`` computes here.

        Raises:
            BackendUnavailableError: it does not: what is missing, how to get it.
        """
        try:
            import onnxruntime
        except ImportError as fault:
            why = " ".join(str(fault).split())
            raise BackendUnavailableError(f"{name}: no ONNX Runtime ({why}); pip install onnxruntime") from fault
        self.name, self.version = name, str(onnxruntime.__version__)
        self._runtime, self._threads, self._ordinal, self._asked = onnxruntime, threads, device, _PROVIDERS[name]
        self.device = HOST if self._asked[0] == _CPU else f"cuda:{device}"
        self._store = store
        if self.device != HOST:
            self._prepare_cuda()
        try:
            self.providers: tuple[str, ...] = tuple(self._open(_PROBE, None).get_providers())
        except BackendError as fault:
            raise BackendUnavailableError(f"{fault}; see `tgvc doctor`") from fault

    def load(self, record: NetRecord) -> OrtNet:
        """A network, ready to run; see `tgvc.backends.base.Backend.load`."""
        if record.data is None:
            model: bytes | str = record.read()
        else:
            record.verify()
            model = str(record.path)  # the runtime maps the weights beside it into memory
        place = self._make_place()
        guard = None
        if place is None:
            session = self._open(model, None, record.name)
        elif self._asked[0] == _CUDA:
            session = self._open_recording(model, place, record.name)
        else:
            guard = EngineCache(self._store or EngineStore(), record, self.version, place.gpu).open
            with guard() as folder:
                session = self._open(model, place, record.name, folder)
        faults = [
            *tensor_faults(_read_tensors(session.get_inputs()), record.inputs),
            *tensor_faults(_read_tensors(session.get_outputs()), record.outputs),
        ]
        if faults:
            raise BundleError(f"{record.path.name}: " + "; ".join(faults))
        return OrtNet(record, session, self._runtime, self.device, place, guard)

    def _make_place(self) -> OnGpu | None:
        if self.device == HOST:
            return None
        gpu = find_gpu(self._ordinal)
        return OnGpu(gpu, gpu.make_stream(), gpu.make_event())

    def _prepare_cuda(self) -> None:
        faults = []
        try:
            find_gpu(self._ordinal)
        except BackendUnavailableError as fault:
            faults.append(str(fault))
        if self._asked[0] not in self._runtime.get_available_providers():
            way = "CUDA" if self._asked[0] == _CUDA else "TensorRT"
            faults.append(
                f"this ONNX Runtime {self.version} is built without {way}; "
                "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        elif self._asked[0] == PROVIDER and (fault_of_libraries := missing_tensorrt()):
            faults.append(fault_of_libraries)
        if faults:
            raise BackendUnavailableError(f"{self.name}: " + "; ".join(faults))
        self._runtime.preload_dlls()  # finds CUDA and cuDNN that came with pip

    def _open_recording(self, model: bytes | str, place: OnGpu, name: str) -> Any:
        """A session that records CUDA graphs where it can: not where a node is left to the CPU."""
        place.graphs = True
        try:
            return self._open(model, place, name)
        except BackendUnavailableError:
            raise
        except BackendError as fault:
            place.graphs = False
            session = self._open(model, place, name)
            _log.info("%s: runs without CUDA graphs: %s", name, fault)
            return session

    def _open(self, model: bytes | str, place: OnGpu | None, name: str = "probe", folder: Path | None = None) -> Any:
        """A session that runs on the provider that was asked for, or an error; never on another one."""
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.execution_mode = self._runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores too
        options.log_severity_level = _QUIET
        # the CPU stays for the sums about shapes
        stream = None if place is None else place.stream
        given = {PROVIDER: provider_options(self._ordinal, stream, folder), _CUDA: self._cuda_options(place), _CPU: {}}
        asked = [(provider, given[provider]) for provider in self._asked]
        try:
            session = self._runtime.InferenceSession(model, options, providers=asked)
        except Exception as fault:  # the runtime's errors have no common root below this
            raise BackendError(f"{self.name} does not take {name}: {one_line(fault)}") from fault
        session.disable_fallback()
        force = tuple(session.get_providers())
        if force[: len(self._asked)] != self._asked:
            raise BackendUnavailableError(
                f"{self.name}: asked for {self._asked[0]}, in force {', '.join(force)}: a GPU, its driver or a library "
                "of CUDA or cuDNN is missing or of another version; see `tgvc doctor`, and "
                "pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        return session

    def _cuda_options(self, place: OnGpu | None) -> dict[str, str]:
        # TF32 would be another precision than that of the manifest; the default search takes slow convolutions
        options = {"device_id": str(self._ordinal), "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
        if place is not None:
            options |= {"user_compute_stream": str(place.stream), "arena_extend_strategy": "kSameAsRequested"}
            options |= {"enable_cuda_graph": str(int(place.graphs))}
        return options


def _read_tensors(found: Sequence[Any]) -> dict[str, tuple[str, Sequence[Any]]]:
    """Dtype and shape of the tensors of a session, by name."""
    kinds = {t.name: t.type.removeprefix("tensor(").rstrip(")") for t in found}
    return {t.name: ({"float": "float32"}.get(kinds[t.name], kinds[t.name]), t.shape) for t in found}
