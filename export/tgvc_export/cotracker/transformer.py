"""The update transformer: what all points and frames of a window say about how each point should move."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tgvc_export.cotracker.blocks import CrossBlock, SelfBlock


class UpdateTransformer(nn.Module):
    """Attention over time for every point, then between points by way of a few virtual ones, several times.

    Points never look at points, so the cost grows with their number and not with its square.

    Args:
        inputs: width of the tokens given.
        width: of the tokens inside.
        heads: of every attention.
        depth: how many times.
        virtual: virtual points.
        motion: width of the head ``flow_head``.
        judgement: width of the head ``vis_conf_head``, 0 for none (CoTracker2).
    """

    def __init__(
        self, inputs: int, width: int, heads: int, depth: int, virtual: int, motion: int, judgement: int
    ) -> None:
        super().__init__()
        self.virtual = virtual
        self.virual_tracks = nn.Parameter(torch.randn(1, virtual, 1, width))  # the published spelling
        self.input_transform = nn.Linear(inputs, width)
        self.flow_head = nn.Linear(width, motion)
        self.vis_conf_head = nn.Linear(width, judgement) if judgement else None
        self.time_blocks = nn.ModuleList(SelfBlock(width, heads) for _ in range(depth))
        self.space_virtual_blocks = nn.ModuleList(SelfBlock(width, heads) for _ in range(depth))
        self.space_point2virtual_blocks = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))
        self.space_virtual2point_blocks = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))

    def forward(self, tokens: Tensor, active: Tensor | None = None) -> Tensor:
        """Tokens (K, T, inputs) to updates (K, T, motion + judgement).

        ``active``: bool (T, K), points that take part in a frame; None for all.
        """
        points = self.input_transform(tokens)
        virtual = self.virual_tracks[0].expand(-1, points.shape[1], -1)
        columns = None if active is None else active[:, None, None, :]  # which points virtual ones look at
        rows = None if active is None else active[:, None, :, None]  # which points look at virtual ones
        for over_time, gather, mix, spread in zip(
            self.time_blocks,
            self.space_virtual2point_blocks,
            self.space_virtual_blocks,
            self.space_point2virtual_blocks,
            strict=True,
        ):
            both = over_time(torch.cat([points, virtual])).transpose(0, 1)
            points, virtual = both[:, : -self.virtual], both[:, -self.virtual :]
            virtual = mix(gather(virtual, points, columns))
            points = spread(points, virtual, rows).transpose(0, 1)
            virtual = virtual.transpose(0, 1)
        heads = [self.flow_head] if self.vis_conf_head is None else [self.flow_head, self.vis_conf_head]
        return torch.cat([head(points) for head in heads], dim=-1)
