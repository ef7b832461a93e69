"""Networks of kind interpolation in NumPy, whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.backends.base import Net
from tgvc.diffusion.schedule import dynamic_scale, linear_abar
from tgvc.models.constants import InterpolationConstants
from tgvc.types import FloatArray

CONSTANTS = InterpolationConstants(
    latent_channels=4,
    cell_px=8,
    divisor=8,
    latent_scale=0.5,
    window=16,
    context=6,
    image_tokens=2,
    embedding=5,
    shifts=2,
    heads=2,
    head_width=3,
    schedule="linear-ztsnr",
    train_steps=1000,
    dynamic=False,
    steps=3,
    eta=1.0,
    scale=2.0,
    rescale=0.0,
    fs=5,
)


@dataclass
class KnownNetworks:
    """Latents are means of cells: red, green, blue and their mean. The UNet knows that everything fades evenly.

    ``blur``: how much of x it takes for signal instead, 0 = none; then what is added to x shows in the result.
    Shifts are the timestep and the frame rate; keys and values are the tokens themselves, cut into heads. ``asked``:
    what `predict` was given, for tests that look at it, these read back; ``described``: calls of the other two by name.
    """

    constants: InterpolationConstants = CONSTANTS
    blur: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    described: list[str] = field(default_factory=list)
    texts: int = 0
    decoder: str = "vae_decoder"

    def encode(self, pictures: FloatArray) -> FloatArray:
        n, _, height, width = pictures.shape
        px = self.constants.cell_px
        cells = pictures.reshape(n, 3, height // px, px, width // px, px).mean(axis=(3, 5))
        mean = np.concatenate([cells, cells.mean(axis=1, keepdims=True)], axis=1)
        return np.concatenate([mean, np.full_like(mean, -60)], axis=1)

    def decode(self, z: FloatArray) -> FloatArray:
        px = self.constants.cell_px
        return np.repeat(np.repeat(z[:, :3], px, axis=2), px, axis=3)

    def look(self, pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
        c = self.constants
        means = pixels.mean(axis=(1, 2, 3))
        tokens = np.broadcast_to(means[:, None, None], (len(pixels), c.window * c.image_tokens, c.context))
        return tokens.astype(np.float32), np.stack([pixels[:, 0, k, k] for k in range(c.embedding)], axis=1)

    def read(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        self.texts += len(tokens)
        return np.repeat(tokens[..., None], self.constants.context, axis=2).astype(np.float32)

    def release_text(self) -> None:
        pass

    def net(self, name: str) -> Net:
        raise AssertionError(f"{name}: only a device with memory of its own asks for a network")

    def describe_time(self, t: FloatArray, fs: FloatArray) -> FloatArray:
        self.described.append("time")
        return np.stack([t, fs], axis=1)

    def describe_context(self, text: FloatArray, image: FloatArray) -> tuple[FloatArray, FloatArray]:
        self.described.append("context")
        text_kv, image_kv = (
            tokens.reshape(*tokens.shape[:-1], self.constants.heads, self.constants.head_width).swapaxes(-3, -2)
            for tokens in (text, image)
        )
        return np.ascontiguousarray(text_kv), np.ascontiguousarray(image_kv)

    def predict(self, x: FloatArray, shifts: FloatArray, text_kv: FloatArray, image_kv: FloatArray) -> FloatArray:
        t, fs = shifts.T.copy()
        text, image = (heads.swapaxes(-3, -2).reshape(*heads.shape[:-3], -1, 6) for heads in (text_kv, image_kv))
        self.asked.append({"x": x.copy(), "t": t, "fs": fs, "text": text, "image": image})
        channels, frames = self.constants.latent_channels, x.shape[2]
        abar = linear_abar(self.constants.train_steps)[int(t[0])]
        signal, spread = np.sqrt(abar), np.sqrt(1 - abar)
        known = x[:, channels:]
        share = np.linspace(0, 1, frames)[:, None, None]
        wanted = (1 - share) * known[:, :, :1] + share * known[:, :, -1:]
        if self.constants.dynamic:
            wanted = wanted * dynamic_scale(int(t[0]))
        wanted = (1 - self.blur) * wanted + self.blur * x[:, :channels]
        return ((signal * x[:, :channels] - wanted) / spread).astype(np.float32)


def changed(**changes: Any) -> InterpolationConstants:
    return replace(CONSTANTS, **changes)
