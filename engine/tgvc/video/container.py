"""Frames of everything that libav can demux: files and streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NoReturn, TypeVar, cast

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from tgvc.errors import VideoError
from tgvc.video.colour import tag_full_range
from tgvc.video.faults import LIBAV_FAULTS, reason, translated
from tgvc.video.geometry import Orientation, frame_orientation
from tgvc.video.sources import DEFAULT_FPS, ByteSource, SourceFrame

_Result = TypeVar("_Result")

# Browsers and screen recorders write streams of variable rate whose declared rate is the tick of their clock.
_FASTEST_DECLARED_FPS = 120
_FASTEST_FPS = 1000
_READ_BYTES = 1 << 18
# Sound may end a little before the duration that a Matroska header declares (codec padding).
_MISSING_TAIL_S = Fraction(1, 4)


def open_container(data: Any, **arguments: Any) -> InputContainer:
    """``av.open`` for reading, without its objection to tags that are not UTF-8."""
    if int(av.__version__.split(".")[0]) < 19:  # later releases have dropped the objection and the argument
        arguments["metadata_errors"] = "replace"
    return cast("InputContainer", av.open(data, "r", **arguments))


class ContainerSource:
    """The best video stream of a container.

    Args:
        data: a path with libav's ``file:`` prefix, or bytes.
        name: how to call it in error messages.
    """

    def __init__(self, data: str | ByteSource, name: str) -> None:
        self.name = name
        self.fps = DEFAULT_FPS
        self.count: int | None = None
        self.sample_aspect: Fraction | None = None
        self.sound = False
        self.replayable = isinstance(data, str) or data.seekable()
        self._data = data

    def frames(self) -> Iterator[SourceFrame]:
        """Decode from the start.

        Packets before the first key frame that cannot be decoded are skipped, as players do with recordings that begin
        in mid-stream.

        Raises:
            VideoError: no video, a damaged frame (says which), or a Matroska file that ends before its declared end.
        """
        container = self._open()
        try:
            stream = self._describe(container)
            number = 0
            orientation, rotation = Orientation(), 0
            end_s = Fraction(0)
            packets = container.demux()
            while (packet := self._step(lambda: next(packets, None), number)) is not None:
                if packet.pts is not None and packet.time_base is not None:
                    end_s = max(end_s, (packet.pts + (packet.duration or 0)) * packet.time_base)
                if packet.stream.index != stream.index:
                    continue
                try:
                    decoded = stream.decode(packet)
                except LIBAV_FAULTS as fault:
                    if number == 0 and packet.size and not packet.is_keyframe:
                        continue
                    self._refuse(number, reason(fault), fault)
                for frame in decoded:
                    if packet.is_corrupt or frame.is_corrupt:
                        self._refuse(number, "its data are incomplete")
                    if stream.codec_context.name == "mjpeg":
                        tag_full_range(frame)
                    base = frame.time_base or stream.time_base
                    time = None if frame.pts is None or base is None else frame.pts * base
                    # Side data and their frame hold each other until the garbage collector comes round, which at 4K
                    # would be gigabytes late: only the first frame is asked, and the one where the angle changes.
                    if number == 0 or frame.rotation != rotation:
                        orientation, rotation = frame_orientation(frame), frame.rotation
                    yield SourceFrame(time, frame, orientation)
                    number += 1
            self._check_end(container, end_s, number)
        finally:
            container.close()
            if isinstance(self._data, ByteSource) and not self.replayable:
                self._data.close()

    def _open(self) -> InputContainer:
        if isinstance(self._data, ByteSource) and self._data.seekable():
            self._data.seek(0)
        options = {"protocol_whitelist": "file"} if isinstance(self._data, str) else {}
        container = self._step(lambda: open_container(self._data, options=options, buffer_size=_READ_BYTES), None)
        if not container.streams.video:
            container.close()
            raise VideoError(f"{self.name}: holds no video, expected a file with a video stream")
        return container

    def _describe(self, container: InputContainer) -> VideoStream:
        with translated(f"{self.name}: cannot be read"):
            stream = container.streams.best("video") or container.streams.video[0]
            assert isinstance(stream, VideoStream)
            if stream.codec_context is None:
                raise VideoError(f"{self.name}: its video codec has no decoder here")
            stream.thread_type = "AUTO"
            self.count, self.sound = stream.frames or None, bool(container.streams.audio)
            self.sample_aspect = stream.sample_aspect_ratio
            rate = stream.average_rate or stream.guessed_rate or DEFAULT_FPS
            if rate > _FASTEST_DECLARED_FPS:
                rate = self._measured_fps(stream.index) or rate
            self.fps = rate if 0 < rate < _FASTEST_FPS else DEFAULT_FPS
        return stream

    def _measured_fps(self, index: int) -> Fraction | None:
        """Packets per second over the whole file; None for a pipe, which cannot be read twice."""
        if not isinstance(self._data, str):
            return None
        with self._open() as container:
            stream = container.streams[index]
            tick = stream.time_base or Fraction(0)
            times = sorted(p.pts for p in container.demux(stream) if p.pts is not None)
        length_s = (times[-1] - times[0]) * tick if times else Fraction(0)
        return Fraction((len(times) - 1) / length_s).limit_denominator(1001) if length_s else None

    def _step(self, action: Callable[[], _Result], number: int | None) -> _Result:
        """The result of one call into libav; faults name the frame, or the whole source before the first one."""
        try:
            result = action()
        except LIBAV_FAULTS as fault:
            self._raise_read_fault()
            if number is None:
                raise VideoError(f"{self.name}: not a video that can be read ({reason(fault)})") from fault
            self._refuse(number, reason(fault), fault)
        self._raise_read_fault()
        return result

    def _raise_read_fault(self) -> None:
        if isinstance(self._data, ByteSource):
            self._data.raise_fault()

    def _refuse(self, number: int, why: str, fault: BaseException | None = None) -> NoReturn:
        advice = f"; ask for frames={number} to use what comes before it" if number else ""
        raise VideoError(f"{self.name}: frame {number} cannot be decoded ({why}){advice}") from fault

    def _check_end(self, container: InputContainer, end_s: Fraction, number: int) -> None:
        """Refuse a Matroska file whose tail is missing: libav reads it as if it ended there."""
        if "matroska" not in container.format.name or not container.duration:
            return
        declared_s = Fraction(container.duration, av.time_base)
        if end_s + _MISSING_TAIL_S < declared_s:
            why = f"the file ends after {float(end_s):.2f} s of {float(declared_s):.2f} s"
            self._refuse(number, why)
