"""Pictures as a CLIP image tower takes them: blurred, resized to a square, normalised.

The published system does this with kornia; what follows gives the same numbers up to rounding. Blur and resize act on
rows and columns apart from each other, so each axis is one matrix, made once per length.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tgvc.models.contract import IMAGE_PX, RGB
from tgvc.types import FloatArray

# Of the pictures that CLIP was trained on, red, green and blue of 0..1. Source: Radford et al. 2021, published code
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
_CUBIC = -0.75  # slope of the cubic kernel at distance 1
_SIGMA_FLOOR = 1e-3  # px: of an axis that is not made smaller; blurs nothing


def prepare_pixels(pictures: FloatArray, *, normalised_twice: bool = False) -> FloatArray:
    """Pictures as the image tower takes them.

    A picture larger than 224 px on either side is blurred first, then resized by a cubic kernel whose outermost samples
    lie on the outermost pixels; the aspect ratio is not kept, and what the kernel overshoots is not cut off.

    Args:
        pictures: float32 (N, 3, H, W), red, green, blue in -1..1.
        normalised_twice: as T-GVC's encoder does it: mean and deviation of CLIP are applied to 0..1, and the result is
            taken for a picture in -1..1, which about doubles its contrast.

    Returns:
        float32 (N, 3, 224, 224), about -2..2.

    Raises:
        ValueError: another shape.

    Source: DynamiCrafter (Xing et al. 2024), the image embedder; T-GVC, published encoder.
    """
    if pictures.ndim != 4 or pictures.shape[1] != RGB or 0 in pictures.shape:
        raise ValueError(f"pictures of shape {pictures.shape}, expected (N, {RGB}, H, W)")
    height, width = pictures.shape[2:]
    blurred = max(height, width) > IMAGE_PX
    rows, columns = (_axis_matrix(length, IMAGE_PX, blurred) for length in (height, width))
    if normalised_twice:
        pictures = _normalise(pictures)
    return _normalise(rows @ (pictures.astype(np.float32, copy=False) @ columns.T))


def _normalise(pictures: FloatArray) -> FloatArray:
    """Mean 0 and deviation 1 over the pictures that CLIP was trained on, float32 (N, 3, ...) in -1..1."""
    scale = (0.5 / np.array(STD)).astype(np.float32).reshape(RGB, 1, 1)
    offset = ((0.5 - np.array(MEAN)) / STD).astype(np.float32).reshape(RGB, 1, 1)
    return np.asarray(pictures * scale + offset, np.float32)


@lru_cache(maxsize=8)
def _axis_matrix(length: int, target: int, blurred: bool) -> FloatArray:
    """Matrix float32 (target, length) that blurs and resizes one axis."""
    matrix = _resize_matrix(length, target)
    if blurred:
        matrix = matrix @ _blur_matrix(length, length / target)
    result: FloatArray = matrix.astype(np.float32)
    result.flags.writeable = False
    return result


def _blur_matrix(length: int, factor: float) -> npt.NDArray[np.float64]:
    """Gaussian blur before an axis gets ``factor`` times shorter, reflected at the ends without repeating them."""
    sigma = max((factor - 1) / 2, _SIGMA_FLOOR)
    taps = int(max(4 * sigma, 3)) | 1  # odd
    offsets = np.arange(taps) - taps // 2
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    matrix = np.zeros((length, length))
    places = np.arange(length)
    period = max(2 * (length - 1), 1)
    for offset, weight in zip(offsets, weights, strict=True):
        folded = np.abs((places + offset + length - 1) % period - (length - 1))
        np.add.at(matrix, (places, folded), weight)
    return matrix


def _resize_matrix(length: int, target: int) -> npt.NDArray[np.float64]:
    """Cubic interpolation at ``target`` places evenly spaced from the first to the last sample; ends are repeated."""
    at = np.linspace(0, length - 1, target)
    first = np.floor(at).astype(np.int64)
    matrix = np.zeros((target, length))
    for tap in range(-1, 3):
        weights = _cubic(np.abs(at - first - tap))
        np.add.at(matrix, (np.arange(target), np.clip(first + tap, 0, length - 1)), weights)
    return matrix


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The kernel at distances 0..2."""
    a, d = _CUBIC, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
