"""One clip under CoTracker3: features once, then points followed through all frames or through sliding windows.

The networks do one iteration; what is around them is here: which frames they see, what they start from, how windows
hand over. Times are counted in the direction of tracking, so a clip can be followed backwards with the same features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tgvc.analysis.cotracker_sampling import (
    cut_patches,
    make_pyramid,
    resize_pictures,
    sine_table,
    spread_points,
    stretch_table,
)
from tgvc.models.tracker import State, TrackerCalls
from tgvc.types import FloatArray, IntArray

Parity: TypeAlias = Literal["corrected", "reference"]
# Points x frames of one run of the update: what a grid of 64 x 64 in a window of 16 needs; 2.9 GB in ONNX Runtime
MOST_SAMPLES = 65536
_PICTURES_AT_ONCE = 8  # resized and given to the feature network together


class TrackedClip:
    """A clip whose features are known.

    Args:
        networks: ``features`` and ``update``.
        pictures: uint8 (T, H, W, 3), RGB, T >= 1.
        parity: ``reference`` repeats two faults of the published pipeline: the networks are shown an almost black clip
            (0..1 where 0..255 is meant), and a sliding tracker finds nothing in clips of half a window or less.
        most_samples: points x frames of one run of the update. Points of one run know of each other, so parts give
            other tracks than the whole; each part is spread over all points.
    """

    def __init__(
        self,
        networks: TrackerCalls,
        pictures: npt.NDArray[np.uint8],
        parity: Parity = "corrected",
        most_samples: int = MOST_SAMPLES,
    ) -> None:
        self.networks, self.parity, self.most_samples = networks, parity, most_samples
        self.length = len(pictures)
        self._levels = find_features(networks, pictures, 1 / 255 if parity == "reference" else 1.0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px of what the networks look at; queries and tracks are in these."""
        return self.networks.constants.width, self.networks.constants.height

    def follow(self, queries: FloatArray, *, backwards: bool = False) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Follow points from where they are asked for, to both sides in time.

        Args:
            queries: float32 (K, 3) frame, x, y in px of `size`.
            backwards: the last frame comes first; the frames of queries and results are counted that way.

        Returns:
            float32: positions (T, K, 2) px, how visible and how confident (T, K), 0..1.
        """
        constants = self.networks.constants
        order = np.arange(self.length)[::-1] if backwards else np.arange(self.length)
        frames, points = queries[:, 0].astype(np.int64), np.asarray(queries[:, 1:] / constants.stride, np.float32)
        found = (
            np.zeros((self.length, len(queries), 2), np.float32),
            *(np.zeros((self.length, len(queries)), np.float32) for _ in range(2)),
        )
        run = self._slide if constants.sliding else self._follow_at_once
        for part in spread_points(len(queries), self._points_at_once()):
            for values, new in zip(found, run(order, frames[part], points[part]), strict=True):
                values[:, part] = new[: self.length]
        return found[0] * np.float32(constants.stride), _sigmoid(found[1]), _sigmoid(found[2])

    def _points_at_once(self) -> int:
        constants = self.networks.constants
        return max(1, self.most_samples // (constants.window if constants.sliding else self.length))

    def _supports(self, order: IntArray, frames: IntArray, points: FloatArray) -> list[FloatArray]:
        radius = self.networks.constants.radius
        return [cut_patches(level, order[frames], points / 2**n, radius) for n, level in enumerate(self._levels)]

    def _follow_at_once(self, order: IntArray, frames: IntArray, points: FloatArray) -> State:
        unknown = np.zeros((len(order), len(points)), np.float32)
        start = np.repeat(points[None], len(order), axis=0), unknown, unknown
        return self._iterate(order, self._supports(order, frames, points), start)

    def _slide(self, order: IntArray, frames: IntArray, points: FloatArray) -> State:
        """Windows that overlap by half; each starts from what the one before found in the overlap."""
        window = self.networks.constants.window
        step = window // 2
        windows = (len(order) - window + step - 1) // step + 1
        if self.parity == "corrected":
            windows = max(1, windows)
        order = np.concatenate([order, np.repeat(order[-1:], -len(order) % window)])
        supports = self._supports(order, frames, points)
        unknown = np.zeros((len(order), len(points)), np.float32)
        coords, visible, confident = np.zeros((*unknown.shape, 2), np.float32), unknown, unknown.copy()
        for first in range(0, windows * step, step):
            none = np.zeros((window, len(points)), np.float32)
            state: State = np.repeat(points[None], window, axis=0), none, none
            if first:
                before = np.minimum(np.arange(first, first + window), first + window - step - 1)
                known = frames < first + window - step
                state = (
                    np.where(known[:, None], coords[before], state[0]),
                    np.where(known, visible[before], state[1]),
                    np.where(known, confident[before], state[2]),
                )
            asked = (frames < first + window).astype(np.float32)[:, None, None]
            part = slice(first, first + window)
            state = self._iterate(order[part], [support * asked for support in supports], state)
            coords[part], visible[part], confident[part] = state
        return coords, visible, confident

    def _iterate(self, order: IntArray, supports: Sequence[FloatArray], state: State) -> State:
        constants = self.networks.constants
        levels = [np.ascontiguousarray(level[order]) for level in self._levels]
        supports = [np.ascontiguousarray(support) for support in supports]
        for fixed in (*levels, *supports):
            fixed.flags.writeable = False  # so that a backend with memory of its own keeps it there
        time = stretch_table(sine_table(constants.window, constants.token), len(order))
        for _ in range(constants.iterations):
            state = self.networks.update(levels, supports, state, time)
        return state


def find_features(networks: TrackerCalls, pictures: npt.NDArray[np.uint8], scale: float) -> list[FloatArray]:
    """Features of all pictures and their pyramid, each float32 (T, C, h, w); ``scale``: of values before the network.

    8.4 MB per picture at 512x384 and 128 channels.
    """
    constants = networks.constants
    pieces = []
    for first in range(0, len(pictures), _PICTURES_AT_ONCE):
        values = resize_pictures(pictures[first : first + _PICTURES_AT_ONCE], constants.width, constants.height)
        ranged = 2 * (values * np.float32(scale) / 255) - 1
        pieces.append(networks.features(np.ascontiguousarray(ranged.transpose(0, 3, 1, 2))))
    return make_pyramid(np.concatenate(pieces), constants.levels)


def _sigmoid(logits: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), np.float32)
