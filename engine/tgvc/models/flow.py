"""Typed calls of the network of kind ``flow``: what it adds to weight-free pictures from key pictures and motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgvc.backends.base import Backend
from tgvc.errors import BundleError
from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import FlowConstants
from tgvc.models.contract import MOVER
from tgvc.models.nets import pack_planes, unpack_planes
from tgvc.types import FloatArray, Picture

AT_ONCE = 4  # frames in one run: more take memory and gain no time on a CPU


class FlowNetworks:
    """The network of a bundle on a backend, loaded when this is made; calls from several threads are allowed.

    Raises:
        BundleError: another kind of bundle, or a file that is not what the manifest says.
        BackendError: the backend does not take the network.
    """

    def __init__(self, bundle: ModelBundle, backend: Backend) -> None:
        if not isinstance(bundle.constants, FlowConstants):
            raise BundleError(f"bundle {bundle.label}: kind {bundle.kind!r}, expected 'flow'")
        self.bundle, self.backend, self.constants = bundle, backend, bundle.constants
        self._net = backend.load(bundle.nets[MOVER])

    def know(self, key: Picture) -> FloatArray:
        """A key picture, I420 uint8 (3H/2, W), as `paint` takes it; a backend with memory of its own keeps it there."""
        planes = pack_planes([key])
        planes.flags.writeable = False
        return planes

    def paint(
        self,
        first: FloatArray,
        last: FloatArray,
        pictures: Sequence[Picture],
        to_first: FloatArray,
        to_last: FloatArray,
        sent: FloatArray,
        when: FloatArray,
    ) -> list[Picture]:
        """Frames of a segment.

        Args:
            first: float32 (1, 6, H/2, W/2), the key picture before, as `know` gives it.
            last: the one after; the same again where there is none.
            pictures: the weight-free ones of N frames, I420 uint8 (3H/2, W).
            to_first: see `tgvc.synthesis.rough.Rough`, of the same frames, as the others.
            to_last: see there.
            sent: see there.
            when: see there.

        Returns:
            N pictures, I420 uint8 (3H/2, W).
        """
        painted: list[Picture] = []
        for start in range(0, len(when), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            told = {"to_first": to_first, "to_last": to_last, "sent": sent, "when": when}
            given = {name: np.ascontiguousarray(value[part]) for name, value in told.items()}
            given["warp"] = pack_planes(pictures[part])
            painted += unpack_planes(self._net.run(first=first, last=last, **given)["pictures"])
        return painted
