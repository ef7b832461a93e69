"""What the networks are told of a segment: latents of both key pictures, what the first one shows, and a prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tgvc.models.clip_image import prepare_pixels
from tgvc.models.interpolation import InterpolationCalls, Tokens
from tgvc.types import FloatArray

_LOG_VARIANCE = (-30.0, 20.0)  # what the encoder's logarithm of the variance is cut to


@dataclass(frozen=True, eq=False)
class Condition:
    """Conditions of B runs that differ in nothing else: the asked one and, if B is 2, the one without a condition.

    ``text`` float32 (B, 77, D); ``image`` float32 (B, T, M, D).
    """

    text: FloatArray
    image: FloatArray


class Conditioner:
    """Makes conditions; the prompt and the empty picture are looked at once.

    Args:
        calls: the networks.
        prompts: tokens int64 (2, 77), of the prompt and of the empty one.
        guided: also make the condition of the run without one.
    """

    def __init__(self, calls: InterpolationCalls, prompts: Tokens, *, guided: bool) -> None:
        self._calls, self._runs = calls, 2 if guided else 1
        self._prompts = prompts[: self._runs]
        self._known: tuple[FloatArray, FloatArray] | None = None

    def describe(self, picture: FloatArray, frames: int) -> Condition:
        """The condition of a segment whose first key picture is RGB float32 (3, H, W) in -1..1, for T frames."""
        text, grey = self._constant()
        tokens = self._look(picture[None])
        if self._runs == 2:
            tokens = np.concatenate([tokens, grey])
        return Condition(text, np.stack([self._share(own, frames) for own in tokens]))

    def key_latents(self, pictures: FloatArray, noise: FloatArray) -> FloatArray:
        """A sample of what the autoencoder says of pictures, scaled for the sampler.

        Args:
            pictures: RGB float32 (N, 3, H, W) in -1..1, sides multiples of a cell.
            noise: standard normal numbers float32 (C, N, h, w).

        Returns:
            float32 (C, N, h, w). Source: the published base model, which takes a sample and not the mean.
        """
        mean, log_variance = np.split(self._calls.encode(pictures), 2, axis=1)
        deviation = np.exp(np.float32(0.5) * np.clip(log_variance, *_LOG_VARIANCE))
        sample = mean + deviation * noise.swapaxes(0, 1)
        scaled = np.float32(self._calls.constants.latent_scale) * sample
        return np.ascontiguousarray(scaled.swapaxes(0, 1), np.float32)

    def _constant(self) -> tuple[FloatArray, FloatArray]:
        """States of the prompts, and image tokens of a grey picture, which stands for none."""
        if self._known is None:
            text = self._calls.read(self._prompts)
            self._calls.release_text()
            text.flags.writeable = False  # so that a device with memory of its own keeps it there
            grey = np.zeros((1, 3, 1, 1), np.float32)
            self._known = text, self._look(grey) if self._runs == 2 else grey
        return self._known

    def _look(self, pictures: FloatArray) -> FloatArray:
        return self._calls.look(prepare_pixels(pictures))[0]

    def _share(self, tokens: FloatArray, frames: int) -> FloatArray:
        """Image tokens float32 (T, M, D): every frame its own, or all to every frame if they are made for another T."""
        constants = self._calls.constants
        if frames == constants.window:
            return tokens.reshape(frames, constants.image_tokens, -1)
        return np.broadcast_to(tokens, (frames, *tokens.shape))
