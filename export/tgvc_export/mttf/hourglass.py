"""What MTTF's networks are made of: halving and doubling steps, and the hourglass of both."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Same(nn.Sequential):
    """Convolution 3 x 3, batch norm, ReLU; the size stays."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class Down(nn.Sequential):
    """`Same`, then means of 2 x 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(Same(inputs, outputs), nn.AvgPool2d(2))


class Up(nn.Module):
    """Every value four times, then `Same`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.same = Same(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C', 2h, 2w)."""
        return self.same(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Residual(nn.Module):
    """Twice batch norm, ReLU, convolution 3 x 3 beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in range(2)])
        self.convs = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to the same shape."""
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(functional.relu(norm(y)))
        return x + y


class Hourglass(nn.Module):
    """A U-Net of ``levels`` halvings; its input is a part of its output.

    Args:
        inputs: channels.
        width: channels at full size; doubled with every halving.
        most: channels at most.
        levels: halvings; height and width have to be multiples of 2 ** levels.
    """

    def __init__(self, inputs: int, width: int, most: int, levels: int) -> None:
        super().__init__()
        widths = [min(most, width << n) for n in range(levels + 1)]
        self.down = nn.ModuleList([Down(inputs if n == 0 else widths[n], widths[n + 1]) for n in range(levels)])
        self.up = nn.ModuleList(
            [Up((1 if n == levels - 1 else 2) * widths[n + 1], widths[n]) for n in reversed(range(levels))]
        )
        self.outputs = width + inputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) to (N, width + inputs, h, w)."""
        kept = [x]
        for step in self.down:
            kept.append(step(kept[-1]))
        y = kept.pop()
        for step in self.up:
            y = torch.cat([step(y), kept.pop()], dim=1)
        return y


def last_conv(inputs: int, outputs: int, kernel: int, *, zero: bool = False) -> nn.Conv2d:
    """The convolution that ends a network, at first giving nothing if ``zero``."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    if zero:
        nn.init.zeros_(conv.weight)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    return conv
