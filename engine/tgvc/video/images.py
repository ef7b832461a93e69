"""Folders of pictures: read in natural order, written as numbered PNG files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
from PIL import ExifTags, Image

from tgvc.errors import ConfigError, VideoError
from tgvc.video.colour import Scaler, tag_full_range
from tgvc.video.container import open_container
from tgvc.video.faults import translated
from tgvc.video.geometry import Orientation
from tgvc.video.pending import pending_path
from tgvc.video.sources import SourceFrame

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_PATTERN = re.compile(r"(?P<before>[^%]*)%(?P<zero>0?)(?P<digits>[1-9]?)d(?P<after>[^%]*\.png)", re.IGNORECASE)


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Sort key by which ``shot2`` comes before ``shot10``, whatever the case of the letters."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(p) if i % 2 else p for i, p in enumerate(parts)], name


def list_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder (png, jpg, jpeg, webp, bmp; no hidden files) in natural order.

    Raises:
        VideoError: there is none, or the folder cannot be read.
    """
    with translated(f"{folder}: the folder cannot be read"):
        found = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "." and p.is_file()]
    if not found:
        raise VideoError(f"{folder}: a folder without pictures, expected {', '.join(SUFFIXES)} files in it")
    return sorted(found, key=lambda path: natural_order(path.name))


class ImageSource:
    """Pictures shown one after the other at a constant rate. All must have one size; pixels count as square.

    Args:
        paths: the files, in order.
        name: how to call the folder in error messages.
        fps: pictures per second.
    """

    def __init__(self, paths: Sequence[Path], name: str, fps: Fraction) -> None:
        self.name = name
        self.fps = fps
        self.count: int | None = len(paths)
        self.sample_aspect: Fraction | None = None
        self.sound = False
        self.replayable = True
        self._paths = tuple(paths)

    def frames(self) -> Iterator[SourceFrame]:
        """Decode from the first.

        Raises:
            VideoError: a file that is no picture, or one of another size than the first.
        """
        size: tuple[int, int] | None = None
        for number, path in enumerate(self._paths):
            with translated(f"{path}: frame {number} cannot be decoded"), path.open("rb") as file:
                frame = self._decode(path, file)
                orientation = _exif_orientation(path)
            shown = orientation.shown_size(frame.width, frame.height)
            size = size or shown
            if shown != size:
                got = f"{shown[0]}x{shown[1]}"
                raise VideoError(f"{path}: picture of {got}, expected {size[0]}x{size[1]} as the first of its folder")
            yield SourceFrame(number / self.fps, frame, orientation)

    @staticmethod
    def _decode(path: Path, file: object) -> av.VideoFrame:
        # A file object, not a path: libav would take % in a name for a numbered sequence.
        with open_container(file) as container:
            for frame in container.decode(video=0):
                return tag_full_range(frame) if frame.format.name.startswith("gray") else frame
        raise VideoError(f"{path}: holds no picture")


def _exif_orientation(path: Path) -> Orientation:
    """The turn of Exif's orientation tag, whose values 1 to 8 are the eight right-angle cases."""
    try:
        with Image.open(path) as image:
            # Asked for tags that it has not met in the head of a file, Pillow would decode all of it.
            tag = image.getexif().get(ExifTags.Base.Orientation, 1) if "exif" in image.info else 1
    except Image.DecompressionBombError as fault:
        raise VideoError(f"{path}: too large a picture ({fault})") from fault
    mirrors = {2: (True, False), 3: (True, True), 4: (False, True), 6: (True, False), 7: (True, True), 8: (False, True)}
    return Orientation(tag in (5, 6, 7, 8), *mirrors.get(tag, (False, False)))


class ImageTarget:
    """Numbered PNG files, counted from 0, that appear all together at the end.

    Args:
        folder: where, made if it does not exist.
        pattern: name of a file with a placeholder for its number.

    Raises:
        ConfigError: a pattern with another placeholder than one ``%d``, or another suffix than ``.png``.
        VideoError: the folder already holds files that the pattern would name, or cannot be written.
    """

    def __init__(self, folder: Path, pattern: str = "%05d.png") -> None:
        self._folder = folder.resolve()
        match = _PATTERN.fullmatch(pattern)
        if match is None:
            raise ConfigError(f"target={pattern}: expected one number such as %d or %05d and the suffix .png")
        self._name = pattern
        digits = rf"\d{{{match['digits']},}}" if match["zero"] and match["digits"] else r"\d+"
        taken = re.compile(re.escape(match["before"]) + digits + re.escape(match["after"]))
        self._scaler = Scaler()
        with translated(f"{self._folder}: the folder cannot be written"):
            exists = self._folder.exists()
            if exists and any(taken.fullmatch(p.name) for p in self._folder.iterdir()):
                raise VideoError(f"{self._folder}: holds pictures named like {pattern}, give a new or empty folder")
            self._pending = pending_path(self._folder / "pictures" if exists else self._folder)
            self._pending.mkdir(parents=True)

    def write(self, frame: av.VideoFrame, index: int, time: Fraction) -> None:
        """Write a yuv420p frame as picture number ``index``; ``time`` is not kept."""
        with translated(f"{self._folder}: cannot be written"):
            rgb = self._scaler.to_rgb(frame, frame.width, frame.height)
            Image.fromarray(rgb.to_ndarray()).save(self._pending / (self._name % index), "PNG")

    def finish(self) -> None:
        """Show the pictures under their names."""
        with translated(f"{self._folder}: cannot be written"):
            if not self._folder.exists():
                self._pending.replace(self._folder)
                return
            for path in sorted(self._pending.iterdir()):
                path.replace(self._folder / path.name)
            self._pending.rmdir()

    def abort(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self._pending, ignore_errors=True)
