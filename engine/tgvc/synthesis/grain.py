"""Fine texture that cannot be known, only its amount: noise of that energy, moved with what the frames show.

The amount is told twice. A network says where a picture lacks how much; the stream says how much the source had in all,
one level per 32 frames. Noise makes up for the difference, so every frame comes out with the same energy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from tgvc.bitstream.group import TEXTURE_FRAMES
from tgvc.types import FloatArray, Picture, picture_planes

SHARE = 0.8  # of the source's energy, by default: the rest would cost more fidelity than it gains likeness
TRAINED_SHARE = 0.5  # that networks were told to aim at
PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))  # (row, column) in a block of 2 x 2 px
_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / np.float32(16)
_LEVELS_PER_OCTAVE, _LOWEST = 8, -8  # of a level: eighths of an octave of energy, from 2**-8 squared grey levels
_MOST = 64.0  # by which an amount may be multiplied, at most
_HALF_RANGE = np.float32(127.5)


def fine_octave(luma: FloatArray) -> FloatArray:
    """What of a plane float32 (H, W) is gone at half size: the finest level of a Laplacian pyramid."""
    return np.asarray(luma - cv2.sepFilter2D(luma, cv2.CV_32F, _BINOMIAL, _BINOMIAL), np.float32)


def _passed_energy(passes: int) -> float:
    """Energy that white noise of unit variance has after `fine_octave` so many times."""
    plane = np.zeros((33, 33), np.float32)
    plane[16, 16] = 1
    for _ in range(passes):
        plane = fine_octave(plane)
    return float(np.square(plane, dtype=np.float64).sum())


_TWICE = np.float32(math.sqrt(_passed_energy(2)))  # so that grain of unit strength is measured as unit energy


def measure_texture(pictures: Sequence[Picture]) -> bytes:
    """Levels of the finest octave of luma, each the mean of 32 frames, as a group of a stream has them.

    Args:
        pictures: of a group, I420 uint8 (3H/2, W).
    """
    energy = [_energy(picture_planes(picture)[0].astype(np.float32)) for picture in pictures]
    levels = bytearray()
    for n in range(0, len(energy), TEXTURE_FRAMES):
        mean = max(float(np.mean(energy[n : n + TEXTURE_FRAMES])), 2.0**_LOWEST)
        levels.append(min(round(_LEVELS_PER_OCTAVE * (math.log2(mean) - _LOWEST)), 255))
    return bytes(levels)


def read_texture(levels: bytes, frames: int) -> FloatArray | None:
    """Energy of each frame of a group, float32 (frames,), squared grey levels; None where the stream does not say.

    Between the middles of two runs of frames the level goes evenly from one to the other.
    """
    if not levels:
        return None
    starts = np.arange(len(levels)) * TEXTURE_FRAMES
    middles = (starts + np.minimum(starts + TEXTURE_FRAMES, frames) - 1) / 2
    level = np.interp(np.arange(frames), middles, np.frombuffer(levels, np.uint8).astype(np.float64))
    return np.asarray(2.0 ** (level / _LEVELS_PER_OCTAVE + _LOWEST), np.float32)


def add_grain(planes: FloatArray, lack: FloatArray, white: FloatArray, energy: FloatArray | None, share: float) -> None:
    """Add to the luma of neighbouring frames the texture that they lack.

    Frames between key pictures are softer than these, and those more than the energy of a scene changes within a few
    frames. So the frames given together get the same amount: texture that came and went with every key would flicker.

    Args:
        planes: float32 (N, 6, H/2, W/2) in -1..1, changed in place.
        lack: float32 (N, 1, H/2, W/2), energy of the finest octave that a network misses, in the units of the planes.
        white: float32 (N, 4, H/2, W/2), standard normal noise.
        energy: float32 (N,) of the source's finest octave, squared grey levels; None: not known, the network's word is
            taken.
        share: of that energy which the pictures are to have.
    """
    missing = lack[:, 0] * _HALF_RANGE**2
    if energy is None:
        missing = missing * np.float32(share / TRAINED_SHARE)
    else:
        had = np.mean([_energy(_join(picture[:4]) * _HALF_RANGE) for picture in planes])
        wanted = share * float(energy.mean()) - float(had)
        if wanted <= 0:
            return
        missing = missing * np.float32(min(wanted / max(float(missing.mean()), 1e-6), _MOST))
    for picture, amount, noise in zip(planes, missing, white, strict=True):
        texture = fine_octave(_join(noise)) * (1 / (_TWICE * _HALF_RANGE))
        strength = np.sqrt(amount)
        for plane, (row, column) in zip(picture, PHASES, strict=False):
            plane += strength * texture[row::2, column::2]


def spread_grain(planes: Any, lack: Any, white: Any, energy: float | None, share: float) -> Any:
    """What `add_grain` makes of planes, for arrays of any device: operators and NumPy's functions alone.

    Nothing is looked at on the host. Sums are taken in another order: the result is off by a few roundings of float32.

    Args:
        planes: (N, 6, H/2, W/2) in -1..1.
        lack: (N, 1, H/2, W/2), see `add_grain`.
        white: (N, 4, H/2, W/2), see `add_grain`.
        energy: mean of the source's finest octave over these frames, squared grey levels; None: not known.
        share: see `add_grain`.

    Returns:
        float32 (N, 6, H/2, W/2).
    """
    planes = planes.astype(np.float32)
    missing = lack[:, 0].astype(np.float32) * _HALF_RANGE**2
    if energy is None:
        missing = missing * np.float32(share / TRAINED_SHARE)
    else:
        had = np.square(_fine_octaves(_join_all(planes[:, :4]) * _HALF_RANGE)).mean(dtype=np.float64)
        wanted = np.maximum(share * energy - had, 0.0)
        missing = missing * np.minimum(wanted / np.maximum(missing.mean(dtype=np.float64), 1e-6), _MOST)
    strength = np.sqrt(missing).astype(np.float32)
    texture = _fine_octaves(_join_all(white)) * np.float32(1 / (_TWICE * _HALF_RANGE))
    for n, (row, column) in enumerate(PHASES):
        planes[:, n] += strength * texture[:, row::2, column::2]
    return planes


def _fine_octaves(luma: Any) -> Any:
    """`fine_octave` of planes (N, H, W)."""
    height, width = luma.shape[1:]
    tall = np.pad(luma, ((0, 0), (2, 2), (0, 0)), mode="reflect")
    rows = sum(np.float32(weight) * tall[:, n : n + height] for n, weight in enumerate(_BINOMIAL))
    wide = np.pad(rows, ((0, 0), (0, 0), (2, 2)), mode="reflect")
    return luma - sum(np.float32(weight) * wide[:, :, n : n + width] for n, weight in enumerate(_BINOMIAL))


def _join_all(phases: Any) -> Any:
    """Planes (N, 4, h, w) as (N, 2h, 2w)."""
    count, _, h, w = phases.shape
    return phases.reshape(count, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(count, 2 * h, 2 * w)


def _energy(luma: FloatArray) -> float:
    return float(np.square(fine_octave(luma)).mean(dtype=np.float64))


def _join(phases: FloatArray) -> FloatArray:
    """Planes (4, h, w) as one (2h, 2w)."""
    joined = np.empty((2 * phases.shape[1], 2 * phases.shape[2]), np.float32)
    for plane, (row, column) in zip(phases, PHASES, strict=True):
        joined[row::2, column::2] = plane
    return joined
