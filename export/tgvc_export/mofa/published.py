"""The published folders: what lies in them, and their weights as networks.

A folder holds Stable Video Diffusion as diffusers publishes it, and the adapter beside it::

    unet/config.json                unet/diffusion_pytorch_model.safetensors
    vae/config.json                 vae/diffusion_pytorch_model.safetensors
    image_encoder/config.json       image_encoder/model.safetensors
    controlnet/config.json          controlnet/diffusion_pytorch_model.safetensors

Weights in halves, as the variant ``fp16`` has them, are found by their name with ``.fp16`` before its ending.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tgvc.models.constants import AnimationConstants
from tgvc.types import OnProgress
from tgvc_export.checkpoint import Checkpoint, open_checkpoint
from tgvc_export.checkpoint_records import CheckpointError
from tgvc_export.checkpoint_weights import Part, fill_module, share_out, state_shapes
from tgvc_export.mofa.adapter import FINEST_PX, Adapter
from tgvc_export.mofa.autoencoder import TemporalVae
from tgvc_export.mofa.config import AdapterConfig, TemporalVaeConfig, VideoConfig
from tgvc_export.mofa.image import POSITIONS, EmbeddingTower, TowerConfig
from tgvc_export.mofa.unet import VideoUNet

UNET, VAE, IMAGE, CONTROL = "unet", "vae", "image_encoder", "controlnet"
FILES: Mapping[str, str] = {
    UNET: "diffusion_pytorch_model.safetensors",
    VAE: "diffusion_pytorch_model.safetensors",
    IMAGE: "model.safetensors",
    CONTROL: "diffusion_pytorch_model.safetensors",
}
_CONFIG, _MOST_BYTES = "config.json", 1 << 20
_UNUSED = {IMAGE: frozenset({POSITIONS})}
LICENCE = "Stability AI's, see its LICENSE file"
TERMS = (
    "Stable Video Diffusion, by Stability AI: its weights, and whatever is made of them, are under the licence of "
    "Stability AI that lies beside them. MOFA-Video's code is under Apache-2.0; read what its repository of weights "
    "says of these. The image tower is OpenCLIP ViT-H/14, trained on LAION-2B (MIT)."
)
# Of the sampler, as MOFA-Video calls it: its noise is Stable Video Diffusion's
STEPS, SIGMA_MIN, SIGMA_MAX, GUIDANCE_FIRST, GUIDANCE_LAST = 25, 0.002, 700.0, 1.0, 3.0
FRAME_RATE, MOTION, NOISE = 7, 128, 0.02


@dataclass(frozen=True)
class AnimationSizes:
    """Sizes of all networks; the defaults are the published ones."""

    unet: VideoConfig = field(default_factory=VideoConfig)
    vae: TemporalVaeConfig = field(default_factory=TemporalVaeConfig)
    image_encoder: TowerConfig = field(default_factory=TowerConfig)
    controlnet: AdapterConfig = field(default_factory=AdapterConfig)

    def __post_init__(self) -> None:
        pairs = (
            ("image tower gives", self.image_encoder.projection_dim, "UNet takes", self.unet.cross_attention_dim),
            ("UNet gives channels", self.unet.out_channels, "autoencoder has", self.vae.latent_channels),
            ("UNet takes channels", self.unet.in_channels, "twice the latents are", 2 * self.vae.latent_channels),
            ("adapter's finest cells of px", FINEST_PX, "the autoencoder's of", self.vae.cell_px),
        )
        for first, left, second, right in pairs:
            if left != right:
                raise ValueError(f"{first} {left}, {second} {right}")
        for name in (
            "in_channels",
            "block_out_channels",
            "down_block_types",
            "layers_per_block",
            "cross_attention_dim",
        ):
            own, copied = getattr(self.unet, name), getattr(self.controlnet, name)
            if own != copied:
                raise ValueError(f"{name}: UNet {own}, adapter {copied}: expected a copy")
        widths = tuple(self.unet.block_out_channels)
        if widths != tuple(min(widths[0] << level, max(widths)) for level in range(len(widths))):
            raise ValueError(f"block_out_channels={widths}: expected widths that double up to a greatest one")

    def build(self, name: str) -> nn.Module:
        """One of the networks without values, on ``meta``; ``name`` is one of `FILES`."""
        makers: dict[str, Callable[[], nn.Module]] = {
            UNET: lambda: VideoUNet(self.unet),
            VAE: lambda: TemporalVae(self.vae),
            IMAGE: lambda: EmbeddingTower(self.image_encoder),
            CONTROL: lambda: Adapter(self.controlnet),
        }
        with torch.device("meta"):
            return makers[name]()

    def constants(self) -> AnimationConstants:
        """What the runtime has to know of the networks."""
        return AnimationConstants(
            latent_channels=self.vae.latent_channels,
            cell_px=self.vae.cell_px,
            halvings=len(self.unet.block_out_channels) - 1,
            width=self.unet.block_out_channels[0],
            width_most=max(self.unet.block_out_channels),
            depth=self.unet.layers_per_block,
            context=self.unet.cross_attention_dim,
            window=self.unet.num_frames,
            latent_scale=self.vae.scaling_factor,
            steps=STEPS,
            sigma_min=SIGMA_MIN,
            sigma_max=SIGMA_MAX,
            scale_first=GUIDANCE_FIRST,
            scale_last=GUIDANCE_LAST,
            fps=FRAME_RATE,
            motion=MOTION,
            noise=NOISE,
        )


@dataclass(frozen=True)
class PublishedFolder:
    """Weights in their files: ``sizes`` of the networks, ``checkpoints`` by the names of `FILES`."""

    sizes: AnimationSizes
    checkpoints: Mapping[str, Checkpoint]

    @property
    def sha256(self) -> str:
        """Of the hashes of all files, in the order of their names: 64 hexadecimal digits."""
        parts = (f"{name} {self.checkpoints[name].sha256}\n" for name in sorted(self.checkpoints))
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors by network and name, after names, shapes and types of all files were compared.

        Raises:
            CheckpointError: everything that is missing, unexpected or of another shape in any of the files.
        """
        shared, faults = {}, []
        for name, checkpoint in self.checkpoints.items():
            part = Part("", state_shapes(self.sizes.build(name)), _UNUSED.get(name, frozenset()))
            try:
                shared[name] = share_out(checkpoint, {name: part})[name]
            except CheckpointError as fault:
                faults.append(str(fault))
        if faults:
            raise CheckpointError("; ".join(faults))
        return shared

    def load(self, name: str, tensors: Mapping[str, Tensor]) -> nn.Module:
        """One network with its weights in float32, mapped where the file has them so.

        Raises:
            CheckpointError: a weight is NaN or infinite.
        """
        return fill_module(self.sizes.build(name), tensors, torch.float32, path=self.checkpoints[name].path)


def open_folder(folder: Path, adapter: Path | None = None, on_progress: OnProgress | None = None) -> PublishedFolder:
    """Open all files of a published folder; each is read once to verify it, nothing is kept in memory.

    Args:
        folder: with ``unet``, ``vae`` and ``image_encoder``.
        adapter: folder of ``controlnet``, if it is not in ``folder`` under that name.
        on_progress: see `open_checkpoint`.

    Raises:
        CheckpointError: files that are missing, all named at once; damaged ones; configurations of other networks.
    """
    places = {name: folder / name for name in FILES} | ({CONTROL: adapter} if adapter else {})
    paths = {name: _find_weights(place, FILES[name]) for name, place in places.items()}
    lost = [str(places[name] / FILES[name]) for name, path in paths.items() if path is None]
    lost += [str(place / _CONFIG) for place in places.values() if not (place / _CONFIG).is_file()]
    if lost:
        raise CheckpointError(f"{folder}: no {', '.join(lost)}; expected the folders as they are published")
    sizes = _read_sizes(places)
    found = {name: path for name, path in paths.items() if path}
    return PublishedFolder(sizes, {name: open_checkpoint(path, on_progress) for name, path in found.items()})


def _find_weights(place: Path, name: str) -> Path | None:
    stem, ending = name.rsplit(".", 1)
    return next((path for path in (place / name, place / f"{stem}.fp16.{ending}") if path.is_file()), None)


def _read_sizes(places: Mapping[str, Path]) -> AnimationSizes:
    readers: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        UNET: VideoConfig.from_options,
        VAE: TemporalVaeConfig.from_options,
        IMAGE: TowerConfig.from_options,
        CONTROL: AdapterConfig.from_options,
    }
    configs = {}
    for name, read in readers.items():
        path = places[name] / _CONFIG
        try:
            with path.open("rb") as stream:
                configs[name] = read(dict(json.loads(stream.read(_MOST_BYTES))))
        except OSError as fault:
            raise CheckpointError(f"{path}: cannot be read ({fault.strerror})") from fault
        except (ValueError, TypeError, AttributeError, RecursionError) as fault:
            raise CheckpointError(f"{path}: not a configuration of this network: {' '.join(str(fault).split())}") from (
                fault
            )
    try:
        return AnimationSizes(**configs)
    except ValueError as fault:
        raise CheckpointError(f"{places[UNET].parent}: networks that do not fit each other: {fault}") from fault
