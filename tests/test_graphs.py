"""Exports in every precision, with free and fixed sizes, in one file or two; and what a graph is refused for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from network_samples import tensor  # noqa: E402
from published_samples import compare_with_torch  # noqa: E402
from tgvc_export import onnx_file  # noqa: E402
from tgvc_export.check import describe_file  # noqa: E402
from tgvc_export.graph_rules import ExportError, check_graph, count_nodes, fix_specs  # noqa: E402
from tgvc_export.onnx_file import export_module  # noqa: E402
from tgvc_export.precision import halve_module  # noqa: E402

INPUTS = tensor("x", "N", 8, "h", "w"), tensor("t", "N")
OUTPUTS = (tensor("y", "N", 32, "h", "w"),)
SIZES = {"N": 3, "h": 10, "w": 12}


class Clock(nn.Module):
    """Sines of a number: an island, because a half knows angles of hundreds to a tenth only."""

    stays_float32 = True

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        return torch.sin(t[:, None] * torch.linspace(0.1, 1, 32))


class Mixture(nn.Module):
    """A convolution, norms, dense layers, attention with a mask."""

    float32_inputs = ("t",)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.clock = nn.Conv2d(8, 32, 3, padding=1), nn.GroupNorm(8, 32), Clock()
        self.dense, self.plain = nn.Linear(32, 32), nn.LayerNorm(32, elementwise_affine=False)
        self.register_buffer("mask", torch.linspace(-1, 0, 8).reshape(1, 8))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        y = functional.silu(self.norm(self.conv(x))) + self.clock(t)[:, :, None, None]
        n, c, h, w = y.shape
        tokens = self.plain(self.dense(y.flatten(2).transpose(1, 2)))
        q = tokens.reshape(n, h * w, 4, 8).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(q, q[:, :, :8], q[:, :, 8:16], self.mask)
        weights = torch.softmax(self.dense(tokens), dim=-1)
        return (mixed.transpose(1, 2).reshape(n, h * w, c) * weights).transpose(1, 2).reshape(n, c, h, w)


def mixture() -> Mixture:
    torch.manual_seed(0)
    return Mixture().eval()


def example(n: int, h: int, w: int) -> Mapping[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    return {
        "x": torch.randn(n, 8, h, w, generator=generator),
        "t": 900 + 99 * torch.rand(n, generator=generator),
    }


class Dial(nn.Module):
    """An island that holds a norm and a dense layer after it."""

    stays_float32 = True

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dense = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.norm(x))


class Plate(nn.Module):
    """A dial between two dense layers that compute in halves."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.dial, self.after = nn.Linear(8, 8), Dial(), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.dial(self.before(x)))


# 11 bits of inputs, weights and what goes from layer to layer; an island by itself loses nothing but float rounding
@pytest.mark.parametrize(("kind", "near", "stored"), [(Plate, 3e-3, torch.float16), (Dial, 1e-6, torch.float32)])
def test_an_island_with_a_norm_in_it_stays_float32_as_a_whole(
    kind: type[nn.Module], near: float, stored: torch.dtype, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    module, given = kind().eval(), {"x": torch.randn(3, 8)}
    halved = halve_module(module)
    for part in halved.modules():
        if isinstance(part, Dial):
            assert {value.dtype for value in part.parameters()} == {torch.float32}
            assert not part.norm._forward_hooks
    assert next(halved.parameters()).dtype == stored
    specs = (tensor("x", "N", 8),), (tensor("y", "N", 8),)
    export_module(module, given, *specs, tmp_path / "net.onnx", precision="fp16")
    record = describe_file("net", tmp_path / "net.onnx", specs)
    assert compare_with_torch(record, module, [given, {"x": torch.randn(5, 8)}])["relative_rms"] < near


# angles of a thousand have 24 bits less 10; 11 bits of weights; 11 bits of everything between the islands
@pytest.mark.parametrize(
    ("precision", "static", "near"), [("fp32", True, 1e-4), ("stored-halves", False, 1e-3), ("fp16", False, 3e-3)]
)
def test_every_precision_is_near_torch_whether_sizes_are_free_or_fixed(
    precision: Any, static: bool, near: float, tmp_path: Path
) -> None:
    path, specs = tmp_path / "net.onnx", (INPUTS, OUTPUTS)
    given = example(**{symbol.lower(): length for symbol, length in SIZES.items()})
    assert export_module(mixture(), given, *specs, path, precision=precision, static=static) == (path,)
    if static:
        specs = fix_specs(INPUTS, SIZES), fix_specs(OUTPUTS, SIZES)
        assert not {"Shape", "Size"} & set(count_nodes(onnx.load(path)))
    record = describe_file("net", path, specs)
    cases = [given] if static else [given, example(2, 7, 9)]
    assert compare_with_torch(record, mixture(), cases)["relative_rms"] < near


@pytest.mark.parametrize("precision", ["fp16", "stored-halves"])
def test_weights_in_a_file_of_their_own_are_the_same_weights(
    precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 0)
    path = tmp_path / "net.onnx"
    written = export_module(mixture(), example(3, 10, 12), INPUTS, OUTPUTS, path, precision=precision)
    assert written == (path, tmp_path / "net.onnx.data")
    assert sorted(tmp_path.iterdir()) == sorted(written)
    weights = onnx.load(path, load_external_data=False).graph.initializer
    outside = [weight for weight in weights if weight.external_data]
    assert {weight.data_type for weight in outside} == {TensorProto.FLOAT16}
    assert len(outside) == 2  # of the convolution and the dense layer
    errors = compare_with_torch(describe_file("net", path, (INPUTS, OUTPUTS)), mixture(), [example(2, 7, 9)])
    assert errors["relative_rms"] < 3e-3  # as above


def test_a_module_in_halves_shares_what_is_halved_already_and_leaves_the_original_alone() -> None:
    module = mixture()
    module.conv.half()
    halved = halve_module(module)
    assert halved.conv.weight.data_ptr() == module.conv.weight.data_ptr()
    assert halved.dense.weight.dtype == torch.float16
    assert halved.norm.weight.dtype == torch.float32
    assert module.dense.weight.dtype == torch.float32
    assert not module.norm._forward_hooks
    with torch.no_grad():
        assert halved(**example(2, 7, 9)).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "told"),
    [({"opset": 21}, "opset 21: expected one of 20, 23"), ({"static": True}, "no input says how long k is")],
)
def test_an_export_that_cannot_be_is_refused(options: Any, told: str, tmp_path: Path) -> None:
    outputs = (tensor("y", "N", 32, "k", "w"),)
    with pytest.raises(ExportError, match=told):
        export_module(mixture(), example(3, 10, 12), INPUTS, outputs, tmp_path / "net.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_an_output_of_another_shape_than_declared_is_refused(tmp_path: Path) -> None:
    outputs = (tensor("y", "N", 31, "h", "w"),)
    with pytest.raises(ExportError, match=r"y has shape .*32.*, expected \(N, 31, h, w\)"):
        export_module(mixture(), example(3, 10, 12), INPUTS, outputs, tmp_path / "net.onnx")


def _graph(*nodes: onnx.NodeProto, shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, kind, shape) for name in "xy"]
    weights = [numpy_helper.from_array(np.array([0, 4], np.int64), "target")]
    graph = helper.make_graph(list(nodes), "g", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_static_graph_that_asks_for_a_shape_or_has_a_free_size_is_refused() -> None:
    nodes = helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["x", "s"], ["y"])
    fixed, free = (tensor("x", 2, 4), tensor("y", 2, 4)), (tensor("x", "N", 4), tensor("y", "N", 4))
    check_graph(_graph(*nodes, shape=["N", 4]), free[:1], free[1:])
    with pytest.raises(ExportError, match="node Shape"):
        check_graph(_graph(*nodes, shape=[2, 4]), fixed[:1], fixed[1:], static=True)
    with pytest.raises(ExportError, match="x with free dimensions"):
        check_graph(_graph(helper.make_node("Relu", ["x"], ["y"]), shape=["N", 4]), free[:1], free[1:], static=True)


@pytest.mark.parametrize("node", ["Softmax", "LogSoftmax"])
def test_a_sum_in_halves_is_refused(node: str) -> None:
    specs = [tensor(name, 2, 4, dtype="float16") for name in "xy"]
    graph = _graph(helper.make_node(node, ["x"], ["y"]), shape=[2, 4], kind=TensorProto.FLOAT16)
    with pytest.raises(ExportError, match=f"{node} .*of float16, expected float32"):
        check_graph(graph, specs[:1], specs[1:])
