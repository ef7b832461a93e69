"""The region predictor: features of a picture, and its state, the gains and offsets that act on a key's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.mttf.config import MttfConfig
from tgvc_export.mttf.hourglass import Hourglass, last_conv


class Gdn(nn.Module):
    """Generalised divisive normalisation: x / sqrt(beta + sum of gamma x^2).

    Source: Ballé, Laparra, Simoncelli 2016. Parameters are kept as they are used; training has to keep them positive,
    which `clamp` does after every step.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(0.1 * torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to the same shape."""
        size = functional.conv2d(x * x, self.gamma[:, :, None, None], self.beta)
        return x / torch.sqrt(size)

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring the parameters back to where the root exists."""
        self.beta.clamp_(min=1e-3)
        self.gamma.clamp_(min=0)


class Head(nn.Module):
    """Features to one number per channel: five halvings and a step by three, with divisive norms between.

    For pictures of other sizes than those of training the mean of what is left is taken; at that size it is one cell.
    """

    def __init__(self, inputs: int, width: int, channels: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for n in range(5):
            steps += [nn.Conv2d(inputs if n == 0 else width, width, 5, 2, padding=2), Gdn(width)]
        self.steps = nn.Sequential(*steps)
        self.last = nn.Conv2d(width, channels, 5, 3, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) to (N, channels)."""
        return self.last(self.steps(x)).mean(dim=(2, 3))


class Moments(nn.Module):
    """Features to the state at once, by where things are: a map of each channel as weights, its mean place and spread.

    What moves by a cell moves its places by as much, from the first step of training on, where the published heads have
    to discover what a place is. Lengths are in units of an eighth of a picture's side.

    Source: own; places as in spatial softmax (Levine et al. 2016).
    """

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(inputs, 2 * width, 3, padding=1)
        self.straight = nn.Linear(5 * width, outputs)
        self.bent = nn.Sequential(nn.Linear(5 * width, 64), nn.ReLU(), nn.Linear(64, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) to (N, outputs)."""
        found = self.measure(x)
        return self.straight(found) + self.bent(found)

    def places(self, x: Tensor) -> Tensor:
        """Mean places (N, 2, width), x and y, in eighths of a picture's sides from its middle; for training."""
        found = self.measure(x).unflatten(1, (5, -1))
        return found[:, [0, 2]]

    def measure(self, x: Tensor) -> Tensor:
        """(N, 5 width): mean and spread of the places across, of those down, mean levels."""
        height, width = x.shape[2], x.shape[3]
        heat, level = self.maps(x).chunk(2, dim=1)
        shares = torch.softmax(heat.flatten(2), dim=2).unflatten(2, (height, width))
        across, down = shares.sum(dim=2), shares.sum(dim=3)
        places = [_mean_and_spread(across, width), _mean_and_spread(down, height)]
        return torch.cat([*places, torch.relu(level).mean(dim=(2, 3))], dim=1)


def _mean_and_spread(shares: Tensor, count: int) -> Tensor:
    places = (2 * torch.arange(count, device=shares.device, dtype=shares.dtype) + 1 - count) * (4 / count)
    mean = (shares * places).sum(dim=2)
    return torch.cat([mean, (shares * places**2).sum(dim=2) - mean**2], dim=1)


class RegionPredictor(nn.Module):
    """The small picture (N, 3, h, w) to features (N, C, h, w) and state (N, 2C): gains, then offsets."""

    def __init__(self, config: MttfConfig) -> None:
        super().__init__()
        self.hourglass = Hourglass(3, config.predictor_width, config.predictor_most, config.levels)
        self.features = last_conv(self.hourglass.outputs, config.channels, 7)
        if config.moments:
            self.moments = Moments(self.hourglass.outputs, config.head_width, 2 * config.channels)
        else:
            self.gains = Head(self.hourglass.outputs, config.head_width, config.channels)
            self.offsets = Head(self.hourglass.outputs, config.head_width, config.channels)
        self.whole = config.moments

    def forward(self, small: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = self.hourglass(small)
        return self.features(x), self.state(x)

    def state(self, x: Tensor) -> Tensor:
        """The state (N, 2C) out of what the hourglass gave."""
        return self.moments(x) if self.whole else torch.cat([self.gains(x), self.offsets(x)], dim=1)
