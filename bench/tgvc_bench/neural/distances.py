"""Distances between two sets of features: Fréchet's and the kernel one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tgvc.errors import ConfigError
from tgvc.types import FloatArray

_Float64 = npt.NDArray[np.float64]


def frechet_distance(reference: FloatArray, test: FloatArray) -> float:
    """FID of two sets of features (N, D) and (M, D), at least two rows each; smaller is better.

    With fewer rows than some thousands the value is too large (it is biased): compare only sets of one size.

    Raises:
        ConfigError: shapes that do not fit.

    Source: Heusel et al. 2017.
    """
    _check(reference, test)
    a, b = reference.astype(np.float64), test.astype(np.float64)
    shift = a.mean(axis=0) - b.mean(axis=0)
    # the trace of the root is the sum of the singular values of the product of both deviations, which has as many sides
    # as there are rows; with more rows than features their triangular factors do as well
    da, db = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (a, b))
    roots = np.linalg.svd(_shorten(da) @ _shorten(db).T, compute_uv=False)
    return float(shift @ shift + np.sum(da * da) + np.sum(db * db) - 2 * roots.sum())


def _shorten(rows: _Float64) -> _Float64:
    """No more rows than columns, with the same inner products of columns."""
    return np.asarray(np.linalg.qr(rows, mode="r"), np.float64) if len(rows) > rows.shape[1] else rows


def kernel_distance(reference: FloatArray, test: FloatArray) -> float:
    """KID of two sets of features (N, D) and (M, D), at least two rows each; smaller is better, and unbiased.

    Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3 over all pairs of different rows; near equality it
    may fall below 0.

    Raises:
        ConfigError: shapes that do not fit.

    Source: Binkowski et al. 2018, without their averaging over subsets.
    """
    _check(reference, test)
    a, b = reference.astype(np.float64), test.astype(np.float64)

    def kernel(x: _Float64, y: _Float64) -> _Float64:
        return np.asarray((x @ y.T / x.shape[1] + 1) ** 3, np.float64)

    def within(x: _Float64) -> float:
        full = kernel(x, x)
        return float((full.sum() - np.trace(full)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def _check(reference: FloatArray, test: FloatArray) -> None:
    shapes = reference.shape, test.shape
    if any(len(s) != 2 or s[0] < 2 for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise ConfigError(f"features: got {shapes[0]} and {shapes[1]}, expected (N, D) and (M, D) of at least 2 rows")
