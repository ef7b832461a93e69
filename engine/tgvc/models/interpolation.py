"""Typed calls of the networks of kind ``interpolation``; each network is loaded when it is first called."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tgvc.backends.base import Backend, Net
from tgvc.devices.base import Device
from tgvc.errors import BundleError
from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import InterpolationConstants
from tgvc.models.contract import IMAGE_TOWER, TEXT_TOWER, UNET, VAE_DECODER, VAE_ENCODER
from tgvc.models.queued import QueuedNet
from tgvc.types import FloatArray

Tokens = npt.NDArray[np.int64]


class InterpolationCalls(Protocol):
    """What the generator asks of the networks, whatever they run on. N pictures or prompts, B runs, T frames."""

    @property
    def constants(self) -> InterpolationConstants:
        """Of the networks."""

    @property
    def decoder(self) -> str:
        """Which network `decode` runs."""

    def encode(self, pictures: FloatArray) -> FloatArray:
        """Moments float32 (N, 2C, h, w), mean and log of the variance, of RGB float32 (N, 3, H, W) in -1..1."""

    def decode(self, z: FloatArray) -> FloatArray:
        """RGB float32 (N, 3, H, W), about -1..1, of the VAE's latents float32 (N, C, h, w)."""

    def look(self, pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Image tokens float32 (N, window M, D) and embeddings (N, E) of prepared pixels float32 (N, 3, 224, 224)."""

    def read(self, tokens: Tokens) -> FloatArray:
        """States float32 (N, 77, D) of prompts int64 (N, 77)."""

    def release_text(self) -> None:
        """Let go of the memory of what `read` needs; it is loaded again if it is called again."""

    def predict(self, x: FloatArray, t: FloatArray, fs: FloatArray, text: FloatArray, image: FloatArray) -> FloatArray:
        """One run of the UNet.

        Args:
            x: float32 (B, 2C, T, h, w), noisy latents, then what is known.
            t: float32 (B,), timestep from 0 to ``constants.train_steps - 1``, whole.
            fs: float32 (B,), frame rate, whole.
            text: float32 (B, 77, D).
            image: float32 (B, T, M, D), the image tokens that each frame is shown.

        Returns:
            v float32 (B, C, T, h, w).
        """

    def net(self, name: str) -> Net:
        """A network of `tgvc.models.contract.interpolation_contract`, for a device with memory of its own."""


def queued_unet(calls: InterpolationCalls, device: Device) -> QueuedNet:
    """The UNet as a loop queues it: ``x, t, fs, text, image`` in, ``v`` out."""

    def predict(inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        x, t, *rest = (inputs[name] for name in ("x", "t", "fs", "text", "image"))
        return {"v": calls.predict(x, t.copy(), *rest)}  # the loop writes the next timestep over this one

    return QueuedNet(device, predict, lambda: calls.net(UNET))


def queued_decoder(calls: InterpolationCalls, device: Device) -> QueuedNet:
    """The VAE's decoder as it is queued: ``z`` in, ``picture`` out."""
    return QueuedNet(device, lambda inputs: {"picture": calls.decode(inputs["z"])}, lambda: calls.net(calls.decoder))


class InterpolationNetworks:
    """The networks of a bundle on a backend; see `InterpolationCalls`. Calls from several threads are allowed."""

    def __init__(self, bundle: ModelBundle, backend: Backend, *, decoder: str = VAE_DECODER) -> None:
        """Take a bundle; the large networks are loaded when they are called.

        Args:
            bundle: of kind ``interpolation``.
            backend: that runs its networks.
            decoder: which network is the decoder: ``vae_decoder``, or ``tiny_decoder`` if the bundle has one.

        Raises:
            BundleError: it is of another kind, or has no such decoder.
        """
        if not isinstance(bundle.constants, InterpolationConstants):
            raise BundleError(f"bundle {bundle.label}: kind {bundle.kind!r}, expected 'interpolation'")
        self.bundle, self.backend, self.constants = bundle, backend, bundle.constants
        if decoder not in bundle.nets:
            raise BundleError(f"bundle {bundle.label}: has no {decoder}; decode without vae=tiny, or add one")
        self.decoder = decoder
        self._loaded: dict[str, Net] = {}
        self._lock = threading.Lock()

    def encode(self, pictures: FloatArray) -> FloatArray:
        """See `InterpolationCalls.encode`."""
        return _one_by_one(self.net(VAE_ENCODER), picture=pictures)["moments"]

    def decode(self, z: FloatArray) -> FloatArray:
        """See `InterpolationCalls.decode`."""
        return _one_by_one(self.net(self.decoder), z=z)["picture"]

    def look(self, pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `InterpolationCalls.look`."""
        found = _one_by_one(self.net(IMAGE_TOWER), pixels=pixels)
        return found["tokens"], found["embedding"]

    def read(self, tokens: Tokens) -> FloatArray:
        """See `InterpolationCalls.read`."""
        return _one_by_one(self.net(TEXT_TOWER), tokens=tokens)["text"]

    def predict(self, x: FloatArray, t: FloatArray, fs: FloatArray, text: FloatArray, image: FloatArray) -> FloatArray:
        """See `InterpolationCalls.predict`."""
        net, given = self.net(UNET), {"x": x, "t": t, "fs": fs, "text": text, "image": image}
        made_for = next(spec.shape[0] for spec in net.record.inputs if spec.name == "x")
        if made_for == 1 and len(x) > 1:
            runs = [net.run(**{name: value[n : n + 1] for name, value in given.items()})["v"] for n in range(len(x))]
            return np.concatenate(runs)
        v: FloatArray = net.run(**given)["v"]
        return v

    def release_text(self) -> None:
        """See `InterpolationCalls.release_text`."""
        with self._lock:
            self._loaded.pop(TEXT_TOWER, None)

    def net(self, name: str) -> Net:
        """See `InterpolationCalls.net`."""
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self.backend.load(self.bundle.nets[name])
            return self._loaded[name]


def _one_by_one(net: Net, **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Outputs of a network over several pictures, one after the other: more at once take memory and gain no time."""
    ((name, values),) = inputs.items()
    runs = [net.run(**{name: values[n : n + 1]}) for n in range(len(values))]
    return {key: np.concatenate([run[key] for run in runs]) for key in runs[0]}
