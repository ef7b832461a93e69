"""Profile actdiff: points that are followed, and plans that fit the budget and decode to what was planned."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise
from typing import cast

import numpy as np
import pytest

from actdiff_samples import H, W, grey, sliding, texture
from conftest import MakeClip
from test_codec import write_clip
from tgvc.analysis.cotracker import NetworkTracker
from tgvc.analysis.coverage import Score, Structure
from tgvc.analysis.flow import pixel_grid
from tgvc.analysis.following import FlowFollower, KeyScan, NetworkFollower, shrink_pictures
from tgvc.bitstream.container import Reader
from tgvc.bitstream.motion import anchor_grid, anchor_points
from tgvc.bitstream.tracks import decode_motion, encode_motion
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.decoder import Decoder
from tgvc.encoder import Encoder
from tgvc.errors import ConfigError
from tgvc.planning.actdiff import ActivePlanner
from tgvc.planning.group import Task
from tgvc.planning.keyladder import LADDER, even_keys, limits_at
from tgvc.summary import read_segments
from tgvc.types import Picture, TrackSet, picture_planes


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


@pytest.mark.parametrize(("lost", "denser"), [(0.0, False), (0.003, True), (0.05, False)])
def test_where_little_moves_stricter_rungs_lead_to_every_frame(
    lost: float, denser: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``lost``: coverage that every further frame loses."""

    class Slow:
        def __init__(self, start: int) -> None:
            self.start = start

        def score(self, frame: int) -> Score:
            return Score(1 - lost * (frame - self.start), 0.0)

    planner = ActivePlanner(0, 1)
    monkeypatch.setattr(planner, "_scan", lambda task, start: Slow(start))
    counts = [len(keys) for keys in planner._key_ladder(Task([grey(np.zeros((H, W)))] * 64, 4000.0))]
    assert counts == sorted(set(counts), reverse=True)
    assert counts[0] == 64
    if denser:  # from rung to rung no more than a bit above an octave, and the published limits' rungs are still there
        assert all(a <= 2.2 * b for a, b in pairwise(counts[: counts.index(8) + 1])), counts
    else:  # a picture that stands still, and one of which the first rung nearly takes every frame, have no more
        assert len(counts) <= 2 + len(LADDER)


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
