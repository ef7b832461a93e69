"""What every backend has to do, on networks whose answers are known."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from network_samples import save_net, tensor, tiny_bundle
from tgvc.backends.base import BACKENDS, Backend, find_backends, load_backend
from tgvc.backends.ort import OrtBackend, OrtNet
from tgvc.backends.spec import NetRecord, TensorSpec
from tgvc.errors import BackendError, BackendUnavailableError, BundleError, ConfigError
from tgvc.models.bundle import hash_file
from tgvc.models.nets import Networks, pack_planes, unpack_planes
from video_samples import smooth_picture

_REASONS = find_backends()
SPECS = ((tensor("a", "N", 3, "2*h"), tensor("b", "N", 3, "2*h")), (tensor("y", "N", 3, "2*h"), tensor("m", "N", 1, 1)))


@pytest.fixture(params=[name for name in BACKENDS if name != "torch-compile"])  # which compiles for every size
def backend(request: pytest.FixtureRequest) -> Backend:
    if why := _REASONS[request.param]:
        pytest.skip(why)
    return load_backend(request.param, threads=1)


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


def outputs_for(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"y": np.full_like(given["a"], np.nan), "m": np.full((len(given["a"]), 1, 1), np.nan, np.float32)}


def test_a_launch_writes_into_the_arrays_that_it_is_given(backend: Backend, record: NetRecord) -> None:
    if backend.device != "cpu":
        pytest.skip("arrays of this test lie in host memory")
    net = backend.load(record)
    for size in ((2, 5), (2, 5), (1, 3)):
        given = arrays(*size)
        want, got = net.run(**given), outputs_for(given)
        net.launch(given, got, 0)
        assert all(np.array_equal(got[name], want[name]) for name in want)


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
    if backend.device != "cpu":
        pytest.skip("arrays of this test lie in host memory")
    given = arrays()
    into = {name: value for name, value in (outputs_for(given) | outputs).items() if value is not None}
    given = {name: value for name, value in (given | inputs).items() if value is not None}
    with pytest.raises(BackendError) as caught:
        backend.load(record).launch(given, into, stream)
    assert told in str(caught.value)


def test_outputs_that_share_memory_with_an_input_are_refused(backend: Backend, record: NetRecord) -> None:
    if backend.device != "cpu":
        pytest.skip("arrays of this test lie in host memory")
    given = arrays()
    with pytest.raises(BackendError, match="y shares memory with b: give it its own"):
        backend.load(record).launch(given, outputs_for(given) | {"y": given["b"]}, 0)


def test_a_backend_says_what_computes(backend: Backend) -> None:
    assert backend.name in BACKENDS
    assert backend.version[0].isdigit()
    assert backend.providers[0] == {
        "onnxruntime": "CPUExecutionProvider",
        "onnxruntime-cuda": "CUDAExecutionProvider",
        "torch": f"torch {backend.device}",
    }.get(backend.name)


def test_an_unknown_backend_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="backend='jax': expected one of auto, onnxruntime, onnxruntime-cuda"):
        load_backend("jax")


def test_auto_logs_its_choice_and_what_it_passed_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: OrtBackend) -> None:
        raise BackendUnavailableError("onnxruntime-cuda: no driver")

    monkeypatch.setattr(OrtBackend, "_prepare_cuda", refuse)
    with caplog.at_level(logging.INFO, "tgvc.backends"):
        chosen = load_backend("auto")
    assert chosen.name == "onnxruntime"
    assert f"chose onnxruntime {chosen.version} (onnxruntime-cuda: no driver)" in caplog.text


class _Fallen:
    """A session that got another provider than it was asked for."""

    def __init__(self, model: bytes, options: object, providers: list[Any]) -> None:
        assert providers[0][0] == "CUDAExecutionProvider"

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def disable_fallback(self) -> None:
        pass


def test_a_session_that_fell_back_to_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr("tgvc.backends.ort.find_gpu", lambda ordinal: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", _Fallen)
    with pytest.raises(
        BackendUnavailableError, match=r"asked for CUDAExecutionProvider, in force CPUExecutionProvider.*pip install"
    ):
        load_backend("onnxruntime-cuda")


def test_a_build_without_cuda_is_refused_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendUnavailableError, match=r"built without CUDA.*pip install 'onnxruntime-gpu"):
        load_backend("onnxruntime-cuda")


def test_a_missing_runtime_is_refused_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailableError, match="pip install onnxruntime"):
        load_backend("onnxruntime")
    with pytest.raises(BackendUnavailableError, match="backend auto: none runs here"):
        load_backend("auto")


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


def test_planes_and_back_are_the_same_picture() -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (72, 64), np.uint8) for _ in range(3)]
    pictures[0].flat[:256] = np.arange(256)  # every level
    planes = pack_planes(pictures)
    assert planes.shape == (3, 6, 24, 32)
    assert planes.min() == -1
    assert planes.max() == 1
    assert all(np.array_equal(a, b) for a, b in zip(pictures, unpack_planes(planes), strict=True))


def test_planes_hold_the_four_corners_of_blocks_then_chroma() -> None:
    picture = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4)  # 4 x 4 luma 0..15, then U 16..19, V 20..23
    level = pack_planes([picture])[0] * 127.5 + 127.5
    want = [[[0, 2], [8, 10]], [[1, 3], [9, 11]], [[4, 6], [12, 14]], [[5, 7], [13, 15]]]
    want += [[[16, 17], [18, 19]], [[20, 21], [22, 23]]]
    np.testing.assert_allclose(level, want, atol=1e-5)  # two roundings of numbers up to 255


def test_planes_are_rounded_to_the_nearest_level_and_cut() -> None:
    planes = np.full((1, 6, 2, 2), -2.0, np.float32)
    planes[0, 1], planes[0, 2], planes[0, 3] = 3.0, 100.4 / 127.5 - 1, 100.6 / 127.5 - 1
    picture = unpack_planes(planes)[0]
    assert picture[:4].tolist() == [[0, 255, 0, 255], [100, 101, 100, 101]] * 2
    assert picture[4:].max() == 0
