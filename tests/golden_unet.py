"""Runs the reference tensors of the video network and of its blocks."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from golden import Arrays, BuildBlock, Comparison, Meta, RunBlock, compare_outputs
from tgvc_export.dynamicrafter.attention import SpatialTransformer, TemporalTransformer
from tgvc_export.dynamicrafter.conditions import ContextNetwork, deal_context
from tgvc_export.dynamicrafter.unet import TEXT_TOKENS, UNet3D
from tgvc_export.dynamicrafter.unet_blocks import Downsample, ResBlock, TemporalConv, Upsample

_HEAD_WIDTH = 16  # of the blocks in the files, where their sentences do not say how many heads there are


def build_unet(config: dict[str, Any], weights: Arrays) -> UNet3D:
    """The network of a file's configuration, with all its weights."""
    with torch.device("meta"):
        unet = UNet3D(**config)
    return load(unet, weights)


def load(module: Any, weights: Arrays) -> Any:
    """Give a module, of the meta device or not, all its parameters."""
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, assign=True)
    return module.eval()


def run_unet(meta: Meta, arrays: Arrays, weights: Arrays) -> dict[str, Comparison]:
    given = {name[3:]: torch.from_numpy(value) for name, value in arrays.items() if name.startswith("in.")}
    with torch.no_grad():
        got = build_unet(meta["config"], weights)(**given)
    return compare_outputs(meta, arrays, {"y": got.numpy()})


def frames_first(x: Tensor) -> Tensor:
    """(B, C, T, h, w) to (B * T, C, h, w)."""
    return x.transpose(1, 2).flatten(0, 1)


def frames_third(x: Tensor, batch: int) -> Tensor:
    """(B * T, C, h, w) to (B, C, T, h, w)."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2)


def _number_after(sentence: str, word: str) -> int:
    return int(sentence.split(word)[1].split()[0].strip("=,()[]"))


def _runs(module: nn.Module) -> RunBlock:
    """How blocks are called whose inputs are their only argument."""

    def run(inputs: Arrays) -> Any:
        with torch.no_grad():
            return module(torch.from_numpy(inputs["x"])).numpy()

    return run


def _resblock(call: str, weights: Arrays) -> RunBlock:
    outputs, inputs = weights["in_layers.2.weight"].shape[:2]
    block = load(ResBlock(inputs, outputs, weights["emb_layers.1.weight"].shape[1]), weights)
    batch = _number_after(call, "batch_size")

    def run(inputs: Arrays) -> Any:
        x, embedding = torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["emb"])
        with torch.no_grad():
            return block(x, block.emb_layers(embedding), batch, len(x) // batch).numpy()

    return run


def _over_frames(block: nn.Module) -> RunBlock:
    def run(inputs: Arrays) -> Any:
        x = torch.from_numpy(inputs["x"])
        batch, frames = x.shape[0], x.shape[2]
        with torch.no_grad():
            return frames_third(block(frames_first(x), batch, frames), batch).numpy()

    return run


def _temporal_conv(call: str, weights: Arrays) -> RunBlock:
    return _over_frames(load(TemporalConv(len(weights["conv1.0.weight"])), weights))


def _temporal_transformer(call: str, weights: Arrays) -> RunBlock:
    projection = weights["proj_in.weight"]
    inner, channels = projection.shape[:2]
    stated = re.search(r"(\d+)\*\d+", call)
    heads = int(stated[1]) if stated else inner // _HEAD_WIDTH
    block = TemporalTransformer(channels, heads, inner // heads, dense=projection.ndim == 2)
    return _over_frames(load(block, weights))


def _spatial_transformer(call: str, weights: Arrays) -> RunBlock:
    channels, heads = len(weights["norm.weight"]), _number_after(call, "ch,")
    context = weights["transformer_blocks.0.attn2.to_k.weight"].shape[1]
    block = load(SpatialTransformer(channels, heads, channels // heads, context), weights)
    layers = [part.attn2 for part in block.transformer_blocks]

    def run(inputs: Arrays) -> Any:
        x, context = torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["context"])
        with torch.no_grad():
            told = ContextNetwork(layers)(context[:, :TEXT_TOKENS], context[:, None, TEXT_TOKENS:])
            return block(x, deal_context(*told, [layer.heads for layer in layers])).numpy()

    return run


def _downsample(call: str, weights: Arrays) -> RunBlock:
    return _runs(load(Downsample(len(weights["op.bias"])), weights))


def _upsample(call: str, weights: Arrays) -> RunBlock:
    return _runs(load(Upsample(len(weights["conv.bias"])), weights))


RUNNERS = {"dynamicrafter_unet": run_unet}
BLOCKS: dict[str, BuildBlock] = {
    "resblock": _resblock,
    "temporal_conv": _temporal_conv,
    "temporal_transformer": _temporal_transformer,
    "init_attn": _temporal_transformer,
    "spatial_transformer": _spatial_transformer,
    "downsample": _downsample,
    "upsample": _upsample,
}
