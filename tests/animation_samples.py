"""Very narrow networks of the structure of Stable Video Diffusion and MOFA-Video's adapter, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from checkpoint_samples import random_tensors, write_json
from tgvc_export.checkpoint_weights import state_shapes
from tgvc_export.mofa import published
from tgvc_export.mofa.config import AdapterConfig, TemporalVaeConfig, VideoConfig
from tgvc_export.mofa.image import TowerConfig

_UNET: dict[str, Any] = {
    "block_out_channels": [32, 32],
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "layers_per_block": 1,
    "cross_attention_dim": 24,
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24,
}
# Every kind of layer once or twice; keys as in the published files, with those that say nothing of layers
OPTIONS: dict[str, dict[str, Any]] = {
    published.UNET: {**_UNET, "num_attention_heads": [2, 4], "sample_size": 96, "_class_name": "a name"},
    published.VAE: {
        "block_out_channels": [32, 32, 32, 32],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "layers_per_block": 2,
        "sample_size": 768,
        "force_upcast": True,
    },
    published.IMAGE: {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 224,
        "patch_size": 56,
        "projection_dim": 24,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    },
    published.CONTROL: {
        **_UNET,
        "num_attention_heads": [2, 4],
        "heads_of_copy": [2, 4],
        "conditioning_embedding_out_channels": [4, 6, 8, 12],
    },
}
SIZES = published.AnimationSizes(
    VideoConfig.from_options(OPTIONS[published.UNET]),
    TemporalVaeConfig.from_options(OPTIONS[published.VAE]),
    TowerConfig.from_options(OPTIONS[published.IMAGE]),
    AdapterConfig.from_options(OPTIONS[published.CONTROL]),
)


def random_network(name: str) -> Any:
    """One of the networks of `published.FILES` in float32."""
    module = SIZES.build(name)
    module.load_state_dict(random_tensors(state_shapes(module)), assign=True)
    return module.eval()


def write_folder(folder: Path) -> Path:
    """A published folder with random weights."""
    for name, file in published.FILES.items():
        (folder / name).mkdir(parents=True)
        save_file(random_tensors(state_shapes(SIZES.build(name))), str(folder / name / file))
        write_json(folder / name / "config.json", OPTIONS[name])
    return folder
