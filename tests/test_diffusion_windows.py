"""Windows: every frame once, nothing unknown is held, seams where they belong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgvc.diffusion.windows import plan_windows
from tgvc.errors import ConfigError


def check_windows(windows, length, slots):
    outputs = [frame for window in windows for frame in window.outputs]
    assert sorted(outputs) == list(range(length))
    seen = set()
    for window in windows:
        assert len(window.frames) == len(window.given) == min(length, slots)
        assert all(a < b for a, b in zip(window.frames, window.frames[1:], strict=False))
        assert set(window.frames) <= set(range(length))
        held = {f for f, given in zip(window.frames, window.given, strict=True) if given}
        assert held <= seen
        assert window.held.tolist() == list(window.given)
        assert [window.frames[s] for s in window.slots] == list(window.outputs)
        assert window.outputs
        seen |= set(window.frames)
    return seen


@pytest.mark.parametrize("form", ["dual", "chain"])
@pytest.mark.parametrize("length", range(1, 101))
def test_every_frame_comes_from_one_window(form, length):
    windows = plan_windows(length, form=form)
    check_windows(windows, length, 16)
    for window in windows:
        # what is new is shown where it was made, what is old is held
        assert set(window.outputs) == {f for f, g in zip(window.frames, window.given, strict=True) if not g}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 300),
    slots=st.integers(3, 40),
    overlap=st.integers(1, 39),
    form=st.sampled_from(["dual", "chain"]),
)
def test_every_frame_comes_from_one_window_of_any_size(length, slots, overlap, form):
    if overlap >= slots:
        overlap = slots - 1
    check_windows(plan_windows(length, slots, form, overlap), length, slots)


@pytest.mark.parametrize("length", range(2, 31))
def test_published_stages_put_every_frame_out_once(length):
    check_windows(plan_windows(length, form="parity"), length, 16)


@pytest.mark.parametrize("form", ["dual", "parity", "chain"])
@pytest.mark.parametrize("length", [1, 2, 9, 16])
def test_a_run_that_fits_is_one_window(form, length):
    (window,) = plan_windows(length, form=form)
    assert window.frames == window.outputs == tuple(range(length))
    assert not any(window.given)


@pytest.mark.parametrize("length", range(17, 31))
def test_two_stages_as_published(length):
    shift = length - 16
    first, second = plan_windows(length, form="parity")
    assert first.frames == (*range(15), length - 1)
    assert first.outputs == tuple(range(shift))
    assert second.frames == second.outputs == tuple(range(shift, length))
    assert second.given == (True,) + (False,) * 15
    # ours shows the same frames in both stages, but takes each from where it was made first
    ours = plan_windows(length)
    assert [w.frames for w in ours] == [first.frames, second.frames]
    assert ours[0].outputs == first.frames
    assert ours[1].outputs == tuple(range(15, length - 1))


@pytest.mark.parametrize("length", range(17, 101))
def test_every_new_frame_follows_a_held_one(length):
    # no seam between two frames that were made without knowledge of each other
    for form in ("dual", "chain"):
        for window in plan_windows(length, form=form)[1:]:
            start = window.frames.index(window.outputs[0])
            assert start > 0
            assert window.given[start - 1]
            assert window.frames[start - 1] == window.outputs[0] - 1


@pytest.mark.parametrize("length", [17, 29, 30, 31, 44, 100])
def test_both_ends_are_in_every_dual_window(length):
    windows = plan_windows(length)
    assert all(window.frames[-1] == length - 1 for window in windows)
    assert len(windows) == -(-(length - 16) // 14) + 1


@pytest.mark.parametrize("overlap", [1, 4, 8])
def test_links_of_a_chain_overlap_enough(overlap):
    for length in range(17, 101):
        windows = plan_windows(length, form="chain", overlap=overlap)
        assert all(sum(w.given) >= overlap for w in windows[1:])
        assert len(windows) == -(-(length - 16) // (16 - overlap)) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "length=0, slots=16"),
        ((5, 2), "slots=2: expected at least 1 frame and 3 slots"),
        ((40, 16, "triple"), "form='triple'"),
        ((40, 16, "chain", 16), "overlap=16: expected 1 to 15"),
        ((31, 16, "parity"), "length=31: expected at most 30 frames with 16 slots"),
    ],
)
def test_bad_runs_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        plan_windows(*arguments)
