"""ONNX Runtime: networks on the CPU, or on an NVIDIA GPU if it was asked for and is really used."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.backends.spec import Dimension, NetRecord, TensorSpec, check_inputs, check_outputs
from tgvc.errors import BackendError, BackendUnavailableError, BundleError

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_PROVIDERS = {"onnxruntime": _CPU, "onnxruntime-cuda": _CUDA}
# y = Identity(x), float32 (1,), opset 20: shows which provider a session really gets before any network is loaded
_PROBE = base64.b64decode(
    "CAoSBHRndmM6OwoQCgF4EgF5IghJZGVudGl0eRIFcHJvYmVaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABAU"
)
_QUIET = 3  # errors only: what matters is raised


class OrtBackend:
    """ONNX Runtime with one execution provider; see `tgvc.backends.base.Backend`."""

    def __init__(self, name: str = "onnxruntime", *, threads: int = 2, device: int = 0) -> None:
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
        self._runtime, self._threads, self._device, self._provider = onnxruntime, threads, device, _PROVIDERS[name]
        if self._provider == _CUDA:
            self._prepare_cuda()
        try:
            self.providers: tuple[str, ...] = tuple(self._open(_PROBE).get_providers())
        except BackendError as fault:
            raise BackendUnavailableError(f"{fault}; see `tgvc doctor`") from fault

    def load(self, record: NetRecord) -> OrtNet:
        """A network, ready to run; see `tgvc.backends.base.Backend.load`."""
        if record.data is None:
            session = self._open(record.read(), record.name)
        else:
            record.verify()
            session = self._open(str(record.path), record.name)  # the runtime maps the weights beside it into memory
        faults = [
            *_tensor_faults(session.get_inputs(), record.inputs),
            *_tensor_faults(session.get_outputs(), record.outputs),
        ]
        if faults:
            raise BundleError(f"{record.path.name}: " + "; ".join(faults))
        return OrtNet(record, session, self._runtime, None if self._provider == _CPU else ("cuda", self._device))

    def _prepare_cuda(self) -> None:
        if _CUDA not in self._runtime.get_available_providers():
            raise BackendUnavailableError(
                f"{self.name}: this ONNX Runtime {self.version} is built without CUDA; "
                "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        self._runtime.preload_dlls()  # finds CUDA and cuDNN that came with pip

    def _open(self, model: bytes | str, name: str = "probe") -> Any:
        """A session that runs on the provider that was asked for, or an error; never on another one."""
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.execution_mode = self._runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores too
        options.log_severity_level = _QUIET
        asked: list[Any] = [_CPU]
        if self._provider == _CUDA:
            # the CPU stays for the sums about shapes; TF32 would be another precision than that of the manifest
            limits = {"device_id": self._device, "use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}
            asked = [(_CUDA, limits), _CPU]
        try:
            session = self._runtime.InferenceSession(model, options, providers=asked)
        except Exception as fault:  # the runtime's errors have no common root below this
            raise BackendError(f"{self.name} does not take {name}: {_one_line(fault)}") from fault
        session.disable_fallback()
        force = session.get_providers()
        if not force or force[0] != self._provider:
            raise BackendUnavailableError(
                f"{self.name}: asked for {self._provider}, in force {', '.join(force)}: a GPU, its driver or a library "
                "of CUDA or cuDNN is missing; see `tgvc doctor`, and pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        return session


class OrtNet:
    """A network in a session; see `tgvc.backends.base.Net`."""

    def __init__(self, record: NetRecord, session: Any, runtime: Any, device: tuple[str, int] | None) -> None:
        self.record = record
        self._session, self._runtime, self._device = session, runtime, device
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[npt.NDArray[Any], Any]] = {}  # inputs that stay on the device between calls

    def run(self, **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name; see `tgvc.backends.base.Net.run`."""
        lengths = check_inputs(self.record, inputs)
        names = [spec.name for spec in self.record.outputs]
        try:
            if self._device is None:
                values = self._session.run(names, inputs)
            else:
                with self._lock:
                    values = self._run_bound(names, inputs)
        except Exception as fault:  # the runtime's errors have no common root below this
            raise BackendError(f"{self.record.name} failed: {_one_line(fault)}") from fault
        outputs = dict(zip(names, values, strict=True))
        check_outputs(self.record, lengths, outputs)
        return outputs

    def _run_bound(self, names: Sequence[str], inputs: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Run with inputs and outputs in the device's memory, one copy each way."""
        assert self._device is not None
        kind, ordinal = self._device
        binding = self._session.io_binding()
        for name, array in inputs.items():
            kept = self._kept.get(name)
            if kept is None or kept[0] is not array:
                kept = array, self._runtime.OrtValue.ortvalue_from_numpy(array, kind, ordinal)
            if array.flags.writeable:
                self._kept.pop(name, None)
            else:
                self._kept[name] = kept
            binding.bind_ortvalue_input(name, kept[1])
        for name in names:
            binding.bind_output(name, kind, ordinal)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return [np.asarray(value) for value in binding.copy_outputs_to_cpu()]


def _tensor_faults(found: Sequence[Any], specs: Sequence[TensorSpec]) -> list[str]:
    """Where the tensors of a session differ from those of a record; free dimensions must be free on both sides."""
    by_name = {tensor.name: tensor for tensor in found}
    if set(by_name) != {spec.name for spec in specs}:
        return [f"has tensors {', '.join(sorted(by_name))}, the manifest says {', '.join(s.name for s in specs)}"]
    faults = []
    for spec in specs:
        tensor = by_name[spec.name]
        dtype = {"tensor(float)": "float32"}.get(tensor.type, tensor.type.removeprefix("tensor(").rstrip(")"))
        if dtype != spec.dtype or not _same_shape(tensor.shape, spec.shape):
            faults.append(f"has {spec.name} {dtype} {tuple(tensor.shape)}, the manifest says {spec}")
    return faults


def _same_shape(found: Sequence[Any], wanted: Sequence[Dimension]) -> bool:
    if len(found) != len(wanted):
        return False
    return all(a == b if isinstance(b, int) else not isinstance(a, int) for a, b in zip(found, wanted, strict=True))


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:500]
