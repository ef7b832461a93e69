"""LPIPS and DISTS: distances of two pictures in the features of AlexNet or VGG16.

Pictures are float32 (N, 3, H, W), RGB in 0..1. Nothing is resized: the networks see the pixels that the codec made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tgvc.errors import BundleError
from tgvc_bench.neural.weights import import_torch, pick

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, per channel
_LPIPS_EPS, _POOL_EPS, _DISTS_EPS = 1e-10, 1e-12, 1e-6
_SMALLEST_PX = 16  # a side that VGG16's four halvings leave something of


@dataclass(frozen=True)
class _Layer:
    """A convolution followed by a ReLU.

    ``number`` in the published file; ``pooled``: pooling comes before it; ``feature``: its output is one.
    """

    number: int
    channels: tuple[int, int]
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pooled: bool = False
    feature: bool = False


ALEXNET = (
    _Layer(0, (3, 64), 11, 4, 2, feature=True),
    _Layer(3, (64, 192), 5, 1, 2, pooled=True, feature=True),
    _Layer(6, (192, 384), pooled=True, feature=True),
    _Layer(8, (384, 256), feature=True),
    _Layer(10, (256, 256), feature=True),
)
VGG16 = (
    _Layer(0, (3, 64)),
    _Layer(2, (64, 64), feature=True),
    _Layer(5, (64, 128), pooled=True),
    _Layer(7, (128, 128), feature=True),
    _Layer(10, (128, 256), pooled=True),
    _Layer(12, (256, 256)),
    _Layer(14, (256, 256), feature=True),
    _Layer(17, (256, 512), pooled=True),
    _Layer(19, (512, 512)),
    _Layer(21, (512, 512), feature=True),
    _Layer(24, (512, 512), pooled=True),
    _Layer(26, (512, 512)),
    _Layer(28, (512, 512), feature=True),
)


class Trunk:
    """The convolutions of AlexNet or VGG16.

    Args:
        tensors: ``features.N.weight`` and ``features.N.bias``, as torchvision publishes them.
        layers: `ALEXNET` or `VGG16`.
        kind: of the file, for errors.
        smooth: pool by the root of smoothed squares, as DISTS does, in place of the largest of two or three.

    Raises:
        BundleError: a tensor is missing or has another shape.
    """

    def __init__(self, tensors: Mapping[str, Any], layers: tuple[_Layer, ...], kind: str, smooth: bool = False) -> None:
        torch = import_torch()
        self._layers, self._smooth = layers, smooth
        self._weights = [
            (
                pick(tensors, f"features.{c.number}.weight", (c.channels[1], c.channels[0], c.kernel, c.kernel), kind),
                pick(tensors, f"features.{c.number}.bias", (c.channels[1],), kind),
            )
            for c in layers
        ]
        self._mean, self._deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (_MEAN, _DEVIATION))
        self._window = 3 if layers is ALEXNET else 2
        self.channels = [c.channels[1] for c in layers if c.feature]

    def features(self, pictures: Any) -> list[Any]:
        """Five feature maps (N, C, h, w) of pictures (N, 3, H, W)."""
        import torch.nn.functional as nn

        x, found = (pictures - self._mean) / self._deviation, []
        for layer, (weight, bias) in zip(self._layers, self._weights, strict=True):
            if layer.pooled:
                x = _smooth_pool(x) if self._smooth else nn.max_pool2d(x, self._window, 2)
            x = nn.relu(nn.conv2d(x, weight, bias, layer.stride, layer.padding))
            if layer.feature:
                found.append(x)
        return found


class Lpips:
    """Learned perceptual image patch similarity, version 0.1.

    Args:
        trunk: AlexNet or VGG16.
        heads: ``lin0.model.1.weight`` (1, C, 1, 1) and so on, or a list of five such tensors.
        kind: of the file of heads, for errors.

    Raises:
        BundleError: a head is missing or has another shape.

    Source: Zhang et al. 2018; normalised features, squared differences, learned weights per channel, mean over places,
    sum over layers.
    """

    def __init__(self, trunk: Trunk, heads: Any, kind: str) -> None:
        self._trunk = trunk
        if isinstance(heads, list | tuple):
            heads = {f"lin{n}.model.1.weight": tensor for n, tensor in enumerate(heads)}
        self._heads = [pick(heads, f"lin{n}.model.1.weight", (1, c, 1, 1), kind) for n, c in enumerate(trunk.channels)]

    def describe(self, pictures: Any) -> list[Any]:
        """Normalised features of pictures (N, 3, H, W), for `between`."""
        found = self._trunk.features(pictures)
        return [f / (f.square().sum(1, keepdim=True).sqrt() + _LPIPS_EPS) for f in found]

    def between(self, reference: list[Any], test: list[Any]) -> Any:
        """Distances (N,) of what `describe` gave of N pictures each; 0 = equal."""
        parts = [
            ((a - b).square() * w).sum(1).mean((1, 2)) for a, b, w in zip(reference, test, self._heads, strict=True)
        ]
        return sum(parts)


class Dists:
    """Deep image structure and texture similarity.

    Args:
        trunk: VGG16 with smooth pooling.
        weights: ``alpha`` and ``beta``, each (1, 1475, 1, 1): of means and of covariances, per channel.

    Raises:
        BundleError: they are missing or have another shape.

    Source: Ding et al. 2020.
    """

    def __init__(self, trunk: Trunk, weights: Mapping[str, Any]) -> None:
        sizes = [3, *trunk.channels]
        alpha, beta = (pick(weights, name, (1, sum(sizes), 1, 1), "dists") for name in ("alpha", "beta"))
        total = alpha.sum() + beta.sum()
        if not float(total) > 0:
            raise BundleError(f"dists: the weights sum to {float(total):g}, expected above 0")
        self._trunk = trunk
        self._alpha, self._beta = ((w / total).split(sizes, dim=1) for w in (alpha, beta))

    def describe(self, pictures: Any) -> list[Any]:
        """The pictures themselves and their features, for `between`."""
        return [pictures, *self._trunk.features(pictures)]

    def between(self, reference: list[Any], test: list[Any]) -> Any:
        """Distances (N,) of what `describe` gave of N pictures each; 0 = equal."""
        similarity = 0.0
        for a, b, alpha, beta in zip(reference, test, self._alpha, self._beta, strict=True):
            mean_a, mean_b = a.mean((2, 3), keepdim=True), b.mean((2, 3), keepdim=True)
            spread = (a - mean_a).square().mean((2, 3), keepdim=True) + (b - mean_b).square().mean((2, 3), keepdim=True)
            shared = (a * b).mean((2, 3), keepdim=True) - mean_a * mean_b
            luminance = (2 * mean_a * mean_b + _DISTS_EPS) / (mean_a.square() + mean_b.square() + _DISTS_EPS)
            structure = (2 * shared + _DISTS_EPS) / (spread + _DISTS_EPS)
            similarity = similarity + (alpha * luminance + beta * structure).sum((1, 2, 3))
        return 1 - similarity


def _smooth_pool(x: Any) -> Any:
    """Root of the smoothed squares, every second place: Hann window of 3 x 3."""
    torch = import_torch()
    window = torch.tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(window, window).expand(x.shape[1], 1, 3, 3)
    squares = torch.nn.functional.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1])
    return (squares + _POOL_EPS).sqrt()
