"""The latent generator: what the weight-free pictures lack is drawn by diffusion in latents, guided by trajectories."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tgvc.diffusion.sampler import Hold, Options, ddim
from tgvc.diffusion.schedule import Schedule, make_schedule
from tgvc.errors import BundleError
from tgvc.models.nets import Networks, pack_planes, unpack_planes
from tgvc.overlap import StageClock, run_ahead
from tgvc.synthesis.conditions import CELL_PX
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.pull import Span, make_correction, plan_pull
from tgvc.synthesis.stretches import Needs, Stretch, prepare_stretches
from tgvc.types import FloatArray, OnProgress, Picture

_OVERLAP = 2  # frames of a window that the one before it has settled
_SENT_RADIUS, _DENSE_RADIUS = 2, 0  # cells pulled with a point: few points speak for what is around them
_AT_ONCE = 4  # pictures decoded in one go


@dataclass(frozen=True, kw_only=True)
class LatentOptions:
    """How to sample.

    ``steps``: of denoising. ``detail``: standard deviation of the noise that sampling starts from, 0..1; 0 gives what
    is likeliest on average, which is smooth. ``guidance``: strength of the trajectories' pull, 0 = none. ``dense``: all
    latent cells of the key pictures pull along the motion, not only the trajectories of the stream. ``move_noise``:
    noise moves with what the frames show.
    """

    steps: int
    detail: float = 1.0
    guidance: float = 0.0
    dense: bool = False
    move_noise: bool = True


@dataclass(frozen=True, eq=False)
class _Settled:
    """Frames that are done in latents: weight-free pictures and final latents float32 (n, C, h, w)."""

    pictures: Sequence[Picture]
    latents: FloatArray


class LatentGenerator:
    """Paints groups with the networks of a bundle; holds no state between groups."""

    def __init__(self, nets: Networks, options: LatentOptions) -> None:
        """Check that the bundle fits the conditions.

        Raises:
            BundleError: its latent cells are not those of the conditions.
            ConfigError: more steps than the schedule of the bundle has.
        """
        constants = nets.constants
        if constants.cell_px != CELL_PX:
            raise BundleError(f"bundle {nets.bundle.label}: cells of {constants.cell_px} px, expected {CELL_PX}")
        self._nets, self._options = nets, options
        self._schedule: Schedule = make_schedule(
            options.steps, name=constants.schedule, train_steps=constants.train_steps, strength=options.guidance
        )

    @property
    def facts(self) -> dict[str, Any]:
        """See `tgvc.synthesis.group.GroupGenerator.facts`."""
        backend = self._nets.backend
        return {
            "generator": "latent",
            "bundle": self._nets.bundle.label,
            "backend": f"{backend.name} {backend.version}",
            "providers": backend.providers,
            "steps": self._options.steps,
        }

    def render_group(
        self, group: DecodedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[Picture]:
        """See `tgvc.synthesis.group.GroupGenerator.render_group`; preparing, denoising and decoding overlap."""
        guided = self._options.guidance > 0 and self._options.steps > 1
        needs = Needs(move_noise=self._options.move_noise, sent=guided, dense=guided and self._options.dense)
        with (
            closing(run_ahead(prepare_stretches(group, self._nets, needs, clock))) as stretches,
            closing(run_ahead(self._denoise(group, stretches, clock, on_progress))) as settled,
            closing(run_ahead(self._decode(settled, clock))) as pieces,
        ):
            for pictures in pieces:
                yield from pictures

    def _denoise(
        self, group: DecodedGroup, stretches: Iterator[Stretch], clock: StageClock, on_progress: OnProgress | None
    ) -> Iterator[_Settled]:
        windows = plan_windows(group.frames, self._nets.constants.window)
        total, done = len(windows) * self._options.steps, 0

        def step(i: int, clean: FloatArray) -> None:
            nonlocal done
            done += 1
            if on_progress:
                on_progress("denoise", done, total)

        board = _Board()
        for start, stop, held in windows:
            while board.stop < stop:
                board.add(next(stretches))
            with clock.measure("denoise"):
                latents = self._sample(board, start, stop, held, step)
            board.settle(start + held, latents[:, held:])
            yield _Settled(board.pictures(start + held, stop), np.ascontiguousarray(latents[:, held:].swapaxes(0, 1)))
            board.forget(stop - _OVERLAP)

    def _sample(self, board: _Board, start: int, stop: int, held: int, step: Any) -> FloatArray:
        """Latents float32 (C, T, h, w) of a window."""
        constants, std = self._nets.constants, np.float32(self._nets.constants.residual_std)
        base, hints, keys = board.conditions(start, stop)
        given = [array[None] for array in (base, keys, hints)]
        for array in given:
            array.flags.writeable = False  # so that a backend may keep them between steps

        def denoise(x: FloatArray, t: float) -> FloatArray:
            v: FloatArray = self._nets.denoise(np.ascontiguousarray(x)[None], np.array([t], np.float32), *given)[0]
            return v

        hold = None
        if held:
            clean = np.zeros_like(base)
            clean[:, :held] = (board.final(start, start + held) - base[:, :held]) / std
            hold = Hold(np.arange(stop - start) < held, clean)
        correct = None
        if self._options.guidance > 0 and self._options.steps > 1:
            touched = board.keys_around(start, stop)
            plans = [
                plan_pull(spans, (start, stop), touched, base.shape[2:], constants.cell_px, radius)
                for spans, radius in (
                    (board.spans(start, stop, "sent"), _SENT_RADIUS),
                    (board.spans(start, stop, "dense"), _DENSE_RADIUS),
                )
            ]
            correct = make_correction(
                plans, base, float(std), lambda latents: board.references(latents, start, stop, touched)
            )
        noise = np.float32(self._options.detail) * board.noise(start, stop)
        residual = ddim(denoise, noise, self._schedule, None, correct, step, Options(hold=hold))
        return base + std * residual

    def _decode(self, settled: Iterator[_Settled], clock: StageClock) -> Iterator[list[Picture]]:
        for piece in settled:
            for n in range(0, len(piece.pictures), _AT_ONCE):
                part = slice(n, n + _AT_ONCE)
                with clock.measure("decode"):
                    planes = self._nets.decode(piece.latents[part], pack_planes(piece.pictures[part]))
                    pictures = unpack_planes(planes)
                yield pictures


def plan_windows(frames: int, window: int) -> list[tuple[int, int, int]]:
    """Windows that cover all frames in order: (first frame, frame after the last, frames at its start that are held).

    Every window but the first is given the last two frames of the one before it. They are as few as can be, and of
    equal length but for one frame, so that none has less to look at than the others.
    """
    if frames <= window:
        return [(0, frames, 0)]
    fresh = frames - _OVERLAP
    count = -(-fresh // max(window - _OVERLAP, 1))
    stops = [_OVERLAP + fresh * n // count for n in range(count + 1)]
    return [(a - _OVERLAP, b, _OVERLAP if n else 0) for n, (a, b) in enumerate(pairwise(stops))]


class _Board:
    """The stretches that windows still need, and the latents that are final."""

    def __init__(self) -> None:
        self._stretches: list[Stretch] = []
        self._final: dict[int, FloatArray] = {}  # frame -> (C, h, w)
        self._keys: dict[int, tuple[int, FloatArray]] = {}  # key picture -> its frame, its base latents

    @property
    def stop(self) -> int:
        """Number of the first frame that is not there yet."""
        return self._stretches[-1].stop if self._stretches else 0

    def add(self, stretch: Stretch) -> None:
        self._stretches.append(stretch)
        self._keys[stretch.key] = stretch.stop - 1, stretch.base[:, -1]

    def settle(self, first: int, latents: FloatArray) -> None:
        """Keep final latents (C, n, h, w) of the frames from ``first`` on."""
        self._final |= {first + n: latents[:, n] for n in range(latents.shape[1])}

    def forget(self, before: int) -> None:
        """Let go of what frames from ``before`` on do not need: the segment that they lie in stays whole."""
        self._stretches = [s for s in self._stretches if s.stop > before]
        kept = {s.key + n for s in self._stretches for n in (-1, 0)}
        self._keys = {key: value for key, value in self._keys.items() if key in kept}
        frames = {frame for frame, _ in self._keys.values()}
        self._final = {frame: value for frame, value in self._final.items() if frame >= before or frame in frames}

    def pictures(self, start: int, stop: int) -> list[Picture]:
        return [p for s in self._stretches for n, p in enumerate(s.pictures, s.first) if start <= n < stop]

    def conditions(self, start: int, stop: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Base (C, T, h, w), hints (4, T, h, w), keys before and after (2C, T, h, w)."""
        base, hints = (
            self._cut([getattr(s, name) for s in self._stretches], start, stop) for name in ("base", "hints")
        )
        pairs = [
            np.concatenate(
                [self._keys[s.key][1] if n == s.stop - 1 else self._keys[s.key - 1][1], self._keys[s.key][1]]
            )
            for s in self._stretches
            for n in range(max(s.first, start), min(s.stop, stop))
        ]
        return base, hints, np.stack(pairs, axis=1)

    def noise(self, start: int, stop: int) -> FloatArray:
        return self._cut([s.noise for s in self._stretches], start, stop)

    def final(self, start: int, stop: int) -> FloatArray:
        return np.stack([self._final[n] for n in range(start, stop)], axis=1)

    def keys_around(self, start: int, stop: int) -> list[int]:
        """Key pictures at the ends of the segments that a window touches."""
        return sorted({k for s in self._touched(start, stop) for k in (s.key - 1, s.key)})

    def spans(self, start: int, stop: int, kind: str) -> list[Span]:
        return [
            Span(getattr(s, kind), s.first - 1, (s.key - 1, s.key))
            for s in self._touched(start, stop)
            if len(getattr(s, kind).xy)
        ]

    def references(self, latents: FloatArray, start: int, stop: int, keys: Sequence[int]) -> FloatArray:
        """Latents (C, R, h, w) of key pictures: as they are being sampled, as they became, or as they were coded."""
        known = []
        for key in keys:
            frame, base = self._keys[key]
            known.append(latents[:, frame - start] if start <= frame < stop else self._final.get(frame, base))
        return np.stack(known, axis=1)

    def _touched(self, start: int, stop: int) -> list[Stretch]:
        return [s for s in self._stretches if s.key > 0 and s.first < stop and s.stop > start]

    def _cut(self, arrays: Sequence[FloatArray], start: int, stop: int) -> FloatArray:
        first = self._stretches[0].first
        return np.ascontiguousarray(np.concatenate(arrays, axis=1)[:, start - first : stop - first])
