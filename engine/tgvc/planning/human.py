"""Profile `human`: key pictures, and between them a few numbers per frame that networks paint from.

As published, but for what the release leaves open: how fine states are, how many frames have one, when a new key
picture is due, and how fine key pictures are is settled by coding and decoding, in real bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from tgvc.analysis.cells import measure_cells
from tgvc.bitstream.affine import (
    MAX_DECIMATION,
    STEP_CODES,
    AffineMotion,
    affine_bits,
    encode_affine,
    quantise_states,
    restore_states,
    step_size,
)
from tgvc.bitstream.group import MotionKind, pack_open_keys
from tgvc.models.human import HumanNetworks
from tgvc.planning.group import AV1, EFFORTS, GroupPlanner, Task
from tgvc.planning.judge import judge
from tgvc.planning.keytrack import KeyTrack
from tgvc.planning.plan import FILLED, GroupPlan
from tgvc.types import FloatArray, Picture

_SCALES = (Fraction(1, 2), Fraction(3, 4), Fraction(1))
_STEP, _STRIDE = 36, 6  # code of the quantiser where the search begins, and how far it goes at once: an octave
_MOST_REACH = 5  # quarters
_TRIES = 12  # codings of the key pictures at most: there are few, and nobody knows how much they take
_SEEN = 12  # frames, evenly spread, that a candidate is judged by
_MOST_KEYS = (1, 2, 4, 6, 8)  # key pictures of a group, by effort
_WORTHWHILE = 0.1  # dB of merit that a new key picture has to win
_FADED = 6.0  # dB of merit below its key picture at which a frame of constant quality gets a new one
_USUAL_QUALITY, _PER_OCTAVE = 50.0, 12.0  # quality that the first step suits, and how much of it doubles the step


@dataclass(frozen=True)
class Choice:
    """A candidate: key frames, scale of the key pictures, step and decimation of the states.

    ``reach``: quarters of the way from a key picture's own state to that of a frame that is gone. Networks that
    overshoot on a face that they never saw are told less than they asked for.
    """

    keys: tuple[int, ...]
    scale: int
    step: int
    decimation: int
    reach: int = 4


@dataclass(frozen=True, kw_only=True)
class HumanPlan(GroupPlan):
    """A group whose motion is ``states``; see `GroupPlan`. ``seen``: frame numbers of the reconstruction."""

    states: AffineMotion
    lengths: tuple[int, ...]
    seen: tuple[int, ...]
    segments: list[Any] = field(default_factory=list)

    @property
    def kind(self) -> MotionKind:
        """Of the motion."""
        return "affine"

    @property
    def modes(self) -> dict[str, int]:
        """Key pictures by what they do: ``A`` serve other frames, ``plain`` only themselves."""
        return dict(Counter("A" if frames > 1 else "plain" for frames in self.lengths))

    @property
    def frames(self) -> int:
        """Frames of the group."""
        return sum(self.lengths)

    @property
    def spacing(self) -> int:
        """Most frames that one key picture serves."""
        return max(self.lengths)

    @property
    def size(self) -> int:
        """Bytes of both layers, and those that keys beside the first take."""
        return len(self.pictures) + len(self.motion) + len(pack_open_keys(self.keys)) - 1

    def summary(self) -> dict[str, Any]:
        """The plan as a line of the report."""
        return super().summary() | {"step": round(step_size(self.states.step), 5), "every": self.states.decimation}


class HumanPlanner:
    """Plans groups of one video; see `tgvc.planning.group.GroupPlanner`.

    Args:
        effort: 0..4: presets of the picture codec, key pictures at most, freedom of choice.
        threads: of the planner for groups of one frame.
        nets: predictor and generator, the ones that the decoder will use.
    """

    def __init__(self, effort: int, threads: int, nets: HumanNetworks) -> None:
        self._effort, self._most_keys, self._free = EFFORTS[effort], _MOST_KEYS[effort], effort > 0
        self._nets, self._still = nets, GroupPlanner(effort, threads)

    def plan(self, task: Task, on_step: Callable[[int], None] | None = None) -> GroupPlan:
        """Choose everything that one group sends; see `tgvc.planning.group.GroupPlanner.plan`."""
        if len(task.pictures) == 1:
            return self._still.plan(task, on_step)
        search = _Search(task, self._nets, self._effort.search_preset, on_step)
        if task.budget is None:
            best = self._refresh(search)
        else:
            best = self._climb(search, Choice((0,), len(_SCALES) - 1, _STEP, 1))
            while len(best.keys) < self._most_keys:
                plan = search.try_choice(best)
                more = [replace(best, keys=keys) for keys in _more_keys(plan, len(task.pictures))]
                gains = [(search.worth(choice) - search.worth(best), choice.keys, choice) for choice in more]
                if not gains or max(gains)[0] < _WORTHWHILE:
                    break
                best = self._climb(search, max(gains)[2])
        trials = [plan.summary() for plan in search.tried.values()]
        return replace(search.finish(best, self._effort.final_preset), trials=trials)

    def _climb(self, search: _Search, start: Choice) -> Choice:
        """The best of a choice and its neighbours, from neighbour to neighbour."""
        best = start
        while True:
            better = max(_neighbours(best) if self._free else [best], key=search.worth)
            if search.worth(better) <= search.worth(best):
                return best
            best = better

    def _refresh(self, search: _Search) -> Choice:
        """Constant quality: a new key picture at the first frame that falls too far below the one before it."""
        assert search.task.quality is not None
        step = round(_STEP + (search.task.quality - _USUAL_QUALITY) * _STRIDE / _PER_OCTAVE)
        choice = Choice((0,), len(_SCALES) - 1, min(max(step, 0), STEP_CODES - 1), 1)
        count = len(search.task.pictures)
        while len(choice.keys) < max(1, count // 8):
            plan = search.try_choice(choice, whole=True)
            merits = plan.verdict.frames
            ends = [*choice.keys[1:], count]
            faded = [
                next((n for n in range(key + 4, end - 1) if merits[n] < merits[key] - _FADED), None)
                for key, end in zip(choice.keys, ends, strict=True)
            ]
            if faded[-1] is None:
                break
            choice = replace(choice, keys=(*choice.keys, faded[-1]))
        return choice


class _Search:
    """Candidates for one group, tried and remembered."""

    def __init__(self, task: Task, nets: HumanNetworks, preset: int, on_step: Callable[[int], None] | None) -> None:
        self.task, self._nets, self._preset, self._on_step = task, nets, preset, on_step
        self._states: dict[tuple[int, int], FloatArray] = {}
        self._tracks: dict[tuple[Any, ...], KeyTrack] = {}
        self.tried: dict[tuple[Choice, bool], HumanPlan] = {}

    def worth(self, choice: Choice) -> float:
        """See `GroupPlan.worth`."""
        assert self.task.budget is not None
        return self.try_choice(choice).worth(self.task.budget)

    def try_choice(self, choice: Choice, *, whole: bool = False) -> HumanPlan:
        """A candidate, judged by a few of its frames or by the ``whole`` of them."""
        if (choice, whole) not in self.tried:
            track = self._track(choice, self._preset)
            self.tried[choice, whole] = self._assemble(choice, track, 56.0, whole)
            if self._on_step:
                self._on_step(len(self.tried))
        return self.tried[choice, whole]

    def finish(self, choice: Choice, preset: int) -> HumanPlan:
        """The candidate with another preset of the picture codec, all of its frames, and its budget filled."""
        guess = self.try_choice(choice, whole=self.task.budget is None).quality
        best = self._assemble(choice, self._track(choice, preset), guess, True)
        if self.task.budget is None:
            return best
        for widen in (1, -1, 2):
            if best.fits and best.size >= FILLED * self.task.budget:
                break
            other = self._assemble(choice, self._track(choice, preset, widen), best.quality, True)
            enough = FILLED * self.task.budget
            best = max(best, other, key=lambda p: (p.fits, min(p.size, enough), p.verdict.merit))
        return best

    def _track(self, choice: Choice, preset: int, widen: int = 0) -> KeyTrack:
        name = (choice.keys, choice.scale, preset, widen)
        if name not in self._tracks:
            keys = [self.task.pictures[k] for k in choice.keys]
            self._tracks[name] = KeyTrack(keys, AV1, _SCALES[choice.scale], preset, widen)
        return self._tracks[name]

    def _assemble(self, choice: Choice, track: KeyTrack, guess: float, whole: bool) -> HumanPlan:
        task, count = self.task, len(self.task.pictures)
        lengths = tuple(b - a for a, b in pairwise((*choice.keys, count)))
        motion = self._quantise(choice, lengths)
        payload = encode_affine(motion)
        place = len(pack_open_keys(choice.keys)) - 1
        if task.budget is None:
            assert task.quality is not None
            quality = task.quality
        else:
            quality = track.search(task.budget - len(payload) - place, guess, tries=_TRIES)
        coded = track.code(quality).payload
        seen = tuple(range(count)) if whole else tuple(np.unique(np.linspace(0, count - 1, _SEEN).astype(int)).tolist())
        frames = list(self._paint(choice.keys, lengths, motion, track.pictures(quality), seen))
        return HumanPlan(
            keys=choice.keys,
            codec=track.codec,
            key_size=track.size,
            quality=quality,
            pictures=coded,
            motion=payload,
            reconstruction=frames,
            verdict=judge([task.pictures[n] for n in seen], frames),
            fits=task.budget is None or len(coded) + len(payload) + place <= task.budget,
            states=motion,
            lengths=lengths,
            seen=seen,
        )

    def _see(self, key: int, frames: int) -> FloatArray:
        """States float32 (N, 2C) of the frames that a key picture serves, its own first."""
        missing = [n for n in range(key, key + frames) if (key, n) not in self._states]
        pictures = self.task.pictures
        if missing:
            found = self._nets.states(pictures[key], [pictures[n] for n in missing], measure_cells)
            self._states |= {(key, n): state for n, state in zip(missing, found, strict=True)}
        return np.stack([self._states[key, n] for n in range(key, key + frames)])

    def _quantise(self, choice: Choice, lengths: Sequence[int]) -> AffineMotion:
        """States as they will be sent, under the prediction that makes them cheapest."""
        runs = []
        for key, frames in zip(choice.keys, lengths, strict=True):
            run = self._see(key, frames)
            runs.append(np.asarray(run[:1] + (run - run[:1]) * (choice.reach / 4), np.float32))
        motions = [
            quantise_states(
                runs,
                step=choice.step,
                decimation=choice.decimation,
                momentum=momentum,
                networks=self._nets.bundle.number,
            )
            for momentum in (0, 1, 2)
        ]
        return min(motions, key=affine_bits)

    def _paint(
        self,
        keys: Sequence[int],
        lengths: Sequence[int],
        motion: AffineMotion,
        decoded: Sequence[Picture],
        seen: Sequence[int],
    ) -> Iterator[Picture]:
        """The frames ``seen``, exactly as the decoder paints them."""
        for key, frames, levels, picture in zip(keys, lengths, motion.levels, decoded, strict=True):
            wanted = [n - key for n in seen if key <= n < key + frames]
            if frames == 1:
                yield from [picture] * len(wanted)
                continue
            if not wanted:
                continue
            states: FloatArray = restore_states(levels, frames, step=motion.step, decimation=motion.decimation)
            known = self._nets.know(picture)
            for n in wanted:
                yield from self._nets.paint(known, states[0], states[n][None])


def _neighbours(choice: Choice) -> Iterator[Choice]:
    for step in (choice.step - _STRIDE, choice.step + _STRIDE):
        if 0 <= step < STEP_CODES:
            yield replace(choice, step=step)
    for decimation in (choice.decimation - 1, choice.decimation + 1):
        if 1 <= decimation <= MAX_DECIMATION:
            yield replace(choice, decimation=decimation)
    for reach in (choice.reach - 1, choice.reach + 1):
        if 0 <= reach <= _MOST_REACH:
            yield replace(choice, reach=reach)
    for scale in (choice.scale - 1, choice.scale + 1):
        if 0 <= scale < len(_SCALES):
            yield replace(choice, scale=scale)


def _more_keys(plan: HumanPlan, count: int) -> Iterator[tuple[int, ...]]:
    """One key frame more: in the middle of the longest stretch, or where the worst frame that was looked at is."""
    places = []
    longest = max(range(len(plan.lengths)), key=lambda n: plan.lengths[n])
    places.append(plan.keys[longest] + plan.lengths[longest] // 2)
    merits = {n: merit for n, merit in zip(plan.seen, plan.verdict.frames, strict=True) if n not in plan.keys}
    if merits:
        places.append(min(merits, key=lambda n: merits[n]))
    for place in dict.fromkeys(places):
        if 0 < place < count - 1 and place not in plan.keys:
            yield tuple(sorted((*plan.keys, place)))
