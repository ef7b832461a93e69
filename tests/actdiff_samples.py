"""Pictures that slide and a grid that is followed, for tests of profile actdiff."""

from __future__ import annotations

import numpy as np

from tgvc.types import Picture, join_planes

W, H = 128, 96


def grey(luma: np.ndarray) -> Picture:
    height, width = luma.shape
    flat = np.full((height // 2, width // 2), 128, np.uint8)
    return join_planes(luma.astype(np.uint8), flat, flat)


def texture(seed: int, shape: tuple[int, int] = (H, W)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.uniform(30, 220, (shape[0] // 4 + 1, shape[1] // 4 + 1))
    return np.kron(small, np.ones((4, 4)))[: shape[0], : shape[1]].astype(np.uint8)


def sliding(pixels: int, frames: int) -> list[np.ndarray]:
    """A wide texture of which each frame shows a part ``pixels`` further to the right."""
    wide = texture(3, (H, W + pixels * frames))
    return [wide[:, pixels * n : pixels * n + W] for n in range(frames)]
