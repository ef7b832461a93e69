"""Operators of ONNX on torch tensors: convolutions, norms, products, attention, sizes of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tgvc.backends.pytorch.operators import OPERATORS


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Over one to three axes, with margins said in numbers."""
    axes = x.ndim - 2
    x, margins = _even_margins(x, pads, auto_pad, axes)
    run = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    return run(x, weight, bias, _each(strides, axes), margins, _each(dilations, axes), group)


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Means of cells without gaps between their elements."""
    axes = x.ndim - 2
    sides = tuple(pads or (0,) * (2 * axes))
    if auto_pad != "NOTSET" or set(dilations or (1,)) != {1} or sides[:axes] != sides[axes:]:
        raise NotImplementedError("AveragePool with uneven margins or gaps")
    run = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[axes - 1]
    step = _each(strides, axes)
    return run(x, tuple(kernel_shape), step, sides[:axes], bool(ceil_mode), bool(count_include_pad))


def general_product(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """``alpha`` a b + ``beta`` c."""
    a, b = a.T if transA else a, b.T if transB else b
    if c is None:
        return a @ b if alpha == 1.0 else alpha * (a @ b)
    return torch.addmm(c, a, b, beta=beta, alpha=alpha)


def layer_norm(
    x: Tensor,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    """Over the last axes; sums are in float32, as ``stash_type`` 1 says."""
    return functional.layer_norm(x, tuple(x.shape[axis:]), scale, bias, epsilon)


def batch_norm(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    """With the statistics of training, which is over."""
    if training_mode:
        raise NotImplementedError("BatchNormalization that is training")
    return functional.batch_norm(x, mean, variance, scale, bias, False, momentum, epsilon)


def instance_norm(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Over all axes after the channels."""
    return torch.instance_norm(x, scale, bias, None, None, True, 0.0, epsilon, torch.backends.cudnn.enabled)


def group_norm(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """As of opset 21: scale and bias per channel."""
    if scale.shape[0] != x.shape[1]:
        raise NotImplementedError("GroupNormalization with a scale per group")
    return functional.group_norm(x, num_groups, scale, bias, epsilon)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int = 0,
    q_num_heads: int = 0,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int = 1,
) -> Tensor:
    """Of opset 23, for tensors of four axes: batch, heads, tokens, channels."""
    if q.ndim != 4 or softcap or kv_num_heads or q_num_heads or qk_matmul_output_mode:
        raise NotImplementedError("Attention of three axes, with soft caps or more outputs")
    return functional.scaled_dot_product_attention(q, k, v, mask, is_causal=bool(is_causal), scale=scale)


def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels to blocks, in either order."""
    if mode == "CRD":
        return functional.pixel_shuffle(x, blocksize)
    n, c, h, w = x.shape
    blocks = x.reshape(n, blocksize, blocksize, c // blocksize**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // blocksize**2, h * blocksize, w * blocksize)


def sample_grid(
    x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Tensor:
    """A picture at places in -1..1, as of opset 20; cubic with the slope -0.75 in both."""
    ways = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}
    return functional.grid_sample(x, grid, ways[mode], padding_mode, bool(align_corners))


def resize(
    x: Tensor,
    roi: Sequence[float] | None = None,
    scales: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """The ways of resizing that torch has too: nearest below, and linear between corners or centres."""
    target = tuple(sizes) if sizes else tuple(math.floor(a * b) for a, b in zip(x.shape, scales or (), strict=True))
    way = (mode, coordinate_transformation_mode)
    plain = axes is None and not antialias and keep_aspect_ratio_policy == "stretch"
    if not plain or target[:2] != tuple(x.shape[:2]):
        raise NotImplementedError("Resize of other axes than those after the second, or with filters")
    if way == ("nearest", "asymmetric") and nearest_mode == "floor":
        return functional.interpolate(x, target[2:], mode="nearest")
    if mode == "linear" and coordinate_transformation_mode in ("align_corners", "half_pixel"):
        kind = ("linear", "bilinear", "trilinear")[x.ndim - 3]
        corners = coordinate_transformation_mode == "align_corners"
        return functional.interpolate(x, target[2:], mode=kind, align_corners=corners)
    raise NotImplementedError(f"Resize {mode} {coordinate_transformation_mode} {nearest_mode}")


def _each(values: Sequence[int] | None, axes: int) -> tuple[int, ...]:
    return tuple(values) if values else (1,) * axes


def _even_margins(x: Tensor, pads: Sequence[int] | None, auto_pad: str, axes: int) -> tuple[Tensor, tuple[int, ...]]:
    """Margins that a convolution adds itself; others are added here."""
    if auto_pad not in ("NOTSET", "VALID"):
        raise NotImplementedError(f"Conv with auto_pad {auto_pad}")
    sides = tuple(pads or (0,) * (2 * axes))
    if sides[:axes] == sides[axes:]:
        return x, sides[:axes]
    backwards = [side for axis in reversed(range(axes)) for side in (sides[axis], sides[axis + axes])]
    return functional.pad(x, backwards), (0,) * axes


LAYERS: dict[str, Any] = OPERATORS | {
    "Attention": attention,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Conv": convolve,
    "DepthToSpace": depth_to_space,
    "Gemm": general_product,
    "GridSample": sample_grid,
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "Resize": resize,
}
