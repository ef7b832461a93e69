"""The whole drawing, top to bottom: what it is, key frames with their motion, bytes over time, legend."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from PIL import Image

from tgvc.source import open_input
from tgvc.view.canvas import DIM, Canvas
from tgvc.view.chart import draw_chart, draw_legend
from tgvc.view.contents import Contents, read_contents
from tgvc.view.frames import choose_tiles, draw_tile

_WIDTH_PX = 1600
_MARGIN_PX, _GAP_PX = 36, 18
_HEADER_PX, _CAPTION_PX, _CHART_PX, _LEGEND_PX = 96, 30, 330, 66
_TILES = 6
_TILE_HEIGHT_PX = 320  # of the picture in a tile, about


def draw_view(source: Any) -> Image.Image:
    """Draw a .tgvc stream as one picture.

    Args:
        source: path, ``-`` for standard input, or a binary file object.

    Returns:
        An RGB image 1600 px wide. Grid lines on the key frames are the dense motion of the segment that follows, thick
        lines its trajectories, with a dot where they are anchored.

    Raises:
        BitstreamError: not a valid stream.
        VideoError: the source cannot be read.

    Source: own.
    """
    with open_input(source) as stream:
        contents = read_contents(stream)
    name = "standard input" if source == "-" else Path(str(getattr(source, "name", source))).name
    header = contents.header
    tiles = choose_tiles(contents, _TILES)
    inner = _WIDTH_PX - 2 * _MARGIN_PX
    columns = _columns(len(tiles), header.width / header.height, inner)
    tile_width = (inner - (columns - 1) * _GAP_PX) / columns
    tile_height = min(tile_width * header.height / header.width, 2 * _TILE_HEIGHT_PX)
    tile_width = tile_height * header.width / header.height
    rows = math.ceil(len(tiles) / columns)
    tiles_px = rows * (tile_height + _CAPTION_PX + _GAP_PX)
    canvas = Canvas(
        _WIDTH_PX, round(_MARGIN_PX + _HEADER_PX + tiles_px + _CHART_PX + _GAP_PX + _LEGEND_PX + _MARGIN_PX)
    )
    top: float = _MARGIN_PX
    _draw_header(canvas, contents, name, top)
    top += _HEADER_PX
    for number, tile in enumerate(tiles):
        x = _MARGIN_PX + number % columns * (tile_width + _GAP_PX)
        y = top + number // columns * (tile_height + _CAPTION_PX + _GAP_PX)
        draw_tile(canvas, tile, (x, y, x + tile_width, y + tile_height + _CAPTION_PX), header)
    top += tiles_px
    draw_chart(canvas, contents, (_MARGIN_PX, top, _WIDTH_PX - _MARGIN_PX, top + _CHART_PX))
    draw_legend(canvas, contents, _MARGIN_PX, top + _CHART_PX + _GAP_PX)
    return canvas.finish()


def _draw_header(canvas: Canvas, contents: Contents, name: str, top: float) -> None:
    header = contents.header
    canvas.text((_MARGIN_PX, top), name, 32)
    pixels = header.width * header.height * contents.frames
    raw = 1.5 * pixels
    facts = (
        f"{contents.bytes:,} bytes",
        f"{contents.frames:,} frames {header.width}x{header.height}",
        f"{contents.seconds:.2f} s at {float(header.fps):g} per second",
        f"{8 * contents.bytes / pixels:.5f} bits per pixel",
        f"{8 * contents.bytes / contents.seconds / 1000:.2f} kbit/s",
        f"1:{raw / contents.bytes:,.0f} of raw 4:2:0",
    )
    x: float = _MARGIN_PX
    for fact in facts:
        x += canvas.text((x, top + 50), fact, 19, DIM) + 34


def _columns(tiles: int, aspect: float, inner: float) -> int:
    """Columns whose tiles come nearest to the usual height."""
    fitting = max(1, round((inner + _GAP_PX) / (_TILE_HEIGHT_PX * aspect + _GAP_PX)))
    return min(tiles, fitting)
