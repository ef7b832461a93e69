"""The denoiser taught to look at trajectory maps: it goes on from the trained one, which knows nothing of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tgvc.diffusion.schedule import linear_abar
from tgvc.models.constants import MAPS
from tgvc_export.nano.denoiser import Denoiser, add_maps
from tgvc_train.checkpoint import Average, load_checkpoint
from tgvc_train.denoise import DenoiserRecipe, denoising_errors, draw_levels
from tgvc_train.latents import LatentSamples, LatentWindow
from tgvc_train.run import Run

FOLDER = "maps"  # of the run, where this stage keeps its own denoiser


@dataclass(frozen=True, kw_only=True)
class MapsRecipe(DenoiserRecipe):
    """As for the denoiser, and ``blind``: train without maps, on the same windows, to see what they are worth."""

    steps: int = 6000
    rate: float = 4e-4
    blind: bool = False


def train_maps(
    data: Path,
    digest: str,
    run_folder: Path,
    recipe: MapsRecipe,
    device: str = "cpu",
    minutes: float = 1e9,
    stop: int | None = None,
) -> None:
    """Train, or go on from ``maps/denoiser.pt`` of the run, until all steps are done, the time is over or ``stop``.

    Raises:
        ValueError: no trained denoiser, or one of another encoder.
    """
    trained = load_checkpoint(run_folder / "denoiser.pt")
    if trained is None or trained["encoder"] != digest:
        raise ValueError(f"{run_folder}: train the denoiser of this autoencoder first")
    samples = LatentSamples(data, digest, maps=True)
    samples.scale = trained["scale"].numpy()  # its latents are those of the trained one
    denoiser = Denoiser(len(samples.scale), MAPS)
    denoiser.load_state_dict(add_maps(trained["average"], MAPS))
    denoiser = denoiser.to(device)
    average = Average(denoiser, 0.998)
    maker = torch.optim.AdamW(denoiser.parameters(), recipe.rate, (0.9, 0.98), weight_decay=1e-4)
    run = Run(
        run_folder / (FOLDER + "-blind" * recipe.blind),
        "denoiser",
        {"denoiser": denoiser, "maker": maker},
        {"average": average},
        steps=recipe.steps,
        minutes=minutes,
        stop=stop,
        seed=recipe.seed,
        extra={"scale": trained["scale"], "encoder": digest},
    )
    abar = torch.from_numpy(np.asarray(linear_abar(), np.float32)).to(device)
    while run.going:
        rng = run.begin_step(maker, recipe.rate)
        window = samples.window(rng, recipe.batch, recipe.frames, recipe.cells)
        window = without_maps(window) if recipe.blind else window
        t = draw_levels(rng, recipe).to(device)
        errors = denoising_errors(denoiser, window, t, abar, recipe, device)
        maker.zero_grad(set_to_none=True)
        errors.mean().backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        maker.step()
        average.update(denoiser)
        run.end_step({"v_error": errors.mean()})
    run.save()


def without_maps(window: LatentWindow) -> LatentWindow:
    """The window with black maps."""
    hints: Tensor = window.hints.clone()
    hints[:, -MAPS:] = 0
    return LatentWindow(window.target, window.base, window.keys, hints)
