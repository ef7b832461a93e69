"""One group planned as a whole: spacing and size of the key pictures, their quality, the motion between them.

Every candidate is really coded to the same number of bytes, rendered as the decoder will render it, and judged on all
of its frames. Spacing 1 is an ordinary AV1 stream in our container, so no group can lose to it by more than the frame
around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction

from tgvc.bitstream.group import uniform_keys
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.tracks import encode_motion
from tgvc.planning.judge import Verdict, judge, squared_errors
from tgvc.planning.keytrack import KeyTrack
from tgvc.planning.segment import SegmentPlanner
from tgvc.synthesis.densify import read_motion
from tgvc.synthesis.warp import WarpGenerator
from tgvc.types import Picture, picture_size

AV1 = 0
MAX_SPACING = 32
# Squared error bought by one bit, in units of (squared error / bits): PSNR rises by about 2.5 dB per doubling of the rate,
# and d(error)/d(bits) = error / bits * 2.5 * ln(10) / (10 * ln 2).
_PRICE = 0.83
_MERIT_PER_OCTAVE = 5.0  # dB of PSNR plus dB of MS-SSIM per doubling of the rate


@dataclass(frozen=True)
class Effort:
    """What a level of effort spends: SVT-AV1 presets, trajectories per segment, modes, freedom of choice."""

    search_preset: int
    final_preset: int
    tracks: int
    modes: str
    spacings: tuple[int, ...]
    scales: bool


EFFORTS = (
    Effort(8, 8, 0, "F", (2, 4), False),
    Effort(6, 4, 0, "FHT", (1, 2, 4, 8), False),
    Effort(4, 2, 8, "FHT", (1, 2, 4, 8, 16, 32), True),
    Effort(4, 1, 12, "FHT", (1, 2, 4, 8, 16, 32), True),
    Effort(2, 0, 16, "FHT", (1, 2, 4, 8, 16, 32), True),
)


@dataclass(frozen=True)
class GroupPlan:
    """A group ready to be written, and what the decoder will show.

    ``keys``: frame numbers in the group. ``key_size``: coded width and height. ``quality``: of the picture codec.
    ``reconstruction``: all frames, I420 uint8 (3H/2, W).
    """

    keys: tuple[int, ...]
    codec: int
    key_size: tuple[int, int]
    quality: float
    pictures: bytes
    segments: list[SegmentMotion]
    motion: bytes
    reconstruction: list[Picture]
    verdict: Verdict
    fits: bool
    trials: list[dict[str, object]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of both layers."""
        return len(self.pictures) + len(self.motion)

    @property
    def spacing(self) -> int:
        """Largest distance between two key pictures, frames."""
        return max((b - a for a, b in zip(self.keys, self.keys[1:], strict=False)), default=1)

    def merit(self, budget: float) -> float:
        """Merit corrected to the budget, so that a candidate that used fewer bytes is not blamed for it."""
        import math

        penalty = _MERIT_PER_OCTAVE * math.log2(self.size / budget)
        return self.verdict.merit - (penalty if self.fits else 4 * penalty)


def render_group(keys: Sequence[int], decoded: Sequence[Picture], segments: Sequence[SegmentMotion]) -> list[Picture]:
    """All frames of a group from decoded key pictures and motion, exactly as the decoder renders them."""
    generator = WarpGenerator()
    width, height = picture_size(decoded[0])
    frames = [decoded[0]]
    for first, last, motion in zip(decoded, decoded[1:], segments, strict=False):
        frames += generator.render(first, last, read_motion(motion, width, height), motion.length)
        frames.append(last)
    return frames


@dataclass(frozen=True)
class _Choice:
    spacing: int
    scale: Fraction


class GroupPlanner:
    """Plans groups of one video.

    Args:
        effort: 0..4, index of `EFFORTS`.
        threads: candidates tried at once; the result does not depend on it.
    """

    def __init__(self, effort: int, threads: int = 2) -> None:
        self.effort = EFFORTS[effort]
        self.threads = threads

    def plan(
        self,
        pictures: Sequence[Picture],
        budget: float | None,
        quality: float | None = None,
        keys: Sequence[int] | None = None,
        on_step: Callable[[str], None] | None = None,
    ) -> GroupPlan:
        """Choose everything that one group sends.

        Args:
            pictures: I420 uint8 (3H/2, W), one shot, 1..1024 of them.
            budget: bytes for both layers, or None for constant ``quality``.
            quality: quality of the key pictures when there is no budget.
            keys: key frames fixed by another policy; chosen here if None.
            on_step: told of every candidate tried.

        Returns:
            The best plan; its ``fits`` is False if even the coarsest candidate exceeds the budget.
        """
        tried: dict[_Choice, GroupPlan] = {}

        def attempt(choices: list[_Choice]) -> None:
            new = [c for c in choices if c not in tried]
            with ThreadPoolExecutor(self.threads) as pool:
                jobs = [pool.submit(self._try, pictures, c, budget, quality, keys) for c in new]
                for choice, job in zip(new, jobs, strict=True):
                    tried[choice] = job.result()
                    if on_step:
                        on_step(f"spacing {choice.spacing}, key pictures at {choice.scale}")

        def best() -> _Choice:
            reference = budget if budget is not None else min(p.size for p in tried.values())
            return max(tried, key=lambda c: tried[c].merit(reference))

        half = Fraction(1, 2)
        spacings = [s for s in self.effort.spacings if s < len(pictures)] or [1]
        if keys is not None:
            spacings = [1]
        attempt([_Choice(s, half) for s in spacings if s in (2, 4)] or [_Choice(spacings[0], half)])
        while True:  # climb along the spacings: merit has one peak
            at = spacings.index(best().spacing)
            around = [_Choice(spacings[i], half) for i in (at - 1, at + 1) if 0 <= i < len(spacings)]
            if all(c in tried for c in around):
                break
            attempt(around)
        if self.effort.scales:
            self._climb_scales(attempt, best, tried, budget)
        choice = best()
        final = self._finish(pictures, choice, tried[choice], budget, quality, keys)
        trials = [
            {
                "spacing": c.spacing,
                "scale": str(c.scale),
                "bytes": p.size,
                "motion": len(p.motion),
                "quality": p.quality,
                "psnr": round(p.verdict.psnr, 3),
                "ms_ssim": round(p.verdict.ms_ssim, 5),
            }
            for c, p in tried.items()
        ]
        return GroupPlan(**{**final.__dict__, "trials": trials})

    def _climb_scales(self, attempt, best, tried, budget) -> None:  # type: ignore[no-untyped-def]
        ladder = [Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), Fraction(3, 4), Fraction(1)]
        while True:
            choice = best()
            plan, at = tried[choice], ladder.index(choice.scale)
            wanted = []
            if (plan.quality > 54 or not plan.fits) and at > 0:
                wanted.append(_Choice(choice.spacing, ladder[at - 1]))
            if plan.quality < 54 and plan.fits and at + 1 < len(ladder):
                wanted.append(_Choice(choice.spacing, ladder[at + 1]))
            if not plan.fits and choice.spacing < MAX_SPACING and 2 * choice.spacing in self.effort.spacings:
                wanted.append(_Choice(2 * choice.spacing, choice.scale))
            if not wanted or all(c in tried for c in wanted):
                return
            attempt(wanted)

    def _try(
        self,
        pictures: Sequence[Picture],
        choice: _Choice,
        budget: float | None,
        quality: float | None,
        keys: Sequence[int] | None,
    ) -> GroupPlan:
        """One candidate at the search preset, motion included."""
        chosen = tuple(keys) if keys is not None else uniform_keys(len(pictures), choice.spacing)
        track = KeyTrack([pictures[k] for k in chosen], AV1, choice.scale, self.effort.search_preset)
        if budget is None:
            assert quality is not None
            at = quality
        else:
            share = 0.97 if choice.spacing > 1 else 1.0  # motion takes 1 to 6 % of most groups
            at = track.search(budget * share)
        decoded = track.pictures(at)
        key_error = float(squared_errors([pictures[k] for k in chosen], decoded).sum())
        price = _PRICE * key_error / len(chosen) * len(pictures) / (8 * len(track.code(at).payload))
        planner = SegmentPlanner(price, self.effort.tracks, self.effort.modes)
        segments = [
            planner.plan(pictures[a : b + 1], first, last).motion
            for a, b, first, last in zip(chosen, chosen[1:], decoded, decoded[1:], strict=False)
        ]
        return self._assemble(pictures, chosen, track, at, segments, budget)

    def _assemble(
        self,
        pictures: Sequence[Picture],
        keys: tuple[int, ...],
        track: KeyTrack,
        quality: float,
        segments: list[SegmentMotion],
        budget: float | None,
    ) -> GroupPlan:
        motion = encode_motion(segments, anchor_grid(*track.full_size))
        if budget is not None:
            quality = track.search(budget - len(motion), guess=quality)
        frames = render_group(keys, track.pictures(quality), segments)
        payload = track.code(quality).payload
        fits = budget is None or len(payload) + len(motion) <= budget
        return GroupPlan(
            keys, track.codec, track.size, quality, payload, segments, motion, frames, judge(pictures, frames), fits
        )

    def _finish(
        self,
        pictures: Sequence[Picture],
        choice: _Choice,
        plan: GroupPlan,
        budget: float | None,
        quality: float | None,
        keys: Sequence[int] | None,
    ) -> GroupPlan:
        """The winner once more with the final preset of the picture codec; its motion stays."""
        if self.effort.final_preset == self.effort.search_preset:
            return plan
        track = KeyTrack([pictures[k] for k in plan.keys], AV1, choice.scale, self.effort.final_preset)
        at = plan.quality
        if budget is not None:
            at = track.search(budget - len(plan.motion), guess=plan.quality, tolerance=0.01, tries=9)
        return self._assemble(pictures, plan.keys, track, at, plan.segments, budget)
