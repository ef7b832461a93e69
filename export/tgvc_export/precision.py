"""In which precision an exported network stores and computes, and what stays float32 when it computes in halves."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tgvc_export.graph_rules import ExportError

# stored-halves: weights in float16 behind a Cast, float32 sums; fp16: float16 sums too, but for islands
Precision: TypeAlias = Literal["fp32", "fp16", "stored-halves"]
STORED_IN_HALVES = 64  # values from which on a weight is
# a variance overflows a half as soon as values reach 256, and its epsilon would vanish in one
_ISLANDS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._NormBase)
_WHOLE = ""  # name of a module among its own parts
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # whose second input is the weights


def halve_module(module: nn.Module) -> nn.Module:
    """A copy of a module that computes in float16, with inputs and outputs as before.

    What stays float32 is an island: every norm, and every module (with all that is in it) whose attribute
    ``stays_float32`` is true. An island is given float32 and its answer is rounded to float16; norms within a larger
    one are a part of it, and a module that is one itself is copied in float32. Inputs that the
    module's attribute ``float32_inputs`` names are not rounded on their way in. Softmax is widened by the export.
    Parameters that have their type already are shared with the original, so that a module that was loaded in halves
    is not held twice.
    """
    changed: dict[int, Any] = {}
    islands: list[str] = []  # none within another: what is computed in between would be rounded
    for name, part in module.named_modules():
        if _is_island(part) and not _lies_within(name, islands):
            islands.append(name)
    for name, part in module.named_modules():
        inside = _lies_within(name, islands)
        for value in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            wanted = torch.float32 if inside else torch.float16
            if not value.is_floating_point():
                continue
            new = value if value.dtype == wanted else value.detach().to(wanted)
            if isinstance(value, nn.Parameter) and new is not value:
                new = nn.Parameter(new, requires_grad=False)
            changed.setdefault(id(value), new)
    halved = copy.deepcopy(module, changed)
    if _WHOLE in islands:
        return halved
    for island in islands:
        part = halved.get_submodule(island)
        part.register_forward_pre_hook(_widen_inputs, with_kwargs=True)
        part.register_forward_hook(_narrow_outputs)
    halved.register_forward_pre_hook(_narrow_inputs, with_kwargs=True)
    halved.register_forward_hook(_widen_outputs)
    return halved


def store_in_halves(model: onnx.ModelProto) -> None:
    """Store large float32 weights as float16, each behind a Cast back to float32: half the file, the same arithmetic.

    Only what layers multiply with: biases and scales cost nothing, and rates of sines would not bear it.

    Raises:
        ExportError: a weight does not fit in a half.
    """
    casts = []
    for weight in _weights_of_layers(model):
        stored = numpy_helper.from_array(round_to_half(weight.name, numpy_helper.to_array(weight)), weight.name)
        casts.append(hide_behind_cast(stored))
        weight.CopyFrom(stored)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _weights_of_layers(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Large float32 initializers that nothing but layers multiplies with."""
    used = [(n.input[k], k == 1 and n.op_type in WEIGHTED) for n in model.graph.node for k in range(len(n.input))]
    names = {name for name, weighted in used if weighted} - {name for name, weighted in used if not weighted}
    for weight in model.graph.initializer:
        large = int(np.prod(weight.dims)) >= STORED_IN_HALVES
        if large and weight.name in names and weight.data_type == TensorProto.FLOAT:
            yield weight


def round_to_half(name: str, values: np.ndarray) -> np.ndarray:
    """Values as float16.

    Raises:
        ExportError: one does not fit.
    """
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise ExportError(f"weight {name}: values up to {np.abs(values).max():g} do not fit in float16")
    return halves


def hide_behind_cast(stored: onnx.TensorProto) -> onnx.NodeProto:
    """Rename a float16 initializer and give the node that makes float32 of its old name from it."""
    name = stored.name
    stored.name = name + ".half"
    return helper.make_node("Cast", [stored.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT)


def _lies_within(name: str, islands: Iterable[str]) -> bool:
    """Whether a module is one of the islands or a part of one."""
    return any(island == _WHOLE or name == island or name.startswith(island + ".") for island in islands)


def _is_island(module: nn.Module) -> bool:
    return isinstance(module, _ISLANDS) or bool(getattr(module, "stays_float32", False))


def _change(value: Any, old: torch.dtype, new: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(new) if value.dtype == old else value
    if isinstance(value, tuple | list):
        return type(value)(_change(each, old, new) for each in value)
    return value


def _widen_inputs(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    wide = torch.float16, torch.float32
    return _change(args, *wide), {name: _change(value, *wide) for name, value in named.items()}


def _narrow_outputs(_: nn.Module, __: tuple[Any, ...], outputs: Any) -> Any:
    return _change(outputs, torch.float32, torch.float16)


def _narrow_inputs(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    if args:
        raise TypeError("a module in halves takes its inputs by name")
    kept = getattr(module, "float32_inputs", ())
    narrow = torch.float32, torch.float16
    return args, {name: value if name in kept else _change(value, *narrow) for name, value in named.items()}


def _widen_outputs(_: nn.Module, __: tuple[Any, ...], outputs: Any) -> Any:
    return _change(outputs, torch.float16, torch.float32)
