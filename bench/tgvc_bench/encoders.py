"""The conventional encoders we compare with, each as one ffmpeg command, and their real payload in bytes.

Every byte that a decoder does not need is taken off, so that the comparison is generous to them: IVF headers, AV1
temporal delimiters, SEI messages of x264, x265 and vvenc (settings as text), vvenc's access unit delimiters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.errors import BackendError
from tgvc.types import Picture, picture_size
from tgvc_bench.ffmpeg import run_ffmpeg

_IVF_HEADER, _IVF_FRAME = 32, 12
_TEMPORAL_DELIMITER = b"\x12\x00"
_REMOVED = {"h264": "6", "hevc": "39|40", "vvc": "20|23|24"}


@dataclass(frozen=True)
class Encoder:
    """One encoder at one setting: single-threaded, one intra picture at the start, constant quality.

    ``options``: ffmpeg's, ``{q}`` stands for the quality; ``coarsest``..``finest`` and ``step``: qualities the search
    may use, ``start``: where it begins (None = the coarsest); ``slope``: log2 of bytes lost per unit of quality, first
    guess; ``version``: finds it in the log; ``depth``: bits per sample; ``alike``: an encoder whose points, where they
    exist, are repeated in place of a search.
    """

    options: str
    format: str
    coarsest: float
    step: float
    slope: float
    version: str
    finest: float = 20
    start: float | None = None
    depth: int = 8
    alike: str = ""

    def command(self, quality: float | None = None) -> list[str]:
        """The ffmpeg options at a quality, or with ``{q}`` left in place."""
        text = self.options if quality is None else self.options.replace("{q}", f"{quality:g}")
        return [
            *text.split(),
            *(["-bsf:v", f"filter_units=remove_types={_REMOVED[self.format]}"] if self.units else []),
        ]

    @property
    def units(self) -> bool:
        """Whether the stream is made of NAL units."""
        return self.format in _REMOVED


_SVT = "-c:v libsvtav1 -preset {p} -svtav1-params crf={q}:lp=1:keyint=-1"
_SVT_VERSION = r"SVT-AV1 Encoder Lib (\S+)"
_VVENC = "-pix_fmt yuv420p10le -c:v libvvenc -preset fast -qpa 0 -qp {q} -period 9999 -threads 1"
ENCODERS: dict[str, Encoder] = {
    "svt-av1-p4": Encoder(_SVT.replace("{p}", "4"), "ivf", 70, 0.25, 0.12, _SVT_VERSION),
    "x265-slow": Encoder(
        "-c:v libx265 -preset slow -x265-params keyint=-1:info=0:pools=none:frame-threads=1:crf={q}",
        "hevc", 51, 0.25, 0.2, r"HEVC encoder version (\S+)",
    ),
    "svt-av1-p2": Encoder(_SVT.replace("{p}", "2"), "ivf", 70, 0.25, 0.12, _SVT_VERSION, alike="svt-av1-p4"),
    "x264-veryslow": Encoder(
        "-c:v libx264 -preset veryslow -x264-params keyint=infinite:threads=1:crf={q}",
        "h264", 51, 0.25, 0.15, r"x264 - core (\d+)",
    ),
    "libaom-cpu4": Encoder(
        "-c:v libaom-av1 -cpu-used 4 -lag-in-frames 48 -crf {q} -b:v 0 -g 9999 -threads 1 -row-mt 0",
        "ivf", 63, 1, 0.11, r"libaom-av1 @ \S+ (v\S+)",
    ),
    "vvenc-fast": Encoder(_VVENC, "vvc", 63, 1, 0.13, r"libvvenc version: (\S+)", start=38, depth=10),
}  # fmt: skip


def is_available(encoder: Encoder) -> bool:
    """Whether the ffmpeg binary has the encoder."""
    words = encoder.options.split()
    return words[words.index("-c:v") + 1] in _list_encoders()


@cache
def _list_encoders() -> frozenset[str]:
    """Names in the second column of ``ffmpeg -encoders``."""
    rows = (line.split() for line in run_ffmpeg(["-encoders"])[0].decode().splitlines())
    return frozenset(row[1] for row in rows if len(row) > 1)


def encode(encoder: Encoder, pictures: Sequence[Picture], fps: Fraction, quality: float) -> tuple[bytes, str]:
    """The encoder's stream of I420 pictures and the version it names ('' where it names none).

    Raises:
        BackendError: The encoder refused.
    """
    width, height = picture_size(pictures[0])
    source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", str(fps), "-i", "pipe:0"]
    stream, log = run_ffmpeg(
        [*source, *encoder.command(quality), "-f", encoder.format, "pipe:1"], np.stack(pictures).tobytes()
    )
    if not stream:  # vvenc refuses some sizes and qualities and still ends well
        raise BackendError(f"{encoder.command(quality)[1]} gave no stream for {width}x{height} at {quality:g}")
    found = re.search(encoder.version, log)
    return stream, found.group(1) if found else ""


def count_payload(encoder: Encoder, stream: bytes) -> int:
    """Bytes of a stream without container headers and AV1 temporal delimiters.

    Raises:
        BackendError: An IVF stream that does not parse to its end.
    """
    if encoder.format != "ivf":
        return len(stream)
    total, at = 0, _IVF_HEADER
    while at < len(stream):
        size = int.from_bytes(stream[at : at + 4], "little")
        at += _IVF_FRAME
        total += size - 2 * stream[at : at + size].startswith(_TEMPORAL_DELIMITER)
        at += size
    if at != len(stream):
        raise BackendError(f"ivf: the last frame ends at byte {at} of {len(stream)}")
    return total


def decode(encoder: Encoder, stream: bytes, width: int, height: int, count: int) -> list[Picture]:
    """The pictures of a stream, uint8 (3H/2, W); deeper samples are rounded to 8 bits.

    Raises:
        BackendError: Another number of pictures came out.
    """
    deep = encoder.depth > 8
    source = ["-threads", "1", "-f", encoder.format, "-i", "pipe:0"]
    sink = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p10le" if deep else "yuv420p", "pipe:1"]
    raw, _ = run_ffmpeg([*source, *sink], stream)
    values: npt.NDArray[Any] = np.frombuffer(raw, np.dtype("<u2") if deep else np.uint8)
    if values.size != count * width * height * 3 // 2:
        raise BackendError(f"decode: {values.size} samples came out, expected {count} pictures of {width}x{height}")
    if deep:
        values = np.minimum((values + 2) >> 2, 255).astype(np.uint8)
    return list(values.reshape(count, height * 3 // 2, width))
