"""Files that libav encodes and muxes: mp4, mov, mkv, webm and gif."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from tgvc.errors import ConfigError
from tgvc.types import VideoInfo
from tgvc.video.colour import Scaler
from tgvc.video.faults import LIBAV_FAULTS, translated
from tgvc.video.pending import pending_path

# Visually lossless: what is stored is what the codec made, not what a second codec left of it. Without B-frames the
# decoding times equal the presentation times, so mp4's durations are exact at any rate.
_H264 = {"crf": "12", "preset": "fast", "bf": "0"}
_VP9 = {"crf": "16", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
_OPTIONS = {"libx264": _H264, "libvpx-vp9": _VP9, "ffv1": {"level": "3"}}
_ENCODER = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".gif": "gif"}
_MUXER = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".gif": "gif"}
_ANY_SIZE = ("libvpx-vp9", "libvpx", "ffv1", "gif")  # the others store 4:2:0 of even sides only
SUFFIXES = tuple(_MUXER)

_TICKS_PER_S = 60000
_LARGEST_TIMESCALE = 10**7
_GIF_TICK = Fraction(1, 100)
_LIMITED = 1  # AVColorRange


def time_base(fps: Fraction) -> Fraction:
    """A unit of time that holds the grid of a rate exactly and any other time within about 8 microseconds.

    Args:
        fps: nominal rate, frames per second.

    Returns:
        Seconds per tick: 1 over the smallest multiple of the rate's numerator that is at least 60,000, or 1/60000 for
        rates whose numerator is too large for a time scale.
    """
    if fps.numerator > _LARGEST_TIMESCALE:
        return Fraction(1, _TICKS_PER_S)
    return Fraction(1, fps.numerator * -(-_TICKS_PER_S // fps.numerator))


def storable_size(suffix: str, codec: str | None, size: tuple[int, int]) -> tuple[int, int]:
    """``size`` (width, height in px) or, for an encoder that knows even sides only, the next larger even one."""
    if (codec or _ENCODER[suffix]) in _ANY_SIZE:
        return size
    return size[0] + size[0] % 2, size[1] + size[1] % 2


class ContainerTarget:
    """A file that is written under another name and renamed at the end. Times are kept.

    Args:
        path: the file; its suffix chooses the container.
        info: rate and colour matrix.
        size: width and height in px of the frames that will come.
        codec: libav's name of an encoder, or None for the container's usual one.
        options: options of the encoder, over the defaults of this module.

    Raises:
        ConfigError: an encoder or an option that does not exist.
        VideoError: the file cannot be made, or the container does not take the encoder.
    """

    _pixels = "yuv420p"

    def __init__(
        self, path: Path, info: VideoInfo, size: tuple[int, int], codec: str | None, options: Mapping[str, str]
    ) -> None:
        suffix = path.suffix.lower()
        codec = codec or _ENCODER[suffix]
        self._what = f"{path}: cannot be written as {suffix} by the encoder {codec}"
        self._path = path
        self._pending = pending_path(path)
        self._tick = _GIF_TICK if suffix == ".gif" else time_base(info.fps)
        self._period = max(1, round(1 / (info.fps * self._tick)))
        self._last = -1
        _check_encoder(codec)
        with translated(f"{path}: cannot be written"):
            self._pending.open("xb").close()
        try:
            with translated(self._what):
                flags = {"movflags": "+faststart"} if suffix in (".mp4", ".mov") else {}
                self._container = av.open(str(self._pending), "w", format=_MUXER[suffix], options=flags)
                self._start(codec, {**_OPTIONS.get(codec, {}), **options}, info, size)
            if unknown := set(self._stream.options) & set(options):
                raise ConfigError(f"options={sorted(unknown)}: unknown to the encoder {codec}")
        except BaseException:
            self.abort()
            raise

    def _start(self, codec: str, options: dict[str, str], info: VideoInfo, size: tuple[int, int]) -> None:
        self._stream = cast("VideoStream", self._container.add_stream(codec, rate=info.fps, options=options))
        context = self._stream.codec_context
        context.width, context.height = size
        context.pix_fmt = self._pixels
        context.time_base = self._tick
        context.bit_rate = 0  # quality rules, not rate
        context.colorspace = info.matrix
        context.color_range = _LIMITED
        self._container.start_encoding()

    def write(self, frame: av.VideoFrame, index: int, time: Fraction) -> None:
        """Encode the yuv420p frame number ``index``, shown at ``time`` seconds."""
        with translated(self._what):
            self._encode(self._stamp(frame, time))

    def _stamp(self, frame: av.VideoFrame, time: Fraction) -> av.VideoFrame:
        self._last = max(self._last + 1, round(time / self._tick))
        frame.time_base = self._tick
        frame.pts = self._last
        frame.duration = self._period
        return frame

    def _encode(self, frame: av.VideoFrame | None) -> None:
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Flush the encoder and put the file into place."""
        with translated(self._what):
            self._encode(None)
            self._container.close()
            self._pending.replace(self._path)

    def abort(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(AttributeError, *LIBAV_FAULTS):  # AttributeError: it was never opened
            self._container.close()
        with contextlib.suppress(OSError):
            self._pending.unlink()


class GifTarget(ContainerTarget):
    """An animated GIF with a palette of its own for every frame, at the nominal rate; one frame in memory.

    Raises:
        ConfigError: more than 100 frames per second, the finest that GIF's clock can tell apart.
        VideoError: the file cannot be made.
    """

    _pixels = "pal8"

    def __init__(self, path: Path, info: VideoInfo, size: tuple[int, int]) -> None:
        if info.fps > 1 / _GIF_TICK:
            raise ConfigError(
                f"fps={float(info.fps):g}: expected at most {1 / _GIF_TICK} for .gif, write another format"
            )
        self._fps = info.fps
        self._scaler = Scaler()
        self._graph = _palette_graph(size)
        super().__init__(path, info, size, None, {})

    def write(self, frame: av.VideoFrame, index: int, time: Fraction) -> None:
        """Encode the yuv420p frame number ``index`` at the nominal rate; ``time`` is not kept."""
        with translated(self._what):
            rgb = self._scaler.to_rgb(frame, frame.width, frame.height)
            self._graph.vpush(self._stamp(rgb, index / self._fps))
            self._drain()

    def finish(self) -> None:
        """Flush the palette filter and the encoder and put the file into place."""
        with translated(self._what):
            self._graph.vpush(None)
            self._drain()
        super().finish()

    def _drain(self) -> None:
        with contextlib.suppress(av.BlockingIOError, av.EOFError):  # the filter's "not yet" and "no more"
            while True:
                painted = self._graph.vpull()
                painted.time_base = self._tick
                self._encode(painted)


def _check_encoder(codec: str) -> None:
    try:
        kind = av.Codec(codec, "w").type
    except ValueError as fault:
        raise ConfigError(f"codec={codec}: not an encoder that libav has here") from fault
    if kind != "video":
        raise ConfigError(f"codec={codec}: an encoder of {kind}, expected one of video")


def _palette_graph(size: tuple[int, int]) -> Graph:
    """The filter from rgb24 frames of ``size`` to frames of 256 colours that carry their palette."""
    graph = Graph()
    source = graph.add_buffer(width=size[0], height=size[1], format=VideoFormat("rgb24"), time_base=_GIF_TICK)
    split, sink = graph.add("split"), graph.add("buffersink")
    palette = graph.add("palettegen", "stats_mode=single")
    paint = graph.add("paletteuse", "new=1:dither=sierra2_4a")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(paint, 1, 0)
    palette.link_to(paint, 0, 1)
    paint.link_to(sink)
    graph.configure()
    return graph
