"""Fidelity of one luma plane to another: PSNR, MS-SSIM, GMSD, HaarPSI and VIF, NumPy with OpenCV's filters.

Every function takes two float32 planes (H, W) in grey levels 0..255, reference first, and returns one number. The
constants are those of the papers and agree with the reference implementations that the tests name.
"""

from __future__ import annotations

import cv2
import numpy as np

from tgvc.errors import ConfigError
from tgvc.types import FloatArray

PSNR_CAP = 100.0  # dB, given to identical planes so that a mean over frames stays finite
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MINIMUM = 161  # px: the 11-tap window must fit into the fifth scale
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_GMSD_T = 170.0
_HAAR_C, _HAAR_ALPHA = 30.0, 4.2
_VIF_NOISE, _VIF_FLAT = 2.0, 1e-8


def _gaussian(taps: int, sigma: float) -> FloatArray:
    """Normalised 1-D Gaussian window, float32 (taps,)."""
    x = np.arange(taps) - (taps - 1) / 2
    window = np.exp(-(x**2) / (2 * sigma**2))
    return np.asarray(window / window.sum(), np.float32)


def _smooth(plane: FloatArray, window: FloatArray) -> FloatArray:
    """Separable filter, only where the window lies inside: (H, W) -> (H - taps + 1, W - taps + 1)."""
    r = window.size // 2
    full = cv2.sepFilter2D(plane, cv2.CV_32F, window, window)
    return np.asarray(full[r : full.shape[0] - r, r : full.shape[1] - r], np.float32)


def _halve(plane: FloatArray) -> FloatArray:
    """Mean of 2x2 blocks; an odd last row or column is dropped."""
    h, w = plane.shape[0] // 2 * 2, plane.shape[1] // 2 * 2
    p = plane[:h, :w]
    return np.asarray((p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2]) * np.float32(0.25), np.float32)


def psnr(reference: FloatArray, test: FloatArray) -> float:
    """Peak signal-to-noise ratio in dB, 0..100 (the cap for identical planes)."""
    mse = float(np.mean(np.square(reference - test), dtype=np.float64))
    return PSNR_CAP if mse == 0 else min(PSNR_CAP, 10 * np.log10(255.0**2 / mse))


def ms_ssim(reference: FloatArray, test: FloatArray) -> float:
    """Multi-scale structural similarity, 0..1, larger is better.

    Raises:
        ConfigError: A side is shorter than 161 px, where five scales do not exist.

    Source: Wang, Simoncelli, Bovik 2003; 11-tap window of sigma 1.5, negative terms cut at 0.
    """
    if min(reference.shape) < MS_SSIM_MINIMUM:
        size = f"{reference.shape[1]}x{reference.shape[0]}"
        raise ConfigError(f"ms_ssim: a picture of {size} px, expected both sides at least {MS_SSIM_MINIMUM} px")
    window = _gaussian(11, 1.5)
    x, y = reference, test
    value = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            x, y = _halve(x), _halve(y)
        mu_x, mu_y = _smooth(x, window), _smooth(y, window)
        mu_xy, mu_sum = mu_x * mu_y, mu_x * mu_x + mu_y * mu_y
        # Second moments about mid-grey: float32 keeps two more digits of the small variances.
        cx, cy = x - np.float32(128), y - np.float32(128)
        shift = np.float32(128) * (mu_x + mu_y) - np.float32(128**2)
        cov = _smooth(cx * cy, window) - (mu_xy - shift)
        var = _smooth(cx * cx + cy * cy, window) - (mu_sum - 2 * shift)
        term = (2 * cov + _C2) / (var + _C2)
        if scale == len(MS_SSIM_WEIGHTS) - 1:
            term = term * (2 * mu_xy + _C1) / (mu_sum + _C1)
        value *= max(0.0, float(term.mean(dtype=np.float64))) ** weight
    return value


def gradient_magnitude(plane: FloatArray) -> FloatArray:
    """Prewitt gradient magnitude of the halved plane, float32 (H/2, W/2), grey levels per px, zeros outside."""
    half = _halve(plane)
    ramp, box = np.array([-1, 0, 1], np.float32), np.full(3, 1 / 3, np.float32)
    gx = cv2.sepFilter2D(half, cv2.CV_32F, ramp, box, borderType=cv2.BORDER_CONSTANT)
    gy = cv2.sepFilter2D(half, cv2.CV_32F, box, ramp, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(cv2.magnitude(gx, gy), np.float32)


def gmsd(reference: FloatArray, test: FloatArray) -> float:
    """Gradient magnitude similarity deviation, 0 (equal) upwards, smaller is better.

    Source: Xue et al. 2013, T = 170 on grey levels.
    """
    a, b = gradient_magnitude(reference), gradient_magnitude(test)
    similarity = (2 * a * b + _GMSD_T) / (a * a + b * b + _GMSD_T)
    return float(similarity.std(dtype=np.float64))


def _haar(plane: FloatArray, size: int) -> tuple[FloatArray, FloatArray]:
    """Absolute vertical and horizontal Haar coefficients of one scale, placed as a 'same' convolution does."""
    box = np.full(size, 1 / size, np.float32)
    step = np.ones(size, np.float32)
    step[size // 2 :] = -1
    at = (size // 2 - 1, size // 2 - 1)
    v = cv2.sepFilter2D(plane, cv2.CV_32F, box, step, anchor=at, borderType=cv2.BORDER_CONSTANT)
    h = cv2.sepFilter2D(plane, cv2.CV_32F, step, box, anchor=at, borderType=cv2.BORDER_CONSTANT)
    return np.abs(v), np.abs(h)


def haarpsi(reference: FloatArray, test: FloatArray) -> float:
    """Haar wavelet-based perceptual similarity of luma, 0..1, larger is better.

    Source: Reisenhofer et al. 2018, C = 30, alpha = 4.2, three scales after 2x2 averaging.
    """
    x, y = _halve(reference), _halve(test)
    fine = [(_haar(x, size), _haar(y, size)) for size in (2, 4)]
    coarse_x, coarse_y = _haar(x, 8), _haar(y, 8)
    total, weights = 0.0, 0.0
    for o in range(2):
        weight = np.maximum(coarse_x[o], coarse_y[o])
        s = [(2 * a[o] * b[o] + _HAAR_C) / (a[o] * a[o] + b[o] * b[o] + _HAAR_C) for a, b in fine]
        local = 1 / (1 + np.exp((-_HAAR_ALPHA / 2) * (s[0] + s[1])))
        total += float(np.sum(local * weight, dtype=np.float64))
        weights += float(np.sum(weight, dtype=np.float64))
    if weights == 0:  # two flat planes: nothing visible differs in structure
        return 1.0
    mean = total / weights
    return float((np.log(mean / (1 - mean)) / _HAAR_ALPHA) ** 2)


def vif(reference: FloatArray, test: FloatArray) -> float:
    """Visual information fidelity in the pixel domain (VIF-p), 0 upwards, 1 = equal, above 1 = contrast raised.

    Note the order: the information is counted in the reference.

    Source: Sheikh and Bovik 2006, pixel-domain variant, noise variance 2.
    """
    # Mid-grey removed: variances do not change and float32 keeps two more digits.
    x, y = reference - np.float32(128), test - np.float32(128)
    kept, present = 0.0, 0.0
    for scale in range(4):
        taps = 2 ** (4 - scale) + 1
        window = _gaussian(taps, taps / 5)
        if scale:
            x = np.ascontiguousarray(_smooth(x, window)[::2, ::2])
            y = np.ascontiguousarray(_smooth(y, window)[::2, ::2])
        mu_x, mu_y = _smooth(x, window), _smooth(y, window)
        var_x = np.maximum(_smooth(x * x, window) - mu_x * mu_x, 0)
        var_y = np.maximum(_smooth(y * y, window) - mu_y * mu_y, 0)
        cov = np.maximum(_smooth(x * y, window) - mu_x * mu_y, 0)
        # Gain of the channel reference -> test and the noise it adds; no gain where the reference is flat.
        gain = cov / (var_x + np.float32(_VIF_FLAT))
        noise = np.maximum(var_y - gain * cov, 0) + np.float32(_VIF_NOISE)
        kept += float(np.sum(np.log1p(gain * gain * var_x / noise), dtype=np.float64))
        present += float(np.sum(np.log1p(var_x / np.float32(_VIF_NOISE)), dtype=np.float64))
    return (kept + _VIF_FLAT) / (present + _VIF_FLAT)
