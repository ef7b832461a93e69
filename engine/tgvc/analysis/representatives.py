"""A few trajectories that speak for the many tracks of a motion instance: seeded k-means, and means of tracks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tgvc.types import BoolArray, FloatArray

ROUNDS = 50
SEEN = 0.5  # share of the members that must be visible for their mean to be


def average_tracks(xy: FloatArray, visible: BoolArray, parity: bool = False) -> tuple[FloatArray, BoolArray]:
    """Mean of tracks of one kind.

    Args:
        xy: float32 (n, T, 2) px.
        visible: bool (n, T).
        parity: Average hidden members too; a sample is hidden, and lies at (-1, -1), only where all members are.

    Returns:
        float32 (T, 2) px, the mean of the visible members, or of all where fewer than half are visible; bool (T,),
        whether at least half are.
    """
    share = visible.mean(axis=0)
    everyone = xy.mean(axis=0, dtype=np.float64)
    if parity:
        seen = share > 0
        return np.where(seen[:, None], everyone, -1.0).astype(np.float32), seen
    seen = share >= SEEN
    weight = visible / np.maximum(visible.sum(axis=0), 1)
    those = np.einsum("nt,ntc->tc", weight, xy.astype(np.float64))
    return np.where(seen[:, None], those, everyone).astype(np.float32), seen


def track_rows(xy: FloatArray, visible: BoolArray) -> npt.NDArray[np.float64]:
    """What tracks are compared by: float64 (n, 3T), x and y in px and visibility 0 or 1 of every frame, unscaled."""
    return np.concatenate([xy, visible[..., None]], axis=2, dtype=np.float64).reshape(len(xy), -1)


def cluster_rows(rows: npt.NDArray[np.float64], count: int, random: np.random.Generator) -> npt.NDArray[np.intp]:
    """Plain k-means: k-means++ start, Lloyd's rounds until nothing moves, at most 50.

    Args:
        rows: float64 (n, D), n >= 1.
        count: Clusters wanted, 1 to n; fewer come out where rows coincide.
        random: Draws the start.

    Returns:
        intp (n,), cluster of each row, numbered 0, 1, ... without gaps.
    """
    centres = rows[[int(random.random() * len(rows))]]
    while len(centres) < count:
        odds = np.cumsum(_distances(rows, centres).min(axis=1))
        if odds[-1] <= 0:
            break
        pick = int(np.searchsorted(odds, random.random() * odds[-1], side="right"))
        centres = np.concatenate([centres, rows[[min(pick, len(rows) - 1)]]])
    nearest = _distances(rows, centres).argmin(axis=1)
    for _ in range(ROUNDS):
        used = np.unique(nearest)
        centres = np.stack([rows[nearest == cluster].mean(axis=0) for cluster in used])
        following = _distances(rows, centres).argmin(axis=1)
        if np.array_equal(used[following], nearest):
            break
        nearest = following
    return np.unique(nearest, return_inverse=True)[1]


def _distances(rows: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Squared distances float64 (n, k)."""
    return np.stack([np.square(rows - centre).sum(axis=1) for centre in centres], axis=1)
