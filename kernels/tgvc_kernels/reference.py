"""The kernels as formulas: slow, readable NumPy. `cpu` holds the fast twin of every function here, of the same name.

Conventions. A *field* is float32 (h, w, 2): a displacement (dx, dy) per cell, in units of cells. Cells are square
blocks of `scale` x `scale` pixels; the centre of cell (i, j) lies at pixel ((i + 0.5) * scale - 0.5, (j + 0.5) * scale
- 0.5). Sampling outside a plane repeats its border.

Arithmetic. Everything is float32, one rounded operation at a time, in the order written here; rows are interpolated
before columns, so that a twin may do a row once for all pixels on it. Twins of `sample_field`, `project`, `shift`,
`warp`, `mix` and `splat` are *exact*: they return the same bits. `densify` and `blend_weights` state their tolerance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float32]

_PLACES, _LEVELS = 64, 1 << 16  # steps per cell of a place, and per unit of a feature, in `splat`
_FARTHEST, _LARGEST = np.float32(1 << 20), np.float32(1 << 14)


def _grid(height: int, width: int) -> Field:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([x, y], axis=-1)


def sample_field(field: Field, at: Field) -> Field:
    """Bilinear samples of a field.

    Args:
        field: float32 (h, w, 2), any unit.
        at: float32 (..., 2), positions (x, y) in cells; clamped to the field.

    Returns:
        float32 (..., 2), ``sum_ij w_ij field[y0+i, x0+j]`` with the four bilinear weights.
    """
    h, w = field.shape[:2]
    x = np.clip(at[..., 0], 0, w - 1).astype(np.float32)
    y = np.clip(at[..., 1], 0, h - 1).astype(np.float32)
    x0 = np.minimum(x.astype(np.int64), w - 2)
    y0 = np.minimum(y.astype(np.int64), h - 2)
    fx = (x - x0)[..., None].astype(np.float32)
    fy = (y - y0)[..., None].astype(np.float32)
    left = field[y0, x0] * (1 - fy) + field[y0 + 1, x0] * fy
    right = field[y0, x0 + 1] * (1 - fy) + field[y0 + 1, x0 + 1] * fy
    return np.asarray(left * (1 - fx) + right * fx, dtype=np.float32)


def project(flow: Field, tau: float, iterations: int = 4) -> Field:
    """Displacement from a frame between two pictures back to the picture that a flow starts from.

    A point at ``q`` of the picture is seen at ``p = q + tau * flow(q)``. Solves for ``q`` by the fixed point
    ``q <- p - tau * flow(q)``, started at ``q = p``.

    Args:
        flow: float32 (h, w, 2) in cells, picture to picture.
        tau: fraction of the way, 0..1.
        iterations: fixed-point steps, >= 1.

    Returns:
        float32 (h, w, 2), ``q - p`` for every cell p of the frame between.

    Source: own; the usual inversion of an optical flow for frame interpolation.
    """
    tau32 = np.float32(tau)
    grid = _grid(*flow.shape[:2])
    q = grid - tau32 * flow
    for _ in range(iterations - 1):
        q = grid - tau32 * sample_field(flow, q)
    return np.asarray(q - grid, dtype=np.float32)


def shift(field: Field, by: Field) -> Field:
    """Compose two displacements: ``by(p) + field(p + by(p))``.

    Args:
        field: float32 (h, w, 2) in cells.
        by: float32 (h, w, 2) in cells.

    Returns:
        float32 (h, w, 2) in cells.
    """
    return np.asarray(by + sample_field(field, _grid(*field.shape[:2]) + by), dtype=np.float32)


def densify(centres: Field, values: Field, height: int, width: int, reach: float) -> Field:
    """Spread sparse displacements over the plane: Shepard's weights with a pull to zero far from every centre.

    ``d(p) = sum_k w_k v_k / (sum_k w_k + w_0)`` with ``w_k = (|p - c_k|^2 + (reach/16)^2)^-1.75`` and
    ``w_0 = (reach^2 + (reach/16)^2)^-1.75``: at the distance ``reach`` of a single centre half of it is left.

    Args:
        centres: float32 (K, 2), positions (x, y) in cells.
        values: float32 (K, 2), displacements in cells.
        height: rows of the field.
        width: columns of the field.
        reach: distance of half effect, cells, > 0.

    Returns:
        float32 (height, width, 2); zeros for K = 0. Twins agree within 1e-5 of the largest value: the power is three
        rounded operations there and one library call here, each good to a few of float32's 6e-8.

    Source: D. Shepard 1968; exponent and pull chosen by measurement (docs/design.md).
    """
    core = np.float32((reach / 16) ** 2)
    pull = np.float32((reach**2 + core) ** -1.75)
    offsets = _grid(height, width)[:, :, None, :] - centres[None, None, :, :]
    weights = (np.sum(offsets * offsets, axis=-1) + core) ** np.float32(-1.75)
    total = weights.sum(axis=-1) + pull
    return np.asarray(np.einsum("hwk,kc->hwc", weights, values) / total[..., None], dtype=np.float32)


def splat(features: npt.NDArray[np.float32], flow: Field) -> npt.NDArray[np.float32]:
    """Move features forwards: every cell adds its own to the four cells around where it goes; plain averages.

    Places are rounded to 1/64 cell and features to 2^-16, so that all sums are of whole numbers and their order, which
    no GPU keeps, does not matter.

    Args:
        features: float32 (C, h, w), used between -16384 and 16384.
        flow: float32 (h, w, 2) in cells: what is at p goes to ``p + flow(p)``. What goes outside is lost.

    Returns:
        float32 (C + 1, h, w): the weighted means of what came to a cell, 0 where nothing did, and last how much came,
        in cells. Exact: equal in all implementations.

    Source: own; forward splatting with plain averages as in MOFA-Video's adapter.
    """
    count, height, width = features.shape
    sums = np.zeros((count + 1, height, width), np.int64)
    at = _grid(height, width) + flow
    near = np.all(np.abs(at) < _FARTHEST, axis=-1)  # False for what is not a number
    places = np.rint(np.where(near[..., None], at, 0) * _PLACES).astype(np.int64)
    known = np.where(np.isnan(features), 0, np.clip(features, -_LARGEST, _LARGEST)).astype(np.float32)
    levels = np.concatenate(
        [np.rint(known * np.float32(_LEVELS)).astype(np.int64), np.ones((1, height, width), np.int64)]
    )
    cell, part = places // _PLACES, places % _PLACES
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = cell[..., 0] + right, cell[..., 1] + down
        share = np.where(right, part[..., 0], _PLACES - part[..., 0]) * np.where(
            down, part[..., 1], _PLACES - part[..., 1]
        )
        kept = near & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        np.add.at(sums.reshape(count + 1, -1).T, y[kept] * width + x[kept], (levels * share)[:, kept].T)
    weight = sums[-1].astype(np.float64)
    means = sums[:-1].astype(np.float64) / np.maximum(weight * _LEVELS, 1)
    return np.concatenate([means, weight[None] / _PLACES**2]).astype(np.float32)


def _cubic(t: Plane) -> tuple[Plane, Plane, Plane, Plane]:
    """Weights of Catmull-Rom's cubic at fraction t for the samples -1, 0, 1, 2."""
    half, t2 = np.float32(0.5), t * t
    t3 = t2 * t
    return half * (-t + 2 * t2 - t3), half * (2 - 5 * t2 + 3 * t3), half * (t + 4 * t2 - 3 * t3), half * (t3 - t2)


def warp(plane: npt.NDArray[np.uint8], field: Field) -> Plane:
    """Sample a plane at displaced positions with Catmull-Rom's cubic.

    The field is stretched to the plane bilinearly; its cells measure ``scale = H / h`` pixels.

    Args:
        plane: uint8 (H, W) with H = scale * h and W = scale * w for a whole ``scale`` >= 1.
        field: float32 (h, w, 2), displacement in cells from each position to its source.

    Returns:
        float32 (H, W), 0..255 (overshoot of the cubic is clamped).
    """
    height, width = plane.shape
    scale = height // field.shape[0]
    grid = _grid(height, width)
    cells = (grid + np.float32(0.5)) / np.float32(scale) - np.float32(0.5)
    at = grid + np.float32(scale) * sample_field(field, cells)
    x = np.clip(at[..., 0], 0, width - 1)
    y = np.clip(at[..., 1], 0, height - 1)
    x0 = np.floor(x).astype(np.int64)
    y0 = np.floor(y).astype(np.int64)
    wx = _cubic((x - x0).astype(np.float32))
    wy = _cubic((y - y0).astype(np.float32))
    source = plane.astype(np.float32)
    result = np.zeros((height, width), np.float32)
    for i in range(4):
        rows = np.clip(y0 + i - 1, 0, height - 1)
        line = np.zeros((height, width), np.float32)
        for j in range(4):
            line += wx[j] * source[rows, np.clip(x0 + j - 1, 0, width - 1)]
        result += wy[i] * line
    return np.asarray(np.clip(result, 0, 255), dtype=np.float32)


def blend_weights(a: Plane, b: Plane, trust_a: Plane, trust_b: Plane, tau: float) -> Plane:
    """Share of the later candidate in each cell of 2 x 2 pixels.

    Where the candidates agree the weights are linear in time; where their difference (a 5 x 5 mean over cells) rises
    from 6 to 20 grey levels the exponent rises from 1 to 3, so that the nearer picture wins instead of a ghost.
    ``w_a = (1 - tau)^e * trust_a``, ``w_b = tau^e * trust_b``, result ``w_b / (w_a + w_b)``.

    Args:
        a: float32 (H, W), the earlier picture warped to the frame, grey levels.
        b: float32 (H, W), the later one.
        trust_a: float32 (H/2, W/2), > 0, from the forward-backward check.
        trust_b: float32 (H/2, W/2).
        tau: time of the frame between the two, 0..1.

    Returns:
        float32 (H/2, W/2), 0..1. Twins agree within 1e-5: a power here, the exponential of a logarithm there, whose
        argument is at most 3 * log(1023) = 21, known to 1e-6.

    Source: own.
    """
    height, width = a.shape[0] // 2, a.shape[1] // 2
    difference = np.abs((a - b).reshape(height, 2, width, 2).mean(axis=(1, 3), dtype=np.float32))
    padded = np.pad(difference, 2, mode="edge")
    smooth = np.zeros((height, width), np.float32)
    for i in range(5):
        for j in range(5):
            smooth += padded[i : i + height, j : j + width]
    smooth /= np.float32(25)
    exponent = 1 + 2 * np.clip((smooth - 6) / np.float32(14), 0, 1)
    early = np.power(np.float32(1 - tau), exponent) * trust_a
    late = np.power(np.float32(tau), exponent) * trust_b
    return np.asarray(late / (early + late), dtype=np.float32)


def mix(a: Plane, b: Plane, weights: Plane) -> npt.NDArray[np.uint8]:
    """``a + w * (b - a)``, rounded, with the weights stretched bilinearly to the planes.

    Args:
        a: float32 (H, W), 0..255.
        b: float32 (H, W), 0..255.
        weights: float32 (H/s, W/s), 0..1, for a whole s >= 1.

    Returns:
        uint8 (H, W).
    """
    height, width = a.shape
    scale = height // weights.shape[0]
    cells = (_grid(height, width) + np.float32(0.5)) / np.float32(scale) - np.float32(0.5)
    pairs = np.repeat(weights[..., None], 2, axis=-1)
    w = sample_field(pairs, cells)[..., 0]
    return np.asarray(np.floor(a + w * (b - a) + np.float32(0.5)), dtype=np.uint8)
