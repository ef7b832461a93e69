"""The networks as a bundle of kind ``animation`` holds them, see `tgvc.models.contract`."""

from __future__ import annotations

from torch import Tensor, nn

from tgvc_export.mofa.adapter import Adapter, move_features
from tgvc_export.mofa.autoencoder import TemporalVae
from tgvc_export.mofa.unet import VideoUNet


class VaeEncoder(nn.Module):
    """Pictures float32 (N, 3, H, W) in -1..1 to moments (N, 2C, h, w)."""

    def __init__(self, vae: TemporalVae) -> None:
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv

    def forward(self, picture: Tensor) -> Tensor:
        """See `TemporalVae.encode`."""
        return self.quant_conv(self.encoder(picture))


class VaeDecoder(nn.Module):
    """Latents float32 (B, T, C, h, w), without the sampler's scale, to pictures (B, T, 3, H, W)."""

    def __init__(self, vae: TemporalVae) -> None:
        super().__init__()
        self.decoder = vae.decoder

    def forward(self, z: Tensor) -> Tensor:
        """See `TemporalVae.decode`."""
        return self.decoder(z)


class Reference(nn.Module):
    """A key picture (B, 3, H, W) and flow (B, T, 2, H, W), the first of it 0, to moved features (B, T, C, h, w).

    Args:
        adapter: whose encoders it is.
        forwards: see `Adapter.describe`.
    """

    float32_inputs = ("flow",)  # places of pixels

    def __init__(self, adapter: Adapter, forwards: bool = True) -> None:
        super().__init__()
        self.controlnet_cond_embedding, self.flow_encoder = adapter.controlnet_cond_embedding, adapter.flow_encoder
        self.forwards = forwards

    def forward(self, picture: Tensor, flow: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        finest = self.controlnet_cond_embedding(picture)
        return tuple(move_features([finest, *self.flow_encoder(finest)], flow[:, 1:], self.forwards))


class AdapterGraph(nn.Module):
    """The adapter with the inputs of a bundle: residuals (B, T, C, h, w)."""

    float32_inputs = ("t", "ids")  # their sines are taken in float32

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        ids: Tensor,
        embedding: Tensor,
        moved0: Tensor,
        moved1: Tensor,
        moved2: Tensor | None = None,
        moved3: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """See `Adapter`; as many moved features as there are levels."""
        moved = [each for each in (moved0, moved1, moved2, moved3) if each is not None]
        residuals = self.adapter(x, t, ids, embedding, moved)
        return tuple(each.reshape(*x.shape[:1], x.shape[2], *each.shape[1:]) for each in residuals)


class UNetGraph(nn.Module):
    """The video network with the inputs of a bundle."""

    float32_inputs = ("t", "ids")  # as above

    def __init__(self, unet: VideoUNet) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        ids: Tensor,
        embedding: Tensor,
        residual0: Tensor,
        residual1: Tensor,
        residual2: Tensor,
        residual3: Tensor,
        residual4: Tensor,
        residual5: Tensor | None = None,
        residual6: Tensor | None = None,
        residual7: Tensor | None = None,
        residual8: Tensor | None = None,
        residual9: Tensor | None = None,
        residual10: Tensor | None = None,
        residual11: Tensor | None = None,
        residual12: Tensor | None = None,
    ) -> Tensor:
        """See `VideoUNet`; as many residuals as the adapter gives, (B, T, C, h, w) each."""
        few = residual0, residual1, residual2, residual3, residual4
        more = residual5, residual6, residual7, residual8, residual9, residual10, residual11, residual12
        residuals = [each.reshape(-1, *each.shape[2:]) for each in (*few, *more) if each is not None]
        return self.unet(x, t, ids, embedding, residuals)
