"""Random weights in the layouts of published files, the same on every machine, and pictures to try them on."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="metrics with weights need torch (extra `perceptual`)")

from tgvc_bench.neural.inception import list_convolutions  # noqa: E402
from tgvc_bench.neural.perceptual import ALEXNET, VGG16  # noqa: E402

CHANNELS = {"vgg16": (64, 128, 256, 512, 512), "alexnet": (64, 192, 384, 256, 256)}


def _normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Any:
    return torch.from_numpy((rng.standard_normal(shape) * scale).astype(np.float32))


@cache
def random_trunk(name: str) -> dict[str, Any]:
    """Weights of AlexNet or VGG16 under torchvision's names; the spread keeps activations of one size."""
    rng, tensors = np.random.default_rng(5), {}
    for layer in {"vgg16": VGG16, "alexnet": ALEXNET}[name]:
        cin, cout = layer.channels
        spread = (2 / (cin * layer.kernel**2)) ** 0.5
        tensors[f"features.{layer.number}.weight"] = _normal(rng, cout, cin, layer.kernel, layer.kernel, scale=spread)
        tensors[f"features.{layer.number}.bias"] = _normal(rng, cout, scale=0.05)
    return tensors


def random_heads(name: str) -> dict[str, Any]:
    """Heads of LPIPS under the names of its authors."""
    rng = np.random.default_rng(6)
    return {f"lin{n}.model.1.weight": _normal(rng, 1, c, 1, 1).abs() for n, c in enumerate(CHANNELS[name])}


def random_dists() -> dict[str, Any]:
    """Weights of DISTS that sum to 1, under the names of its authors."""
    rng, count = np.random.default_rng(7), 3 + sum(CHANNELS["vgg16"])
    alpha, beta = (torch.from_numpy(rng.random((1, count, 1, 1)).astype(np.float32)) for _ in range(2))
    total = alpha.sum() + beta.sum()
    return {"alpha": alpha / total, "beta": beta / total}


@cache
def random_inception() -> dict[str, Any]:
    """Weights of the Inception network under the names of its published port."""
    rng, tensors = np.random.default_rng(8), {}
    for name, (cin, cout, kernel, _, _) in list_convolutions().items():
        spread = (2 / (cin * kernel[0] * kernel[1])) ** 0.5
        tensors[f"{name}.conv.weight"] = _normal(rng, cout, cin, *kernel, scale=spread)
        tensors[f"{name}.bn.weight"] = 1 + _normal(rng, cout, scale=0.1)
        tensors[f"{name}.bn.bias"] = _normal(rng, cout, scale=0.1)
        tensors[f"{name}.bn.running_mean"] = _normal(rng, cout, scale=0.1)
        tensors[f"{name}.bn.running_var"] = torch.from_numpy((0.5 + rng.random(cout)).astype(np.float32))
    return tensors


def random_pictures(count: int = 2, height: int = 64, width: int = 80) -> tuple[Any, Any]:
    """Smooth coloured pictures and disturbed copies, float32 (N, 3, H, W) in 0..1."""
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (3 + n) + n) * np.cos(y / (5 + 2 * n)) for n in range(3 * count)]
    a = 0.5 + 0.4 * np.stack(waves).reshape(count, 3, height, width)
    b = np.clip(0.9 * a + 0.05 + 0.05 * rng.standard_normal(a.shape), 0, 1)
    return torch.from_numpy(a.astype(np.float32)), torch.from_numpy(b.astype(np.float32))
