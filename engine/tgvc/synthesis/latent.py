"""The latent generator: what the weight-free pictures lack is drawn by diffusion in latents, guided by trajectories."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from tgvc.diffusion.guidance import Course, Guidance
from tgvc.diffusion.sampler import Hold, OnStep, Options, ddim
from tgvc.diffusion.schedule import Schedule, make_schedule
from tgvc.diffusion.windows import Window, plan_windows
from tgvc.errors import BundleError
from tgvc.models.nets import Networks, pack_planes, unpack_planes
from tgvc.overlap import StageClock, run_ahead
from tgvc.synthesis.conditions import CELL_PX
from tgvc.synthesis.grain import SHARE, add_grain
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.stretches import Needs, Stretch, prepare_stretches
from tgvc.types import FloatArray, OnProgress, Picture

_OVERLAP = 2  # frames of a window, at least, that the one before it has settled
_AT_ONCE = 4  # pictures decoded in one go


@dataclass(frozen=True, kw_only=True)
class LatentOptions:
    """How to sample.

    ``steps``: of denoising. ``detail``: standard deviation of the noise that sampling starts from, 0..1; 0 gives what
    is likeliest on average, which is smooth. ``grain``: share of the source's finest octave that pictures are brought
    to, by noise. ``guidance``: strength of the trajectories' pull, 0 = none. ``dense``: all latent cells of the key
    pictures pull along the motion, not only the trajectories of the stream. ``move_noise``: noise moves with what the
    frames show, else it stands still. ``moved``: sampling adds to the moved key pictures; else to a cross-fade, to see
    what the networks and the trajectories do alone.
    """

    steps: int
    detail: float = 1.0
    grain: float = SHARE
    guidance: float = 0.0
    dense: bool = False
    move_noise: bool = False
    moved: bool = True


@dataclass(frozen=True, eq=False)
class _Settled:
    """Frames that are done in latents: numbers, weight-free pictures, latents (n, C, h, w), noise (n, 4, H/2, W/2)."""

    frames: Sequence[int]
    pictures: Sequence[Picture]
    latents: FloatArray
    grain: FloatArray


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
        self._guided = options.guidance > 0 and options.steps > 1  # the first step knows nothing to compare yet
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
            "paint": "all",
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
        )
        stretches = run_ahead(prepare_stretches(group, self._nets, needs, clock))
        settled = run_ahead(self._denoise(group, stretches, clock, on_progress))
        with closing(run_ahead(self._decode(group, settled, clock))) as pieces:
            for pictures in pieces:
                yield from pictures

    def _denoise(
        self, group: DecodedGroup, stretches: Generator[Stretch], clock: StageClock, on_progress: OnProgress | None
    ) -> Iterator[_Settled]:
        window_frames = self._nets.constants.window
        windows = plan_windows(group.frames, window_frames, "chain", min(_OVERLAP, window_frames - 1))
        total, done = len(windows) * self._options.steps, 0

        def step(i: int, clean: FloatArray) -> None:
            nonlocal done
            done += 1
            if on_progress:
                on_progress("denoise", done, total)

        board = _Board()
        with closing(stretches):
            for number, window in enumerate(windows):
                while board.stop <= window.frames[-1]:
                    board.add(next(stretches))
                with clock.measure("denoise"):
                    latents = self._sample(board, window, step)[:, list(window.slots)]
                board.settle(window.outputs, latents)
                shown = window.outputs
                yield _Settled(
                    shown,
                    board.pictures(shown),
                    np.ascontiguousarray(latents.swapaxes(0, 1)),
                    board.grain(shown),
                )
                if number + 1 < len(windows):
                    board.forget(windows[number + 1].frames[0])

    def _sample(self, board: _Board, window: Window, step: OnStep) -> FloatArray:
        """Latents float32 (C, T, h, w) of a window."""
        constants, std = self._nets.constants, np.float32(self._nets.constants.residual_std)
        base, hints, keys = board.conditions(window.frames)
        given = [array[None] for array in (base, keys, hints)]
        for array in given:
            array.flags.writeable = False  # so that a backend may keep them between steps

        def denoise(x: FloatArray, t: float) -> FloatArray:
            v: FloatArray = self._nets.denoise(np.ascontiguousarray(x)[None], np.array([t], np.float32), *given)[0]
            return v

        hold = None
        if window.held.any():
            clean = np.zeros_like(base)
            clean[:, window.held] = (board.final(window) - base[:, window.held]) / std
            hold = Hold(window.held, clean)
        guidance = None
        if self._guided:
            guidance = Guidance(
                board.courses(window),
                window,
                (base.shape[2], base.shape[3]),
                base=base,
                scale=float(std),
                outside=board.key_latents(),
                cell=constants.cell_px,
                mean=True,
            )
        noise = np.float32(self._options.detail) * board.noise(window.frames)
        residual = ddim(denoise, noise, self._schedule, None, guidance, step, Options(hold=hold))
        return np.asarray(base + std * residual, np.float32)

    def _decode(self, group: DecodedGroup, settled: Generator[_Settled], clock: StageClock) -> Iterator[list[Picture]]:
        share = self._options.grain
        with closing(settled):
            for piece in settled:
                for n in range(0, len(piece.pictures), _AT_ONCE):
                    part = slice(n, n + _AT_ONCE)
                    with clock.measure("decode"):
                        given = pack_planes(piece.pictures[part])
                        planes, lack = self._nets.decode(piece.latents[part], given)
                    with clock.measure("grain"):
                        energy = None if group.texture is None else group.texture[list(piece.frames[part])]
                        add_grain(planes, lack, piece.grain[part], energy, share)
                        pictures = unpack_planes(planes)
                    yield pictures


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

    def settle(self, frames: Sequence[int], latents: FloatArray) -> None:
        """Keep final latents (C, n, h, w)."""
        self._final |= {frame: latents[:, n] for n, frame in enumerate(frames)}

    def forget(self, before: int) -> None:
        """Let go of what frames from ``before`` on do not need: the segment that they lie in stays whole."""
        self._stretches = [s for s in self._stretches if s.stop > before]
        kept = {s.key + n for s in self._stretches for n in (-1, 0)}
        self._keys = {key: value for key, value in self._keys.items() if key in kept}
        frames = {frame for frame, _ in self._keys.values()}
        self._final = {frame: value for frame, value in self._final.items() if frame >= before or frame in frames}

    def pictures(self, frames: Sequence[int]) -> list[Picture]:
        """The weight-free pictures of some frames in order of time."""
        return [p for s in self._stretches for n, p in enumerate(s.pictures, s.first) if n in frames]

    def grain(self, frames: Sequence[int]) -> FloatArray:
        """Noise (n, 4, H/2, W/2) for texture."""
        return np.stack([g for s in self._stretches for n, g in enumerate(s.grain, s.first) if n in frames])

    def conditions(self, frames: Sequence[int]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Base (C, T, h, w), hints (4, T, h, w), keys before and after (2C, T, h, w)."""
        base = self._cut([s.base for s in self._stretches], frames)
        hints = self._cut([s.hints for s in self._stretches], frames)
        pairs = []
        for stretch in self._stretches:
            after = self._keys[stretch.key][1]
            before = self._keys[stretch.key - 1][1] if stretch.key else after
            shown = [n for n in range(stretch.first, stretch.stop) if n in frames]
            pairs += [np.concatenate([after if n == stretch.stop - 1 else before, after]) for n in shown]
        return base, hints, np.stack(pairs, axis=1)

    def noise(self, frames: Sequence[int]) -> FloatArray:
        """Noise (C, T, h, w) to start from."""
        return self._cut([s.noise for s in self._stretches], frames)

    def final(self, window: Window) -> FloatArray:
        """Final latents (C, n, h, w) of the frames that a window is given."""
        held = [frame for frame, given in zip(window.frames, window.given, strict=True) if given]
        return np.stack([self._final[frame] for frame in held], axis=1)

    def courses(self, window: Window) -> list[Course]:
        """The trajectories of the segments that a window touches."""
        touched = [s for s in self._stretches if s.first <= window.frames[-1] and s.stop > window.frames[0]]
        return [Course(s.first - 1, *s.paths) for s in touched if len(s.paths.xy)]

    def key_latents(self) -> dict[int, FloatArray]:
        """Latents (C, h, w) of key frames by their numbers: as they became, or as they were coded."""
        return {frame: self._final.get(frame, base) for frame, base in self._keys.values()}

    def _cut(self, arrays: Sequence[FloatArray], frames: Sequence[int]) -> FloatArray:
        first = self._stretches[0].first
        return np.ascontiguousarray(np.concatenate(arrays, axis=1)[:, frames[0] - first : frames[-1] + 1 - first])
