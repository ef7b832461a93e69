"""Where trajectories pull at latents: what `guidance_plan` makes and `guidance_gradient` reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int8Array = npt.NDArray[np.int8]


class GuidancePlan(NamedTuple):
    """Rows of entries (CSR): one row per latent cell that is pulled at, one entry per track that pulls there.

    ``size``: (T, h, w) of the latents. ``cells`` int32 (M,): flat index of each row's cell in (T, h, w), increasing.
    ``rows`` int32 (M + 1,): entries ``rows[m]`` to ``rows[m + 1]`` belong to row m. ``first, last`` int32 (E,): flat
    index in the (R, h, w) of the two reference volumes. ``first_halves, last_halves`` int8 (E,): weights alpha and
    beta in units of one half, 0..2; where one is 0 its index is 0 and never read.
    """

    size: tuple[int, int, int]
    cells: Int32Array
    rows: Int32Array
    first: Int32Array
    last: Int32Array
    first_halves: Int8Array
    last_halves: Int8Array
