"""Trajectories and their published weights, for tests of guidance."""

from __future__ import annotations

import numpy as np
import pytest

from tgvc_kernels import latent_cpu, latent_reference

both = pytest.mark.parametrize("module", [latent_reference, latent_cpu], ids=["reference", "cpu"])
Track = tuple[np.ndarray, np.ndarray]


def published_weights(s: int, first: bool, last: bool) -> tuple[float, float]:
    """The table of the published weights at 16 slots, as measured, not computed."""
    if first and last:
        return (1, 0) if s <= 5 else (0.5, 0.5) if s <= 8 else (0, 1)
    if first:
        return (1, 0) if s <= 5 else (0.5, 0) if s <= 7 else (1, 0) if s == 8 else (0, 0)
    if last:
        return (0, 0) if s <= 5 else (0, 1) if s <= 7 else (0, 0.5) if s == 8 else (0, 1)
    return 0, 0
