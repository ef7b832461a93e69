"""Operators of ONNX on torch tensors: arithmetic, and moving values about.

A function has the inputs of its operator as arguments, and its attributes as keywords of the same names. Inputs that
`HOST` lists arrive as numbers or tuples, all others as tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# inputs that say how large or where something is: the graph has to know them, they are no tensors
HOST = {
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
}
# numbers of onnx.TensorProto
TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def cast(x: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    """Another type; ``saturate`` is of 8-bit floats, which `TYPES` has none of."""
    return x.to(TYPES[to])


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def power(a: Tensor, b: Tensor) -> Tensor:
    """The result has the type of the base."""
    return torch.pow(a, b).to(a.dtype)


def largest(*values: Tensor) -> Tensor:
    """Element by element."""
    found = values[0]
    for value in values[1:]:
        found = torch.maximum(found, value)
    return found


def smallest(*values: Tensor) -> Tensor:
    """Element by element."""
    found = values[0]
    for value in values[1:]:
        found = torch.minimum(found, value)
    return found


def clip(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    """Either bound may be missing."""
    return x.clone() if low is None and high is None else torch.clamp(x, low, high)


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """``approximate``: ``none`` or ``tanh``."""
    return torch.nn.functional.gelu(x, approximate=approximate)


def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """``alpha``: slope below zero."""
    return torch.nn.functional.leaky_relu(x, alpha)


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Over one axis."""
    return torch.softmax(x, axis)


def reduce_mean(
    x: Tensor, axes: Sequence[int] | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """Over axes; over all without any."""
    if not axes and noop_with_empty_axes:
        return x
    return torch.mean(x, tuple(axes or range(x.ndim)), keepdim=bool(keepdims))


def reduce_sum(
    x: Tensor, axes: Sequence[int] | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """Over axes; over all without any."""
    if not axes and noop_with_empty_axes:
        return x
    return torch.sum(x, tuple(axes or range(x.ndim)), keepdim=bool(keepdims), dtype=x.dtype)


def reduce_max(
    x: Tensor, axes: Sequence[int] | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    """Over axes; over all without any."""
    if not axes and noop_with_empty_axes:
        return x
    return torch.amax(x, tuple(axes or range(x.ndim)), keepdim=bool(keepdims))


def concatenate(*values: Tensor, axis: int) -> Tensor:
    """Along one axis."""
    return torch.cat(values, axis)


def constant_of_shape(shape: Sequence[int], *, value: Any = None) -> Tensor:
    """``value``: one element, zero of float32 by default."""
    filler = torch.zeros(1) if value is None else value
    return filler.reshape(()).expand(tuple(shape)).contiguous()


def expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast both ways, as ONNX does."""
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(shape)))


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """To a matrix; ``axis``: the first one of the columns."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Slices of ``x`` at indices, which may count from the end."""
    axis = axis + x.ndim if axis < 0 else axis
    flat = torch.remainder(indices, x.shape[axis]).reshape(-1)
    found = torch.index_select(x, axis, flat)
    return found.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


def number_range(start: float, limit: float, delta: float) -> Tensor:
    """From ``start``, before ``limit``: int64 of integers, else float32, as numbers do not say which float they are."""
    whole = all(isinstance(number, int) for number in (start, limit, delta))
    return torch.arange(start, limit, delta, dtype=torch.int64 if whole else torch.float32)


def pad(
    x: Tensor,
    pads: Sequence[int],
    value: float | Sequence[float] | None = None,
    axes: Sequence[int] | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    """Margins before and after; reflections and edges only where torch has them."""
    count = len(pads) // 2
    before, after = [0] * x.ndim, [0] * x.ndim
    for number, axis in enumerate(range(count) if axes is None else axes):
        before[axis], after[axis] = pads[number], pads[number + count]
    backwards = [side for axis in reversed(range(x.ndim)) for side in (before[axis], after[axis])]
    if mode == "constant":
        filler = value[0] if isinstance(value, Sequence) else value
        return torch.nn.functional.pad(x, backwards, value=filler or 0)
    while backwards and backwards[-1] == 0:
        backwards.pop()
    kinds = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    return torch.nn.functional.pad(x, backwards + [0] * (len(backwards) % 2), mode=kinds[mode])


def reshape(x: Tensor, shape: Sequence[int], *, allowzero: int = 0) -> Tensor:
    """0 copies a length, if zeros are not allowed to mean none; -1 is what is left."""
    if not allowzero:
        shape = [x.shape[axis] if length == 0 else length for axis, length in enumerate(shape)]
    return x.reshape(tuple(shape))


def slice_values(
    x: Tensor,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
) -> Tensor:
    """Forwards only."""
    for number, axis in enumerate(range(len(starts)) if axes is None else axes):
        step = 1 if steps is None else steps[number]
        if step < 1:
            raise NotImplementedError("Slice backwards")
        length = x.shape[axis]
        first, last = (
            min(max(place + length if place < 0 else place, 0), length) for place in (starts[number], ends[number])
        )
        x = x[(slice(None),) * (axis % x.ndim) + (slice(first, max(first, last), step),)]
    return x


def split(
    x: Tensor, lengths: Sequence[int] | None = None, *, axis: int = 0, num_outputs: int = 0
) -> tuple[Tensor, ...]:
    """Pieces of given lengths, or of one length, the last one shorter."""
    pieces = -(-x.shape[axis] // num_outputs) if lengths is None else list(lengths)
    return tuple(torch.split(x, pieces, axis))


def squeeze(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Without axes of length 1; without all of them if none is named."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def tile(x: Tensor, repeats: Sequence[int]) -> Tensor:
    """Repeated along every axis."""
    return x.repeat(tuple(repeats))


def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    """Reversed axes without an order."""
    return x.permute(tuple(reversed(range(x.ndim))) if perm is None else tuple(perm))


def unsqueeze(x: Tensor, axes: Sequence[int]) -> Tensor:
    """New axes, counted in the result."""
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


OPERATORS: dict[str, Any] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "And": torch.logical_and,
    "Cast": cast,
    "Clip": clip,
    "Concat": concatenate,
    "ConstantOfShape": constant_of_shape,
    "Cos": torch.cos,
    "Div": divide,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Expand": expand,
    "Flatten": flatten,
    "Floor": torch.floor,
    "Gather": gather,
    "Gelu": gelu,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Identity": torch.clone,
    "LeakyRelu": leaky_relu,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "MatMul": torch.matmul,
    "Max": largest,
    "Min": smallest,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "Pad": pad,
    "Pow": power,
    "Range": number_range,
    "Reciprocal": torch.reciprocal,
    "ReduceMax": reduce_max,
    "ReduceMean": reduce_mean,
    "ReduceSum": reduce_sum,
    "Relu": torch.relu,
    "Reshape": reshape,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sin": torch.sin,
    "Slice": slice_values,
    "Softmax": softmax,
    "Split": split,
    "Sqrt": torch.sqrt,
    "Squeeze": squeeze,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": torch.where,
}
