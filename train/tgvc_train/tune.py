"""Last stage: the decoder learns to make real-looking pictures of what the denoiser really gives it.

The autoencoder's decoder has only seen latents of sources. Here it also sees sampled ones, from which the finest
octave cannot be told: down to half size its pictures have to agree with the source; of the finest octave only the
amount is asked for, and that a critic, who sees nothing else, takes it for real beside the weight-free picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tgvc.diffusion.schedule import linear_abar
from tgvc_export.nano.autoencoder import Decoder
from tgvc_export.nano.denoiser import Denoiser
from tgvc_train.autoencode import draw_grain, measure
from tgvc_train.checkpoint import Average, load_checkpoint
from tgvc_train.latents import load_encoder
from tgvc_train.losses import (
    Critic,
    coarse_loss,
    judge_planes,
    picture_loss,
    teach_critic,
    texture_loss,
)
from tgvc_train.run import Run
from tgvc_train.samples import Samples, Window


@dataclass(frozen=True, kw_only=True)
class TuningRecipe:
    """Everything that decides the outcome."""

    steps: int = 4000
    batch: int = 4
    frames: int = 2
    crop: int = 128  # px
    rate: float = 3e-4
    noise: float = 0.3
    rebuilt: float = 0.3  # weights: of pictures from true latents,
    coarse: float = 3.0  # of what has to agree with the source,
    texture: float = 0.5  # and of what only has to look like it
    critic: float = 0.05
    most_steps: int = 4
    seed: int = 0


def tune_decoder(
    data: Path,
    out: Path,
    recipe: TuningRecipe,
    device: str = "cpu",
    minutes: float = 1e9,
    stop: int | None = None,
) -> None:
    """Tune, or go on from ``out/decoder.pt``, until all steps are done, the time is over or step ``stop``.

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
    decoder, denoiser, critic = Decoder(latents), Denoiser(latents), Critic(fine=True)
    decoder.load_state_dict(first["decoder_average"])
    denoiser.load_state_dict(second["average"])
    for module in (encoder, decoder, denoiser, critic):
        module.to(device)
    average = Average(decoder)
    maker = torch.optim.AdamW(decoder.parameters(), recipe.rate, (0.9, 0.98), weight_decay=1e-4)
    judge = torch.optim.AdamW(critic.parameters(), recipe.rate, (0.5, 0.98))
    parts = {"decoder": decoder, "critic": critic, "maker": maker, "judge": judge}
    averages = {"average": average}
    run = Run(out, "decoder", parts, averages, steps=recipe.steps, minutes=minutes, stop=stop, seed=recipe.seed)
    sampler, samples = LatentSampler(denoiser, scale, device), Samples(data)
    while run.going:
        rng = run.begin_step(maker, recipe.rate)
        window = samples.window(rng, recipe.batch, recipe.frames, recipe.crop)
        source, warp = (a.flatten(0, 1).to(device) for a in (window.source, window.warp))
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            true = encoder(source).float()
            sampled = sampler.sample(encoder, window, int(rng.integers(1, recipe.most_steps + 1)), float(rng.random()))
            noisy = true + recipe.noise * torch.randn_like(true)
        with torch.autocast(device, torch.bfloat16):
            both = torch.cat([warp, warp])
            made = decoder(torch.cat([noisy, sampled]), both, draw_grain(both))
        rebuilt, invented = made.float().chunk(2)
        values = {
            "rebuilt": picture_loss(rebuilt, source),
            "coarse": coarse_loss(invented, source),
            "texture": texture_loss(invented, source),
            "fooled": -judge_planes(critic, invented, warp, device, learn=False).mean(),
        }
        loss = (
            recipe.rebuilt * values["rebuilt"] + recipe.coarse * values["coarse"] + recipe.texture * values["texture"]
        )
        loss = loss + recipe.critic * values["fooled"]
        maker.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        maker.step()
        values["critic"] = teach_critic(critic, judge, source, invented, warp, device)
        average.update(decoder)
        run.end_step(values | measure(source, warp, invented.detach()))
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
