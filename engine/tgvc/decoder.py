"""A .tgvc stream in, frames out: the decoder, step by step."""

from __future__ import annotations

import copy
import time
import zlib
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import islice
from typing import Any

from tgvc.bitstream.arriving import open_reader
from tgvc.bitstream.container import Group, Header, Reader
from tgvc.bitstream.pictures import find_codec, resize_picture
from tgvc.bitstream.segments import read_tracks
from tgvc.config import DecoderConfig
from tgvc.errors import ConfigError
from tgvc.generators import check_memory, make_generator, open_networks
from tgvc.overlap import StageClock, run_ahead
from tgvc.source import open_input
from tgvc.synthesis.conditions import key_fineness
from tgvc.synthesis.grain import read_texture
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.motion import read_motion
from tgvc.synthesis.room import check_room
from tgvc.synthesis.states import read_group_states
from tgvc.timing import moment, shown_times
from tgvc.types import OnProgress, VideoInfo
from tgvc.video.reader import TimedPicture
from tgvc.video.writer import VideoWriter


@dataclass
class DecodeReport:
    """What was shown, by which generator and networks on what, and the seconds spent per stage (summed over threads).

    ``providers``: what computed the networks, as found in force. ``device``: where the loop and the pictures were
    computed, ``cpu`` or ``cuda:0``. ``bundle, backend, paint``: empty without networks.
    """

    frames: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    generator: str = "warp"
    bundle: str = ""
    backend: str = ""
    providers: tuple[str, ...] = ()
    device: str = "cpu"
    steps: int = 0
    solver: str = ""
    paint: str = ""
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class TimedGroup:
    """A group and when it is shown: ``times`` of its shown frames, seconds; ``hidden`` frames before the first."""

    times: list[Fraction]
    hidden: int
    group: DecodedGroup


class Decoder:
    """Decodes .tgvc streams under one configuration; keeps no state between calls."""

    def __init__(self, config: DecoderConfig | None = None) -> None:
        """Make the generator ready, networks included.

        Raises:
            BundleError: the bundle is not there, or not what its manifest says.
            BackendError: the backend does not run here, or does not take the bundle.
        """
        self.config = config or DecoderConfig()
        self._networks = open_networks(self.config)
        self._generator = make_generator(self.config, self._networks)

    def decode(self, source: Any, target: Any, on_progress: OnProgress | None = None) -> DecodeReport:
        """Decode a stream into a video file, a folder of pictures or a pipe.

        Args:
            source: path, ``-`` or binary file object; a pipe is decoded while it arrives.
            target: see `tgvc.video.writer.VideoWriter`.
            on_progress: told ("decode", frames, None) of every frame and, by generators that denoise, ("denoise",
                steps, steps of the group) of every step, from another thread; never draws.

        Raises:
            BitstreamError: not a valid stream; nothing is left of the target.
            VideoError: the target cannot be written.
        """
        began, clock = time.perf_counter(), StageClock()
        report = DecodeReport(**self._generator.facts)
        with open_input(source) as stream:
            reader = open_reader(stream)
            info = video_info(reader.header)
            report.fps = float(info.fps)
            size = (info.source_width, info.source_height) if self.config.restore_size else None
            with (
                VideoWriter(target, info, size=size) as writer,
                closing(self._show(reader, clock, on_progress)) as frames,
            ):
                report.width, report.height = writer.size
                for shown in frames:
                    with clock.measure("write"):
                        writer.write(shown.picture, shown.time)
                    report.frames += 1
                    if on_progress:
                        on_progress("decode", report.frames, None)
                if report.frames == 0:
                    raise ConfigError(f"start={self.config.start}, end={self.config.end}: no frame lies in this range")
        for name, fact in clock.painter.items():
            setattr(report, name, fact)
        report.seconds, report.stages = time.perf_counter() - began, dict(clock.seconds)
        return report

    def frames(self, source: Any) -> Iterator[TimedPicture]:
        """The shown frames of a stream with their times, one by one, as they are decoded."""
        with open_input(source) as stream, closing(self._show(open_reader(stream), StageClock())) as frames:
            yield from frames

    def _show(
        self, reader: Reader, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[TimedPicture]:
        """Frames inside the asked range: groups are read ahead and painted."""
        parsing = self.read_groups(reader, clock)
        # warp takes no longer than parsing and would only hold two groups more; human shows groups that still come
        if self.config.generator not in (None, "warp", "human"):
            parsing = run_ahead(parsing, may_wait=True)
        with closing(parsing) as parsed:
            for timed in parsed:
                yield from self.paint_group(timed, clock, on_progress)

    def read_groups(self, reader: Reader, clock: StageClock) -> Generator[TimedGroup]:
        """The groups of a stream that touch the asked range; whole groups before it are skipped without decoding.

        Args:
            reader: at the first group.
            clock: told of the stages ``pictures`` and ``motion``.

        Raises:
            BitstreamError: a damaged group, after those before it.
            ConfigError: a group, or the networks, would find no memory for pictures of this size.
        """
        if self._networks is not None:
            check_memory(self.config, self._networks, (reader.header.width, reader.header.height))
        start, end = self._range()
        fps, now = reader.header.fps, Fraction(0)
        for group in reader:
            times = shown_times(group, now, fps)
            if end is not None and times[0] >= end:
                return
            now = times[-1] + 1 / fps
            if times[-1] >= start:
                check_room(group, (reader.header.width, reader.header.height), self.config.threads)
                yield TimedGroup(times, group.hide_head, decode_group(group, reader.header, clock))
            if end is not None and times[-1] >= end:  # so that damage behind the range harms nobody
                return

    def paint_group(
        self, timed: TimedGroup, clock: StageClock, on_progress: OnProgress | None = None
    ) -> Generator[TimedPicture]:
        """The frames of a group that are shown and lie in the asked range, in order, as they are done.

        Groups of several streams may be painted at once, each in a thread of its own.

        Args:
            timed: as `read_groups` gives it.
            clock: told of the stages of painting.
            on_progress: told of denoising steps, from other threads too.
        """
        start, end = self._range()
        wanted = sum(end is None or time_ < end for time_ in timed.times)
        last = timed.hidden + wanted == timed.group.frames
        with closing(self._generator.render_group(timed.group, clock, on_progress)) as pictures:
            for time_, picture in zip(timed.times[:wanted], islice(pictures, timed.hidden, None), strict=False):
                if time_ >= start:
                    yield TimedPicture(time_, picture)
            if last:
                deque(pictures, 0)  # a generator that has come to its end has given back what it used

    @property
    def facts(self) -> dict[str, Any]:
        """What is known before any stream: generator, bundle, backend, providers, steps, as in `DecodeReport`."""
        return self._generator.facts

    def within(self, start: float | None, end: float | None) -> Decoder:
        """A decoder of another range of time that shares generator and networks with this one.

        Raises:
            ConfigError: an impossible range.
        """
        other = copy.copy(self)
        other.config = replace(self.config, start=start, end=end)
        return other

    def _range(self) -> tuple[Fraction, Fraction | None]:
        """First moment shown, and the one before which the last frame shown begins."""
        end = self.config.end
        return moment(self.config.start or 0.0), None if end is None else moment(end)


def decode_group(group: Group, header: Header, clock: StageClock) -> DecodedGroup:
    """Key pictures and motion of a group out of their bytes.

    Args:
        group: as parsed.
        header: of its stream.
        clock: told of the stages ``pictures`` and ``motion``.

    Raises:
        BitstreamError: a layer is not valid.
    """
    with clock.measure("pictures"):
        keys = find_codec(group.codec).decode(group.pictures, group.key_width, group.key_height, len(group.keys))
        keys = [resize_picture(k, header.width, header.height) for k in keys]
    with clock.measure("motion"):
        segments = read_tracks(group, header.width, header.height)
        motions = [read_motion(segment, header.width, header.height) for segment in segments]
        states = read_group_states(group) if group.kind == "affine" else None
    fine = key_fineness(len(group.pictures), len(keys), header.width, header.height)
    timed = [] if states is not None else list(zip(motions, group.segment_lengths, strict=True))
    texture = read_texture(group.texture, group.frames)
    return DecodedGroup(zlib.crc32(group.pictures), header.seed, keys, timed, fine, header.matrix, texture, states)


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
