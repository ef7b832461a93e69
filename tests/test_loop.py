"""The loop on the host against the plain samplers, which know nothing of devices; page-locked memory; progress."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tgvc.devices.base import Event
from tgvc.devices.host import HostDevice
from tgvc.devices.pinned import PinnedPool
from tgvc.devices.pool import Pool
from tgvc.devices.scratch import Scratch
from tgvc.diffusion.guidance import Course, Guidance
from tgvc.diffusion.noise import NoiseSource
from tgvc.diffusion.sampler import Correct, Hold, Options, ddim, dpm_solver
from tgvc.diffusion.schedule import Schedule, make_schedule
from tgvc.diffusion.solvers import Plan, plan_steps
from tgvc.diffusion.steps import StepNumbers, ddim_steps, dpm_steps, opening_step
from tgvc.diffusion.windows import Window
from tgvc.models.queued import QueuedNet
from tgvc.synthesis.loop import Finished, Loop, Progress, Task, place_pull
from tgvc_kernels.step import NoiseCounter

C, T, H, W = 5, 6, 7, 9
SIZE = C, T, H, W
SOURCE, FRAMES = NoiseSource(3, 4), range(20, 20 + T)
WINDOW = Window(tuple(range(10, 10 + T)), (True,) + (False,) * (T - 1), tuple(range(11, 10 + T)))


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape or SIZE).astype(np.float32)


MIX = draw(50, C, C)


def predict(x: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Some network: v with its condition and without."""
    mixed = np.einsum("ij,j...->i...", MIX, x).astype(np.float32) * np.float32(0.2)
    return mixed + np.float32(t / 4000), (mixed * np.float32(0.5)).astype(np.float32)


def run_loop(schedule: Schedule, steps: list[StepNumbers], guided: bool, **task: Any) -> Finished:
    """The loop on the host around `predict`."""
    device = HostDevice()

    def call(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        both = predict(inputs["x"][0, :C], float(inputs["t"][0]))
        assert all(np.array_equal(x[:C], inputs["x"][0, :C]) for x in inputs["x"])
        return {"v": np.stack(both[: len(inputs["x"])])}

    def never() -> Any:
        raise AssertionError("the host calls networks")

    factors = {"scale": 3.0, "rescale": 0.7} if guided else {}
    loop = Loop(QueuedNet(device, call, never), Scratch(device, device.make_stream()), **factors)
    start = task.pop("start", SOURCE.field(FRAMES, SIZE[:1] + SIZE[2:]))
    counter = NoiseCounter(SOURCE.seed, SOURCE.group, np.array(FRAMES, np.int64))
    given = Task(start=start, opening=opening_step(schedule), steps=steps, noise=counter, **task)
    first, again = (loop.run(given, Progress(None, 0)).clean.copy() for _ in range(2))
    assert np.array_equal(first, again)  # nothing of a run is left in the memory of the next
    return loop.run(given, Progress(None, 0))


def make_guidance(**options: Any) -> Guidance:
    rng = np.random.default_rng(7)
    xy = rng.uniform(0, [8 * W, 8 * H], (12, T, 2)).astype(np.float32)
    course = Course(9, np.concatenate([xy[:, :1], xy], axis=1), np.ones((12, T + 1), np.bool_))
    return Guidance([course], WINDOW, (H, W), **options)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(("eta", "dynamic"), [(0.0, False), (1.0, True)])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_loop_has_the_bits_of_the_plain_sampler(
    steps: int, eta: float, dynamic: bool, guided: bool, mean: bool
) -> None:
    schedule = make_schedule(steps, eta=eta, dynamic=dynamic, strength=0.8)
    start, base, outside = np.float32(0.7) * SOURCE.field(FRAMES, (C, H, W)), draw(2), draw(3, C, H, W)
    held, clean = np.array(WINDOW.given), draw(4)
    guidance = make_guidance(base=base, scale=0.6, outside={9: outside}, mean=mean)
    want = ddim(
        lambda x, t: predict(x, t) if guided else predict(x, t)[0],
        start,
        schedule,
        SOURCE.steps(FRAMES, (C, H, W)),
        guidance,
        options=Options(hold=Hold(held, clean), **({"scale": 3.0, "rescale": 0.7} if guided else {})),
    )
    device = HostDevice()
    pull = place_pull(guidance, C, Scratch(device, device.make_stream()))
    assert pull is not None
    found = run_loop(
        schedule,
        ddim_steps(schedule),
        guided,
        start=start,
        held=(held, clean),
        pull=pull._replace(base=base, scale=0.6, mean=mean),
    )
    assert np.array_equal(found.clean, want)


def test_what_is_compared_with_may_change_from_step_to_step() -> None:
    schedule = make_schedule(4, eta=1.0, dynamic=True, strength=0.8)
    first, guidance = draw(3, C, H, W), make_guidance(outside={9: draw(3, C, H, W)})

    def correct(x0: np.ndarray, i: int) -> np.ndarray | None:
        guidance.outside = [np.float32(schedule.level(i)) * first]
        return guidance(x0, i)

    follow: Correct = correct
    start = SOURCE.field(FRAMES, (C, H, W))
    want = ddim(lambda x, t: predict(x, t)[0], start, schedule, SOURCE.steps(FRAMES, (C, H, W)), follow)
    device = HostDevice()
    pull = place_pull(make_guidance(outside={9: first}), C, Scratch(device, device.make_stream()))
    found = run_loop(
        schedule, ddim_steps(schedule), False, pull=pull, outside=lambda i: (first[:, None], schedule.level(i))
    )
    assert np.array_equal(found.clean, want)


def test_the_published_form_pulls_before_the_first_step_and_ends_on_noise() -> None:
    schedule = make_schedule(5, eta=1.0, parity=True)
    guidance, start = make_guidance(), SOURCE.field(FRAMES, (C, H, W))
    seen: list[np.ndarray] = []

    def denoise(x: np.ndarray, t: float) -> np.ndarray:
        seen.append(x[:, :1].copy())
        return predict(x, t)[0]

    noise = SOURCE.steps(FRAMES, (C, H, W))
    want = ddim(denoise, start, schedule, noise, guidance, options=Options(noisy=True))
    device, record = HostDevice(), np.zeros((5, C, 1, H, W), np.float32)
    pull = place_pull(guidance, C, Scratch(device, device.make_stream()))
    steps = ddim_steps(schedule, noisy=True)
    found = run_loop(schedule, steps, False, pull=pull, record=record)
    assert np.array_equal(found.x, want)
    assert np.array_equal(record, np.stack(seen))


def test_a_solver_that_looks_back_has_the_bits_of_the_plain_one() -> None:
    schedule = make_schedule(6, strength=0.5)
    start = SOURCE.field(FRAMES, (C, H, W))
    want = dpm_solver(lambda x, t: predict(x, t)[0], start, schedule)
    found = run_loop(schedule, dpm_steps(schedule), False)
    assert np.array_equal(found.clean, want)


def test_steps_that_are_not_guided_ask_for_one_run() -> None:
    schedule = make_schedule(4)
    steps = plan_steps(schedule, Plan(cfg_start=0.25, cfg_stop=0.75))
    assert [step.guided for step in steps] == [False, True, True, False]
    asked = []

    def denoise(x: np.ndarray, t: float) -> Any:
        step = steps[len(asked)]
        asked.append(t)
        return predict(x, t) if step.guided else predict(x, t)[0]

    want = ddim(denoise, SOURCE.field(FRAMES, (C, H, W)), schedule, options=Options(scale=3.0, rescale=0.7))
    assert np.array_equal(run_loop(schedule, steps, True).clean, want)


# ---------------------------------------------------------------- what the loop stands on


class Later:
    """An event that is over when it is told to be."""

    over = False

    def done(self) -> bool:
        return self.over

    def wait(self) -> None:
        self.over = True

    def seconds_since(self, earlier: Event) -> float:
        return 0.0


def test_progress_is_told_in_order_and_only_of_what_is_over() -> None:
    told: list[int] = []
    progress = Progress(lambda stage, done, total: told.append(done), 3)
    events = [Later(), Later(), Later()]
    for event in events:
        progress.watch(SimpleNamespace(record=lambda event=event: event))
    events[1].over = True
    progress.tell()
    assert told == []
    events[0].over = True
    progress.tell()
    assert told == [1, 2]


def test_page_locked_memory_is_used_again_once_its_copy_is_over() -> None:
    pool = PinnedPool(bytearray)
    first, event = pool.take(100_000), Later()
    first.view((3, 4), np.float32)[...] = 1
    pool.give_back(first, event)
    second = pool.take(100_000)
    assert second.address != first.address
    event.over = True
    assert pool.take(131_072) is first
    pool.give_back(second, event)
    assert pool.take(131_073).size == 262_144


def test_what_was_left_in_the_middle_of_something_is_not_given_out_again() -> None:
    pool = Pool(object)
    with pool.take() as one:
        with pool.take() as other:
            assert other is not one
        with pool.take() as again:
            assert again is other
    with pytest.raises(RuntimeError, match="broken"), pool.take() as broken:
        raise RuntimeError("broken")
    with pool.take() as a, pool.take() as b:
        assert broken not in (a, b)


def test_scratch_memory_is_new_on_the_host_where_arrays_stay_what_they_are() -> None:
    device = HostDevice()
    scratch = Scratch(device, device.make_stream())
    array = draw(1)
    assert scratch.bring("a", array) is array
    assert scratch.take("b", (2, 3), np.float32) is not scratch.take("b", (2, 3), np.float32)
