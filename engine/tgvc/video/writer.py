"""Video out: I420 pictures become a file that appears whole or not at all, a folder of PNG files or a y4m pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import av
import numpy as np

from tgvc.errors import ConfigError, VideoError
from tgvc.output import find_place
from tgvc.types import Picture, VideoInfo
from tgvc.video import encoders
from tgvc.video.colour import Scaler, picture_frame
from tgvc.video.faults import translated
from tgvc.video.images import ImageTarget
from tgvc.video.y4m import Y4mTarget

_LARGEST_SIDE_PX = 16384
_SUFFIXES = (*encoders.SUFFIXES, ".y4m")
_SHAPED = (".mp4", ".mov", ".mkv")  # H.264 in them carries a sample aspect ratio
_SHAPE_TOLERANCE, _WIDEST_SAMPLE = Fraction(1, 1000), 10  # libav refuses wider ones


class FrameTarget(Protocol):
    """One kind of output; ``finish`` or ``abort`` is called once, at the end."""

    def write(self, frame: av.VideoFrame, index: int, time: Fraction) -> None:
        """Take the yuv420p frame number ``index``, shown at ``time`` seconds."""
        ...

    def finish(self) -> None:
        """Put the output into place."""
        ...

    def abort(self) -> None:
        """Leave nothing behind; raises nothing."""
        ...


class VideoWriter:
    """Writes pictures of the working size to a file, a folder or a pipe.

    Use it in a ``with`` statement: at its end a file is renamed into place, after an exception or Ctrl-C nothing is
    left. An existing file is replaced, existing pictures are not. mp4, mov, mkv and webm keep the times of the pictures
    and carry the colour matrix and range; gif, y4m and pictures run at ``info.fps``, with no picture doubled or left
    out. Where the working size is not of the source's shape, mp4, mov, mkv and y4m carry the sample aspect ratio that
    restores it; no picture is changed for it. There is no sound.

    Attributes:
        size: width and height in px of what is written.

    Args:
        target: path ending in .mp4, .mov, .mkv (H.264), .webm (VP9), .gif or .y4m; a folder (a path that ends in a
            slash or exists as one) or a pattern such as ``frames/%05d.png`` for PNG pictures numbered from 0; ``-`` for
            y4m on standard output; or a binary file object, which gets y4m and stays open.
        info: working size of the pictures, nominal rate and colour matrix.
        size: width and height in px, 1 to 16384, to which pictures are scaled (Lanczos); None for the working size.
            H.264 stores even sides only: odd ones become one larger.
        codec: libav's name of another encoder (``ffv1`` in .mkv is lossless); None for the default.
        options: libav options of the encoder.

    Raises:
        ConfigError: a suffix, size, codec or option that the target does not take.
        VideoError: the target cannot be written.

    Source: own.
    """

    def __init__(
        self,
        target: Any,
        info: VideoInfo,
        *,
        size: tuple[int, int] | None = None,
        codec: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        size = size or (info.width, info.height)
        if len(size) != 2 or any(not isinstance(n, int) or not 1 <= n <= _LARGEST_SIDE_PX for n in size):
            raise ConfigError(f"size={'x'.join(map(str, size))}: expected 1 to {_LARGEST_SIDE_PX} px each way")
        self._info = info
        self._scaler = Scaler()
        self._name = _name_of(target)
        self._index = 0
        self._last_time: Fraction | None = None
        self._open = True
        self._target, self.size = _choose_target(target, self._name, info, size, codec, options)

    def write(self, picture: Picture, time: Fraction | None = None) -> None:
        """Append a picture.

        Args:
            picture: I420 uint8 (3H/2, W) of the working size, limited range.
            time: seconds from the start, later than the one before; None for the next one at the nominal rate.

        Raises:
            ConfigError: the picture has another size or dtype, or the time does not grow.
            VideoError: it cannot be encoded or written, or the writer is closed.
        """
        if not self._open:
            raise VideoError(f"{self._name}: the writer is closed")
        expected = (self._info.height * 3 // 2, self._info.width)
        if picture.shape != expected or picture.dtype != np.uint8:
            raise ConfigError(f"picture={picture.dtype} {picture.shape}: expected uint8 {expected}")
        if time is None:
            time = Fraction(0) if self._last_time is None else self._last_time + 1 / self._info.fps
        if time < 0 or (self._last_time is not None and time <= self._last_time):
            raise ConfigError(f"time={float(time):g}: expected seconds from 0 that grow from picture to picture")
        with translated(f"{self._name}: picture {self._index} cannot be scaled"):
            frame = self._scaler.to_i420(picture_frame(picture, self._info.matrix), *self.size)
        self._target.write(frame, self._index, time)
        self._last_time = time
        self._index += 1

    def close(self) -> None:
        """Finish the output and put it into place; does nothing the second time.

        Raises:
            VideoError: nothing was written, or the end of the output cannot be written; nothing is left then.
        """
        if not self._open:
            return
        try:
            if self._index == 0:
                raise VideoError(f"{self._name}: no picture was written, so there is no video to keep")
            self._target.finish()
            self._open = False
        finally:
            self.abort()

    def abort(self) -> None:
        """Give up: remove what was written so far."""
        if self._open:
            self._open = False
            self._target.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def sample_aspect(info: VideoInfo) -> Fraction:
    """Width over height of a sample that gives pictures of the working size the shape of the source; 1 within 0.1 %."""
    aspect = Fraction(info.source_width * info.height, info.source_height * info.width)
    if abs(aspect - 1) <= _SHAPE_TOLERANCE or max(aspect, 1 / aspect) > _WIDEST_SAMPLE:
        return Fraction(1)
    return aspect.limit_denominator(1000)


def _name_of(target: Any) -> str:
    if isinstance(target, str | os.PathLike):
        return "standard output" if target == "-" else str(target)
    return str(getattr(target, "name", "file object"))


def _choose_target(
    target: Any,
    name: str,
    info: VideoInfo,
    size: tuple[int, int],
    codec: str | None,
    options: Mapping[str, str] | None,
) -> tuple[FrameTarget, tuple[int, int]]:
    """The target and the size in px that it stores."""
    path = Path(target) if isinstance(target, str | os.PathLike) and target != "-" else None
    suffix = "" if path is None else path.suffix.lower()
    folder = path is not None and (path.is_dir() or str(target).endswith(("/", os.sep)))
    if (codec or options) and (folder or suffix in ("", ".png", ".y4m", ".gif")):
        raise ConfigError(f"codec={codec}, options={options}: {name} takes none, only .mp4 .mov .mkv .webm do")
    # a size that is asked for is the shape that is asked for
    aspect = sample_aspect(info) if size == (info.width, info.height) else Fraction(1)
    if path is None:
        file = _standard_output() if target == "-" else target
        if not hasattr(file, "write"):
            raise ConfigError(f"target={type(target).__name__}: expected a path, '-' or a binary file object")
        return Y4mTarget(file, name, info, size, aspect), size
    if folder:
        return ImageTarget(path), size
    if suffix == ".png":
        return ImageTarget(path.parent, path.name), size
    if suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise ConfigError(f"target={name}: expected a path ending in one of {known}, a folder with a slash, or -")
    with translated(f"{name}: cannot be written"):
        path = find_place(path)
        if not path.parent.is_dir():
            raise VideoError(f"{name}: the folder {path.parent} does not exist")
    if suffix == ".y4m":
        return Y4mTarget(path, name, info, size, aspect), size
    if suffix == ".gif":
        return encoders.GifTarget(path, info, size), size
    shape = {"aspect": str(aspect)} if aspect != 1 and codec is None and suffix in _SHAPED else {}
    size = encoders.storable_size(suffix, codec, size)
    return encoders.ContainerTarget(path, info, size, codec, {**shape, **(options or {})}), size


def _standard_output() -> Any:
    """Standard output below Python's buffer, so that a closed pipe is met in ``write`` and not at exit."""
    buffered = getattr(sys.stdout, "buffer", sys.stdout)
    buffered.flush()
    return getattr(buffered, "raw", buffered)
