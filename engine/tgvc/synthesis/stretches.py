"""A group cut at its key pictures, each piece made ready for the networks: latents, hints, noise, trajectories."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from tgvc.diffusion.noise import NoiseSource
from tgvc.models.nets import Networks, pack_planes
from tgvc.overlap import StageClock
from tgvc.synthesis.carry import carry_noise
from tgvc.synthesis.conditions import Condition, group_conditions
from tgvc.synthesis.grain import PHASES
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.paths import Paths, cell_centres, follow_points, sent_paths
from tgvc.synthesis.trackmaps import segment_maps
from tgvc.types import FloatArray, Motion, Picture, picture_size

# pictures of the frames after a key picture up to the next one, from what is known of them and how they move
Repaint: TypeAlias = Callable[[Sequence[Condition], Motion], list[Picture]]
GRAIN_STEP = 1 << 31  # where steps of sampling would count the noise of texture: no schedule has so many


@dataclass(frozen=True, eq=False)
class Stretch:
    """The frames after a key picture up to and including the next one, n of them; the first stretch is the first key.

    ``first``: number of its first frame in the group. ``key``: number of the key picture that it ends with, or would;
    ``open_end``: there is none.
    ``pictures``: the weight-free pictures, or what was painted over them, I420 uint8 (3H/2, W). ``base`` float32
    (C, n, h, w): their latents.
    ``hints`` float32 (4, n, h, w), or with 4 more channels of maps. ``paths``: the trajectories that were asked for,
    which begin at the key before the stretch. Where noise moves with what the frames show, ``noise`` float32
    (C, n, h, w): to start sampling from; ``grain`` float32 (n, 4, H/2, W/2): that texture is made of.
    """

    first: int
    key: int
    pictures: Sequence[Picture]
    base: FloatArray
    hints: FloatArray
    noise: FloatArray | None
    grain: FloatArray | None
    paths: Paths
    open_end: bool = False

    @property
    def stop(self) -> int:
        """Number of the frame after the stretch."""
        return self.first + len(self.pictures)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What of a stretch is to be made.

    ``moved``: weight-free pictures of moved keys, not of faded ones; ``move_noise`` along the motion, else it is the
    same in all frames, and made where it is needed; ``sent`` and ``dense`` trajectories; ``maps``: hints are followed
    by maps of the sent ones.
    """

    moved: bool = True
    move_noise: bool = False
    sent: bool = True
    dense: bool = False
    maps: bool = False


class Underpainter(Protocol):
    """Paints what the latent generator adds to, in the place of the weight-free pictures."""

    @property
    def facts(self) -> dict[str, Any]:
        """See `tgvc.synthesis.group.GroupGenerator.facts`."""

    def repaint_of(self, group: DecodedGroup) -> Repaint:
        """How segments of a group are painted, asked for one after the other."""


def prepare_stretches(
    group: DecodedGroup, nets: Networks, needs: Needs, clock: StageClock, repaint: Repaint | None = None
) -> Iterator[Stretch]:
    """The stretches of a group in order, each made when it is asked for.

    Args:
        group: to be painted.
        nets: whose encoder makes the latents.
        needs: what is to be made.
        clock: told of the stages ``conditions``, ``encode`` and, where there is something to repaint, ``render``.
        repaint: paints segments anew before they are encoded; None leaves the weight-free pictures.
    """
    conditions = group_conditions(group.keys, group.motions, group.fine, moved=needs.moved)
    source = NoiseSource(group.seed, group.number)
    width, height = picture_size(group.keys[0])
    lengths = [1, *(length - 1 for _, length in group.motions)]
    motions: list[Motion | None] = [None, *(motion for motion, _ in group.motions)]
    first, before = 0, None
    for key, (count, motion) in enumerate(zip(lengths, motions, strict=True)):
        with clock.measure("conditions"):
            frames = [next(conditions) for _ in range(count)]
        pictures = [frame.picture for frame in frames]
        if repaint is not None and motion is not None:
            with clock.measure("render"):
                pictures = repaint(frames, motion)
        with clock.measure("encode"):
            base = np.ascontiguousarray(nets.encode(pack_planes(pictures)).transpose(1, 0, 2, 3))
        with clock.measure("conditions"):
            fields = [frame.fields for frame in frames if frame.fields is not None]
            noise = grain = None
            if needs.move_noise:
                drawn = range(first, first + count)
                noise = source.field(drawn, (base.shape[0], *base.shape[2:]))
                grain = source.field(drawn, (len(PHASES), height // 2, width // 2), GRAIN_STEP)
                if before is not None:
                    noise = carry_noise(noise, before[0], fields, nets.constants.cell_px)
                    grain = carry_noise(grain, before[1], fields, 2)
                before = noise[:, -1], grain[:, -1]
                grain = np.ascontiguousarray(grain.swapaxes(0, 1))
            paths = _segment_paths(motion, frames, needs, (width, height), nets.constants.cell_px)
        hints = np.stack([frame.hints for frame in frames], axis=1)
        if needs.maps:
            with clock.measure("conditions"):
                maps = segment_maps(motion, fields, count, (width, height), nets.constants.cell_px)
            hints = np.concatenate([hints, maps])
        open_end = key == len(group.keys)
        yield Stretch(first, key, pictures, base, hints, noise, grain, paths, open_end)
        first += count


def _segment_paths(
    motion: Motion | None, frames: Sequence[Condition], needs: Needs, size: tuple[int, int], cell_px: int
) -> Paths:
    """Paths over T = 1 + frames: those of the stream and of all latent cells of both keys, as they are needed."""
    parts = [Paths(np.zeros((0, 1 + len(frames), 2), np.float32), np.zeros((0, 1 + len(frames)), np.bool_))]
    fields = [frame.fields for frame in frames if frame.fields is not None]
    width, height = size
    open_end = len(fields) == len(frames)  # no key picture, whose condition has none, is among them
    if motion is not None and fields and needs.sent:
        parts.append(sent_paths(motion, fields, width, height))
    if fields and needs.dense:
        centres = cell_centres(height // cell_px, width // cell_px, cell_px)
        parts += [follow_points(centres, fields, from_last=late) for late in ((False,) if open_end else (False, True))]
    if open_end:
        parts = [Paths(xy[:, : 1 + len(frames)], seen[:, : 1 + len(frames)].copy()) for xy, seen in parts]
        for part in parts:
            part.visible[:, -1] = False  # guidance takes a path's ends for key pictures, and there is none
    return Paths(*(np.concatenate(part) for part in zip(*parts, strict=True)))
