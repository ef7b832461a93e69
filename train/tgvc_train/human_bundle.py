"""The trained human networks as the bundle that is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tgvc.models.bundle import ModelBundle
from tgvc_export.mttf.config import NANO, MttfConfig
from tgvc_export.mttf.export import export_human
from tgvc_export.mttf.networks import Mttf
from tgvc_train.checkpoint import load_checkpoint
from tgvc_train.human import NAME
from tgvc_train.human_data import HELD_OUT, PairSource

_EXAMPLES = ((3, 2, (160, 192)), (2, 5, (128, 128)))  # keys, frames, rows and columns of planes


def load_human(run: Path, config: MttfConfig = NANO) -> tuple[Mttf, int]:
    """The averaged networks of a run, ready to be used, and the steps that they were trained for.

    Raises:
        ValueError: nothing was trained yet.
    """
    state = load_checkpoint(run / f"{NAME}.pt")
    if state is None:
        raise ValueError(f"{run}: run `tgvc-train human` first")
    networks = Mttf(config)
    networks.load_state_dict(state["average"])
    return networks.eval(), int(state["step"])


def write_human_bundle(data: Path, run: Path, folder: Path, revision: str, notes: dict[str, Any]) -> ModelBundle:
    """Export the networks of a run, checked on prepared clips.

    Raises:
        ValueError: nothing was trained yet, or the export is not what torch computes.
    """
    networks, steps = load_human(run)
    source, rng = PairSource(data), np.random.default_rng(0)
    pictures = []
    for keys, frames, (rows, columns) in _EXAMPLES:
        pairs = source.draw(rng, max(keys, frames))
        planes = [p.repeat(1, 1, 2, 2)[:, :, :rows, :columns].contiguous() for p in (pairs.key, pairs.driving)]
        pictures.append((planes[0][:keys], planes[1][:frames]))
    told = {"trained_steps": steps, "held_out": list(HELD_OUT)} | notes
    return export_human(networks, folder, pictures, name="human-nano", revision=revision, notes=told)
