"""Features of Inception-v3 as FID and KID take them: the network of 2015 with TensorFlow's poolings.

Names are those of the published port of its weights, so that its file loads as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tgvc_bench.neural.weights import import_torch, pick

SIDE = 299  # px to which pictures are stretched
FEATURES = 2048
_BN_EPS = 1e-3

# name -> channels in and out, kernel (height, width), stride, padding (height, width)
_Spec = tuple[int, int, tuple[int, int], int, tuple[int, int]]


def _square(cin: int, cout: int, kernel: int, stride: int = 1, padding: int = 0) -> _Spec:
    return cin, cout, (kernel, kernel), stride, (padding, padding)


def _across(cin: int, cout: int, length: int) -> _Spec:
    return cin, cout, (1, length), 1, (0, length // 2)


def _down(cin: int, cout: int, length: int) -> _Spec:
    return cin, cout, (length, 1), 1, (length // 2, 0)


def _block_a(cin: int, pool: int) -> dict[str, _Spec]:
    return {
        "branch1x1": _square(cin, 64, 1),
        "branch5x5_1": _square(cin, 48, 1),
        "branch5x5_2": _square(48, 64, 5, padding=2),
        "branch3x3dbl_1": _square(cin, 64, 1),
        "branch3x3dbl_2": _square(64, 96, 3, padding=1),
        "branch3x3dbl_3": _square(96, 96, 3, padding=1),
        "branch_pool": _square(cin, pool, 1),
    }


def _block_c(wide: int) -> dict[str, _Spec]:
    return {
        "branch1x1": _square(768, 192, 1),
        "branch7x7_1": _square(768, wide, 1),
        "branch7x7_2": _across(wide, wide, 7),
        "branch7x7_3": _down(wide, 192, 7),
        "branch7x7dbl_1": _square(768, wide, 1),
        "branch7x7dbl_2": _down(wide, wide, 7),
        "branch7x7dbl_3": _across(wide, wide, 7),
        "branch7x7dbl_4": _down(wide, wide, 7),
        "branch7x7dbl_5": _across(wide, 192, 7),
        "branch_pool": _square(768, 192, 1),
    }


def _block_e(cin: int) -> dict[str, _Spec]:
    return {
        "branch1x1": _square(cin, 320, 1),
        "branch3x3_1": _square(cin, 384, 1),
        "branch3x3_2a": _across(384, 384, 3),
        "branch3x3_2b": _down(384, 384, 3),
        "branch3x3dbl_1": _square(cin, 448, 1),
        "branch3x3dbl_2": _square(448, 384, 3, padding=1),
        "branch3x3dbl_3a": _across(384, 384, 3),
        "branch3x3dbl_3b": _down(384, 384, 3),
        "branch_pool": _square(cin, 192, 1),
    }


_BLOCKS: dict[str, dict[str, _Spec]] = {
    "": {
        "Conv2d_1a_3x3": _square(3, 32, 3, 2),
        "Conv2d_2a_3x3": _square(32, 32, 3),
        "Conv2d_2b_3x3": _square(32, 64, 3, padding=1),
        "Conv2d_3b_1x1": _square(64, 80, 1),
        "Conv2d_4a_3x3": _square(80, 192, 3),
    },
    "Mixed_5b": _block_a(192, 32),
    "Mixed_5c": _block_a(256, 64),
    "Mixed_5d": _block_a(288, 64),
    "Mixed_6a": {
        "branch3x3": _square(288, 384, 3, 2),
        "branch3x3dbl_1": _square(288, 64, 1),
        "branch3x3dbl_2": _square(64, 96, 3, padding=1),
        "branch3x3dbl_3": _square(96, 96, 3, 2),
    },
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": {
        "branch3x3_1": _square(768, 192, 1),
        "branch3x3_2": _square(192, 320, 3, 2),
        "branch7x7x3_1": _square(768, 192, 1),
        "branch7x7x3_2": _across(192, 192, 7),
        "branch7x7x3_3": _down(192, 192, 7),
        "branch7x7x3_4": _square(192, 192, 3, 2),
    },
    "Mixed_7b": _block_e(1280),
    "Mixed_7c": _block_e(2048),
}


def list_convolutions() -> dict[str, _Spec]:
    """Every convolution by its name in the file."""
    return {f"{block}.{name}".lstrip("."): spec for block, specs in _BLOCKS.items() for name, spec in specs.items()}


class Inception:
    """The network up to its last pooling.

    Args:
        tensors: of each convolution ``NAME.conv.weight`` and ``NAME.bn.{weight,bias,running_mean,running_var}``; what
            else the file holds (the classifier) is not used.

    Raises:
        BundleError: a tensor is missing or has another shape.

    Source: Szegedy et al. 2015; average pooling without padded zeros and one maximum pooling as in the network that FID
    was defined with (Heusel et al. 2017).
    """

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._layers = {}
        for name, spec in list_convolutions().items():
            cin, cout, kernel, _, _ = spec
            weight = pick(tensors, f"{name}.conv.weight", (cout, cin, *kernel), "inception")
            scale, bias, mean, variance = (
                pick(tensors, f"{name}.bn.{part}", (cout,), "inception")
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            gain = scale / (variance + _BN_EPS).sqrt()
            self._layers[name] = weight * gain.view(-1, 1, 1, 1), bias - mean * gain, spec

    def features(self, pictures: Any) -> Any:
        """Features (N, 2048) of pictures float32 (N, 3, H, W), RGB in 0..1."""
        nn = import_torch().nn.functional
        x = nn.interpolate(pictures, size=(SIDE, SIDE), mode="bilinear", align_corners=False) * 2 - 1
        for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"):
            x = self._conv(name, x)
        x = nn.max_pool2d(x, 3, 2)
        for name in ("Conv2d_3b_1x1", "Conv2d_4a_3x3"):
            x = self._conv(name, x)
        x = nn.max_pool2d(x, 3, 2)
        for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self._mix(block, x, ("1x1",), ("5x5_1", "5x5_2"), ("3x3dbl_1", "3x3dbl_2", "3x3dbl_3"))
        x = self._shrink("Mixed_6a", x, ("3x3",), ("3x3dbl_1", "3x3dbl_2", "3x3dbl_3"))
        for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self._mix(
                block, x, ("1x1",), tuple(f"7x7_{n}" for n in (1, 2, 3)), tuple(f"7x7dbl_{n}" for n in range(1, 6))
            )
        x = self._shrink("Mixed_7a", x, ("3x3_1", "3x3_2"), tuple(f"7x7x3_{n}" for n in range(1, 5)))
        x = self._fork("Mixed_7b", x, largest=False)
        return self._fork("Mixed_7c", x, largest=True).mean((2, 3))

    def _conv(self, name: str, x: Any) -> Any:
        nn = import_torch().nn.functional
        weight, bias, (_, _, _, stride, padding) = self._layers[name]
        return nn.relu(nn.conv2d(x, weight, bias, stride, padding))

    def _chain(self, block: str, names: tuple[str, ...], x: Any) -> Any:
        for name in names:
            x = self._conv(f"{block}.branch{name}", x)
        return x

    def _pooled(self, block: str, x: Any, largest: bool = False) -> Any:
        nn = import_torch().nn.functional
        pooled = nn.max_pool2d(x, 3, 1, 1) if largest else nn.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return self._conv(f"{block}.branch_pool", pooled)

    def _mix(self, block: str, x: Any, *chains: tuple[str, ...]) -> Any:
        return import_torch().cat([*(self._chain(block, c, x) for c in chains), self._pooled(block, x)], 1)

    def _shrink(self, block: str, x: Any, *chains: tuple[str, ...]) -> Any:
        torch = import_torch()
        return torch.cat([*(self._chain(block, c, x) for c in chains), torch.nn.functional.max_pool2d(x, 3, 2)], 1)

    def _fork(self, block: str, x: Any, largest: bool) -> Any:
        parts = [self._chain(block, ("1x1",), x)]
        for stem, ends in ((("3x3_1",), "3x3_2"), (("3x3dbl_1", "3x3dbl_2"), "3x3dbl_3")):
            inner = self._chain(block, stem, x)
            parts += [self._conv(f"{block}.branch{ends}{end}", inner) for end in "ab"]
        return import_torch().cat([*parts, self._pooled(block, x, largest)], 1)
