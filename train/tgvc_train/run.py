"""A training run: counts steps, logs, saves, and goes on where it was."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tgvc_train.checkpoint import Average, load_checkpoint, save_checkpoint

_LOG_EVERY, _SAVE_EVERY = 100, 500


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Warm-up over 200 steps, then half a cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / 200)
    return highest * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


class Run:
    """State of one stage of the recipe.

    Args:
        folder: where ``name.pt`` (everything needed to go on) and ``name.jsonl`` (losses) live.
        name: of the stage.
        parts: modules and optimisers by name; loaded at once if there is a checkpoint.
        averages: moving averages, by the name under which they are stored.
        steps: of the whole stage.
        minutes: after which this call ends; the next one goes on.
        stop: step at which this call ends.
        seed: of all random numbers.
        extra: plain values stored beside the state.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        parts: Mapping[str, Any],
        averages: Mapping[str, Average],
        *,
        steps: int,
        minutes: float,
        stop: int | None,
        seed: int,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.log_path = folder / f"{name}.pt", folder / f"{name}.jsonl"
        self.parts = dict(parts) | {n: a.module for n, a in averages.items()}
        self.averages, self.steps, self.seed, self.extra = averages, steps, seed, dict(extra or {})
        self.last = steps if stop is None else min(stop, steps)
        self.step = 0
        if state := load_checkpoint(self.path):
            for part_name, part in self.parts.items():
                part.load_state_dict(state[part_name])
            self.step = state["step"]
            for average in averages.values():
                average.steps = self.step
        self._began, self._minutes = time.monotonic(), minutes
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    @property
    def going(self) -> bool:
        """Whether there is another step to do in this call."""
        return self.step < self.last and time.monotonic() - self._began < 60 * self._minutes

    def begin_step(self, optimiser: torch.optim.Optimizer, rate: float) -> np.random.Generator:
        """Set the learning rate and both generators by the step's number; gives the one that draws samples."""
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, rate)
        torch.manual_seed(self.seed * 1_000_003 + self.step)
        return np.random.default_rng((self.seed, self.step))

    def end_step(self, values: Mapping[str, Tensor | float]) -> bool:
        """Count the step and its losses; True where the state was saved."""
        self.step += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(torch.as_tensor(value).detach())
            self._counts[name] = self._counts.get(name, 0) + 1
        if self.step % _LOG_EVERY == 0:
            self._log()
        if saving := self.step % _SAVE_EVERY == 0:
            self.save()
        return saving

    def save(self) -> None:
        """Write the checkpoint."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        save_checkpoint(self.path, state | {"step": self.step} | self.extra)

    def _log(self) -> None:
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        line = {"step": self.step, "seconds": time.monotonic() - self._began} | means
        with self.log_path.open("a") as file:
            file.write(json.dumps({name: round(value, 6) for name, value in line.items()}) + "\n")
        print(" ".join(f"{name} {value:.4g}" for name, value in line.items()), flush=True)
        self._sums, self._counts = {}, {}
