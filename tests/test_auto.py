"""Profile ``auto`` tries other profiles on the first group, and stays with who did best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tgvc.bitstream.motion import SegmentMotion
from tgvc.config import EncoderConfig
from tgvc.planning.auto import AutoPlanner, Rival, may_be_a_person, sways
from tgvc.planning.dynamics import DynamicsPlanner
from tgvc.planning.group import GroupPlanner, Task
from tgvc.planning.human import HumanPlanner
from tgvc.planning.judge import Verdict
from tgvc.planning.plan import GroupPlan
from tgvc.planning.profiles import make_planner

TASK = Task([np.zeros((96, 64), np.uint8)] * 3, 100.0)


def plan_of(psnr: float, size: int = 100, *, fits: bool = True, modes: str = "F") -> GroupPlan:
    segments = [SegmentMotion.empty(mode, 9) for mode in modes]  # type: ignore[arg-type]
    verdict = Verdict(psnr=psnr, ms_ssim=0.9, squared_error=1.0, frames=(psnr,))
    return GroupPlan(
        keys=(0,), codec=0, key_size=(64, 64), quality=50, pictures=b"x" * size, segments=segments, motion=b"",
        reconstruction=[], verdict=verdict, fits=fits,
    )  # fmt: skip


class Fixed:
    """A planner whose answer is known."""

    def __init__(self, plan: GroupPlan) -> None:
        self.answer, self.asked = plan, 0

    def plan(self, task: Task, on_step: Callable[[int], None] | None = None) -> GroupPlan:
        self.asked += 1
        return self.answer


@pytest.mark.parametrize(
    ("rival", "wins"),
    [
        (plan_of(31.0), True),
        (plan_of(29.0), False),
        (plan_of(31.0, fits=False), False),
        (plan_of(30.4, 110), False),
        (plan_of(29.0, 60), False),  # it found nothing to buy for what is left
    ],
)
def test_who_does_better_on_the_first_group_plans_them_all(rival: GroupPlan, wins: bool) -> None:
    usual, other = Fixed(plan_of(30.0)), Fixed(rival)
    planner = AutoPlanner(usual, {"other": Rival(lambda: other, lambda plan, task: True)})
    first = planner.plan(TASK)
    assert first.verdict.psnr == (rival if wins else usual.answer).verdict.psnr
    assert first.trials[-1]["profile"] == "other"
    planner.plan(TASK)
    assert (usual.asked, other.asked) == ((1, 2) if wins else (2, 1))


def test_nobody_is_tried_who_does_not_apply_or_without_a_common_cost() -> None:
    def fail() -> Fixed:
        raise AssertionError("was made")

    usual = Fixed(plan_of(30.0))
    AutoPlanner(usual, {"other": Rival(fail, lambda plan, task: False)}).plan(TASK)
    AutoPlanner(usual, {"other": Rival(fail, lambda plan, task: True)}).plan(replace(TASK, budget=None, quality=40.0))
    assert usual.asked == 2


def test_cross_fades_are_what_sways_looks_like_to_us() -> None:
    assert sways(plan_of(30, modes="HHF"), TASK)
    assert not sways(plan_of(30, modes="HFF"), TASK)
    assert not sways(plan_of(30, modes=""), TASK)


def test_people_are_looked_for_in_small_pictures() -> None:
    small, large = (replace(TASK, pictures=[np.zeros((s * 3 // 2, s), np.uint8)]) for s in (256, 512))
    assert may_be_a_person(plan_of(30), small)
    assert not may_be_a_person(plan_of(30), large)


@pytest.mark.parametrize("fields", [{"effort": 1}, {"spacing": 4}, {"modes": "F"}])
def test_who_asks_for_little_or_for_something_gets_our_own_planner(fields: dict[str, object]) -> None:
    assert type(make_planner(EncoderConfig(**fields), 6, 1)) is GroupPlanner
    assert type(make_planner(EncoderConfig(), 6, 1)) is AutoPlanner


def test_dynamics_takes_part_where_nothing_better_than_cross_fades_was_found() -> None:
    planner = make_planner(EncoderConfig(), 6, 1)
    assert isinstance(planner, AutoPlanner)
    assert isinstance(planner.rivals["dynamics"].make(), DynamicsPlanner)
    assert planner.rivals["dynamics"].applies is sways


def test_human_takes_part_in_small_pictures_where_something_is_painted() -> None:
    planner = make_planner(EncoderConfig(), 6, 1)
    assert isinstance(planner, AutoPlanner)
    assert isinstance(planner.rivals["human"].make(), HumanPlanner)
    assert planner.rivals["human"].applies is may_be_a_person


@pytest.mark.parametrize(("size", "asked"), [((256, 384), True), ((256, 400), False)])
def test_human_plans_all_groups_of_small_pictures_if_it_does_better(
    size: tuple[int, int], asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, people = Fixed(plan_of(30.0)), Fixed(plan_of(31.0))
    monkeypatch.setattr(GroupPlanner, "plan", lambda self, task, on_step=None: usual.plan(task))
    monkeypatch.setattr(HumanPlanner, "plan", lambda self, task, on_step=None: people.plan(task))
    width, height = size
    task = replace(TASK, pictures=[np.zeros((height * 3 // 2, width), np.uint8)] * 3)
    planner = make_planner(EncoderConfig(effort=2), 6, 1)
    plans = [planner.plan(task) for _ in range(2)]
    assert [plan.verdict.psnr for plan in plans] == ([31.0, 31.0] if asked else [30.0, 30.0])
    assert (usual.asked, people.asked) == ((1, 2) if asked else (2, 0))
    assert [trial["profile"] for trial in plans[0].trials] == (["human"] if asked else [])
