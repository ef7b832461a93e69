"""The key track at a wanted size in bytes: a search over the picture codec's quality, every trial remembered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tgvc.bitstream.pictures import (
    QUALITY_MAX,
    QUALITY_MIN,
    CodedTrack,
    coded_size,
    find_codec,
    resize_picture,
)
from tgvc.types import Picture, picture_size

_STEP = 0.25


@dataclass
class KeyTrack:
    """Key pictures of one group at one scale, to be coded at any quality.

    ``codec``: number of the picture codec. ``scale``: coded size relative to the working size. ``preset``: speed.
    ``widen``: so many times 8 px are added to the coded width, and to the height in proportion.
    """

    originals: Sequence[Picture]
    codec: int
    scale: Fraction
    preset: int
    widen: int = 0
    trials: dict[float, CodedTrack] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.full_size = picture_size(self.originals[0])
        width, _ = coded_size(*self.full_size, self.scale)
        exact = self.scale * Fraction(width + 8 * self.widen, width)
        self.size = coded_size(*self.full_size, exact)
        self._small = [resize_picture(p, *self.size) for p in self.originals]

    def code(self, quality: float) -> CodedTrack:
        """The track at a quality (rounded to quarter steps, clamped to the codec's range)."""
        quality = min(max(round(quality / _STEP) * _STEP, QUALITY_MIN), QUALITY_MAX)
        if quality not in self.trials:
            self.trials[quality] = find_codec(self.codec).encode(self._small, quality, self.preset)
        return self.trials[quality]

    def pictures(self, quality: float) -> list[Picture]:
        """The decoded key pictures at the working size."""
        return [resize_picture(p, *self.full_size) for p in self.code(quality).pictures]

    def _bytes(self, quality: float) -> int:
        return len(self.code(quality).payload)

    def search(self, budget: float, guess: float = 56.0, tolerance: float = 0.03, tries: int = 7) -> float:
        """The finest quality whose payload fits a budget.

        Interpolates log(bytes), which is nearly linear in quality, between the tightest bracket known.

        Args:
            budget: bytes.
            guess: first quality tried.
            tolerance: a payload this fraction below the budget is good enough.
            tries: codings at most.

        Returns:
            A tried quality whose payload is at most ``budget`` bytes and the largest such; if none fits, the one with
            the smallest payload.
        """
        budget = max(budget, 1.0)
        quality = guess
        for _ in range(tries):
            if budget * (1 - tolerance) <= self._bytes(quality) <= budget:
                break
            coarse = min((q for q in self.trials if self._bytes(q) <= budget), default=None)
            fine = max((q for q in self.trials if self._bytes(q) > budget), default=None)
            quality = self._next(budget, fine, coarse)
            if quality in self.trials:  # the bracket is closed: sizes are bumpy, so look just beyond it
                beyond = [
                    q for q in (quality - _STEP, quality - 2 * _STEP, quality - 3 * _STEP) if q not in self.trials
                ]
                if not beyond or beyond[0] < QUALITY_MIN:
                    break
                quality = beyond[0]
        if not any(self._bytes(q) <= budget for q in self.trials):
            self.code(QUALITY_MAX)
        fitting = [q for q in self.trials if self._bytes(q) <= budget]
        return max(fitting, key=self._bytes) if fitting else min(self.trials, key=self._bytes)

    def _next(self, budget: float, fine: float | None, coarse: float | None) -> float:
        """Next quality to try, given the coarsest one that is too large and the finest one that fits."""
        if fine is None and coarse is not None:
            step = 12 * math.log2(max(budget / self._bytes(coarse), 1.03))  # about an octave per 12 steps
            return max(QUALITY_MIN, math.floor((coarse - max(step, 0.5)) / _STEP) * _STEP)
        if coarse is None and fine is not None:
            step = 7 * math.log2(max(self._bytes(fine) / budget, 1.03))  # steeper above 60: do not overshoot
            return min(QUALITY_MAX, math.ceil((fine + max(step, 0.5)) / _STEP) * _STEP)
        assert fine is not None
        assert coarse is not None
        if coarse <= fine:  # not monotonous here: look between by halves
            return round((fine + coarse) / 2 / _STEP) * _STEP
        above, below = math.log(self._bytes(fine)), math.log(self._bytes(coarse))
        share = (above - math.log(budget * 0.985)) / max(above - below, 1e-6)
        inner = fine + share * (coarse - fine)
        return min(max(round(inner / _STEP) * _STEP, fine + _STEP), max(coarse - _STEP, fine + _STEP))
