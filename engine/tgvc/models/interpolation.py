"""Typed calls of the networks of kind ``interpolation``; each network is loaded when it is first called."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tgvc.backends.base import Backend, Net
from tgvc.devices.base import Device
from tgvc.errors import BundleError
from tgvc.models.bundle import ModelBundle
from tgvc.models.constants import InterpolationConstants
from tgvc.models.contract import CONTEXT, IMAGE_TOWER, TEXT_TOWER, TIME, UNET, VAE_DECODER, VAE_ENCODER
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

    def describe_time(self, t: FloatArray, fs: FloatArray) -> FloatArray:
        """Shifts float32 (S, W) of S steps, whole timesteps and frame rates float32 (S,)."""

    def describe_context(self, text: FloatArray, image: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Keys and values of the context, for all layers of the UNet and all steps.

        Args:
            text: float32 (B, 77, D).
            image: float32 (B, T, M, D), the image tokens that each frame is shown.

        Returns:
            float32 (B, H, 77, d) of the text and (B, T, H, M, d) of the image tokens.
        """

    def predict(self, x: FloatArray, shifts: FloatArray, text_kv: FloatArray, image_kv: FloatArray) -> FloatArray:
        """One run of the UNet.

        Args:
            x: float32 (B, 2C, T, h, w), noisy latents, then what is known.
            shifts: float32 (B, W) of the step, see `describe_time`.
            text_kv: float32 (B, H, 77, d), see `describe_context`.
            image_kv: float32 (B, T, H, M, d).

        Returns:
            v float32 (B, C, T, h, w).
        """

    def net(self, name: str) -> Net:
        """A network of `tgvc.models.contract.interpolation_contract`, for a device with memory of its own."""


class QueuedSampler(NamedTuple):
    """The networks that a sampler asks.

    ``time``: ``t, fs`` in, ``shifts`` out, once for all steps. ``context``: ``text, image`` in, ``text_kv, image_kv``
    out, once per segment. ``unet``: ``x, shifts, text_kv, image_kv`` in, ``v`` out.
    """

    time: QueuedNet
    context: QueuedNet
    unet: QueuedNet


def queued_sampler(calls: InterpolationCalls, device: Device) -> QueuedSampler:
    """The networks of a sampler as they are queued."""

    def describe_time(inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        return {"shifts": calls.describe_time(inputs["t"], inputs["fs"])}

    def describe_context(inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        text_kv, image_kv = calls.describe_context(inputs["text"], inputs["image"])
        return {"text_kv": text_kv, "image_kv": image_kv}

    def predict(inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        return {"v": calls.predict(*(inputs[name] for name in ("x", "shifts", "text_kv", "image_kv")))}

    return QueuedSampler(
        QueuedNet(device, describe_time, lambda: calls.net(TIME)),
        QueuedNet(device, describe_context, lambda: calls.net(CONTEXT)),
        QueuedNet(device, predict, lambda: calls.net(UNET)),
    )


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

    def describe_time(self, t: FloatArray, fs: FloatArray) -> FloatArray:
        """See `InterpolationCalls.describe_time`."""
        return _as_made(self.net(TIME), t=t, fs=fs)["shifts"]

    def describe_context(self, text: FloatArray, image: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `InterpolationCalls.describe_context`."""
        found = _as_made(self.net(CONTEXT), text=text, image=image)
        for array in found.values():
            array.flags.writeable = False  # so that a backend with memory of its own keeps them there between steps
        return found["text_kv"], found["image_kv"]

    def predict(self, x: FloatArray, shifts: FloatArray, text_kv: FloatArray, image_kv: FloatArray) -> FloatArray:
        """See `InterpolationCalls.predict`."""
        return _as_made(self.net(UNET), x=x, shifts=shifts, text_kv=text_kv, image_kv=image_kv)["v"]

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


def _as_made(net: Net, **inputs: FloatArray) -> dict[str, npt.NDArray[Any]]:
    """Outputs of a network; one that was made for one run at once is called for each."""
    count = len(next(iter(inputs.values())))
    if net.record.inputs[0].shape[0] != 1 or count == 1:
        return net.run(**inputs)
    runs = [net.run(**{name: value[n : n + 1] for name, value in inputs.items()}) for n in range(count)]
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
