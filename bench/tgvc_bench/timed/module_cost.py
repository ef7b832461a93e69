"""The cost of a torch module: every operation that it starts, seen on ``meta``, where nothing is computed or stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from math import prod
from typing import TYPE_CHECKING, Any

from tgvc.models.cost import Cost, Kind, Operation

if TYPE_CHECKING:
    from torch import Tensor, nn

_STILL = {"_unsafe_view", "detach", "alias", "lift_fresh", "empty", "empty_like", "new_empty"}  # move nothing


def measure_module(module: nn.Module, inputs: Mapping[str, Tensor], name: str = "") -> Cost:
    """The cost of one run of a module.

    Args:
        module: on ``meta``, in the type that it will be run in; a fused attention counts as one operation.
        inputs: on ``meta``.
        name: of the network.

    Raises:
        ValueError: a parameter or an input that is not on ``meta``.
    """
    import torch
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    for where, value in (*module.named_parameters(), *inputs.items()):
        if value.device.type != "meta":
            raise ValueError(f"{where}: on {value.device}, expected on meta")
    operations: list[Operation] = []
    scores: list[int] = []

    class Attention(TorchFunctionMode):  # type: ignore[misc]  # torch has no types here
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is not functional.scaled_dot_product_attention:
                return func(*args, **(kwargs or {}))
            q, k, v = (each.shape for each in args[:3])
            out = args[0].new_empty((*q[:-1], v[-1]))
            length = prod(q[:-1]) * k[-2]
            flop = 2 * length * (q[-1] + v[-1])
            moved = sum(_size(each) for each in (*args[:3], out))
            operations.append(Operation("attention", "attention", (tuple(q), tuple(k), tuple(v)), flop, moved))
            scores.append(4 * length * out.element_size())  # written, read for the softmax, written, read
            return out

    class Recorder(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            operator = func.overloadpacket.__name__
            if not func.is_view and operator not in _STILL:
                given = _tensors((*args, *(kwargs or {}).values()))
                made = _tensors(out)
                kind, flop = count_flop(operator, args, made)
                moved = sum(_size(each) for each in (*given, *made))
                shapes = tuple(tuple(each.shape) for each in given)
                operations.append(Operation(kind, operator, shapes, flop, moved))
            return out

    with ExitStack() as modes:
        for mode in (torch.no_grad(), Recorder(), Attention()):
            modes.enter_context(mode)
        module(**inputs)
    weights = list(module.parameters())
    stored = sum(_size(value) for value in weights)
    return Cost(name, tuple(operations), sum(value.numel() for value in weights), stored, sum(scores))


def count_flop(operator: str, args: Any, made: list[Tensor]) -> tuple[Kind, int]:
    """Kind and FLOP of an operator of ATen with these arguments and results."""
    rule = _FLOP.get(operator)
    if rule is None:
        return "other", 0
    kind, count = rule
    return kind, count(args, made[0].shape)


def _convolution(args: Any, out: Any) -> int:
    given, weight, turned = args[0], args[1], args[6]
    return int(2 * prod(given.shape if turned else out) * prod(weight.shape[1:]))


_FLOP: dict[str, tuple[Kind, Callable[[Any, Any], int]]] = {
    "convolution": ("convolution", _convolution),
    "mm": ("product", lambda args, out: 2 * prod(out) * args[0].shape[-1]),
    "bmm": ("product", lambda args, out: 2 * prod(out) * args[0].shape[-1]),
    "addmm": ("product", lambda args, out: 2 * prod(out) * args[1].shape[-1]),
    "baddbmm": ("product", lambda args, out: 2 * prod(out) * args[1].shape[-1]),
}


def _tensors(value: Any) -> list[Any]:
    if hasattr(value, "element_size"):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _tensors(part)]
    return []


def _size(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())
