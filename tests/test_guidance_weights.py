"""Which trajectory pulls how strongly, and over which window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from guidance_samples import Track, both, published_weights


def pull_per_slot(module: Any, xy: np.ndarray, visible: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Alpha and beta of a lone track in every slot, from latents that make either the only one that pulls."""
    n = xy.shape[1]
    plan = module.guidance_plan(xy, visible, np.arange(n), (n, 40, 64), **options)
    z = np.zeros((1, n, 40, 64), np.float32)
    first, last = (module.guidance_gradient(z, plan, z + np.float32(a), z + np.float32(b)) for a, b in ((1, 0), (0, 1)))
    return first.max(axis=(0, 2, 3)), last.max(axis=(0, 2, 3))


def lone_track(n: int, hidden: tuple[int, ...] = ()) -> Track:
    visible = np.ones((1, n), bool)
    visible[:, list(hidden)] = False
    return np.full((1, n, 2), (200, 100), np.float32), visible


@both
@pytest.mark.parametrize("ends", ["both", "start", "end", "none"])
def test_parity_weights_are_the_published_table(module: Any, ends: str) -> None:
    hidden = {"both": (), "start": (15,), "end": (0,), "none": (0, 15)}[ends]
    found = pull_per_slot(module, *lone_track(16, hidden), parity=True)
    for s in range(1, 15):
        assert (found[0][s], found[1][s]) == published_weights(s, 0 not in hidden, 15 not in hidden), s


@both
@pytest.mark.parametrize("n", [3, 4, 9, 16, 30])
def test_weights_follow_real_time_and_are_symmetric(module: Any, n: int) -> None:
    alpha, beta = pull_per_slot(module, *lone_track(n))
    inner = slice(1, n - 1)
    assert (alpha + beta)[inner].tolist() == [1] * (n - 2)
    assert np.array_equal(alpha, beta[::-1])
    assert (np.diff(beta[inner]) >= 0).all()
    if n >= 9:
        assert {0.0, 0.5, 1.0} == set(beta[inner].tolist())


@both
def test_a_one_sided_track_uses_its_end_everywhere(module: Any) -> None:
    for hidden, which in (((15,), 0), ((0,), 1)):
        found = pull_per_slot(module, *lone_track(16, hidden))
        assert found[which][1:15].tolist() == [1] * 14
        assert not found[1 - which].any()


def window_span(module: Any, x: float, y: float, **options: Any) -> tuple[int, int]:
    """Rows and columns that a still track pulls at in one slot."""
    xy = np.full((1, 16, 2), (x, y), np.float32)
    plan = module.guidance_plan(xy, np.ones((1, 16), bool), np.arange(16), (16, 40, 64), **options)
    cells = plan.cells[plan.cells // (40 * 64) == 4] % (40 * 64)
    return len(set(cells // 64)), len(set(cells % 64))


@both
def test_published_windows_shrink_at_the_border(module: Any) -> None:
    for column in range(64):
        want = 0 if column == 0 else 5 if 2 <= column <= 61 else 1
        assert window_span(module, 8 * column + 3, 160, parity=True)[1] == want, column
    for row in range(40):
        want = 0 if row == 0 else 5 if 2 <= row <= 37 else 1
        assert window_span(module, 256, 8 * row + 7, parity=True)[0] == want, row


@both
def test_own_windows_end_at_the_border(module: Any) -> None:
    for column, want in ((0, 3), (1, 4), (2, 5), (61, 5), (62, 4), (63, 3)):
        assert window_span(module, 8 * column, 160) == (5, want)
    for row, want in ((0, 3), (1, 4), (2, 5), (37, 5), (38, 4), (39, 3)):
        assert window_span(module, 256, 8 * row) == (want, 5)
    assert window_span(module, 512, 160) == window_span(module, -0.1, 160) == (0, 0)
    assert window_span(module, 40, 40, radius=1) == (3, 3)
    assert window_span(module, 40, 40, radius=0, cell=4) == (1, 1)


@both
def test_a_sample_that_is_not_shown_pulls_nowhere(module: Any) -> None:
    xy, visible = lone_track(6)
    slots = np.array([0, 1, -1, 3, 2, -1])
    plan = module.guidance_plan(xy, visible, slots, (4, 40, 64))
    assert set(plan.cells // (40 * 64)) == {1, 2, 3}
    assert not plan.last_halves.any()  # the last sample is in no volume
    assert set(plan.first_halves) == {2}
