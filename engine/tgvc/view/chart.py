"""The bytes of every layer over time, and the motion mode of every segment."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import numpy.typing as npt

from tgvc.view.canvas import DIM, GRID, LAYER_NAMES, LAYERS, MODE_NAMES, MODES, PANEL, TEXT, Box, Canvas
from tgvc.view.contents import Contents

_BARS = 192  # at most
_RIBBON_PX = 14
_PAD_PX = 18
_AXIS_PX = 62


def count_bytes(contents: Contents, bars: int) -> dict[str, npt.NDArray[np.float64]]:
    """Bytes by layer in each of ``bars`` equal parts of the video, float64 (bars,).

    A key picture counts where it is shown, motion evenly over the frames that it paints, the container's own bytes at
    the start of each group.
    """
    frames = contents.frames

    def bar(frame: int) -> int:
        return frame * bars // frames

    out = {name: np.zeros(bars) for name in LAYERS}
    for frame, size in contents.keys.items():
        out["pictures"][bar(frame)] += size
    for piece in contents.pieces:
        painted = range(piece.first + 1, piece.last + 1) or range(piece.first, piece.first + 1)
        for frame in painted:
            out["motion"][bar(frame)] += piece.motion_bytes / len(painted)
    for cut in contents.cuts:
        out["overhead"][bar(cut)] += contents.layers["overhead"] / len(contents.cuts)
    return out


def draw_chart(canvas: Canvas, contents: Contents, box: Box) -> None:
    """Draw stacked bars, a ribbon of modes and a time axis into a box."""
    canvas.fill(box, PANEL, radius=10)
    left, top, right, bottom = box[0] + _PAD_PX + _AXIS_PX, box[1] + 46, box[2] - _PAD_PX, box[3] - 62
    bars = min(contents.frames, _BARS)
    layers = count_bytes(contents, bars)
    per_bar = contents.frames / bars
    name = "frame" if bars == contents.frames else f"{per_bar:.1f} frames"
    canvas.text((box[0] + _PAD_PX, box[1] + 14), f"bytes per {name}", 16, DIM)
    highest = max(1.0, float(sum(layers.values()).max()))  # type: ignore[union-attr]
    step = _round_step(highest / 4)
    ceiling = step * math.ceil(highest / step)
    for tick in range(round(ceiling / step) + 1):
        y = bottom - (bottom - top) * tick * step / ceiling
        canvas.line([(left, y), (right, y)], GRID, 1)
        canvas.text((left - 10, y), f"{tick * step:g}", 14, DIM, "rm")
    width = (right - left) / bars
    gap = min(2.0, width / 5)
    for n in range(bars):
        y = bottom
        for layer, colour in LAYERS.items():
            height = (bottom - top) * layers[layer][n] / ceiling
            if height > 0:
                canvas.fill((left + n * width + gap / 2, y - height, left + (n + 1) * width - gap / 2, y), colour)
                y -= height
    _draw_ribbon(canvas, contents, (left, bottom + 8, right, bottom + 8 + _RIBBON_PX))
    _draw_seconds(canvas, contents.seconds, (left, bottom + 8 + _RIBBON_PX, right, box[3]))


def draw_legend(canvas: Canvas, contents: Contents, left: float, top: float) -> None:
    """Name the colours: layers with their bytes and shares, modes with their segments."""
    x = left
    for name, size in contents.layers.items():
        canvas.fill((x, top + 2, x + 14, top + 16), LAYERS[name], radius=3)
        x += 22 + canvas.text((x + 22, top), f"{LAYER_NAMES[name]}", 16)
        x += 8 + canvas.text((x + 8, top), f"{size:,} bytes, {size / contents.bytes:.1%}", 16, DIM) + 30
    x, top = left, top + 30
    counts = Counter(piece.mode for piece in contents.pieces)
    for mode, colour in MODES.items():
        if counts[mode]:
            canvas.fill((x, top + 2, x + 14, top + 16), colour, radius=3)
            x += 22 + canvas.text((x + 22, top), MODE_NAMES[mode], 16)
            word = "segment" if counts[mode] == 1 else "segments"
            x += 8 + canvas.text((x + 8, top), f"{counts[mode]:,} {word}", 16, DIM) + 30


def _draw_ribbon(canvas: Canvas, contents: Contents, box: Box) -> None:
    left, top, right, bottom = box
    scale = (right - left) / contents.frames
    for piece in contents.pieces:
        start, end = piece.first, piece.last
        if end > start:
            edge = min(1.0, (end - start) * scale / 6)
            box_of_piece = left + (start + 0.5) * scale + edge, top, left + (end + 0.5) * scale - edge, bottom
            canvas.fill(box_of_piece, MODES[piece.mode], radius=min(3.0, (end - start) * scale / 4))
    for cut in contents.cuts[1:]:
        canvas.line([(left + cut * scale, top - 4), (left + cut * scale, bottom + 4)], TEXT, 1.5)


def _draw_seconds(canvas: Canvas, seconds: float, box: Box) -> None:
    left, top, right, _ = box
    step = _round_step(seconds / 8)
    for tick in range(math.floor(seconds / step + 1e-9) + 1):
        x = left + (right - left) * tick * step / seconds
        canvas.text((x, top + 8), f"{tick * step:g} s", 14, DIM, "ma")


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50 ... (and tenths of them) that is at least ``least``."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-9)))
    return float(f"{next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9)):.6g}")
