"""Profile ``auto``: our own planner, and beside it those of other profiles where they may do better.

They are tried on the first group of a video, at the same cost and judged on the same frames; who wins plans all groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from tgvc.planning.group import Task
from tgvc.planning.plan import GroupPlan
from tgvc.types import picture_size

_FADED = 0.5  # share of the segments with painted frames that are cross-fades: nothing is known of their motion
_LARGEST = 256 * 384  # px of pictures in which a person may fill the picture: half as many again as networks learnt


class Planner(Protocol):
    """Plans groups of one video, one after the other."""

    def plan(self, task: Task, on_step: Callable[[int], None] | None = None) -> GroupPlan:
        """Choose everything that one group sends; see `planning.group.GroupPlanner.plan`."""
        ...


@dataclass(frozen=True)
class Rival:
    """Another planner: ``make`` makes it, ``applies`` tells from our own plan of a task whether it is worth trying."""

    make: Callable[[], Planner]
    applies: Callable[[GroupPlan, Task], bool]


class AutoPlanner:
    """Plans groups by whichever planner did best on the first one.

    Args:
        usual: plans unless another one wins.
        rivals: others by name, in the order in which they are tried.
    """

    def __init__(self, usual: Planner, rivals: Mapping[str, Rival]) -> None:
        self._usual, self.rivals = usual, rivals
        self._chosen: Planner | None = None

    def plan(self, task: Task, on_step: Callable[[int], None] | None = None) -> GroupPlan:
        """See `Planner.plan`; ``trials`` of the first group tell of the others too."""
        if self._chosen is not None:
            return self._chosen.plan(task, on_step)
        best, self._chosen = self._usual.plan(task, on_step), self._usual
        if task.budget is None:  # at constant quality there is no common cost
            return best
        trials = list(best.trials)
        for name, rival in self.rivals.items():
            if not rival.applies(best, task):
                continue
            planner = rival.make()
            plan = planner.plan(task)
            trials.append(plan.summary() | {"profile": name})
            if plan.fits and plan.worth(task.budget) > best.worth(task.budget):
                best, self._chosen = plan, planner
        return replace(best, trials=trials)


def sways(plan: GroupPlan, task: Task) -> bool:
    """Whether our own planner found nothing better than cross-fades: what sways and flows may be followed otherwise."""
    modes = [segment.mode for segment in plan.segments if segment.length > 2]
    return bool(modes) and modes.count("H") >= _FADED * len(modes)


def may_be_a_person(plan: GroupPlan, task: Task) -> bool:
    """Whether pictures are as small as those that show a face, and something in them is painted."""
    width, height = picture_size(task.pictures[0])
    return width * height <= _LARGEST and any(segment.length > 2 for segment in plan.segments)
