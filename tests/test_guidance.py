"""Guidance of a window: segments by their numbers, references from where they are, the published stages."""

from __future__ import annotations

import numpy as np
import pytest

from tgvc.diffusion.guidance import Course, Guidance
from tgvc.diffusion.sampler import Hold, Options, ddim
from tgvc.diffusion.schedule import make_schedule
from tgvc.diffusion.windows import Window, plan_windows
from tgvc.errors import ConfigError
from tgvc_kernels import ops

SIZE = (12, 16)


def make_course(
    first: int, length: int, seed: int = 0, count: int = 6, start: object = None, speed: object = None
) -> Course:
    rng = np.random.default_rng(seed)
    origin = rng.uniform(16, 80, (count, 1, 2)) if start is None else np.array(start, np.float64).reshape(-1, 1, 2)
    step = rng.normal(0, 3, (count, 1, 2)) if speed is None else np.array(speed, np.float64).reshape(-1, 1, 2)
    xy = origin + step * np.arange(length)[:, None]
    return Course(first, xy.astype(np.float32), np.ones((len(xy), length), bool))


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def whole(length: int) -> Window:
    return plan_windows(length, slots=max(length, 3))[0]


def test_one_segment_is_the_plain_gradient() -> None:
    course, z = make_course(0, 9), draw(1, 4, 9, *SIZE)
    plan = ops.guidance_plan(course.xy, course.visible, np.arange(9), (9, *SIZE))
    found = Guidance([course], whole(9), SIZE)(z, 3)
    assert found is not None
    assert np.array_equal(found, ops.guidance_gradient(z, plan))
    assert found.any()


def test_segments_in_one_window_add_up_and_keep_to_their_frames() -> None:
    courses = [make_course(0, 6, 1), make_course(5, 4, 2), make_course(8, 8, 3)]
    z, window = draw(2, 3, 16, *SIZE), whole(16)
    parts = [Guidance([c], window, SIZE)(z, 0) for c in courses]
    for course, part in zip(courses, parts, strict=True):
        assert part is not None
        moved = set(np.flatnonzero(part.any(axis=(0, 2, 3))))
        assert moved == set(range(course.first + 1, course.last))
    together = Guidance([courses[2], courses[0], courses[1]], window, SIZE)(z, 0)
    assert np.array_equal(together, parts[0] + parts[1] + parts[2])


def test_what_is_looked_at_is_base_and_scaled_residual() -> None:
    course, window = make_course(0, 7), whole(7)
    base, x0 = draw(3, 4, 7, *SIZE), draw(4, 4, 7, *SIZE)
    plain = Guidance([course], window, SIZE)
    found = Guidance([course], window, SIZE, base=base, scale=0.25)(x0, 0)
    assert np.array_equal(found, plain(base + np.float32(0.25) * x0, 0))
    each = np.array([0.1, 2, 1, 0.5], np.float32)
    found = Guidance([course], window, SIZE, base=base, scale=each)(x0, 0)
    assert np.array_equal(found, plain(base + each[:, None, None, None] * x0, 0))


def test_a_segment_cut_by_the_window_is_the_same_segment() -> None:
    # its key frames came out of earlier windows; between, nothing changes
    course, z = make_course(0, 20, 5), draw(6, 4, 20, *SIZE)
    want = Guidance([course], whole(20), SIZE)(z, 0)
    window = Window(tuple(range(6, 14)), (False,) * 8, tuple(range(6, 14)))
    found = Guidance([course], window, SIZE, outside={0: z[:, 0], 19: z[:, 19], 3: z[:, 3]})(z[:, 6:14], 0)
    assert want is not None
    assert np.array_equal(found, want[:, 6:14])


def test_a_key_frame_that_is_nowhere_is_no_reference() -> None:
    course, z = make_course(0, 20, 5), draw(6, 4, 20, *SIZE)
    window = Window(tuple(range(6, 14)), (False,) * 8, tuple(range(6, 14)))
    assert Guidance([course], window, SIZE)(z[:, 6:14], 0) is None
    guidance = Guidance([course], window, SIZE, outside={0: z[:, 0]})
    assert set(guidance.plan.first_halves) == {2}
    assert not guidance.plan.last_halves.any()


def test_held_frames_are_not_pulled() -> None:
    course, z = make_course(0, 12), draw(7, 4, 12, *SIZE)
    window = Window(tuple(range(12)), tuple(n < 5 for n in range(12)), tuple(range(5, 12)))
    found = Guidance([course], window, SIZE)(z, 0)
    want = Guidance([course], whole(12), SIZE)(z, 0)
    assert found is not None
    assert want is not None
    assert not found[:, :5].any()
    assert np.array_equal(found[:, 5:], want[:, 5:])


@pytest.mark.parametrize("length", [17, 24, 30])
def test_two_stages_pull_every_frame_by_its_real_time(length: int) -> None:
    course, z = make_course(0, length, 8), draw(9, 4, length, *SIZE)
    want = Guidance([course], whole(length), SIZE)(z, 0)
    assert want is not None
    for window in plan_windows(length):
        outside = {f: z[:, f] for f in range(length) if f not in window.frames}
        found = Guidance([course], window, SIZE, outside=outside)(z[:, list(window.frames)], 0)
        new = [s for s in window.slots if 0 < window.frames[s] < length - 1]
        assert found is not None or not new
        if found is not None:
            assert np.array_equal(found[:, new], want[:, [window.frames[s] for s in new]])


@pytest.mark.parametrize("length", [16, 17, 24, 30])
def test_published_stages_use_the_first_key_frame_and_slots_for_time(length: int) -> None:
    course, z = make_course(0, length, 10), draw(11, 4, length, *SIZE)
    shift = length - 16
    for window in plan_windows(length, form="parity"):
        frames = list(window.frames)
        samples = [0, *frames[1:]]
        slots = np.arange(16)
        plan = ops.guidance_plan(course.xy[:, samples], course.visible[:, samples], slots, (16, *SIZE), parity=True)
        found = Guidance([course], window, SIZE, outside={0: z[:, 0]}, parity=True)(z[:, frames], 0)
        start = z[:, :1] if frames[0] == shift else None
        assert np.array_equal(found, ops.guidance_gradient(z[:, frames], plan, start))


def test_without_courses_nothing_pulls() -> None:
    assert Guidance([], whole(5), SIZE)(draw(1, 4, 5, *SIZE), 0) is None


def test_guided_latents_come_to_agree_with_the_key_frame_along_the_tracks() -> None:
    # the denoiser knows nothing of the frames between; the key frames are held, a patch moves 6 cells
    length, size = 13, (12, 20)
    course = make_course(0, length, start=[(36, 44)], speed=[(4, 0)])
    clean = np.zeros((4, length, *size), np.float32)
    clean[:, 0, 3:8, 2:7] = clean[:, -1, 3:8, 8:13] = 1.5
    ends = np.isin(np.arange(length), (0, length - 1))
    window = Window(tuple(range(length)), tuple(ends.tolist()), tuple(range(1, length - 1)))
    guidance = Guidance([course], window, size)
    schedule = make_schedule(8, strength=0.8)

    def denoise(x: np.ndarray, t: float) -> np.ndarray:
        # best guess for clean latents that are normal with variance 1: half-way by the share of the signal
        a = schedule.abar[int(t)]
        clean_guess = np.sqrt(a) * x
        return ((np.sqrt(a) * x - clean_guess) / np.sqrt(1 - a)).astype(np.float32)

    def misfit(correct: Guidance | None) -> float:
        options = Options(hold=Hold(ends, clean))
        x0 = ddim(denoise, draw(20, 4, length, *size), schedule, correct=correct, options=options)
        places = [(f, 2 + (4 * f + 4) // 8) for f in range(1, length - 1)]
        return float(np.mean([np.abs(x0[:, f, 3:8, c : c + 5] - 1.5).mean() for f, c in places]))

    assert misfit(guidance) < 0.5 * misfit(None)


@pytest.mark.parametrize(
    ("courses", "window", "options", "message"),
    [
        ([make_course(0, 6), make_course(4, 6)], whole(10), {}, "from 0 and from 4 overlap"),
        ([make_course(0, 9)], whole(9), {"parity": True}, "parity: expected 16 slots that end on .* frame 8, got 9"),
        ([make_course(0, 30)], plan_windows(30)[1], {"parity": True}, "outside: expected the latents of key frame 0"),
    ],
)
def test_bad_windows_are_refused(courses: list[Course], window: Window, options: dict[str, bool], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Guidance(courses, window, SIZE, **options)  # type: ignore[arg-type]


def test_bad_courses_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 frames"):
        make_course(0, 1)
    with pytest.raises(ValueError, match="visible: expected bool"):
        Course(0, np.zeros((2, 5, 2), np.float32), np.ones((2, 4), bool))


def test_a_mean_pull_does_not_grow_with_the_number_of_trajectories() -> None:
    rng = np.random.default_rng(8)
    xy = rng.uniform(8, 56, (40, 9, 2)).astype(np.float32)
    z = rng.normal(size=(3, 9, *SIZE)).astype(np.float32)
    one = Course(0, xy[:1], np.ones((1, 9), np.bool_))
    again = Course(0, np.repeat(xy[:1], 7, axis=0), np.ones((7, 9), np.bool_))
    alone, together = (Guidance([c], whole(9), SIZE, mean=True)(z, 0) for c in (one, again))
    np.testing.assert_array_equal(alone, together)
    crowd = Guidance([Course(0, xy, np.ones((40, 9), np.bool_))], whole(9), SIZE, mean=True)(z, 0)
    assert crowd is not None
    assert np.abs(crowd).max() <= 1
    assert np.abs(crowd).max() > 0.4
