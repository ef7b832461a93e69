"""Dense tracks: synthetic motion with a known answer, the grid, hidden points, repeatability."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from tgvc.analysis.flow import fit_camera, look_up, match_dense, move_affine, pixel_grid, sample_at
from tgvc.analysis.tracking import fill_hidden, grid_points, track_segment
from tgvc.errors import ConfigError
from tgvc.opencv import one_cv_thread

W, H, T, GRID = 256, 160, 12, 20
CENTRE = np.array([W / 2, H / 2])
Motion = Callable[[int], np.ndarray]  # frame -> (2, 3), where a point of frame 0 is then


@pytest.mark.parametrize("count", [0, 1, 32_000, 32_001, 70_000])
def test_any_number_of_points_is_looked_up(count: int) -> None:
    field, random = pixel_grid(H, W), np.random.default_rng(count)
    points = random.uniform((0, 0), (W - 1, H - 1), (count, 2)).astype(np.float32)
    found = sample_at(field, points)
    assert found.shape == (count, 2)
    # a field of its own coordinates; OpenCV looks at the nearest thirty-second of a pixel
    assert np.abs(found - points).max(initial=0) <= 1 / 64 + 1e-4
    patches = look_up(field[..., 0].astype(np.uint8), np.repeat(np.rint(points)[:, None], 3, axis=1))
    assert np.array_equal(patches, np.repeat(np.rint(points[:, :1]), 3, axis=1))


def turn(angle: float, zoom: float, shift: tuple[float, float]) -> np.ndarray:
    """Rotation (radians) and zoom about the picture's centre, then a shift in px."""
    matrix = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([matrix, CENTRE - matrix @ CENTRE + shift])


def make_texture(seed: int) -> np.ndarray:
    """Clouds of several scales, float32 (480, 640); the frame is cut out around (320, 240)."""
    rng = np.random.default_rng(seed)
    texture = np.full((480, 640), 120, np.float32)
    for step, strength in ((64, 35), (24, 25), (8, 18), (4, 8)):
        noise = rng.standard_normal((480 // step, 640 // step)).astype(np.float32)
        texture += strength * cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
    return texture


def render(texture: np.ndarray, motion: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    to_texture = np.column_stack([np.eye(2), [320 - W / 2, 240 - H / 2]])
    back = cv2.invertAffineTransform(motion)
    matrix = np.column_stack([back[:, :2], back[:, 2] + to_texture[:, 2]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    frame = cv2.warpAffine(texture, matrix, (W, H), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return frame + noise.normal(0, 1.5, frame.shape)


def make_clip(motion: Motion) -> np.ndarray:
    texture, noise = make_texture(7), np.random.default_rng(8)
    return np.stack([np.clip(render(texture, motion(t), noise), 0, 255).astype(np.uint8) for t in range(T)])


def true_tracks(points: np.ndarray, motion: Motion, start: int) -> np.ndarray:
    """Where points of frame ``start`` are in every frame, (P, T, 2) px."""
    world = move_affine(points, cv2.invertAffineTransform(motion(start)))
    return np.stack([move_affine(world, motion(t)) for t in range(T)], axis=1)


def is_inside(xy: np.ndarray, margin: float = 0.0) -> np.ndarray:
    return np.all((xy >= margin) & (xy <= np.array([W - 1, H - 1]) - margin), axis=-1)


MOTIONS: dict[str, Motion] = {
    "translation": lambda t: turn(0, 1, (4.3 * t, -1.7 * t)),
    "rotation and zoom": lambda t: turn(0.03 * t, 1.025**t, (0, 0)),
    "oscillation": lambda t: turn(0.02 * np.sin(t), 1, (9 * np.sin(0.9 * t), 6 * np.cos(0.7 * t) - 6)),
    "stillness": lambda t: turn(0, 1, (0, 0)),
}


@pytest.mark.parametrize("name", MOTIONS)
def test_tracks_follow_known_motion(name: str) -> None:
    motion = MOTIONS[name]
    tracks = track_segment(make_clip(motion), GRID)
    points = grid_points(W, H, GRID)
    expected = np.concatenate([true_tracks(points, motion, 0), true_tracks(points, motion, T - 1)])
    error = np.linalg.norm(tracks.xy - expected, axis=-1)
    for half in (slice(0, GRID**2), slice(GRID**2, None)):
        seen = tracks.visible[half]
        assert np.median(error[half][seen]) < 0.5
        assert np.mean(error[half][seen] > 3) < 0.01
        # near the border the interpolated truth and the tracker may disagree on which side a point is: 2 px of room
        assert np.mean(seen[is_inside(expected[half], 2)]) > 0.95
        assert not np.any(seen[~is_inside(expected[half], -2)])


def test_points_behind_a_passing_disc_are_hidden_and_found_again() -> None:
    motion, radius = MOTIONS["stillness"], 30
    frames = make_clip(motion)
    other = make_texture(9) + cv2.resize(np.random.default_rng(4).normal(0, 40, (160, 213)), (640, 480))
    centres = [np.array([-40.0 + 28 * t, 80.0]) for t in range(T)]
    grid = pixel_grid(H, W)
    inside = np.stack([np.linalg.norm(grid - c, axis=-1) < radius for c in centres])
    for frame, mask, centre in zip(frames, inside, centres, strict=True):
        disc = cv2.warpAffine(other, np.array([[1, 0, centre[0] - 300], [0, 1, centre[1] - 200]]), (W, H))
        frame[mask] = np.clip(disc[mask], 0, 255).astype(np.uint8)
    points = grid_points(W, H, GRID)
    away = np.stack([np.linalg.norm(points - c, axis=-1) - radius for c in centres], axis=1)
    tracks = track_segment(frames, GRID)
    still = slice(0, GRID**2)  # the disc comes in after the first frame
    seen, error = tracks.visible[still], np.linalg.norm(tracks.xy[still] - points[:, None], axis=-1)
    # a patch at the rim shows both; 6 px is the half width of what the matcher looks at
    assert np.mean(seen[away < -6]) < 0.1
    assert np.mean(seen[away > 6]) > 0.9
    assert np.median(error[seen]) < 0.5
    assert np.mean(error < 1.5) > 0.95  # hidden samples lie between the visible ones, not on the disc
    passed = (away.min(axis=1) < -6) & (away[:, -1] > 6)
    assert np.mean(seen[passed, -1]) > 0.9


def test_grid_lies_where_the_reference_puts_it() -> None:
    points = grid_points(512, 320, 64)
    assert points.shape == (4096, 2)
    # steps of 496/63 px across and 368/63 model px, scaled by 319/383, down
    np.testing.assert_allclose(points[[0, 1, 64, -1]], [[8, 6.66], [15.87, 6.66], [8, 11.53], [504, 313.17]], atol=0.01)
    np.testing.assert_allclose(grid_points(512, 320, 1), [[256, 160]], atol=0.5)


def test_every_track_starts_visible_on_its_grid() -> None:
    tracks = track_segment(make_clip(MOTIONS["translation"])[:5], GRID)
    points = grid_points(W, H, GRID)
    assert tracks.xy.shape == (2 * GRID**2, 5, 2)
    np.testing.assert_array_equal(tracks.xy[: GRID**2, 0], points)
    np.testing.assert_array_equal(tracks.xy[GRID**2 :, -1], points)
    assert tracks.visible[: GRID**2, 0].all()
    assert tracks.visible[GRID**2 :, -1].all()


def test_result_does_not_depend_on_the_thread_count_and_leaves_it_alone() -> None:
    frames = make_clip(MOTIONS["rotation and zoom"])[:4]
    before = cv2.getNumThreads()
    try:
        results = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            results.append(track_segment(frames, GRID))
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(results[0].xy, results[1].xy)
    np.testing.assert_array_equal(results[0].visible, results[1].visible)


def test_thread_count_is_restored_after_nested_blocks_and_errors() -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        with contextlib.suppress(KeyError), one_cv_thread():
            with one_cv_thread():
                assert cv2.getNumThreads() == 1
            assert cv2.getNumThreads() == 1
            raise KeyError
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_black_and_short_segments_stand_still(count: int) -> None:
    tracks = track_segment(np.zeros((count, 16, 32), np.uint8), 4)
    assert tracks.visible.all()
    np.testing.assert_allclose(tracks.xy, np.repeat(tracks.xy[:, :1], count, axis=1), atol=1e-3)


def test_hidden_samples_are_interpolated_between_visible_ones_and_held_outside() -> None:
    xy = np.zeros((2, 6, 2), np.float32)
    xy[:, :, 0] = [[9, 0, 9, 9, 6, 9], [1, 2, 3, 4, 5, 6]]
    visible = np.array([[0, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1]], bool)
    np.testing.assert_allclose(fill_hidden(xy, visible)[..., 0], [[0, 0, 2, 4, 6, 6], [1, 2, 3, 4, 5, 6]], atol=1e-6)


def test_camera_fit_finds_the_motion_of_the_majority() -> None:
    rng = np.random.default_rng(3)
    start = rng.uniform((0, 0), (W, H), (600, 2)).astype(np.float32)
    camera = turn(0.1, 1.1, (5, -3))
    end = move_affine(start, camera)
    end[:150] += rng.uniform(-40, 40, (150, 2)).astype(np.float32)
    fitted = fit_camera(start, end)
    assert fitted is not None
    # a quarter of outliers under Cauchy weights moves the fit by well under a tenth of a pixel
    np.testing.assert_allclose(move_affine(start, fitted), move_affine(start, camera), atol=0.1)
    assert fit_camera(start, start + 5) is None  # a shift needs no warp
    assert fit_camera(start, rng.uniform(0, 200, (600, 2)).astype(np.float32)) is None
    assert fit_camera(start[:50], end[:50]) is None


def test_initial_flow_of_any_float_type_is_honoured_and_left_alone() -> None:
    # a shift of 40 px is beyond what the matcher finds from nothing at this size
    frames = make_clip(lambda t: turn(0, 1, (40.0 * t, 0)))
    initial = np.full((H, W, 2), (40.0, 0.0))
    matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    with one_cv_thread():
        helped = match_dense(matcher, frames[0], frames[1], initial)
        alone = match_dense(matcher, frames[0], frames[1], np.zeros((H, W, 2)))
    assert np.all(initial == (40.0, 0.0))
    inner = slice(20, -20), slice(20, -70)
    assert np.median(np.abs(helped[inner] - (40, 0))) < 0.5
    assert not np.array_equal(helped, alone)


@pytest.mark.parametrize(
    ("luma", "grid"),
    [
        (np.zeros((4, 32, 32), np.float32), 8),
        (np.zeros((32, 32), np.uint8), 8),
        (np.zeros((0, 32, 32), np.uint8), 8),
        (np.zeros((4, 8, 32), np.uint8), 8),
        (np.zeros((4, 32, 32), np.uint8), 0),
    ],
)
def test_bad_input_is_refused(luma: np.ndarray, grid: int) -> None:
    with pytest.raises(ConfigError, match="expected"):
        track_segment(luma, grid)
