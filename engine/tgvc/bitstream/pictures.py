"""Key pictures as bytes: one closed, inter-predicted track per group, and the table of codecs that can code one.

A codec turns a list of I420 pictures into one payload and back. Its number is written in the group, so numbers are
never reused. The payload of ``av1`` is the low-overhead OBU stream without temporal delimiters: the first picture is
intra, the number of shown pictures is known from the group, and dav1d finds their borders by itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, cast

import av
import numpy as np
from av.error import FFmpegError

from tgvc.errors import BitstreamError, ConfigError, VideoError
from tgvc.types import Picture, picture_size

QUALITY_MIN, QUALITY_MAX = 4.0, 70.0  # constant rate factor of SVT-AV1, in quarter steps; 70 is the coarsest
_environment = threading.Lock()
_TEMPORAL_DELIMITER = b"\x12\x00"
_LANCZOS_BITEXACT = 0x200 | 0x40000 | 0x80000 | 0x2000  # swscale: Lanczos, accurate rounding, bit-exact, full chroma


@dataclass(frozen=True)
class CodedTrack:
    """A coded track: its ``payload`` and the ``pictures`` that any decoder will see."""

    payload: bytes
    pictures: list[Picture]


class PictureCodec(Protocol):
    """What every entry of `CODECS` offers."""

    name: str

    def encode(self, pictures: Sequence[Picture], quality: float, preset: int) -> CodedTrack:
        """Code pictures of one size as a closed track at a constant quality."""
        ...

    def decode(self, payload: bytes, width: int, height: int, count: int) -> list[Picture]:
        """Decode exactly ``count`` pictures of the given size, or raise BitstreamError."""
        ...


class Av1Codec:
    """AV1: SVT-AV1 encodes, dav1d decodes (which is bit-exact on every machine)."""

    name = "av1"

    def encode(self, pictures: Sequence[Picture], quality: float, preset: int) -> CodedTrack:
        """Code a track.

        Args:
            pictures: I420 uint8 (3H/2, W), all of one size, at least one.
            quality: constant rate factor, 4..70, rounded to quarters; larger is coarser.
            preset: SVT-AV1's preset, 0 (slowest) .. 13.

        Returns:
            The payload and its decoded pictures.
        """
        if not QUALITY_MIN <= quality <= QUALITY_MAX:
            raise ConfigError(f"quality={quality}: expected {QUALITY_MIN}..{QUALITY_MAX}")
        width, height = picture_size(pictures[0])
        context = av.CodecContext.create("libsvtav1", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.framerate, context.time_base = Fraction(30), Fraction(1, 30)
        crf = round(quality * 4) / 4
        # one thread: the caller runs several encodes at once, and the bytes do not depend on it
        context.options = {"preset": str(preset), "svtav1-params": f"crf={crf:g}:keyint=-1:lp=1"}
        packets: list[bytes] = []
        try:
            with _quiet_encoder(), _ordinary_priority():
                context.open()
            for index, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
                frame.pts = index
                packets += [bytes(p) for p in context.encode(frame)]
            packets += [bytes(p) for p in context.encode(None)]
        except FFmpegError as error:
            raise VideoError(f"SVT-AV1 could not code {len(pictures)} pictures of {width}x{height}: {error}") from error
        payload = b"".join(p.removeprefix(_TEMPORAL_DELIMITER) for p in packets)
        return CodedTrack(payload, self.decode(payload, width, height, len(pictures)))

    def decode(self, payload: bytes, width: int, height: int, count: int) -> list[Picture]:
        """See `PictureCodec.decode`.

        Raises:
            BitstreamError: not an AV1 stream of ``count`` 8-bit 4:2:0 pictures of this size.
        """
        context = cast("av.VideoCodecContext", av.CodecContext.create("libdav1d", "r"))
        # a hostile sequence header must not make the decoder allocate more than the group announced
        context.options = {"max_pixels": str(width * height)}
        context.thread_count = 1
        pictures: list[Picture] = []
        try:
            for packet in (av.Packet(payload), None):
                for frame in context.decode(packet):
                    if (frame.width, frame.height, frame.format.name) != (width, height, "yuv420p"):
                        got = f"{frame.width}x{frame.height} {frame.format.name}"
                        raise BitstreamError(f"key pictures: expected {width}x{height} yuv420p, got {got}")
                    pictures.append(np.asarray(frame.to_ndarray(), np.uint8))
                    if len(pictures) > count:
                        raise BitstreamError(f"key pictures: expected {count}, got more")
        except (FFmpegError, OverflowError) as error:
            raise BitstreamError(f"key pictures: not a valid AV1 payload of {len(payload)} bytes ({error})") from error
        if len(pictures) != count:
            raise BitstreamError(f"key pictures: expected {count}, got {len(pictures)}")
        return pictures


@contextmanager
def _quiet_encoder() -> Iterator[None]:
    """Let SVT-AV1 report errors only: it prints its settings on stderr, and reads the level from the environment."""
    with _environment:
        if "SVT_LOG" in os.environ:
            yield
            return
        os.environ["SVT_LOG"] = "1"
        try:
            yield
        finally:
            del os.environ["SVT_LOG"]  # children of the caller are not ours to quieten


@contextmanager
def _ordinary_priority() -> Iterator[None]:
    """Undo SVT-AV1's scheduling: run as root it makes itself and its caller real-time, and starves everything else."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else ["0"]:
            with suppress(ProcessLookupError):  # it may have ended since
                if os.sched_getscheduler(int(thread)) != policy:
                    os.sched_setscheduler(int(thread), policy, parameter)


CODECS: dict[int, PictureCodec] = {0: Av1Codec()}


def find_codec(number: int) -> PictureCodec:
    """The codec of a number read from a stream.

    Raises:
        BitstreamError: a codec that this release does not know.
    """
    if number not in CODECS:
        known = ", ".join(f"{n} ({codec.name})" for n, codec in CODECS.items())
        raise BitstreamError(f"picture codec {number}: not known to this release, which has {known}")
    return CODECS[number]


def coded_size(width: int, height: int, scale: Fraction) -> tuple[int, int]:
    """Size of key pictures at a scale of the working size: multiples of 8 px, at least 16, never enlarged."""

    def one(length: int) -> int:
        return min(length, max(16, round(length * scale / 8) * 8))

    return one(width), one(height)


def resize_picture(picture: Picture, width: int, height: int) -> Picture:
    """An I420 picture scaled with Lanczos (bit-exact swscale), uint8 (3h/2, w); the same array if the size fits."""
    if picture_size(picture) == (width, height):
        return picture
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="yuv420p")
    scaled = frame.reformat(width, height, "yuv420p", interpolation=_LANCZOS_BITEXACT)
    return np.asarray(scaled.to_ndarray(), np.uint8)
