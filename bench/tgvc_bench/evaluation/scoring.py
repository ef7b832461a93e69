"""Scores of one output of one clip: weight-free ones, VMAF, tracks, and those that need weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tgvc.types import FloatArray, Picture, picture_planes
from tgvc_bench.evaluation.metrics import PER_FRAME, SETS, WITHOUT_WEIGHTS
from tgvc_bench.evaluation.motion import SourceTracks
from tgvc_bench.evaluation.sources import LoadedClip
from tgvc_bench.metrics import FIDELITY, Reference, mean_scores, score, score_frames
from tgvc_bench.neural.panel import NeuralPanel
from tgvc_bench.neural.weights import WeightFile
from tgvc_bench.records import shorten
from tgvc_bench.vmaf import MODELS, score_vmaf

_TRACKS = "track_error"


@dataclass(frozen=True)
class Scored:
    """What an output is worth.

    ``scores``: means over all frames; ``frames``: those of a few metrics, one by one; ``features`` float32 (N, D): of
    all frames, where FID or KID are wanted.
    """

    scores: dict[str, float]
    frames: dict[str, list[float]]
    features: FloatArray | None = field(default=None, repr=False)


class Scorer:
    """Scores outputs; opened once, with the networks of the metrics that need some.

    Args:
        metrics: keys of `tgvc_bench.evaluation.metrics.METRICS`.
        weights: files of the metrics that need them.

    Raises:
        ConfigError: a metric is not known, or lacks its weights.
    """

    def __init__(self, metrics: Sequence[str], weights: Sequence[WeightFile] = ()) -> None:
        self.metrics = tuple(metrics)
        neural = [m for m in metrics if m not in WITHOUT_WEIGHTS]
        self.panel = NeuralPanel(neural, weights) if neural else None

    def read(self, loaded: LoadedClip) -> ClipScorer:
        """What the scores need of a source, computed once for all its outputs."""
        return ClipScorer(self, loaded)


class ClipScorer:
    """Scores outputs of one clip."""

    def __init__(self, scorer: Scorer, loaded: LoadedClip) -> None:
        self._wanted, self._panel, self._info = scorer.metrics, scorer.panel, loaded.info
        self.pictures = loaded.clip.pictures
        plain = set(self._wanted) - {_TRACKS, *MODELS} & set(WITHOUT_WEIGHTS)
        self._fast = plain <= set(FIDELITY)
        self._reference = None if self._fast else Reference(self.pictures)
        lumas = [picture_planes(p)[0] for p in self.pictures]
        self._tracks = SourceTracks(lumas) if _TRACKS in self._wanted else None
        self._neural = self._panel.read(self.pictures, self._info.matrix) if self._panel else None

    @property
    def features(self) -> FloatArray | None:
        """Of the source itself; see `Scored`."""
        return self._neural.features if self._neural else None

    def score(self, test: Sequence[Picture]) -> Scored:
        """Scores of as many pictures uint8 (3H/2, W) as the source has.

        Raises:
            ConfigError: counts or sizes differ.
        """
        series = {}
        found: dict[str, float] = {}
        if self._reference is None:
            keys = [k for k in FIDELITY if k in {*self._wanted, *PER_FRAME}]
            series = {
                k: np.array([score([a], [b], [k])[k] for a, b in zip(self.pictures, test, strict=True)]) for k in keys
            }
            found |= {k: float(v.mean()) for k, v in series.items()}
        else:
            series = dict(score_frames(self._reference, test))
            found |= mean_scores(self._reference, series)
            found["grad_gap"] = abs(1 - found["grad_energy"])
        if set(MODELS) & set(self._wanted):
            found |= score_vmaf(self.pictures, test)
        if self._tracks is not None:
            error = self._tracks.error([picture_planes(p)[0] for p in test])
            found |= {} if error is None else {_TRACKS: error}
        features = None
        if self._neural is not None:
            seen, features = self._neural.score(test)
            found |= seen
        kept = {k: shorten(v) for k, v in found.items() if k in self._wanted and k not in SETS}
        frames = {k: [shorten(float(v), 5) for v in series[k]] for k in PER_FRAME if k in series}
        return Scored(kept, frames, features)
