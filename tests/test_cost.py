"""What networks cost: the same FLOP as torch's counter, published totals at full width, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from cost_samples import meta, torch_flop  # noqa: E402
from tgvc.errors import BackendUnavailableError, BundleError  # noqa: E402
from tgvc.models import graph_cost  # noqa: E402
from tgvc.models.bundle import load_bundle  # noqa: E402
from tgvc.models.contract import CONTEXT, TIME, UNET, VAE_DECODER, VAE_ENCODER, contract_of  # noqa: E402
from tgvc.models.cost import Cost, Operation, join_costs  # noqa: E402
from tgvc.models.graph_cost import measure_graph, measure_net  # noqa: E402
from tgvc_bench.timed.module_cost import measure_module  # noqa: E402
from tgvc_export.dynamicrafter.bundle import build_hollow  # noqa: E402
from tgvc_export.dynamicrafter.published import PublishedSizes  # noqa: E402
from tgvc_export.dynamicrafter.unet import UNetConfig  # noqa: E402
from tgvc_export.graph_rules import fix_specs  # noqa: E402
from tgvc_export.nano import autoencoder, denoiser  # noqa: E402

LENGTHS = {"N": 3, "B": 2, "T": 5, "h": 6, "w": 10}


def nano_inputs(net: str, channels: int) -> dict[str, torch.Tensor]:
    n, b, t, h, w = (LENGTHS[symbol] for symbol in "NBThw")
    planes, latents = meta(n, 6, 4 * h, 4 * w), meta(n, channels, h, w)
    video = meta(b, channels, t, h, w)
    conditions = {"base": video, "keys": meta(b, 2 * channels, t, h, w), "hints": meta(b, 4, t, h, w)}
    return {
        "encoder": {"planes": planes},
        "denoiser": {"x": video, "t": meta(b), **conditions},
        "decoder": {"latents": latents, "planes": planes},
    }[net]


NANO = {"encoder": autoencoder.Encoder, "denoiser": denoiser.Denoiser, "decoder": autoencoder.Decoder}


@pytest.mark.parametrize("net", NANO)
def test_a_bundle_costs_the_flop_that_torch_counts_in_its_twin(net: str) -> None:
    bundle = load_bundle("nano")
    channels = bundle.constants.latent_channels
    with torch.device("meta"):
        module = NANO[net](channels)
    found = measure_net(bundle.nets[net], LENGTHS)
    inputs = nano_inputs(net, channels)
    assert found.flop == torch_flop(module, inputs) == measure_module(module, inputs).flop
    values = sum(value.numel() for value in module.parameters())
    assert values <= found.parameters <= values + 64  # constants of the graph are among them
    assert found.weight_bytes < 2.1 * values + 512  # stored as halves, but for some constants
    if net == "denoiser":  # what it computes of time again and again, products being nothing else in it
        whole = measure_net(bundle.nets[net], {"B": 1, "T": 16, "h": 40, "w": 64})
        assert whole.share("product") == pytest.approx(3.6e-6, rel=0.02)
    doubled = measure_net(bundle.nets[net], LENGTHS | {"h": 12})
    assert doubled.flop == pytest.approx(2 * found.flop, rel=1e-3)  # convolutions grow with the picture, time does not


SMALL: dict[str, Any] = {
    "model_channels": 32,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (1, 2),
    "num_head_channels": 8,
}


def unet_inputs(sizes: PublishedSizes, net: str, **lengths: int) -> dict[str, torch.Tensor]:
    inputs = fix_specs(contract_of(sizes.constants())[net][0], lengths)
    return {spec.name: meta(*map(int, spec.shape)) for spec in inputs}


def test_fused_attention_keeps_the_flop_and_drops_the_scores() -> None:
    sizes = replace(PublishedSizes(), unet=UNetConfig(**SMALL))
    module, inputs = build_hollow(sizes, UNET), unet_inputs(sizes, UNET, B=2, T=3, M=5, h=8, w=8)
    found = measure_module(module, inputs)
    assert found.flop == torch_flop(module, inputs)  # whose products of attention stand apart
    attention = [one for one in found.operations if one.kind == "attention"]
    assert len(attention) > 10
    for one in attention:
        q, k, v = one.shapes
        assert one.flop == 2 * prod(q[:-1]) * k[-2] * (q[-1] + v[-1])
        assert one.bytes == 4 * (prod(q) + prod(k) + prod(v) + prod(q[:-1]) * v[-1])
    assert found.scores_bytes == sum(4 * 4 * prod(one.shapes[0][:-1]) * one.shapes[1][-2] for one in attention)
    assert found.heavy_bytes < found.bytes - found.scores_bytes


# Source of the totals: counted once on the published code itself; parameters are those of the published checkpoint
@pytest.mark.parametrize(
    ("net", "gflop", "parameters", "rel"),
    [
        ("decode", 1563.5, 49_490_199, 1e-4),
        ("encode", 689.9, 34_163_664, 1e-4),
    ],
)
def test_published_networks_cost_what_was_counted_on_them(net: str, gflop: float, parameters: int, rel: float) -> None:
    sizes = PublishedSizes()
    name, inputs = {
        "decode": (VAE_DECODER, {"z": meta(1, 4, 40, 64)}),
        "encode": (VAE_ENCODER, {"picture": meta(1, 3, 320, 512)}),
    }[net]
    found = measure_module(build_hollow(sizes, name).half(), {n: value.half() for n, value in inputs.items()}, net)
    assert found.parameters == parameters
    assert found.flop == pytest.approx(gflop * 1e9, rel=rel)
    assert found.weight_bytes == 2 * parameters


def test_the_published_unet_costs_what_was_counted_on_it_less_what_is_made_ahead() -> None:
    sizes, found = PublishedSizes(), {}
    lengths = {"B": 1, "T": 16, "M": 16, "h": 40, "w": 64, "S": 1}
    for net in (TIME, CONTEXT, UNET):
        inputs = unet_inputs(sizes, net, **lengths)
        found[net] = measure_module(build_hollow(sizes, net).half(), {n: v.half() for n, v in inputs.items()}, net)
    assert sum(cost.parameters for cost in found.values()) == 1_438_854_980
    # the published code asks for keys and values of the text, and for shifts, once per frame
    frames, tokens, heads, width = 16, 77 + 16 * 16, 390, 64
    assert found[CONTEXT].flop == 2 * tokens * 1024 * heads * width
    shifts, embeddings = 2 * 1280 * 20160, 2 * 2 * (320 + 1280) * 1280
    assert found[TIME].flop == shifts + embeddings
    again = (frames - 1) * (2 * 77 * 1024 * heads * width + shifts)
    whole = sum(cost.flop for cost in found.values()) + again
    assert whole == pytest.approx(12_602.8e9, rel=1e-5)
    unet = found[UNET]
    heavy = [sum(one.kind == kind for one in unet.heavy) for kind in ("convolution", "product", "attention")]
    assert heavy == [154, 364, 82]
    assert unet.share("attention") == pytest.approx(0.066, abs=5e-4)
    # the floor of one H100 with ceilings of 798 TFLOP/s and 3.0 TB/s; 17.6 ms with all that is made ahead
    assert unet.roofline(798e12, 3.0e12) == pytest.approx(17.42e-3, rel=1e-3)
    assert unet.roofline(798e12, 3.0e12, fused=False) > 0.03


def test_values_that_are_somewhere_are_refused() -> None:
    with pytest.raises(ValueError, match="weight: on cpu, expected on meta"):
        measure_module(torch.nn.Linear(2, 2), {})


# ---------------------------------------------------------------- graphs made by hand


def write_graph(
    path: Path, nodes: list[Any], inputs: Mapping[str, list[Any]], weights: Mapping[str, Any], opset: int = 20
) -> Path:
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    made = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "graph", given, made, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), path)
    return path


def attention_nodes() -> list[Any]:
    node = helper.make_node
    return [
        node("Mul", ["q", "scale"], ["scaled"]),
        node("MatMul", ["scaled", "k"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("MatMul", ["weights", "v"], ["out"]),
    ]


def test_products_around_a_softmax_are_one_attention(tmp_path: Path) -> None:
    shapes = {"q": (2, 3, 7, 4), "k": (2, 3, 4, 9), "v": (2, 3, 9, 5)}
    path = write_graph(
        tmp_path / "a.onnx",
        attention_nodes(),
        {n: ["B", 3, *s[2:]] for n, s in shapes.items()},
        {"scale": np.float32(0.5)},
    )
    found = measure_graph(path, shapes)
    flop = 2 * 2 * 3 * 7 * 9 * (4 + 5)
    values = 2 * 3 * (7 * 4 + 4 * 9 + 9 * 5 + 7 * 5)
    assert [(one.kind, one.flop, one.bytes) for one in found.heavy] == [("attention", flop, 4 * values)]
    assert found.scores_bytes == 4 * 4 * 2 * 3 * 7 * 9  # written, read, written, read
    assert found.bytes == 4 * values + found.scores_bytes + 2 * 4 * 2 * 3 * 7 * 4 + 4  # and the scaling of q
    whole = write_graph(
        tmp_path / "b.onnx",
        [helper.make_node("Attention", ["q", "kt", "v"], ["out"])],
        {"q": [2, 3, 7, 4], "kt": [2, 3, 9, 4], "v": [2, 3, 9, 5]},
        {},
        opset=23,
    )
    fused = measure_graph(whole, {"q": (2, 3, 7, 4), "kt": (2, 3, 9, 4), "v": (2, 3, 9, 5)})
    assert (fused.flop, fused.heavy_bytes) == (found.flop, found.heavy_bytes)


def test_sizes_that_a_graph_computes_are_followed(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Split", ["shape"], ["n", "c", "h", "w"], num_outputs=4),
        node("Mul", ["h", "w"], ["cells"]),
        node("Concat", ["n", "c", "cells"], ["wanted"], axis=0),
        node("Reshape", ["x", "wanted"], ["flat"]),
        node("Cast", ["halves"], ["matrix"], to=TensorProto.FLOAT),
        node("MatMul", ["matrix", "flat"], ["out"]),
    ]
    weights = {"halves": np.zeros((8, 6), np.float16)}
    found = measure_graph(
        write_graph(tmp_path / "s.onnx", nodes, {"x": ["N", 6, "h", "w"]}, weights), {"x": (3, 6, 4, 5)}
    )
    assert [(one.operator, one.flop) for one in found.operations] == [("MatMul", 2 * 3 * 8 * 6 * 20)]
    assert (found.parameters, found.weight_bytes) == (48, 96)
    assert found.bytes == 4 * (8 * 6 + 3 * 6 * 20 + 3 * 8 * 20)


def test_convolutions_of_all_kinds_are_counted(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["y"], group=2, strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["y", "b"], ["z"], strides=[2, 2]),
        helper.make_node("Flatten", ["z"], ["flat"]),
        helper.make_node("Gemm", ["flat", "c"], ["out"], transB=1),
    ]
    weights = {"a": np.zeros((6, 2, 3, 3), np.float32), "b": np.zeros((6, 5, 2, 2), np.float32)}
    weights["c"] = np.zeros((7, 5 * 8 * 8), np.float32)
    found = measure_graph(write_graph(tmp_path / "c.onnx", nodes, {"x": [1, 4, 8, 8]}, weights), {"x": (1, 4, 8, 8)})
    x, weight = torch.zeros(1, 4, 8, 8), {name: torch.from_numpy(value) for name, value in weights.items()}
    with FlopCounterMode(display=False) as counter:
        y = torch.nn.functional.conv2d(x, weight["a"], stride=2, padding=1, groups=2)
        z = torch.nn.functional.conv_transpose2d(y, weight["b"], stride=2)
        torch.nn.functional.linear(z.flatten(1), weight["c"])
    assert found.flop == counter.get_total_flops()


def test_what_cannot_be_told_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle("nano")
    with pytest.raises(BundleError, match="denoiser: no length for T"):
        measure_net(bundle.nets["denoiser"], {"B": 1})
    path = write_graph(
        tmp_path / "e.onnx", [helper.make_node("Einsum", ["x", "x"], ["out"], equation="ij,jk->ik")], {"x": [2, 2]}, {}
    )
    with pytest.raises(BundleError, match="Einsum : how much it computes is not known"):
        measure_graph(path, {"x": (2, 2)})
    with pytest.raises(BundleError, match="no shape for the input x"):
        measure_graph(path, {})
    path.write_bytes(b"no network")
    with pytest.raises(BundleError, match=r"e\.onnx: its cost cannot be told"):
        measure_graph(path, {})
    monkeypatch.setattr(graph_cost, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(BackendUnavailableError, match=r"onnx is not installed: pip install 'tgvc\[export\]'"):
        measure_graph(path, {})


def test_costs_of_several_runs_are_added_and_bounded_by_the_slower_of_two_ceilings() -> None:
    product = Operation("product", "MatMul", ((2, 3), (3, 4)), 48, 104)
    other = Operation("other", "Add", ((2, 4),), 0, 64)
    one = Cost("one", (product, other), 12, 48, scores_bytes=10)
    both = join_costs("both", [(one, 2), (Cost("two", (product,), 5, 20), 1)])
    assert (both.flop, both.bytes, both.parameters, both.weight_bytes) == (3 * 48, 2 * 178 + 104, 17, 68)
    assert one.roofline(48, 1e9) == pytest.approx(1.0)  # arithmetic
    assert one.roofline(1e9, 104) == pytest.approx(1.0)  # bytes
    assert one.roofline(1e9, 2, fused=False) == pytest.approx((104 + 64 + 10) / 2)
    assert both.largest(1) == [(product, 3)]
