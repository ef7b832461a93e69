"""The published video network: names, conditions, refusals, exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from published_samples import (  # noqa: E402
    CONSTANTS,
    CONTRACT,
    compare_with_torch,
    own_shapes,
    published_shapes,
    random_weights,
)
from tgvc.backends.spec import NetRecord, bind_shapes  # noqa: E402
from tgvc.models.graph_cost import measure_net  # noqa: E402
from tgvc_export.check import describe_file  # noqa: E402
from tgvc_export.dynamicrafter.unet import UNet3D, UNetConfig, UNetGraph, split_context  # noqa: E402
from tgvc_export.graph_rules import count_nodes, fix_specs  # noqa: E402
from tgvc_export.onnx_file import export_module  # noqa: E402

# Every kind of layer once or twice: transformers at the start and in the middle, a change of size each way, blocks that
# change width or not; tracing takes time with every layer
SMALL: dict[str, Any] = {
    "model_channels": 32,
    "channel_mult": (1, 2),
    "num_res_blocks": 0,
    "attention_resolutions": (),
    "num_head_channels": 8,
    "context_dim": 24,
}
ATTENTIONS = 3 + 2 * 2  # of a spatial transformer, which asks three times, and of two temporal ones
SIZES = {"B": 2, "T": 3, "M": 5, "h": 4, "w": 10, "S": 7}


NETS = {
    "time": lambda unet: unet.time_network(),
    "context": lambda unet: unet.context_network(),
    "unet": UNetGraph,
}


def small_unet() -> UNet3D:
    torch.manual_seed(4)
    module = random_weights(UNet3D(**SMALL))
    assert isinstance(module, UNet3D)
    return module


def small_net(net: str) -> torch.nn.Module:
    """One of the networks that it is made into."""
    return NETS[net](small_unet()).eval()


def example(net: str = "unet", **lengths: int) -> Mapping[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths.values()))
    b, t, m, h, w, s = (lengths.get(symbol, 7) for symbol in "BTMhwS")
    heads, width = CONSTANTS.heads, CONSTANTS.head_width
    if net == "time":
        return {
            "t": torch.randint(0, 1000, (s,), generator=generator).float(),
            "fs": torch.randint(1, 31, (s,), generator=generator).float(),
        }
    if net == "context":
        return {
            "text": torch.randn(b, 77, CONSTANTS.context, generator=generator),
            "image": torch.randn(b, t, m, CONSTANTS.context, generator=generator),
        }
    return {
        "x": torch.randn(b, 8, t, h, w, generator=generator),
        "shifts": torch.randn(b, CONSTANTS.shifts, generator=generator),
        "text_kv": torch.randn(b, heads, 77, width, generator=generator),
        "image_kv": torch.randn(b, t, heads, m, width, generator=generator),
    }


def export_net(folder: Path, net: str = "unet", module: Any = None, **options: Any) -> NetRecord:
    given, (inputs, outputs) = example(net, **SIZES), CONTRACT[net]
    path = folder / f"{net}.onnx"
    export_module(module or small_net(net), given, inputs, outputs, path, **options)
    if options.get("static"):
        lengths = bind_shapes(inputs, {name: tuple(value.shape) for name, value in given.items()})
        inputs, outputs = fix_specs(inputs, lengths), fix_specs(outputs, lengths)
    return describe_file(net, path, (inputs, outputs))


def counted_flop(net: str, **lengths: int) -> int:
    """What torch's own counter says of a network."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        small_net(net).to("meta")(**{name: value.to("meta") for name, value in example(net, **lengths).items()})
    return int(counter.get_total_flops())


def engine_size(record: NetRecord) -> int:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install 'tgvc[tensorrt-rtx]'")
    from tgvc_export.trt import CAPABILITIES, build_engine

    profile = {"B": (1, 2, 2), "T": (2, 3, 16), "M": (5, 5, 16), "h": (4, 4, 8), "w": (4, 10, 16), "S": (1, 7, 50)}
    return len(build_engine(record, CAPABILITIES, profile))


def test_names_and_shapes_of_the_video_network_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        module = UNet3D()
    assert own_shapes(module) == published_shapes("dynamicrafter_unet")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"use_relative_position": True}, "use_relative_position=True: expected False"),
        ({"num_heads": 8}, "unknown options num_heads"),
        ({"model_channels": 40}, "level 0 has 40 channels"),
    ],
)
def test_options_of_another_video_network_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        UNetConfig.from_options(options)


def test_every_frame_has_its_own_picture_tokens_only_where_there_are_sixteen_for_each() -> None:
    context = torch.arange(2 * (77 + 32) * 3.0).reshape(2, 77 + 32, 3)
    text, own = split_context(context, 2)
    assert torch.equal(text, context[:, :77])
    assert torch.equal(own[:, 1], context[:, 77 + 16 :])
    _, shared = split_context(context, 3)
    assert shared.shape == (2, 3, 32, 3)
    assert torch.equal(shared[:, 0], shared[:, 2])


def test_no_frame_rate_is_the_default_one() -> None:
    unet = small_unet()
    x, told = example(**SIZES)["x"], example("context", **SIZES)
    context, steps = torch.cat([told["text"], told["image"][:, 0]], dim=1), torch.tensor([10, 900])
    with torch.no_grad():
        default = unet(x, steps, context)
        assert torch.equal(default, unet(x, steps, context, torch.tensor([24, 24])))
        assert not torch.allclose(default, unet(x, steps, context, torch.tensor([5, 5])), atol=1e-4)


def test_every_weight_of_the_published_network_is_in_one_of_its_three_parts() -> None:
    with torch.device("meta"):
        unet = UNet3D()
    whole = {id(value) for value in unet.parameters()}
    parts = [{id(value) for value in make(unet).parameters()} for make in NETS.values()]
    assert set.union(*parts) == whole
    assert sum(map(len, parts)) == len(whole)


def test_the_three_parts_one_after_the_other_are_the_network_as_published() -> None:
    unet = small_unet()
    told, steps, rates = example("context", **SIZES), torch.tensor([10.0, 900.0]), torch.tensor([3.0, 24.0])
    x = example(**SIZES)["x"]
    with torch.no_grad():
        want = unet(x, steps, torch.cat([told["text"], told["image"][:, 0]], dim=1), rates)
        assert not torch.allclose(want[0], want[1], atol=1e-2)
        time, context, rest = (make(unet).eval() for make in NETS.values())
        # a step alone has the shifts of a step among others, but for the order of sums
        shifts = torch.cat([time(steps[n : n + 1], rates[n : n + 1]) for n in range(2)])
        image = told["image"][:, :1].expand_as(told["image"])
        found = rest(x, shifts, *context(told["text"], image))
    assert float((found - want).abs().max()) < 1e-5  # sums of a few hundred numbers near 1 in float32


@pytest.mark.parametrize("net", ["time", "context"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_the_network_is_told_takes_every_size_after_one_export_and_builds_for_gpus(
    net: str, precision: Any, tmp_path: Path
) -> None:
    record = export_net(tmp_path, net, precision=precision)
    others = {"B": 1, "T": 5, "M": 3, "S": 1}, {"B": 3, "T": 2, "M": 16, "S": 50}
    # halves: 11 bits, three roundings one after the other; angles of up to 1000 would be off by a quarter in halves
    tolerance = 1e-5 if precision == "fp32" else 2e-3
    examples = [example(net, **sizes) for sizes in (SIZES, *others)]
    assert compare_with_torch(record, small_net(net), examples)["relative_rms"] < tolerance
    assert measure_net(record, SIZES).flop == counted_flop(net, **SIZES) > 0
    assert engine_size(record) > 10_000


def test_the_network_takes_every_size_after_one_export_and_builds_for_gpus(tmp_path: Path) -> None:
    record = export_net(tmp_path, precision="fp32")
    others = {"B": 1, "T": 5, "M": 3, "h": 8, "w": 4}, {"B": 3, "T": 2, "M": 16, "h": 6, "w": 4}
    errors = compare_with_torch(record, small_net("unet"), [example(**sizes) for sizes in (SIZES, *others)])
    assert errors["max_abs"] < 1e-4  # the tolerance of the reference tensors
    assert measure_net(record, SIZES).flop == counted_flop("unet", **SIZES)
    assert engine_size(record) > 100_000


def test_the_network_of_one_size_in_halves_asks_for_no_shape_and_builds_for_gpus(tmp_path: Path) -> None:
    record = export_net(tmp_path, precision="fp16", static=True)
    # 11 bits of a half, some 50 roundings one after the other; with norms in halves it would be ten times that
    assert compare_with_torch(record, small_net("unet"), [example(**SIZES)])["relative_rms"] < 1e-2
    nodes = count_nodes(onnx.load(record.path))
    assert not {"Shape", "If", "Loop", "Attention", "Sin"} & set(nodes)
    assert nodes["Softmax"] == ATTENTIONS
    assert engine_size(record) > 100_000


def test_at_opset_23_every_attention_is_one_node(tmp_path: Path) -> None:
    record = export_net(tmp_path, precision="fp16", static=True, opset=23)
    nodes = count_nodes(onnx.load(record.path))
    assert nodes["Attention"] == ATTENTIONS
    assert "Softmax" not in nodes
    assert compare_with_torch(record, small_net("unet"), [example(**SIZES)])["relative_rms"] < 1e-2  # as above
