"""Profile ``auto`` with everybody who takes part: whoever did best plans the video, and the decoder shows that."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tgvc
from human_samples import bright_pictures, save_pictures, tiny_human
from tgvc import generators
from tgvc.bitstream.container import Reader
from tgvc.config import EncoderConfig
from tgvc.encoder import Encoder, EncodeReport
from tgvc.planning import networks
from tgvc.planning.dynamics import DynamicsPlanner
from tgvc.planning.group import GroupPlanner, Task
from tgvc.planning.human import HumanPlanner
from tgvc.planning.plan import GroupPlan
from tgvc.summary import PROFILE_NAMES
from tgvc.types import Picture, join_planes

W, H = 96, 64
NAMES = {GroupPlanner: "usual", DynamicsPlanner: "dynamics", HumanPlanner: "human"}


def waving_pictures(count: int) -> list[Picture]:
    """A texture that waves like a flag whose left edge is held: what the decoder's flow between key pictures misses."""
    coarse = np.random.default_rng(8).integers(30, 226, (H // 12, W // 12), np.uint8)
    start = cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC)
    grey = np.full((H // 2, W // 2), 128, np.uint8)
    y, x = np.mgrid[:H, :W].astype(np.float32)
    waves, held = 2 * np.pi * x / 20, np.minimum(x / 40, 1)
    pictures = []
    for n in range(count):
        rise = 6 * (np.sin(2 * np.pi * n / 7.5 - waves) + np.sin(waves)) * held
        at = (y - rise).astype(np.float32)
        luma = cv2.remap(start, x, at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        pictures.append(join_planes(np.asarray(luma, np.uint8), grey, grey))
    return pictures


class Contest:
    """A clip coded under profile auto: the ``data``, the ``report``, and what every planner that was asked answered."""

    def __init__(self, pictures: list[Picture], folder: Path, patch: pytest.MonkeyPatch, **fields: Any) -> None:
        self.asked: list[tuple[str, Task, GroupPlan]] = []
        self.plans: list[GroupPlan] = []
        for planner in (GroupPlanner, HumanPlanner):  # that of dynamics is one of ours
            self._listen(planner, patch)
        target = io.BytesIO()
        clip = save_pictures(folder / "clip.mkv", pictures)
        self.report: EncodeReport = Encoder(EncoderConfig(effort=2, **fields), threads=1).encode(
            clip, target, on_group=lambda plan, _: self.plans.append(plan)
        )
        self.data = target.getvalue()

    def _listen(self, planner: type, patch: pytest.MonkeyPatch) -> None:
        plan_group = planner.plan  # type: ignore[attr-defined]

        def plan(told: Any, task: Task, on_step: Any = None) -> GroupPlan:
            answer: GroupPlan = plan_group(told, task, on_step)
            self.asked.append((NAMES[type(told)], task, answer))
            return answer

        patch.setattr(planner, "plan", plan)

    def check(self, tried: list[str], winner: str) -> None:
        """Who was tried on the first group, and that who did best planned all of them, as the decoder shows."""
        first = self.asked[: len(tried)]
        assert [name for name, _, _ in first] == tried
        tasks = [task for _, task, _ in first]
        assert all(task is tasks[0] for task in tasks)
        budget = tasks[0].budget
        assert budget is not None
        named = [trial for trial in self.report.groups[0]["trials"] if "profile" in trial]
        assert [trial["profile"] for trial in named] == tried[1:]
        for trial, (_, _, plan) in zip(named, first[1:], strict=True):
            assert trial.items() >= plan.summary().items()

        plans = {name: plan for name, _, plan in first}
        assert all(plan.fits for plan in plans.values())
        assert max(plans, key=lambda name: plans[name].merit(budget)) == winner
        assert max(plans, key=lambda name: plans[name].verdict.merit) == winner  # whatever is made of unspent bytes
        later = self.asked[len(tried) :]
        assert [name for name, _, _ in later] == [winner] * (len(self.plans) - 1)
        assert not any("profile" in trial for group in self.report.groups[1:] for trial in group["trials"])

        answers = [plans[winner], *(plan for _, _, plan in later)]
        groups = list(Reader(io.BytesIO(self.data)))
        for answer, plan, group in zip(answers, self.plans, groups, strict=True):
            assert (plan.keys, plan.pictures, plan.motion) == (answer.keys, answer.pictures, answer.motion)
            assert (group.keys, group.pictures, group.motion) == (answer.keys, answer.pictures, answer.motion)
        assert PROFILE_NAMES[Reader(io.BytesIO(self.data)).header.profile] == "auto"

        shown = [frame.picture for frame in tgvc.decode_frames(io.BytesIO(self.data))]
        expected = [picture for plan in self.plans for picture in plan.reconstruction]
        assert len(shown) == self.report.frames
        assert all(np.array_equal(a, b) for a, b in zip(shown, expected, strict=True))
        assert self.report.target_bytes is not None
        assert len(self.data) == self.report.bytes <= self.report.target_bytes


@pytest.fixture
def bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks whose answers are known, in place of the embedded ones."""
    tiny_human(tmp_path / "bright")
    monkeypatch.setattr(networks, "HUMAN_BUNDLE", str(tmp_path / "bright"))
    monkeypatch.setitem(generators.BUNDLES, "human", str(tmp_path / "bright"))


def test_dynamics_plans_a_waving_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contest = Contest(waving_pictures(33), tmp_path, monkeypatch, bytes=280)
    contest.check(["usual", "dynamics", "human"], "dynamics")
    assert contest.report.modes.keys() == {"G"}


@pytest.mark.usefixtures("bright")
def test_human_plans_light_that_comes_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contest = Contest(bright_pictures(48), tmp_path, monkeypatch, bytes=400, group=24)
    contest.check(["usual", "dynamics", "human"], "human")
    assert contest.report.modes.keys() == {"A"}


@pytest.mark.usefixtures("bright")
def test_our_own_planner_stays_where_others_do_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contest = Contest(waving_pictures(33), tmp_path, monkeypatch, bytes=600, group=17)
    contest.check(["usual", "human"], "usual")
