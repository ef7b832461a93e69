"""Which frames of a shot become key frames: one interface, several policies, and the reference's literal rule.

A segment is the run from one key frame to the next, both included; its length is counted with both ends. No policy
ever looks across a cut: it is given the pictures of one shot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tgvc.analysis.embedding import Embedder, GistEmbedder
from tgvc.errors import ConfigError
from tgvc.types import FloatArray, KeyframeSet, Picture

MAX_SEGMENT = 33  # frames, both ends included: key frame spacing 32
REFERENCE_COUNT = 96  # the reference rule's literals fit a clip of this length only
REFERENCE_MAX_GAP = 29  # its longest segment has 30 frames


class KeyframePolicy(Protocol):
    """Chooses the key frames of one shot.

    `UniformPolicy` and `SemanticPolicy` are two of the family; a rule that places key frames where the tracked points
    of the last one no longer cover the picture (ActDiff-VC) fits the same call.
    """

    def select(self, pictures: Sequence[Picture]) -> KeyframeSet:
        """Key frames of a shot given as uint8 (3H/2, W) pictures: first and last frame always among them."""
        ...


@dataclass(frozen=True)
class UniformPolicy:
    """Key frames at 0, s, 2s, ... and at the last frame; ``spacing`` s in frames, 1 to 32. Source: own."""

    spacing: int

    def __post_init__(self) -> None:
        if not 1 <= self.spacing < MAX_SEGMENT:
            raise ConfigError(f"spacing={self.spacing}: expected 1..{MAX_SEGMENT - 1} frames")

    def select(self, pictures: Sequence[Picture]) -> KeyframeSet:
        """Key frames of a shot; only the number of pictures matters."""
        return uniform_keyframes(_count(len(pictures)), self.spacing)


@dataclass(frozen=True)
class SemanticPolicy:
    """T-GVC's idea for a shot of any length: the next key frame is the one that looks least like the last.

    ``embedder``: how pictures are compared. ``max_length``, ``min_length``: frames of a segment with both ends.
    ``slope``: similarity that one more frame of length is worth; 0 is the plain idea, which picks noise in a static
    shot, a large slope gives segments of the maximum length.

    Source: T-GVC, key frame selection. Differs: docs/parity.md, "Key frames".
    """

    embedder: Embedder = field(default_factory=GistEmbedder)
    max_length: int = 30
    min_length: int = 4
    slope: float = 0.001

    def __post_init__(self) -> None:
        if not 2 <= self.min_length <= self.max_length <= MAX_SEGMENT:
            raise ConfigError(
                f"min_length={self.min_length}, max_length={self.max_length}: expected 2 <= min <= max <= {MAX_SEGMENT}"
            )
        if self.max_length < 2 * self.min_length - 2:
            raise ConfigError(f"max_length={self.max_length}: expected at least 2 * min_length - 2")
        if not (np.isfinite(self.slope) and self.slope >= 0):
            raise ConfigError(f"slope={self.slope}: expected a finite number of at least 0")

    def select(self, pictures: Sequence[Picture]) -> KeyframeSet:
        """Key frames of a shot; the pictures are embedded once each."""
        _count(len(pictures))
        return self.select_embedded(self.embedder.embed(pictures))

    def select_embedded(self, embeddings: FloatArray) -> KeyframeSet:
        """Key frames of a shot from its embeddings, float32 (N, D) unit vectors, for shots too long to hold."""
        last = _count(len(embeddings)) - 1
        keys = [0]
        while last - keys[-1] + 1 > self.max_length:
            key = keys[-1]
            first = key + self.min_length - 1
            stop = min(key + self.max_length - 1, last - self.min_length + 1) + 1
            likeness = embeddings[first:stop].astype(np.float64) @ embeddings[key].astype(np.float64)
            keys.append(first + int(np.argmin(likeness - self.slope * np.arange(stop - first))))
        return _keyframe_set([*keys, last], last + 1)


def uniform_keyframes(count: int, spacing: int) -> KeyframeSet:
    """Key frames 0, s, 2s, ... and the last of ``count`` frames; ``spacing`` s >= 1."""
    return _keyframe_set([*range(0, count, spacing), count - 1], count)


def reference_keyframes(
    similarity: npt.NDArray[np.floating], count: int = 5, cut_similarity: float = 0.5
) -> KeyframeSet:
    """Key frames of a 96-frame clip exactly as the published T-GVC code picks them.

    Args:
        similarity: (96, 96), cosine between the embeddings of every two frames.
        count: Number of key frames aimed at; the clip is walked in ``count - 1`` windows of equal length.
        cut_similarity: Neighbouring frames less alike than this are both made key frames.

    Returns:
        Sorted key frames, 5 or 6 without a cut at ``count`` 5. Segments reach at most 30 frames unless a cut lies in
        the last window.

    Raises:
        ConfigError: Any other number of frames; the rule holds literals for 96, use `SemanticPolicy` instead.

    Source: the behaviour of the published T-GVC encoder; frames are counted from 1 inside, as there.
    """
    if similarity.shape != (REFERENCE_COUNT, REFERENCE_COUNT):
        raise ConfigError(
            f"similarity: expected (96, 96), got {similarity.shape}; the reference rule is written for 96 frames,"
            " use the semantic policy"
        )
    if not 2 <= count <= REFERENCE_COUNT:
        raise ConfigError(f"count={count}: expected 2..{REFERENCE_COUNT} key frames")
    window = REFERENCE_COUNT // (count - 1)
    final = window * (count - 1)
    keys = [1]
    anchor, candidate, least, cut_in_window = 1, 1, np.inf, False
    for n in range(2, REFERENCE_COUNT + 1):
        if similarity[n - 2, n - 1] < cut_similarity:
            keys += [n - 1, n]
            anchor, candidate, cut_in_window = n, n, True
        elif similarity[anchor - 1, n - 1] < least:
            least, candidate = float(similarity[anchor - 1, n - 1]), n
        if n % window or n > final:
            continue
        if cut_in_window:
            # The least similarity outlives this window: the next one may return to a frame before its own start.
            cut_in_window = False
            continue
        key = candidate
        if keys[-1] + REFERENCE_MAX_GAP <= n:
            key = keys[-1] + REFERENCE_MAX_GAP
        if n == final:
            key = _reference_tail(keys[-1], key)
        keys.append(key)
        anchor, least = key, np.inf
    return _keyframe_set([k - 1 for k in (*keys, REFERENCE_COUNT)], REFERENCE_COUNT)


def _reference_tail(last: int, key: int) -> int:
    """Keep the last window's pick from leaving a stub behind it; frames counted from 1."""
    if last > 66 and key > 90:
        return 96
    if last > 60 and key > 84:
        return 90
    return key


def _count(frames: int) -> int:
    if frames < 1:
        raise ConfigError("pictures: expected at least one picture of a shot, got none")
    return frames


def _keyframe_set(keys: list[int], count: int) -> KeyframeSet:
    return KeyframeSet(np.unique(np.array(keys, np.int64)), count)
