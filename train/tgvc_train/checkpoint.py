"""Training state on disk: everything that is needed to go on as if nothing had happened."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Average:
    """Exponential moving average of a module's parameters."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module; quickly at first."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for kept, new in zip(self.module.parameters(), module.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state whole or not at all."""
    pending = path.with_suffix(".part")
    torch.save(state, pending)
    pending.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """A state, or None where there is none; no pickled code is run."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def trained_steps(folder: Path) -> dict[str, int]:
    """Steps done by each stage of a run."""
    states = {path.stem: load_checkpoint(path) for path in sorted(folder.glob("*.pt"))}
    return {name: int(state["step"]) for name, state in states.items() if state is not None}
