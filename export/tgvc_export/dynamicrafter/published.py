"""DynamiCrafter as it was published: what its configuration says, and where its checkpoint keeps which network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tgvc.diffusion.buffers import published_buffers
from tgvc.diffusion.schedule import SCHEDULE, TRAIN_STEPS
from tgvc.models.clip_text import END
from tgvc.models.constants import InterpolationConstants
from tgvc_export.checkpoint_records import CheckpointError
from tgvc_export.checkpoint_weights import Part, state_shapes
from tgvc_export.dynamicrafter.autoencoder import LATENT_SCALE, Autoencoder, AutoencoderConfig
from tgvc_export.dynamicrafter.resampler import Resampler, ResamplerConfig
from tgvc_export.dynamicrafter.unet import UNet3D, UNetConfig
from tgvc_export.openclip.image import ImageConfig, ImageTower, leftover_tensors
from tgvc_export.openclip.text import TextConfig, TextTower

UNET, VAE, TEXT, IMAGE, PROJECTION = "unet", "autoencoder", "text tower", "image tower", "image projection"
PREFIXES = {
    UNET: "model.diffusion_model.",
    VAE: "first_stage_model.",
    TEXT: "cond_stage_model.",
    IMAGE: "embedder.",
    PROJECTION: "image_proj_model.",
}
# Of the sampler, as published for interpolation
STEPS, ETA, GUIDANCE, RESCALE, FRAME_RATE = 50, 1.0, 7.5, 0.7, 5
_MOST_BYTES = 1 << 20
_FIXED = {
    "parameterization": "v",
    "rescale_betas_zero_snr": True,
    "linear_start": 0.00085,
    "linear_end": 0.012,
    "timesteps": TRAIN_STEPS,
    "base_scale": 0.7,
    "use_ema": False,
}


@dataclass(frozen=True)
class PublishedSizes:
    """Sizes of all networks of a checkpoint; the defaults are those of the 512-pixel models."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    projection: ResamplerConfig = field(default_factory=ResamplerConfig)
    text: TextConfig = field(default_factory=TextConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    latent_scale: float = LATENT_SCALE
    dynamic: bool = True

    def __post_init__(self) -> None:
        pairs = (
            ("text tower gives width", self.text.width, "UNet's context has", self.unet.context_dim),
            ("image projection gives width", self.projection.output_dim, "UNet's context has", self.unet.context_dim),
            ("image tower gives width", self.image.width, "image projection takes", self.projection.embedding_dim),
            ("UNet gives channels", self.unet.out_channels, "autoencoder has", self.autoencoder.latents),
            ("UNet takes channels", self.unet.in_channels, "twice the latents are", 2 * self.autoencoder.latents),
            ("text tower knows words", self.text.vocabulary, "those of CLIP are", END + 1),
        )
        for first, left, second, right in pairs:
            if left != right:
                raise ValueError(f"{first} {left}, {second} {right}")

    def build(self, name: str) -> nn.Module:
        """One of the networks without values, on ``meta``; ``name`` is one of `PREFIXES`."""
        makers: dict[str, Callable[[], nn.Module]] = {
            UNET: lambda: UNet3D(**vars(self.unet)),
            VAE: lambda: Autoencoder(self.autoencoder),
            TEXT: lambda: TextTower(self.text),
            IMAGE: lambda: ImageTower(self.image),
            PROJECTION: lambda: Resampler(self.projection),
        }
        with torch.device("meta"):
            return makers[name]()

    def parts(self) -> dict[str, Part]:
        """What a checkpoint has to hold of every network."""
        unused = {IMAGE: frozenset(leftover_tensors(self.text))}
        return {
            name: Part(prefix, state_shapes(self.build(name)), unused.get(name, frozenset()))
            for name, prefix in PREFIXES.items()
        }

    def constants(self) -> InterpolationConstants:
        """What the runtime has to know of the networks."""
        unet = self.build(UNET)
        assert isinstance(unet, UNet3D)
        return InterpolationConstants(
            latent_channels=self.autoencoder.latents,
            cell_px=self.autoencoder.cell_px,
            divisor=2 ** (len(self.unet.channel_mult) - 1),
            latent_scale=self.latent_scale,
            window=self.projection.video_length,
            context=self.unet.context_dim,
            image_tokens=self.projection.num_queries,
            embedding=self.image.embed,
            shifts=sum(block.outputs for block in unet.residual_blocks()),
            heads=sum(2 * layer.heads for layer in unet.asking_layers()),
            head_width=self.unet.num_head_channels,
            schedule=SCHEDULE,
            train_steps=TRAIN_STEPS,
            dynamic=self.dynamic,
            steps=STEPS,
            eta=ETA,
            scale=GUIDANCE,
            rescale=RESCALE,
            fs=FRAME_RATE,
        )


def schedule_buffers() -> dict[str, list[float]]:
    """The values at the top of a checkpoint that say how it was trained, by name."""
    return {name: [float(value) for value in values] for name, values in published_buffers().items()}


def read_sizes(path: Path) -> PublishedSizes:
    """Sizes from a JSON file: the published configuration (``model`` of the YAML), and OpenCLIP's as ``clip_config``.

    Raises:
        CheckpointError: not such a file, or a configuration of other networks.
    """
    try:
        with path.open("rb") as stream:
            options = json.loads(stream.read(_MOST_BYTES))
        return parse_sizes(options)
    except OSError as fault:
        raise CheckpointError(f"{path}: cannot be read ({fault.strerror})") from fault
    except KeyError as fault:
        raise CheckpointError(f"{path}: no {fault} in this configuration") from fault
    except (ValueError, TypeError, AttributeError, RecursionError) as fault:
        raise CheckpointError(f"{path}: not a configuration of these networks: {' '.join(str(fault).split())}") from (
            fault
        )


def parse_sizes(options: Mapping[str, Any]) -> PublishedSizes:
    """Sizes from a published configuration, as values.

    Raises:
        KeyError: something is missing.
        ValueError: of other networks, or another schedule.
    """
    model = options.get("model", options)["params"]
    for name, value in _FIXED.items():
        if model.get(name, value) != value:
            raise ValueError(f"{name}={model[name]!r:.40}, expected {value!r}")
    clip = options.get("clip_config")
    return PublishedSizes(
        unet=UNetConfig.from_options(model["unet_config"]["params"]),
        autoencoder=AutoencoderConfig.from_options(model["first_stage_config"]["params"]),
        projection=ResamplerConfig.from_options(model["image_proj_stage_config"]["params"]),
        text=TextConfig.from_options(clip) if clip else TextConfig(),
        image=ImageConfig.from_options(clip) if clip else ImageConfig(),
        latent_scale=float(model["scale_factor"]),
        dynamic=bool(model["use_dynamic_rescale"]),
    )
