"""Random fields for tests of kernels."""

from __future__ import annotations

import numpy as np


def random_field(rng: np.random.Generator, size: tuple[int, int], amplitude: float) -> np.ndarray:
    return (rng.standard_normal((*size, 2)) * amplitude).astype(np.float32)
