"""The clips of an evaluation, read as the encoder reads them: I420 pictures of the working size."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tgvc.batch.folder import VIDEOS
from tgvc.errors import ConfigError, VideoError
from tgvc.types import VideoInfo
from tgvc.video import open_video
from tgvc_bench.clips import Clip
from tgvc_bench.fidelity import MS_SSIM_MINIMUM
from tgvc_bench.units import RateUnit, bits_per_pixel


@dataclass(frozen=True)
class Source:
    """A clip that is asked for: its ``name``, the file, how much of it, at which working size.

    ``crop``: ``square`` = its middle square alone. ``data``: the bytes of the file, where it is to be read on another
    machine.
    """

    name: str
    path: Path
    frames: int
    size: tuple[int, int] | None = None
    crop: str | None = None
    data: bytes | None = field(default=None, repr=False, compare=False)

    @contextmanager
    def file(self) -> Iterator[Path]:
        """A path where the file can be read."""
        if self.data is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.path.name
            path.write_bytes(self.data)
            yield path


@dataclass(frozen=True)
class LoadedClip:
    """A clip as it is measured; ``info``: size, rate and colours of what was read; ``frames``: how many there are."""

    clip: Clip
    info: VideoInfo
    frames: int

    @property
    def identity(self) -> str:
        """A hash of the pictures, of how fast they are shown, and of their colours."""
        facts = f"{self.clip.sha256} {self.info.fps} {self.info.matrix}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def bits_per_pixel(self, rate: float, unit: RateUnit) -> float:
        """A rate in bits per pixel of this clip."""
        return bits_per_pixel(rate, unit, (self.info.width, self.info.height), self.info.fps)

    def without_pictures(self) -> LoadedClip:
        """What is known of the clip, for those who hold many."""
        return replace(self, clip=replace(self.clip, pictures=[]))

    def describe(self, name: str) -> dict[str, Any]:
        """The clip as it stands in a record."""
        info = self.info
        return {
            "name": name,
            "sha256": self.clip.sha256,
            "width": info.width,
            "height": info.height,
            "fps": str(info.fps),
            "frames": self.frames,
            "source_width": info.source_width,
            "source_height": info.source_height,
        }


def find_clips(paths: Sequence[Path]) -> list[Path]:
    """The video files among files and right inside folders, by name in each folder.

    Raises:
        ConfigError: none, or two of one name.
    """
    found: list[Path] = []
    for path in paths:
        inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in VIDEOS] if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"{path}: no video in this folder")
        found += inside
    names: dict[str, Path] = {}
    for path in found:
        if names.setdefault(path.stem, path) != path:
            raise ConfigError(f"{names[path.stem]} and {path} have one name: rename one of them")
    return list(names.values())


def load_clip(path: Path, frames: int, size: tuple[int, int] | None = None, crop: str | None = None) -> LoadedClip:
    """Read the first ``frames`` pictures of a video, or of its middle square, at its working size.

    Raises:
        VideoError: it cannot be read.
        ConfigError: it is too small for MS-SSIM.
    """
    with open_video(path, size=size, frames=frames, crop=crop) as video:
        info, pictures = video.info, [timed.picture for timed in video]
    if min(info.width, info.height) < MS_SSIM_MINIMUM:
        raise ConfigError(f"{path}: {info.width}x{info.height} px, expected both sides at least {MS_SSIM_MINIMUM} px")
    if not pictures:
        raise VideoError(f"{path}: holds no picture")
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(picture.tobytes())
    return LoadedClip(Clip(path, pictures, info.fps, digest.hexdigest()), info, len(pictures))
