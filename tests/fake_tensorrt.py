"""TensorRT's Python calls as far as the product uses them; ONNX Runtime computes, on addresses in host memory.

Names and arguments are those of the bindings of 10.16, 11.4 and TensorRT-RTX 1.7. A plan is the ONNX file with its
profile before it. What the library would refuse is refused: addresses that are not set, other shapes than those of the
profile, a context without scratch memory.
"""

from __future__ import annotations

import json
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

_MARK = b"FAKEPLAN"
_TYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int64)": "INT64"}
_NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64}


def fake_module(version: str = "11.4.0.106", *, rtx: bool = False) -> Any:
    """A module such as `tensorrt`, or `tensorrt_rtx` with what only that one has. ``events``: what was called."""
    events: list[Any] = []
    flag = IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 0 if rtx else 1})
    kinds = Enum("DataType", list(_NUMPY))
    mode = Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
    strategy = Enum("ExecutionContextAllocationStrategy", ["STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED"])
    fail = SimpleNamespace(build=False, execute=False, load=False)

    class ILogger:
        ERROR, INTERNAL_ERROR, WARNING = "error", "internal", "warning"

    class IProgressMonitor:
        pass

    class Tensor:
        def __init__(self, found: Any) -> None:
            self.name, self.dtype = found.name, kinds[_TYPES[found.type]]
            self.shape = [length if isinstance(length, int) else -1 for length in found.shape]

    class Network:
        def __init__(self) -> None:
            self.inputs: list[Tensor] = []
            self.outputs: list[Tensor] = []
            self.text = b""

        num_inputs = property(lambda self: len(self.inputs))
        num_outputs = property(lambda self: len(self.outputs))

        def get_input(self, index: int) -> Tensor:
            return self.inputs[index]

        def get_output(self, index: int) -> Tensor:
            return self.outputs[index]

    class Fault:
        def __init__(self, text: str) -> None:
            self.text = text

        def node_operator(self) -> str:
            return "Node"

        def node_name(self) -> str:
            return "n"

        def desc(self) -> str:
            return self.text

    class OnnxParser:
        def __init__(self, network: Network, logger: Any) -> None:
            self.network, self.faults, self.logger = network, [], logger

        num_errors = property(lambda self: len(self.faults))

        def get_error(self, index: int) -> Fault:
            return self.faults[index]

        def parse(self, model: bytes) -> bool:
            try:
                session = _session(model)
            except Exception as fault:  # noqa: BLE001  # as the parser: anything is a message
                self.faults.append(Fault(str(fault)))
                return False
            self.network.inputs = [Tensor(t) for t in session.get_inputs()]
            self.network.outputs = [Tensor(t) for t in session.get_outputs()]
            self.network.text = model
            return True

        def parse_from_file(self, path: str) -> bool:
            return self.parse(onnx.load(path).SerializeToString())

    class Profile:
        def __init__(self) -> None:
            self.shapes: dict[str, Any] = {}

        def set_shape(self, name: str, low: Any, usual: Any, high: Any) -> None:
            assert low == usual == high, "a static profile"
            self.shapes[name] = list(low)

    class Memory(bytes):
        pass

    class Cache:
        def __init__(self, content: bytes = b"") -> None:
            self.content = content

        def serialize(self) -> Memory:
            return Memory(self.content + b"!")

        def deserialize(self, blob: bytes) -> bool:
            events.append(("compiled", bytes(blob)))
            return True

    class Config:
        def __init__(self) -> None:
            self.cache: Cache | None = None
            self.profiles: list[Profile] = []
            self.targets: dict[int, Any] = {}
            self.num_compute_capabilities = 0
            self.progress_monitor: Any = None

        def clear_flag(self, flag: str) -> None:
            events.append(("clear", flag))

        def add_optimization_profile(self, profile: Profile) -> int:
            self.profiles.append(profile)
            return 0

        def set_compute_capability(self, capability: Any, index: int) -> bool:
            self.targets[index] = capability
            return True

        def create_timing_cache(self, blob: bytes) -> Cache:
            events.append(("timing", bytes(blob)))
            return Cache(bytes(blob))

        def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
            assert ignore_mismatch is False
            self.cache = cache
            return True

        def get_timing_cache(self) -> Cache | None:
            return self.cache

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int = 0) -> Network:
            assert flags == 1 << int(flag.STRONGLY_TYPED)
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> Memory | None:
            events.append(("build", dict(config.profiles[0].shapes)))
            if config.progress_monitor is not None:
                config.progress_monitor.phase_start("Building engine", None, 2)
                config.progress_monitor.phase_start("inner", "Building engine", 9)
                config.progress_monitor.step_complete("Building engine", 0)
                config.progress_monitor.phase_finish("Building engine")
            if fail.build:
                self.logger.log(ILogger.ERROR, "no tactic")
                return None
            head = json.dumps(config.profiles[0].shapes).encode()
            return Memory(_MARK + len(head).to_bytes(4, "little") + head + network.text)

    class RuntimeConfig:
        strategy: Any = None
        cache: Any = None

        def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
            self.strategy = strategy

        def create_runtime_cache(self) -> Cache:
            return Cache()

        def set_runtime_cache(self, cache: Cache) -> bool:
            self.cache = cache
            return True

    class Context:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine
            self.addresses: dict[str, int] = {}
            self.shapes: dict[str, list[int]] = {}
            self.memory = 0

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self.shapes[name] = list(shape)
            return self.engine.shapes[name] == list(shape)

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self.engine.shape_of(name)

        def set_device_memory(self, memory: int, size: int) -> None:
            assert size >= self.engine.device_memory_size_v2
            self.memory = memory
            events.append(("scratch", memory, size))

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self.addresses[name] = memory
            events.append(("address", name, memory))
            return memory != 0

        def execute_async_v3(self, stream_handle: int) -> bool:
            events.append(("execute", stream_handle))
            if fail.execute or not self.memory or self.shapes != self.engine.shapes:
                return False
            self.engine.compute(self.addresses)
            return True

    class Engine:
        device_memory_size_v2 = 4096

        def __init__(self, head: bytes, text: bytes) -> None:
            self.shapes: dict[str, list[int]] = json.loads(head)
            self.session = _session(text)
            tensors = [Tensor(t) for t in self.session.get_inputs()]
            self.tensors = {t.name: (t, mode.INPUT) for t in tensors}
            self.tensors |= {t.name: (t, mode.OUTPUT) for t in map(Tensor, self.session.get_outputs())}

        num_io_tensors = property(lambda self: len(self.tensors))

        def get_tensor_name(self, index: int) -> str:
            return list(self.tensors)[index]

        def get_tensor_mode(self, name: str) -> Any:
            return self.tensors[name][1]

        def get_tensor_dtype(self, name: str) -> Any:
            return self.tensors[name][0].dtype

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(self.shapes.get(name, self.tensors[name][0].shape))

        def create_runtime_config(self) -> RuntimeConfig:
            return RuntimeConfig()

        def create_execution_context(self, given: Any) -> Context:
            assert (given.strategy if rtx else given) is strategy.USER_MANAGED
            return Context(self)

        def shape_of(self, name: str) -> tuple[int, ...]:
            given = {n: np.zeros(shape, _NUMPY[self.tensors[n][0].dtype.name]) for n, shape in self.shapes.items()}
            (value,) = self.session.run([name], given)
            return tuple(value.shape)

        def compute(self, addresses: dict[str, int]) -> None:
            given = {}
            for name, shape in self.shapes.items():
                dtype = np.dtype(_NUMPY[self.tensors[name][0].dtype.name])
                given[name] = _at(addresses[name], dtype, shape).copy()
            names = [name for name, (_, kind) in self.tensors.items() if kind is mode.OUTPUT]
            for name, value in zip(names, self.session.run(names, given), strict=True):
                _at(addresses[name], value.dtype, value.shape)[...] = value

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            events.append(("load", len(serialized_engine)))
            if fail.load or not serialized_engine.startswith(_MARK):
                self.logger.log(ILogger.ERROR, "bad magic")
                return None
            end = len(_MARK) + 4
            size = int.from_bytes(serialized_engine[len(_MARK) : end], "little")
            return Engine(serialized_engine[end : end + size], serialized_engine[end + size :])

    found = {
        "__version__": version,
        "ILogger": ILogger,
        "IProgressMonitor": IProgressMonitor,
        "Builder": Builder,
        "OnnxParser": OnnxParser,
        "Runtime": Runtime,
        "NetworkDefinitionCreationFlag": flag,
        "BuilderFlag": SimpleNamespace(TF32="TF32"),
        "TensorIOMode": mode,
        "ExecutionContextAllocationStrategy": strategy,
        "events": events,
        "fail": fail,
        # what real classes are compared with
        "classes": {
            "IBuilderConfig": Config,
            "ICudaEngine": Engine,
            "IExecutionContext": Context,
            "INetworkDefinition": Network,
            "IOptimizationProfile": Profile,
            "IRuntimeConfig": RuntimeConfig,
            "OnnxParser": OnnxParser,
            "Builder": Builder,
            "Runtime": Runtime,
        },
    }
    if rtx:
        capabilities = ["NONE", "CURRENT", "SM80", "SM89", "SM120"]
        found |= {"ComputeCapability": Enum("ComputeCapability", capabilities), "IRuntimeCache": Cache}
    return SimpleNamespace(**found)


def _session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _at(address: int, dtype: Any, shape: Any) -> np.ndarray:
    import ctypes

    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)
