"""Checkpoints with the names and the layout of published ones, of very narrow networks with random weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from tgvc_export.cotracker.published import read_options
from tgvc_export.cotracker.tracker import CoTracker3
from tgvc_export.dynamicrafter.published import PREFIXES, parse_sizes, schedule_buffers
from tgvc_export.openclip.image import leftover_tensors

INTERPOLATION: dict[str, Any] = {
    "model": {
        "params": {
            "parameterization": "v",
            "rescale_betas_zero_snr": True,
            "scale_factor": 0.18215,
            "use_dynamic_rescale": True,
            "unet_config": {
                "params": {
                    "model_channels": 32,
                    "channel_mult": [1],
                    "attention_resolutions": [1],
                    "num_res_blocks": 1,
                    "num_head_channels": 8,
                    "context_dim": 16,
                    "temporal_length": 4,
                }
            },
            "first_stage_config": {
                "params": {
                    "embed_dim": 4,
                    "ddconfig": {
                        "double_z": True,
                        "z_channels": 4,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": 32,
                        "ch_mult": [1, 1, 1, 1],
                        "num_res_blocks": 1,
                        "attn_resolutions": [],
                    },
                }
            },
            "image_proj_stage_config": {
                "params": {
                    "dim": 16,
                    "depth": 1,
                    "dim_head": 8,
                    "heads": 2,
                    "num_queries": 16,
                    "embedding_dim": 32,
                    "output_dim": 16,
                    "video_length": 4,
                }
            },
        }
    },
    "clip_config": {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 224, "layers": 1, "width": 32, "head_width": 16, "patch_size": 14},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    },
}
TRACKER: dict[str, Any] = {
    "widths": {
        "radius": 1,
        "correlation_hidden": 16,
        "correlation": 8,
        "width": 32,
        "heads": 2,
        "depth": 1,
        "virtual": 4,
    },
    "stages": [16, 16, 16, 16],
    "features": 16,
    "resolution": [64, 96],
}


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 1) -> dict[str, torch.Tensor]:
    """Values that keep a signal's size through the layers: norms near 1, biases small, weights by what they sum."""
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=random)
        if len(shape) < 2:
            tensors[name] = 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
        else:
            tensors[name] = noise / math.sqrt(math.prod(shape[1:]))
    return tensors


def interpolation_state(options: dict[str, Any] = INTERPOLATION) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by their published names, those that nothing uses included."""
    sizes = parse_sizes(options)
    shapes = {part.prefix + name: shape for part in sizes.parts().values() for name, shape in part.shapes.items()} | {
        PREFIXES["image tower"] + name: shape for name, shape in leftover_tensors(sizes.text).items()
    }
    buffers = {name: torch.tensor(values) for name, values in schedule_buffers().items()}
    return buffers | random_tensors(shapes)


def tracker_state(config: Path, window: int = 16) -> dict[str, torch.Tensor]:
    """All tensors of a tracker by their published names."""
    tracker = CoTracker3(**{"window": window, "sliding": window == 16, **read_options(config)})
    shapes = {name: tuple(value.shape) for name, value in tracker.state_dict().items() if name != "time_emb"}
    return random_tensors(shapes) | {"time_emb": tracker.time_emb}


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path
