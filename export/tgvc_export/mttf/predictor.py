"""The region predictor: features of a picture, and its state, the gains and offsets that act on a key's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.mttf.config import MttfConfig
from tgvc_export.mttf.hourglass import Hourglass, last_conv

_LEAST_TRUST = 0.02  # so that a region that nothing is known of still has a motion


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


class Regions(nn.Module):
    """Motion measured between two pictures to a state: what soft regions of the key picture do on average and linearly.

    The published heads look at one picture and have to discover what a place is, and how far it is from where it was.
    Here an encoder tells them that, and zero motion is state zero.

    Args:
        inputs: channels that regions are seen in.
        regions: number of them.
        outputs: length of a state.

    Source: own; regions and their affine motion as in Siarohin et al. 2021.
    """

    def __init__(self, inputs: int, regions: int, outputs: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(inputs, regions, 3, padding=1)
        self.straight = nn.Linear(6 * regions, outputs, bias=False)
        self.bent = nn.Sequential(nn.Linear(8 * regions, 64), nn.ReLU(), nn.Linear(64, outputs, bias=False))

    def forward(self, x: Tensor, motion: Tensor, trust: Tensor) -> Tensor:
        """States (N, outputs).

        Args:
            x: (1 or N, inputs, h, w), what is known of the key picture.
            motion: (N, 2, h, w) cells, (x, y): where the cells of a frame lie in the key picture, as a displacement.
            trust: (N, 1, h, w), 0..1, how far to believe that.
        """
        moves, places = self.measure(x, motion, trust)
        still = torch.cat([torch.zeros_like(moves), places], dim=1)
        return self.straight(moves) + self.bent(torch.cat([moves, places], dim=1)) - self.bent(still)

    def measure(self, x: Tensor, motion: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
        """Motion of the regions and its products with places (N, 6 regions), and where they are (N, 2 regions).

        Lengths are in eighths of the picture's sides, so that a state means the same at any size.
        """
        height, width = x.shape[2], x.shape[3]
        across, down = (
            (2 * torch.arange(n, device=x.device, dtype=x.dtype) + 1 - n) * (4 / n) for n in (width, height)
        )
        place = torch.stack([across[None].expand(height, width), down[:, None].expand(height, width)]).flatten(1)
        moves = torch.cat([motion[:, :1] * (8 / width), motion[:, 1:] * (8 / height)], dim=1).flatten(2)
        shares = torch.softmax(self.maps(x).flatten(2), dim=2) * (trust.flatten(2) + _LEAST_TRUST)
        shares = shares / shares.sum(dim=2, keepdim=True)
        mean, where = shares @ moves.transpose(1, 2), shares @ place.transpose(0, 1)
        products = torch.cat([moves * place[:1], moves * place[1:]], dim=1)
        bends = shares @ products.transpose(1, 2) - torch.cat([mean * where[..., :1], mean * where[..., 1:]], dim=2)
        return torch.cat([mean, bends], dim=2).flatten(1), where.flatten(1)


class RegionPredictor(nn.Module):
    """The small picture (N, 3, h, w) to features (N, C, h, w), and the state (N, 2C): gains, then offsets."""

    def __init__(self, config: MttfConfig) -> None:
        super().__init__()
        self.hourglass = Hourglass(3, config.predictor_width, config.predictor_most, config.levels)
        self.features = last_conv(self.hourglass.outputs, config.channels, 7)
        if config.measured:
            self.regions = Regions(self.hourglass.outputs, config.head_width, 2 * config.channels)
        else:
            self.gains = Head(self.hourglass.outputs, config.head_width, config.channels)
            self.offsets = Head(self.hourglass.outputs, config.head_width, config.channels)

    def forward(
        self, small: Tensor, motion: Tensor | None = None, trust: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features and state of pictures as published; or of a key picture, and of frames by their motion, if measured.

        Args:
            small: (N, 3, h, w).
            motion: (N', 2, h, w), see `Regions`; N may be 1 beside it.
            trust: (N', 1, h, w), see `Regions`.
        """
        x = self.hourglass(small)
        if motion is not None and trust is not None:
            return self.features(x), self.regions(x, motion, trust)
        return self.features(x), torch.cat([self.gains(x), self.offsets(x)], dim=1)
