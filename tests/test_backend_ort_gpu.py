"""ONNX Runtime on a GPU, with a stand-in for its session: options, streams, bindings, graphs, signed engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from fake_driver import FakeDriver, GpuArray, fake_gpu
from network_samples import save_net, tensor
from tgvc.backends import libraries, ort, ort_tensorrt
from tgvc.backends.engines.signing import SigningKey
from tgvc.backends.engines.store import EngineStore
from tgvc.backends.ort import OrtBackend
from tgvc.backends.ort_net import OrtNet
from tgvc.backends.spec import NetRecord
from tgvc.errors import BackendError, BackendUnavailableError
from tgvc.models.bundle import hash_file

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
SPECS = ((tensor("a", "N", 4), tensor("b", "N", 4)), (tensor("y", "N", 4),))


class Binding:
    """Addresses, as ONNX Runtime is told them."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}

    def bind_input(self, name: str, kind: str, ordinal: int, dtype: Any, shape: Any, pointer: int) -> None:
        assert (kind, ordinal) == ("cuda", 0)
        self.inputs[name] = dtype, tuple(shape), pointer

    def bind_output(self, name: str, kind: str, ordinal: int, dtype: Any, shape: Any, pointer: int) -> None:
        assert (kind, ordinal) == ("cuda", 0)
        self.outputs[name] = dtype, tuple(shape), pointer


class Session:
    """A session that computes y = a + 2 b on the CPU and notes what it was asked."""

    made: list[Session] = []  # noqa: RUF012  # emptied by the fixture
    refuse_graphs = False
    on_run: Callable[[], None] | None = None

    def __init__(self, model: Any, options: Any, providers: list[Any]) -> None:
        self.asked = dict(providers)
        if self.refuse_graphs and self.asked[CUDA].get("enable_cuda_graph") == "1":
            raise RuntimeError("This session cannot use the graph capture feature")
        self.plain = onnxruntime.capi.onnxruntime_inference_collection.InferenceSession(model, providers=[CPU])
        self.runs: list[dict[str, str]] = []
        self.bound: list[Binding] = []
        Session.made.append(self)

    def get_providers(self) -> list[str]:
        return list(self.asked)

    def disable_fallback(self) -> None:
        pass

    def get_inputs(self) -> Any:
        return self.plain.get_inputs()

    def get_outputs(self) -> Any:
        return self.plain.get_outputs()

    def io_binding(self) -> Binding:
        self.bound.append(Binding())
        return self.bound[-1]

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        keys = ("disable_synchronize_execution_providers", "gpu_graph_id")
        self.runs.append({key: value for key in keys if (value := _entry(options, key))})
        if Session.on_run is not None:
            Session.on_run()


def _entry(options: Any, key: str) -> str:
    try:
        return str(options.get_run_config_entry(key))
    except Exception:  # noqa: BLE001  # what it raises for a key that is not set has no name
        return ""


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    gpu, driver = fake_gpu()
    monkeypatch.setattr(ort, "find_gpu", lambda ordinal: gpu)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(ort, "missing_tensorrt", lambda: "")
    monkeypatch.setattr(Session, "made", [])
    monkeypatch.setattr(Session, "on_run", None)
    monkeypatch.setattr(Session, "refuse_graphs", False)
    return driver


@pytest.fixture
def record(tmp_path: Path) -> NetRecord:
    nodes = [helper.make_node("Add", ["b", "b"], ["c"]), helper.make_node("Add", ["a", "c"], ["y"])]
    path = save_net(tmp_path / "net.onnx", nodes, *SPECS)
    return NetRecord("net", path, path.stat().st_size, hash_file(path), *SPECS)


def launch(net: OrtNet, arrays: dict[str, np.ndarray], stream: int) -> None:
    given = {name: GpuArray(array) for name, array in arrays.items()}
    net.launch({name: given[name] for name in "ab"}, {"y": given["y"]}, stream)


def fresh(rows: int = 3) -> dict[str, np.ndarray]:
    return {name: np.zeros((rows, 4), np.float32) for name in "aby"}


def test_a_session_gets_a_stream_of_its_own_and_the_options_that_matter(driver: FakeDriver, record: NetRecord) -> None:
    backend = OrtBackend("onnxruntime-cuda")
    net = backend.load(record)
    options = Session.made[-1].asked[CUDA]
    assert options["user_compute_stream"] == str(net._on_gpu.stream)  # type: ignore[union-attr]
    assert options["use_tf32"] == "0"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["enable_cuda_graph"] == "1"
    assert backend.device == "cuda:0"
    assert backend.providers == (CUDA, CPU)
    assert not net.capturable


def test_a_launch_is_ordered_between_what_the_callers_stream_did_and_does_next(
    driver: FakeDriver, record: NetRecord
) -> None:
    net = OrtBackend("onnxruntime-cuda").load(record)
    own, event = net._on_gpu.stream, net._on_gpu.event  # type: ignore[union-attr]
    order: list[Any] = []
    Session.on_run = staticmethod(lambda: order.extend([*driver.calls, "run"]) or driver.calls.clear())  # type: ignore[assignment]
    launch(net, fresh(), 77)
    order += driver.calls
    assert order == [("record", event, 77), ("wait", event, own), "run", ("record", event, own), ("wait", event, 77)]


def test_a_graph_is_recorded_for_every_set_of_addresses_and_only_for_these(
    driver: FakeDriver, record: NetRecord
) -> None:
    net, ping, pong = OrtBackend("onnxruntime-cuda").load(record), fresh(), fresh()
    for arrays in (ping, pong, ping, pong):
        launch(net, arrays, 77)
    session = Session.made[-1]
    assert session.runs == [
        {"disable_synchronize_execution_providers": "1", "gpu_graph_id": graph} for graph in ("1", "2", "1", "2")
    ]
    assert len(session.bound) == 2  # bound once each
    assert session.bound[0].inputs["a"] == (np.dtype(np.float32), (3, 4), ping["a"].ctypes.data)
    assert session.bound[1].outputs["y"][2] == pong["y"].ctypes.data


def test_addresses_without_end_are_run_without_graphs_and_recorded_ones_stay(
    driver: FakeDriver, record: NetRecord
) -> None:
    net, many = OrtBackend("onnxruntime-cuda").load(record), [fresh() for _ in range(200)]
    for arrays in many:
        launch(net, arrays, 77)
    launch(net, many[0], 77)
    graphs = [run["gpu_graph_id"] for run in Session.made[-1].runs]
    assert graphs[:64] == [str(n) for n in range(1, 65)]
    assert set(graphs[64:200]) == {"-1"}
    assert graphs[200] == "1"
    assert len(net._bindings) <= 129


def test_a_network_that_cannot_be_recorded_runs_without_and_says_so(
    driver: FakeDriver, record: NetRecord, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "refuse_graphs", True)
    with caplog.at_level("INFO", "tgvc.backends"):
        net = OrtBackend("onnxruntime-cuda").load(record)
    assert "net: runs without CUDA graphs: onnxruntime-cuda does not take net: This session cannot" in caplog.text
    launch(net, fresh(), 77)
    assert Session.made[-1].runs == [{"disable_synchronize_execution_providers": "1"}]
    assert Session.made[-1].asked[CUDA]["enable_cuda_graph"] == "0"


def tensorrt(tmp_path: Path) -> OrtBackend:
    return OrtBackend("onnxruntime-tensorrt", store=EngineStore(tmp_path / "engines", SigningKey(tmp_path / "key")))


def test_tensorrt_is_typed_by_the_network_and_keeps_its_engines_in_the_store(
    driver: FakeDriver, record: NetRecord, tmp_path: Path
) -> None:
    backend = tensorrt(tmp_path)
    net = backend.load(record)
    options = Session.made[-1].asked[TENSORRT]
    assert list(Session.made[-1].asked) == [TENSORRT, CUDA, CPU]
    assert {options[f"trt_{kind}_enable"] for kind in ("fp16", "bf16", "int8", "cuda_graph")} == {"0"}
    folder = Path(options["trt_engine_cache_path"])
    assert folder.parent == tmp_path / "engines"
    Session.on_run = staticmethod(lambda: (folder / "net.engine").write_bytes(b"engine"))  # type: ignore[assignment]
    launch(net, fresh(), 77)
    tensorrt(tmp_path).load(record)  # what was written during the run was signed
    (folder / "net.engine").write_bytes(b"enginE")
    sessions = len(Session.made)
    with pytest.raises(BackendError, match=r"net\.engine is not what was signed"):
        tensorrt(tmp_path).load(record)
    assert len(Session.made) == sessions + 1  # of the probe: nothing was given the folder


def test_what_a_failed_run_has_left_is_dropped_and_what_was_signed_before_stays(
    driver: FakeDriver, record: NetRecord, tmp_path: Path
) -> None:
    net = tensorrt(tmp_path).load(record)
    folder = Path(Session.made[-1].asked[TENSORRT]["trt_engine_cache_path"])
    Session.on_run = staticmethod(lambda: (folder / "good.engine").write_bytes(b"engine"))  # type: ignore[assignment]
    launch(net, fresh(3), 77)

    def fail() -> None:
        (folder / "half.engine").write_bytes(b"eng")
        raise RuntimeError("out of memory")

    Session.on_run = staticmethod(fail)  # type: ignore[assignment]
    with pytest.raises(BackendError, match="net failed: out of memory"):
        launch(net, fresh(4), 77)
    assert [path.name for path in folder.iterdir()] == ["good.engine"]
    tensorrt(tmp_path).load(record)
    assert [path.name for path in folder.iterdir()] == ["good.engine"]


def test_other_networks_have_other_folders(driver: FakeDriver, record: NetRecord, tmp_path: Path) -> None:
    for net in (record, replace(record, name="other")):
        tensorrt(tmp_path).load(net)
    folders = {s.asked[TENSORRT].get("trt_engine_cache_path") for s in Session.made} - {None}
    assert len(folders) == 2


def test_a_provider_that_gives_way_to_another_gpu_provider_is_refused_too(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "get_providers", lambda self: [CUDA, CPU])
    with pytest.raises(BackendUnavailableError, match=f"asked for {TENSORRT}, in force {CUDA}, {CPU}"):
        OrtBackend("onnxruntime-tensorrt")


def linked(folder: Path, major: int) -> Path:
    (folder / "capi").mkdir(parents=True)
    text = b"\0\x7fELF libcudart.so.13\0libnvinfer.so.%d\0libnvinfer_plugin.so.%d\0" % (major, major)
    (folder / "capi" / "libonnxruntime_providers_tensorrt.so").write_bytes(text)
    return folder


def test_the_tensorrt_that_onnx_runtime_was_linked_with_is_read_from_its_file(tmp_path: Path) -> None:
    assert libraries.linked_tensorrt(linked(tmp_path / "ten", 10)) == 10
    assert libraries.linked_tensorrt(tmp_path) is None


def installed(monkeypatch: pytest.MonkeyPatch, folder: Path, **versions: str) -> None:
    names = {name.replace("_", "-"): version for name, version in versions.items()}
    monkeypatch.setattr(libraries, "find_versions", lambda *d: {n: names[n] for n in d if n in names})
    spec = SimpleNamespace(submodule_search_locations=[str(folder)])
    monkeypatch.setattr(libraries, "find_spec", lambda name: spec)


def test_libraries_that_cannot_be_together_are_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked(tmp_path, 10)
    installed(monkeypatch, tmp_path, onnxruntime_gpu="1.31.1", tensorrt_cu13="11.4.0.106")
    (clash,) = libraries.find_clashes()
    assert clash == (
        "ONNX Runtime 1.31.1 is linked with libnvinfer.so.10, and TensorRT 11.4.0.106 is installed: pip install "
        "'tensorrt-cu13>=10.13,<11', or an environment of its own for onnxruntime-tensorrt"
    )
    assert ort_tensorrt.missing_tensorrt() == clash
    installed(monkeypatch, tmp_path, onnxruntime="1.31.1", onnxruntime_gpu="1.30.0", tensorrt="10.16.1.11")
    (clash,) = libraries.find_clashes()
    assert clash.startswith("onnxruntime 1.31.1 and onnxruntime-gpu 1.30.0 share one folder")
    installed(monkeypatch, tmp_path, onnxruntime_gpu="1.31.1")
    assert libraries.find_clashes() == []
    assert "libnvinfer.so.10" in ort_tensorrt.missing_tensorrt()
    assert "pip install 'tensorrt-cu13>=10.13,<11'" in ort_tensorrt.missing_tensorrt()
