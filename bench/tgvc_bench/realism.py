"""How much a picture looks like real video, without aligned pixels and without trained weights.

A blurred picture keeps its PSNR and loses here; invented but plausible texture is not punished for its place.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from tgvc.types import FloatArray

LEVELS = 3  # full, half and quarter size band
PATCH = 7  # px, side
POSITIONS = 1024  # patches per level and frame
DIRECTIONS = 32  # projections per level
_SEED = 20260131


def gradient_energy(plane: FloatArray) -> float:
    """Mean squared forward difference in x and y of a float32 plane (H, W), grey levels squared."""
    dx, dy = plane[:, 1:] - plane[:, :-1], plane[1:] - plane[:-1]
    return float(np.mean(dx * dx, dtype=np.float64) + np.mean(dy * dy, dtype=np.float64))


@cache
def _plan(height: int, width: int, level: int) -> tuple[np.ndarray, FloatArray]:
    """Seeded places (POSITIONS, 49) as flat indices of a level's plane and directions float32 (49, DIRECTIONS)."""
    random = np.random.default_rng([_SEED, level])
    y = random.integers(0, height - PATCH + 1, POSITIONS)
    x = random.integers(0, width - PATCH + 1, POSITIONS)
    inside = (np.arange(PATCH)[:, None] * width + np.arange(PATCH)).ravel()
    directions = random.standard_normal((PATCH * PATCH, DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    return (y * width + x)[:, None] + inside, directions.astype(np.float32)


def patch_spectrum(plane: FloatArray) -> FloatArray:
    """Sorted projections of the Laplacian patches of a plane, float32 (LEVELS, DIRECTIONS, POSITIONS), grey levels.

    Two pictures with the same texture have nearly the same spectrum wherever the texture lies.
    """
    spectrum = np.empty((LEVELS, DIRECTIONS, POSITIONS), np.float32)
    current = plane
    for level in range(LEVELS):
        smaller = cv2.pyrDown(current)
        band = current - cv2.pyrUp(smaller, dstsize=current.shape[::-1])
        places, directions = _plan(*band.shape, level)
        spectrum[level] = np.sort((band.ravel()[places] @ directions).T, axis=1)
        current = np.asarray(smaller, np.float32)
    return spectrum


def wasserstein(reference: FloatArray, test: FloatArray) -> float:
    """Sliced Wasserstein-1 distance of two patch spectra relative to the reference's spread, smaller is better.

    Per level: mean distance of sorted projections, divided by the reference's standard deviation plus one grey level
    (so that a flat reference does not divide by zero); then the mean over levels. 0 = same patches; near 0.8 = the
    band is gone.

    Source: after Karras et al. 2018, section 5 (levels of a Laplacian pyramid, 7x7 patches); fixed seeds and the
    relative scale are own.
    """
    distance = np.abs(reference - test).mean(axis=(1, 2), dtype=np.float64)
    spread = reference.std(axis=(1, 2), dtype=np.float64) + 1.0
    return float(np.mean(distance / spread))
