"""A decoded group, and what every generator offers for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from tgvc.bitstream.header import DEFAULT_MATRIX
from tgvc.overlap import StageClock
from tgvc.synthesis.densify import Spread
from tgvc.synthesis.states import GroupStates
from tgvc.synthesis.warp import WarpGenerator
from tgvc.types import FloatArray, Motion, OnProgress, Picture


@dataclass(frozen=True, eq=False)
class DecodedGroup:
    """The layers of a group, ready to be painted.

    ``number``: what sets its noise apart, the checksum of its coded pictures: cutting a stream changes no frame.
    ``seed``: of the stream. ``keys``: key pictures, I420 uint8
    (3H/2, W). ``motions``: motion and length (frames, both keys included) of the segments between them. ``fine``:
    fineness of the key pictures, see `tgvc.synthesis.conditions.key_fineness`. ``matrix``: colour matrix code of
    ISO/IEC 23091-2. ``texture`` float32 (frames,): energy of the source's finest octave, squared grey levels; None
    where the stream does not say. ``states``: of a group of kind "affine"; there are no ``motions`` then.
    """

    number: int
    seed: int
    keys: Sequence[Picture]
    motions: Sequence[tuple[Motion, int]]
    fine: float
    matrix: int = DEFAULT_MATRIX
    texture: FloatArray | None = None
    states: GroupStates | None = None

    @property
    def open(self) -> bool:
        """Whether motion alone leads on from the last key picture."""
        return self.states is not None or len(self.motions) == len(self.keys)

    @property
    def frames(self) -> int:
        """Frames of the group, hidden ones included."""
        if self.states is not None:
            return sum(len(run) for run in self.states.runs)
        return 1 + sum(length - 1 for _, length in self.motions)


class GroupGenerator(Protocol):
    """Paints groups; the same for a given stream, bundle and backend, however its stages overlap."""

    @property
    def facts(self) -> dict[str, Any]:
        """What a report tells of it: ``generator``, and where there are networks ``bundle, backend, providers``."""

    def render_group(
        self, group: DecodedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[Picture]:
        """All frames of a group in order, I420 uint8 (3H/2, W), as they are done.

        Args:
            group: to be painted.
            clock: told of the seconds per stage.
            on_progress: told of denoising steps, where there are any.
        """


class WarpGroups:
    """The weight-free generator: segments of a group are painted side by side, key pictures are shown as they are.

    Args:
        threads: segments painted at once.
        spread: see `tgvc.synthesis.warp.WarpGenerator`.
        tails: False paints segments of mode G from their first key picture alone.
    """

    def __init__(self, threads: int, spread: Spread = "shepard", *, tails: bool = True) -> None:
        self._generator, self._threads, self._tails = WarpGenerator(spread), threads, tails

    @property
    def facts(self) -> dict[str, Any]:
        """See `GroupGenerator.facts`."""
        return {"generator": self._generator.name}

    def render_group(
        self, group: DecodedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[Picture]:
        """See `GroupGenerator.render_group`."""

        def render(index: int) -> list[Picture]:
            motion, length = group.motions[index]
            first, *rest = group.keys[index : index + 2]
            last = rest[0] if rest and (self._tails or motion.mode != "G") else None
            with clock.measure("render"):
                painted = self._generator.render(first, last, motion, length)
            return painted[: length - 2] if rest else painted

        yield group.keys[0]
        count, ahead = len(group.motions), self._threads + 1
        with ThreadPoolExecutor(self._threads) as pool:
            jobs: deque[Future[list[Picture]]] = deque()
            for index in range(count):
                while len(jobs) < ahead and index + len(jobs) < count:
                    jobs.append(pool.submit(render, index + len(jobs)))
                yield from jobs.popleft().result()
                yield from group.keys[index + 1 : index + 2]
