"""YUV4MPEG2 (.y4m), the uncompressed format of pipes: read without libav's probing, written bit for bit.

The format has no field for the colour matrix: the numbers of the pictures pass unchanged, and readers guess from the
size which matrix they belong to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np

from tgvc.errors import VideoError
from tgvc.types import VideoInfo
from tgvc.video.colour import frame_planes
from tgvc.video.faults import translated
from tgvc.video.pending import pending_path
from tgvc.video.sources import DEFAULT_FPS, ByteSource, SourceFrame

MAGIC = b"YUV4MPEG2 "
_LONGEST_LINE = 1024
_LARGEST_SIDE_PX = 16384
_FRAME = b"FRAME\n"
_LIMITED, _FULL = 1, 2  # AVColorRange
_SAMPLINGS, _DEPTHS = ("20", "22", "44"), (9, 10, 12, 14, 16)
_PIXELS = {"mono": "gray", "411": "yuv411p", "444alpha": "yuva444p"}
_PIXELS |= {f"420{s}": "yuv420p" for s in ("jpeg", "mpeg2", "paldv")}
_PIXELS |= {f"4{s}": f"yuv4{s}p" for s in _SAMPLINGS}
_PIXELS |= {f"4{s}p{b}": f"yuv4{s}p{b}le" for s in _SAMPLINGS for b in _DEPTHS}
_PIXELS |= {f"mono{b}": f"gray{b}le" for b in _DEPTHS}


@dataclass(frozen=True)
class Y4mHeader:
    """The stream header: size in px, PyAV's name of the pixel format, rate, sample aspect and range."""

    width: int
    height: int
    pixels: str = "yuv420p"
    fps: Fraction = DEFAULT_FPS
    sample_aspect: Fraction | None = None
    full_range: bool = False


def parse_header(line: bytes, name: str) -> Y4mHeader:
    """Read a stream header.

    Args:
        line: the first line of the stream, without its newline.
        name: how to call the source in error messages.

    Raises:
        VideoError: a field that is missing, malformed or not known.

    Source: the yuv4mpeg(5) manual page of mjpegtools; XCOLORRANGE and the formats above 8 bits as FFmpeg writes them.
    """
    fields = {f[:1]: f[1:] for f in line[len(MAGIC) :].decode("ascii", "replace").split() if not f.startswith("X")}
    pixels = _PIXELS.get(fields.get("C", "420"))
    if pixels is None:
        raise VideoError(f"{name}: y4m field C{fields['C']}: expected 411, 420, 422, 444 or mono, 8 to 16 bits")
    sides = []
    for letter in "WH":
        text = fields.get(letter, "")
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _LARGEST_SIDE_PX:
            raise VideoError(f"{name}: y4m field {letter}{text}: expected a size from 1 to {_LARGEST_SIDE_PX} px")
        sides.append(int(text))
    fps = _ratio(fields.get("F", "0:0"), "F", name) or DEFAULT_FPS
    aspect = _ratio(fields.get("A", "0:0"), "A", name)
    return Y4mHeader(sides[0], sides[1], pixels, fps, aspect, b"XCOLORRANGE=FULL" in line.split())


def _ratio(text: str, letter: str, name: str) -> Fraction | None:
    """``a:b`` as a fraction; None where a part is zero, which means unknown."""
    numerator, colon, denominator = text.partition(":")
    if not colon or not (numerator + denominator).isascii() or not (numerator.isdigit() and denominator.isdigit()):
        raise VideoError(f"{name}: y4m field {letter}{text}: expected two whole numbers with a colon between")
    if max(int(numerator), int(denominator)) >= 2**31:
        raise VideoError(f"{name}: y4m field {letter}{text}: expected numbers below 2**31")
    return Fraction(int(numerator), int(denominator)) if int(numerator) and int(denominator) else None


class Y4mSource:
    """Frames of a y4m stream, in any pixel format and depth of the format's family.

    Args:
        open_bytes: gives the stream from its start.
        name: how to call it in error messages.
        replayable: whether ``open_bytes`` may be called again.
    """

    def __init__(self, open_bytes: Callable[[], ByteSource], name: str, *, replayable: bool) -> None:
        self.name = name
        self.fps = DEFAULT_FPS
        self.count: int | None = None
        self.sample_aspect: Fraction | None = None
        self.sound = False
        self.replayable = replayable
        self._open_bytes = open_bytes

    def frames(self) -> Iterator[SourceFrame]:
        """Read from the start.

        Raises:
            VideoError: a bad header, or a frame that is damaged or cut off (says which).
        """
        data = self._open_bytes()
        try:
            header = parse_header(self._line(data), self.name)
            self.fps, self.sample_aspect = header.fps, header.sample_aspect
            number = 0
            while marker := data.read_all(len(_FRAME)):
                if marker != _FRAME and not (marker[:-1] == _FRAME[:-1] and self._line(data)):
                    data.raise_fault()
                    self._refuse(number, f"expected the word FRAME, got {marker!r}")
                yield SourceFrame(number / header.fps, self._frame(data, header, number))
                number += 1
            data.raise_fault()
        finally:
            data.close()

    def _line(self, data: ByteSource) -> bytes:
        line = bytearray()
        while (byte := data.read_all(1)) not in (b"\n", b""):
            line += byte
            if len(line) > _LONGEST_LINE:
                raise VideoError(f"{self.name}: a y4m header line is longer than {_LONGEST_LINE} bytes")
        data.raise_fault()
        return bytes(line)

    def _frame(self, data: ByteSource, header: Y4mHeader, number: int) -> av.VideoFrame:
        with translated(f"{self.name}: frame {number} cannot be read"):
            frame = av.VideoFrame(header.width, header.height, header.pixels)
            frame.color_range = _FULL if header.full_range else _LIMITED
            for plane in frame_planes(frame):
                samples = data.read_all(plane.size)
                if len(samples) < plane.size:
                    data.raise_fault()
                    self._refuse(number, "the data end inside it")
                plane[:] = np.frombuffer(samples, np.uint8).reshape(plane.shape)
        return frame

    def _refuse(self, number: int, why: str) -> NoReturn:
        advice = f"; ask for frames={number} to use what comes before it" if number else ""
        raise VideoError(f"{self.name}: frame {number} of the y4m stream is damaged ({why}){advice}")


def stream_header(width: int, height: int, fps: Fraction, aspect: Fraction = Fraction(1)) -> bytes:
    """The header of a stream of progressive 8-bit 4:2:0 pictures of limited range.

    Args:
        width: px.
        height: px.
        fps: frames per second.
        aspect: width of a sample over its height.
    """
    size = f"W{width} H{height} F{fps.numerator}:{fps.denominator} Ip A{aspect.numerator}:{aspect.denominator}"
    return MAGIC + f"{size} C420jpeg XYSCSS=420JPEG XCOLORRANGE=LIMITED\n".encode("ascii")


def frame_bytes(frame: av.VideoFrame) -> bytes:
    """One frame of such a stream: the word FRAME and the planes of a yuv420p frame."""
    return b"".join((_FRAME, *(plane.tobytes() for plane in frame_planes(frame))))


class Y4mTarget:
    """A y4m stream at the nominal rate, bit for bit what is written; times are not kept.

    Args:
        output: a path (the file appears whole at the end) or a binary file object, which is not closed.
        name: how to call it in error messages.
        info: the rate.
        size: width and height in px of the frames that will come.
        aspect: width of a sample over its height.

    Raises:
        VideoError: the file cannot be made.
    """

    def __init__(
        self, output: Any, name: str, info: VideoInfo, size: tuple[int, int], aspect: Fraction = Fraction(1)
    ) -> None:
        self._path = output if isinstance(output, Path) else None
        self._pending: Path | None = None
        self._what = f"{name}: cannot be written"
        self._file = output
        self._head = stream_header(*size, info.fps, aspect)
        if self._path is not None:
            self._pending = pending_path(self._path)
            with translated(self._what):
                self._file = self._pending.open("xb")

    def write(self, frame: av.VideoFrame, index: int, time: Fraction) -> None:
        """Append a yuv420p frame; ``time`` is not kept."""
        with translated(self._what):
            rest = memoryview(self._head + frame_bytes(frame))
            self._head = b""
            while rest:  # a pipe may take less than it is given
                taken = self._file.write(rest)
                rest = rest[len(rest) if taken is None else taken :]
            self._file.flush()

    def finish(self) -> None:
        """Put a file into place; a stream already is."""
        if self._path is not None and self._pending is not None:
            with translated(self._what):
                self._file.close()
                self._pending.replace(self._path)

    def abort(self) -> None:
        """Remove a file; what went into a stream is gone."""
        if self._pending is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._pending.unlink()
