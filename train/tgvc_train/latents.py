"""Latents of prepared samples: computed once by the trained encoder, drawn in random windows to train the denoiser."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch import Tensor

from tgvc.models.constants import MAPS
from tgvc.types import FloatArray
from tgvc_export.nano.autoencoder import Encoder
from tgvc_train.checkpoint import load_checkpoint
from tgvc_train.samples import Sample, cut_planes

_SLICE = 8  # pictures encoded at once
_KEY_RUNS = 0.25  # share of windows that hold nothing but key pictures


@dataclass(frozen=True)
class LatentSample:
    """Latents float16 (N, 2, C, h, w) of source and weight-free pictures, hints (N, 4, h, w), keys around (N, 2).

    ``maps``: float16 (N, 4, h, w), or None where no trajectories were sent.
    """

    name: str
    latents: npt.NDArray[np.float16]
    hints: npt.NDArray[np.float16]
    around: npt.NDArray[np.int32]
    maps: npt.NDArray[np.float16] | None = None


@dataclass(frozen=True)
class LatentWindow:
    """A batch as the denoiser takes it, float32: ``target`` is the residual of unit deviation; see `Denoiser`."""

    target: Tensor
    base: Tensor
    keys: Tensor
    hints: Tensor


def load_encoder(checkpoint: Path) -> tuple[Encoder, str]:
    """The averaged encoder of a training run, and a digest that names its weights.

    Raises:
        ValueError: there is no checkpoint.
    """
    state = load_checkpoint(checkpoint)
    if state is None:
        raise ValueError(f"{checkpoint}: no such checkpoint, train the autoencoder first")
    weights = state["encoder_average"]
    encoder = Encoder(weights["layers.9.weight"].shape[0])
    encoder.load_state_dict(weights)
    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in weights.values())).hexdigest()
    return encoder.eval(), digest[:12]


@torch.no_grad()
def encode_sample(folder: Path, encoder: Encoder, digest: str, device: str) -> Path:
    """Store the latents of one prepared sample beside it; what is there already stays."""
    target = folder / f"latents-{digest}.npy"
    if target.exists():
        return target
    sample = Sample.open(folder)
    height, width = sample.source.shape[1] * 2 // 3, sample.source.shape[2]
    rows = []
    for first in range(0, len(sample.source), _SLICE):
        run = range(first, min(first + _SLICE, len(sample.source)))
        planes = [cut_planes(f[n], 0, 0, width, height) for n in run for f in (sample.source, sample.warp)]
        rows.append(encoder(torch.from_numpy(np.stack(planes)).to(device)).cpu().numpy().astype(np.float16))
    latents = np.concatenate(rows)
    pending = target.with_suffix(".part.npy")
    np.save(pending, latents.reshape(-1, 2, *latents.shape[1:]))
    pending.replace(target)
    return target


def encode_all(data: Path, encoder: Encoder, digest: str, device: str = "cpu") -> None:
    """Latents of every finished sample, with a progress bar; resumable."""
    folders = [f for f in sorted(data.iterdir()) if f.suffix != ".part" and (f / "recipe.json").is_file()]
    encoder = encoder.to(device)
    for folder in track(folders, "encoding"):
        encode_sample(folder, encoder, digest, device)


class LatentSamples:
    """All encoded samples in memory.

    Args:
        data: folder of prepared samples, encoded by `encode_all`.
        digest: of the encoder.
        photo_share: share of draws that come from generated scenes, 0..1.
        maps: trajectory maps follow the hints, black where none were sent.
        map_share: share of draws from samples that have some, 0..1; without ``maps`` all are alike.
    """

    def __init__(
        self, data: Path, digest: str, photo_share: float = 0.4, *, maps: bool = False, map_share: float = 0.7
    ) -> None:
        photos: list[LatentSample] = []
        clips: list[LatentSample] = []
        for path in sorted(data.glob(f"*/latents-{digest}.npy")):
            opened = Sample.open(path.parent)
            drawn = path.with_name("maps.npy")
            sample = LatentSample(
                opened.name,
                np.load(path),
                np.asarray(opened.hints),
                np.asarray(opened.around),
                np.load(drawn) if drawn.is_file() else None,
            )
            (photos if opened.kind == "photo" else clips).append(sample)
        if not photos and not clips:
            raise ValueError(f"{data}: no latents of encoder {digest}, run `encode_all` first")
        self.kinds, self.photo_share = (photos, clips), photo_share
        self.maps, self.map_share = maps, map_share
        if maps and not any(s.maps is not None for kind in self.kinds for s in kind):
            raise ValueError(f"{data}: no sample has trajectories, run `tgvc-train prepare --profile actdiff` first")
        self.scale = self._deviation()

    def __len__(self) -> int:
        return sum(map(len, self.kinds))

    def _deviation(self) -> npt.NDArray[np.float32]:
        """Root mean square of the residual per channel, float32 (C,)."""
        sums, count = 0.0, 0
        for sample in (s for kind in self.kinds for s in kind[::4]):
            residual = sample.latents[::4, 0].astype(np.float32) - sample.latents[::4, 1]
            sums, count = sums + np.square(residual).mean(axis=(0, 2, 3)), count + 1
        return np.asarray(np.sqrt(sums / count), np.float32)

    def window(self, rng: np.random.Generator, count: int, frames: int, cells: int) -> LatentWindow:
        """Random windows of ``frames`` frames and ``cells`` x ``cells`` cells."""
        parts: list[list[FloatArray]] = []
        while len(parts) < count:
            photos, clips = self.kinds
            chosen = photos if (rng.random() < self.photo_share and photos) or not clips else clips
            if self.maps:
                told = rng.random() < self.map_share
                chosen = [s for s in chosen if (s.maps is not None) == told] or chosen
            sample = chosen[int(rng.integers(len(chosen)))]
            numbers = self._run(rng, sample, frames)
            height, width = sample.hints.shape[2:]
            if numbers is None or min(height, width) < cells:
                continue
            top, left = (2 * int(rng.integers((n - cells) // 2 + 1)) for n in (height, width))
            place = np.s_[..., top : top + cells, left : left + cells]
            source, warp = (sample.latents[numbers, k][place].astype(np.float32) for k in (0, 1))
            keys = [sample.latents[sample.around[numbers, k], 1][place].astype(np.float32) for k in (0, 1)]
            hints = sample.hints[numbers][place].astype(np.float32)
            if self.maps:
                shape = len(numbers), MAPS, cells, cells
                drawn = np.zeros(shape) if sample.maps is None else sample.maps[numbers][place]
                hints = np.concatenate([hints, drawn.astype(np.float32)], axis=1)
            parts.append([source - warp, warp, np.concatenate(keys, axis=1), hints])
        scale = torch.from_numpy(self.scale).reshape(1, -1, 1, 1, 1)
        target, base, around, told = (torch.from_numpy(np.stack(a)).transpose(1, 2) for a in zip(*parts, strict=True))
        return LatentWindow(target / scale, base / scale, around / torch.cat([scale, scale], dim=1), told)

    @staticmethod
    def _run(rng: np.random.Generator, sample: LatentSample, frames: int) -> npt.NDArray[np.int64] | None:
        """Neighbouring frames, or neighbouring key pictures; None where the sample is too short."""
        numbers = np.arange(len(sample.latents))
        if rng.random() < _KEY_RUNS:
            numbers = np.unique(sample.around)
        if len(numbers) < frames:
            return None
        first = int(rng.integers(len(numbers) - frames + 1))
        return np.asarray(numbers[first : first + frames], np.int64)
