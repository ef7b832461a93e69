"""A .tgvc stream in, frames out: the decoder, step by step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import islice
from typing import Any

from tgvc.bitstream.container import Group, Header, Reader
from tgvc.bitstream.motion import anchor_grid
from tgvc.bitstream.pictures import find_codec, resize_picture
from tgvc.bitstream.tracks import decode_motion
from tgvc.config import DecoderConfig
from tgvc.errors import ConfigError
from tgvc.source import open_input
from tgvc.synthesis.densify import read_motion
from tgvc.synthesis.warp import WarpGenerator
from tgvc.timing import moment, shown_times
from tgvc.types import Picture, VideoInfo
from tgvc.video.reader import TimedPicture
from tgvc.video.writer import VideoWriter

Progress = Callable[[str, int, int | None], None]


@dataclass
class DecodeReport:
    """What was shown, by which generator, and the seconds spent per stage (summed over threads)."""

    frames: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    generator: str = "warp"
    seconds: float = 0.0
    stages: dict[str, float] = field(
        default_factory=lambda: {"pictures": 0.0, "motion": 0.0, "render": 0.0, "write": 0.0}
    )

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return asdict(self)


class Decoder:
    """Decodes .tgvc streams under one configuration; keeps no state between calls."""

    def __init__(self, config: DecoderConfig | None = None) -> None:
        self.config = config or DecoderConfig()
        self._generator = WarpGenerator()

    def decode(self, source: Any, target: Any, on_progress: Progress | None = None) -> DecodeReport:
        """Decode a stream into a video file, a folder of pictures or a pipe.

        Args:
            source: path, ``-`` or binary file object; a pipe is decoded while it arrives.
            target: see `tgvc.video.writer.VideoWriter`.
            on_progress: told of every frame; never draws.

        Raises:
            BitstreamError: not a valid stream; nothing is left of the target.
            VideoError: the target cannot be written.
        """
        began = time.perf_counter()
        report = DecodeReport(generator=self.config.generator)
        with open_input(source) as stream:
            reader = Reader(stream)
            info = video_info(reader.header)
            report.width, report.height, report.fps = info.width, info.height, float(info.fps)
            size = (info.source_width, info.source_height) if self.config.restore_size else None
            with VideoWriter(target, info, size=size) as writer:
                for shown in self._show(reader, report):
                    start = time.perf_counter()
                    writer.write(shown.picture, shown.time)
                    report.stages["write"] += time.perf_counter() - start
                    report.frames += 1
                    if on_progress:
                        on_progress("decode", report.frames, None)
                if report.frames == 0:
                    raise ConfigError(f"start={self.config.start}, end={self.config.end}: no frame lies in this range")
        report.seconds = time.perf_counter() - began
        return report

    def frames(self, source: Any) -> Iterator[TimedPicture]:
        """The shown frames of a stream with their times, one by one, as they are decoded."""
        with open_input(source) as stream:
            yield from self._show(Reader(stream), DecodeReport())

    def _show(self, reader: Reader, report: DecodeReport) -> Iterator[TimedPicture]:
        """Frames inside the asked range; whole groups before it are skipped without decoding."""
        start = moment(self.config.start or 0.0)
        end = None if self.config.end is None else moment(self.config.end)
        fps, clock = reader.header.fps, Fraction(0)
        for group in reader:
            if end is not None and clock >= end:
                return
            times = shown_times(group, clock, fps)
            clock = times[-1] + 1 / fps
            if times[-1] < start:
                continue
            pictures = self._decode_group(group, reader.header, report)
            for time_, picture in zip(times, islice(pictures, group.hide_head, None), strict=False):
                if time_ >= start and (end is None or time_ < end):
                    yield TimedPicture(time_, picture)

    def _decode_group(self, group: Group, header: Header, report: DecodeReport) -> Iterator[Picture]:
        """All frames of a group in order: key pictures, motion, then segments rendered side by side."""
        start = time.perf_counter()
        keys = find_codec(group.codec).decode(group.pictures, group.key_width, group.key_height, len(group.keys))
        keys = [resize_picture(k, header.width, header.height) for k in keys]
        report.stages["pictures"] += time.perf_counter() - start
        start = time.perf_counter()
        lengths = [b - a + 1 for a, b in zip(group.keys, group.keys[1:], strict=False)]
        segments = decode_motion(group.motion, lengths, anchor_grid(header.width, header.height))
        report.stages["motion"] += time.perf_counter() - start

        def render(index: int) -> list[Picture]:
            began = time.perf_counter()
            motion = read_motion(segments[index], header.width, header.height)
            frames = self._generator.render(keys[index], keys[index + 1], motion, lengths[index])
            report.stages["render"] += time.perf_counter() - began
            return frames

        yield keys[0]
        ahead = self.config.threads + 1
        with ThreadPoolExecutor(self.config.threads) as pool:
            jobs: deque[Future[list[Picture]]] = deque()
            for index in range(len(segments)):
                while len(jobs) < ahead and index + len(jobs) < len(segments):
                    jobs.append(pool.submit(render, index + len(jobs)))
                yield from jobs.popleft().result()
                yield keys[index + 1]


def video_info(header: Header) -> VideoInfo:
    """What a stream's header says of the video."""
    return VideoInfo(
        width=header.width,
        height=header.height,
        source_width=header.source_width,
        source_height=header.source_height,
        fps=header.fps,
        matrix=header.matrix,
    )
