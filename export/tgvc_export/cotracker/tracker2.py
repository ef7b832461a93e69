"""CoTracker2 in torch: the older tracker, whose checkpoints can be loaded and compared. The runtime uses CoTracker3."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.cotracker.features import FEATURES, STRIDE, FeatureNet, make_pyramid, to_range
from tgvc_export.cotracker.sampling import patch_offsets, sample_maps, sine_table
from tgvc_export.cotracker.tracker import MODEL_RESOLUTION
from tgvc_export.cotracker.transformer import UpdateTransformer

_WIDTH, _HEADS, _DEPTH, _VIRTUAL = 384, 8, 6, 64
_LEVELS, _RADIUS = 4, 3
_FLOW_RATES = FEATURES // 4  # of sines for each coordinate of a displacement
_SURE = 10.0  # logit that a point is visible, to begin with


class CoTracker2(nn.Module):
    """Windows that slide over the clip by half their length; the features of a track change as it is followed.

    Args:
        window: frames of a window: 8 (``cotracker2``) or 16 (``cotracker2v1``).
        resolution: (height, width) px of the pictures that the table of positions was made for.
    """

    def __init__(self, window: int = 8, *, resolution: tuple[int, int] = MODEL_RESOLUTION) -> None:
        super().__init__()
        patch = (2 * _RADIUS + 1) ** 2
        token = 2 + 4 * _FLOW_RATES + _LEVELS * patch + FEATURES + 2
        self.window = window
        self.fnet = FeatureNet()
        self.updateformer = UpdateTransformer(token, _WIDTH, _HEADS, _DEPTH, _VIRTUAL, 2 + FEATURES, 0)
        self.norm = nn.GroupNorm(1, FEATURES)
        self.track_feat_updater = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(FEATURES, 1))
        self.register_buffer("time_emb", sine_table(window, token)[None])
        rows, columns = resolution[0] // STRIDE, resolution[1] // STRIDE
        self.register_buffer("pos_emb", position_table(rows, columns, token)[None])
        self.time_emb: Tensor
        self.pos_emb: Tensor

    def forward(self, video: Tensor, queries: Tensor, iterations: int = 4) -> tuple[Tensor, Tensor]:
        """Track points.

        Args:
            video: (1, T, 3, H, W) of 0..255, H and W multiples of 4.
            queries: (1, K, 3) frame, x, y in px of the video.
            iterations: of every window.

        Returns:
            coords (1, T, K, 2) px and visible (1, T, K) in 0..1.
        """
        frames, points = queries[0, :, 0].long(), queries[0, :, 1:] / STRIDE
        length, window, step = video.shape[1], self.window, self.window // 2
        video = torch.cat([video, video[:, -1:].expand(-1, -length % window, -1, -1, -1)], dim=1)
        features = self.fnet(to_range(video[0]))
        levels = make_pyramid(features, _LEVELS)
        asked = sample_maps(features[frames], points[:, None, None])[:, :, 0, 0]
        coords = points.new_zeros(len(features), len(points), 2)
        visible = points.new_zeros(coords.shape[:2])
        for first in range(0, step * ((length - window + step - 1) // step + 1), step):
            part, times = slice(first, first + window), torch.arange(first, first + window)
            start, sight = points.expand(window, -1, -1), visible.new_full((window, len(points)), _SURE)
            reached = frames <= times[:, None]
            if first:
                known = frames < first + window - step
                start = torch.where(known[:, None], _continue(coords, first, step), start)
                sight = torch.where(known, _continue(visible, first, step), sight)
                reached = reached & (times >= first + window - step)[:, None]
            active = (frames < first + window).expand(window, -1)
            now = self._follow([level[part] for level in levels], asked, start, sight, reached, active, iterations)
            coords[part], visible[part] = now
        return coords[None, :length] * STRIDE, visible[None, :length].sigmoid()

    def _follow(
        self,
        levels: list[Tensor],
        asked: Tensor,
        coords: Tensor,
        sight: Tensor,
        reached: Tensor,
        active: Tensor,
        iterations: int,
    ) -> tuple[Tensor, Tensor]:
        """Coords (S, K, 2) in cells and logits (S, K) of one window."""
        tracked = asked * active[..., None]
        place = sample_maps(self.pos_emb, coords[:1, :, None])[0].permute(
            2, 1, 0
        )  # (1, K, token): where each point begins
        for _ in range(iterations):
            flow = embed_flow(coords - coords[:1])
            flags = torch.stack([reached.to(sight), sight], dim=-1)
            tokens = torch.cat([flow, correlate(levels, tracked, coords), tracked, flags], dim=-1)
            tokens = tokens + place + self.time_emb[0][:, None]
            change = self.updateformer(tokens.transpose(0, 1), active).transpose(0, 1)
            normed = functional.group_norm(change[..., 2:].flatten(0, 1), 1, self.norm.weight, self.norm.bias)
            tracked = tracked + self.track_feat_updater(normed).unflatten(0, change.shape[:2])
            coords = coords + change[..., :2]
        return coords, self.vis_predictor(tracked)[..., 0]


def correlate(levels: list[Tensor], tracked: Tensor, coords: Tensor) -> Tensor:
    """How like the features of each track are to those around it, on every level.

    Args:
        levels: the pyramid, each (S, C, h, w).
        tracked: (S, K, C).
        coords: (S, K, 2) in cells of the first level.

    Returns:
        (S, K, levels * (2r+1)**2), level by level, x major.
    """
    offsets, found = patch_offsets(_RADIUS).reshape(-1, 2), []
    for number, level in enumerate(levels):
        seen = sample_maps(level, coords[:, :, None] / 2**number + offsets)
        found.append(torch.einsum("sckp,skc->skp", seen, tracked) * level.shape[1] ** -0.5)
    return torch.cat(found, dim=-1)


def embed_flow(flow: Tensor) -> Tensor:
    """Displacements (..., 2) with sines and cosines of many rates: x and y themselves, those of x, those of y.

    The highest rate, 968.75, is what makes this tracker sensitive to rounding.
    """
    rates = torch.arange(0, 2 * _FLOW_RATES, 2, dtype=flow.dtype) * (1000.0 / (2 * _FLOW_RATES))
    angles = flow[..., None] * rates
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-3)
    return torch.cat([flow, waves], dim=-1)


def position_table(rows: int, columns: int, width: int) -> Tensor:
    """Table (width, rows, columns): sines of the column in the first half of the width, of the row in the second."""
    across = sine_table(columns, width // 2).t()[:, None].expand(-1, rows, -1)
    down = sine_table(rows, width // 2).t()[:, :, None].expand(-1, -1, columns)
    return torch.cat([across, down])


def _continue(values: Tensor, first: int, step: int) -> Tensor:
    """What the window before found, its last frame held for the new ones."""
    before = values[first : first + step]
    return torch.cat([before, before[-1:].expand(step, *before.shape[1:])])
