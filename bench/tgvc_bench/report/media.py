"""Videos and trajectories of a record: found beside it, and carried inside the page or named by it.

The rule is one for the whole page: if all videos together stay under a limit they are embedded, and the page is one
file that can be sent anywhere; if not, none is, the page names them by their path, and the folder travels with it.
Trajectories are always embedded: a page that was opened from disk may not read other files as data.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tgvc.errors import ConfigError
from tgvc_bench.records import shorten

SOURCE = "source"  # name of the file that shows the clip itself
TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}
EMBEDDED_BYTES = 48_000_000  # of video, before base64: what a browser opens without a pause


@dataclass(frozen=True)
class Video:
    """A file that a browser plays. ``system`` None: the source itself; then ``rate`` is None too."""

    clip: str
    system: str | None
    rate: float | None
    path: Path

    @property
    def type(self) -> str:
        """MIME type."""
        return TYPES[self.path.suffix]


def find_videos(record: Mapping[str, Any], folder: Path) -> list[Video]:
    """``CLIP/source.mp4`` and ``CLIP/SYSTEM-RATE.mp4`` (or .webm) of a folder, as far as they exist."""
    videos = []
    for clip in (c["name"] for c in record["clips"]):
        if path := _find(folder, clip, SOURCE, *TYPES):
            videos.append(Video(clip, None, None, path))
        found = [(entry, _find(folder, clip, _stem(entry), *TYPES)) for entry in _entries(record, clip)]
        videos += [Video(clip, entry["system"], entry["rate"], path) for entry, path in found if path]
    return videos


def embed_or_name(videos: list[Video], page: Path, limit: int) -> tuple[list[dict[str, Any]], list[str]]:
    """What the page needs to play the videos.

    Args:
        videos: of the record.
        page: file that will be written.
        limit: bytes of video that may be embedded.

    Returns:
        ``{clip, system, rate, type}`` of each with either ``data``, index into the second list, or ``url``; and that
        list: files in base64.
    """
    embedded = sum(v.path.stat().st_size for v in videos) <= limit
    listed, payloads = list[dict[str, Any]](), list[str]()
    for video in videos:
        item: dict[str, Any] = {"clip": video.clip, "system": video.system, "rate": video.rate, "type": video.type}
        if embedded:
            item["data"] = len(payloads)
            payloads.append(base64.b64encode(video.path.read_bytes()).decode())
        else:
            item["url"] = quote(Path(os.path.relpath(video.path.resolve(), page.resolve().parent)).as_posix())
        listed.append(item)
    return listed, payloads


def read_tracks(record: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """``tracks/CLIP/SYSTEM-RATE.json`` of a folder, as far as they exist: ``{clip, system, rate, segments}``.

    A segment may end beyond the clip, where its stream goes on; it is cut there.

    Raises:
        ConfigError: a file holds something else, or positions of other frames than the clip has.
    """
    found = []
    for clip in record["clips"]:
        for entry in _entries(record, clip["name"]):
            path = _find(folder / "tracks", clip["name"], _stem(entry), ".json")
            if path is None:
                continue
            try:
                segments = [_read_segment(s, clip["frames"]) for s in json.loads(path.read_bytes())["segments"]]
            except (ValueError, KeyError, TypeError, IndexError) as error:
                what = str(error) if isinstance(error, ConfigError) else f"no trajectories: {error!r}"
                raise ConfigError(f"{path}: {what}; expected segments with first, length, xy and visible") from error
            if segments:
                found.append(
                    {"clip": clip["name"], "system": entry["system"], "rate": entry["rate"], "segments": segments}
                )
    return found


def _read_segment(segment: Mapping[str, Any], frames: int) -> dict[str, Any]:
    first, length, xy = segment["first"], segment["length"], segment["xy"]
    visible = segment.get("visible") or [[1] * length for _ in xy]
    if not 0 <= first < min(frames, first + length):
        raise ConfigError(f"a segment of {length} frames from frame {first} on, the clip has {frames}")
    if len(visible) != len(xy) or any(len(p) != length for p in (*xy, *visible)):
        raise ConfigError(f"a trajectory that has not {length} positions")
    length = min(length, frames - first)
    xy, visible = [p[:length] for p in xy], [p[:length] for p in visible]
    places = [[[shorten(float(x), 5), shorten(float(y), 5)] for x, y in path] for path in xy]
    return {"first": first, "length": length, "xy": places, "visible": [[int(bool(v)) for v in p] for p in visible]}


def _entries(record: Mapping[str, Any], clip: str) -> list[Mapping[str, Any]]:
    """Entries of a clip that have a picture, one for each system and rate."""
    chosen = {(e["system"], e["rate"]): e for e in record["entries"] if e["clip"] == clip and "error" not in e}
    return list(chosen.values())


def _stem(entry: Mapping[str, Any]) -> str:
    return f"{entry['system']}-{entry['rate']:g}"


def _find(folder: Path, clip: str, stem: str, *suffixes: str) -> Path | None:
    """A file ``folder/clip/stem.suffix``; None where there is none, or where a name of the record is no plain name."""
    if any(name in ("", ".", "..") or set(name) & set("/\\\0") for name in (clip, stem)):
        return None
    return next((p for s in suffixes if (p := folder / clip / (stem + s)).is_file()), None)
