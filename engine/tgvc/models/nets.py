"""Typed calls of the networks of kind ``residual``, and pictures as the planes that they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tgvc.backends.base import Backend
from tgvc.devices.base import Device
from tgvc.errors import BundleError
from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import Constants
from tgvc.models.contract import DECODER, DENOISER, ENCODER, PLANES
from tgvc.models.queued import QueuedNet
from tgvc.types import FloatArray, Picture, picture_planes

_AT_ONCE = 4  # pictures in one run of encoder or decoder: more take memory and gain no time on a CPU
_HALF_RANGE = np.float32(127.5)
_LEVELS = (np.arange(256, dtype=np.float32) / _HALF_RANGE - 1).astype(np.float32)
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # (row, column) of the luma planes in a block of two by two


def pack_planes(pictures: Sequence[Picture]) -> FloatArray:
    """Pictures as networks take them.

    Args:
        pictures: N of one size, I420 uint8 (3H/2, W).

    Returns:
        float32 (N, 6, H/2, W/2) in -1..1: luma of the four corners of each block of 2 x 2, then U and V.
    """
    rows, width = pictures[0].shape
    height = rows * 2 // 3
    planes = np.empty((len(pictures), PLANES, height // 2, width // 2), np.float32)
    for out, picture in zip(planes, pictures, strict=True):
        luma, u, v = picture_planes(picture)
        for plane, (row, column) in zip(out, _CORNERS, strict=False):
            plane[:] = _LEVELS[luma[row::2, column::2]]
        out[4], out[5] = _LEVELS[u], _LEVELS[v]
    return planes


def unpack_planes(planes: FloatArray) -> list[Picture]:
    """The inverse of `pack_planes`: rounded to the nearest level, cut at 0 and 255.

    Args:
        planes: float32 (N, 6, H/2, W/2).

    Returns:
        N pictures, I420 uint8 (3H/2, W).
    """
    height, width = planes.shape[2] * 2, planes.shape[3] * 2
    pictures = []
    for levels in planes:
        whole = np.clip(np.rint((levels + 1) * _HALF_RANGE), 0, 255).astype(np.uint8)
        picture = np.empty((height * 3 // 2, width), np.uint8)
        for plane, (row, column) in zip(whole, _CORNERS, strict=False):
            picture[row:height:2, column::2] = plane
        picture[height:].reshape(2, height // 2, width // 2)[:] = whole[4:]
        pictures.append(picture)
    return pictures


class Networks:
    """The networks of a bundle on a backend, loaded when this is made; calls from several threads are allowed."""

    def __init__(self, bundle: ModelBundle, backend: Backend) -> None:
        """Load all networks.

        Raises:
            BundleError: another kind of bundle, or a file that is not what the manifest says.
            BackendError: the backend does not take a network.
        """
        if not isinstance(bundle.constants, Constants):
            raise BundleError(f"bundle {bundle.label}: kind {bundle.kind!r}, expected 'residual'")
        self.bundle, self.backend, self.constants = bundle, backend, bundle.constants
        self._encoder, self._denoiser, self._decoder = (
            backend.load(bundle.nets[name]) for name in (ENCODER, DENOISER, DECODER)
        )

    def queued_denoiser(self, device: Device) -> QueuedNet:
        """The denoiser as a loop queues it: ``x, t, base, keys, hints`` in, ``v`` out."""
        names = "x", "t", "base", "keys", "hints"
        return QueuedNet(device, lambda i: {"v": self.denoise(*(i[n] for n in names))}, lambda: self._denoiser)

    def queued_decoder(self, device: Device) -> QueuedNet:
        """The decoder as it is queued: ``latents, planes`` in, ``pictures, lack`` out."""

        def decode(inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
            pictures, lack = self.decode(inputs["latents"], inputs["planes"])
            return {"pictures": pictures, "lack": lack}

        return QueuedNet(device, decode, lambda: self._decoder)

    def encode(self, planes: FloatArray) -> FloatArray:
        """Latents float32 (N, C, h, w) of planes float32 (N, 6, H/2, W/2)."""
        runs = (self._encoder.run(planes=planes[n : n + _AT_ONCE]) for n in range(0, len(planes), _AT_ONCE))
        return np.concatenate([run["latents"] for run in runs])

    def denoise(
        self, x: FloatArray, t: FloatArray, base: FloatArray, keys: FloatArray, hints: FloatArray
    ) -> FloatArray:
        """One run of the denoiser.

        Args:
            x: float32 (B, C, T, h, w), noisy residual latents.
            t: float32 (B,), timestep from 0 to ``constants.train_steps - 1``.
            base: float32 (B, C, T, h, w), latents of the weight-free pictures.
            keys: float32 (B, 2C, T, h, w), latents of the key pictures before and after each frame.
            hints: float32 (B, 4 + maps, T, h, w), see `tgvc.synthesis.conditions`; then ``constants.maps`` channels of
                `tgvc.synthesis.trackmaps`.

        Returns:
            v float32 (B, C, T, h, w).
        """
        return self._denoiser.run(x=x, t=t, base=base, keys=keys, hints=hints)["v"]

    def decode(self, latents: FloatArray, planes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pictures as planes, and the fine texture that they lack.

        Args:
            latents: float32 (N, C, h, w).
            planes: float32 (N, 6, H/2, W/2), of the weight-free pictures.

        Returns:
            Planes float32 (N, 6, H/2, W/2), and the energy (N, 1, H/2, W/2) of what the finest octave of luma lacks.
        """
        pieces = [
            self._decoder.run(latents=latents[n : n + _AT_ONCE], planes=planes[n : n + _AT_ONCE])
            for n in range(0, len(planes), _AT_ONCE)
        ]
        pictures, lack = (np.concatenate([piece[name] for piece in pieces]) for name in ("pictures", "lack"))
        return pictures, lack
