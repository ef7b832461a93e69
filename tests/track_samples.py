"""Smooth trajectories over spread cells, for tests of coded motion."""

from __future__ import annotations

import numpy as np

WIDE = (128, 80)  # of 512x320


def smooth_tracks(count: int, n: int, seed: int) -> np.ndarray:
    """Displacements float32 (count, n, 2) px of points that drift, speed up and sway, zero before the first sample."""
    rng = np.random.default_rng(seed)
    t = np.arange(1, n + 1)[None, :, None] / n
    drift, bend, sway = (rng.normal(0, s, (count, 1, 2)) for s in (12, 6, 2))
    phase, rate = rng.uniform(0, 6, (count, 1, 2)), rng.uniform(3, 12, (count, 1, 2))
    path = drift * t + bend * t**2 + sway * (np.sin(phase + rate * t) - np.sin(phase))
    return (path + rng.normal(0, 0.2, path.shape)).astype(np.float32)  # 0.2 px: what a good tracker leaves


def spread_cells(count: int, seed: int) -> np.ndarray:
    cells = np.random.default_rng(seed).permutation(WIDE[0] * WIDE[1])[:count]
    return np.stack([cells % WIDE[0], cells // WIDE[0]], 1).astype(np.int32)
