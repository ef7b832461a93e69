"""Tracks that move together: 14 numbers per track, then density clustering into motion instances."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tgvc.errors import BackendUnavailableError, ConfigError
from tgvc.types import TrackSet

Labels = npt.NDArray[np.int32]

MIN_CLUSTER, MIN_SAMPLES, EPSILON = 10, 6, 0.05  # of HDBSCAN, as published
MIN_SEEN = 0.5  # share of frames a track must be visible in to take part
STILL = 0.25  # px per frame: slower motion has no direction worth a turning angle
# Smallest standard deviation a feature is divided by. In a still scene the plain rule blows the tracker's jitter up to
# the size of real motion and finds instances in it. px, px squared, radians, in the order of the columns.
SPREAD_FLOOR = (1.0,) * 9 + (0.1,) * 2 + (0.25,) * 2 + (0.1,)


def track_features(tracks: TrackSet, still: float = STILL) -> npt.NDArray[np.float64]:
    """The 14 features of every track, over all its samples, visible or not.

    Args:
        tracks: P tracks of T >= 2 frames.
        still: Steps of at most this many px take no part in the turning angle; the reference has 0.

    Returns:
        float64 (P, 14): first x, y; last x, y; middle x, y (frame T // 2); displacement x, y; path length; mean
        velocity x, y (px per frame); population variance of the velocity in x, y; mean turning angle in radians over
        neighbouring steps (0 if there are none).

    Raises:
        ConfigError: Fewer than two frames.

    Source: T-GVC, motion instances.
    """
    xy = tracks.xy.astype(np.float64)
    count = xy.shape[1]
    if count < 2:
        raise ConfigError(f"tracks: expected at least 2 frames, got {count}")
    steps = np.diff(xy, axis=1)
    lengths = np.sqrt(np.sum(steps**2, axis=2))
    shift = xy[:, -1] - xy[:, 0]
    columns = (
        *(xy[:, 0], xy[:, -1], xy[:, count // 2], shift),
        lengths.sum(axis=1, keepdims=True),
        *(shift / (count - 1), steps.var(axis=1)),
        _mean_turn(steps, lengths, still)[:, None],
    )
    return np.concatenate(columns, axis=1)


def _mean_turn(
    steps: npt.NDArray[np.float64], lengths: npt.NDArray[np.float64], still: float
) -> npt.NDArray[np.float64]:
    moving = (lengths[:, :-1] > still) & (lengths[:, 1:] > still)
    scale = np.where(moving, lengths[:, :-1] * lengths[:, 1:], 1.0)
    cosine = np.sum(steps[:, :-1] * steps[:, 1:], axis=2) / scale
    turns = np.where(moving, np.arccos(np.clip(cosine, -1.0, 1.0)), 0.0)
    return np.asarray(turns.sum(axis=1) / np.maximum(moving.sum(axis=1), 1))


def standardise(features: npt.NDArray[np.float64], floor: npt.ArrayLike = 0.0) -> npt.NDArray[np.float64]:
    """Columns with mean 0 and population standard deviation 1, or less where it lies under the floor; 0 if constant."""
    spread = np.maximum(features.std(axis=0), floor)
    return np.asarray((features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def cluster_tracks(tracks: TrackSet, parity: bool = False) -> Labels:
    """Group tracks into motion instances.

    Args:
        tracks: P tracks of T >= 2 frames.
        parity: Do as the published code: all tracks take part and no standard deviation is bounded from below.

    Returns:
        int32 (P,), instance 0, 1, ... of each track, -1 for none; numbered by the first track of each instance.

    Raises:
        BackendUnavailableError: hdbscan is not installed.
        ConfigError: Fewer than two frames.

    Source: T-GVC, motion instances (HDBSCAN: Campello et al. 2013). Differs: docs/parity.md, "Features".
    """
    try:
        from hdbscan import HDBSCAN
    except ImportError as fault:
        raise BackendUnavailableError("motion instances need hdbscan: pip install 'tgvc[cluster]'") from fault
    labels = np.full(len(tracks.xy), -1, np.int32)
    chosen = np.flatnonzero(np.ones(len(labels), np.bool_) if parity else tracks.visible.mean(axis=1) >= MIN_SEEN)
    features = track_features(tracks, 0.0 if parity else STILL)[chosen]
    if len(chosen) < 2 * MIN_CLUSTER:  # the least that can make the two clusters HDBSCAN needs to call one a cluster
        return labels
    model = HDBSCAN(
        min_cluster_size=MIN_CLUSTER,
        min_samples=MIN_SAMPLES,
        cluster_selection_epsilon=EPSILON,
        core_dist_n_jobs=1,
    )
    found = model.fit_predict(standardise(features, 0.0 if parity else SPREAD_FLOOR))
    labels[chosen] = _renumber(found)
    return labels


def _renumber(found: npt.NDArray[np.integer]) -> Labels:
    """Labels numbered in the order in which they appear; -1 stays."""
    names, first = np.unique(found[found >= 0], return_index=True)
    lookup = np.full(int(found.max(initial=-1)) + 2, -1, np.int32)
    lookup[names[np.argsort(first)]] = np.arange(len(names), dtype=np.int32)
    return np.asarray(lookup[found], np.int32)
