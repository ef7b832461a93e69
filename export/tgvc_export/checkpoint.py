"""Checkpoints of torch and safetensors as tensors that stay in the file; no code of a checkpoint ever runs."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tgvc.types import OnProgress
from tgvc_export.checkpoint_records import (
    CheckpointError,
    Record,
    read_kind,
    read_records,
    verify_file,
)

DEEPSPEED_PREFIX = "_forward_module."
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
# Libraries whose classes describe a training run; stand-ins without any code take their place.
_METADATA = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.")
_METADATA_NAMES = {
    "typing.Any",
    "collections.defaultdict",
    "builtins.dict",
    "builtins.list",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
}
_WRAPPERS = ("state_dict", "module", "model")
_SHOWN = 6


@dataclass(frozen=True)
class Checkpoint:
    """Weights in a file.

    ``path``: of the file. ``layout``: ``state_dict`` (Lightning), ``module`` (DeepSpeed), ``model``, ``flat`` or
    ``safetensors``. ``sha256``: of the whole file, 64 hexadecimal digits. ``tensors``: by name, mapped from the file:
    pages are read when they are looked at and can be dropped again at any time. Never write to them.
    """

    path: Path
    layout: str
    sha256: str
    tensors: Mapping[str, Tensor]

    @property
    def bytes(self) -> int:
        """Of all tensors together."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


class Inert:
    """Stands in for a class of a training library: takes everything and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def open_checkpoint(path: Path, on_progress: OnProgress | None = None) -> Checkpoint:
    """Open a .ckpt, .pth or .safetensors file; all of it is read once to verify it, nothing is kept in memory.

    Files of torch must be of the format that torch writes since 1.6, which can be mapped.

    Args:
        path: of the file.
        on_progress: called with ("verify", bytes read, bytes in all).

    Raises:
        CheckpointError: not such a file, damaged, cut off, or one that names code to be run: one line, nothing ran.
    """
    path = Path(path)
    if read_kind(path) == "safetensors":
        tensors = _map_safetensors(path)
        return Checkpoint(path, "safetensors", verify_file(path, (), on_progress), tensors)
    records = read_records(path)
    metadata = _metadata_names(path)
    _check_storages(path, records, _load(path, metadata, torch.device("meta")))
    sha256 = verify_file(path, records.values(), on_progress)
    layout, tensors = unwrap_state(_load(path, metadata, torch.device("cpu")), path)
    return Checkpoint(path, layout, sha256, tensors)


def unwrap_state(found: Any, path: Path) -> tuple[str, dict[str, Tensor]]:
    """The layout and the tensors of what a checkpoint holds.

    Raises:
        CheckpointError: it holds something else, or DeepSpeed's names do not begin as they should.
    """
    layout = next((name for name in _WRAPPERS if isinstance(found, dict) and isinstance(found.get(name), dict)), "flat")
    state = found if layout == "flat" else found[layout]
    if not isinstance(state, dict) or not state:
        kind = "nothing" if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"{path}: holds {kind}, expected tensors by name, or those under {', '.join(_WRAPPERS)}")
    if wrong := [name for name in state if not isinstance(name, str)]:
        raise CheckpointError(f"{path}: {len(wrong)} names are not texts, such as {str(wrong[0])[:40]!r}")
    if wrong := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"{path}: not a tensor: {list_names(wrong)}")
    if layout == "module":
        if wrong := [name for name in state if not name.startswith(DEEPSPEED_PREFIX)]:
            raise CheckpointError(f"{path}: names without DeepSpeed's prefix {DEEPSPEED_PREFIX}: {list_names(wrong)}")
        state = {name.removeprefix(DEEPSPEED_PREFIX): value for name, value in state.items()}
    return layout, {name: value.detach() for name, value in state.items()}


def list_names(names: list[str], shown: int = _SHOWN) -> str:
    """The first of many names and how many more there are, bounded in length."""
    text = ", ".join(name[:100] for name in names[:shown])
    return text + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _metadata_names(path: Path) -> list[str]:
    """Names of classes that describe a training run; anything else that torch does not know by itself is refused."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception as fault:  # whatever a parser of foreign bytes may raise
        raise CheckpointError(f"{path}: its list of tensors is damaged: {_one_line(fault)}; get the file again") from (
            fault
        )
    if bad := [name for name in names if not name.startswith(_METADATA) and name not in _METADATA_NAMES]:
        raise CheckpointError(
            f"{path}: wants to run code that no weights need: {list_names(bad)}; do not use this file (nothing ran)"
        )
    return names


def _load(path: Path, metadata: list[str], device: torch.device) -> Any:
    """What torch's reader of weights makes of a file: on the CPU mapped, on ``meta`` without any values."""
    stand_ins = [(Inert, name) for name in metadata]
    try:
        with torch.serialization.safe_globals(stand_ins):  # type: ignore[no-untyped-call,unused-ignore]
            return torch.load(str(path), map_location=device, weights_only=True, mmap=device.type == "cpu")
    except pickle.UnpicklingError as fault:
        # torch's text goes on with advice to switch the protection off
        why = _one_line(fault).partition("WeightsUnpickler error: ")[2].partition(" Please")[0] or "not only weights"
        raise CheckpointError(f"{path}: holds more than weights: {why[:200]} (nothing ran)") from fault
    except Exception as fault:  # whatever a parser of foreign bytes may raise
        raise CheckpointError(f"{path}: its list of tensors is damaged: {_one_line(fault)}; get the file again") from (
            fault
        )


def _check_storages(path: Path, records: Mapping[str, Record], found: Any) -> None:
    """Refuse tensors that claim other bytes than exactly one record of the file."""
    sizes = {record.start: record.size for record in records.values()}
    wrong = []
    for name, tensor in _tensors_in(found):
        storage = tensor.untyped_storage()
        if storage.nbytes() and sizes.get(getattr(storage, "_checkpoint_offset", -1)) != storage.nbytes():
            wrong.append(name)
    if wrong:
        raise CheckpointError(
            f"{path}: tensors lie elsewhere or are larger than its records: {list_names(wrong[::-1])}; "
            "save it again with torch.save"
        )


def _tensors_in(found: Any) -> list[tuple[str, Tensor]]:
    """All tensors in nested dicts, lists and tuples; a value is visited once, however often it occurs."""
    waiting, seen, tensors = [("", found)], set(), []
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            tensors.append((name, value))
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{name}.{key}" if name else str(key), part) for key, part in inner]
    return tensors


def _map_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt", device="cpu") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError, TypeError, RuntimeError) as fault:
        raise CheckpointError(f"{path}: damaged or cut off: {_one_line(fault)}; get the file again") from fault


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:400] or type(fault).__name__
