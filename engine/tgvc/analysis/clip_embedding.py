"""The published eye of the semantic rules: a CLIP image tower, from a bundle of kind ``interpolation``."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tgvc.models.clip_image import prepare_pixels
from tgvc.models.interpolation import InterpolationCalls
from tgvc.models.rgb import to_rgb
from tgvc.types import FloatArray, Picture


class ClipEmbedder:
    """What a CLIP image tower makes of pictures; see `tgvc.analysis.embedding.Embedder`.

    The constants are those of the published encoder, which were chosen with pictures that were normalised twice.

    Args:
        calls: networks, of which only the image tower is asked.
        matrix: colour matrix code of the pictures, ISO/IEC 23091-2.
        parity: normalise twice, as published.

    Source: T-GVC's encoder.
    """

    cut_similarity = 0.5
    importance_scale = 1.0

    def __init__(self, calls: InterpolationCalls, matrix: int, parity: bool = False) -> None:
        self._calls, self._matrix, self._parity = calls, matrix, parity

    def embed(self, pictures: Iterable[Picture]) -> FloatArray:
        """Unit vectors float32 (N, E) of uint8 (3H/2, W) pictures."""
        rows = [self._embed_picture(picture) for picture in pictures]
        size = self._calls.constants.embedding
        return np.concatenate(rows) if rows else np.zeros((0, size), np.float32)

    def _embed_picture(self, picture: Picture) -> FloatArray:
        pixels = prepare_pixels(to_rgb([picture], self._matrix), normalised_twice=self._parity)
        vector = self._calls.look(pixels)[1]
        return np.asarray(vector / np.linalg.norm(vector, axis=1, keepdims=True), np.float32)
