"""The picture of the demo: moments in rows, one column per way of coding them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from tgvc.types import Picture, picture_size
from tgvc.video.colour import Scaler, picture_frame

_BACKGROUND, _TEXT, _DIM = (13, 16, 23), (231, 235, 243), (146, 156, 178)
_MARGIN_PX, _GAP_PX, _HEADER_PX, _CAPTION_PX = 24, 12, 74, 28
_CELL_WIDTH_PX = 512


@dataclass(frozen=True)
class Column:
    """One way of coding: ``title``, ``facts`` below it, and its picture of each moment, I420 uint8 (3H/2, W)."""

    title: str
    facts: str
    pictures: Sequence[Picture]


def draw_comparison(columns: Sequence[Column], captions: Sequence[str], matrix: int) -> Image.Image:
    """Draw pictures side by side.

    Args:
        columns: from left to right; all with one picture per caption.
        captions: of the rows.
        matrix: colour matrix code of ISO/IEC 23091-2.

    Returns:
        An RGB image.
    """
    width, height = picture_size(columns[0].pictures[0])
    cell = _CELL_WIDTH_PX, round(height * _CELL_WIDTH_PX / width)
    total_width = 2 * _MARGIN_PX + len(columns) * (cell[0] + _GAP_PX) - _GAP_PX
    image = Image.new(
        "RGB", (total_width, 2 * _MARGIN_PX + _HEADER_PX + len(captions) * (cell[1] + _CAPTION_PX)), _BACKGROUND
    )
    draw = ImageDraw.Draw(image)
    for number, column in enumerate(columns):
        left = _MARGIN_PX + number * (cell[0] + _GAP_PX)
        draw.text((left, _MARGIN_PX), column.title, _TEXT, ImageFont.load_default(26))
        draw.text((left, _MARGIN_PX + 36), column.facts, _DIM, ImageFont.load_default(17))
        for row, picture in enumerate(column.pictures):
            top = _MARGIN_PX + _HEADER_PX + row * (cell[1] + _CAPTION_PX)
            image.paste(_to_image(picture, matrix).resize(cell, Image.Resampling.LANCZOS), (left, top))
    for row, caption in enumerate(captions):
        top = _MARGIN_PX + _HEADER_PX + row * (cell[1] + _CAPTION_PX) + cell[1]
        draw.text((_MARGIN_PX, top + _CAPTION_PX / 2), caption, _DIM, ImageFont.load_default(15), "lm")
    return image


def _to_image(picture: Picture, matrix: int) -> Image.Image:
    frame = picture_frame(picture, matrix)
    return Image.fromarray(Scaler().to_rgb(frame, frame.width, frame.height).to_ndarray())
