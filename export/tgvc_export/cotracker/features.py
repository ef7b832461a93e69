"""The feature network: what every place of a picture looks like, at a quarter of the size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4  # px per feature cell, both trackers
STAGES = (64, 96, 128, 128)  # channels; all but the first halve the size
FEATURES = 128
_NORM_EPSILON = 1e-5


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside the identity, or beside a 1 x 1 convolution where the size or width changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        changes = stride != 1 or inputs != outputs
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride)) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (N, inputs, h, w) to (N, outputs, h / stride, w / stride)."""
        y = normed_relu(self.conv2(normed_relu(self.conv1(x))))
        beside = x if self.downsample is None else picture_norm(self.downsample(x))
        return functional.relu(beside + y)


class FeatureNet(nn.Module):
    """Pictures to features: a stem, four stages of two residual blocks, their outputs joined at a quarter of the size.

    Args:
        stages: channels of the stages; the stem has as many as the first.
        features: channels given.
    """

    def __init__(self, stages: tuple[int, int, int, int] = STAGES, features: int = FEATURES) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stages[0], 7, stride=2, padding=3)
        before = stages[0]
        for number, channels in enumerate(stages, 1):
            stride = 1 if number == 1 else 2
            blocks = ResidualBlock(before, channels, stride), ResidualBlock(channels, channels, 1)
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            before = channels
        self.conv2 = nn.Conv2d(sum(stages), 2 * features, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * features, features, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, 4h, 4w) in -1..1 to features (N, C, h, w), not normalised."""
        size = pictures.shape[-2] // STRIDE, pictures.shape[-1] // STRIDE
        x = normed_relu(self.conv1(pictures))
        joined = []
        for number in range(1, len(STAGES) + 1):
            x = getattr(self, f"layer{number}")(x)
            # halves keep 11 bits, too few for the weights between cells of a wide picture
            resized = functional.interpolate(x.float(), size, mode="bilinear", align_corners=True)
            joined.append(resized.to(x.dtype))
        return self.conv3(normed_relu(self.conv2(torch.cat(joined, dim=1))))


def picture_norm(x: Tensor) -> Tensor:
    """Every channel of every picture to mean 0 and deviation 1, in float32, given back in the type of ``x``."""
    return functional.instance_norm(x.float(), eps=_NORM_EPSILON).to(x.dtype)


def normed_relu(x: Tensor) -> Tensor:
    """`picture_norm`, then nothing below zero."""
    return functional.relu(picture_norm(x))


def normalise_features(features: Tensor) -> Tensor:
    """Features (N, C, h, w) of length 1 over the channels, float32."""
    features = features.float()
    return features / features.square().sum(dim=1, keepdim=True).clamp(min=1e-12).sqrt()


def make_pyramid(features: Tensor, levels: int) -> list[Tensor]:
    """Features (N, C, h, w) at full size, half, a quarter, and so on: means of 2 x 2 cells, odd borders dropped."""
    pyramid = [features]
    for _ in range(levels - 1):
        pyramid.append(functional.avg_pool2d(pyramid[-1], 2, stride=2))
    return pyramid


def to_range(video: Tensor) -> Tensor:
    """Pictures of 0..255 to -1..1."""
    return 2 * (video / 255.0) - 1.0
