"""How some operators of torch become nodes, where the exporter's own way is long, asks for shapes or sums in halves.

The nodes are those of opset 20, which opset 23 has too, but for attention as one node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from onnx import TensorProto


def translation_table(opset: int) -> Mapping[Any, Callable[..., Any]]:
    """Translations by operator, for ``torch.onnx.export``; from opset 23 on attention is one node."""
    aten: Any = torch.ops.aten
    return {
        aten.group_norm.default: translate_group_norm,
        aten.softmax.int: translate_softmax,
        aten.scaled_dot_product_attention.default: translate_attention if opset < 23 else translate_attention_whole,
    }


def translate_group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    """Groups as channels of one instance norm, which runtimes have a fast kernel of, then scale and offset."""
    from onnxscript import opset20 as op

    rank = len(x.shape)
    ones = op.Constant(value_floats=[1.0] * num_groups)
    zeros = op.Constant(value_floats=[0.0] * num_groups)
    groups = op.Reshape(x, op.Constant(value_ints=[0, num_groups, -1]))
    y = op.InstanceNormalization(groups, ones, zeros, epsilon=eps)
    fixed = all(isinstance(length, int) for length in x.shape)
    y = op.Reshape(y, op.Constant(value_ints=list(x.shape)) if fixed else op.Shape(x))
    for value, combine in ((weight, op.Mul), (bias, op.Add)):
        if value is not None:
            y = combine(y, op.Reshape(value, op.Constant(value_ints=[-1] + [1] * (rank - 2))))
    return y


def translate_softmax(x: Any, dim: int, dtype: Any = None) -> Any:
    """Softmax, of halves in float32: sums of many small terms would lose them."""
    from onnxscript import opset20 as op

    kind = int(x.dtype)
    wanted = kind if dtype is None or dtype == -1 else int(dtype)
    y = op.Softmax(x if kind == TensorProto.FLOAT else op.Cast(x, to=TensorProto.FLOAT), axis=dim)
    return y if wanted == TensorProto.FLOAT else op.Cast(y, to=wanted)


def translate_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(scale q k^T + mask) v of (..., L, D); the scale comes first, so that halves do not overflow."""
    from onnxscript import opset20 as op

    _refuse_other_attention(dropout_p, is_causal, enable_gqa)
    rank, width = len(query.shape), query.shape[-1]
    if not isinstance(width, int):
        raise ValueError("attention whose head width is free")
    order = [*range(rank - 2), rank - 1, rank - 2]
    factor = op.CastLike(op.Constant(value_float=float(scale or 1 / math.sqrt(width))), query)
    scores = op.MatMul(op.Mul(query, factor), op.Transpose(key, perm=order))
    half = int(query.dtype) == TensorProto.FLOAT16
    if half:
        scores = op.Cast(scores, to=TensorProto.FLOAT)
    if attn_mask is not None:
        scores = op.Add(scores, op.Cast(attn_mask, to=TensorProto.FLOAT) if half else attn_mask)
    weights = op.Softmax(scores, axis=-1)
    return op.MatMul(op.Cast(weights, to=TensorProto.FLOAT16) if half else weights, value)


def translate_attention_whole(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """As `translate_attention`, one node on (N, heads, L, D), or (N, L, D) as one head.

    In which type it takes its softmax is not said: runtimes for GPUs take it in float32 in any case, and some refuse to
    be told.
    """
    from onnxscript import opset23 as op

    _refuse_other_attention(dropout_p, is_causal, enable_gqa)
    rank = len(query.shape)
    if rank not in (3, 4):
        raise ValueError(f"attention of {rank} axes: expected 3 or 4")
    given = [query, key, value]
    axis = op.Constant(value_ints=[1])
    if rank == 3:
        given = [op.Unsqueeze(each, axis) for each in given]
    y, *_ = op.Attention(*given, attn_mask, scale=scale)
    return op.Squeeze(y, axis) if rank == 3 else y


def _refuse_other_attention(dropout: float, causal: bool, grouped: bool) -> None:
    if dropout or causal or grouped:
        raise ValueError("attention with dropout, an implied causal mask or grouped heads: give a mask instead")
