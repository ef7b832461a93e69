"""Training of the flow-driven painter: frames from decoded key pictures and the rough motion that a stream tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tgvc.synthesis.rough import CELL_PX
from tgvc_export.nano.mover import Mover
from tgvc_train.checkpoint import Average
from tgvc_train.losses import dissimilarity, luma_of, picture_loss
from tgvc_train.run import Run
from tgvc_train.samples import Sample, Samples, cut_planes, mirror_planes

NAME = "mover"
_LEAST_ERROR = 4e-5  # mean squared error that counts as 50 dB


@dataclass(frozen=True, kw_only=True)
class MoverRecipe:
    """Everything that decides the outcome. ``size``: of the crops, px; ``structure``: its weight in the loss."""

    steps: int = 8000
    batch: int = 8
    size: int = 160
    rate: float = 6e-4
    structure: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class Moved:
    """A batch of frames between key pictures: planes (B, 6, s/2, s/2), motion (B, 2, s/8, s/8), and so on.

    ``source``: as filmed; ``warp``: as the weight-free painter shows it.
    """

    source: Tensor
    warp: Tensor
    first: Tensor
    last: Tensor
    to_first: Tensor
    to_last: Tensor
    sent: Tensor
    when: Tensor


class MovedFrames(Samples):
    """Frames between key pictures of samples that were prepared with profile ``dynamics``."""

    def batch(self, rng: np.random.Generator, count: int, size: int) -> Moved:
        """``count`` frames, each of a sample of its own, in crops of ``size`` px."""
        parts: list[list[npt.NDArray[np.float32]]] = []
        while len(parts) < count:
            sample = self.draw(rng)
            inner = np.setdiff1d(np.arange(len(sample.source)), sample.around)
            if len(inner):
                parts.append(self._cut(rng, sample, int(rng.choice(inner)), size))
        return Moved(*(torch.from_numpy(np.stack(arrays)) for arrays in zip(*parts, strict=True)))

    def _cut(self, rng: np.random.Generator, sample: Sample, frame: int, size: int) -> list[npt.NDArray[np.float32]]:
        rows, columns = sample.hints.shape[2:]
        cells = size // CELL_PX
        top, left = (int(rng.integers(side - cells + 1)) for side in (rows, columns))
        before, after = sample.around[frame]
        shown = (sample.source[frame], sample.warp[frame], sample.warp[before], sample.warp[after])
        planes = [cut_planes(p, top * CELL_PX, left * CELL_PX, size, size) for p in shown]
        folder = self.folder / sample.name
        rough = np.load(folder / "rough.npy", mmap_mode="r")[frame, :, top : top + cells, left : left + cells]
        motion = np.split(rough.astype(np.float32), (2, 4))
        when = np.load(folder / "when.npy", mmap_mode="r")[frame].astype(np.float32)
        if rng.random() < 0.5:  # mirrored, and what points to the right points to the left
            planes, motion = [mirror_planes(p) for p in planes], [m[..., ::-1].copy() for m in motion]
            for part in motion:
                part[0] *= -1
        return [*planes, *motion, when]


def train_mover(
    data: Path, out: Path, recipe: MoverRecipe, device: str = "cpu", minutes: float = 1e9, stop: int | None = None
) -> None:
    """Train, or go on from ``out/mover.pt``, until all steps are done, the time is over or step ``stop``."""
    torch.manual_seed(recipe.seed)
    network = Mover().to(device)
    average = Average(network)
    maker = torch.optim.AdamW(network.parameters(), recipe.rate, (0.9, 0.98), weight_decay=1e-4)
    parts = {"network": network, "maker": maker}
    run = Run(out, NAME, parts, {"average": average}, steps=recipe.steps, minutes=minutes, stop=stop, seed=recipe.seed)
    frames = MovedFrames(data)
    while run.going:
        rng = run.begin_step(maker, recipe.rate)
        batch = Moved(*(t.to(device) for t in vars(frames.batch(rng, recipe.batch, recipe.size)).values()))
        with torch.autocast(device, torch.bfloat16):
            made, _ = network(batch.first, batch.last, batch.to_first, batch.to_last, batch.sent, batch.when)
        made = made.float()
        picture = picture_loss(made, batch.source)
        structure = dissimilarity(luma_of(made), luma_of(batch.source))
        maker.zero_grad(set_to_none=True)
        (picture + recipe.structure * structure).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        maker.step()
        average.update(network)
        run.end_step({"picture": picture, "structure": structure, **measure(made.detach(), batch)})
        if run.step % 500 == 0:
            frames.refresh()
    run.save()


@torch.no_grad()
def measure(made: Tensor, batch: Moved) -> dict[str, float]:
    """PSNR of luma of what was made and of the weight-free picture, dB."""
    wanted, found = luma_of(batch.source), {}
    for name, planes in (("psnr", made), ("psnr_warp", batch.warp)):
        error = (luma_of(planes) - wanted).square().mean(dim=(1, 2, 3)).clamp(min=_LEAST_ERROR)
        found[name] = float((10 * torch.log10(4 / error)).mean())
    return found
