"""The tensors of a checkpoint, shared out to networks: every fault in one error, no second copy in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tgvc_export.checkpoint import FLOATS, Checkpoint, list_names
from tgvc_export.checkpoint_records import CheckpointError

_SHOWN = 6


@dataclass(frozen=True)
class Part:
    """One network of a checkpoint.

    ``prefix``: what its names begin with there, a dot included; may be empty. ``shapes``: of its own names.
    ``left_over``: names below the prefix that may be there and are not used.
    """

    prefix: str
    shapes: Mapping[str, tuple[int, ...]]
    left_over: frozenset[str] = frozenset()


def state_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what a module wants to be filled with; it may live on ``meta``."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def share_out(
    checkpoint: Checkpoint, parts: Mapping[str, Part], ignored: Iterable[str] = ()
) -> dict[str, dict[str, Tensor]]:
    """The tensors of every part by its own names, after all names, shapes and types were compared.

    Args:
        checkpoint: to be shared out.
        parts: by name; no prefix may be the beginning of another.
        ignored: names at the top that belong to no part and are not used.

    Raises:
        CheckpointError: all missing, unexpected, mis-shaped and wrongly typed tensors, grouped and shortened.
    """
    shared: dict[str, dict[str, Tensor]] = {name: {} for name in parts}
    unexpected, known = [], set(ignored)
    by_prefix = sorted(((part.prefix, name) for name, part in parts.items()), reverse=True)
    for full, tensor in checkpoint.tensors.items():
        if full in known:
            continue
        name = next((name for prefix, name in by_prefix if full.startswith(prefix)), None)
        own = full.removeprefix(parts[name].prefix) if name is not None else full
        if name is None or (own not in parts[name].shapes and own not in parts[name].left_over):
            unexpected.append(full)
        elif own in parts[name].shapes:
            shared[name][own] = tensor
    faults = _compare(parts, shared)
    if unexpected:
        faults.append(f"{len(unexpected)} unexpected: {list_names(unexpected, _SHOWN)}")
    if faults:
        raise CheckpointError(f"{checkpoint.path}: not the weights of these networks: " + "; ".join(faults))
    return shared


def fill_module(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    *,
    path: Path | None = None,
    names: Mapping[str, str] | None = None,
) -> nn.Module:
    """Put weights into a module that was made on ``meta``, without a copy where their type is the one wanted.

    Args:
        module: whose names are those of the tensors; parameters and buffers on ``meta`` are replaced.
        tensors: as `share_out` gives them; each is converted alone, so that never two copies of all of them exist.
        dtype: of floating-point values in the module; that of the tensors if None.
        path: of the checkpoint, for errors.
        names: what the module's weights are called in the checkpoint, for errors; the same if None.

    Returns:
        The module, in ``eval`` mode, its parameters without gradients.

    Raises:
        CheckpointError: a weight is NaN or infinite, or becomes so in the type wanted.
    """
    place = f"{path}: " if path else ""
    state, wrong = {}, []
    for name, tensor in tensors.items():
        value = tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            wrong.append(names[name] if names else name)
        state[name] = value
    if wrong:
        why = "do not fit in " + str(dtype).removeprefix("torch.") if dtype else "are NaN or infinite"
        raise CheckpointError(f"{place}{len(wrong)} tensors hold values that {why}: {list_names(wrong)}")
    module.load_state_dict(state, strict=True, assign=True)
    if empty := [name for name, value in _all_values(module) if value.is_meta]:
        raise ValueError(f"{type(module).__name__} keeps {list_names(empty)} without values: not part of its state")
    return module.requires_grad_(False).eval()


def check_constants(
    checkpoint: Checkpoint, expected: Mapping[str, Sequence[float]], *, tolerance: float = 1e-5
) -> None:
    """Refuse a checkpoint that was trained with other constants; those it does not hold are not missed.

    Args:
        checkpoint: which may hold tensors of these names.
        expected: values by name.
        tolerance: of the difference, for float32; coarser types get their own rounding on top.

    Raises:
        CheckpointError: a constant has another length or other values.
    """
    faults = []
    for name, values in expected.items():
        tensor = checkpoint.tensors.get(name)
        if tensor is None:
            continue
        want = torch.tensor(values, dtype=torch.float64)
        if tensor.dtype not in FLOATS or tensor.shape != want.shape:
            faults.append(f"{name} is {_describe(tensor)}, expected float32 {tuple(want.shape)}")
            continue
        apart = (tensor.double() - want).abs()
        if not bool((apart <= tolerance + want.abs() * torch.finfo(tensor.dtype).eps).all()):
            faults.append(f"{name} differs by {apart.max():.3g}")
    if faults:
        raise CheckpointError(f"{checkpoint.path}: trained with other constants: " + "; ".join(faults))


def _compare(parts: Mapping[str, Part], shared: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    missing, shapes, types = [], [], []
    for name, part in parts.items():
        for own, shape in part.shapes.items():
            tensor = shared[name].get(own)
            if tensor is None:
                missing.append(part.prefix + own)
            elif tuple(tensor.shape) != shape:
                shapes.append(f"{part.prefix}{own} {tuple(tensor.shape)}, expected {shape}")
            elif tensor.dtype not in FLOATS:
                types.append(f"{part.prefix}{own} {_describe(tensor)}")
    faults = []
    if missing:
        faults.append(f"{len(missing)} missing: {list_names(missing)}")
    if shapes:
        faults.append(f"{len(shapes)} of another shape: {list_names(shapes)}")
    if types:
        faults.append(f"{len(types)} not of float32, float16 or bfloat16: {list_names(types)}")
    return faults


def _all_values(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
