"""ActDiff-VC's choice of trajectories: where the motion guessed from those chosen so far is most wrong, edges first.

The guess is a normalised sum of Gaussian bells around the trajectories (RBF). The next trajectory starts where the
guess, weighted by how strong an edge is there, misses most. Source: ActDiff-VC, section on active sampling. Differs:
docs/parity.md, "Profile actdiff".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from tgvc.types import BoolArray, FloatArray, Plane

BANDWIDTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)  # of the cell, tried for the width of the bells
ANCHOR_SHARE, ANCHOR_EDGE = 0.33, 0.5  # of the published count, and the least edge weight, of what it starts from
ROUND, CELLS = 10, 600  # the published search: trajectories added at once, cells of which one each may come
LEAST_RESIDUAL = 1e-6
_BLUR = 1.5  # px: edges finer than this are texture
_STRONG = 0.98  # quantile of the gradient that counts as a whole edge
_FAINT = 6.0  # grey levels per px: in a picture without edges none is invented
_PULL = 0.05  # of one bell: how soon the guess falls to zero away from all trajectories
State: TypeAlias = tuple[FloatArray, FloatArray, FloatArray]  # sums, bells and residual of a guess
_Indices = npt.NDArray[np.int64]


def edge_weights(luma: Plane, rows: int, columns: int) -> FloatArray:
    """How strong an edge each cell of a grid holds: the stand-in for the original's edge network (HED).

    Args:
        luma: uint8 (H, W).
        rows: of the grid.
        columns: of the grid.

    Returns:
        float32 (rows, columns), 0..1: the strongest smoothed gradient within the cell, relative to the picture's own.
    """
    smooth = cv2.GaussianBlur(luma.astype(np.float32), (0, 0), _BLUR)
    slope = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8))
    height, width = slope.shape
    tall, wide = -(-height // rows), -(-width // columns)
    padded = np.zeros((rows * tall, columns * wide), np.float32)
    padded[:height, :width] = slope
    strongest = padded.reshape(rows, tall, columns, wide).max(axis=(1, 3))
    whole = max(float(np.quantile(strongest, _STRONG)), _FAINT)
    return np.asarray(np.minimum(strongest / whole, 1), np.float32)


class MotionGuess:
    """Motion of all points of a grid guessed from a few of them, kept up to date as these are added.

    Args:
        points: float32 (P, 2) px, in the first frame.
        moves: float32 (P, n, 2) px, how they really move.
        seen: bool (P, n), where that is known.
        weights: float32 (P,), how much a point's error counts.
        bandwidth: px, deviation of the bells.
        pull: of one bell, added to their sum; 0 is the published guess, which fills the picture with the motion of a
            lone trajectory.
    """

    def __init__(
        self,
        points: FloatArray,
        moves: FloatArray,
        seen: BoolArray,
        weights: FloatArray,
        bandwidth: float,
        pull: float = _PULL,
    ) -> None:
        self.points, self.moves, self.seen, self.weights = points, moves, seen, weights
        self.bandwidth, self.pull = bandwidth, pull
        self._sum = np.zeros(moves.shape, np.float32)
        self._bells = np.zeros(moves.shape[:2], np.float32)
        self.residual = self._measure(self._sum, self._bells)

    @property
    def error(self) -> float:
        """Weighted px over all points and frames that are seen."""
        return float(self.residual.sum(dtype=np.float64))

    def try_point(self, index: int, move: FloatArray, seen: BoolArray) -> State:
        """What the guess would be with one more trajectory; `keep` takes it.

        Args:
            index: of the point that it starts from.
            move: float32 (n, 2) px, as the decoder will know it.
            seen: bool (n,), frames in which it says something.

        Returns:
            Its state; the last part is the residual float32 (P,).
        """
        far = np.square(self.points - self.points[index]).sum(axis=1)
        bell = np.exp(-far / np.float32(2 * self.bandwidth**2))[:, None] * seen[None].astype(np.float32)
        total, bells = self._sum + bell[..., None] * move[None], self._bells + bell
        return total, bells, self._measure(total, bells)

    def keep(self, state: State) -> None:
        """Go on from a tried state."""
        self._sum, self._bells, self.residual = state

    def _measure(self, total: FloatArray, bells: FloatArray) -> FloatArray:
        guess = total / np.maximum(bells + np.float32(self.pull), np.float32(1e-12))[..., None]
        miss = np.sqrt(np.square(guess - self.moves).sum(axis=-1)) * self.seen
        return np.asarray(self.weights * miss.sum(axis=1), np.float32)


def fit_bandwidth(
    points: FloatArray,
    moves: FloatArray,
    seen: BoolArray,
    weights: FloatArray,
    anchors: _Indices,
    cell: float,
    pull: float = _PULL,
) -> float:
    """The width of the bells, in px, with which the anchors alone guess the other points best.

    Args:
        points: float32 (P, 2) px.
        moves: float32 (P, n, 2) px.
        seen: bool (P, n).
        weights: float32 (P,).
        anchors: int64 (K,), indices of points; without any, one ``cell`` is the answer.
        cell: px, the unit of `BANDWIDTHS`.
        pull: see `MotionGuess`.
    """
    if not len(anchors):
        return cell
    errors = []
    far = np.square(points[:, None] - points[None, anchors]).sum(axis=2)
    known = seen[anchors].astype(np.float32)
    for share in BANDWIDTHS:
        bells = np.exp(-far / np.float32(2 * (share * cell) ** 2))
        total = np.einsum("pk,kn,knc->pnc", bells, known, moves[anchors], optimize=True)
        guess = (
            total / np.maximum(np.einsum("pk,kn->pn", bells, known) + np.float32(pull), np.float32(1e-12))[..., None]
        )
        errors.append(float((weights * (np.linalg.norm(guess - moves, axis=-1) * seen).sum(axis=1)).sum()))
    return cell * BANDWIDTHS[int(np.argmin(errors))]


def best_per_cell(values: FloatArray, points: FloatArray, size: tuple[int, int], cells: int) -> _Indices:
    """The point of the largest value in each square cell of a coarse grid, the largest first.

    Args:
        values: float32 (P,); points without a positive value are left out.
        points: float32 (P, 2) px.
        size: width and height of the picture in px.
        cells: of the coarse grid, about.

    Returns:
        int64 (K,), indices of points; equal values in the order of the points.
    """
    pitch = cell_size(size, cells)
    across = int(np.ceil(size[0] / pitch))
    place = (points[:, 1] // pitch).astype(np.int64) * across + (points[:, 0] // pitch).astype(np.int64)
    order = np.lexsort((np.arange(len(values)), -values))
    order = order[values[order] > LEAST_RESIDUAL]
    _, first = np.unique(place[order], return_index=True)
    return np.asarray(order[np.sort(first)], np.int64)


def cell_size(size: tuple[int, int], cells: int) -> float:
    """Side in px of the squares that divide a picture of a width and height in px into about so many."""
    return float(np.sqrt(size[0] * size[1] / max(cells, 1)))


def spread_points(points: FloatArray, size: tuple[int, int], count: int) -> _Indices:
    """The points nearest to the centres of ``count`` cells of nearly equal shape, row by row, without repetition.

    Args:
        points: float32 (P, 2) px.
        size: width and height of the picture in px.
        count: cells, at least 1.

    Returns:
        int64 (K,), at most ``count`` indices.
    """
    rows = max(1, round(float(np.sqrt(count * size[1] / size[0]))))
    found: dict[int, None] = {}
    for row in range(rows):
        share = count // rows + (row < count % rows)
        for column in range(share):
            centre = ((column + 0.5) * size[0] / share, (row + 0.5) * size[1] / rows)
            found[int(np.argmin(np.square(points - np.asarray(centre, np.float32)).sum(axis=1)))] = None
    return np.asarray(list(found), np.int64)


def rank_moving(moves: FloatArray, points: FloatArray, size: tuple[int, int], cells: int) -> _Indices:
    """The point of each cell that goes farthest, the farthest of all first; see `best_per_cell`."""
    return best_per_cell(np.asarray(np.linalg.norm(moves, axis=-1).max(axis=1), np.float32), points, size, cells)


def counts_to_try(most: int) -> Iterator[int]:
    """Numbers of trajectories from 1 to ``most`` in steps of about a fifth, for choices without a residual."""
    count = 1
    while count < most:
        yield count
        count = max(count + 1, round(count * 1.2))
    yield most
