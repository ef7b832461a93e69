"""The nano autoencoder: latents of a picture, and pictures from latents beside the weight-free reconstruction.

A conditional variational autoencoder. The decoder is shown the weight-free picture, so the latents only have to say
what that picture lacks; the prior of the latents of a source is centred on those of its weight-free reconstruction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.nano.blocks import PLANES, Residual, conv, zeroed

LATENTS = 8
_LUMA = 4  # planes of it, before two of chroma
_WIDTHS = (32, 48, 64)  # channels at 1/2, 1/4 and 1/8 of the size
# logarithms of the energy of grain: before training, a deviation of 2 levels of 255; and the limits of what it may be
_FAINT, _LEAST, _MOST = -8.0, -14.0, -3.0


class Encoder(nn.Module):
    """Planes float32 (N, 6, H/2, W/2) to latents (N, C, H/8, W/8)."""

    def __init__(self, latents: int = LATENTS) -> None:
        super().__init__()
        fine, middle, coarse = _WIDTHS
        self.layers = nn.Sequential(
            conv(PLANES, fine),
            nn.LeakyReLU(0.1),
            conv(fine, middle, stride=2),
            Residual(middle),
            nn.LeakyReLU(0.1),
            conv(middle, coarse, stride=2),
            Residual(coarse),
            Residual(coarse),
            nn.LeakyReLU(0.1),
            conv(coarse, latents),
        )

    def forward(self, planes: Tensor) -> Tensor:
        """See the class."""
        return self.layers(planes)


class Decoder(nn.Module):
    """Latents (N, C, H/8, W/8) and weight-free planes (N, 6, H/2, W/2) to planes and to what they lack.

    What can be known of a picture is painted. Of the finest octave of the rest only the amount can be told: its energy,
    (N, 1, H/2, W/2), comes beside the picture, for noise to take its place. A network that is asked for texture itself
    repeats patterns.
    """

    def __init__(self, latents: int = LATENTS) -> None:
        super().__init__()
        fine, middle, coarse = _WIDTHS
        self.see_fine = conv(PLANES, fine)
        self.see_middle = conv(fine, middle, stride=2)
        self.see_coarse = conv(middle, coarse, stride=2)
        self.start = conv(latents, coarse)
        self.coarse = nn.Sequential(Residual(coarse), Residual(coarse))
        self.to_middle = conv(coarse, 4 * middle, size=1)
        self.middle = nn.Sequential(Residual(middle), Residual(middle))
        self.to_fine = conv(middle, 4 * fine, size=1)
        self.fine = nn.Sequential(Residual(fine), Residual(fine))
        self.finish = zeroed(conv(fine, PLANES))
        self.lack = nn.ModuleDict(
            {
                "middle": nn.Sequential(Residual(middle), Residual(middle), nn.LeakyReLU(0.1), zeroed(conv(middle, 4))),
                "fine": zeroed(conv(fine, 1)),
            }
        )

    def forward(self, latents: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        fine = self.see_fine(planes)
        middle = self.see_middle(functional.leaky_relu(fine, 0.1))
        x = self.start(latents) + self.see_coarse(functional.leaky_relu(middle, 0.1))
        x = functional.pixel_shuffle(self.to_middle(self.coarse(x)), 2) + middle
        x = self.middle(x)
        lack = functional.pixel_shuffle(self.lack["middle"](x), 2) + _FAINT
        x = functional.leaky_relu(self.fine(functional.pixel_shuffle(self.to_fine(x), 2) + fine), 0.1)
        lack = lack + self.lack["fine"](x)
        return planes + self.finish(x), lack.clamp(_LEAST, _MOST).exp()


class ScaledEncoder(nn.Module):
    """An encoder whose latents are divided by a scale per channel, so that residuals have unit deviation."""

    def __init__(self, encoder: Encoder, scale: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("scale", scale.reshape(1, -1, 1, 1))
        self.scale: Tensor

    def forward(self, planes: Tensor) -> Tensor:
        """See `Encoder`."""
        return torch.div(self.encoder(planes), self.scale)


class ScaledDecoder(nn.Module):
    """A decoder of latents as `ScaledEncoder` gives them, whose chroma is that of the weight-free picture.

    What is guessed of chroma is farther from the source than what was there, and shows as fringes along edges.
    """

    def __init__(self, decoder: Decoder, scale: Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("scale", scale.reshape(1, -1, 1, 1))
        self.scale: Tensor

    def forward(self, latents: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
        """See `Decoder`."""
        made, lack = self.decoder(latents * self.scale, planes)
        return torch.cat([made[:, :_LUMA], planes[:, _LUMA:]], dim=1), lack
