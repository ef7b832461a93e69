"""Last stage: the decoder learns how much of the finest octave its pictures lack.

Its pictures stay as they are. They are made of what the denoiser really gives, so that the amount is that of decoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tgvc.diffusion.schedule import linear_abar
from tgvc_export.nano.autoencoder import Decoder
from tgvc_export.nano.denoiser import Denoiser
from tgvc_train.checkpoint import Average, load_checkpoint
from tgvc_train.latents import load_encoder
from tgvc_train.losses import grain_loss
from tgvc_train.run import Run
from tgvc_train.samples import Samples, Window


@dataclass(frozen=True, kw_only=True)
class GrainRecipe:
    """Everything that decides the outcome."""

    steps: int = 3000
    batch: int = 4
    frames: int = 2
    crop: int = 128  # px
    rate: float = 1e-3
    share: float = 0.5  # of the source's finest octave that a picture is to have, grain included
    most_steps: int = 4
    seed: int = 0


def train_grain(
    data: Path,
    out: Path,
    recipe: GrainRecipe,
    device: str = "cpu",
    minutes: float = 1e9,
    stop: int | None = None,
) -> None:
    """Train, or go on from ``out/decoder.pt``, until all steps are done, the time is over or step ``stop``.

    Raises:
        ValueError: autoencoder or denoiser are not trained yet.
    """
    torch.manual_seed(recipe.seed)
    encoder, _ = load_encoder(out / "autoencoder.pt")
    first, second = load_checkpoint(out / "autoencoder.pt"), load_checkpoint(out / "denoiser.pt")
    if first is None or second is None:
        raise ValueError(f"{out}: train autoencoder and denoiser first")
    scale = second["scale"].reshape(1, -1, 1, 1, 1).to(device)
    latents = scale.shape[1]
    decoder, denoiser = Decoder(latents), Denoiser(latents)
    decoder.load_state_dict(first["decoder_average"])
    decoder.requires_grad_(False).lack.requires_grad_(True)
    denoiser.load_state_dict(second["average"])
    for module in (encoder, decoder, denoiser):
        module.to(device)
    average = Average(decoder)
    maker = torch.optim.AdamW(decoder.lack.parameters(), recipe.rate, (0.9, 0.98))
    parts, averages = {"decoder": decoder, "maker": maker}, {"average": average}
    run = Run(out, "decoder", parts, averages, steps=recipe.steps, minutes=minutes, stop=stop, seed=recipe.seed)
    sampler, samples = LatentSampler(denoiser, scale, device), Samples(data)
    while run.going:
        rng = run.begin_step(maker, recipe.rate)
        window = samples.window(rng, recipe.batch, recipe.frames, recipe.crop)
        source, warp = (a.flatten(0, 1).to(device) for a in (window.source, window.warp))
        with torch.autocast(device, torch.bfloat16):
            sampled = sampler.sample(encoder, window, int(rng.integers(1, recipe.most_steps + 1)), float(rng.random()))
            painted, amount = (tensor.float() for tensor in decoder(sampled, warp))
        loss = grain_loss(amount, painted, source, recipe.share)
        maker.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.lack.parameters(), 1.0)
        maker.step()
        average.update(decoder)
        run.end_step({"grain": loss, "amount": amount.mean().sqrt() * 127.5})
    run.save()


class LatentSampler:
    """Few-step DDIM sampling of windows, in torch, as the decoder of the codec does it.

    Args:
        denoiser: trained.
        scale: (1, C, 1, 1, 1), deviation of the residual per channel.
        device: where it runs.
    """

    def __init__(self, denoiser: Denoiser, scale: Tensor, device: str) -> None:
        self.denoiser, self.scale, self.device = denoiser.eval().requires_grad_(False), scale, device
        self.abar = [float(a) for a in linear_abar()]

    @torch.no_grad()
    def sample(self, encoder: torch.nn.Module, window: Window, steps: int, detail: float) -> Tensor:
        """Latents (B * T, C, h, w) of a window; ``detail`` is the deviation of the first noise."""
        shape = window.source.shape[:2]
        warp, before, after = (
            encoder(a.flatten(0, 1).to(self.device)).float().unflatten(0, shape).transpose(1, 2) / self.scale
            for a in (window.warp, window.before, window.after)
        )
        keys, hints = torch.cat([before, after], dim=1), window.hints.to(self.device)
        x = detail * torch.randn_like(warp)
        levels = [1000 * (n + 1) // steps - 1 for n in range(steps)]
        for n in reversed(range(steps)):
            signal = self.abar[levels[n]]
            t = torch.full((len(x),), float(levels[n]), device=self.device)
            v = self.denoiser(x, t, warp, keys, hints).float()
            clean, noise = signal**0.5 * x - (1 - signal) ** 0.5 * v, signal**0.5 * v + (1 - signal) ** 0.5 * x
            if n == 0:
                x = clean
            else:
                following = self.abar[levels[n - 1]]
                x = following**0.5 * clean + (1 - following) ** 0.5 * noise
        return ((warp + x) * self.scale).transpose(1, 2).flatten(0, 1)
