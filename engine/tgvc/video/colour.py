"""Between libav's frames and I420 pictures: pixel format, range, colour matrix and size, all through swscale.

Every format that swscale knows becomes 8-bit 4:2:0 of limited range. The luma-chroma matrix of a YUV source is kept,
never converted: only its code travels along. RGB sources become BT.601. Alpha is dropped. High dynamic range is not
tone-mapped: its code values are kept at 8 bits.
"""

from __future__ import annotations

from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from tgvc.types import Picture, Plane

BT709, BT601 = 1, 6
_UNTAGGED_MATRICES = (0, 2, 3)  # identity (never true of a YUV frame), unspecified, reserved
_MATRICES_OF_SWSCALE = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # ISO code -> SWS_CS code
_LIMITED, _FULL = 1, 2  # AVColorRange
# SWS_LANCZOS | SWS_ACCURATE_RND | SWS_BITEXACT as numbers: older releases of PyAV lack the names of the last two.
# Bit-exact keeps the encoder's input, hence its output, the same on every processor; it costs no measurable time.
_SCALING = 0x200 | 0x40000 | 0x80000
_FULL_CHROMA = 0x2000 | 0x4000  # SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP: chroma at every pixel on the way to RGB


def colour_matrix(frame: av.VideoFrame, shown_width: int, shown_height: int) -> int:
    """Matrix code (ISO/IEC 23091-2) of the picture that ``Scaler.to_picture`` makes of a frame.

    Untagged YUV is what players take it for: BT.709 above standard definition, BT.601 otherwise.

    Args:
        frame: a decoded frame.
        shown_width: width in px as a player shows it.
        shown_height: height in px as a player shows it.
    """
    if _is_rgb(frame) or _is_gray(frame):
        return BT601
    if frame.colorspace not in _UNTAGGED_MATRICES:
        return int(frame.colorspace)
    return BT709 if max(shown_width, shown_height) > 1024 or min(shown_width, shown_height) > 576 else BT601


class Scaler:
    """Converts frames with Lanczos filters and accurate rounding; keeps swscale's tables between calls."""

    def __init__(self) -> None:
        self._swscale = VideoReformatter()

    def to_picture(self, frame: av.VideoFrame, width: int, height: int) -> Picture:
        """The I420 picture uint8 (3H/2, W), limited range, of any frame; stored orientation.

        A frame that already is 8-bit 4:2:0 of limited range and this size is copied without a change.

        Args:
            frame: any software frame.
            width: px, even.
            height: px, even.
        """
        i420 = self.to_i420(frame, width, height)
        return cast("Picture", i420.to_ndarray())

    def to_i420(self, frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
        """The same as a frame of format yuv420p; sides may be odd."""
        ready = frame.format.name == "yuv420p" and frame.color_range != _FULL
        if ready and (frame.width, frame.height) == (width, height):
            return frame
        if frame.format.name.startswith(("gray", "ya")) and frame.color_range != _FULL:
            # swscale takes every gray format for full range; from gray to gray it leaves the levels alone.
            gray = self._convert(frame, width, height, "gray", _FULL, _FULL)
            i420 = av.VideoFrame(width, height, "yuv420p")
            levels = frame_planes(gray)[0], np.uint8(128), np.uint8(128)
            for plane, level in zip(frame_planes(i420), levels, strict=True):
                plane[:] = level
            return i420
        full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
        source_range = _FULL if full else _LIMITED
        return self._convert(frame, width, height, "yuv420p", source_range, _LIMITED)

    def to_rgb(self, frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
        """The rgb24 frame (full range) of a YUV frame, by the matrix that the frame is tagged with."""
        matrix = _MATRICES_OF_SWSCALE.get(frame.colorspace, 5)
        return self._swscale.reformat(
            frame,
            width,
            height,
            "rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation=_SCALING | _FULL_CHROMA,
            src_color_range=_LIMITED,
            dst_color_range=_FULL,
        )

    def _convert(
        self, frame: av.VideoFrame, width: int, height: int, pixels: str, source_range: int, target_range: int
    ) -> av.VideoFrame:
        # One matrix on both sides: swscale then leaves YUV as it is, whatever the tag, and takes RGB to BT.601.
        converted = self._swscale.reformat(
            frame,
            width,
            height,
            pixels,
            src_colorspace=5,
            dst_colorspace=5,
            interpolation=_SCALING,
            src_color_range=source_range,
            dst_color_range=target_range,
        )
        if not _is_rgb(frame):
            converted.colorspace = frame.colorspace
        return converted


def picture_frame(picture: Picture, matrix: int) -> av.VideoFrame:
    """The yuv420p frame of an I420 picture uint8 (3H/2, W), tagged with its matrix and limited range."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="yuv420p")
    frame.colorspace = matrix
    frame.color_range = _LIMITED
    return frame


def tag_full_range(frame: av.VideoFrame) -> av.VideoFrame:
    """The same frame, marked as full range where its decoder left the range open (JPEG's gray pictures)."""
    if frame.color_range not in (_LIMITED, _FULL):
        frame.color_range = _FULL
    return frame


def frame_planes(frame: av.VideoFrame) -> list[Plane]:
    """Writable views uint8 (rows, bytes of a row) of the planes of a planar YUV or gray frame, without row padding."""
    sample_bytes = (max(c.bits for c in frame.format.components) + 7) // 8
    planes = []
    for plane in frame.planes:
        buffer = cast("Any", plane)  # PyAV does not declare that planes are buffers
        rows = np.frombuffer(buffer, np.uint8).reshape(plane.height, plane.line_size)
        planes.append(rows[:, : plane.width * sample_bytes])
    return planes


def _is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb or frame.format.has_palette


def _is_gray(frame: av.VideoFrame) -> bool:
    return frame.format.name.startswith(("gray", "mono", "ya"))
