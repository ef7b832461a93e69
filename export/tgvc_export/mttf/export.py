"""MTTF in torch to a bundle of kind ``human``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import HumanConstants
from tgvc.models.contract import FRAME, KEY, PREDICTOR
from tgvc_export.bundle import NetExport, export_bundle
from tgvc_export.mttf.config import MttfConfig
from tgvc_export.mttf.networks import FrameNetwork, KeyNetwork, MeasuredNetwork, Mttf, PredictorNetwork
from tgvc_export.mttf.predictor import Gdn

LICENCE = "Apache-2.0"


def human_constants(config: MttfConfig, path: int = 0) -> HumanConstants:
    """What a manifest says of networks of a configuration, on one of its paths."""
    rows = config.scale(path)
    return HumanConstants(
        channels=config.channels,
        cell_px=2 * rows if config.planes else rows,
        divisor=1 << config.levels,
        planes=config.planes,
        halvings=config.halvings,
        path=path,
        width=config.width,
        width_most=config.width_most,
        size=config.feature_size * (2 * rows if config.planes else rows),
        measured=config.measured,
    )


def make_networks(mttf: Mttf, path: int = 0) -> dict[str, nn.Module]:
    """The networks of a bundle by name, in evaluation mode, with divisors as halves hold them."""
    settled = copy.deepcopy(mttf).eval()
    for part in settled.modules():
        if isinstance(part, Gdn):  # weights of a convolution in the file, though not of a layer here
            part.gamma.data = part.gamma.data.half().float()
    networks: dict[str, nn.Module] = {
        PREDICTOR: (MeasuredNetwork if mttf.config.measured else PredictorNetwork)(settled, path),
        KEY: KeyNetwork(settled, path),
        FRAME: FrameNetwork(settled, path),
    }
    return {name: network.eval() for name, network in networks.items()}


@torch.no_grad()
def make_examples(networks: Mapping[str, nn.Module], keys: Tensor, frames: Tensor) -> dict[str, dict[str, Tensor]]:
    """Inputs of all networks: ``keys`` (N, colours, s h, s w), of which the first is painted from, and ``frames``.

    Where states tell measured motion it is made up: waves of some cells, believed here and there.
    """
    predictor, key = networks[PREDICTOR], keys[:1]
    known = networks[KEY](key)
    if isinstance(predictor, MeasuredNetwork):
        rows = predictor.mttf.config.scale(predictor.path)
        height, width = (n // rows for n in key.shape[2:])
        waves = torch.linspace(0, 40, len(frames) * 2 * height * width).reshape(-1, 2, height, width)
        seen = {"picture": key, "motion": 3 * waves.sin(), "trust": waves[:, :1].cos().abs()}
        features, driving = predictor(**seen)
        source = torch.zeros_like(driving[:1])
    else:
        seen = {"picture": keys}
        (features, source), driving = predictor(key), predictor(frames)[1]
    painted = {"picture": key, "features": features, "source": source, "driving": driving}
    painted |= {f"skip{n}": skip for n, skip in enumerate(known)}
    given = {PREDICTOR: seen, KEY: {"picture": keys}, FRAME: painted}
    return {net: {name: value.contiguous() for name, value in inputs.items()} for net, inputs in given.items()}


def export_human(
    mttf: Mttf,
    folder: Path,
    pictures: Sequence[tuple[Tensor, Tensor]],
    *,
    name: str,
    revision: str,
    licence: str = LICENCE,
    path: int = 0,
    notes: Mapping[str, Any] | None = None,
    max_bytes: int = 1 << 30,
) -> ModelBundle:
    """Export all networks, check them in a fresh process without torch, and write the bundle.

    Args:
        mttf: with its weights.
        folder: to write into, made if needed.
        pictures: examples, key pictures and frames, (N, colours, s h, s w) each; sizes and numbers should differ.
        name: of the bundle.
        revision: of the bundle.
        licence: of the weights.
        path: for which size of pictures.
        notes: plain values for the manifest.
        max_bytes: of all files together.

    Raises:
        ExportError: a network cannot be exported, or gives something else in the shipped runtime.
        BundleError: what was written is not a valid bundle.
    """
    networks = make_networks(mttf, path)
    examples = [make_examples(networks, *pair) for pair in pictures]
    nets = {net: NetExport(module, [given[net] for given in examples]) for net, module in networks.items()}
    constants = human_constants(mttf.config, path)
    return export_bundle(
        nets,
        folder,
        name=name,
        revision=revision,
        licence=licence,
        constants=constants,
        notes=notes,
        max_bytes=max_bytes,
    )
