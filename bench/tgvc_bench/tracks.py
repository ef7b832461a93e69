"""What trajectories cost in the TRACKS payload: tracked corners of real clips at given errors, and what streams sent.

``python -m tgvc_bench.tracks CLIPS... --stream A.tgvc ... -o bench/results/tracks.json``
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import click
import cv2
import numpy as np

from tgvc.bitstream.container import Reader
from tgvc.bitstream.motion import Anchors, SegmentMotion, anchor_grid, anchor_points
from tgvc.bitstream.segments import read_tracks
from tgvc.bitstream.tracks import encode_motion
from tgvc.bitstream.transform import Transform, dequantise, quantise, step_px
from tgvc.opencv import one_cv_thread
from tgvc.types import FloatArray, Plane, picture_planes
from tgvc.video.reader import open_video
from tgvc_bench.machine import describe_machine, read_versions
from tgvc_bench.records import write_record

FORMAT = "tgvc-tracks 1"
# bits per track of 25 frames, by their number and their error in px: temporal DCT and an adaptive range coder, measured
# on other tracks of the same kind before this format was designed
DESIGN = {(32, 1.25): 79.0, (32, 2.2): 56.0, (300, 1.25): 70.0, (300, 2.2): 48.0}
_SIZE = (512, 320)
_SEGMENT, _SEGMENTS = 24, 3  # frames from one key picture to the next; segments of a clip, one group

Tracked: TypeAlias = Sequence[tuple[Anchors, FloatArray]]  # per segment: anchors (N, 2), moves (N, T - 1, 2) px


def track_corners(planes: Sequence[Plane], count: int) -> Tracked:
    """Lucas-Kanade tracks of at most ``count`` corners per segment of 25 frames; those that are lost are left out."""
    segments = []
    for first in range(0, len(planes) - _SEGMENT, _SEGMENT):
        part = planes[first : first + _SEGMENT + 1]
        with one_cv_thread():
            anchors = _pick_anchors(np.asarray(cv2.cornerMinEigenVal(part[0], 7), np.float32), count)
            points, alive = [anchor_points(anchors)[:, None]], np.ones(len(anchors), np.bool_)
            for before, after in pairwise(part):
                moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points[-1], None, winSize=(15, 15))  # type: ignore[call-overload]
                alive &= found[:, 0] == 1
                points.append(moved)
        xy = np.stack([p[:, 0] for p in points], axis=1)[alive]
        segments.append((anchors[alive], np.asarray(xy[:, 1:] - xy[:, :1], np.float32)))
    return segments


def price_tracks(clips: Sequence[Tracked], rms_px: float, transform: Transform = "dst") -> tuple[float, float]:
    """Bits per track and segment at the coarsest step whose error is at most ``rms_px``, and that error in px.

    Args:
        clips: per clip its segments, which make one group of 512x320.
        rms_px: root mean square distance between tracks as they are and as they are coded.
        transform: of the coder.
    """
    grid, rms = anchor_grid(*_SIZE), 0.0
    for code in range(63, -1, -1):
        step, squares, points = step_px(code), 0.0, 0
        for _, tracks in (segment for clip in clips for segment in clip):
            error = dequantise(quantise(tracks, step, transform), step, transform) - tracks
            squares, points = squares + float((error.astype(np.float64) ** 2).sum()), points + error.size // 2
        if (rms := (squares / points) ** 0.5) <= rms_px:
            break
    bits = count = 0
    for clip in clips:
        group = [
            SegmentMotion.of(
                "G", t.shape[1] + 1, transform=transform, track_step=code, anchors=a, coefs=quantise(t, step, transform)
            )
            for a, t in clip
        ]
        bits, count = bits + 8 * len(encode_motion(group, grid)), count + sum(len(s.anchors) for s in group)
    return bits / count, rms


def price_stream(path: Path) -> dict[str, Any]:
    """What a stream's trajectories cost: all of its motion, models of the camera and modes included."""
    tracks = segments = size = frames = 0
    with path.open("rb") as file:
        reader = Reader(file)
        for group in reader:
            motions = [m for m in read_tracks(group, reader.header.width, reader.header.height) if m.length > 2]
            tracks, segments = tracks + sum(len(m.anchors) for m in motions), segments + len(motions)
            size, frames = size + len(group.motion), frames + group.frames
    return {
        "stream": path.stem,
        "frames": frames,
        "painted_segments": segments,
        "trajectories": tracks,
        "motion_bytes": size,
        "motion_share": round(size / path.stat().st_size, 3),
        "bits_per_trajectory": round(8 * size / tracks, 1) if tracks else None,
        "bits_per_frame": round(8 * size / frames, 1),
    }


def measure_tracks(clips: Iterable[Path], streams: Iterable[Path]) -> dict[str, Any]:
    """The record."""
    films = []
    for clip in clips:
        with open_video(clip, size=_SIZE, frames=_SEGMENT * _SEGMENTS + 1) as video:
            films.append([np.ascontiguousarray(picture_planes(frame.picture)[0]) for frame in video])
    rows = []
    for (count, wanted), design in DESIGN.items():
        if films:
            bits, rms = price_tracks([track_corners(film, count) for film in films], wanted)
            rows.append(
                {"tracks": count, "rms_px": round(rms, 2), "bits_per_track": round(bits, 1), "design_bits": design}
            )
    return {"corners": rows, "streams": [price_stream(path) for path in streams]}


@click.command()
@click.argument("clips", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--stream", "streams", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A .tgvc."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="JSON.")
def main(clips: Sequence[Path], streams: Sequence[Path], output: Path) -> None:
    """Measure what trajectories cost: corners tracked through clips, and those that streams have sent."""
    names = [*(clip.name for clip in clips), *(f"--stream {path.name}" for path in streams)]
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": f"python -m tgvc_bench.tracks {' '.join(names)} -o {output.name}",
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False),
    }
    write_record(output, record | measure_tracks(clips, streams))


def _pick_anchors(corners: FloatArray, count: int) -> Anchors:
    """Anchors (N, 2) of the strongest corners, kept apart."""
    strength, apart = corners[2::4, 2::4].copy(), 6 if count <= 32 else 2
    cells = []
    for _ in range(count):
        y, x = np.unravel_index(int(np.argmax(strength)), strength.shape)
        if strength[y, x] <= 0:
            break
        cells.append((x, y))
        strength[max(0, y - apart) : y + apart + 1, max(0, x - apart) : x + apart + 1] = 0
    return np.array(cells, np.int32).reshape(-1, 2)


if __name__ == "__main__":
    main()
