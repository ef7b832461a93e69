"""The flow-driven painter in torch to a bundle of kind ``flow``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import FlowConstants
from tgvc.models.contract import MOVER
from tgvc_export.bundle import NetExport, export_bundle
from tgvc_export.nano.mover import CELL_ROWS, Mover

LICENCE = "Apache-2.0"


def export_mover(
    mover: Mover,
    folder: Path,
    examples: Sequence[Mapping[str, Tensor]],
    *,
    name: str,
    revision: str,
    notes: Mapping[str, Any] | None = None,
) -> ModelBundle:
    """Export the network, check it in a fresh process without torch, and write the bundle.

    Args:
        mover: with its weights.
        folder: to write into, made if needed.
        examples: its inputs by name; sizes and numbers of frames should differ.
        name: of the bundle.
        revision: of the bundle.
        notes: plain values for the manifest.

    Raises:
        ExportError: the network cannot be exported, or gives something else in the shipped runtime.
        BundleError: what was written is not a valid bundle.
    """
    constants = FlowConstants(cell_px=2 * CELL_ROWS)
    nets = {MOVER: NetExport(mover.eval(), examples)}
    return export_bundle(nets, folder, name=name, revision=revision, licence=LICENCE, constants=constants, notes=notes)
