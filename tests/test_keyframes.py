"""Key frame policies: the reference's literal sequences, the invariants of the general rule, the default embedder."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgvc.analysis.embedding import GistEmbedder
from tgvc.analysis.keyframes import KeyframePolicy, SemanticPolicy, UniformPolicy, reference_keyframes
from tgvc.errors import ConfigError
from tgvc.types import Picture, join_planes

N = 96
ORDER = np.arange(1, N + 1)
FALLING = 1 - 0.001 * np.abs(ORDER[:, None] - ORDER)


def with_cut(frame: int) -> np.ndarray:
    """Falling similarity, but the neighbours ``frame - 1`` and ``frame`` (counted from 1) look different."""
    similarity = FALLING.copy()
    similarity[frame - 2, frame - 1] = similarity[frame - 1, frame - 2] = 0.1
    return similarity


def random_embeddings(seed: int, count: int, speed: float = 0.3) -> np.ndarray:
    walk = np.cumsum(np.random.default_rng(seed).standard_normal((count, 12)) * speed, axis=0) + 1
    return (walk / np.linalg.norm(walk, axis=1, keepdims=True)).astype(np.float32)


def make_picture(seed: int, shift: int = 0, gain: float = 1.0) -> Picture:
    rng = np.random.default_rng(seed)
    planes = []
    for (height, width), centre, light in (((160, 256), 110, gain), ((80, 128), 128, 1), ((80, 128), 128, 1)):
        noise = cv2.resize(rng.standard_normal((8, 10)), (width + 64, height), interpolation=cv2.INTER_CUBIC)
        left = 32 + shift * width // 256
        planes.append(np.clip(light * (centre + 40 * noise[:, left : left + width]), 0, 255).astype(np.uint8))
    return join_planes(*planes)


@pytest.mark.parametrize(
    ("similarity", "expected"),
    [
        (FALLING, [1, 24, 48, 72, 96]),
        (np.full((N, N), 0.9), [1, 2, 31, 60, 89, 96]),
        (with_cut(10), [1, 9, 10, 39, 68, 96]),
        (with_cut(24), [1, 23, 24, 48, 72, 96]),
        (with_cut(30), [1, 24, 29, 30, 59, 88, 96]),
        (with_cut(50), [1, 24, 48, 49, 50, 79, 96]),
        (with_cut(75), [1, 24, 48, 72, 74, 75, 96]),
        (with_cut(96), [1, 24, 48, 72, 95, 96]),
    ],
    ids=["falling", "constant", "cut10", "cut24", "cut30", "cut50", "cut75", "cut96"],
)
def test_reference_rule_gives_the_known_sequences(similarity: np.ndarray, expected: list[int]) -> None:
    assert (reference_keyframes(similarity).indices + 1).tolist() == expected


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_reference_rule_without_a_cut_has_five_or_six_keys_and_no_segment_over_thirty(seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(0.5, 1, (N, N))
    keys = reference_keyframes(np.maximum(noise, noise.T)).indices
    assert len(keys) in (5, 6)
    assert np.diff(keys).max() <= 29


def test_reference_rule_moves_a_late_pick_to_ninety() -> None:
    similarity = FALLING.copy()
    similarity[:, 62] = (
        0.6  # the least alike frame of the third window is the 63rd: forced to 92, then drawn back to 90
    )
    assert (reference_keyframes(similarity).indices + 1).tolist() == [1, 24, 48, 63, 90, 96]


def test_reference_rule_refuses_another_length() -> None:
    with pytest.raises(ConfigError, match="96 frames, use the semantic policy"):
        reference_keyframes(np.ones((50, 50)))


@given(
    count=st.integers(1, 200),
    seed=st.integers(0, 1000),
    slope=st.sampled_from([0.0, 0.001, 10.0]),
    lengths=st.sampled_from([(30, 4), (33, 2), (8, 5), (2, 2), (30, 16)]),
)
@settings(max_examples=80, deadline=None)
def test_semantic_segments_keep_their_bounds(count: int, seed: int, slope: float, lengths: tuple[int, int]) -> None:
    longest, shortest = lengths
    policy = SemanticPolicy(max_length=longest, min_length=shortest, slope=slope)
    gaps = np.diff(policy.select_embedded(random_embeddings(seed, count)).indices)
    assert gaps.sum() == count - 1
    assert np.all(gaps <= longest - 1)
    if count > longest:
        assert np.all(gaps >= shortest - 1)


def test_semantic_rule_takes_the_least_alike_frame_and_slope_lengthens_segments() -> None:
    angles = np.zeros(40)
    angles[17] = 0.8  # one frame looks different from the rest
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert SemanticPolicy(slope=0).select_embedded(embeddings).indices.tolist() == [0, 17, 39]
    assert SemanticPolicy(slope=1).select_embedded(embeddings).indices.tolist() == [0, 29, 39]


def test_semantic_policy_selects_from_pictures_what_it_selects_from_their_embeddings() -> None:
    pictures = [make_picture(n // 12, 2 * (n % 12)) for n in range(36)]
    policy: KeyframePolicy = SemanticPolicy()
    keys = policy.select(pictures).indices
    np.testing.assert_array_equal(keys, SemanticPolicy().select_embedded(GistEmbedder().embed(pictures)).indices)
    np.testing.assert_array_equal(keys, policy.select(pictures).indices)


@pytest.mark.parametrize(("count", "spacing", "expected"), [(9, 4, [0, 4, 8]), (10, 4, [0, 4, 8, 9]), (1, 8, [0])])
def test_uniform_policy_spaces_keys_and_keeps_the_last_frame(count: int, spacing: int, expected: list[int]) -> None:
    policy: KeyframePolicy = UniformPolicy(spacing)
    assert policy.select([make_picture(0)] * count).indices.tolist() == expected


def test_policies_refuse_what_cannot_be_met() -> None:
    for spacing in (0, 33):
        with pytest.raises(ConfigError, match="spacing"):
            UniformPolicy(spacing)
    with pytest.raises(ConfigError, match="min_length=1"):
        SemanticPolicy(min_length=1)
    with pytest.raises(ConfigError, match="2 \\* min_length - 2"):
        SemanticPolicy(max_length=10, min_length=7)
    with pytest.raises(ConfigError, match="slope=nan"):
        SemanticPolicy(slope=float("nan"))
    with pytest.raises(ConfigError, match="at least one picture"):
        UniformPolicy(4).select([])


def test_embeddings_are_unit_vectors_and_repeatable() -> None:
    pictures = [make_picture(1), make_picture(2), np.zeros((240, 256), np.uint8), np.full((96, 48), 128, np.uint8)]
    embedder = GistEmbedder()
    vectors = embedder.embed(pictures)
    assert vectors.dtype == np.float32
    # the norm of 561 float32 products: 1e-6 is a few roundings
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors, embedder.embed(pictures))
    assert embedder.embed([]).shape == (0, vectors.shape[1])


def test_likeness_falls_with_displacement_survives_light_and_ends_at_another_scene() -> None:
    embedder = GistEmbedder()
    still, near, far, dim, other = embedder.embed(
        [make_picture(1), make_picture(1, 4), make_picture(1, 24), make_picture(1, 0, 0.8), make_picture(2)]
    )
    likeness = [float(still @ v) for v in (near, far, other)]
    assert 1 > likeness[0] > likeness[1] > likeness[2]
    assert still @ dim > 0.98  # a fifth less light moves it less than a shift by a tenth of the width
    assert likeness[2] < embedder.cut_similarity < likeness[0]
