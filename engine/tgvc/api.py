"""The functions of the package: one call each for what the command line does.

Encoder and decoder are imported where they are used: `info`, `trim` and `concatenate` need no OpenCV and no Numba.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from tgvc.bitstream import edit
from tgvc.bitstream.container import Reader
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.errors import ConfigError, VideoError
from tgvc.output import open_output
from tgvc.source import open_input
from tgvc.summary import describe_stream
from tgvc.timing import check_range, moment, shown_times
from tgvc.types import OnProgress

if TYPE_CHECKING:
    from tgvc.decoder import DecodeReport
    from tgvc.encoder import EncodeReport
    from tgvc.video.reader import TimedPicture

_Config = TypeVar("_Config", EncoderConfig, DecoderConfig)
_MOST_THREADS = 64


def encode(
    source: Any, target: Any, *, on_progress: OnProgress | None = None, threads: int = 2, **fields: Any
) -> EncodeReport:
    """Encode a video into a .tgvc stream.

    Args:
        source: path of a video or of a folder of pictures, ``-`` for standard input, or a binary file object.
        target: path, ``-`` for standard output, or a binary file object. A file appears whole or not at all.
        on_progress: called with (stage, frames done, frames in all or None).
        threads: candidates tried at once; the bytes do not depend on it.
        **fields: fields of `EncoderConfig`, such as ``bpp=0.003`` or ``effort=4``.

    Raises:
        ConfigError: an unknown field, or one out of its range.
        VideoError: the source cannot be read or the target cannot be written.
    """
    config = configure(EncoderConfig, fields)
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
        raise ConfigError(f"threads={threads!r}: expected a whole number in 1..{_MOST_THREADS}")
    check_target(target, source)
    from tgvc.encoder import Encoder

    return Encoder(config, threads=threads).encode(source, target, on_progress)


def decode(source: Any, target: Any, *, on_progress: OnProgress | None = None, **fields: Any) -> DecodeReport:
    """Decode a .tgvc stream into a video.

    Args:
        source: path, ``-`` for standard input, or a binary file object; a pipe is decoded while it arrives.
        target: path ending in .mp4, .mov, .mkv, .webm, .gif or .y4m, a folder with a slash for PNG pictures, ``-`` for
            y4m on standard output, or a binary file object for y4m.
        on_progress: called with ("decode", frames done, None) and, by generators that denoise, with ("denoise", steps
            done, steps of the group), from other threads too.
        **fields: fields of `DecoderConfig`, such as ``start=2.0``, ``restore_size=True`` or ``generator="latent"``.

    Raises:
        BitstreamError: not a valid stream.
        BundleError: the networks that were asked for are not there, or damaged.
        BackendError: what is to run them does not, or does not run here.
        ConfigError: an unknown field, one out of its range, or a range of time without frames.
        VideoError: the source cannot be read or the target cannot be written.
    """
    config = configure(DecoderConfig, fields)
    check_target(target, source)
    from tgvc.decoder import Decoder

    return Decoder(config).decode(source, target, on_progress)


def decode_frames(source: Any, **fields: Any) -> Iterator[TimedPicture]:
    """The frames of a .tgvc stream, one by one: ``time`` in seconds and ``picture``, I420 uint8 (3H/2, W).

    Args:
        source: as for `decode`.
        **fields: fields of `DecoderConfig`.

    Raises:
        BitstreamError: not a valid stream; frames before the damage come first.
        ConfigError: an unknown field, or one out of its range.
    """
    config = configure(DecoderConfig, fields)
    from tgvc.decoder import Decoder

    return Decoder(config).frames(source)


def info(source: Any) -> dict[str, Any]:
    """What a .tgvc stream holds; for the keys see `tgvc.summary.describe_stream`.

    Raises:
        BitstreamError: not a valid stream.
        VideoError: the source cannot be read.
    """
    with open_input(source) as stream:
        return describe_stream(stream)


def trim(source: Any, target: Any, *, start: float | None = None, end: float | None = None) -> int:
    """Keep a part of a stream without coding anything again.

    Groups outside the range are dropped; a group that lies across an end is kept, its frames outside are not shown.

    Args:
        source: path, ``-`` or binary file object; a pipe is read to its end first.
        target: path, ``-`` or binary file object.
        start: first moment shown, seconds; the beginning if None.
        end: moment before which the last frame shown begins, seconds; the end if None.

    Returns:
        The bytes written.

    Raises:
        ConfigError: an impossible range, or one without frames.
        BitstreamError: not a valid stream.
        VideoError: the source cannot be read or the target cannot be written.
    """
    check_range(start, end)
    check_target(target, source)
    with open_input(source) as given:
        stream = given if given.seekable() else io.BytesIO(given.read())
        origin = stream.tell()
        first, last = _find_frames(stream, start, end)
        stream.seek(origin)
        with open_output(target) as out:
            return edit.trim(stream, out, first, last)


def concatenate(sources: Sequence[Any], target: Any) -> int:
    """Append streams to each other without coding anything again.

    Args:
        sources: paths or binary file objects, in order; all of one working size, rate and colour matrix.
        target: path, ``-`` or binary file object.

    Returns:
        The bytes written.

    Raises:
        ConfigError: no source, or sources that do not fit each other.
        BitstreamError: not a valid stream.
        VideoError: a source cannot be read or the target cannot be written.
    """
    check_target(target, *sources)
    with ExitStack() as opened:
        streams = [opened.enter_context(open_input(source)) for source in sources]
        try:
            with open_output(target) as out:
                return edit.concatenate(streams, out)
        except ConfigError as error:  # numbers its sources; here they have names
            named = re.sub(r"source (\d+)", lambda found: _name(sources[int(found[1])]) or found[0], str(error))
            raise ConfigError(named) from error


def check_target(target: Any, *sources: Any) -> None:
    """Refuse to write over what is read, by whatever name; only paths are looked at, and ``-`` where it is a file.

    Raises:
        VideoError: the target is the file of a source.
    """
    if any(_is_same_file(source, target) for source in sources):
        raise VideoError(f"{target}: is the input itself, which would be lost; give another output")


def _is_same_file(source: Any, target: Any) -> bool:
    try:
        return os.path.isfile(target) and os.path.samefile(0 if source == "-" else source, target)
    except (OSError, TypeError, ValueError):  # one is not there, or no path
        return False


def _name(source: Any) -> str | None:
    """What a source is called; None where it is a file object without a name."""
    if isinstance(source, str | os.PathLike):
        return "standard input" if source == "-" else str(source)
    return getattr(source, "name", None)


def _find_frames(stream: BinaryIO, start: float | None, end: float | None) -> tuple[int, int]:
    """First and last of the shown frames, counted from 0, whose times t fulfil ``start`` <= t < ``end``."""
    low, high = moment(start or 0.0), None if end is None else moment(end)
    reader = Reader(stream)
    first, last, count, clock = None, 0, 0, Fraction(0)
    for group in reader:
        times = shown_times(group, clock, reader.header.fps)
        for number, time in enumerate(times, count):
            if time >= low and (high is None or time < high):
                first, last = number if first is None else first, number
        count, clock = count + len(times), times[-1] + 1 / reader.header.fps
    if first is None:
        raise ConfigError(
            f"start={start}, end={end}: no frame lies in this range, the video ends at {float(clock):g} s"
        )
    return first, last


def configure(kind: type[_Config], fields: Mapping[str, Any]) -> _Config:
    """The configuration of a kind with these fields.

    Raises:
        ConfigError: an unknown field, or one out of its range.
    """
    known = [spec.name for spec in dataclasses.fields(kind)]
    for name in fields:
        if name not in known:
            raise ConfigError(f"{name}: not known, expected some of {', '.join(known)}")
    return kind(**fields)
