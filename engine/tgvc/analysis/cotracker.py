"""CoTracker3 as tgvc's tracker: a grid of points of a segment's first frame and another one of its last.

The networks come in a bundle of kind ``tracker``, which everyone makes from published weights under a licence of their
own: docs/cotracker.md.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tgvc.analysis.cotracker_clip import MOST_SAMPLES, Parity, TrackedClip
from tgvc.analysis.cotracker_predictor import between_sizes, make_grid, predict_queries
from tgvc.errors import ConfigError
from tgvc.models.tracker import TrackerCalls
from tgvc.types import BoolArray, FloatArray, TrackSet


class NetworkTracker:
    """Tracks segments with networks; keeps no state between calls.

    Args:
        networks: of the bundle.
        grid: points per side of each grid.
        parity: ``reference`` repeats what the published pipeline does wrong; see `TrackedClip`.
        most_samples: points x frames of one run; bounds the memory. ``reference`` has no such bound.
    """

    def __init__(
        self,
        networks: TrackerCalls,
        *,
        grid: int = 64,
        parity: Parity = "corrected",
        most_samples: int = MOST_SAMPLES,
    ) -> None:
        if grid < 1:
            raise ConfigError(f"grid={grid}: expected at least 1 point per side")
        if most_samples < 1:
            raise ConfigError(f"most_samples={most_samples}: expected at least 1")
        if parity not in ("corrected", "reference"):
            raise ConfigError(f"parity={parity!r}: expected corrected or reference")
        self.networks, self.grid, self.parity = networks, grid, parity
        self.most_samples = most_samples

    def track_segment(self, pictures: npt.NDArray[np.uint8]) -> TrackSet:
        """Track a grid of points forwards from the first frame and another one backwards from the last.

        Args:
            pictures: uint8 (T, H, W, 3), RGB, the frames of one segment, T >= 1, H and W at least 16.

        Returns:
            2 * grid**2 tracks in px of the pictures, those of the first frame first, each grid row by row. A track is
            visible in its own start frame always. Where it is not visible its position is the networks' guess, which
            T-GVC uses as it is.

        Raises:
            ConfigError: another shape or type.
            BackendError: a network failed.

        Source: T-GVC, dense tracking of both key frames.
        """
        if pictures.ndim != 4 or pictures.dtype != np.uint8 or pictures.shape[3] != 3 or not len(pictures):
            raise ConfigError(f"pictures: expected uint8 (T, H, W, 3), got {pictures.dtype} {pictures.shape}")
        if min(pictures.shape[1:3]) < 16:
            raise ConfigError(f"pictures: expected H and W of at least 16, got {pictures.shape[1:3]}")
        most = self.most_samples
        if self.parity == "reference":
            most = max(most, self.grid**2 * max(len(pictures), self.networks.constants.window))
        clip = TrackedClip(self.networks, pictures, self.parity, most)
        passes = [self._follow_grid(clip, backwards=backwards) for backwards in (False, True)]
        tracks = np.concatenate([tracks for tracks, _ in passes], axis=1).transpose(1, 0, 2)
        visible = np.concatenate([visible for _, visible in passes], axis=1).T
        size = pictures.shape[2], pictures.shape[1]
        return TrackSet(np.ascontiguousarray(between_sizes(tracks, clip.size, size)), np.ascontiguousarray(visible))

    def _follow_grid(self, clip: TrackedClip, *, backwards: bool) -> tuple[FloatArray, BoolArray]:
        """Tracks (T, P, 2) px of the networks' size and visibility (T, P) of a grid of the first or last frame."""
        points = make_grid(clip.size, self.grid)
        queries = np.concatenate([np.zeros((len(points), 1), np.float32), points], axis=1)
        facing = _Reversed(clip) if backwards else clip
        # followed from their first frame on, so a second run towards it would change nothing
        tracks, visible = predict_queries(
            facing, queries, support=False, backward=False, threshold=self.networks.constants.threshold
        )
        return (tracks[::-1], visible[::-1]) if backwards else (tracks, visible)


class _Reversed:
    """A clip whose first frame is the last one of another, with the same features."""

    def __init__(self, clip: TrackedClip) -> None:
        self._clip, self.length, self.size = clip, clip.length, clip.size

    def follow(self, queries: FloatArray, *, backwards: bool = False) -> tuple[FloatArray, FloatArray, FloatArray]:
        """As `TrackedClip.follow`, turned round."""
        return self._clip.follow(queries, backwards=not backwards)
