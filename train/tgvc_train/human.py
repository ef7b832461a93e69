"""Training of the human networks: people from one key picture and a few numbers per frame.

Published: pyramids of VGG features, pixels, and a matting network. Ours needs no weights of others: pixels and their
differences at several scales, structure, and for a start the motion that plain optical flow finds.
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

    ``paint_from``: step from which frames are painted; before it only motion is learnt, mostly of pictures that are
    bent by a known one. ``whole_from``: step from which pictures have their size, before it half of that, which takes a
    quarter of the time. ``thrift_over``: steps from there over which noise on states and ``calm`` reach their size.
    ``bent_first, bent``: shares of pairs that are one picture and itself bent, before and from then on. ``flow``:
    weight of the motion that optical flow found, at the start; it falls to a tenth by ``flow_until``. ``places``: of
    places that move otherwise, fading likewise. ``cells``: weight of the small picture moved alone. ``structure``: of
    structural dissimilarity. ``calm``: of how large states are and how much they change, which is what is paid for.
    """

    steps: int = 14000
    batch: int = 8
    rate: float = 1e-3
    paint_from: int = 1000
    whole_from: int = 5000
    thrift_over: int = 2000
    bent_first: float = 0.6
    bent: float = 0.1
    flow: float = 0.3
    places: float = 1.0
    flow_until: int = 4000
    cells: float = 1.0
    structure: float = 0.3
    calm: float = 2e-3
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

    Everything sees the key picture as it was coded, and states of frames as they were filmed. At first only motion is
    learnt, which takes half the time.
    """
    n, painting = len(pairs.key), step >= recipe.paint_from
    with torch.autocast(device, torch.bfloat16):
        small = networks.small(torch.cat([pairs.key, pairs.source, pairs.driving]))
        found = networks.predictor.hourglass(small)
        features = networks.predictor.features(found[:n])
        with torch.autocast(device, enabled=False):  # gradients of maps of few cells come out as nan in bfloat16
            states = networks.predictor.state(found[n:].float())
            apart = places_error(networks.predictor.moments.places(found[n:].float()), pairs)
        plain = states[:n], states[n:]
        # states say little at first: noise and thrift would drown that
        grown = min(1.0, max(0, step - recipe.paint_from) / recipe.thrift_over)
        size = grown * states.new_tensor(_STEPS_OF_STATES)[torch.randint(len(_STEPS_OF_STATES), (n, 1))]
        source, driving = (s + size * (torch.rand_like(s) - 0.5) for s in plain)
        front, behind, seen, near, far = networks.motion(features, source, driving, small[:n])
        if painting:
            kept = networks.key(pairs.key)
            made, matte = networks.generator(pairs.key, kept, small[:n], (front, behind), seen)
    mixed = 0.5 * (near + far)
    if painting:
        share = functional.avg_pool2d(matte.float(), networks.config.scale()).detach()
        mixed = share * near + (1 - share) * far
    flow = 0.5 * weighted_error(near, pairs) + weighted_error(mixed, pairs)
    cells = (look(small[:n].float(), front, exact=True) - small[2 * n :].float()).abs().mean()
    calm = plain[1].square().mean() + (plain[1] - plain[0]).abs().mean()
    fade = max(0.1, 1 - 0.9 * step / recipe.flow_until)
    loss = fade * (recipe.flow * flow + recipe.places * apart) + recipe.cells * cells + grown * recipe.calm * calm
    still = (small[:n].float() - small[2 * n :].float()).abs().mean()
    state = plain[1].detach().square().mean().sqrt()
    values: dict[str, Tensor | float] = {
        "cells": cells,
        "cells_key": still,
        "flow": flow,
        "places": apart,
        "state": state,
    }
    if painting:
        made = made.float()
        values["picture"] = picture_loss(made, pairs.driving)
        values["structure"] = dissimilarity(luma_of(made), luma_of(pairs.driving))
        values["matte"] = matte.float().mean()
        loss = loss + values["picture"] + recipe.structure * values["structure"]
        values.update(measure(made.detach(), pairs))
    return loss, values


def places_error(places: Tensor, pairs: Pairs) -> Tensor:
    """How far places (2B, 2, K) of sources and driving frames are from moving as the pictures do, where that is known.

    Source: equivariance of key points, as in the motion models that MTTF descends from.
    """
    source, driving = places.chunk(2)
    grid = (driving.detach() / 4).transpose(1, 2)[:, :, None]
    size = pairs.flow.new_tensor(pairs.flow.shape[:1:-1])[None, :, None]
    moves, trust = (
        functional.grid_sample(f, grid, padding_mode="border", align_corners=False)[..., 0]
        for f in (pairs.flow, pairs.trust)
    )
    error = (driving + moves * (8 / size) - source).abs()
    return (trust * error).mean() / trust.mean().clamp(min=0.05)


def halve(pairs: Pairs) -> Pairs:
    """Pairs of pictures of half the width and height; motion is in cells, of which there are half as many."""
    small = {name: functional.avg_pool2d(value, 2) for name, value in vars(pairs).items()}
    return Pairs(**(small | {"flow": small["flow"] / 2}))


def weighted_error(flow: Tensor, pairs: Pairs) -> Tensor:
    """Mean error of a flow (B, 2, h, w) in cells where the measured one is believed."""
    return (pairs.trust * (flow - pairs.flow).abs()).mean() / pairs.trust.mean().clamp(min=0.05)


@torch.no_grad()
def measure(made: Tensor, pairs: Pairs) -> dict[str, float]:
    """PSNR of luma of what was made and of the key picture itself, dB."""
    wanted = luma_of(pairs.driving)
    errors = [(luma_of(p) - wanted).square().mean(dim=(1, 2, 3)).clamp(min=_LEAST_ERROR) for p in (made, pairs.key)]
    return {name: float((10 * torch.log10(4 / e)).mean()) for name, e in zip(("psnr", "psnr_key"), errors, strict=True)}
