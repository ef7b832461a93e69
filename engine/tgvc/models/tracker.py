"""Typed calls of the networks of kind ``tracker``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tgvc.backends.base import Backend
from tgvc.errors import BundleError
from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import TrackerConstants
from tgvc.models.contract import FEATURES, UPDATE
from tgvc.types import FloatArray

_AT_ONCE = 4  # pictures in one run of the features: more take memory and gain no time on a CPU
State = tuple[FloatArray, FloatArray, FloatArray]


class TrackerCalls(Protocol):
    """What tracking asks of the networks, whatever they run on. K points, T frames, N pictures."""

    @property
    def constants(self) -> TrackerConstants:
        """Of the networks."""

    def features(self, pictures: FloatArray) -> FloatArray:
        """Features float32 (N, channels, h, w) of unit length, of RGB float32 (N, 3, stride h, stride w) in -1..1."""

    def update(
        self, levels: Sequence[FloatArray], supports: Sequence[FloatArray], state: State, time: FloatArray
    ) -> State:
        """One iteration.

        Args:
            levels: of the pyramid, each float32 (T, channels, h_i, w_i).
            supports: for each level float32 (K, (2 radius + 1)**2, channels).
            state: positions float32 (T, K, 2) in cells of level 0, logits of visible and of confident (T, K).
            time: float32 (T, token), embedding of time.

        Returns:
            The new state.
        """


class TrackerNetworks:
    """The networks of a bundle on a backend, loaded when this is made; see `TrackerCalls`."""

    def __init__(self, bundle: ModelBundle, backend: Backend) -> None:
        """Load both networks.

        Raises:
            BundleError: another kind of bundle, or a file that is not what the manifest says.
            BackendError: the backend does not take a network.
        """
        if not isinstance(bundle.constants, TrackerConstants):
            raise BundleError(f"bundle {bundle.label}: kind {bundle.kind!r}, expected 'tracker'")
        self.bundle, self.backend, self.constants = bundle, backend, bundle.constants
        self._features, self._update = (backend.load(bundle.nets[name]) for name in (FEATURES, UPDATE))

    def features(self, pictures: FloatArray) -> FloatArray:
        """See `TrackerCalls.features`."""
        parts = [
            self._features.run(pictures=pictures[n : n + _AT_ONCE])["features"]
            for n in range(0, len(pictures), _AT_ONCE)
        ]
        return np.concatenate(parts)

    def update(
        self, levels: Sequence[FloatArray], supports: Sequence[FloatArray], state: State, time: FloatArray
    ) -> State:
        """See `TrackerCalls.update`."""
        inputs = {f"level{n}": level for n, level in enumerate(levels)}
        inputs |= {f"support{n}": support for n, support in enumerate(supports)}
        coords, visible, confident = state
        found = self._update.run(**inputs, coords=coords, visible=visible, confident=confident, time=time)
        return found["new_coords"], found["new_visible"], found["new_confident"]
