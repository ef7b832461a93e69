"""The trained flow-driven painter as the bundle that is shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tgvc.models.bundle import ModelBundle
from tgvc_export.nano.mover import Mover
from tgvc_export.nano.mover_export import export_mover
from tgvc_train.checkpoint import load_checkpoint
from tgvc_train.mover import NAME, TOLD, MovedFrames
from tgvc_train.prepare import HELD_OUT

_EXAMPLES = ((3, 160), (5, 192))  # frames, and their size in px


def load_mover(run: Path) -> tuple[Mover, int]:
    """The averaged network of a run, ready to be used, and the steps that it was trained for.

    Raises:
        ValueError: nothing was trained yet.
    """
    state = load_checkpoint(run / f"{NAME}.pt")
    if state is None:
        raise ValueError(f"{run}: run `tgvc-train mover` first")
    network = Mover()
    network.load_state_dict(state["average"])
    return network.eval(), int(state["step"])


def write_mover_bundle(data: Path, run: Path, folder: Path, revision: str) -> ModelBundle:
    """Export the network of a run, checked on prepared frames.

    Raises:
        ValueError: nothing was trained yet.
        ExportError: the export is not what torch computes.
    """
    network, steps = load_mover(run)
    source, rng, examples = MovedFrames(data), np.random.default_rng(0), []
    for count, size in _EXAMPLES:
        drawn = source.batch(rng, count, size)
        told = {name: getattr(drawn, name) for name in TOLD}
        examples.append({**told, "first": drawn.first[:1], "last": drawn.last[:1]})
    notes = {"trained_steps": steps, "held_out": list(HELD_OUT)}
    return export_mover(network, folder, examples, name="flow-nano", revision=revision, notes=notes)
