"""Noise that every decoder draws alike, whatever it runs on: counter-based, in integers. Bytes: docs/diffusion.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tgvc.diffusion.sampler import Noise
from tgvc.errors import ConfigError
from tgvc.types import FloatArray
from tgvc_kernels import ops

_WORD = 1 << 32


@dataclass(frozen=True)
class NoiseSource:
    """All noise of one group of a stream.

    ``seed``: of the stream. ``group``: number of the group in the stream, from 0. Both 0..2**32 - 1. A number depends
    on these, the absolute frame in the group, the step, the channel and the cell: not on the window or the order.
    """

    seed: int
    group: int = 0

    def __post_init__(self) -> None:
        for name, value in (("seed", self.seed), ("group", self.group)):
            if not 0 <= value < _WORD:
                raise ConfigError(f"{name}={value}: expected 0 to {_WORD - 1}")

    def field(self, frames: Sequence[int], size: tuple[int, int, int], step: int = 0) -> FloatArray:
        """Standard normal numbers float32 (C, T, h, w) of some frames.

        Args:
            frames: T absolute frame numbers in the group; a number given twice gives the same noise twice.
            size: C, h, w.
            step: 0 for the noise that sampling starts from, ``i + 1`` for what is added after step ``i``.
        """
        channels, height, width = size
        return ops.normal_noise(self.seed, self.group, np.asarray(frames, np.int64), step, channels, height, width)

    def steps(self, frames: Sequence[int], size: tuple[int, int, int]) -> Noise:
        """The same as the ``noise`` of a sampler."""
        return lambda i: self.field(frames, size, i + 1)
