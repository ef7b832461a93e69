"""Profile tgvc with networks: what they are shown, how often, and what is refused."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from conftest import MakeClip, MakePicture
from interpolation_samples import KnownNetworks
from tgvc.analysis.clip_embedding import ClipEmbedder
from tgvc.analysis.cotracker import NetworkTracker
from tgvc.analysis.embedding import GistEmbedder
from tgvc.analysis.keyframes import REFERENCE_COUNT, reference_keyframes
from tgvc.config import EncoderConfig
from tgvc.errors import BundleError, ConfigError
from tgvc.models.rgb import to_levels
from tgvc.planning.group import Task
from tgvc.planning.networks import load_embedder, load_tracker
from tgvc.planning.semantic import SemanticPlanner
from tgvc.types import Picture, TrackSet

pytest.importorskip("hdbscan")


class Still:
    """A tracker that finds a grid of points that stand still, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def track_segment(self, pictures: np.ndarray) -> TrackSet:
        self.asked.append(pictures)
        points = np.stack(np.meshgrid(np.arange(8.0, 100, 20), np.arange(8.0, 60, 20)), axis=-1).reshape(-1, 1, 2)
        xy = np.repeat(points, len(pictures), axis=1).astype(np.float32)
        return TrackSet(xy, np.ones(xy.shape[:2], bool))


def small_clip(make_clip: MakeClip, count: int) -> list[Picture]:
    return make_clip([(1.5 * n, 0.0) for n in range(count)], size=(128, 64))


def planner(tracker: Still, **changes: Any) -> SemanticPlanner:
    return SemanticPlanner(0, 2, tracker=cast("NetworkTracker", tracker), **changes)


def test_embeddings_are_unit_vectors_and_the_published_ones_have_more_contrast(make_picture: MakePicture) -> None:
    pictures = [make_picture(seed=n) for n in range(3)]
    nets = KnownNetworks()
    plain, published = ClipEmbedder(nets, 6).embed(pictures), ClipEmbedder(nets, 6, parity=True).embed(pictures)
    assert plain.shape == published.shape == (3, 5)
    assert plain.dtype == np.float32
    assert np.allclose(np.linalg.norm(plain, axis=1), 1, atol=1e-6)
    assert not np.allclose(plain, published, atol=1e-3)
    assert np.array_equal(ClipEmbedder(nets, 6).embed(pictures[1:2]), plain[1:2])
    assert ClipEmbedder(nets, 6).embed([]).shape == (0, 5)


def test_a_tracker_sees_every_segment_once_in_colour(make_clip: MakeClip) -> None:
    tracker, clip = Still(), small_clip(make_clip, 40)
    plan = planner(tracker, matrix=1).plan(Task(clip, 3000.0))
    lengths = [b - a + 1 for a, b in zip(plan.keys, plan.keys[1:], strict=False)]
    assert [len(asked) for asked in tracker.asked] == [n for n in lengths if n > 2]
    first = tracker.asked[0]
    assert first.shape == (lengths[0], 64, 128, 3)
    assert np.array_equal(first, to_levels(clip[: lengths[0]], 1))


def test_a_second_group_is_looked_at_anew(make_clip: MakeClip) -> None:
    tracker = Still()
    both = planner(tracker)
    for shift in (0, 20):
        both.plan(Task(small_clip(make_clip, 20 + shift), 3000.0))
    assert len(tracker.asked) == 3  # one segment of 20 frames, two of 40


def test_published_key_frames_are_for_96_frames_only(make_clip: MakeClip) -> None:
    with pytest.raises(ConfigError, match="a group of 20 frames, expected 96"):
        planner(Still(), parity=True).plan(Task(small_clip(make_clip, 20), 3000.0))
    clip = small_clip(make_clip, REFERENCE_COUNT)
    plan = planner(Still(), parity=True).plan(Task(clip, 6000.0))
    looks = GistEmbedder().embed(clip).astype(np.float64)
    want = reference_keyframes(looks @ looks.T, cut_similarity=GistEmbedder.cut_similarity)
    assert plan.keys == tuple(want.indices.tolist())


@pytest.mark.parametrize("name", ["embedder", "tracker", "parity", "backend"])
def test_networks_of_profile_tgvc_mean_nothing_to_another_profile(name: str) -> None:
    value = {"parity": "reference", "backend": "onnxruntime"}.get(name, "somewhere")
    with pytest.raises(ConfigError, match=f"{name}='{value}': expected profile=tgvc.* beside it"):
        EncoderConfig(**{name: value})
    assert getattr(EncoderConfig(profile="tgvc", **{name: value}), name) == value


def test_a_bundle_of_another_kind_is_refused(tmp_path: Any) -> None:
    from test_bundle_kinds import PUBLISHED, TRACKER, write

    tracks, paints = write(tmp_path / "tracks", TRACKER), write(tmp_path / "paints", PUBLISHED)
    with pytest.raises(BundleError, match="kind 'tracker', expected 'interpolation'"):
        load_embedder(EncoderConfig(profile="tgvc", embedder=str(tracks)), 6, 1)
    with pytest.raises(BundleError, match="kind 'interpolation', expected 'tracker'"):
        load_tracker(EncoderConfig(profile="tgvc", tracker=str(paints)), 1)
    assert load_embedder(EncoderConfig(profile="tgvc"), 6, 1) is None
    assert load_tracker(EncoderConfig(profile="tgvc"), 1) is None
