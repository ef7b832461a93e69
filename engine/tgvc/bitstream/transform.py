"""Displacements over time <-> quantised integers.

A displacement is measured from a key frame, where it is zero, in every frame of its series. Four transforms:

- ``dst``: the sine transform (type VII), zero just before the first sample and flat after the last one, so a steady
  drift is nearly one coefficient. For series that end freely: 6 to 11 % fewer bits than ``dct`` at equal error.
- ``bridge``: the sine transform (type I), zero just before the first and just after the last sample. For series that
  return to zero at the other key: 7 % fewer bits than ``dst`` there.
- ``dct``: the cosine transform (type II), for what need not be zero anywhere.
- ``dpcm``: none; the displacement itself on a grid, which is coded by prediction. For steps below a quarter of a pixel.

Floats live here only: no bit of a stream is parsed by what this module computes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from tgvc.types import FloatArray

Transform: TypeAlias = Literal["dst", "bridge", "dct", "dpcm"]
TRANSFORMS: tuple[Transform, ...] = get_args(Transform)
STEP_CODES = 64
COEF_LIMIT = (1 << 20) - 1  # largest magnitude of a coefficient: 131 072 px at the finest step

Coefs: TypeAlias = npt.NDArray[np.int32]


def step_px(code: int) -> float:
    """The quantiser's step in px of code 0..63: 0.125 px * 2**(code / 6), so 18 is 1 px and 63 is 181 px."""
    if not 0 <= code < STEP_CODES:
        raise ValueError(f"step code={code}: expected 0..{STEP_CODES - 1}")
    return float(0.125 * 2.0 ** (code / 6))


def step_code(step: float) -> int:
    """The code 0..63 whose step is nearest to ``step`` px in ratio."""
    if not step > 0:
        raise ValueError(f"step={step}: expected a positive number of px")
    return int(np.clip(np.rint(6 * np.log2(step / 0.125)), 0, STEP_CODES - 1))


@lru_cache(maxsize=64)
def temporal_dct(n: int) -> FloatArray:
    """Orthonormal cosine basis (DCT-II), float32 (n, n), rows are frequencies. Read-only."""
    k, t = np.arange(n)[:, None], np.arange(n)[None]
    basis = np.sqrt(2 / n) * np.cos(np.pi * k * (2 * t + 1) / (2 * n))
    basis[0] /= np.sqrt(2)
    return _frozen(basis)


@lru_cache(maxsize=64)
def temporal_dst(n: int) -> FloatArray:
    """Orthonormal sine basis (DST-VII), float32 (n, n), rows are frequencies. Read-only."""
    k, t = np.arange(n)[:, None], np.arange(n)[None]
    return _frozen(2 / np.sqrt(2 * n + 1) * np.sin(np.pi * (2 * k + 1) * (t + 1) / (2 * n + 1)))


@lru_cache(maxsize=64)
def temporal_bridge(n: int) -> FloatArray:
    """Orthonormal sine basis (DST-I), float32 (n, n), rows are frequencies. Read-only."""
    k, t = np.arange(1, n + 1)[:, None], np.arange(1, n + 1)[None]
    return _frozen(np.sqrt(2 / (n + 1)) * np.sin(np.pi * k * t / (n + 1)))


def temporal_basis(n: int, transform: Transform) -> FloatArray:
    """The basis of a transform, float32 (n, n); ``dpcm`` has none, its samples stand for themselves."""
    if transform == "dpcm":
        return _frozen(np.eye(n))
    return {"dst": temporal_dst, "bridge": temporal_bridge, "dct": temporal_dct}[transform](n)


def quantise(
    displacement: FloatArray, step: float, transform: Transform = "dst", dead_zone: float = 1 / 3, axis: int = 1
) -> Coefs:
    """Displacements -> coefficients.

    Args:
        displacement: float32 (K, n, 2) px; any other shape with time along ``axis``, as (n, 4, 2) of a global model.
        step: quantiser's step in px; being orthonormal, a transform keeps it and the squared error.
        transform: see the module.
        dead_zone: added to a magnitude in steps before it is rounded down: 1/2 rounds to nearest, less favours smaller
            values. ``dpcm`` always rounds to nearest: there is no zero worth favouring.
        axis: the axis of time.

    Returns:
        int32, the displacement's shape: one coefficient in the place of each sample.

    Raises:
        ValueError: a coefficient beyond ``COEF_LIMIT`` or a displacement that is not finite.
    """
    d = np.moveaxis(np.asarray(displacement, np.float64), axis, -1)
    if transform == "dpcm":
        scaled, rounding = d / step, 0.5
    else:
        basis = temporal_basis(d.shape[-1], transform).astype(np.float64)
        scaled, rounding = np.einsum("...t,kt->...k", d, basis) / step, dead_zone
    if not np.all(np.abs(scaled) < COEF_LIMIT):
        raise ValueError(f"displacement: not finite, or beyond {COEF_LIMIT} steps of {step:g} px")
    q = np.sign(scaled) * np.floor(np.abs(scaled) + rounding)
    return np.ascontiguousarray(np.moveaxis(q, -1, axis)).astype(np.int32)


def dequantise(coefs: Coefs, step: float, transform: Transform = "dst", axis: int = 1) -> FloatArray:
    """Coefficients int32 (K, n, 2) -> displacements float32 (K, n, 2) px; the inverse of `quantise`, same arguments."""
    q = np.moveaxis(np.asarray(coefs, np.float64), axis, -1)
    if transform != "dpcm":
        q = np.einsum("...k,kt->...t", q, temporal_basis(q.shape[-1], transform).astype(np.float64))
    return np.ascontiguousarray(np.moveaxis(q * step, -1, axis)).astype(np.float32)


def _frozen(basis: npt.NDArray[np.float64]) -> FloatArray:
    out = basis.astype(np.float32)
    out.flags.writeable = False
    return out
