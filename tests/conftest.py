"""Pictures of a scene that is known at every point, so that any motion of it has a known answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tgvc.types import Picture, join_planes

Displacement: TypeAlias = float | npt.NDArray[np.float64]
MakePicture: TypeAlias = Callable[..., Picture]
MakeClip: TypeAlias = Callable[..., list[Picture]]

WAVES = 60
PERIODS = (10.0, 90.0)  # px: fine enough to be followed, coarse enough to be band-limited after halving


class Texture:
    """A sum of random waves: one grey value for every real position, 128 +- about 40.

    Args:
        seed: chooses the waves.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        angle, period = rng.uniform(0, 2 * np.pi, WAVES), np.exp(rng.uniform(*np.log(PERIODS), WAVES))
        self.x, self.y = np.cos(angle) * 2 * np.pi / period, np.sin(angle) * 2 * np.pi / period
        self.phase, self.height = rng.uniform(0, 2 * np.pi, WAVES), 40 * np.sqrt(2 / WAVES)

    def at(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """Rounded values at positions float64 (H, W)."""
        total = np.full(x.shape, 128.0)
        for kx, ky, phase in zip(self.x, self.y, self.phase, strict=True):
            total += self.height * np.sin(kx * x + ky * y + phase)
        return np.clip(np.rint(total), 0, 255).astype(np.uint8)


def _picture(
    dx: Displacement = 0.0, dy: Displacement = 0.0, size: tuple[int, int] = (192, 128), seed: int = 0
) -> Picture:
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float64)
    left, up = np.broadcast_to(dx, x.shape), np.broadcast_to(dy, y.shape)
    luma = Texture(seed).at(x - left, y - up)
    # the centre of a chroma sample lies between four luma samples
    halves = [(x[::2, ::2] + 0.5 - left[::2, ::2]) / 2, (y[::2, ::2] + 0.5 - up[::2, ::2]) / 2]
    u, v = (Texture(seed + n).at(*halves) // 2 + 64 for n in (1000, 2000))
    return join_planes(luma, u, v)


@pytest.fixture(scope="session")
def emulator() -> Any:
    """The CUDA kernels, compiled for the host."""
    from emulated_gpu import find_compiler, load_emulator

    if find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    return load_emulator()


@pytest.fixture
def make_place(emulator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """See `loop_samples.place_maker`."""
    from loop_samples import place_maker

    return place_maker(emulator, tmp_path, monkeypatch)


@pytest.fixture(autouse=True, scope="session")
def _one_thread_of_opencv() -> None:
    """On a busy machine every call would wait for its helper threads to get a turn."""
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def make_picture() -> MakePicture:
    """``make_picture(dx, dy, size, seed)``: the scene moved by (dx, dy) px; both may be arrays (H, W)."""
    return _picture


@pytest.fixture(scope="session")
def make_clip() -> MakeClip:
    """``make_clip(shifts, size, seed)``: one picture per (dx, dy) px."""

    def clip(shifts: Sequence[tuple[float, float]], size: tuple[int, int] = (192, 128), seed: int = 0) -> list[Picture]:
        return [_picture(dx, dy, size, seed) for dx, dy in shifts]

    return clip
