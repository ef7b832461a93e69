"""Training of the nano autoencoder."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tgvc_export.nano.autoencoder import LATENTS, Decoder, Encoder
from tgvc_train.checkpoint import Average, load_checkpoint, log_line, save_checkpoint
from tgvc_train.losses import Critic, critic_loss, drift, luma_of, picture_loss
from tgvc_train.samples import Samples

_LEAST_ERROR = 4e-5  # mean squared error that counts as 50 dB, so that black crops do not decide a mean


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """Everything that decides the outcome."""

    steps: int = 9000
    batch: int = 12
    crop: int = 128  # px
    rate: float = 1e-3
    latents: int = LATENTS
    noise: float = 0.3  # deviation of the noise on the latents
    drift: float = 0.003  # weight of the divergence of the latents from those of the weight-free picture
    critic_from: int = 4500
    critic_weight: float = 0.03
    seed: int = 0


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Warm-up over 200 steps, then half a cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / 200)
    return highest * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def train_autoencoder(
    data: Path, out: Path, recipe: AutoencoderRecipe, device: str = "cpu", minutes: float = 1e9
) -> None:
    """Train, or go on from ``out/autoencoder.pt``, until all steps are done or the time is over."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    encoder, decoder = Encoder(recipe.latents).to(device), Decoder(recipe.latents).to(device)
    critic = Critic().to(device)
    for module in (encoder, decoder, critic):
        module.to(memory_format=torch.channels_last)
    averages = Average(encoder), Average(decoder)
    maker = torch.optim.AdamW(
        [*encoder.parameters(), *decoder.parameters()], recipe.rate, (0.9, 0.98), weight_decay=1e-4
    )
    judge = torch.optim.AdamW(critic.parameters(), recipe.rate / 2, (0.5, 0.98))
    path, step = out / "autoencoder.pt", 0
    parts = {"encoder": encoder, "decoder": decoder, "critic": critic, "maker": maker, "judge": judge}
    parts |= {"encoder_average": averages[0].module, "decoder_average": averages[1].module}
    if state := load_checkpoint(path):
        for name, part in parts.items():
            part.load_state_dict(state[name])
        step = state["step"]
        averages[0].steps = averages[1].steps = step
    samples, began = Samples(data), time.monotonic()
    sums: dict[str, float] = {}
    count = 0

    def save() -> None:
        save_checkpoint(path, {n: p.state_dict() for n, p in parts.items()} | {"step": step})

    while step < recipe.steps and time.monotonic() - began < 60 * minutes:
        rng = np.random.default_rng((recipe.seed, 1, step))
        for group in maker.param_groups:
            group["lr"] = learning_rate(step, recipe.steps, recipe.rate)
        source, warp = (
            a.to(device, memory_format=torch.channels_last) for a in samples.frames(rng, recipe.batch, recipe.crop)
        )
        with torch.autocast(device, torch.bfloat16):
            wanted, base = encoder(torch.cat([source, warp])).float().chunk(2)
            noisy = wanted + recipe.noise * torch.randn_like(wanted)
            made = decoder(noisy, warp)
        made = made.float()
        values = {"picture": picture_loss(made, source), "drift": drift(wanted - base)}
        loss = values["picture"] + recipe.drift * values["drift"]
        adversarial = step >= recipe.critic_from
        if adversarial:
            critic.requires_grad_(False)
            with torch.autocast(device, torch.bfloat16):
                score = critic(made, warp).float()
            values["fooled"] = -score.mean()
            ramp = min(1.0, (step - recipe.critic_from) / 500)
            loss = loss + ramp * recipe.critic_weight * values["fooled"]
        maker.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*encoder.parameters(), *decoder.parameters()], 1.0)
        maker.step()
        if adversarial:
            critic.requires_grad_(True)
            with torch.autocast(device, torch.bfloat16):
                scores = critic(torch.cat([source, made.detach()]), torch.cat([warp, warp])).float().chunk(2)
            values["critic"] = critic_loss(*scores)
            judge.zero_grad(set_to_none=True)
            values["critic"].backward()
            judge.step()
        for average, module in zip(averages, (encoder, decoder), strict=True):
            average.update(module)
        step, count = step + 1, count + 1
        values |= measure(source, warp, made)
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + float(torch.as_tensor(value).detach())
        if step % 100 == 0:
            line = {"step": step, "seconds": time.monotonic() - began} | {n: s / count for n, s in sums.items()}
            log_line(out / "autoencoder.jsonl", line)
            print(" ".join(f"{n} {v:.4g}" for n, v in line.items()), flush=True)
            sums, count = {}, 0
        if step % 500 == 0:
            samples.refresh()
            save()
    save()


@torch.no_grad()
def measure(source: Tensor, warp: Tensor, made: Tensor) -> dict[str, float]:
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
