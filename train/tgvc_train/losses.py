"""What the networks are asked for."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

_CHROMA = 0.5
_BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)
_PATCH = 8  # px over which the energy of texture is averaged
_UNSEEN = 4e-6  # energy of a quarter of a level of 255


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


def dissimilarity(made: Tensor, wanted: Tensor) -> Tensor:
    """1 less the mean structural similarity of lumas (N, 1, H, W) in -1..1, over windows of 8 px."""
    first, second = 0.02**2, 0.06**2  # (0.01 L)^2 and (0.03 L)^2 with L = 2
    mean_a, mean_b = (functional.avg_pool2d(p, 8, 4) for p in (made, wanted))
    var_a = functional.avg_pool2d(made * made, 8, 4) - mean_a.square()
    var_b = functional.avg_pool2d(wanted * wanted, 8, 4) - mean_b.square()
    both = functional.avg_pool2d(made * wanted, 8, 4) - mean_a * mean_b
    alike = (2 * mean_a * mean_b + first) * (2 * both + second)
    return 1 - (alike / ((mean_a.square() + mean_b.square() + first) * (var_a + var_b + second))).mean()


def fine_octave(luma: Tensor) -> Tensor:
    """What of a luma (N, 1, H, W) is gone at half size: the finest level of a Laplacian pyramid."""
    row = luma.new_tensor(_BINOMIAL) / 16
    return luma - functional.conv2d(luma, torch.outer(row, row)[None, None], padding=2)


def band_energy(luma: Tensor, octaves: int = 3) -> list[Tensor]:
    """Energy of the finest octaves of a luma (N, 1, H, W), each as means over windows of `_PATCH` of its samples.

    The energy of a quarter of a grey level is added, so that roots have a slope everywhere.
    """
    found = []
    for _ in range(octaves):
        found.append(functional.avg_pool2d(fine_octave(luma).square(), _PATCH, _PATCH // 2) + _UNSEEN)
        luma = functional.avg_pool2d(luma, 2)
    return found


def grain_loss(amount: Tensor, painted: Tensor, wanted: Tensor, share: float) -> Tensor:
    """How unlikely the energy is that a painted picture lacks in the finest octave; least at its mean.

    Args:
        amount: (N, 1, H/2, W/2), the energy that is thought to be lacking.
        painted: planes (N, 6, H/2, W/2).
        wanted: planes of the source.
        share: of the source's energy that picture and grain together are to have.
    """
    had, whole = (
        functional.avg_pool2d(fine_octave(luma_of(p)).square(), _PATCH, _PATCH // 2) for p in (painted, wanted)
    )
    lacking = (share * whole - had).clamp(min=0) + _UNSEEN
    guess = functional.avg_pool2d(amount, _PATCH // 2, _PATCH // 4) + _UNSEEN
    return (guess.log() + lacking / guess).mean()


def drift(residual: Tensor) -> Tensor:
    """Divergence (Kullback-Leibler) of N(residual, s^2) from N(0, 1) per value, up to what s alone decides."""
    return 0.5 * residual.square().mean()


class Critic(nn.Module):
    """Tells real planes from made ones, patch by patch, beside the weight-free picture that both belong to."""

    def __init__(self) -> None:
        super().__init__()
        widths = (12, 48, 64, 96)
        layers: list[nn.Module] = []
        for n, (a, b) in enumerate(pairwise(widths)):
            layer = nn.Conv2d(a, b, 4 if n else 3, 2 if n else 1, padding=1)
            layers += [spectral_norm(layer), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))

    def forward(self, planes: Tensor, warp: Tensor) -> Tensor:
        """Planes (N, 6, h, w) and weight-free planes to scores (N, 1, h/4, w/4)."""
        return self.layers(torch.cat([planes - warp, warp], dim=1))


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
