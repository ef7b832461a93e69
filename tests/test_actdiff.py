"""Profile actdiff: how long a key frame lasts, which trajectories are bought, and that both fit the budget."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from itertools import pairwise
from typing import cast

import numpy as np
import pytest

from conftest import MakeClip
from test_codec import write_clip
from tgvc.analysis.cotracker import NetworkTracker
from tgvc.analysis.coverage import (
    Limits,
    Score,
    Structure,
    cover_video,
    group_length,
    score_frame,
    splat_sources,
)
from tgvc.analysis.flow import pixel_grid
from tgvc.analysis.following import FlowFollower, KeyScan, NetworkFollower, shrink_pictures
from tgvc.analysis.selection import (
    MotionGuess,
    best_per_cell,
    cell_size,
    edge_weights,
    fit_bandwidth,
    rank_moving,
    spread_points,
)
from tgvc.bitstream.container import Reader
from tgvc.bitstream.motion import anchor_grid, anchor_points
from tgvc.bitstream.tracks import MotionCoder, decode_motion, encode_motion
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.decoder import Decoder
from tgvc.encoder import Encoder
from tgvc.errors import ConfigError
from tgvc.planning.actdiff import LADDER, ActivePlanner, even_keys, limits_at
from tgvc.planning.group import Task
from tgvc.planning.sampling import PUBLISHED_COUNT, Moving, buy_as_published, buy_greedily, match_bits
from tgvc.summary import read_segments
from tgvc.types import Picture, TrackSet, join_planes, picture_planes

W, H = 128, 96


def grey(luma: np.ndarray) -> Picture:
    height, width = luma.shape
    flat = np.full((height // 2, width // 2), 128, np.uint8)
    return join_planes(luma.astype(np.uint8), flat, flat)


def texture(seed: int, shape: tuple[int, int] = (H, W)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.uniform(30, 220, (shape[0] // 4 + 1, shape[1] // 4 + 1))
    return np.kron(small, np.ones((4, 4)))[: shape[0], : shape[1]].astype(np.uint8)


def sliding(pixels: int, frames: int) -> list[np.ndarray]:
    """A wide texture of which each frame shows a part ``pixels`` further to the right."""
    wide = texture(3, (H, W + pixels * frames))
    return [wide[:, pixels * n : pixels * n + W] for n in range(frames)]


def all_seen(places: np.ndarray) -> np.ndarray:
    return np.ones(places.shape[:2], np.bool_)


# --- coverage


def test_a_shifted_key_frame_covers_what_the_shift_leaves() -> None:
    places = pixel_grid(H, W) + np.float32([10, 0])
    sources = splat_sources(places, all_seen(places))
    assert (sources[:, :10] == -1).all()
    assert (sources >= 0).mean() == (W - 10) / W
    assert np.array_equal(sources[:, 10:], np.arange(H * W).reshape(H, W)[:, :-10])


def test_an_enlarged_key_frame_leaves_the_holes_that_it_must() -> None:
    places = pixel_grid(H, W) * np.float32(2)
    # every other pixel of every other row is hit, exactly once
    assert (splat_sources(places, all_seen(places)) >= 0).mean() == 0.25


def test_pixels_that_are_hidden_or_leave_the_picture_cover_nothing() -> None:
    places = pixel_grid(H, W)
    usable = all_seen(places)
    usable[:48] = False
    assert (splat_sources(places, usable) >= 0).sum() == 48 * W
    assert (splat_sources(places - np.float32([W, 0]), all_seen(places)) == -1).all()


def test_where_pixels_meet_the_nearest_is_seen_and_among_equals_the_first() -> None:
    places = np.zeros((2, 2, 2), np.float32)
    usable = np.ones((2, 2), np.bool_)
    assert splat_sources(places, usable)[0, 0] == 0
    assert splat_sources(places, usable, np.float32([[1, 1], [5, 2]]))[0, 0] == 2
    assert splat_sources(places, usable, np.float32([[1, 7], [7, 2]]))[0, 0] == 1


def test_distance_is_0_for_the_same_picture_and_its_brightness_and_near_1_for_another() -> None:
    a, b = (texture(n)[..., None].astype(np.float32) for n in (1, 2))
    everywhere = np.arange(H * W).reshape(H, W)
    # sums of products of float32 in another order: a few units in the last place
    assert score_frame(a, a, everywhere, Structure()) == pytest.approx(Score(1.0, 0.0), abs=1e-6)
    assert score_frame(a, a + 20, everywhere, Structure()).distance < 0.01
    assert score_frame(a, b, everywhere, Structure()).distance > 0.7


def test_holes_change_the_published_distance_only() -> None:
    a = texture(1)[..., None].astype(np.float32)
    sources = np.arange(H * W).reshape(H, W).copy()
    sources[::2] = -1
    wrong = np.roll(a, 31, axis=1)
    assert score_frame(a, a, sources, Structure()) == pytest.approx(Score(0.5, 0.0), abs=1e-6)
    ours, published = (score_frame(a, wrong, sources, Structure(), parity=p).distance for p in (False, True))
    assert ours > 0.2
    assert published != pytest.approx(ours, rel=0.05)
    assert score_frame(a, wrong, np.full((H, W), -1), Structure()) == Score(0.0, 1.0)


# --- three failures


@pytest.mark.parametrize(
    ("failed", "length"),
    [
        ("", 1),
        (".", 2),
        ("........", 9),
        ("...xxx..", 4),  # frames 0 to 3: the last one before the first failure
        ("..x.xx..xxx", 9),  # two in a row are forgiven
        ("xxx", 2),  # never fewer than two frames
        (".xxxxxx", 2),
        ("xx.xx.xx.", 10),
    ],
)
def test_three_failures_in_a_row_end_a_group_at_the_first_of_them(failed: str, length: int) -> None:
    for parity in (False, True):
        assert group_length([c == "x" for c in failed], 49, parity=parity) == length


def test_no_more_frames_are_looked_at_than_needed() -> None:
    asked = []

    def look(n: int) -> bool:
        asked.append(n)
        return n >= 4

    assert group_length((look(n) for n in range(1, 40)), 33) == 4
    assert asked == [1, 2, 3, 4, 5, 6]


def test_failures_that_the_end_interrupts_count_except_in_the_published_rule() -> None:
    failed = [False, False, False, True, True]
    assert group_length(failed, 33) == 4
    assert group_length(failed, 33, parity=True) == 6
    assert group_length([False] * 60, 33) == 33


def test_a_cut_costs_two_key_frames_and_is_never_a_tail_of_painted_frames() -> None:
    cut = 7

    def score(key: int, frame: int) -> Score:
        return Score(1.0, 0.0) if (key < cut) == (frame < cut) else Score(0.1, 1.0)

    assert cover_video(20, score, Limits(0.7, 0.3), 33) == (0, 6, 7, 19)
    for place in range(1, 20):
        cut = place
        keys = cover_video(20, score, Limits(0.7, 0.3), 33)
        assert {place - 1, place} <= set(keys)


def test_a_missed_cut_in_pictures_ends_the_group_before_it() -> None:
    frames = [grey(texture(1))] * 6 + [grey(texture(2))] * 6
    plan = ActivePlanner(0, 1).plan(Task(frames, 6000.0))
    assert {5, 6} <= set(plan.keys)


def test_groups_share_their_key_frames_and_are_never_too_long() -> None:
    keys = cover_video(200, lambda _, __: Score(1.0, 0.0), Limits(0.7, 0.3), 33)
    assert keys == (0, 32, 64, 96, 128, 160, 192, 199)
    asked = []

    def score(key: int, frame: int) -> Score:
        asked.append(frame - key)
        return Score(1.0, 0.0)

    cover_video(200, score, Limits(0.7, 0.3), 33)
    assert max(asked) == 32  # a tracker has followed no more
    assert cover_video(1, lambda _, __: Score(0.0, 1.0), Limits(0.7, 0.3), 33) == (0,)
    assert cover_video(4, lambda _, __: Score(0.0, 1.0), Limits(0.7, 0.3), 33) == (0, 1, 2, 3)


def test_stricter_limits_never_need_fewer_key_frames() -> None:
    planes = shrink_pictures(sliding(3, 24), 1)
    scans: dict[int, KeyScan] = {}

    def score(key: int, frame: int) -> Score:
        looks = [p[..., None].astype(np.float32) for p in planes]
        anchors = np.zeros((1, 1, 2), np.float32)
        if key not in scans:
            scans[key] = KeyScan(FlowFollower(planes, 1), looks, key, anchors, Structure())
        return scans[key].score(frame)

    counts = [len(cover_video(24, score, Limits(r.coverage, r.distance * Structure.limit), 33)) for r in LADDER]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[-1]


# --- following


def test_tracks_of_a_slide_are_known_and_end_where_the_picture_does() -> None:
    planes = shrink_pictures(sliding(4, 9), 1)
    looks = [p[..., None].astype(np.float32) for p in planes]
    across, down = anchor_grid(W, H)
    anchors = anchor_points(np.stack(np.meshgrid(np.arange(across), np.arange(down)), -1).reshape(-1, 2))
    scan = KeyScan(FlowFollower(planes, 1), looks, 0, anchors.reshape(down, across, 2), Structure())
    tracks = scan.tracks(9)
    gone = anchors[:, 0] < 4 * 8 - 2
    # flow of a texture without noise; a quarter of a px is a twelfth of what a trajectory is sent with at most
    moved = tracks.xy[~gone, 8] - anchors[~gone]
    assert np.median(np.abs(moved - [-32, 0]).max(axis=1)) < 0.25
    assert tracks.visible[~gone, 8].mean() > 0.7  # blocks of 4 px without a pattern look like each other
    assert not tracks.visible[anchors[:, 0] < 4 * 8 - 8, 8].any()
    # at most the share of the key frame that is still there: 1 - 32 / 128
    assert 0.5 < scan.score(8).coverage <= 0.75


class Grid:
    """A tracker of 8 x 8 points that move by (2, 1) px per frame; those of the upper half are hidden from frame 3."""

    def track_segment(self, pictures: np.ndarray) -> TrackSet:
        y, x = np.meshgrid(np.linspace(6, H - 10, 8), np.linspace(5, W - 12, 8), indexing="ij")
        start = np.stack([x, y], -1).reshape(-1, 1, 2)
        xy = (start + np.arange(len(pictures))[None, :, None] * np.array([2.0, 1.0])).astype(np.float32)
        seen = np.ones(xy.shape[:2], np.bool_)
        seen[:32, 3:] = False
        return TrackSet(np.concatenate([xy, xy]), np.concatenate([seen, seen]))


class CountingGrid(Grid):
    def __init__(self) -> None:
        self.asked: list[int] = []

    def track_segment(self, pictures: np.ndarray) -> TrackSet:
        self.asked.append(len(pictures))
        return super().track_segment(pictures)


def test_a_network_tracker_is_spread_over_all_pixels() -> None:
    def pictures(a: int, b: int) -> np.ndarray:
        return np.zeros((b - a, H, W, 3), np.uint8)

    found = list(NetworkFollower(Grid(), pictures, 2, 5).follow(0))
    assert len(found) == 4
    places, seen = found[3]
    assert np.allclose(places - pixel_grid(H // 2, W // 2), [4.0, 2.0], atol=1e-4)
    assert seen[30, 10]
    assert not seen[5, 10]
    assert found[0][1][5, 10]


# --- selection


def moving(
    moves: np.ndarray, weights: np.ndarray | None = None, visible: np.ndarray | None = None
) -> tuple[Moving, MotionCoder]:
    """All anchors of a picture of W x H px with given motion float (rows, columns, n, 2)."""
    across, down = anchor_grid(W, H)
    cells = np.stack(np.meshgrid(np.arange(across), np.arange(down)), -1).reshape(-1, 2).astype(np.int32)
    flat = np.ascontiguousarray(moves.reshape(-1, *moves.shape[2:]), np.float32)
    n = flat.shape[1]
    made = Moving(
        length=n + 1,
        size=(W, H),
        cells=cells,
        points=anchor_points(cells),
        moves=flat,
        visible=np.ones((len(flat), n + 1), np.bool_) if visible is None else visible,
        weights=np.ones(len(flat), np.float32) if weights is None else weights.ravel().astype(np.float32),
        model=np.zeros((n, 4, 2), np.int32),
        model_step=12,
        track_step=18,
    )
    return made, MotionCoder((across, down))


def object_moves(frames: int = 6) -> np.ndarray:
    """A still scene (24, 32 cells) with an object of 14 x 12 cells on its right that moves 3 px per frame.

    It is as wide as a lone trajectory reaches: a smaller one would have to be fenced in by still ones first.
    """
    moves = np.zeros((24, 32, frames, 2), np.float32)
    moves[5:19, 19:31] = 3 * np.arange(1, frames + 1)[:, None] * np.float32([1, 0])
    return moves


def test_edges_are_strong_where_they_are_planted_and_nothing_is_invented() -> None:
    luma = np.full((H, W), 90, np.uint8)
    luma[40:60, 60:90] = 200
    weights = edge_weights(luma, 24, 32)
    assert weights.shape == (24, 32)
    assert weights[10, 18] == 1.0  # on the upper side of the square
    assert weights[2, 2] == 0
    assert weights[12, 18] < 0.2  # inside it
    assert edge_weights(np.full((H, W), 90, np.uint8), 24, 32).max() == 0


def test_greedy_begins_with_the_object_and_edges_decide_between_equal_motions() -> None:
    scene, coder = moving(object_moves())
    line = buy_greedily(coder, scene, 1.0, 8)
    y, x = scene.cells[line.chosen[0]][::-1]
    assert 5 <= y < 19
    assert 19 <= x < 31
    two = object_moves() + object_moves()[:, ::-1]  # a second object, on the left
    flat = np.full((24, 32), 0.05)
    flat[:, 16:] = 1.0  # the right one has edges, the left one is flat ground
    scene, coder = moving(two, flat)
    first = buy_greedily(coder, scene, 0.0, 1).chosen[0]
    assert scene.cells[first][0] >= 17
    scene, coder = moving(two, flat[:, ::-1])
    first = buy_greedily(coder, scene, 0.0, 1).chosen[0]
    assert scene.cells[first][0] < 13


def test_greedy_stops_when_a_bit_gains_too_little_not_at_a_count() -> None:
    rng = np.random.default_rng(0)
    moves = object_moves() + rng.normal(0, 0.3, (24, 32, 6, 2)).astype(np.float32)
    scene, coder = moving(moves)
    lines = [buy_greedily(coder, scene, rate, 96) for rate in (32.0, 4.0, 1.0)]
    counts = [len(line.chosen) for line in lines]
    assert 0 < counts[0] < counts[-1] < 96
    for rate, line in zip((32.0, 4.0, 1.0), lines, strict=True):
        assert (line.rates >= rate).all()
    # a dearer line is the beginning of a cheaper one
    assert lines[-1].chosen[: lines[-1].count_at(32.0)] == lines[0].chosen[: lines[-1].count_at(32.0)]
    assert buy_greedily(coder, scene, math.inf, 96).chosen == ()


def test_bits_of_a_line_are_those_of_the_coder() -> None:
    scene, coder = moving(object_moves())
    line = buy_greedily(coder, scene, 1.0, 8)
    assert line.bits[0] == coder.cost_bits(line.cut(0))
    assert line.bits[-1] == coder.cost_bits(line.cut(len(line.chosen)))
    assert np.all(np.diff(line.bits) > 0)


def test_what_is_hidden_neither_counts_nor_guides() -> None:
    moves, seen = object_moves(), np.ones((24, 32, 7), np.bool_)
    seen[5:19, 19:31, 1:] = False
    scene, coder = moving(moves, visible=seen.reshape(-1, 7))
    assert buy_greedily(coder, scene, 0.0, 8).chosen == ()


def test_a_lone_trajectory_fills_the_published_guess_and_fades_in_ours() -> None:
    scene, _ = moving(object_moves())
    index = 12 * 32 + 25
    far = 0
    for pull, wanted in ((0.0, 18.0), (0.05, 0.0)):
        guess = MotionGuess(scene.points, scene.moves, scene.visible[:, 1:], scene.weights, 20.0, pull)
        guess.keep(guess.try_point(index, scene.moves[index], np.ones(6, np.bool_)))
        # at a still point the residual is the guess itself, summed over 3 + 6 + ... + 18 px
        assert guess.residual[far] == pytest.approx(wanted * 3.5, abs=0.1)


def test_the_published_choice_takes_300_and_begins_on_edges() -> None:
    rng = np.random.default_rng(1)
    edges = np.zeros((24, 32), np.float32)
    edges[::3, ::3] = 0.9
    scene, coder = moving(rng.normal(0, 4, (24, 32, 3, 2)), edges)
    scene = Moving(**{**scene.__dict__, "transform": "dpcm"})
    line = buy_as_published(coder, scene, edges.ravel())
    assert len(line.chosen) == len(set(line.chosen))
    assert len(line.chosen) <= PUBLISHED_COUNT
    assert all(edges.ravel()[i] >= 0.5 for i in line.chosen[:40])
    assert line.cut(5).transform == "dpcm"


def test_the_width_of_the_bells_is_that_of_the_motion() -> None:
    y, x = np.mgrid[:24, :32] * 4.0 + 2
    points = np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)
    seen, even = np.ones((768, 1), np.bool_), np.ones(768, np.float32)
    anchors = spread_points(points, (W, H), 24)
    smooth = np.stack([x / 8, y / 8], -1).reshape(-1, 1, 2).astype(np.float32)
    rough = np.random.default_rng(0).normal(0, 3, (768, 1, 2)).astype(np.float32)
    unit = cell_size((W, H), 24)
    assert fit_bandwidth(points, smooth, seen, even, anchors, unit) < fit_bandwidth(
        points, rough, seen, even, anchors, unit
    )
    assert fit_bandwidth(points, smooth, seen, even, anchors[:0], unit) == unit


def test_cells_give_their_best_point_and_even_ones_are_spread() -> None:
    points = anchor_points(np.stack(np.meshgrid(np.arange(32), np.arange(24)), -1).reshape(-1, 2).astype(np.int32))
    values = np.arange(768, dtype=np.float32)
    best = best_per_cell(values, points, (W, H), 12)
    assert len(best) == 12
    assert best[0] == 767
    assert (np.diff(values[best]) < 0).all()
    assert len(best_per_cell(values * 0, points, (W, H), 12)) == 0
    spread = spread_points(points, (W, H), 12)
    assert len(spread) == 12
    gaps = np.linalg.norm(points[spread][:, None] - points[spread][None], axis=-1) + 1e6 * np.eye(12)
    assert gaps.min() > 0.8 * 32  # cells of 32 px
    moves = np.zeros((768, 2, 2), np.float32)
    moves[100, 1] = 9
    assert rank_moving(moves, points, (W, H), 12)[0] == 100


def test_other_choices_take_no_more_bits_than_the_greedy_one() -> None:
    rng = np.random.default_rng(2)
    scene, coder = moving(object_moves() + rng.normal(0, 0.3, (24, 32, 6, 2)).astype(np.float32))
    line = buy_greedily(coder, scene, 1.0, 40)
    other = match_bits(coder, line, spread_points(scene.points, scene.size, 80))
    assert other.chosen
    for rate in (1.0, 2.0, 4.0, 8.0, 1e9):
        cut = coder.cost_bits(other.cut(other.count_at(rate)))
        assert cut <= line.bits[line.count_at(rate)] + 1e-6


# --- the profile


@pytest.fixture(scope="module")
def scene() -> list[Picture]:
    """The lower half slides 3 px per frame behind a bar of 16 px, which stands still as the upper half does."""
    frames, still = [], texture(5)
    for slid in sliding(3, 18):
        luma = still.copy()
        luma[40:] = slid[40:]
        luma[:, 60:76] = 40 + 8 * (np.arange(H)[:, None] // 8 % 2)
        frames.append(grey(luma))
    return frames


def encode(frames: list[Picture], path, **options: object) -> tuple[bytes, list[Picture]]:
    shown: list[Picture] = []
    out = io.BytesIO()
    threads = options.pop("threads", 1)
    config = EncoderConfig(profile="actdiff", **options)
    encoder = Encoder(config, threads=threads)
    encoder.encode(write_clip(frames, path / "clip.y4m"), out, on_group=lambda p, _: shown.extend(p.reconstruction))
    return out.getvalue(), shown


def test_the_stream_meets_its_budget_and_decodes_to_what_was_planned(scene, tmp_path) -> None:
    for bpp in (0.1, 0.3):
        data, shown = encode(scene, tmp_path, bpp=bpp, effort=1)
        assert len(data) <= bpp * W * H * len(scene) / 8
        decoded = [frame.picture for frame in Decoder().frames(io.BytesIO(data))]
        assert all(np.array_equal(a, b) for a, b in zip(decoded, shown, strict=True))
        assert Reader(io.BytesIO(data)).header.profile == 2


def test_bytes_do_not_depend_on_the_threads(scene, tmp_path) -> None:
    streams = {encode(scene, tmp_path, bpp=0.2, effort=1, threads=n)[0] for n in (1, 3)}
    assert len(streams) == 1


def test_occlusion_runs_are_sent_and_survive(scene, tmp_path) -> None:
    data, _ = encode(scene, tmp_path, bpp=0.4, effort=1, spacing=17)
    (group,) = Reader(io.BytesIO(data))
    (segment,) = read_segments(group, W, H)
    assert segment.mode == "G"
    hidden = ~segment.visible
    assert hidden.any()
    for row in hidden:
        runs = "".join("x" if h else " " for h in row)
        assert " x " not in runs  # a flicker of one frame is not worth a run
        assert not row[0]
    # a stream without those runs is another one, shorter and worse to look at
    seen = replace(segment, visible=np.ones_like(segment.visible))
    grid = anchor_grid(W, H)
    assert decode_motion(encode_motion([segment], grid), [18], grid) == [segment]
    assert len(encode_motion([seen], grid)) < len(group.motion)


def test_published_constants_send_whole_px_from_the_first_key(scene) -> None:
    plan = ActivePlanner(0, 1, parity=True).plan(Task(scene, 4000.0))
    sent = [s for s in plan.segments if len(s.anchors)]
    assert sent
    for segment in sent:
        assert segment.transform == "dpcm"
        assert segment.track_step == 18  # 1 px
        assert not segment.global_coefs.any()
        assert not segment.origin.any()
    assert plan.fits


def test_a_coverage_that_is_asked_for_is_the_only_rung() -> None:
    frames, sets = [grey(luma) for luma in sliding(3, 24)], []
    for coverage in (0.95, 0.7, 0.4):
        assert limits_at(coverage).coverage == coverage
        planner = ActivePlanner(0, 1, coverage=coverage)
        planner.look(frames)
        (keys,) = planner._key_ladder(Task(frames, 3000.0))
        sets.append(keys)
    assert len(sets[0]) > len(sets[1]) > len(sets[2])
    assert limits_at(0.7).distance == 1.0
    # a slide of 3 px of 128 per frame: 0.7 is left after 12 frames, and flow loses some of the border before
    assert 6 <= sets[1][1] <= 13


def test_fixed_groups_have_as_many_keys_and_even_gaps(make_clip: MakeClip) -> None:
    clip = make_clip([(0.0, 0.0)] * 9 + [(3.0 * n, 0.0) for n in range(15)], (W, H))
    ladders = []
    for gops in ("adaptive", "fixed"):
        planner = ActivePlanner(0, 1, gops=gops)
        task = Task(clip, 3000.0)
        planner.look(task.pictures)
        ladders.append(planner._key_ladder(task))
    assert {len(k) for k in ladders[1]} <= {len(k) for k in ladders[0]}
    for keys in ladders[1]:
        gaps = [b - a for a, b in pairwise(keys)]
        assert max(gaps) - min(gaps) <= 1
    assert even_keys(66, 2) == (0, 22, 43, 65)  # no gap beyond what a stream can hold


def test_without_tails_frames_are_painted_from_the_key_before_alone(scene) -> None:
    task = Task(scene, 3000.0)
    both, one = (ActivePlanner(0, 1, spacing=8, tails=t).plan(task) for t in (True, False))
    assert one.keys == both.keys
    assert one.verdict.psnr < both.verdict.psnr
    planes = [picture_planes(one.reconstruction[n])[0] for n in (0, 8)]
    assert all(p.shape == (H, W) for p in planes)


def test_a_decoder_that_is_told_so_paints_from_the_first_key_alone(scene, tmp_path) -> None:
    data, shown = encode(scene, tmp_path, bpp=0.3, effort=0, spacing=8, ends="first")
    one, both = (
        [f.picture for f in Decoder(DecoderConfig(ends=e)).frames(io.BytesIO(data))] for e in ("first", "both")
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, shown, strict=True))
    same = [np.array_equal(a, b) for a, b in zip(one, both, strict=True)]
    assert [n for n, equal in enumerate(same) if equal] == [0, 8, 16, 17]  # the key pictures
    with pytest.raises(ConfigError, match="ends='first': expected generator=warp"):
        DecoderConfig(generator="latent", ends="first")


def test_unknown_ways_of_choosing_are_refused() -> None:
    with pytest.raises(ConfigError, match="gops='never'"):
        ActivePlanner(0, gops="never")
    with pytest.raises(ConfigError, match="points='all'"):
        EncoderConfig(profile="actdiff", points="all")
    with pytest.raises(ConfigError, match="expected no spacing=8"):
        ActivePlanner(0, gops="fixed", spacing=8)
    with pytest.raises(ConfigError, match="expected no parity=reference"):
        ActivePlanner(0, points="uniform", parity=True)
    with pytest.raises(ConfigError, match="expected neither"):
        ActivePlanner(0, coverage=0.7, parity=True)


class Everywhere:
    """A distance that is the same everywhere, and looks at colours."""

    channels, limit = 3, 0.3

    def __init__(self, distance: float) -> None:
        self.distance, self.shapes = distance, set[tuple[int, ...]]()

    def compare(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        self.shapes |= {first.shape, second.shape}
        return np.full(first.shape[:2], self.distance, np.float32)


def test_a_distance_of_ones_own_is_shown_colours_and_decides(scene) -> None:
    ladders = []
    for distance in (0.0, 1.0):
        perceptual = Everywhere(distance)
        planner = ActivePlanner(0, 1, perceptual=perceptual)
        planner.look(scene)
        ladders.append(planner._key_ladder(Task(scene, 4000.0)))
        assert perceptual.shapes == {(H // 2, W // 2, 3)}
    assert ladders[1] == [tuple(range(18)), (0, 17)]  # 1 is beyond every limit: all rungs are the first one
    assert len(ladders[0]) > 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shortest_videos_are_coded(scene, count) -> None:
    for planner in (ActivePlanner(0, 1), ActivePlanner(0, 1, parity=True), ActivePlanner(0, 1, gops="fixed")):
        plan = planner.plan(Task(scene[:count], 4000.0))
        assert len(plan.reconstruction) == count
        assert (plan.keys[0], plan.keys[-1]) == (0, count - 1)


def test_a_network_tracker_is_asked_once_per_key_frame_for_what_a_group_can_hold(scene) -> None:
    tracker, long = CountingGrid(), [scene[n % 2] for n in range(40)]
    plan = ActivePlanner(0, 1, tracker=cast("NetworkTracker", tracker)).plan(Task(long, 4000.0))
    assert plan.keys[-1] == 39
    assert max(tracker.asked) == 33
    assert len(tracker.asked) <= 40
