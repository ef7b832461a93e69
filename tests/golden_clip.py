"""Reference tensors of the two CLIP towers, their preprocessing and their tokens; see `golden`."""

from __future__ import annotations

import numpy as np
import torch

from golden import Arrays, Comparison, Meta, compare_outputs
from golden_vae import filled
from tgvc.models.clip_image import prepare_pixels
from tgvc_export.openclip.image import ImageConfig, ImageTower, leftover_tensors
from tgvc_export.openclip.text import TextConfig, TextTower

TEXT, IMAGE = "text.", "vision."


def part_of(weights: Arrays, prefix: str) -> Arrays:
    """Weights below a prefix, by what follows it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def image_weights(weights: Arrays, config: TextConfig) -> Arrays:
    """Weights of an image tower without what is left over of the text tower, which has to be there as published."""
    leftover = leftover_tensors(config)
    assert {name: weights[name].shape for name in leftover} == leftover
    return {name: value for name, value in weights.items() if name not in leftover}


def _run_openclip(meta: Meta, arrays: Arrays, weights: Arrays) -> dict[str, Comparison]:
    texts, images = TextConfig.from_options(meta["config"]), ImageConfig.from_options(meta["config"])
    text = filled(TextTower(texts), part_of(weights, TEXT))
    image = filled(ImageTower(images), image_weights(part_of(weights, IMAGE), texts))
    tokens = torch.from_numpy(arrays["in.tokens"])
    pixels = prepare_pixels((arrays["in.image_u8"].astype(np.float32) / 255 - np.float32(0.5)) * 2)
    with torch.no_grad():
        states, pooled = image(torch.from_numpy(pixels))
        found = {"text": text(tokens), "text_last": text(tokens, left_out=0)}
    found |= {"vision_tokens": states, "vision_pooled": pooled}
    return compare_outputs(meta, arrays, {"preprocessed": pixels, **{name: v.numpy() for name, v in found.items()}})


RUNNERS = {"openclip": _run_openclip}
