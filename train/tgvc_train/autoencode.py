"""Training of the nano autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tgvc_export.nano.autoencoder import LATENTS, Decoder, Encoder
from tgvc_train.checkpoint import Average
from tgvc_train.losses import Critic, drift, judge_planes, luma_of, picture_loss, teach_critic
from tgvc_train.run import Run
from tgvc_train.samples import Samples

_LEAST_ERROR = 4e-5  # mean squared error that counts as 50 dB, so that black crops do not decide a mean


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """Everything that decides the outcome."""

    steps: int = 12000
    batch: int = 12
    crop: int = 128  # px
    rate: float = 1e-3
    latents: int = LATENTS
    noise: float = 0.3  # deviation of the noise on the latents
    drift: float = 0.003  # weight of the divergence of the latents from those of the weight-free picture
    critic_from: int = 6000
    critic_weight: float = 0.03
    seed: int = 0


def train_autoencoder(
    data: Path,
    out: Path,
    recipe: AutoencoderRecipe,
    device: str = "cpu",
    minutes: float = 1e9,
    stop: int | None = None,
) -> None:
    """Train, or go on from ``out/autoencoder.pt``, until all steps are done, the time is over or step ``stop``."""
    torch.manual_seed(recipe.seed)
    encoder, decoder, critic = Encoder(recipe.latents), Decoder(recipe.latents), Critic()
    for module in (encoder, decoder, critic):
        module.to(device, memory_format=torch.channels_last)
    averages = {"encoder_average": Average(encoder), "decoder_average": Average(decoder)}
    weights = [*encoder.parameters(), *decoder.parameters()]
    maker = torch.optim.AdamW(weights, recipe.rate, (0.9, 0.98), weight_decay=1e-4)
    judge = torch.optim.AdamW(critic.parameters(), recipe.rate / 2, (0.5, 0.98))
    parts = {"encoder": encoder, "decoder": decoder, "critic": critic, "maker": maker, "judge": judge}
    run = Run(out, "autoencoder", parts, averages, steps=recipe.steps, minutes=minutes, stop=stop, seed=recipe.seed)
    samples = Samples(data)
    while run.going:
        rng = run.begin_step(maker, recipe.rate)
        drawn = samples.frames(rng, recipe.batch, recipe.crop)
        source, warp = (a.to(device, memory_format=torch.channels_last) for a in drawn)
        with torch.autocast(device, torch.bfloat16):
            wanted, base = encoder(torch.cat([source, warp])).float().chunk(2)
            noisy = wanted + recipe.noise * torch.randn_like(wanted)
            made = decoder(noisy, warp)[0].float()
        values: dict[str, Tensor] = {"picture": picture_loss(made, source), "drift": drift(wanted - base)}
        loss = values["picture"] + recipe.drift * values["drift"]
        adversarial = run.step >= recipe.critic_from
        if adversarial:
            values["fooled"] = -judge_planes(critic, made, warp, device, learn=False).mean()
            ramp = min(1.0, (run.step - recipe.critic_from) / 500)
            loss = loss + ramp * recipe.critic_weight * values["fooled"]
        maker.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        maker.step()
        if adversarial:
            values["critic"] = teach_critic(critic, judge, source, made, warp, device)
        averages["encoder_average"].update(encoder)
        averages["decoder_average"].update(decoder)
        if run.end_step(values | measure(source, warp, made)):
            samples.refresh()
    run.save()


@torch.no_grad()
def measure(source: Tensor, warp: Tensor, made: Tensor) -> dict[str, float | Tensor]:
    """PSNR of luma before and after, dB, and the shares of the source's gradient energy that both keep."""
    lumas = [luma_of(p) for p in (source, warp, made)]
    errors = [(p - lumas[0]).square().mean(dim=(1, 2, 3)).clamp(min=_LEAST_ERROR) for p in lumas[1:]]
    psnr = [float((10 * torch.log10(4 / e)).mean()) for e in errors]
    energy = [float(p.diff(dim=2).square().mean() + p.diff(dim=3).square().mean()) for p in lumas]
    return {
        "psnr_warp": psnr[0],
        "psnr_made": psnr[1],
        "energy_warp": energy[1] / energy[0],
        "energy_made": energy[2] / energy[0],
    }
