"""Trackers from the published files: which of the two they are is read from the table of times they carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tgvc_export.checkpoint import Checkpoint
from tgvc_export.checkpoint_records import CheckpointError
from tgvc_export.checkpoint_weights import Part, fill_module, share_out, state_shapes
from tgvc_export.cotracker.tracker import CoTracker3
from tgvc_export.cotracker.update import Widths

OFFLINE_WINDOW, SLIDING_WINDOW = 60, 16  # frames, of the published files
_TABLE = "time_emb"
_MOST_BYTES = 1 << 20


def load_tracker(checkpoint: Checkpoint, options: dict[str, Any] | None = None) -> CoTracker3:
    """A tracker with the weights of a checkpoint, float32.

    Args:
        checkpoint: with the names of the published ones.
        options: of `CoTracker3`; ``window`` and ``sliding`` are those of the file where they are missing.

    Raises:
        CheckpointError: the checkpoint does not hold such a tracker.
    """
    given = dict(options or {})
    table = checkpoint.tensors.get(_TABLE)
    if table is None or table.ndim != 3:
        raise CheckpointError(f"{checkpoint.path}: no table of times ({_TABLE}), which every CoTracker3 has")
    window = given.setdefault("window", int(table.shape[1]))
    if "sliding" not in given:
        if window not in (OFFLINE_WINDOW, SLIDING_WINDOW):
            raise CheckpointError(
                f"{checkpoint.path}: a table of {window} times, expected {OFFLINE_WINDOW} (offline) or "
                f"{SLIDING_WINDOW} (online)"
            )
        given["sliding"] = window == SLIDING_WINDOW
    with torch.device("meta"):
        tracker = CoTracker3(**given)
    shared = share_out(checkpoint, {"tracker": Part("", state_shapes(tracker))})
    fill_module(tracker, shared["tracker"], torch.float32, path=checkpoint.path)
    return tracker


def read_options(path: Path) -> dict[str, Any]:
    """Options of `CoTracker3` from a JSON file: ``window, sliding, widths, stages, features, resolution``.

    Raises:
        CheckpointError: not such a file.
    """
    try:
        with path.open("rb") as stream:
            options = dict(json.loads(stream.read(_MOST_BYTES)))
        known = {"window", "sliding", "widths", "stages", "features", "resolution"}
        if unknown := set(options) - known:
            raise ValueError(f"unknown options {', '.join(sorted(unknown))}")
        if "widths" in options:
            options["widths"] = Widths(**options["widths"])
        return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    except OSError as fault:
        raise CheckpointError(f"{path}: cannot be read ({fault.strerror})") from fault
    except (ValueError, TypeError, RecursionError) as fault:
        raise CheckpointError(f"{path}: not options of a tracker: {' '.join(str(fault).split())}") from fault
