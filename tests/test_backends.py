"""What every backend has to do, on networks whose answers are known."""

from __future__ import annotations

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from fake_driver import fake_gpu
from fake_tensorrt import fake_module
from network_samples import save_net, tensor, tiny_bundle
from tgvc.backends.base import BACKENDS, Backend, DeviceNet, find_backends, load_backend
from tgvc.backends.cuda import Gpu, find_gpu
from tgvc.backends.engines.signing import SigningKey
from tgvc.backends.engines.store import EngineStore
from tgvc.backends.ort import OrtBackend, OrtNet
from tgvc.backends.places import HOST, full_shape
from tgvc.backends.spec import NetRecord, TensorSpec
from tgvc.backends.trt import backend as trt
from tgvc.backends.trt.library import Library
from tgvc.errors import BackendError, BundleError
from tgvc.models.bundle import EMBEDDED, hash_file, load_bundle
from tgvc.models.nets import Networks, pack_planes
from tgvc_kernels.device.driver import missing_gpu, open_driver
from video_samples import smooth_picture

_REASONS = find_backends()
_STAND_IN = "tensorrt, stand-in"
_COMPILED = "torch-compile"  # compiles for every size: tests/test_backend_torch.py
SPECS = ((tensor("a", "N", 3, "2*h"), tensor("b", "N", 3, "2*h")), (tensor("y", "N", 3, "2*h"), tensor("m", "N", 1, 1)))


def _case(name: str) -> Any:
    """A backend that runs here, marked if it is one of a GPU."""
    on_gpu = not _REASONS[name] and load_backend(name).device != HOST
    return pytest.param(name, marks=pytest.mark.gpu if on_gpu else ())


_HERE = [_case(name) for name in BACKENDS if not _REASONS[name] and name != _COMPILED]


@pytest.fixture(params=[*_HERE, _STAND_IN])
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    store = EngineStore(tmp_path / "engines", SigningKey(tmp_path / "key"))
    if request.param == _STAND_IN:  # what surrounds TensorRT is the product's; the library and the driver are not
        library, (gpu, _) = fake_module(), fake_gpu()
        monkeypatch.setattr(trt, "find_library", lambda name: Library(library, "tensorrt", "11.4.0.106"))
        monkeypatch.setattr(trt, "find_gpu", lambda ordinal: gpu)
        return trt.TrtBackend(store=store)
    return load_backend(request.param, threads=1, store=store)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_runs_here_or_says_what_is_missing(name: str) -> None:
    if why := _REASONS[name]:
        assert why.startswith(f"{name}: ")
        pytest.skip(why)
    assert load_backend(name, threads=1).name == name


def record_of(path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> NetRecord:
    return NetRecord("tiny", path, path.stat().st_size, hash_file(path), inputs, outputs)


@pytest.fixture
def record(tmp_path: Path) -> NetRecord:
    """y = a + 2 b; m = mean of y over all but the first axis."""
    nodes = [
        helper.make_node("Mul", ["b", "two"], ["c"]),
        helper.make_node("Add", ["a", "c"], ["y"]),
        helper.make_node("ReduceMean", ["y", "axes"], ["m"], keepdims=1),
    ]
    weights = {"two": np.array(2, np.float32), "axes": np.array([1, 2], np.int64)}
    return record_of(save_net(tmp_path / "tiny.onnx", nodes, *SPECS, weights), *SPECS)


def arrays(n: int = 2, h: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    return {name: rng.normal(size=(n, 3, 2 * h)).astype(np.float32) for name in "ab"}


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 3)])
def test_outputs_are_those_of_the_formula_at_any_size(
    backend: Backend, record: NetRecord, size: tuple[int, int]
) -> None:
    given = arrays(*size)
    got = backend.load(record).run(**given)
    want = given["a"] + 2 * given["b"]
    assert set(got) == {"y", "m"}
    np.testing.assert_array_equal(got["y"], want)  # one sum of two floats: no order to differ in
    # a mean of at most 30 values of size 1, in some order: within a few of its last bits
    np.testing.assert_allclose(got["m"], want.mean(axis=(1, 2), keepdims=True), atol=1e-6)


def test_the_same_inputs_give_the_same_bits(backend: Backend, record: NetRecord) -> None:
    net, given = backend.load(record), arrays()
    first = net.run(**given)
    for _ in range(3):
        again = net.run(**given)
        assert all(np.array_equal(first[name], again[name]) for name in first)


def test_a_read_only_input_that_is_another_array_counts(backend: Backend, record: NetRecord) -> None:
    net, given = backend.load(record), arrays()
    given["a"].flags.writeable = False
    net.run(**given)
    other = given["a"] + 1
    other.flags.writeable = False
    np.testing.assert_array_equal(net.run(a=other, b=given["b"])["y"], other + 2 * given["b"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"a": None}, "got inputs b, expected a, b"),
        ({"c": np.zeros(1, np.float32)}, "got inputs a, b, c, expected a, b"),
        ({"a": np.zeros((2, 3, 10))}, "a is float64, expected float32"),
        ({"a": [[1.0]]}, "a is list, expected float32"),
        ({"a": np.zeros((2, 3), np.float32)}, r"a: shape (2, 3), expected (N, 3, 2*h)"),
        ({"a": np.zeros((2, 4, 10), np.float32)}, r"a: shape (2, 4, 10)"),
        ({"a": np.zeros((2, 3, 9), np.float32)}, r"a: shape (2, 3, 9)"),
        ({"b": np.zeros((2, 3, 12), np.float32)}, "h is 5 in an earlier tensor"),
        ({"b": np.zeros((1, 3, 10), np.float32)}, "N is 2 in an earlier tensor"),
        ({"a": np.zeros((2, 10, 3), np.float32).transpose(0, 2, 1)}, "a is not contiguous"),
    ],
)
def test_inputs_of_another_kind_are_refused(
    backend: Backend, record: NetRecord, changes: dict[str, Any], told: str
) -> None:
    given = {name: value for name, value in (arrays() | changes).items() if value is not None}
    with pytest.raises(BackendError) as caught:
        backend.load(record).run(**given)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ((SPECS[0][0],), SPECS[1]),
        (SPECS[0], (SPECS[1][0],)),
        ((SPECS[0][0], tensor("b", "N", 3, "2*h", dtype="float16")), SPECS[1]),
        ((SPECS[0][0], tensor("b", "N", 3, 10)), SPECS[1]),
        ((SPECS[0][0], tensor("b", "N", "C", "2*h")), SPECS[1]),
        (SPECS[0], (SPECS[1][0], tensor("m", "N", 1))),
    ],
)
def test_a_file_with_other_tensors_than_its_record_is_refused(
    backend: Backend, record: NetRecord, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> None:
    with pytest.raises(BundleError, match="the manifest says"):
        backend.load(replace(record, inputs=inputs, outputs=outputs))


def test_an_output_of_another_size_than_promised_is_an_error(backend: Backend, tmp_path: Path) -> None:
    inputs, outputs = (tensor("a", "N", 4),), (tensor("y", "N", 4),)
    loose = (tensor("y", "M", 4),)
    nodes = [helper.make_node("Concat", ["a", "a"], ["y"], axis=0)]
    path = save_net(tmp_path / "double.onnx", nodes, inputs, loose)
    net = backend.load(record_of(path, inputs, outputs))
    with pytest.raises(BackendError, match=r"gave y float32 \(6, 4\), expected float32 \(3, 4\)"):
        net.run(a=np.zeros((3, 4), np.float32))


def test_a_file_that_is_no_network_is_an_error_of_the_backend(backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "noise.onnx"
    path.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(BackendError, match="does not take tiny"):
        backend.load(record_of(path, *SPECS))


def test_weights_in_other_files_are_not_followed(backend: Backend, tmp_path: Path) -> None:
    import onnx

    path = save_net(
        tmp_path / "outside.onnx",
        [helper.make_node("Add", ["a", "w"], ["y"])],
        (tensor("a", "N", 4),),
        (tensor("y", "N", 4),),
        {"w": np.ones(4, np.float32)},
    )
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    (tmp_path / "secret").write_bytes(b"\0" * 16)
    weight.external_data.add(key="location", value=str(tmp_path / "secret"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BackendError):
        backend.load(record_of(path, (tensor("a", "N", 4),), (tensor("y", "N", 4),)))


class OnGpu:
    """An array in memory of its own on a GPU, of the CUDA array interface."""

    def __init__(self, gpu: Gpu, array: np.ndarray) -> None:
        self.gpu, self.like = gpu, array
        self.pointer = gpu.allocate(array.nbytes)
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.pointer, False),
            "version": 3,
        }
        self.write(array)

    def write(self, array: np.ndarray) -> None:
        self.gpu.upload(np.ascontiguousarray(array), self.pointer, 0)

    def read(self, stream: int) -> np.ndarray:
        return self.gpu.download(self.pointer, self.like.shape, self.like.dtype.name, stream)


def outputs_for(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"y": np.full_like(given["a"], np.nan), "m": np.full((len(given["a"]), 1, 1), np.nan, np.float32)}


def test_a_launch_writes_into_the_arrays_that_it_is_given(backend: Backend, record: NetRecord) -> None:
    net = backend.load(record)
    assert isinstance(net, DeviceNet)
    gpu = None if backend.device == HOST else getattr(net, "_gpu", None) or find_gpu()
    stream = 0 if gpu is None else gpu.make_stream()
    for size in ((2, 5), (2, 5), (1, 3)):
        given = arrays(*size)
        want, got = net.run(**given), outputs_for(given)
        if gpu is None:
            net.launch(given, got, stream)
        else:
            there = {name: OnGpu(gpu, array) for name, array in (given | got).items()}
            net.launch({n: there[n] for n in given}, {n: there[n] for n in got}, stream)
            got = {name: there[name].read(stream) for name in got}
        assert all(np.array_equal(got[name], want[name]) for name in want)


def test_a_launch_is_recorded_into_a_graph_and_replayed_with_new_values(backend: Backend, record: NetRecord) -> None:
    net = backend.load(record)
    if not net.capturable:
        assert backend.device == HOST or backend.name.startswith("onnxruntime-")
        return
    if missing_gpu():
        assert isinstance(backend, trt.TrtBackend)  # whose stand-in has no graphs
        return
    gpu, given = find_gpu(), arrays()
    stream = gpu.make_stream()
    there = {name: OnGpu(gpu, array) for name, array in (given | outputs_for(given)).items()}

    def launch() -> None:
        net.launch({n: there[n] for n in "ab"}, {n: there[n] for n in "ym"}, stream)

    launch()
    driver, graph, ready = open_driver(), ctypes.c_void_p(), ctypes.c_void_p()
    with gpu.active():
        assert driver.cuStreamBeginCapture_v2(ctypes.c_void_p(stream), 0) == 0
        launch()
        assert driver.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph)) == 0
        assert driver.cuGraphInstantiateWithFlags(ctypes.byref(ready), graph, ctypes.c_uint64(0)) == 0
        for step in range(3):
            given["a"] += step
            there["a"].write(given["a"])
            assert driver.cuGraphLaunch(ready, ctypes.c_void_p(stream)) == 0
            np.testing.assert_array_equal(there["y"].read(stream), given["a"] + 2 * given["b"])


def test_threads_get_the_answers_to_their_own_inputs(backend: Backend, record: NetRecord) -> None:
    net = backend.load(record)
    given = [arrays(n % 3 + 1, n % 2 + 1) for n in range(24)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda each: net.run(**each), given))
    for each, got in zip(given, found, strict=True):
        np.testing.assert_array_equal(got["y"], each["a"] + 2 * each["b"])


@pytest.mark.parametrize("bundle", EMBEDDED)
def test_the_embedded_networks_give_what_onnx_runtime_gives_on_the_cpu(backend: Backend, bundle: str) -> None:
    rng, plain = np.random.default_rng(1), load_backend("onnxruntime", threads=1)
    lengths = {"N": 2, "B": 1, "T": 8, "h": 8, "w": 12}
    for name, record in load_bundle(bundle).nets.items():
        given = {spec.name: rng.normal(size=full_shape(spec, lengths)).astype(spec.dtype) for spec in record.inputs}
        if name == "denoiser":
            given["t"] = np.array([700], np.float32)
        if "trust" in given:  # weights of motion, 0..1: sums of others may be next to nothing
            given["trust"] = rng.uniform(size=given["trust"].shape).astype(np.float32)
        want, got = plain.load(record).run(**given), backend.load(record).run(**given)
        for output, value in want.items():
            # two dozen layers in float32, each with sums in another order; where noise is looked up at places that
            # layers gave, a rounding of a place is more of one in the value
            apart = 2e-4 if output == "painted" else 2e-5
            np.testing.assert_allclose(got[output], value, atol=apart * np.abs(value).max(), err_msg=output)


@pytest.mark.parametrize(
    ("inputs", "outputs", "stream", "told"),
    [
        ({"a": None}, {}, 0, "got inputs b, expected a, b"),
        ({}, {"m": None}, 0, "got outputs y, expected y, m"),
        ({"a": np.zeros((2, 3, 10))}, {}, 0, "a is float64, expected float32"),
        ({"a": [1.0]}, {}, 0, "a is list, expected a NumPy array"),
        ({"a": np.zeros((2, 3, 9), np.float32)}, {}, 0, "a: shape (2, 3, 9), expected (N, 3, 2*h)"),
        ({}, {"y": np.zeros((2, 3, 8), np.float32)}, 0, "y: shape (2, 3, 8), expected (2, 3, 10)"),
        ({}, {"y": np.zeros((2, 10, 3), np.float32).transpose(0, 2, 1)}, 0, "y is not contiguous"),
        ({}, {"y": np.frombuffer(bytes(240), np.float32).reshape(2, 3, 10)}, 0, "y is read-only"),
        ({}, {}, 7, "stream=7: expected 0 on the CPU"),
        ({}, {}, True, "stream=True"),
    ],
)
def test_a_launch_of_other_arrays_is_refused(
    backend: Backend, record: NetRecord, inputs: dict[str, Any], outputs: dict[str, Any], stream: int, told: str
) -> None:
    if backend.device != HOST:
        pytest.skip("arrays of this test lie in host memory: tests/test_backend_tensorrt.py has those of a GPU")
    given = arrays()
    into = {name: value for name, value in (outputs_for(given) | outputs).items() if value is not None}
    given = {name: value for name, value in (given | inputs).items() if value is not None}
    with pytest.raises(BackendError) as caught:
        backend.load(record).launch(given, into, stream)
    assert told in str(caught.value)


def test_outputs_that_share_memory_with_an_input_are_refused(backend: Backend, record: NetRecord) -> None:
    if backend.device != HOST:
        pytest.skip("arrays of this test lie in host memory: tests/test_backend_tensorrt.py has those of a GPU")
    given = arrays()
    with pytest.raises(BackendError, match="y shares memory with b: give it its own"):
        backend.load(record).launch(given, outputs_for(given) | {"y": given["b"]}, 0)


def test_a_backend_says_what_computes_and_where(backend: Backend) -> None:
    assert backend.name in BACKENDS
    assert any(part[0].isdigit() for part in backend.version.split())
    assert backend.device == HOST or re.fullmatch(r"cuda:\d+", backend.device)
    first = {
        "onnxruntime": "CPUExecutionProvider",
        "onnxruntime-cuda": "CUDAExecutionProvider",
        "onnxruntime-tensorrt": "TensorrtExecutionProvider",
        "tensorrt": f"{backend.version} on ",
        "tensorrt-rtx": f"{backend.version} on ",
        "torch": f"torch {backend.device}",
    }
    assert backend.providers[0].startswith(first[backend.name])


def test_bound_inputs_and_outputs_give_what_plain_calls_give(record: NetRecord) -> None:
    # the path of the GPU, on the memory of the CPU
    backend = OrtBackend(threads=1)
    plain = backend.load(record)
    bound = OrtNet(record, plain._session, backend._runtime)
    given = arrays()
    given["a"].flags.writeable = False
    for step in range(3):
        want, got = plain.run(**given), dict(zip("ym", bound.run_bound("ym", given, "cpu", 0), strict=True))
        assert all(np.array_equal(want[name], got[name]) for name in want)
        given["b"] += step + 1  # written to: has to be taken anew
    assert list(bound._kept) == ["a"]


def test_networks_of_a_bundle_take_and_give_what_the_contract_says(backend: Backend, tmp_path: Path) -> None:
    nets = Networks(tiny_bundle(tmp_path / "tiny"), backend)
    pictures = [smooth_picture(n, 64, 48) for n in range(6)]
    planes = pack_planes(pictures)
    latents = nets.encode(planes)
    assert latents.shape == (6, 4, 6, 8)
    window = np.ascontiguousarray(latents.transpose(1, 0, 2, 3)[None])
    hints = np.zeros((1, 4, *window.shape[2:]), np.float32)
    noise = np.random.default_rng(0).normal(size=window.shape).astype(np.float32)
    v = nets.denoise(noise, np.array([999], np.float32), window, np.concatenate([window, window], axis=1), hints)
    assert v.shape == window.shape
    shown, lack = nets.decode(latents, planes)
    assert (shown.shape, lack.shape) == (planes.shape, (6, 1, 24, 32))
    for n in range(6):
        alone, _ = nets.decode(latents[n : n + 1], planes[n : n + 1])
        np.testing.assert_allclose(shown[n : n + 1], alone, atol=1e-6)  # pieces change the order of sums
