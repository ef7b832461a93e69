"""What is known of the frames of a group while windows go over them: the stretches still needed, and final latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgvc.devices.base import Array
from tgvc.diffusion.guidance import Course
from tgvc.diffusion.windows import Window
from tgvc.synthesis.stretches import Stretch
from tgvc.types import FloatArray, Picture


class Board:
    """The stretches that windows still need, and the latents that are final."""

    def __init__(self) -> None:
        self._stretches: list[Stretch] = []
        self._final: dict[int, Array] = {}  # frame -> (C, h, w)
        self._keys: dict[int, tuple[int, FloatArray]] = {}  # key picture -> its frame, its base latents

    @property
    def stop(self) -> int:
        """Number of the first frame that is not there yet."""
        return self._stretches[-1].stop if self._stretches else 0

    def add(self, stretch: Stretch) -> None:
        """Add the stretch after those that are there."""
        self._stretches.append(stretch)
        if not stretch.open_end:
            self._keys[stretch.key] = stretch.stop - 1, stretch.base[:, -1]

    def settle(self, frames: Sequence[int], latents: Array) -> None:
        """Keep final latents (C, n, h, w) of a device."""
        self._final |= {frame: latents[:, n] for n, frame in enumerate(frames)}

    def forget(self, before: int) -> None:
        """Let go of what frames from ``before`` on do not need: the segment that they lie in stays whole."""
        self._stretches = [s for s in self._stretches if s.stop > before]
        kept = {s.key + n for s in self._stretches for n in (-1, 0)}
        self._keys = {key: value for key, value in self._keys.items() if key in kept}
        frames = {frame for frame, _ in self._keys.values()}
        self._final = {frame: value for frame, value in self._final.items() if frame >= before or frame in frames}

    def pictures(self, frames: Sequence[int]) -> list[Picture]:
        """The weight-free pictures of some frames in order of time."""
        return [p for s in self._stretches for n, p in enumerate(s.pictures, s.first) if n in frames]

    def grain(self, frames: Sequence[int]) -> FloatArray:
        """Noise (n, 4, H/2, W/2) for texture, carried with the motion."""
        carried = ((s.first, s.grain) for s in self._stretches if s.grain is not None)
        return np.stack([g for first, grain in carried for n, g in enumerate(grain, first) if n in frames])

    def conditions(self, frames: Sequence[int]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Base (C, T, h, w), hints (4, T, h, w), keys before and after (2C, T, h, w)."""
        base = self._cut([s.base for s in self._stretches], frames)
        hints = self._cut([s.hints for s in self._stretches], frames)
        pairs = []
        for stretch in self._stretches:
            after = self._keys[stretch.key - stretch.open_end][1]
            before = self._keys[stretch.key - 1][1] if stretch.key else after
            shown = [n for n in range(stretch.first, stretch.stop) if n in frames]
            pairs += [np.concatenate([after if n == stretch.stop - 1 else before, after]) for n in shown]
        return base, hints, np.stack(pairs, axis=1)

    def noise(self, frames: Sequence[int]) -> FloatArray:
        """Noise (C, T, h, w) to start from, carried with the motion."""
        return self._cut([s.noise for s in self._stretches if s.noise is not None], frames)

    def final(self, window: Window) -> dict[int, Array]:
        """Final latents (C, h, w) of the frames that a window is given, by slot."""
        return {slot: self._final[window.frames[slot]] for slot, given in enumerate(window.given) if given}

    def courses(self, window: Window) -> list[Course]:
        """The trajectories of the segments that a window touches."""
        touched = [s for s in self._stretches if s.first <= window.frames[-1] and s.stop > window.frames[0]]
        return [Course(s.first - 1, *s.paths) for s in touched if len(s.paths.xy)]

    def key_latents(self) -> dict[int, Array]:
        """Latents (C, h, w) of key frames by their numbers: as they became, or as they were coded."""
        return {frame: self._final.get(frame, base) for frame, base in self._keys.values()}

    def _cut(self, arrays: Sequence[FloatArray], frames: Sequence[int]) -> FloatArray:
        first = self._stretches[0].first
        return np.ascontiguousarray(np.concatenate(arrays, axis=1)[:, frames[0] - first : frames[-1] + 1 - first])
