"""Torch runs ONNX graphs: each operator as ONNX Runtime does, whole networks, swapped weights, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[torch]'")

from fake_driver import GpuArray, fake_gpu  # noqa: E402
from network_samples import save_net, tensor  # noqa: E402
from tgvc.backends.base import DeviceNet, load_backend  # noqa: E402
from tgvc.backends.pytorch import backend  # noqa: E402
from tgvc.backends.pytorch.layers import LAYERS  # noqa: E402
from tgvc.backends.pytorch.net import TorchNet, _host_tensor  # noqa: E402
from tgvc.backends.spec import NetRecord, TensorSpec  # noqa: E402
from tgvc.errors import BackendError, BackendUnavailableError  # noqa: E402
from tgvc.models.bundle import hash_file  # noqa: E402
from tgvc_kernels.device.driver import missing_gpu  # noqa: E402

pytestmark = pytest.mark.skipif(missing_gpu() == "", reason="this machine has a GPU, and these tests are of the CPU")
INTS, FLOATS = np.int64, np.float32


def record_of(path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> NetRecord:
    return NetRecord("tiny", path, path.stat().st_size, hash_file(path), tuple(inputs), tuple(outputs))


def load(name: str, record: NetRecord) -> DeviceNet:
    return load_backend(name, threads=1).load(record)


def compare(record: NetRecord, given: Mapping[str, np.ndarray], near: float) -> None:
    want, got = load("onnxruntime", record).run(**given), load("torch", record).run(**given)
    for name, value in want.items():
        assert np.isfinite(value).all()
        np.testing.assert_allclose(got[name], value, atol=near * max(1.0, float(np.abs(value).max())), err_msg=name)


X4 = (2, 6, 8, 4)
NEAREST = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
CORNERS = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
SLICES = [np.array(v, INTS) for v in ([1, -3], [99, -1], [2, 3], [3, 1])]
# operator, shape of x, further inputs ("": left out), attributes, shape of y
CASES: list[tuple[str, tuple[int, ...], list[Any], dict[str, Any], tuple[int, ...]]] = [
    ("AveragePool", X4, [], {"kernel_shape": [2, 2], "strides": [2, 2]}, (2, 6, 4, 2)),
    ("Clip", X4, [FLOATS(-0.5), FLOATS(0.25)], {}, X4),
    ("Clip", X4, ["", FLOATS(0.25)], {}, X4),
    ("Concat", X4, [np.ones((2, 1, 8, 4), FLOATS)], {"axis": 1}, (2, 7, 8, 4)),
    ("Conv", X4, [np.ones((4, 3, 3, 3), FLOATS), np.ones(4, FLOATS)], {"group": 2, "pads": [1] * 4}, (2, 4, 8, 4)),
    ("Conv", X4, [np.ones((4, 6, 3, 3), FLOATS)], {"pads": [0, 1, 2, 0], "strides": [2, 1]}, (2, 4, 4, 3)),
    ("BatchNormalization", X4, [np.full(6, n, FLOATS) for n in (2, 1, 0.3, 0.7)], {"epsilon": 1e-3}, X4),
    ("DepthToSpace", (2, 8, 3, 3), [], {"blocksize": 2, "mode": "CRD"}, (2, 2, 6, 6)),
    ("DepthToSpace", (2, 8, 3, 3), [], {"blocksize": 2}, (2, 2, 6, 6)),
    ("Expand", (2, 1, 4), [np.array([1, 5, 1], INTS)], {}, (2, 5, 4)),
    ("Flatten", X4, [], {"axis": 2}, (12, 32)),
    ("Gather", X4, [np.array([[0, -1], [3, 2]], INTS)], {"axis": 1}, (2, 2, 2, 8, 4)),
    ("Gelu", X4, [], {"approximate": "tanh"}, X4),
    ("Gelu", X4, [], {}, X4),
    ("Gemm", (2, 6), [np.ones((3, 6), FLOATS), np.ones(3, FLOATS)], {"transB": 1, "alpha": 2.0, "beta": 0.5}, (2, 3)),
    ("Gemm", (2, 6), [np.ones((6, 3), FLOATS)], {}, (2, 3)),
    ("GridSample", X4, [np.full((2, 5, 3, 2), 1.3, FLOATS)], {"mode": "cubic", "padding_mode": "border"}, (2, 6, 5, 3)),
    ("GridSample", X4, [np.full((2, 5, 3, 2), -1.3, FLOATS)], {"mode": "cubic"}, (2, 6, 5, 3)),
    ("GridSample", X4, [np.full((2, 5, 3, 2), -1.3, FLOATS)], {"padding_mode": "reflection"}, (2, 6, 5, 3)),
    ("GridSample", X4, [np.full((2, 5, 3, 2), 1.3, FLOATS)], {"mode": "linear", "align_corners": 1}, (2, 6, 5, 3)),
    ("InstanceNormalization", X4, [np.full(6, 2, FLOATS), np.ones(6, FLOATS)], {"epsilon": 1e-3}, X4),
    ("LayerNormalization", X4, [np.full(4, 2, FLOATS), np.ones(4, FLOATS)], {"axis": -1, "epsilon": 1e-3}, X4),
    ("LayerNormalization", X4, [np.full((8, 4), 2, FLOATS)], {"axis": 2}, X4),
    ("LeakyRelu", X4, [], {"alpha": 0.2}, X4),
    ("MatMul", X4, [np.ones((4, 3), FLOATS)], {}, (2, 6, 8, 3)),
    ("Max", X4, [FLOATS(0.1), FLOATS(0.2)], {}, X4),
    ("Min", X4, [FLOATS(0.1)], {}, X4),
    ("Pad", X4, [np.array([1, 2, 0, 1], INTS), FLOATS(3), np.array([2, 3], INTS)], {}, (2, 6, 9, 7)),
    ("Pad", X4, [np.array([0, 0, 1, 0, 0, 0, 1, 2], INTS)], {"mode": "reflect"}, (2, 6, 10, 6)),
    ("Pad", X4, [np.array([0, 0, 1, 0, 0, 0, 1, 0], INTS)], {"mode": "edge"}, (2, 6, 10, 4)),
    ("Pow", X4, [FLOATS(2)], {}, X4),
    ("ReduceMax", X4, [np.array([1, 3], INTS)], {"keepdims": 0}, (2, 8)),
    ("ReduceMean", X4, [], {}, (1, 1, 1, 1)),
    ("ReduceSum", X4, [np.array([-1], INTS)], {}, (2, 6, 8, 1)),
    ("ReduceSum", X4, [np.array([], INTS)], {"noop_with_empty_axes": 1}, X4),
    ("Reshape", X4, [np.array([0, 3, -1], INTS)], {}, (2, 3, 64)),
    ("Resize", X4, ["", "", np.array([2, 6, 16, 8], INTS)], NEAREST, (2, 6, 16, 8)),
    ("Resize", X4, ["", np.array([1, 1, 1.5, 3], FLOATS)], CORNERS, (2, 6, 12, 12)),
    ("Resize", X4, ["", "", np.array([2, 6, 5, 9], INTS)], {"mode": "linear"}, (2, 6, 5, 9)),
    ("Slice", X4, SLICES, {}, (2, 6, 3, 2)),
    ("Slice", X4, [np.array([1], INTS), np.array([2], INTS)], {}, (1, 6, 8, 4)),
    ("Softmax", X4, [], {"axis": 1}, X4),
    ("Squeeze", (2, 1, 4, 1), [np.array([-1, 1], INTS)], {}, (2, 4)),
    ("Tile", (2, 1, 4), [np.array([1, 3, 2], INTS)], {}, (2, 3, 8)),
    ("Transpose", X4, [], {"perm": [2, 0, 3, 1]}, (8, 2, 4, 6)),
    ("Transpose", X4, [], {}, (4, 8, 6, 2)),
    ("Unsqueeze", (2, 4), [np.array([-1, 0], INTS)], {}, (1, 2, 4, 1)),
    *((kind, X4, [], {}, X4) for kind in ("Abs", "Cos", "Erf", "Exp", "Floor", "Identity", "Neg", "Relu", "Round")),
    *((kind, X4, [], {}, X4) for kind in ("Sigmoid", "Sin", "Tanh")),
    *((kind, X4, [np.full((6, 1, 1), 1.5, FLOATS)], {}, X4) for kind in ("Add", "Div", "Mul", "Sub")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_an_operator_gives_what_onnx_runtime_gives(case: tuple[Any, ...], tmp_path: Path) -> None:
    kind, shape, others, attributes, given = case
    rng = np.random.default_rng(3)
    names, weights = ["x"], {}
    for number, other in enumerate(others):
        names.append("" if isinstance(other, str) else f"i{number}")
        if not isinstance(other, str):
            spread = other.ndim > 1 and other.dtype == FLOATS
            weights[names[-1]] = (
                other * rng.uniform(0.5, 1, other.shape).astype(FLOATS) if spread else np.asarray(other)
            )
    specs = (tensor("x", *shape),), (tensor("y", *given),)
    path = save_net(tmp_path / "net.onnx", [helper.make_node(kind, names, ["y"], **attributes)], *specs, weights)
    # sums of at most a few hundred numbers in another order; each library has its own approximations of exp and erf
    compare(record_of(path, *specs), {"x": rng.normal(size=shape).astype(FLOATS)}, 2e-6)


def conditions() -> list[onnx.NodeProto]:
    """y of x through every comparison; n: positions in x, as integers."""
    node = helper.make_node
    return [
        node("Greater", ["x", "zero"], ["a"]),
        node("Less", ["x", "one"], ["b"]),
        node("GreaterOrEqual", ["x", "minus"], ["c"]),
        node("LessOrEqual", ["x", "half"], ["d"]),
        node("Equal", ["x", "half"], ["e"]),
        node("And", ["a", "b"], ["ab"]),
        node("Or", ["ab", "e"], ["abe"]),
        node("Not", ["abe"], ["f"]),
        node("And", ["c", "d"], ["cd"]),
        node("Abs", ["x"], ["size"]),
        node("Add", ["size", "one"], ["above"]),
        node("Log", ["above"], ["log"]),
        node("Sqrt", ["above"], ["root"]),
        node("Reciprocal", ["root"], ["over"]),
        node("Where", ["f", "log", "over"], ["g"]),
        node("Where", ["cd", "g", "x"], ["h"]),
        node("Mul", ["x", "four"], ["k"]),
        node("Cast", ["k"], ["whole"], to=TensorProto.INT64),
        node("Div", ["whole", "three"], ["third"]),  # towards zero
        node("Cast", ["third"], ["thirdf"], to=TensorProto.FLOAT),
        node("Add", ["h", "thirdf"], ["p"]),
        node("Split", ["p", "lengths"], ["first", "last"], axis=1),
        node("Concat", ["last", "first"], ["y"], axis=1),
    ]


def test_conditions_and_integers_give_what_onnx_runtime_gives(tmp_path: Path) -> None:
    numbers = {"zero": 0.0, "one": 1.0, "minus": -1.0, "half": 0.5, "four": 4.0}
    weights = {name: np.array(value, FLOATS) for name, value in numbers.items()}
    weights |= {"three": np.array(3, INTS), "lengths": np.array([2, 4], INTS)}
    specs = (tensor("x", "N", 6),), (tensor("y", "N", 6),)
    path = save_net(tmp_path / "net.onnx", conditions(), *specs, weights)
    x = np.random.default_rng(3).normal(size=(40, 6)).astype(FLOATS)
    x[0, 0] = 0.5
    compare(record_of(path, *specs), {"x": x}, 2e-6)


def test_every_operator_is_compared_with_onnx_runtime() -> None:
    compared = {case[0] for case in CASES} | {node.op_type for node in conditions()}
    compared |= {"Attention", "GroupNormalization"}  # of later opsets, below
    assert set(LAYERS) - compared == {"ConstantOfShape", "Range"}  # never run on a device: the test of shapes


def test_operators_of_later_opsets_give_what_onnx_runtime_gives(tmp_path: Path) -> None:
    specs = (tensor("x", 2, 6, 8, 4),), (tensor("y", 2, 6, 8, 4),)
    nodes = [
        helper.make_node("GroupNormalization", ["x", "scale", "bias"], ["n"], num_groups=3, epsilon=1e-3),
        helper.make_node("Attention", ["n", "x", "n"], ["y"], scale=0.4),
    ]
    weights = {"scale": np.linspace(0.5, 2, 6, dtype=FLOATS), "bias": np.linspace(-1, 1, 6, dtype=FLOATS)}
    path = save_net(tmp_path / "net.onnx", [helper.make_node("Identity", ["x"], ["y"])], *specs, weights)
    model = onnx.load(path)
    model.opset_import[0].version = 23
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())
    compare(record_of(path, *specs), {"x": np.random.default_rng(3).normal(size=X4).astype(FLOATS)}, 2e-6)


def test_shapes_are_worked_out_before_anything_runs(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["all"]),
        node("Shape", ["x"], ["rows"], start=1, end=2),
        node("Cast", ["rows"], ["rowsf"], to=TensorProto.FLOAT),
        node("Mul", ["rowsf", "half"], ["halff"]),
        node("Floor", ["halff"], ["floor"]),
        node("Cast", ["floor"], ["first"], to=TensorProto.INT64),
        node("Slice", ["x", "zero", "first", "one"], ["top"]),
        node("Gather", ["all", "one"], ["count"]),
        node("Squeeze", ["count", "zero"], ["number"]),
        node("Range", ["from", "number", "step"], ["line"]),
        node("Cast", ["line"], ["linef"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["linef", "one"], ["column"]),
        node("ReduceSum", ["column", "zero"], ["sum"]),
        node("ConstantOfShape", ["rows"], ["zeros"], value=numpy_helper.from_array(np.array([2], FLOATS))),
        node("ReduceMean", ["zeros"], ["two"]),
        node("Add", ["top", "sum"], ["moved"]),
        node("Mul", ["moved", "two"], ["y"]),
    ]
    weights = {name: np.array([value], INTS) for name, value in (("zero", 0), ("one", 1))}
    weights |= {"half": np.array([0.5], FLOATS), "from": np.array(0, INTS), "step": np.array(1, INTS)}
    specs = (tensor("x", "N", "h", 3),), (tensor("y", "N", "k", 3),)
    record = record_of(save_net(tmp_path / "net.onnx", nodes, *specs, weights), *specs)
    net = load("torch", record)
    assert isinstance(net, TorchNet)
    for rows in (5, 8):
        x = torch.ones(2, rows, 3)
        (got,) = net._compute({"x": x})
        assert got.shape == (2, rows // 2, 3)
        assert torch.equal(got, torch.full_like(got, 2 * (1 + rows * (rows - 1) / 2)))
        plan, _ = net._plans[((2, rows, 3),)]
        assert {n.target.__name__ for n in plan.module.graph.nodes if n.op == "call_function"} == {
            "slice_values",
            "add",
            "mul",
        }
    net.swap_weights({"half": np.array([0.25], FLOATS)})  # which said a shape
    assert net._compute({"x": torch.ones(2, 8, 3)})[0].shape == (2, 2, 3)


def test_a_shape_that_follows_from_values_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["n"], ["k"], to=TensorProto.INT64),
        helper.make_node("Expand", ["x", "k"], ["y"]),
    ]
    specs = (tensor("x", "N"), tensor("n", 1)), (tensor("y", "N"),)
    record = record_of(save_net(tmp_path / "net.onnx", nodes, *specs), *specs)
    with pytest.raises(BackendError, match="needs input 1 of Expand before the network runs"):
        load("torch", record).run(x=np.ones(1, FLOATS), n=np.ones(1, FLOATS))


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (helper.make_node("Sinh", ["x"], ["y"]), "operator Sinh of ai.onnx is not known"),
        (helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"), "operator Gelu of com.microsoft is not known"),
        (helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER"), "Conv y: Conv with auto_pad SAME_UPPER"),
        (helper.make_node("Slice", ["x", "a", "b", "c", "d"], ["y"]), "Slice y: Slice backwards"),
    ],
)
def test_what_is_not_known_is_refused_by_name(node: Any, told: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("onnx.checker.check_model", lambda model: None)
    numbers = {"a": -1, "b": 0, "c": 2, "d": -1}
    weights = {name: np.array([value], INTS) for name, value in numbers.items()} | {"w": np.ones((3, 3, 1, 1), FLOATS)}
    specs = (tensor("x", 1, 3, 4, 4),), (tensor("y", 1, 3, 4, 4),)
    record = record_of(save_net(tmp_path / "net.onnx", [node], *specs, weights), *specs)
    with pytest.raises(BackendError, match=told):
        load("torch", record).run(x=np.ones((1, 3, 4, 4), FLOATS))


def test_a_graph_of_an_unknown_opset_is_refused(tmp_path: Path) -> None:
    specs = (tensor("x", "N"),), (tensor("y", "N"),)
    path = save_net(tmp_path / "net.onnx", [helper.make_node("Relu", ["x"], ["y"])], *specs)
    model = onnx.load(path)
    model.opset_import[0].version = 13
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BackendError, match="opset 13, expected 20 to 23"):
        load("torch", record_of(path, *specs))


@pytest.fixture
def halves(tmp_path: Path) -> NetRecord:
    """y = (x W) of halves, plus a bias of halves that is cast to float32 first."""
    nodes = [
        helper.make_node("Cast", ["x"], ["xh"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["xh", "w"], ["yh"]),
        helper.make_node("Cast", ["yh"], ["yf"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["b"], ["bf"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["yf", "bf"], ["y"]),
    ]
    weights = {"w": np.eye(3, dtype=np.float16) * 2, "b": np.array([1, 2, 3], np.float16)}
    specs = (tensor("x", "N", 3),), (tensor("y", "N", 3),)
    return record_of(save_net(tmp_path / "net.onnx", nodes, *specs, weights), *specs)


def test_weights_keep_the_precision_in_which_the_graph_uses_them(halves: NetRecord) -> None:
    net = load("torch", halves)
    assert isinstance(net, TorchNet)
    assert {name: value.dtype for name, value in net._weights.tensors.items()} == {
        "w": torch.float16,
        "bf": torch.float32,
    }


def test_swapped_weights_count_from_the_next_run_in_the_same_memory(halves: NetRecord) -> None:
    net, x = load("torch", halves), np.ones((2, 3), FLOATS)
    assert isinstance(net, TorchNet)
    np.testing.assert_array_equal(net.run(x=x)["y"], [[3, 4, 5]] * 2)
    before = {name: value.data_ptr() for name, value in net._weights.tensors.items()}
    net.swap_weights({"w": np.eye(3, dtype=np.float16), "b": np.zeros(3, np.float16)})
    np.testing.assert_array_equal(net.run(x=x)["y"], np.ones((2, 3)))
    assert before == {name: value.data_ptr() for name, value in net._weights.tensors.items()}


def test_weights_that_do_not_fit_are_all_named_and_change_nothing(halves: NetRecord) -> None:
    net = load("torch", halves)
    assert isinstance(net, TorchNet)
    with pytest.raises(BackendError, match=r"w is float32 \(3, 3\), expected float16 \(3, 3\); v is not known"):
        net.swap_weights({"w": np.zeros((3, 3), FLOATS), "v": np.zeros(1, FLOATS), "b": np.zeros(3, np.float16)})
    np.testing.assert_array_equal(net.run(x=np.ones((1, 3), FLOATS))["y"], [[3, 4, 5]])


def test_a_result_is_never_a_view_of_an_input(tmp_path: Path) -> None:
    specs = (tensor("x", "N", 4),), (tensor("y", "N", 2, 2), tensor("z", "N", 4, 1))
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"]), helper.make_node("Unsqueeze", ["x", "a"], ["z"])]
    weights = {"s": np.array([-1, 2, 2], INTS), "a": np.array([2], INTS)}
    x = np.zeros((3, 4), FLOATS)
    got = load("torch", record_of(save_net(tmp_path / "net.onnx", nodes, *specs, weights), *specs)).run(x=x)
    x += 1
    got["y"] += 2
    assert got["y"].max() == 2
    assert got["z"].max() == 0


@pytest.mark.slow
def test_a_compiled_network_gives_what_its_formula_says(halves: NetRecord) -> None:
    net = load("torch-compile", halves)
    np.testing.assert_array_equal(net.run(x=np.ones((2, 3), FLOATS))["y"], [[3, 4, 5]] * 2)


def test_a_machine_with_a_gpu_is_not_computed_on_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "missing_gpu", lambda: "")
    monkeypatch.setattr(backend, "find_gpu", lambda ordinal: fake_gpu()[0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendUnavailableError, match=r"torch: this machine has Fake GPU, and torch .* without CUDA"):
        load_backend("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = load_backend("torch")
    assert (found.device, found.providers) == ("cuda:0", ("torch cuda:0",))
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailableError, match="torch-compile: needs Triton"):
        load_backend("torch-compile")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda patch: patch.setattr(torch, "__version__", "2.4.1+cpu"), "torch 2.4.1.cpu is too old"),
        (
            lambda patch: patch.setitem(sys.modules, "onnx", None),
            r"needs torch and onnx .* pip install 'tgvc\[torch\]'",
        ),
        (lambda patch: patch.setattr(backend.shutil, "which", lambda name: None), "needs a C.. compiler for the CPU"),
    ],
)
def test_what_torch_lacks_is_named(change: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch)
    with pytest.raises(BackendUnavailableError, match=told):
        load_backend("torch-compile")


def test_launches_on_a_gpu_have_their_stream_and_memory_that_is_theirs_alone(
    halves: NetRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Any] = []
    made: list[object] = []

    @contextmanager
    def note(what: Any, *_: Any) -> Iterator[None]:
        used.append(what)
        yield

    monkeypatch.setattr(torch.cuda, "MemPool", lambda: made.append(object()) or made[-1])
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda pointer, device: pointer)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: "default")
    monkeypatch.setattr(torch.cuda, "stream", note)
    monkeypatch.setattr(torch.cuda, "use_mem_pool", note)
    net = load("torch", halves)
    assert isinstance(net, TorchNet)
    net.device = "cuda:0"  # whose memory is the host's here: only what surrounds the calls is different
    monkeypatch.setattr(net, "_tensor", _host_tensor)
    into = np.zeros((2, 3), FLOATS)
    for stream, rows in ((7, 2), (7, 2), (8, 2), (0, 2), (7, 1)):
        net.launch({"x": GpuArray(np.ones((rows, 3), FLOATS))}, {"y": GpuArray(into[:rows])}, stream)
        np.testing.assert_array_equal(into[:rows], [[3, 4, 5]] * rows)
    assert used[::2] == [7, 7, 8, "default", 7]
    pools = used[1::2]
    assert pools[0] is pools[1]
    assert list(dict.fromkeys(map(id, pools))) == list(map(id, made))  # one for each stream and set of shapes
    for rows in range(20, 40):  # what was launched stays, what only `run` used gives way
        net._find_plan(((rows, 3),), {"x": torch.ones(rows, 3)})
    assert {((2, 3),), ((1, 3),)} < set(net._plans)
    assert len(net._plans) == 2 + 16
