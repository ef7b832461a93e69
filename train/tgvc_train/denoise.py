"""Training of the nano denoiser on the latents of a trained autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tgvc.diffusion.schedule import linear_abar
from tgvc_export.nano.denoiser import Denoiser
from tgvc_train.checkpoint import Average
from tgvc_train.latents import LatentSamples, LatentWindow
from tgvc_train.run import Run


@dataclass(frozen=True, kw_only=True)
class DenoiserRecipe:
    """Everything that decides the outcome.

    ``few_steps``: share of the noise levels drawn from those that a decoder with few steps visits.
    ``ignorance``: share of windows whose keys and hints are hidden, for classifier-free guidance.
    """

    steps: int = 12000
    batch: int = 4
    frames: int = 8
    cells: int = 24
    rate: float = 1e-3
    few_steps: float = 0.5
    ignorance: float = 0.1
    same_noise: float = 0.3
    seed: int = 0


def train_denoiser(
    data: Path,
    digest: str,
    out: Path,
    recipe: DenoiserRecipe,
    device: str = "cpu",
    minutes: float = 1e9,
    stop: int | None = None,
) -> None:
    """Train, or go on from ``out/denoiser.pt``, until all steps are done, the time is over or step ``stop``."""
    samples = LatentSamples(data, digest)
    torch.manual_seed(recipe.seed)
    denoiser = Denoiser(len(samples.scale)).to(device)
    average = Average(denoiser, 0.9995)
    maker = torch.optim.AdamW(denoiser.parameters(), recipe.rate, (0.9, 0.98), weight_decay=1e-4)
    run = Run(
        out,
        "denoiser",
        {"denoiser": denoiser, "maker": maker},
        {"average": average},
        steps=recipe.steps,
        minutes=minutes,
        stop=stop,
        seed=recipe.seed,
        extra={"scale": torch.from_numpy(samples.scale), "encoder": digest},
    )
    abar = torch.from_numpy(np.asarray(linear_abar(), np.float32)).to(device)
    while run.going:
        rng = run.begin_step(maker, recipe.rate)
        window = samples.window(rng, recipe.batch, recipe.frames, recipe.cells)
        t = draw_levels(rng, recipe).to(device)
        errors = denoising_errors(denoiser, window, t, abar, recipe, device)
        maker.zero_grad(set_to_none=True)
        errors.mean().backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        maker.step()
        average.update(denoiser)
        by_level = {f"v_error_{200 * int(level // 200)}": e for level, e in zip(t, errors.detach(), strict=True)}
        run.end_step({"v_error": errors.mean()} | by_level)
    run.save()


def draw_levels(rng: np.random.Generator, recipe: DenoiserRecipe) -> Tensor:
    """Time steps float32 (batch,): any of the thousand, or those of decoders with 1, 2, 4 or 8 steps."""
    levels = []
    for _ in range(recipe.batch):
        if rng.random() < recipe.few_steps:
            count = int(rng.choice([1, 2, 4, 8]))
            levels.append(1000 * int(rng.integers(1, count + 1)) // count - 1)
        else:
            levels.append(int(rng.integers(1000)))
    return torch.tensor(levels, dtype=torch.float32)


def denoising_errors(
    denoiser: Denoiser, window: LatentWindow, t: Tensor, abar: Tensor, recipe: DenoiserRecipe, device: str
) -> Tensor:
    """Mean squared error of v for each window of a batch, float32 (B,)."""
    target, base, keys, hints = (a.to(device) for a in (window.target, window.base, window.keys, window.hints))
    noise = torch.randn_like(target)
    # a decoder may let the noise of all frames move along with what they show: on still parts it is the same
    same = (torch.rand(len(target), 1, 1, 1, 1, device=device) < recipe.same_noise).float()
    noise = torch.where(same > 0, noise[:, :, :1].expand_as(noise), noise)
    known = (torch.rand(len(target), 1, 1, 1, 1, device=device) >= recipe.ignorance).float()
    keys = torch.where(known > 0, keys, torch.cat([base, base], dim=1))
    signal, spread = (a.reshape(-1, 1, 1, 1, 1) for a in (abar[t.long()].sqrt(), (1 - abar[t.long()]).sqrt()))
    wanted = signal * noise - spread * target
    with torch.autocast(device, torch.bfloat16):
        v = denoiser(signal * target + spread * noise, t, base, keys, hints * known)
    return (v.float() - wanted).square().mean(dim=(1, 2, 3, 4))
