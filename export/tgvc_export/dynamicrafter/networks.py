"""The networks around the UNet as a bundle of kind ``interpolation`` holds them, see `tgvc.models.contract`."""

from __future__ import annotations

from torch import Tensor, nn

from tgvc_export.dynamicrafter.autoencoder import Autoencoder
from tgvc_export.dynamicrafter.resampler import Resampler
from tgvc_export.openclip.image import ImageTower


class VaeEncoder(nn.Module):
    """Pictures float32 (N, 3, H, W) in -1..1 to moments (N, 2C, h, w)."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.encoder, self.quant_conv = autoencoder.encoder, autoencoder.quant_conv

    def forward(self, picture: Tensor) -> Tensor:
        """See `Autoencoder.encode`."""
        return self.quant_conv(self.encoder(picture))


class VaeDecoder(nn.Module):
    """Latents float32 (N, C, h, w), without the sampler's scale, to pictures (N, 3, H, W)."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.decoder, self.post_quant_conv = autoencoder.decoder, autoencoder.post_quant_conv

    def forward(self, z: Tensor) -> Tensor:
        """See `Autoencoder.decode`."""
        return self.decoder(self.post_quant_conv(z))


class ImageContext(nn.Module):
    """Prepared pixels float32 (N, 3, 224, 224) to context tokens (N, M, D) and embedding (N, E).

    The embedding is not of unit length. It is what key frames are chosen by; the tokens are what the UNet is shown.
    """

    def __init__(self, tower: ImageTower, resampler: Resampler) -> None:
        """Join the two.

        Raises:
            ValueError: the resampler takes tokens of another width than the tower gives.
        """
        super().__init__()
        if resampler.config.embedding_dim != tower.config.width:
            raise ValueError(
                f"resampler for tokens of width {resampler.config.embedding_dim}, the tower's are {tower.config.width}"
            )
        self.tower, self.resampler = tower, resampler

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        tokens, embedding = self.tower(pixels)
        return self.resampler(tokens), embedding
