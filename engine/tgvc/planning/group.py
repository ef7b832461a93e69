"""One group planned as a whole: spacing and size of the key pictures, their quality, the motion between them.

Every candidate is really coded to the same number of bytes, rendered as the decoder will render it, and judged on all
of its frames. Spacing 1 is an ordinary AV1 stream in our container, so no group can lose to it by more than the frame
around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction

from tgvc.bitstream.group import MAX_GAP, uniform_keys
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.tracks import decode_motion, encode_motion
from tgvc.memory import release_memory
from tgvc.planning.gaps import mix_spacings, split_failures, thin_keys
from tgvc.planning.judge import judge, squared_errors
from tgvc.planning.keytrack import KeyTrack
from tgvc.planning.plan import FILLED, GroupPlan, position_bytes, render_group
from tgvc.planning.segment import SegmentPlanner
from tgvc.types import Picture, picture_size

AV1 = 0
SCALES = (Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), Fraction(3, 4), Fraction(1))
_HALF = SCALES.index(Fraction(1, 2))
_COARSE = 54.0  # quality beyond which smaller key pictures are tried, and below which larger ones are
_UNSURE = 1.0  # around that quality both are tried
_FULL = 0.97  # share of the budget below which the last step looks for a better filling
_CLOSE = 0.3  # dB of merit within which the second best candidate is coded with the final preset too
# Keys at uneven distances: dB by which another spacing must win locally in a cautious mixture, gain in dB from which a
# mixture is tried, shares of the keys that are left out together and of the segments that are split together.
_MARGIN = 0.4
_WORTHWHILE = 0.08
_THINNED = 0.12
_SPLIT = 0.1
_MANY = 4  # candidates from which on the search goes beyond mixtures that promise something
_FINER = 0.1  # dB of merit that half as many key pictures may lack
_SURPLUS = 0.15  # dB of merit that uneven keys must win: less has cost the metrics that merit does not see
# Squared error that one bit of motion has to save, in units of (squared error / bits). PSNR rises by about 2.5 dB per
# doubling of the rate, so a bit of key pictures saves error / bits * 2.5 * ln(10) / (10 * ln 2) = 0.83 of them; it also
# buys structure, which squared error does not see, and 2.0 measured better on all other metrics.
_PRICE = 2.0


@dataclass(frozen=True)
class Effort:
    """What a level of effort spends: SVT-AV1 presets, trajectories per segment, modes, freedom of choice.

    ``uneven``: candidates with keys at uneven distances, at most.
    """

    search_preset: int
    final_preset: int
    tracks: int
    modes: str
    spacings: tuple[int, ...]
    scales: bool
    uneven: int


EFFORTS = (
    Effort(8, 8, 0, "F", (2, 4), scales=False, uneven=0),
    Effort(6, 4, 0, "FHT", (1, 2, 4, 8), scales=False, uneven=0),
    Effort(4, 2, 12, "FHTG", (1, 2, 4, 8, 16, 32), scales=True, uneven=2),
    Effort(4, 1, 16, "FHTG", (1, 2, 4, 8, 16, 32), scales=True, uneven=6),
    Effort(2, 0, 24, "FHTG", (1, 2, 4, 8, 16, 32), scales=True, uneven=10),
)


@dataclass(frozen=True)
class Task:
    """I420 ``pictures`` of one shot, to fit a ``budget`` (bytes of both layers) or have a constant ``quality``."""

    pictures: Sequence[Picture]
    budget: float | None
    quality: float | None = None


@dataclass(frozen=True)
class Choice:
    """A candidate: key frames, and the scale of the key pictures as an index of `SCALES`."""

    keys: tuple[int, ...]
    scale: int


class GroupPlanner:
    """Plans groups of one video, keys by measured rate and distortion (policy ``rd``).

    Args:
        effort: 0..4, index of `EFFORTS`.
        threads: candidates tried at once; the result does not depend on it.
        spacing: distance of key pictures in frames, instead of choosing it.
        modes: motion modes to choose from, instead of those of the effort.
    """

    def __init__(self, effort: int, threads: int = 2, spacing: int | None = None, modes: str | None = None) -> None:
        chosen = EFFORTS[effort]
        self.effort = replace(
            chosen,
            spacings=chosen.spacings if spacing is None else (spacing,),
            modes=chosen.modes if modes is None else modes,
        )
        self.threads = threads

    def plan(self, task: Task, on_step: Callable[[int], None] | None = None) -> GroupPlan:
        """Choose everything that one group sends.

        Args:
            task: pictures and budget.
            on_step: told of the number of candidates tried so far.

        Returns:
            The best plan; its ``fits`` is False if even the coarsest candidate exceeds the budget.
        """
        tried: dict[Choice, GroupPlan] = {}

        def attempt(choices: Iterable[Choice], guess: float = 56.0) -> bool:
            """Try what is new among the choices; False if nothing was."""
            new = [c for c in dict.fromkeys(choices) if c not in tried]
            with ThreadPoolExecutor(self.threads) as pool:
                for choice, plan in zip(new, pool.map(lambda c: self._try(task, c, guess), new), strict=True):
                    tried[choice] = plan
                    if on_step:
                        on_step(len(tried))
            for choice in tried.keys() - {best()}:  # an overtaken candidate never leads again: its frames can go
                tried[choice] = replace(tried[choice], reconstruction=[])
            release_memory()
            return bool(new)

        def reference() -> float:
            return task.budget if task.budget is not None else float(min(p.size for p in tried.values()))

        def best() -> Choice:
            size = reference()
            return max(tried, key=lambda c: _worth(tried[c], size))

        ladder = self._key_ladder(task)
        start = [keys for keys in ladder if self._starts(keys)] or ladder[:1]
        attempt(Choice(keys, _HALF) for keys in start)
        while attempt(Choice(keys, _HALF) for keys in _neighbours(ladder, best().keys)):
            pass  # climb: along the spacings merit has one peak
        while self.effort.scales and attempt(self._scale_steps(ladder, best(), tried[best()])):
            pass
        left = self.effort.uneven
        while left > 0:
            mixed = [Choice(keys, best().scale) for keys in self._uneven_keys(tried, best(), reference())]
            new = [choice for choice in dict.fromkeys(mixed) if choice not in tried][: min(left, 2)]
            left -= len(new)
            if not attempt(new, tried[best()].quality):
                break
        if self.effort.scales and best().keys not in ladder:
            attempt(self._scale_steps(ladder, best(), tried[best()]), tried[best()].quality)
        plan = self._finish(task, tried, reference())
        return replace(plan, trials=[p.summary() for p in tried.values()])

    def _key_ladder(self, task: Task) -> list[tuple[int, ...]]:
        """Sets of key frames to choose from, dense ones first."""
        count = len(task.pictures)
        return list(dict.fromkeys(uniform_keys(count, s) for s in self.effort.spacings))

    def _starts(self, keys: tuple[int, ...]) -> bool:
        return len(keys) > 1 and keys[1] in (2, 4)

    def _scale_steps(self, ladder: list[tuple[int, ...]], choice: Choice, plan: GroupPlan) -> list[Choice]:
        """Candidates worth trying from the best one: other sizes, and wider spacing where nothing fits yet."""
        steps = []
        if choice.scale > 0 and (plan.quality > _COARSE - _UNSURE or not plan.fits):
            steps.append(Choice(choice.keys, choice.scale - 1))
        if choice.scale + 1 < len(SCALES) and plan.quality < _COARSE + _UNSURE and plan.fits:
            steps.append(Choice(choice.keys, choice.scale + 1))
        if not plan.fits and choice.keys in ladder[:-1]:
            steps.append(Choice(ladder[ladder.index(choice.keys) + 1], choice.scale))
        return steps

    def _uneven_keys(
        self, tried: Mapping[Choice, GroupPlan], choice: Choice, reference: float
    ) -> Iterator[tuple[int, ...]]:
        """Sets of key frames at uneven distances that may be better than the best candidate, promising ones first."""
        if len(self.effort.spacings) < 2:
            return
        keys, merits = choice.keys, tried[choice].verdict.frames
        even: dict[int, Sequence[float]] = {}
        for other, plan in tried.items():
            if other.scale == _HALF and plan.fits and _is_even(other.keys):
                shift = plan.merit(reference) - plan.verdict.merit  # as if it had used the budget to the last byte
                even[other.keys[1]] = [m + shift for m in plan.verdict.frames]
        if _is_even(keys) and keys[1] in even:
            gain, mixed = mix_spacings(even, keys[1], 0.0)
            if gain > _WORTHWHILE:
                yield mixed
                yield mix_spacings(even, keys[1], _MARGIN)[1]
        if _is_even(keys) and self.effort.uneven < _MANY:
            return  # what follows seldom helps where a mixture did not
        yield split_failures(keys, merits, _SPLIT, plain=False)
        yield thin_keys(keys, merits, _THINNED, MAX_GAP)
        yield split_failures(keys, merits, _SPLIT, plain=True)

    def _try(self, task: Task, choice: Choice, guess: float) -> GroupPlan:
        """One candidate at the search preset, motion included; ``guess``: quality to begin the search with."""
        track = self._key_track(task, choice, self.effort.search_preset)
        if task.budget is None:
            assert task.quality is not None
            quality = task.quality
        else:
            share = 1.0 if len(choice.keys) == len(task.pictures) else 0.97  # motion takes 1 to 6 % of most groups
            positions = position_bytes(choice.keys, len(task.pictures))
            quality = track.search((task.budget - positions) * share, guess)
        segments = self._plan_motion(task, choice.keys, track.pictures(quality), len(track.code(quality).payload))
        return self._assemble(task, choice.keys, track, quality, segments)

    def _key_track(self, task: Task, choice: Choice, preset: int, widen: int = 0) -> KeyTrack:
        return KeyTrack([task.pictures[k] for k in choice.keys], AV1, SCALES[choice.scale], preset, widen)

    def _plan_motion(
        self, task: Task, keys: tuple[int, ...], decoded: list[Picture], key_bytes: int
    ) -> list[SegmentMotion]:
        """Motion of all segments between given decoded key pictures."""
        price = bit_price(task, keys, decoded, key_bytes)
        grid = anchor_grid(*picture_size(decoded[0]))
        planner = SegmentPlanner(price, self.effort.tracks, self.effort.modes, grid)
        return [
            planner.plan(task.pictures[a : b + 1], first, last).motion
            for a, b, first, last in zip(keys, keys[1:], decoded, decoded[1:], strict=False)
        ]

    def _assemble(
        self, task: Task, keys: tuple[int, ...], track: KeyTrack, quality: float, segments: list[SegmentMotion]
    ) -> GroupPlan:
        """The plan with key pictures as fine as the motion leaves room for."""
        grid = anchor_grid(*track.full_size)
        motion = encode_motion(segments, grid)
        segments = decode_motion(motion, [s.length for s in segments], grid)  # in coded order, as the decoder has them
        positions = position_bytes(keys, len(task.pictures))
        if task.budget is not None:
            quality = track.search(task.budget - len(motion) - positions, guess=quality)
        payload = track.code(quality).payload
        frames = self._render(track.pictures(quality), segments)
        size = len(payload) + len(motion) + positions
        return GroupPlan(
            keys=keys,
            codec=track.codec,
            key_size=track.size,
            quality=quality,
            pictures=payload,
            segments=segments,
            motion=motion,
            reconstruction=frames,
            verdict=judge(task.pictures, frames),
            fits=task.budget is None or size <= task.budget,
        )

    def _render(self, keys: list[Picture], segments: list[SegmentMotion]) -> list[Picture]:
        return render_group(keys, segments)

    def _finish(self, task: Task, tried: Mapping[Choice, GroupPlan], reference: float) -> GroupPlan:
        """The best with the final preset of the picture codec, which may turn a close decision; their motion stays."""

        def nearly_best(plans: Mapping[Choice, GroupPlan]) -> list[Choice]:
            merits = {choice: _worth(plan, reference) for choice, plan in plans.items()}
            ranked = sorted(merits, key=lambda c: merits[c], reverse=True)
            return [c for c in ranked[:2] if merits[c] > merits[ranked[0]] - _CLOSE]

        coded = {choice: tried[choice] for choice in nearly_best(tried)}
        with ThreadPoolExecutor(self.threads) as pool:
            if self.effort.final_preset == self.effort.search_preset:
                coded = {choice: coded[choice] for choice in list(coded)[:1]}  # nothing new would be learnt
            else:
                coded = dict(zip(coded, pool.map(lambda c: self._recode(task, c, tried[c]), coded), strict=True))
            fitting = {choice: plan for choice, plan in tried.items() if plan.fits}
            if fitting and not any(plan.fits for plan in coded.values()):  # merit forgives what a budget does not
                coded = {choice: self._recode(task, choice, tried[choice]) for choice in nearly_best(fitting)}
            finalists = nearly_best(coded)
            if task.budget is None or not coded[finalists[0]].fits:
                return coded[finalists[0]]
            filled = list(pool.map(lambda c: self._fill(task, c, coded[c]), finalists))
        enough = FILLED * task.budget
        return max((p for p in filled if p.fits), key=lambda p: (min(p.size, enough), _worth(p, p.size)))

    def _recode(self, task: Task, choice: Choice, plan: GroupPlan, widen: int = 0) -> GroupPlan:
        """A plan once more with the final preset and its motion."""
        track = self._key_track(task, choice, self.effort.final_preset, widen)
        return self._assemble(task, choice.keys, track, plan.quality, plan.segments)

    def _fill(self, task: Task, choice: Choice, plan: GroupPlan) -> GroupPlan:
        """The plan, or where the codec's steps in quality are too wide, one with slightly other sizes of the keys."""
        assert task.budget is not None
        enough = FILLED * task.budget
        best = last = plan
        for widen in (1, 2, -1, 3, -2, 4, -3):
            if last.fits and last.size >= _FULL * task.budget:
                break
            last = self._recode(task, choice, plan, widen)  # only two are held: a plan has all frames of its group
            best = max(best, last, key=lambda p: (p.fits, min(p.size, enough), p.verdict.merit))
        return best


def bit_price(task: Task, keys: tuple[int, ...], decoded: Sequence[Picture], key_bytes: int) -> float:
    """Squared luma error that a bit of motion has to save, so that no bit of key pictures would save more.

    Args:
        task: what is planned.
        keys: its key frames.
        decoded: the key pictures as decoded.
        key_bytes: what they take.
    """
    key_error = float(squared_errors([task.pictures[k] for k in keys], decoded).mean())
    return _PRICE * key_error * len(task.pictures) / (8 * key_bytes)


def _worth(plan: GroupPlan, reference: float) -> float:
    """Merit with what it does not see: fewer and finer key pictures, even ones, look better to other metrics."""
    octaves = math.log2(plan.frames / len(plan.keys))
    return plan.merit(reference) + _FINER * octaves - _SURPLUS * (position_bytes(plan.keys, plan.frames) > 0)


def _is_even(keys: tuple[int, ...]) -> bool:
    return len(keys) > 1 and position_bytes(keys, keys[-1] + 1) == 0


def _neighbours(ladder: list[tuple[int, ...]], keys: tuple[int, ...]) -> list[tuple[int, ...]]:
    at = ladder.index(keys)
    return [ladder[i] for i in (at - 1, at + 1) if 0 <= i < len(ladder)]
