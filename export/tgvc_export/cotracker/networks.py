"""The two networks of a bundle of kind ``tracker``, as they are exported; the loop around them is tgvc's."""

from __future__ import annotations

from torch import Tensor, nn

from tgvc.models.constants import TrackerConstants
from tgvc_export.cotracker.features import STRIDE, normalise_features
from tgvc_export.cotracker.tracker import CoTracker3
from tgvc_export.cotracker.update import CutCorrelation, State, update_state

ITERATIONS, THRESHOLD = 6, 0.9  # of the published predictor


class FeatureNetwork(nn.Module):
    """Network ``features``: pictures to features of length 1."""

    def __init__(self, tracker: CoTracker3) -> None:
        super().__init__()
        self.fnet = tracker.fnet

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, 4h, 4w) in -1..1 to features (N, C, h, w)."""
        return normalise_features(self.fnet(pictures))


class UpdateNetwork(nn.Module):
    """Network ``update``: one iteration; see `tgvc_export.cotracker.update.update_state`."""

    # halves hold 11 bits, a place on a map takes more
    float32_inputs = ("coords", "visible", "confident")

    def __init__(self, tracker: CoTracker3) -> None:
        super().__init__()
        self.updateformer = tracker.updateformer
        self.correlation = CutCorrelation(tracker.corr_mlp)
        self.cells = tracker.cells

    def forward(
        self,
        level0: Tensor,
        level1: Tensor,
        level2: Tensor,
        level3: Tensor,
        support0: Tensor,
        support1: Tensor,
        support2: Tensor,
        support3: Tensor,
        coords: Tensor,
        visible: Tensor,
        confident: Tensor,
        time: Tensor,
    ) -> State:
        """Inputs and outputs are those of the contract of kind ``tracker``."""
        levels, supports = (level0, level1, level2, level3), (support0, support1, support2, support3)
        state = coords, visible, confident
        return update_state(self.updateformer, self.correlation, self.cells, levels, supports, state, time)


def tracker_constants(tracker: CoTracker3) -> TrackerConstants:
    """What the runtime has to know of a tracker."""
    width, height = (int(cells * STRIDE) for cells in tracker.cells)
    return TrackerConstants(
        width=width,
        height=height,
        stride=STRIDE,
        channels=tracker.features,
        levels=tracker.widths.levels,
        radius=tracker.widths.radius,
        token=tracker.widths.token,
        window=tracker.window,
        sliding=tracker.sliding,
        iterations=ITERATIONS,
        threshold=THRESHOLD,
    )
