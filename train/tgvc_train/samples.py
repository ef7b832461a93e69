"""Random parts of prepared samples as tensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tgvc.types import FloatArray

CELL_PX = 8
_MIRRORED = (1, 0, 3, 2, 4, 5)  # phases of luma when left and right change places
_FLIPPED = (2, 3, 0, 1, 4, 5)  # when above and below do
_ALIGN = 16  # px: crops begin on whole cells of the half-size level
Frames = npt.NDArray[np.uint8]  # (N, 3H/2, W) I420


@dataclass(frozen=True)
class Sample:
    """One prepared folder, see `tgvc_train.prepare`; arrays are memory maps."""

    name: str
    kind: str
    source: Frames
    warp: Frames
    hints: npt.NDArray[np.float16]
    around: npt.NDArray[np.int32]

    @classmethod
    def open(cls, folder: Path) -> Sample:
        """Open a folder that `prepare` has finished."""
        arrays = [np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("source", "warp", "hints", "around")]
        return cls(folder.name, json.loads((folder / "recipe.json").read_text())["kind"], *arrays)


@dataclass(frozen=True)
class Window:
    """A batch of T neighbouring frames. Planes float32 (B, T, 6, s/2, s/2); hints (B, 4, T, s/8, s/8).

    ``before, after``: planes of the decoded key pictures around each frame.
    """

    source: Tensor
    warp: Tensor
    before: Tensor
    after: Tensor
    hints: Tensor


def cut_planes(picture: Frames, top: int, left: int, width: int, height: int) -> FloatArray:
    """Planes float32 (6, height/2, width/2) in [-1, 1] of a part of an I420 picture; places in px, multiples of 2."""
    rows, columns = picture.shape[0] * 2 // 3, picture.shape[1]
    luma = picture[top : top + height, left : left + width]
    chroma = picture[rows:].reshape(2, rows // 2, columns // 2)
    out = np.empty((6, height // 2, width // 2), np.float32)
    for n, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        out[n] = luma[y::2, x::2]
    out[4:] = chroma[:, top // 2 : (top + height) // 2, left // 2 : (left + width) // 2]
    out /= 127.5
    out -= 1
    return out


def mirror_planes(planes: FloatArray) -> FloatArray:
    """Planes (..., 6, h, w) of the picture seen in a mirror: odd columns of luma come to be even ones."""
    return np.ascontiguousarray(planes[..., _MIRRORED, :, ::-1])


def flip_planes(planes: FloatArray) -> FloatArray:
    """Planes (..., 6, h, w) of the picture upside down, as water shows it."""
    return np.ascontiguousarray(planes[..., _FLIPPED, ::-1, :])


class Samples:
    """All finished samples of a folder; `refresh` picks up those that were added since.

    Args:
        folder: of prepared samples.
        photo_share: share of draws that come from generated scenes, 0..1.
    """

    def __init__(self, folder: Path, photo_share: float = 0.4) -> None:
        self.folder, self.photo_share = folder, photo_share
        self._known: dict[str, Sample] = {}
        self.refresh()
        if not self._known:
            raise ValueError(f"{folder}: no prepared samples, run `tgvc-train prepare` first")

    def refresh(self) -> None:
        """Open what is new."""
        for folder in sorted(self.folder.iterdir()):
            if folder.name not in self._known and folder.suffix != ".part" and (folder / "recipe.json").is_file():
                self._known[folder.name] = Sample.open(folder)
        self._kinds = [[s for s in self._known.values() if s.kind == k] for k in ("photo", "clip")]

    def __len__(self) -> int:
        return len(self._known)

    def draw(self, rng: np.random.Generator) -> Sample:
        """A random sample."""
        photos, clips = self._kinds
        chosen = photos if (rng.random() < self.photo_share and photos) or not clips else clips
        return chosen[int(rng.integers(len(chosen)))]

    def frames(self, rng: np.random.Generator, count: int, size: int) -> tuple[Tensor, Tensor]:
        """Single frames: source and weight-free planes float32 (count, 6, size/2, size/2)."""
        pairs = []
        for _ in range(count):
            sample = self.draw(rng)
            n = int(rng.integers(len(sample.source)))
            top, left = _place(rng, sample.source[n].shape, size)
            pair = np.stack([cut_planes(f[n], top, left, size, size) for f in (sample.source, sample.warp)])
            pairs.append(mirror_planes(pair) if rng.random() < 0.5 else pair)
        both = torch.from_numpy(np.stack(pairs))
        return both[:, 0], both[:, 1]

    def window(self, rng: np.random.Generator, count: int, frames: int, size: int) -> Window:
        """Windows of neighbouring frames."""
        parts: list[Sequence[FloatArray]] = []
        while len(parts) < count:
            sample = self.draw(rng)
            if len(sample.source) < frames:
                continue
            first = int(rng.integers(len(sample.source) - frames + 1))
            top, left = _place(rng, sample.source[0].shape, size)
            run = range(first, first + frames)
            source, warp = (
                np.stack([cut_planes(f[n], top, left, size, size) for n in run]) for f in (sample.source, sample.warp)
            )
            around = sample.around[first : first + frames]
            keys = {int(k): cut_planes(sample.warp[k], top, left, size, size) for k in np.unique(around)}
            before, after = (np.stack([keys[int(k)] for k in around[:, side]]) for side in (0, 1))
            cells = slice(top // CELL_PX, (top + size) // CELL_PX), slice(left // CELL_PX, (left + size) // CELL_PX)
            hints = sample.hints[first : first + frames, :, *cells].astype(np.float32).transpose(1, 0, 2, 3)
            pictures = [source, warp, before, after]
            mirrored = rng.random() < 0.5
            parts.append([*map(mirror_planes, pictures), hints[..., ::-1]] if mirrored else [*pictures, hints])
        return Window(*(torch.from_numpy(np.stack(arrays)) for arrays in zip(*parts, strict=True)))


def _place(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> tuple[int, int]:
    height, width = shape[0] * 2 // 3, shape[1]
    top, left = (int(rng.integers((n - size) // _ALIGN + 1)) * _ALIGN for n in (height, width))
    return top, left
