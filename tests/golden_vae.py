"""Reference tensors of the autoencoder and of the image projection; see `golden`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from golden import Arrays, BuildBlock, Comparison, Meta, RunBlock, compare_outputs
from tgvc_export.dynamicrafter.autoencoder import (
    LATENT_SCALE,
    Attention,
    Autoencoder,
    AutoencoderConfig,
    Downsample,
    Residual,
    sample_moments,
)
from tgvc_export.dynamicrafter.resampler import PerceiverAttention, Resampler, ResamplerConfig


def filled(module: nn.Module, weights: Arrays) -> nn.Module:
    """A module with all of its parameters replaced by those given, which have to be the same ones."""
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=True)
    return module.eval()


def _run_autoencoder(meta: Meta, arrays: Arrays, weights: Arrays) -> dict[str, Comparison]:
    assert meta["scale_factor"] == LATENT_SCALE
    autoencoder = Autoencoder(AutoencoderConfig.from_options(meta["config"]))
    filled(autoencoder, weights)
    taps: dict[str, Tensor] = {}
    modules = dict(autoencoder.named_modules())
    for name in (key.removeprefix("tap.") for key in arrays if key.removeprefix("tap.") in modules):
        modules[name].register_forward_hook(lambda _, __, output, name=name: taps.__setitem__(name, output))
    with torch.no_grad():
        moments = autoencoder.encode(torch.from_numpy(arrays["in.image"]))
        sample = sample_moments(moments, torch.from_numpy(arrays["in.noise"]))
        picture = autoencoder.decode(torch.from_numpy(arrays["in.z"]))
    mean, logvar = moments.chunk(2, dim=1)
    found = {"mean": mean, "logvar": logvar, "sample": sample, "latent": LATENT_SCALE * sample, "dec": picture}
    result = compare_outputs(meta, arrays, {name: value.numpy() for name, value in found.items()})
    for name, value in taps.items():
        want = arrays[f"tap.{name}"]
        near = {f"out.{name}": want}
        result[f"tap.{name}"] = compare_outputs(meta, near, {name: value[: len(want)].numpy()})[name]
    return result


def _run_resampler(meta: Meta, arrays: Arrays, weights: Arrays) -> dict[str, Comparison]:
    resampler = filled(Resampler(ResamplerConfig.from_options(meta["config"])), weights)
    with torch.no_grad():
        return compare_outputs(meta, arrays, {"y": resampler(torch.from_numpy(arrays["in.x"])).numpy()})


def _runner(module: nn.Module) -> RunBlock:
    def run(inputs: Arrays) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            return module(**{name: torch.from_numpy(value) for name, value in inputs.items()}).numpy()

    return run


def _build_residual(_: str, weights: Arrays) -> RunBlock:
    outputs, inputs = weights["conv1.weight"].shape[:2]
    return _runner(filled(Residual(inputs, outputs), weights))


def _build_attention(_: str, weights: Arrays) -> RunBlock:
    return _runner(filled(Attention(len(weights["q.bias"])), weights))


def _build_downsample(_: str, weights: Arrays) -> RunBlock:
    return _runner(filled(Downsample(len(weights["conv.bias"])), weights))


def _build_perceiver(call: str, weights: Arrays) -> RunBlock:
    heads = int(call.partition(" heads")[0].rpartition(" ")[2])
    inner, dim = weights["to_q.weight"].shape
    return _runner(filled(PerceiverAttention(dim, heads, inner // heads), weights))


RUNNERS = {"autoencoder_kl": _run_autoencoder, "resampler": _run_resampler}
BLOCKS: dict[str, BuildBlock] = {
    "vae_resnet": _build_residual,
    "vae_attn": _build_attention,
    "vae_down": _build_downsample,
    "perceiver": _build_perceiver,
}
