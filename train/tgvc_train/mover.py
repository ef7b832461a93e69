"""Training of the flow-driven painter: what it adds to weight-free pictures, from key pictures and rough motion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tgvc.synthesis.rough import CELL_PX
from tgvc_export.nano.mover import Mover, Painted
from tgvc_train.checkpoint import Average
from tgvc_train.losses import band_energy, dissimilarity, luma_of, picture_loss
from tgvc_train.run import Run
from tgvc_train.samples import Sample, Samples, cut_planes, flip_planes, mirror_planes

NAME = "mover"
TOLD = ("first", "last", "warp", "to_first", "to_last", "sent", "when")  # inputs of the network, in its order
_LEAST_ERROR = 4e-5  # mean squared error that counts as 50 dB


@dataclass(frozen=True, kw_only=True)
class MoverRecipe:
    """Everything that decides the outcome.

    ``size``: of the crops, px. Weights in the loss: ``structure``; ``texture``, the energy of three octaves, place by
    place; ``alignment``, the error of each key picture as it is moved, before anything is painted.
    """

    steps: int = 1200
    batch: int = 8
    size: int = 160
    rate: float = 4e-4
    structure: float = 0.3
    texture: float = 1.3
    alignment: float = 0.2
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
        if rng.random() < 0.5:
            planes, motion = [flip_planes(p) for p in planes], [m[..., ::-1, :].copy() for m in motion]
            for part in motion:
                part[1] *= -1
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
            painted = network.paint(*(getattr(batch, name) for name in TOLD))
        made = painted.pictures.float()
        losses = {
            "picture": picture_loss(made, batch.source),
            "structure": dissimilarity(luma_of(made), luma_of(batch.source)),
            "texture": energy_loss(made, batch.source),
            "alignment": alignment_loss(painted, batch),
        }
        maker.zero_grad(set_to_none=True)
        total = losses["picture"]
        for name in ("structure", "texture", "alignment"):
            total = total + getattr(recipe, name) * losses[name]
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        maker.step()
        average.update(network)
        run.end_step({**losses, **measure(made.detach(), batch)})
        if run.step % 500 == 0:
            frames.refresh()
    run.save()


def energy_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """By how much the deviation of three octaves of luma is wrong, place by place, in planes (N, 6, H/2, W/2)."""
    pairs = zip(band_energy(luma_of(made)), band_energy(luma_of(wanted)), strict=True)
    return torch.stack([(a.sqrt() - b.sqrt()).abs().mean() for a, b in pairs]).sum()


def alignment_loss(painted: Painted, batch: Moved) -> Tensor:
    """Absolute error of both key pictures after they were moved; the nearer one counts more."""
    late = batch.when[:, 0]
    early, later = (
        (luma_of(planes.float()) - luma_of(batch.source)).abs().mean(dim=(1, 2, 3))
        for planes in (painted.from_first, painted.from_last)
    )
    return ((1 - late) * early + late * later).mean()


@torch.no_grad()
def measure(made: Tensor, batch: Moved) -> dict[str, float]:
    """Of what was made and of the weight-free picture: PSNR of luma, dB, and its gradient energy over the source's."""
    wanted, found = luma_of(batch.source), {}
    for name, planes in (("", made), ("_warp", batch.warp)):
        luma = luma_of(planes)
        error = (luma - wanted).square().mean(dim=(1, 2, 3)).clamp(min=_LEAST_ERROR)
        found["psnr" + name] = float((10 * torch.log10(4 / error)).mean())
        found["edges" + name] = float(_gradients(luma) / _gradients(wanted))
    return found


def _gradients(luma: Tensor) -> Tensor:
    return luma.diff(dim=2).square().mean() + luma.diff(dim=3).square().mean()
