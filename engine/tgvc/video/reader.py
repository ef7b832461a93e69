"""Video in: any source becomes I420 pictures of the working size with the times at which they are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import av

from tgvc.errors import ConfigError, VideoError
from tgvc.types import Picture, VideoInfo
from tgvc.video import images, y4m
from tgvc.video.colour import Scaler, colour_matrix
from tgvc.video.container import ContainerSource
from tgvc.video.cropping import Cropper, check_crop, cropped_size, square_window
from tgvc.video.faults import translated
from tgvc.video.geometry import check_working_size, shown_size, working_size
from tgvc.video.sources import DEFAULT_FPS, ByteSource, FrameSource, SourceFrame

_HDR_CURVES = {16: "PQ", 18: "HLG"}  # AVColorTransferCharacteristic


class TimedPicture(NamedTuple):
    """A picture I420 uint8 (3H/2, W), limited range, and its time in seconds from the first one, strictly growing."""

    time: Fraction
    picture: Picture


def open_video(
    source: Any,
    *,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    fps: Fraction | float | None = None,
    crop: str | None = None,
) -> VideoReader:
    """Open a video and read its first frame. Sound and subtitles are not carried.

    Args:
        source: path of a file (mp4, mkv, webm, mov, gif, y4m, avi, ...), path of a folder of pictures (png, jpg, webp,
            bmp, in natural order), ``-`` for standard input, or a binary file object (both: y4m or any container that
            can be read as a stream).
        size: working width and height in px, multiples of 16 from 64 to 4096, the picture is stretched to it; None for
            ``working_size`` of the source.
        frames: at most this many frames are read; None for all.
        fps: pictures per second of a folder (25 if None). Other sources carry their own.
        crop: ``square`` = the middle square of every picture in place of all of it; None = all.

    Returns:
        A reader, to be used in a ``with`` statement.

    Raises:
        ConfigError: ``size``, ``frames``, ``fps`` or ``crop`` out of range, or ``fps`` for a source that is no folder.
        VideoError: the source is missing, empty, no video, or its first frame cannot be decoded.

    Source: own.
    """
    if size is not None:
        check_working_size(size)
    if frames is not None and frames < 1:
        raise ConfigError(f"frames={frames}: expected at least 1")
    check_crop(crop)
    return VideoReader(_choose_source(source, _folder_rate(fps)), size=size, frames=frames, crop=crop)


class VideoReader:
    """Pictures of a source, decoded one at a time as they are asked for.

    Iterating yields ``TimedPicture``. Files, folders and seekable file objects can be iterated again; a pipe only once.
    Times are those of the source, so a variable rate is kept; a missing time follows its predecessor at the nominal
    rate, and a clock that jumps back or stands still is moved on by as much.

    Attributes:
        info: what is known before the frames are read. ``count`` is what the source declares (cut to ``frames``), a
            hint that edit lists and damage make too large; ``fps`` is the nominal average rate.
        losses: what of the source the pictures do not keep, a few words each: sound, more than 8 bits, HDR.

    Args:
        source: where frames come from.
        size: working width and height in px, or None for the rule of ``working_size``.
        frames: at most this many frames, or None.
        crop: which part of every picture is read, or None for all of it.

    Raises:
        VideoError: there is no frame, or the first one cannot be decoded.
    """

    def __init__(
        self, source: FrameSource, *, size: tuple[int, int] | None, frames: int | None, crop: str | None = None
    ) -> None:
        self._source = source
        self._frames = frames
        self._crop = crop
        self._cropper = Cropper()
        self._scaler = Scaler()
        self._closed = False
        self._opened: Iterator[SourceFrame] | None = source.frames()
        self._first = next(self._opened, None)
        if self._first is None:
            raise VideoError(f"{source.name}: a video without frames, expected at least one")
        first = self._first.frame
        self.losses = _list_losses(first, sound=source.sound)
        shown = shown_size(first.width, first.height, source.sample_aspect, self._first.orientation)
        matrix = colour_matrix(first, *shown)  # of the whole picture: its size tells what it was made for
        shown = cropped_size(shown, crop)
        width, height = size or working_size(*shown)
        count = source.count if frames is None or source.count is None else min(frames, source.count)
        self.info = VideoInfo(
            width=width,
            height=height,
            source_width=shown[0],
            source_height=shown[1],
            fps=source.fps,
            count=count,
            matrix=matrix,
        )

    @property
    def replayable(self) -> bool:
        """Whether the pictures can be iterated again."""
        return self._source.replayable

    def __iter__(self) -> Iterator[TimedPicture]:
        if self._closed:
            raise VideoError(f"{self._source.name}: the reader is closed")
        opened, first = self._opened, self._first
        self._opened = self._first = None
        if opened is None or first is None:
            if not self._source.replayable:
                raise VideoError(f"{self._source.name}: a pipe can be read only once, give a file instead")
            opened = self._source.frames()
            first = next(opened)
        return self._pictures(first, opened)

    def _pictures(self, current: SourceFrame | None, rest: Iterator[SourceFrame]) -> Iterator[TimedPicture]:
        try:
            clock = _Clock(1 / self.info.fps)
            number = 0
            while current is not None:
                yield TimedPicture(clock.tick(current.time), self._convert(current, number))
                number += 1
                # Not asking for the frame after the last one keeps a limited read clear of damage behind it.
                current = None if number == self._frames else next(rest, None)
        finally:
            _close(rest)

    def _convert(self, current: SourceFrame, number: int) -> Picture:
        width, height = current.orientation.shown_size(self.info.width, self.info.height)
        frame, turn = current.frame, current.orientation
        with translated(f"{self._source.name}: frame {number} cannot be converted to 8-bit 4:2:0"):
            if self._crop is not None:
                shown = shown_size(frame.width, frame.height, self._source.sample_aspect, turn)
                frame = self._cropper.cut(frame, square_window(frame.width, frame.height, shown, turn))
            return turn.turn(self._scaler.to_picture(frame, width, height))

    def close(self) -> None:
        """Free the decoder that waits for the first iteration; iterations under way end by themselves."""
        self._closed = True
        opened = self._opened
        self._opened = self._first = None
        if opened is not None:
            _close(opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_constant_rate(times: Sequence[Fraction], fps: Fraction, tolerance_s: Fraction = Fraction(1, 1000)) -> bool:
    """Whether frames are shown at a constant rate.

    Args:
        times: seconds from the first frame, growing.
        fps: the rate in question, frames per second.
        tolerance_s: largest distance in seconds from the even grid. A millisecond, because Matroska rounds every time,
            the first included, to the nearest one: half a millisecond each.

    Source: own.
    """
    return all(abs(time - number / fps) <= tolerance_s for number, time in enumerate(times))


class _Clock:
    """Turns the times of a source into strictly growing ones that start at zero."""

    def __init__(self, period: Fraction) -> None:
        self._period = period
        self._last: Fraction | None = None
        self._origin: Fraction | None = None

    def tick(self, time: Fraction | None) -> Fraction:
        """The time of the next frame in seconds."""
        due = Fraction(0) if self._last is None else self._last + self._period
        if time is not None:
            if self._origin is None or (self._last is not None and time - self._origin <= self._last):
                self._origin = time - due
            due = time - self._origin
        self._last = due
        return due


def _list_losses(frame: av.VideoFrame, *, sound: bool) -> tuple[str, ...]:
    """See ``VideoReader.losses``; of formats that libav does not describe, nothing is said."""
    losses = ["audio is not kept: a .tgvc file holds pictures alone"] if sound else []
    bits = max((component.bits for component in frame.format.components), default=8)
    curve = _HDR_CURVES.get(int(frame.color_trc))
    if bits > 8 or curve:
        what = f"{bits}-bit {f'HDR ({curve}) ' if curve else ''}pictures"
        losses.append(f"{what} become 8-bit 4:2:0{', the curve of their levels is not kept' if curve else ''}")
    return tuple(losses)


def _choose_source(source: Any, fps: Fraction | None) -> FrameSource:
    if not isinstance(source, str | os.PathLike):
        if not hasattr(source, "read"):
            raise ConfigError(f"source={type(source).__name__}: expected a path, '-' or a binary file object")
        _refuse_rate(fps)
        return _bytes_source(source, str(getattr(source, "name", "file object")))
    if source == "-":
        _refuse_rate(fps)
        return _bytes_source(getattr(sys.stdin, "buffer", sys.stdin), "standard input")
    path = Path(source)
    name = str(path)
    with translated(f"{name}: cannot be read"):
        if path.is_dir():
            return images.ImageSource(images.list_pictures(path), name, fps or DEFAULT_FPS)
        _refuse_rate(fps)
        if not path.exists():
            raise VideoError(f"{name}: no such file or folder")
        if path.suffix.lower() in images.SUFFIXES:
            return images.ImageSource([path], name, DEFAULT_FPS)
        if not path.is_file():
            return _bytes_source(path.open("rb"), name, owned=True)
        with path.open("rb") as file:
            head = file.read(len(y4m.MAGIC))
    if not head:
        raise VideoError(f"{name}: the file is empty")
    if head == y4m.MAGIC:
        return y4m.Y4mSource(lambda: _open_path(path, name), name, replayable=True)
    return ContainerSource(f"file:{path.absolute()}", name)


def _open_path(path: Path, name: str) -> ByteSource:
    with translated(f"{name}: cannot be read"):
        return ByteSource(path.open("rb"), name, owned=True)


def _bytes_source(file: Any, name: str, *, owned: bool = False) -> FrameSource:
    with translated(f"{name}: cannot be read"):
        data = ByteSource(file, name, owned=owned)
        head = data.peek(len(y4m.MAGIC))
        data.raise_fault()
    if not head:
        raise VideoError(f"{name}: holds no data")
    if head != y4m.MAGIC:
        return ContainerSource(data, name)

    def rewind() -> ByteSource:
        if data.seekable():
            data.seek(0)
        return data

    return y4m.Y4mSource(rewind, name, replayable=data.seekable())


def _folder_rate(fps: Fraction | float | None) -> Fraction | None:
    if fps is None:
        return None
    if not 0.01 <= fps <= 1000:  # also refuses NaN
        raise ConfigError(f"fps={fps}: expected 0.01 to 1000 frames per second")
    return Fraction(fps).limit_denominator(1001)


def _refuse_rate(fps: Fraction | None) -> None:
    if fps is not None:
        raise ConfigError(f"fps={fps}: only folders of pictures take a rate, this source carries its own")


def _close(frames: Iterator[SourceFrame]) -> None:
    close = getattr(frames, "close", None)
    if close is not None:
        close()
