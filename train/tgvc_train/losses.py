"""What the networks are asked for."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

_CHROMA = 0.5


def luma_of(planes: Tensor) -> Tensor:
    """Luma (N, 1, H, W) of planes (N, 6, H/2, W/2)."""
    return functional.pixel_shuffle(planes[:, :4], 2)


def picture_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Absolute error of planes and of the luma's differences at three scales, so that edges count."""
    error = made - wanted
    loss = error[:, :4].abs().mean() + _CHROMA * error[:, 4:].abs().mean()
    luma = luma_of(error)
    for _ in range(3):
        loss = loss + luma.diff(dim=2).abs().mean() + luma.diff(dim=3).abs().mean()
        luma = functional.avg_pool2d(luma, 2)
    return loss


def coarse_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """`picture_loss` of what is left at half size: the finest octave may be anything."""
    error = made - wanted
    luma = functional.avg_pool2d(luma_of(error), 2)
    loss = luma.abs().mean() + _CHROMA * error[:, 4:].abs().mean()
    for _ in range(2):
        loss = loss + luma.diff(dim=2).abs().mean() + luma.diff(dim=3).abs().mean()
        luma = functional.avg_pool2d(luma, 2)
    return loss


def texture_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Difference of the deviation of the luma's finest octave, over squares of 16 px that overlap by half."""
    return functional.l1_loss(*(_fine_deviation(luma_of(p)) for p in (made, wanted)))


def fine_octave(luma: Tensor) -> Tensor:
    """What of a luma (N, 1, H, W) is gone at half size."""
    return luma - functional.interpolate(functional.avg_pool2d(luma, 2), scale_factor=2, mode="bilinear")


def _fine_deviation(luma: Tensor) -> Tensor:
    return (functional.avg_pool2d(fine_octave(luma).square(), 16, 8) + 1e-5).sqrt()


def drift(residual: Tensor) -> Tensor:
    """Divergence (Kullback-Leibler) of N(residual, s^2) from N(0, 1) per value, up to what s alone decides."""
    return 0.5 * residual.square().mean()


class Critic(nn.Module):
    """Tells real planes from made ones, patch by patch, beside the weight-free picture that both belong to.

    Args:
        fine: it is shown the finest octave of the luma alone.
    """

    def __init__(self, *, fine: bool = False) -> None:
        super().__init__()
        self.fine = fine
        widths = (10 if fine else 12, 48, 64, 96)
        layers: list[nn.Module] = []
        for n, (a, b) in enumerate(pairwise(widths)):
            layer = nn.Conv2d(a, b, 4 if n else 3, 2 if n else 1, padding=1)
            layers += [spectral_norm(layer), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))

    def forward(self, planes: Tensor, warp: Tensor) -> Tensor:
        """Planes (N, 6, h, w) and weight-free planes to scores (N, 1, h/4, w/4)."""
        seen = functional.pixel_unshuffle(4 * fine_octave(luma_of(planes)), 2) if self.fine else planes - warp
        return self.layers(torch.cat([seen, warp], dim=1))


def judge_planes(critic: Critic, planes: Tensor, warp: Tensor, device: str, *, learn: bool) -> Tensor:
    """Scores of planes; the critic's own weights are left out of the graph unless it is to ``learn``."""
    critic.requires_grad_(learn)
    with torch.autocast(device, torch.bfloat16):
        scores: Tensor = critic(planes, warp)
    return scores.float()


def teach_critic(
    critic: Critic, optimiser: torch.optim.Optimizer, real: Tensor, made: Tensor, warp: Tensor, device: str
) -> Tensor:
    """One step of the critic under the hinge loss, which is returned."""
    scores = judge_planes(critic, torch.cat([real, made.detach()]), torch.cat([warp, warp]), device, learn=True)
    for_real, for_made = scores.chunk(2)
    loss = functional.relu(1 - for_real).mean() + functional.relu(1 + for_made).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss
