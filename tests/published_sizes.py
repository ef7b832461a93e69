"""Constants of the published networks, as their publications give them."""

from __future__ import annotations

from tgvc.models.constants import InterpolationConstants, TrackerConstants

PUBLISHED = InterpolationConstants(
    latent_channels=4,
    cell_px=8,
    divisor=8,
    latent_scale=0.18215,
    window=16,
    context=1024,
    image_tokens=16,
    embedding=1024,
    shifts=20160,
    heads=390,
    head_width=64,
    schedule="linear-ztsnr",
    train_steps=1000,
    dynamic=True,
    steps=50,
    eta=1.0,
    scale=7.5,
    rescale=0.7,
    fs=5,
)
TRACKER = TrackerConstants(
    width=512,
    height=384,
    stride=4,
    channels=128,
    levels=4,
    radius=3,
    token=1110,
    window=16,
    sliding=True,
    iterations=6,
    threshold=0.9,
)
