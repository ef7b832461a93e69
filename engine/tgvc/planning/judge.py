"""How good a reconstruction is, for choosing between candidates of equal rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tgvc.types import FloatArray, Picture, Plane, picture_planes

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_GAUSSIAN = cv2.getGaussianKernel(11, 1.5).astype(np.float32)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class Verdict:
    """Means over all frames: ``psnr`` dB (luma), ``ms_ssim`` 0..1, ``squared_error`` sum over all luma pixels.

    ``frames``: the merit of each frame alone.
    """

    psnr: float
    ms_ssim: float
    squared_error: float
    frames: tuple[float, ...]

    @property
    def merit(self) -> float:
        """One number to maximise: PSNR plus MS-SSIM in dB, so that neither is sold for the other."""
        return _merit(self.psnr, self.ms_ssim)


def _merit(psnr: float, similarity: float) -> float:
    return psnr - 10 * float(np.log10(max(1e-6, 1 - similarity)))


def _blur(plane: FloatArray) -> FloatArray:
    return np.asarray(cv2.sepFilter2D(plane, -1, _GAUSSIAN, _GAUSSIAN)[5:-5, 5:-5], dtype=np.float32)


def _shrink(plane: FloatArray, size: tuple[int, int]) -> FloatArray:
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def ms_ssim(original: Plane, picture: Plane) -> float:
    """Multi-scale structural similarity of two luma planes uint8 (H, W).

    Planes too small for five scales use as many as fit an 11 x 11 window, with the weights renormalised.

    Source: Wang, Simoncelli, Bovik 2003.
    """
    a, b = original.astype(np.float32), picture.astype(np.float32)
    scales = max(1, min(5, int(np.log2(min(a.shape) / 11)) + 1))
    weights = np.asarray(_SCALE_WEIGHTS[:scales]) / sum(_SCALE_WEIGHTS[:scales])
    result = 1.0
    for scale, weight in enumerate(weights):
        mean_a, mean_b = _blur(a), _blur(b)
        var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
        term = (2 * (_blur(a * b) - mean_a * mean_b) + _C2) / (var_a + var_b + _C2)
        if scale == scales - 1:
            term = term * (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
        result *= max(1e-6, float(term.mean())) ** float(weight)
        half = (a.shape[1] // 2, a.shape[0] // 2)
        a, b = (_shrink(p[: half[1] * 2, : half[0] * 2], half) for p in (a, b))
    return result


def squared_errors(originals: Sequence[Picture], pictures: Sequence[Picture]) -> FloatArray:
    """Sum of squared luma errors of each frame, float32 (N,)."""
    sums = []
    for original, picture in zip(originals, pictures, strict=True):
        d = picture_planes(original)[0].astype(np.float32) - picture_planes(picture)[0]
        sums.append(float(np.dot(d.ravel(), d.ravel())))
    return np.asarray(sums, dtype=np.float32)


def judge(originals: Sequence[Picture], pictures: Sequence[Picture]) -> Verdict:
    """Verdict over all frames of two runs of I420 pictures."""
    errors = squared_errors(originals, pictures)
    pixels = picture_planes(originals[0])[0].size
    psnr = 10 * np.log10(255.0**2 * pixels / np.maximum(errors, 1e-3 * pixels))
    structure = [ms_ssim(picture_planes(o)[0], picture_planes(p)[0]) for o, p in zip(originals, pictures, strict=True)]
    frames = tuple(_merit(float(p), s) for p, s in zip(psnr, structure, strict=True))
    return Verdict(float(psnr.mean()), float(np.mean(structure)), float(errors.sum()), frames)
