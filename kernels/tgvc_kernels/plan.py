"""Where trajectories pull at latents: what `guidance_plan` makes and `guidance_gradient` reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

PARITY_SAMPLES = 16  # the only length that the published table of weights is written for
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


def check_tracks(
    xy: npt.NDArray[np.float32],
    visible: npt.NDArray[np.bool_],
    slots: npt.NDArray[np.int64],
    size: tuple[int, int, int],
    cell: int,
    radius: int,
    parity: bool,
) -> None:
    """ValueError for arguments of `guidance_plan` that do not fit each other or 32 bits."""
    if xy.dtype != np.float32 or xy.ndim != 3 or xy.shape[2] != 2 or xy.shape[1] < 2:
        raise ValueError(f"xy: expected float32 (K, n, 2) with n >= 2, got {xy.dtype} {xy.shape}")
    if visible.dtype != np.bool_ or visible.shape != xy.shape[:2]:
        raise ValueError(f"visible: expected bool {xy.shape[:2]}, got {visible.dtype} {visible.shape}")
    if slots.dtype != np.int64 or slots.shape != (xy.shape[1],):
        raise ValueError(f"slots: expected int64 ({xy.shape[1]},), got {slots.dtype} {slots.shape}")
    if min(size) < 1 or np.prod(size, dtype=np.float64) >= 1 << 31:
        raise ValueError(f"size={size}: expected positive (T, h, w)")
    between = slots[1:-1]
    shown = between[between >= 0]
    if shown.size and (shown.max() >= size[0] or np.unique(shown).size < shown.size):
        raise ValueError(f"slots: expected different frames below {size[0]} or -1, got {slots.tolist()}")
    if slots.max() >= (1 << 31) // (size[1] * size[2]):
        raise ValueError(
            f"slots: {int(slots.max())} is beyond what 32 bits can point at with {size[1]} x {size[2]} cells"
        )
    if not 1 <= cell <= 4096 or not 0 <= radius <= 64:
        raise ValueError(f"cell={cell}, radius={radius}: expected 1 to 4096 px and 0 to 64 cells")
    if parity and xy.shape[1] != PARITY_SAMPLES:
        raise ValueError(f"xy: parity knows {PARITY_SAMPLES} samples per track, got {xy.shape[1]}")
