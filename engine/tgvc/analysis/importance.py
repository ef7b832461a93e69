"""Which trajectories are worth sending: what changes when an instance is painted away, weighed with its speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tgvc.analysis.embedding import Embedder
from tgvc.analysis.instances import Labels
from tgvc.analysis.removal import GRID, cover_mask, paint_away
from tgvc.analysis.representatives import average_tracks, cluster_rows, track_rows
from tgvc.errors import ConfigError
from tgvc.types import BoolArray, FloatArray, IntArray, Picture, TrackSet, TrajectorySet, picture_size

REFERENCE_WIDTH = 512  # px: the width at which the published thresholds on speed hold
REFERENCE_FRAMES = 16  # the length of segment they are written for
MAX_COVER = 0.4  # of the picture; what covers more is the background
SAMPLES = 6  # frames looked at per segment
LEAST_MATTER = 0.3
LEAST_SPEED, PARITY_LEAST_SPEED = 0.5, 3.0  # px per frame at width 512
MAX_COUNT = 15  # representatives of an instance


@dataclass(frozen=True)
class Instance:
    """A motion instance and what it is worth.

    ``label``: its number in the clustering. ``members`` int64 (n,): rows of the track set. ``speed``: px per frame at
    width 512. ``importance``: change of what the picture shows when the instance is painted away, on the scale of 16
    frames. ``count``: representatives it deserves, 1 to 15, at most n. ``kept``: whether it is worth sending.
    """

    label: int
    members: IntArray
    speed: float
    importance: float
    count: int
    kept: bool

    @property
    def matter(self) -> float:
        """Importance times speed, by which instances are chosen and ordered."""
        return self.importance * self.speed


def weigh_instances(
    pictures: Sequence[Picture], tracks: TrackSet, labels: Labels, embedder: Embedder, parity: bool = False
) -> list[Instance]:
    """Speed, importance and number of representatives of every motion instance of a segment.

    Args:
        pictures: T uint8 (3H/2, W) pictures of the segment, originals.
        tracks: Its P tracks.
        labels: int32 (P,), instance of each track, -1 for none.
        embedder: What sees the difference.
        parity: Look at every frame, let a longer segment look slower, and ask for more speed, as the published code.

    Returns:
        One entry per label in rising order. The importance of an instance too slow to be kept is not measured
        and stays 0.

    Raises:
        ConfigError: The numbers of pictures, frames, tracks and labels do not fit.

    Source: T-GVC, semantic importance. Differs: docs/parity.md, "Importance".
    """
    count = len(pictures)
    if tracks.visible.shape != (len(labels), count):
        raise ConfigError(
            f"tracks: expected {len(labels)} tracks of {count} frames to fit labels and pictures,"
            f" got {tracks.visible.shape[0]} of {tracks.visible.shape[1]}"
        )
    chosen = range(count) if parity else np.unique(np.linspace(0, count - 1, SAMPLES).round().astype(int)).tolist()
    views = _View.make_all(pictures, chosen, embedder)
    scale = REFERENCE_FRAMES * embedder.importance_scale
    slowest = PARITY_LEAST_SPEED if parity else LEAST_SPEED
    instances = []
    for label in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == label)
        xy, visible = tracks.xy[members], tracks.visible[members]
        speed = mean_speed(xy, visible) * REFERENCE_WIDTH / picture_size(pictures[0])[0]
        if parity:
            speed *= REFERENCE_FRAMES / count
        importance = 0.0
        if speed > slowest:
            changes = [view.change_without(xy[:, view.frame], visible[:, view.frame], embedder) for view in views]
            importance = scale * float(np.mean(changes))
        kept = importance * speed > LEAST_MATTER and speed > slowest
        wanted = min(representative_count(importance, len(members)), len(members))
        instances.append(Instance(label, members, speed, importance, wanted, kept))
    return instances


def select_trajectories(
    pictures: Sequence[Picture],
    tracks: TrackSet,
    labels: Labels,
    embedder: Embedder,
    parity: bool = False,
    seed: int = 0,
) -> TrajectorySet:
    """The trajectories of a segment worth sending, the most valuable first.

    Args:
        pictures: T uint8 (3H/2, W) pictures of the segment, originals.
        tracks: Its P tracks.
        labels: int32 (P,), motion instance of each track, -1 for none.
        embedder: What judges the importance of an instance.
        parity: Restore the published code's scales, thresholds and averages, see docs/parity.md.
        seed: Of the k-means; the same seed gives the same bits.

    Returns:
        Up to 15 trajectories per kept instance. ``value`` is the instance's matter times the share of its members that
        the trajectory speaks for; ``group`` the label of its instance. Nothing for a segment of two frames, which has
        no frame between its keys.

    Raises:
        ConfigError: The numbers of pictures, frames, tracks and labels do not fit.

    Source: T-GVC, representatives. Differs: docs/parity.md, "Representatives".
    """
    parts: list[tuple[FloatArray, BoolArray, float, int]] = []
    for instance in weigh_instances(pictures, tracks, labels, embedder, parity) if len(pictures) > 2 else []:
        if not instance.kept:
            continue
        xy, visible = tracks.xy[instance.members], tracks.visible[instance.members]
        nearest = cluster_rows(track_rows(xy, visible), instance.count, np.random.default_rng((seed, instance.label)))
        for cluster in range(int(nearest.max()) + 1):
            own = nearest == cluster
            mean, seen = average_tracks(xy[own], visible[own], parity)
            parts.append((mean, seen, instance.matter * float(own.mean()), instance.label))
    if not parts:
        nothing = np.zeros((0, len(pictures), 2), np.float32)
        return TrajectorySet(nothing, nothing[..., 0] > 0, np.zeros(0, np.int32), np.zeros(0, np.float32))
    value = np.array([part[2] for part in parts], np.float32)
    order = np.argsort(-value, kind="stable")
    return TrajectorySet(
        np.stack([part[0] for part in parts])[order],
        np.stack([part[1] for part in parts])[order],
        np.array([part[3] for part in parts], np.int32)[order],
        value[order],
    )


def mean_speed(xy: FloatArray, visible: BoolArray) -> float:
    """Mean length in px of the steps between frames in which a track is visible both times; 0 if there is none."""
    both = visible[:, 1:] & visible[:, :-1]
    steps = np.diff(xy.astype(np.float64), axis=1)
    lengths = np.hypot(steps[..., 0], steps[..., 1])
    return float(lengths[both].sum() / max(int(both.sum()), 1))


def representative_count(importance: float, members: int) -> int:
    """Representatives an instance deserves by importance (in units of 16 frames) and size, 1 to 15. Source: T-GVC."""
    by_size = int(MAX_COUNT * members / (4 * GRID**2) + 0.5)
    return int(np.clip(int(0.75 * MAX_COUNT * importance + by_size + 0.5), 1, MAX_COUNT))


@dataclass(frozen=True)
class _View:
    """One frame that instances are painted out of, with its embedding float32 (D,)."""

    frame: int
    picture: Picture
    embedding: npt.NDArray[np.float32]

    @staticmethod
    def make_all(pictures: Sequence[Picture], frames: Sequence[int], embedder: Embedder) -> list[_View]:
        looks = embedder.embed(pictures[n] for n in frames)
        return [_View(n, pictures[n], look) for n, look in zip(frames, looks, strict=True)]

    def change_without(self, xy: FloatArray, visible: BoolArray, embedder: Embedder) -> float:
        """1 - cosine between the frame and the frame without what points (n, 2) px stand for; 0 for background."""
        width, height = picture_size(self.picture)
        mask = cover_mask(xy[visible], width, height)
        if not mask.any() or np.mean(cover_mask(xy, width, height) > 0) > MAX_COVER:
            return 0.0
        mask = np.asarray(cv2.dilate(mask, np.ones((3, 3), np.uint8)), np.uint8)
        without = embedder.embed([paint_away(self.picture, mask)])[0]
        return 1.0 - float(np.dot(self.embedding.astype(np.float64), without.astype(np.float64)))
