"""Training of the human networks: people from one key picture and a few numbers per frame.

Published: pyramids of VGG features, pixels, and a matting network. Ours needs no weights of others: pixels and their
differences at several scales, structure, and for a start the motion itself that plain optical flow finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.mttf.config import NANO, MttfConfig
from tgvc_export.mttf.grids import look
from tgvc_export.mttf.networks import Mttf
from tgvc_train.checkpoint import Average
from tgvc_train.human_data import Pairs, PairSource
from tgvc_train.losses import dissimilarity, luma_of, picture_loss
from tgvc_train.run import Run

NAME = "human"
_STEPS_OF_STATES = (0.0, 1 / 64, 1 / 32, 1 / 16, 1 / 8)  # quantisers' steps that states have to bear
_LEAST_ERROR = 4e-5  # mean squared error that counts as 50 dB


@dataclass(frozen=True, kw_only=True)
class HumanRecipe:
    """Everything that decides the outcome.

    ``paint_from``: step from which frames are painted; before it only motion is learnt. ``whole_from``: step from which
    pictures have their size, before it half of that, which takes a quarter of the time. ``thrift_over``: steps from
    ``paint_from`` over which noise on states and ``calm`` reach their size. ``bent_first, bent``: shares of pairs that
    are one picture and itself bent, before and from then on. ``flow``: weight of the motion that was measured, at the
    start; it falls to a tenth by ``flow_until``. ``cells``: weight of the small picture moved alone. ``structure``: of
    structural dissimilarity. ``calm``: of how large states are, which is what is paid for.
    """

    steps: int = 11000
    batch: int = 8
    rate: float = 1e-3
    paint_from: int = 2500
    whole_from: int = 7000
    thrift_over: int = 2000
    bent_first: float = 0.3
    bent: float = 0.1
    flow: float = 0.3
    flow_until: int = 6000
    cells: float = 1.0
    structure: float = 0.3
    calm: float = 1e-3
    seed: int = 0


class WholeAverage(Average):
    """A moving average of parameters that takes over the statistics of norms as they are."""

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module."""
        super().update(module)
        for kept, new in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(new)


def train_human(
    data: Path,
    out: Path,
    recipe: HumanRecipe,
    config: MttfConfig = NANO,
    device: str = "cpu",
    minutes: float = 1e9,
    stop: int | None = None,
) -> None:
    """Train, or go on from ``out/human.pt``, until all steps are done, the time is over or step ``stop``."""
    torch.manual_seed(recipe.seed)
    networks = Mttf(config).to(device, memory_format=torch.channels_last)
    average = WholeAverage(networks)
    maker = torch.optim.AdamW(networks.parameters(), recipe.rate, (0.9, 0.98), weight_decay=1e-4)
    parts = {"networks": networks, "maker": maker}
    run = Run(out, NAME, parts, {"average": average}, steps=recipe.steps, minutes=minutes, stop=stop, seed=recipe.seed)
    source = PairSource(data)
    networks.train()
    while run.going:
        rng = run.begin_step(maker, recipe.rate)
        bent = recipe.bent_first if run.step < recipe.paint_from else recipe.bent
        pairs = Pairs(*(t.to(device) for t in vars(source.draw(rng, recipe.batch, bent)).values()))
        if run.step < recipe.whole_from:
            pairs = halve(pairs)
        loss, values = losses(networks, pairs, recipe, run.step, device)
        maker.zero_grad(set_to_none=True)
        loss.backward()
        size = torch.nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        if sound := bool(torch.isfinite(size)):
            maker.step()
            networks.clamp()
            average.update(networks)
        run.end_step(values | {"skipped": 1.0 - sound})
    run.save()


def losses(
    networks: Mttf, pairs: Pairs, recipe: HumanRecipe, step: int, device: str
) -> tuple[Tensor, dict[str, Tensor | float]]:
    """What one batch costs: what training lowers, and its parts by name; ``psnr_key``: if the key picture were shown.

    Everything sees the key picture as it was coded, but for motion, which is told from the picture as it was filmed. At
    first only motion is learnt, which takes half the time.
    """
    n, painting = len(pairs.key), step >= recipe.paint_from
    with torch.autocast(device, torch.bfloat16):
        small = networks.small(torch.cat([pairs.key, pairs.source, pairs.driving]))
        found = networks.predictor.hourglass(small[: 2 * n])
        features = networks.predictor.features(found[:n])
        with torch.autocast(device, enabled=False):  # a softmax over a picture gives gradients of nan in bfloat16
            driving = networks.predictor.regions(found[n:].float(), pairs.motion, pairs.trust)
        # states say little at first: noise and thrift would drown that
        grown = min(1.0, max(0, step - recipe.paint_from) / recipe.thrift_over)
        size = grown * driving.new_tensor(_STEPS_OF_STATES)[torch.randint(len(_STEPS_OF_STATES), (n, 1))]
        told = driving + size * (torch.rand_like(driving) - 0.5)
        front, behind, seen, near, far = networks.motion(features, torch.zeros_like(told), told, small[:n])
        if painting:
            kept = networks.key(pairs.key)
            made, matte = networks.generator(pairs.key, kept, small[:n], (front, behind), seen)
    mixed = 0.5 * (near + far)
    if painting:
        share = functional.avg_pool2d(matte.float(), networks.config.scale()).detach()
        mixed = share * near + (1 - share) * far
    flow = 0.5 * weighted_error(near, pairs) + weighted_error(mixed, pairs)
    cells = (look(small[:n].float(), front, exact=True) - small[2 * n :].float()).abs().mean()
    calm = driving.square().mean() + driving.abs().mean()
    fade = max(0.1, 1 - 0.9 * step / recipe.flow_until)
    loss = fade * recipe.flow * flow + recipe.cells * cells + grown * recipe.calm * calm
    values: dict[str, Tensor | float] = {
        "cells": cells,
        "cells_key": (small[:n].float() - small[2 * n :].float()).abs().mean(),
        "flow": flow,
        "flow_none": 1.5 * weighted_error(torch.zeros_like(near), pairs),
        "state": driving.detach().square().mean().sqrt(),
    }
    if painting:
        made = made.float()
        values["picture"] = picture_loss(made, pairs.driving)
        values["structure"] = dissimilarity(luma_of(made), luma_of(pairs.driving))
        values["matte"] = matte.float().mean()
        loss = loss + values["picture"] + recipe.structure * values["structure"]
        values.update(measure(made.detach(), pairs))
    return loss, values


def halve(pairs: Pairs) -> Pairs:
    """Pairs of pictures of half the width and height; motion is in cells, of which there are half as many."""
    small = {name: functional.avg_pool2d(value, 2) for name, value in vars(pairs).items()}
    return Pairs(**(small | {"motion": small["motion"] / 2}))


def weighted_error(flow: Tensor, pairs: Pairs) -> Tensor:
    """Mean error of a flow (B, 2, h, w) in cells where the measured one is believed."""
    return (pairs.trust * (flow - pairs.motion).abs()).mean() / pairs.trust.mean().clamp(min=0.05)


@torch.no_grad()
def measure(made: Tensor, pairs: Pairs) -> dict[str, float]:
    """PSNR of luma of what was made and of the key picture itself, dB."""
    wanted = luma_of(pairs.driving)
    errors = [(luma_of(p) - wanted).square().mean(dim=(1, 2, 3)).clamp(min=_LEAST_ERROR) for p in (made, pairs.key)]
    return {name: float((10 * torch.log10(4 / e)).mean()) for name, e in zip(("psnr", "psnr_key"), errors, strict=True)}
