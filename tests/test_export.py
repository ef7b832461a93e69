"""From torch modules to bundles, and what TensorRT-RTX says of every network that is shipped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from network_samples import save_net, tensor, tiny_bundle, tiny_constants
from tgvc.backends.base import load_backend
from tgvc.backends.spec import NetRecord, split_dimension
from tgvc.errors import BackendError
from tgvc.models.bundle import EMBEDDED, hash_file, load_bundle
from tgvc.models.contract import residual_contract

CHANNELS = 4
CONTRACT = residual_contract(CHANNELS, 8)
SHIPPED = EMBEDDED


def example(net: str, **lengths: int) -> dict[str, Any]:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
    generator = torch.Generator().manual_seed(3)
    return {
        spec.name: torch.randn(
            [f * lengths[s] if s else f for f, s in map(split_dimension, spec.shape)], generator=generator
        )
        for spec in CONTRACT[net][0]
    }


@pytest.fixture(scope="module")
def modules() -> dict[str, Any]:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(1)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Conv2d(6, CHANNELS, 4, stride=4)

        def forward(self, planes: Any) -> Any:
            return self.mix(planes)

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.space = nn.Conv2d(4 * CHANNELS + 4, 8, 3, padding=1)
            self.time = nn.Conv2d(8, CHANNELS, (3, 1), padding=(1, 0))
            self.level = nn.Linear(1, 8)

        def forward(self, x: Any, t: Any, base: Any, keys: Any, hints: Any) -> Any:
            b, _, frames, h, w = x.shape
            given = torch.cat([x, base, keys, hints], dim=1).transpose(1, 2).reshape(b * frames, -1, h, w)
            y = self.space(given).reshape(b, frames, 8, h, w) + self.level(t[:, None])[:, None, :, None, None]
            y = functional.silu(y).transpose(1, 2).reshape(b, 8, frames, h * w)
            return self.time(y).reshape(b, CHANNELS, frames, h, w)

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spread = nn.Conv2d(CHANNELS, 96, 1)
            self.miss = nn.Conv2d(6, 1, 1)

        def forward(self, latents: Any, planes: Any) -> Any:
            return planes + functional.pixel_shuffle(self.spread(latents), 4), self.miss(planes).exp()

    return {"encoder": Encoder(), "denoiser": Denoiser(), "decoder": Decoder()}


@pytest.fixture(scope="module")
def exported(modules: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tgvc_export.bundle import NetExport, export_bundle

    folder = tmp_path_factory.mktemp("export") / "small"
    folder.mkdir()
    (folder / "CARD.md").write_text("kept")
    sizes: tuple[dict[str, int], ...] = (
        {"N": 3, "B": 2, "T": 5, "h": 8, "w": 12},
        {"N": 1, "B": 1, "T": 2, "h": 6, "w": 4},
    )
    nets = {name: NetExport(module, [example(name, **s) for s in sizes]) for name, module in modules.items()}
    bundle = export_bundle(
        nets,
        folder,
        name="small",
        revision="7",
        licence="Apache-2.0",
        constants=tiny_constants(),
        notes={"made": "here"},
    )
    assert bundle.label == "small 7"
    return folder


@pytest.mark.slow
def test_an_exported_bundle_holds_its_error_and_nothing_besides(exported: Path) -> None:
    assert sorted(p.name for p in exported.iterdir()) == [
        "CARD.md",
        "decoder.onnx",
        "denoiser.onnx",
        "encoder.onnx",
        "manifest.json",
    ]
    bundle = load_bundle(exported)
    assert bundle.notes["made"] == "here"
    for record in bundle.nets.values():
        assert set(record.error) == {
            f"{what}_{kind}" for what in ("runtime", "storage") for kind in ("max_abs", "relative_rms")
        }
        # sums in another order: a few last bits of float32; halves round to 1/2048, and this net is shallow
        assert 0 <= record.error["runtime_relative_rms"] < 1e-6
        assert 1e-6 < record.error["storage_relative_rms"] < 1 / 1024


@pytest.mark.slow
def test_exported_graphs_store_halves_and_tell_nothing_of_the_machine(exported: Path) -> None:
    for record in load_bundle(exported).nets.values():
        model = onnx.load(record.path)
        large = [w for w in model.graph.initializer if len(w.dims) > 1 and np.prod(w.dims) >= 64]
        assert large
        assert {w.data_type for w in large} == {TensorProto.FLOAT16}
        assert not model.graph.value_info
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
        data = record.path.read_bytes()
        assert b"/home" not in data
        assert b".py" not in data


@pytest.mark.slow
def test_an_exported_network_takes_sizes_that_it_was_not_traced_with(exported: Path, modules: dict[str, Any]) -> None:
    import torch

    from tgvc_export.bundle import round_weights

    bundle, backend = load_bundle(exported), load_backend("onnxruntime", threads=1)
    for name, module in modules.items():
        given = example(name, N=7, B=1, T=9, h=2, w=22)
        got = backend.load(bundle.nets[name]).run(**{key: value.numpy() for key, value in given.items()})
        with torch.no_grad():
            want = round_weights(module)(**given)
        for spec, value in zip(CONTRACT[name][1], want if isinstance(want, tuple) else (want,), strict=True):
            # float32 sums of some hundred terms of size 1, in another order
            np.testing.assert_allclose(got[spec.name], value.numpy(), atol=1e-5)


@pytest.mark.slow
def test_a_bundle_that_is_too_large_is_refused_and_nothing_is_left(modules: dict[str, Any], tmp_path: Path) -> None:
    from tgvc_export.bundle import NetExport, export_bundle
    from tgvc_export.graph_rules import ExportError

    nets = {"encoder": NetExport(modules["encoder"], [example("encoder", N=3, B=2, T=5, h=8, w=12)])}
    with pytest.raises(ExportError, match="100 are allowed"):
        export_bundle(
            nets,
            tmp_path / "small",
            name="small",
            revision="1",
            licence="Apache-2.0",
            constants=tiny_constants(),
            max_bytes=100,
        )
    assert list((tmp_path / "small").iterdir()) == []


def test_the_check_runs_without_torch(tmp_path: Path) -> None:
    code = "import sys, tgvc_export.check; print([m for m in ('torch', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_check_measures_what_differs_in_a_fresh_process(tmp_path: Path) -> None:
    from tgvc_export.check import Case, check_bundle

    bundle = tiny_bundle(tmp_path / "tiny")
    planes = np.random.default_rng(0).normal(size=(2, 6, 8, 16)).astype(np.float32)
    record = bundle.nets["encoder"]
    latents = load_backend("onnxruntime", threads=1).load(record).run(planes=planes)["latents"]
    off = latents.copy()
    off.flat[5] += 0.5
    found = check_bundle(
        bundle.folder, {"encoder": [Case({"planes": planes}, [latents]), Case({"planes": planes}, [off])]}
    )
    assert found["encoder"]["max_abs"] == pytest.approx(0.5, abs=1e-6)  # 0.5 is added to a float32 of size 1
    assert found["encoder"]["relative_rms"] == pytest.approx(
        0.5 / np.sqrt(off.size) / np.sqrt(np.mean(off.astype(np.float64) ** 2)), rel=1e-5
    )


def test_a_network_that_is_in_no_bundle_is_checked_as_one_that_is(tmp_path: Path) -> None:
    from tgvc_export.check import Case, check_bundle, check_files, describe_file

    bundle = tiny_bundle(tmp_path / "tiny")
    planes = np.random.default_rng(0).normal(size=(2, 6, 8, 16)).astype(np.float32)
    cases = {"encoder": [Case({"planes": planes}, [np.zeros((2, 4, 2, 4), np.float32)])]}
    known = bundle.nets["encoder"]
    record = describe_file("encoder", known.path, (known.inputs, known.outputs))
    assert check_files([record], cases) == check_bundle(bundle.folder, cases)
    with pytest.raises(RuntimeError, match="the check of encoder failed"):
        check_files([], cases)


def test_a_check_that_cannot_run_says_why(tmp_path: Path) -> None:
    from tgvc_export.check import Case, check_bundle

    folder = tiny_bundle(tmp_path / "tiny").folder
    (folder / "encoder.onnx").unlink()
    with pytest.raises(RuntimeError, match=r"encoder.onnx is missing"):
        check_bundle(folder, {"encoder": [Case({}, [])]})


def test_an_error_that_is_not_finite_is_infinite() -> None:
    from tgvc_export.check import measure_error

    assert measure_error(np.array([np.nan]), np.array([1.0]))["relative_rms"] == float("inf")
    with pytest.raises(ValueError, match="expected"):
        measure_error(np.zeros(2), np.zeros(3))


def _model(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], opset: int = 20) -> onnx.ModelProto:
    specs = [tensor("a", "N", 4, "T", "h", "w")], [tensor("y", "N", 4, "T", "h", "w")]
    described = [
        [helper.make_tensor_value_info(s.name, TensorProto.FLOAT, list(s.shape)) for s in side] for side in specs
    ]
    graph = helper.make_graph(
        nodes, "g", *described, [numpy_helper.from_array(value, name) for name, value in weights.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize(
    ("nodes", "weights", "opset", "told"),
    [
        (
            [helper.make_node("Conv", ["a", "w"], ["y"])],
            {"w": np.ones((4, 4, 1, 1, 1), np.float32)},
            20,
            "not constants of 4 dimensions",
        ),
        ([helper.make_node("Relu", ["a"], ["y"])], {}, 21, "opset 21"),
        ([helper.make_node("Gelu", ["a"], ["y"], domain="com.microsoft")], {}, 20, "node Gelu of com.microsoft"),
        ([helper.make_node("Relu", ["a"], ["z"])], {}, 20, ""),
    ],
)
def test_graphs_that_a_backend_would_refuse_are_refused_at_export(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], opset: int, told: str
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
    from tgvc_export.graph_rules import ExportError, check_graph

    specs = (tensor("a", "N", 4, "T", "h", "w"),), (tensor("y", "N", 4, "T", "h", "w"),)
    if told:
        with pytest.raises(ExportError, match=told):
            check_graph(_model(nodes, weights, opset), *specs)
    else:  # a graph that is no graph is found by the checker of ONNX itself
        with pytest.raises(onnx.checker.ValidationError):
            check_graph(_model(nodes, weights, opset), *specs)


def test_a_weight_that_does_not_fit_in_a_half_is_refused() -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
    from tgvc_export.graph_rules import ExportError
    from tgvc_export.precision import store_in_halves

    model = _model([helper.make_node("MatMul", ["a", "w"], ["y"])], {"w": np.full((16, 16), 7e4, np.float32)})
    with pytest.raises(ExportError, match="weight w: values up to 70000"):
        store_in_halves(model)


def _engine(record: NetRecord, *capabilities: str) -> bytes:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install 'tgvc[tensorrt-rtx]'")
    from tgvc_export.trt import CAPABILITIES, build_engine

    return build_engine(record, capabilities or CAPABILITIES)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_tensorrt_builds_networks_without_a_gpu(name: str, tmp_path: Path) -> None:
    assert len(_engine(tiny_bundle(tmp_path / "tiny").nets[name], "SM89")) > 1000


def test_what_tensorrt_does_not_take_is_an_error_that_says_why(tmp_path: Path) -> None:
    specs = (tensor("a", "N", 4),), (tensor("y", "N", 4),)
    nodes = [helper.make_node("Det", ["b"], ["c"]), helper.make_node("Mul", ["a", "c"], ["y"])]
    nodes.insert(0, helper.make_node("Reshape", ["a", "shape"], ["b"]))
    path = save_net(tmp_path / "det.onnx", nodes, *specs, {"shape": np.array([1, 2, 2], np.int64)})
    with pytest.raises(BackendError, match=r"does not take tiny: .*Det"):
        _engine(NetRecord("tiny", path, path.stat().st_size, hash_file(path), *specs))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_network_builds_for_four_generations_of_gpus(name: str) -> None:
    bundle = load_bundle(name)
    sizes = {net: len(_engine(record)) for net, record in bundle.nets.items()}
    assert set(sizes) == set(bundle.nets)
    assert min(sizes.values()) > 10_000


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_bundle_is_small_and_says_how_exact_it_is(name: str) -> None:
    bundle = load_bundle(name)
    assert sum(record.size for record in bundle.nets.values()) < 40_000_000
    for record in bundle.nets.values():
        assert record.error["runtime_relative_rms"] < 1e-4
        assert record.error["storage_relative_rms"] < 2e-2
    json.dumps(dict(bundle.notes))
