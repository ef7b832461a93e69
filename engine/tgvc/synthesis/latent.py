"""The latent generator: what the weight-free pictures lack is drawn by diffusion in latents, guided by trajectories."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tgvc.devices.base import Array, Device, fill_zeros
from tgvc.devices.host import HostDevice
from tgvc.devices.pool import Pool
from tgvc.devices.scratch import Scratch
from tgvc.diffusion.guidance import Guidance
from tgvc.diffusion.noise import NoiseSource
from tgvc.diffusion.schedule import Schedule, make_schedule
from tgvc.diffusion.solvers import DEFAULT, Plan, plan_steps
from tgvc.diffusion.steps import opening_step
from tgvc.diffusion.windows import Window, plan_windows
from tgvc.errors import BundleError
from tgvc.models.nets import Networks
from tgvc.overlap import StageClock, run_ahead
from tgvc.synthesis.board import Board
from tgvc.synthesis.conditions import CELL_PX
from tgvc.synthesis.grain import SHARE
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.loop import Loop, Progress, Task, place_pull
from tgvc.synthesis.pictures import AT_ONCE, PictureQueue, Settled, Shown
from tgvc.synthesis.stretches import GRAIN_STEP, Needs, Stretch, Underpainter, prepare_stretches
from tgvc.types import OnProgress, Picture
from tgvc_kernels.step import NoiseCounter, Pull

_OVERLAP = 2  # frames of a window, at least, that the one before it has settled


@dataclass(frozen=True, kw_only=True)
class LatentOptions:
    """How to sample.

    ``steps``: of denoising. ``detail``: standard deviation of the noise that sampling starts from, 0..1; 0 gives what
    is likeliest on average, which is smooth. ``grain``: share of the source's finest octave that pictures are brought
    to, by noise. ``guidance``: strength of the trajectories' pull, 0 = none. ``dense``: all latent cells of the key
    pictures pull along the motion, not only the trajectories of the stream. ``move_noise``: noise moves with what the
    frames show, else it stands still. ``moved``: sampling adds to the moved key pictures; else to a cross-fade, to see
    what the networks and the trajectories do alone. ``plan``: solver, and where its steps lie.
    """

    steps: int
    detail: float = 1.0
    grain: float = SHARE
    guidance: float = 0.0
    dense: bool = False
    move_noise: bool = False
    moved: bool = True
    plan: Plan = DEFAULT


class _Lane:
    """One stream for the loop and one for pictures, with their memory: a group has them while it is painted."""

    def __init__(self, nets: Networks, device: Device, grain: float) -> None:
        self.scratch = Scratch(device, device.make_stream())
        self.loop = Loop(nets.queued_denoiser(device), self.scratch)
        self.pictures = PictureQueue(nets.queued_decoder(device), Scratch(device, device.make_stream()), grain)

    def rest(self) -> None:
        """Wait until nothing is queued any more."""
        self.scratch.stream.synchronize()
        self.pictures.rest()


class LatentGenerator:
    """Paints groups with the networks of a bundle; holds no state between groups but memory to work in."""

    def __init__(
        self,
        nets: Networks,
        options: LatentOptions,
        device: Device | None = None,
        under: Underpainter | None = None,
    ) -> None:
        """Check that the bundle fits the conditions.

        Args:
            nets: on the backend of the device.
            options: how to sample.
            device: where the loop and the pictures are computed; the host by default.
            under: paints what sampling adds to; the weight-free generator by default.

        Raises:
            BundleError: its latent cells are not those of the conditions.
            ConfigError: more steps than the schedule of the bundle has.
        """
        constants = nets.constants
        if constants.cell_px != CELL_PX:
            raise BundleError(f"bundle {nets.bundle.label}: cells of {constants.cell_px} px, expected {CELL_PX}")
        self._nets, self._options, self._device, self._under = nets, options, device or HostDevice(), under
        self._guided = options.guidance > 0 and options.steps > 1  # the first step knows nothing to compare yet
        self._schedule: Schedule = make_schedule(
            options.steps,
            spacing=options.plan.spacing,
            name=constants.schedule,
            train_steps=constants.train_steps,
            strength=options.guidance,
        )
        self._steps = plan_steps(self._schedule, options.plan)
        self._lanes = Pool(lambda: _Lane(nets, self._device, options.grain))

    @property
    def facts(self) -> dict[str, Any]:
        """See `tgvc.synthesis.group.GroupGenerator.facts`."""
        backend, under = self._nets.backend, self._under and self._under.facts
        return {
            "generator": under["generator"] if under else "latent",
            "bundle": f"{under['bundle']}, {self._nets.bundle.label}" if under else self._nets.bundle.label,
            "backend": f"{backend.name} {backend.version}",
            "providers": backend.providers,
            "steps": self._options.steps,
            "solver": self._options.plan.label,
            "paint": "all",
            "device": self._device.name,
        }

    def render_group(
        self, group: DecodedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[Picture]:
        """See `tgvc.synthesis.group.GroupGenerator.render_group`; preparing, denoising and decoding overlap."""
        options = self._options
        needs = Needs(
            moved=options.moved,
            move_noise=options.move_noise,
            sent=self._guided,
            dense=self._guided and options.dense,
            maps=self._nets.constants.maps > 0,
        )
        repaint = None if self._under is None else self._under.repaint_of(group)
        stretches = run_ahead(prepare_stretches(group, self._nets, needs, clock, repaint))
        with self._lanes.take() as lane:
            try:
                settled = run_ahead(self._denoise(lane, group, stretches, clock, on_progress))
                with closing(run_ahead(self._show(lane, group, settled, clock))) as pieces:
                    for pictures in pieces:
                        yield from pictures
            finally:
                lane.rest()  # what is still queued uses memory that goes now

    def _denoise(
        self,
        lane: _Lane,
        group: DecodedGroup,
        stretches: Generator[Stretch],
        clock: StageClock,
        on_progress: OnProgress | None,
    ) -> Iterator[Settled]:
        window_frames, stream = self._nets.constants.window, lane.scratch.stream
        windows = plan_windows(group.frames, window_frames, "chain", min(_OVERLAP, window_frames - 1))
        progress = Progress(on_progress, len(windows) * self._options.steps)
        source, board = NoiseSource(group.seed, group.number), Board()
        with closing(stretches):
            for number, window in enumerate(windows):
                while board.stop <= window.frames[-1]:
                    board.add(next(stretches))
                began = stream.record()
                latents = self._sample(lane, source, board, window, progress)[:, window.slots[0] : window.slots[-1] + 1]
                done = stream.record()
                board.settle(window.outputs, latents)
                shown = window.outputs
                grain = board.grain(shown) if self._options.move_noise else _still(source, 1, GRAIN_STEP)
                yield Settled(shown, board.pictures(shown), latents, grain, began, done, progress)
                if number + 1 < len(windows):
                    board.forget(windows[number + 1].frames[0])

    def _sample(self, lane: _Lane, source: NoiseSource, board: Board, window: Window, progress: Progress) -> Array:
        """Latents float32 (C, T, h, w) of a window, new ones."""
        device, scratch, stream = self._device, lane.scratch, lane.scratch.stream
        std = np.float32(self._nets.constants.residual_std)
        base, hints, keys = board.conditions(window.frames)
        given = {"base": base[None], "keys": keys[None], "hints": hints[None]}
        for array in given.values():
            array.flags.writeable = False  # so that whoever has memory of its own keeps them there between steps
        origin = scratch.bring("origin", base)
        held = None
        if window.held.any():
            clean = scratch.take("clean", base.shape, np.float32)
            device.apply(fill_zeros, clean, stream=stream)
            for slot, latents in board.final(window).items():
                device.apply(partial(_take_off, std=std), clean[:, slot], latents, origin[:, slot], stream=stream)
            held = scratch.bring("held", window.held), clean
        task = Task(
            start=self._start(source, board, window, base.shape, scratch),
            opening=opening_step(self._schedule),
            steps=self._steps,
            given=given,
            held=held,
            pull=self._pull(board, window, origin, scratch) if self._guided else None,
        )
        residual = lane.loop.run(task, progress).clean
        latents = device.empty(base.shape, np.float32, stream)
        device.apply(partial(_put_on, std=std), latents, residual, origin, stream=stream)
        return latents

    def _start(
        self, source: NoiseSource, board: Board, window: Window, size: tuple[int, ...], scratch: Scratch
    ) -> Array:
        """Noise float32 (C, T, h, w) to start from: made where it is needed, unless it was carried with the motion."""
        device, stream, detail = self._device, scratch.stream, np.float32(self._options.detail)
        if self._options.move_noise:
            return scratch.bring("start", detail * board.noise(window.frames))
        start = scratch.take("start", size, np.float32)
        counter = _still(source, len(window.frames))
        device.normal_noise(counter._replace(frames=scratch.bring("still", counter.frames)), start, stream)
        device.apply(partial(_scale, by=detail), start, start, stream=stream)
        return start

    def _pull(self, board: Board, window: Window, origin: Array, scratch: Scratch) -> Pull | None:
        guidance = Guidance(
            board.courses(window),
            window,
            (origin.shape[2], origin.shape[3]),
            outside=board.key_latents(),
            cell=self._nets.constants.cell_px,
        )
        pull = place_pull(guidance, len(origin), scratch)
        return pull and pull._replace(base=origin, scale=self._nets.constants.residual_std, mean=True)

    def _show(
        self, lane: _Lane, group: DecodedGroup, settled: Generator[Settled], clock: StageClock
    ) -> Iterator[list[Picture]]:
        """Pictures in order; where the device works by itself, a window's are queued before earlier ones arrive."""
        ahead = -(-self._nets.constants.window // AT_ONCE) if self._device.remote else 0
        waiting: deque[Shown] = deque()
        with closing(settled):
            try:
                for piece in settled:
                    for shown in lane.pictures.show(piece, group.texture):
                        waiting.append(shown)
                        while len(waiting) > ahead:
                            yield waiting.popleft().wait(clock)
                while waiting:
                    yield waiting.popleft().wait(clock)
            finally:
                lane.pictures.rest()  # before what they are made of goes, where nobody waits for the pictures any more


def _still(source: NoiseSource, frames: int, draw: int = 0) -> NoiseCounter:
    """The counter of noise that is the same in all frames."""
    return NoiseCounter(source.seed, source.group, np.zeros(frames, np.int64), draw)


def _take_off(out: Array, latents: Array, base: Array, std: np.float32) -> None:
    out[...] = (latents - base) / std


def _scale(out: Array, noise: Array, by: np.float32) -> None:
    np.multiply(noise, by, out=out)


def _put_on(out: Array, residual: Array, base: Array, std: np.float32) -> None:
    out[...] = base + std * residual
