"""Typed calls of the networks of kind ``human``: states of frames, and frames from a key picture and states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tgvc.backends.base import Backend
from tgvc.errors import BundleError, ConfigError
from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import HumanConstants
from tgvc.models.contract import FRAME, KEY, PREDICTOR
from tgvc.models.nets import pack_planes, unpack_planes
from tgvc.models.rgb import from_rgb, to_rgb
from tgvc.types import FloatArray, Picture, Plane, picture_planes, picture_size

_HALF = np.float32(0.5)
Measure: TypeAlias = Callable[[Plane, Plane, int], tuple[FloatArray, FloatArray]]
"""``measure(key, frame, cell_px)``: motion and trust, see `tgvc.analysis.cells.CellMotion`."""


@dataclass(frozen=True, eq=False)
class KnownKey:
    """What has been computed of a key picture: ``tensors`` that every frame takes; ``size`` (width, height) px."""

    tensors: Mapping[str, FloatArray]
    size: tuple[int, int]


class HumanNetworks:
    """The networks of a bundle on a backend, loaded when this is made; calls from several threads are allowed.

    Args:
        bundle: of kind ``human``.
        backend: runs it.
        matrix: colour matrix code of the pictures, ISO/IEC 23091-2; for bundles that take RGB.

    Raises:
        BundleError: another kind of bundle, or a file that is not what the manifest says.
        BackendError: the backend does not take a network.
    """

    def __init__(self, bundle: ModelBundle, backend: Backend, matrix: int) -> None:
        if not isinstance(bundle.constants, HumanConstants):
            raise BundleError(f"bundle {bundle.label}: kind {bundle.kind!r}, expected 'human'")
        self.bundle, self.backend, self.constants, self._matrix = bundle, backend, bundle.constants, matrix
        self._nets = {name: backend.load(bundle.nets[name]) for name in (PREDICTOR, KEY, FRAME)}

    def states(self, key: Picture, frames: Sequence[Picture], measure: Measure) -> FloatArray:
        """States float32 (N, 2C) of N frames that a key picture serves.

        Args:
            key: the key picture as it was filmed, I420 uint8 (3H/2, W).
            frames: of the same size; the key picture's own may be among them.
            measure: `tgvc.analysis.cells.measure_cells`; not called where every picture has a state of its own.
        """
        predictor = self._nets[PREDICTOR]
        if not self.constants.measured:
            return np.concatenate([predictor.run(picture=self._pack(frame))["state"] for frame in frames])
        picture, luma, cell = self._pack(key), self._luma(key), self.constants.cell_px
        found = []
        for frame in frames:
            motion, trust = measure(luma, self._luma(frame), cell)
            found.append(predictor.run(picture=picture, motion=motion[None], trust=trust[None])["state"])
        return np.concatenate(found)

    def know(self, key: Picture) -> KnownKey:
        """All that is done once for a key picture, I420 uint8 (3H/2, W)."""
        picture = self._pack(key)
        given = {"picture": picture}
        if self.constants.measured:  # its own motion from itself
            height, width = (n // self.constants.cell_px for n in self._luma(key).shape)
            given["motion"] = np.zeros((1, 2, height, width), np.float32)
            given["trust"] = np.ones((1, 1, height, width), np.float32)
        features = self._nets[PREDICTOR].run(**given)["features"]
        tensors = {"picture": picture, "features": features, **self._nets[KEY].run(picture=picture)}
        for array in tensors.values():
            array.flags.writeable = False  # a backend with memory of its own keeps them there
        return KnownKey(tensors, picture_size(key))

    def paint(self, key: KnownKey, source: FloatArray, driving: FloatArray) -> list[Picture]:
        """Frames of a key picture.

        Args:
            key: as `know` gives it.
            source: float32 (2C,), the state of the key picture's own frame.
            driving: float32 (N, 2C), the states of the frames.

        Returns:
            N pictures, I420 uint8 (3H/2, W).

        Raises:
            ConfigError: states of another number of parameters than the bundle's.
        """
        wanted = 2 * self.constants.channels
        if source.shape != (wanted,) or driving.shape[1:] != (wanted,):
            raise ConfigError(
                f"states of {driving.shape[-1]} parameters: bundle {self.bundle.label} paints from {wanted}; give the "
                "bundle that the stream was made with"
            )
        given = {"source": np.ascontiguousarray(source[None]), "driving": np.ascontiguousarray(driving)}
        painted = self._nets[FRAME].run(**key.tensors, **given)["painted"]
        return self._unpack(painted, *key.size)

    def _pack(self, picture: Picture) -> FloatArray:
        """A picture as the networks take it, continued by its last row and column to a size that they take."""
        below, beside = self._room(picture)
        if self.constants.planes:
            made, share = pack_planes([picture]), 2
        else:
            made, share = (to_rgb([picture], self._matrix) + 1) * _HALF, 1
        room = ((0, 0), (0, 0), (0, below // share), (0, beside // share))
        return np.ascontiguousarray(np.pad(made, room, mode="edge") if below or beside else made, np.float32)

    def _luma(self, picture: Picture) -> Plane:
        """Luma of a picture that was continued likewise."""
        below, beside = self._room(picture)
        return np.ascontiguousarray(np.pad(picture_planes(picture)[0], ((0, below), (0, beside)), mode="edge"))

    def _room(self, picture: Picture) -> tuple[int, int]:
        """Rows and columns that a picture lacks to whole blocks of cells."""
        width, height = picture_size(picture)
        unit = self.constants.cell_px * self.constants.divisor
        return -height % unit, -width % unit

    def _unpack(self, painted: FloatArray, width: int, height: int) -> list[Picture]:
        if self.constants.planes:
            return unpack_planes(painted[:, :, : height // 2, : width // 2])
        return from_rgb(painted[:, :, :height, :width] * 2 - 1, self._matrix)
