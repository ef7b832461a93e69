"""The table that turns 32 random bits into a standard normal number without a function of any math library.

Rows are octaves of the tail probability, columns are 65 nodes along each: entry [k, j] is the integer nearest to
``2**20 * z`` with z what a standard normal number exceeds with probability ``(1 + j / 64) / 2**(k + 2)``. None is
nearer than 1e-4 to a tie, so every way to compute it that is good to eleven digits gives the same integers.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

OCTAVES, NODES = 32, 64
FRACTION_BITS = 20


def normal_quantiles() -> npt.NDArray[np.int32]:
    """The table: int32 (32, 65), decreasing along rows; the last node of an octave is the first of the one before."""
    inverse = NormalDist().inv_cdf
    table = [
        [round(-inverse((1 + j / NODES) / 2 ** (k + 2)) * (1 << FRACTION_BITS)) for j in range(NODES + 1)]
        for k in range(OCTAVES)
    ]
    return np.array(table, np.int32)
