"""The trained networks as the bundle that is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import MAPS
from tgvc.models.manifest import Constants
from tgvc_export.bundle import NetExport, export_bundle
from tgvc_export.nano.autoencoder import Decoder, Encoder, ScaledDecoder, ScaledEncoder
from tgvc_export.nano.denoiser import Denoiser
from tgvc_train.checkpoint import load_checkpoint
from tgvc_train.maps import FOLDER
from tgvc_train.samples import Samples, Window

STEPS, DETAIL, WINDOW = 4, 0.5, 16
_EXAMPLES = ((2, 3, 128), (1, 5, 96))  # windows, frames, px: what the export is checked on
LICENCE = "Apache-2.0"


def load_networks(run: Path, *, maps: bool = False) -> tuple[nn.Module, Denoiser, nn.Module]:
    """Encoder and decoder with latents of unit residual deviation, and the denoiser, all averaged weights.

    Args:
        run: folder of checkpoints.
        maps: take the denoiser of the stage maps.

    Raises:
        ValueError: a stage was not trained yet.
    """
    names = ("autoencoder", f"{FOLDER}/denoiser" if maps else "denoiser", "decoder")
    first, second, third = (load_checkpoint(run / f"{name}.pt") for name in names)
    if first is None or second is None:
        raise ValueError(f"{run}: train {' and '.join(names[:2])} first")
    scale = second["scale"]
    encoder, decoder = Encoder(len(scale)), Decoder(len(scale))
    denoiser = Denoiser(len(scale), MAPS if maps else 0)
    encoder.load_state_dict(first["encoder_average"])
    decoder.load_state_dict(first["decoder_average"] if third is None else third["average"])
    denoiser.load_state_dict(second["average"])
    return ScaledEncoder(encoder, scale).eval(), denoiser.eval(), ScaledDecoder(decoder, scale).eval()


def write_bundle(
    data: Path, run: Path, folder: Path, revision: str, notes: dict[str, Any], *, maps: bool = False
) -> ModelBundle:
    """Export the networks of a run, checked on prepared samples; with ``maps`` the denoiser that is shown them.

    Raises:
        ValueError: a stage was not trained yet, or the export is not what torch computes.
    """
    encoder, denoiser, decoder = load_networks(run, maps=maps)
    samples, rng = Samples(data), np.random.default_rng(0)
    cases = [_example(samples.window(rng, *shape), encoder, denoiser.maps) for shape in _EXAMPLES]
    nets = {
        "encoder": NetExport(encoder, [{"planes": c["planes"]} for c in cases]),
        "denoiser": NetExport(denoiser, [{n: c[n] for n in ("x", "t", "base", "keys", "hints")} for c in cases]),
        "decoder": NetExport(decoder, [{n: c[n] for n in ("latents", "planes")} for c in cases]),
    }
    constants = Constants(
        latent_channels=denoiser.latents,
        cell_px=8,
        residual_std=1.0,
        detail=DETAIL,
        schedule="linear-ztsnr",
        train_steps=1000,
        steps=STEPS,
        window=WINDOW,
        maps=denoiser.maps,
    )
    return export_bundle(
        nets, folder, name="nano", revision=revision, licence=LICENCE, constants=constants, notes=notes
    )


@torch.no_grad()
def _example(window: Window, encoder: nn.Module, maps: int) -> dict[str, Tensor]:
    """Inputs of all networks for one window, with so many channels of spots after the hints."""
    batch, _, *rest = window.hints.shape
    spots = (torch.rand(batch, maps, *rest, generator=torch.Generator().manual_seed(1)) - 0.7).clamp(min=0)
    shape = window.source.shape[:2]
    base, before, after = (
        encoder(p.flatten(0, 1)).unflatten(0, shape).transpose(1, 2) for p in (window.warp, window.before, window.after)
    )
    return {
        "planes": window.warp.flatten(0, 1).contiguous(),
        "latents": base.transpose(1, 2).flatten(0, 1).contiguous(),
        "x": torch.randn(base.shape, generator=torch.Generator().manual_seed(0)),
        "t": torch.full((len(base),), 749.0),
        "base": base.contiguous(),
        "keys": torch.cat([before, after], dim=1),
        "hints": torch.cat([window.hints, spots], dim=1),
    }
