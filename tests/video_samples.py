"""Small clips made on the spot for the tests of tgvc.video."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tgvc.types import Picture, VideoInfo, join_planes


def smooth_picture(index: int, width: int = 96, height: int = 64) -> Picture:
    """A coloured gradient that drifts with the index: I420, every colour within RGB."""
    y, x = np.mgrid[:height, :width]
    luma = 125 + 55 * np.sin((x + 11 * index) / 17) * np.cos(y / 13)
    chroma_u = 128 + 28 * np.sin((x[::2, ::2] - 2 * index) / 29)
    chroma_v = 128 + 28 * np.cos(y[::2, ::2] / 31 + index / 9)
    return join_planes(*(np.rint(p).astype(np.uint8) for p in (luma, chroma_u, chroma_v)))


def noise_picture(seed: int, width: int = 96, height: int = 64) -> Picture:
    """Noise over all 256 levels, so that any rounding, clipping or shift shows."""
    return np.random.default_rng(seed).integers(0, 256, (height * 3 // 2, width), dtype=np.uint8)


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal-to-noise ratio in dB over all three planes."""
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def info_of(width: int = 96, height: int = 64, fps: Fraction = Fraction(25), matrix: int = 6) -> VideoInfo:
    return VideoInfo(width=width, height=height, source_width=width, source_height=height, fps=fps, matrix=matrix)


def make_clip(
    path: Path,
    frames: Sequence[av.VideoFrame],
    *,
    codec: str = "ffv1",
    fps: Fraction = Fraction(25),
    times: Sequence[Fraction] | None = None,
    pixels: str | None = None,
    matrix: int = 2,
    colour_range: int = 0,
    rotation: int = 0,
    mirrored: bool = False,
    sample_aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames with PyAV alone; ``pixels`` None keeps the format of the frames, swscale converts otherwise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = pixels or frames[0].format.name
        context = stream.codec_context
        tick = context.time_base = 1 / fps if times is None else Fraction(1, 60000)
        context.colorspace, context.color_range = matrix, colour_range
        if sample_aspect is not None:
            context.sample_aspect_ratio = sample_aspect
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for number, frame in enumerate(frames):
            time = number / fps if times is None else times[number]
            frame.time_base, frame.pts = tick, round(time / tick)
            frame.colorspace, frame.color_range = matrix, colour_range
            frame.duration = round(1 / fps / tick)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def i420_frames(count: int, width: int = 96, height: int = 64) -> list[av.VideoFrame]:
    return [av.VideoFrame.from_ndarray(smooth_picture(i, width, height), "yuv420p") for i in range(count)]
