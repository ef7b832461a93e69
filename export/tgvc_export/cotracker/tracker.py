"""CoTracker3 in torch: the whole clip at once, or windows that slide over it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tgvc_export.cotracker.features import (
    FEATURES,
    STAGES,
    STRIDE,
    FeatureNet,
    make_pyramid,
    normalise_features,
    to_range,
)
from tgvc_export.cotracker.sampling import sample_support, sine_table, stretch_table
from tgvc_export.cotracker.transformer import UpdateTransformer
from tgvc_export.cotracker.update import STATE_NUMBERS, CorrelationMlp, State, Widths, update_state

MODEL_RESOLUTION = (384, 512)  # height, width in px
_AT_ONCE = 200  # pictures in one run of the feature network, as published


class CoTracker3(nn.Module):
    """Both published trackers: they have the same parameters and differ in how they go over a clip.

    Args:
        window: frames of the table of times: 60 for the offline tracker; for the other one also those of a window, 16.
        sliding: whether windows slide (``online`` weights) or the clip is one window (``offline``).
        widths: of the part that iterates.
        stages: channels of the feature network's stages.
        features: channels that it gives.
        resolution: (height, width) px that displacements are divided by.
    """

    def __init__(
        self,
        window: int = 60,
        *,
        sliding: bool = False,
        widths: Widths | None = None,
        stages: tuple[int, int, int, int] = STAGES,
        features: int = FEATURES,
        resolution: tuple[int, int] = MODEL_RESOLUTION,
    ) -> None:
        super().__init__()
        w = widths or Widths()
        self.window, self.sliding, self.widths = window, sliding, w
        self.cells = resolution[1] / STRIDE, resolution[0] / STRIDE
        self.features = features
        self.fnet = FeatureNet(stages, features)
        self.updateformer = UpdateTransformer(w.token, w.width, w.heads, w.depth, w.virtual, 2, STATE_NUMBERS)
        self.corr_mlp = CorrelationMlp(w)
        self.register_buffer("time_emb", sine_table(window, w.token)[None])
        self.time_emb: Tensor

    def forward(self, video: Tensor, queries: Tensor, iterations: int = 4) -> tuple[Tensor, Tensor, Tensor]:
        """Track points.

        Args:
            video: (1, T, 3, H, W) of 0..255, H and W multiples of 4.
            queries: (1, K, 3) frame, x, y in px of the video.
            iterations: of every window.

        Returns:
            coords (1, T, K, 2) px, and visible and confident (1, T, K) in 0..1. The sliding tracker gives zeros and 0.5
            for clips of 8 frames or fewer, as published; the runtime does better.
        """
        frames, points = queries[0, :, 0].long(), queries[0, :, 1:] / STRIDE
        length = video.shape[1]
        if self.sliding:
            missing = -length % self.window
            video = torch.cat([video, video[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
        levels = make_pyramid(self.find_features(video[0]), self.widths.levels)
        supports = [
            sample_support(level, frames, points / 2**number, self.widths.radius) for number, level in enumerate(levels)
        ]
        track = self._slide if self.sliding else self._track_at_once
        coords, visible, confident = track(levels, supports, frames, points, length, iterations)
        coords, visible, confident = coords[:length], visible[:length], confident[:length]
        return coords[None] * STRIDE, visible.sigmoid()[None], confident.sigmoid()[None]

    def find_features(self, video: Tensor) -> Tensor:
        """Features (T, C, H/4, W/4) of length 1 of pictures (T, 3, H, W) of 0..255."""
        pieces = [normalise_features(self.fnet(to_range(part))) for part in video.split(_AT_ONCE)]
        return torch.cat(pieces)

    def _iterate(self, levels: list[Tensor], supports: list[Tensor], state: State, iterations: int) -> State:
        time = stretch_table(self.time_emb[0], len(state[0]))
        for _ in range(iterations):
            state = update_state(self.updateformer, self.corr_mlp, self.cells, levels, supports, state, time)
        return state

    def _track_at_once(
        self, levels: list[Tensor], supports: list[Tensor], frames: Tensor, points: Tensor, length: int, iterations: int
    ) -> State:
        unknown = points.new_zeros(length, len(points))
        return self._iterate(levels, supports, (points.expand(length, -1, -1), unknown, unknown), iterations)

    def _slide(
        self, levels: list[Tensor], supports: list[Tensor], frames: Tensor, points: Tensor, length: int, iterations: int
    ) -> State:
        window, step = self.window, self.window // 2
        found = [points.new_zeros(len(levels[0]), len(points), *rest) for rest in ((2,), (), ())]
        for first in range(0, step * ((length - window + step - 1) // step + 1), step):
            state = [points.expand(window, -1, -1), *(found[1].new_zeros(window, len(points)) for _ in range(2))]
            if first:
                known = frames < first + window - step
                for number, values in enumerate(found):
                    before = values[first : first + window - step]
                    before = torch.cat([before, before[-1:].expand(step, *before.shape[1:])])
                    chosen = known[:, None] if values.ndim == 3 else known
                    state[number] = torch.where(chosen, before, state[number])
            asked = (frames < first + window)[:, None, None]
            part = slice(first, first + window)
            now = self._iterate(
                [v[part] for v in levels], [s * asked for s in supports], (state[0], state[1], state[2]), iterations
            )
            for values, new in zip(found, now, strict=True):
                values[part] = new
        return found[0], found[1], found[2]
