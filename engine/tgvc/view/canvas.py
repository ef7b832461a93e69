"""Colours, type and lines that all parts of a drawing share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom

BACKGROUND: Colour = (13, 16, 23)
PANEL: Colour = (22, 27, 38)
GRID: Colour = (45, 52, 68)
TEXT: Colour = (231, 235, 243)
DIM: Colour = (146, 156, 178)

LAYERS: dict[str, Colour] = {"pictures": (86, 156, 255), "motion": (255, 184, 77), "overhead": (112, 122, 144)}
LAYER_NAMES = {"pictures": "key pictures", "motion": "motion", "overhead": "container"}
MODES: dict[str, Colour] = {
    "F": (88, 214, 168),
    "T": (255, 138, 76),
    "G": (182, 136, 255),
    "H": (240, 110, 150),
    "A": (255, 214, 120),
    "plain": (94, 106, 132),
}
MODE_NAMES = {
    "F": "F  flow found by the decoder",
    "T": "T  flow bent by what is sent",
    "G": "G  global motion and tracks",
    "H": "H  cross-fade",
    "A": "A  states of a network",
    "plain": "plain  neighbouring keys",
}
# Colours of trajectories, far apart from their neighbours in the list and readable on most pictures.
TRACKS: tuple[Colour, ...] = (
    (255, 92, 92),
    (82, 221, 255),
    (255, 221, 72),
    (196, 132, 255),
    (112, 240, 122),
    (255, 150, 64),
    (255, 130, 214),
    (150, 190, 255),
)
OVERSAMPLING = 2  # drawn at twice the size and shrunk, which smooths every line


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


class Canvas:
    """A picture to draw on, in px of the finished size.

    Args:
        width: px.
        height: px.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), BACKGROUND)
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def finish(self) -> Image.Image:
        """The drawing at its finished size."""
        return self._image.resize((self.width, self.height), Image.Resampling.BOX)

    def paste(self, picture: Image.Image, box: Box) -> None:
        """Put a picture into a box, scaled to fill it."""
        left, top, right, bottom = (round(v * OVERSAMPLING) for v in box)
        self._image.paste(picture.resize((right - left, bottom - top), Image.Resampling.LANCZOS), (left, top))

    def fill(self, box: Box, colour: Colour, alpha: int = 255, radius: float = 0) -> None:
        """Fill a box, its corners rounded by ``radius`` px; ``alpha`` 0 (nothing) .. 255 (opaque)."""
        corners = [v * OVERSAMPLING for v in box]
        self._draw.rounded_rectangle(corners, radius * OVERSAMPLING, (*colour, alpha))

    def line(self, points: Sequence[Point], colour: Colour, width: float = 1.0, alpha: int = 255) -> None:
        """Draw a line through points; ``width`` in px."""
        flat = [v * OVERSAMPLING for point in points for v in point]
        self._draw.line(flat, (*colour, alpha), max(1, round(width * OVERSAMPLING)), joint="curve")

    def dot(self, centre: Point, radius: float, colour: Colour, alpha: int = 255) -> None:
        """Draw a disc; ``radius`` in px."""
        x, y = centre[0] * OVERSAMPLING, centre[1] * OVERSAMPLING
        self._draw.circle((x, y), radius * OVERSAMPLING, (*colour, alpha))

    def text(self, at: Point, text: str, size: int, colour: Colour = TEXT, anchor: str = "la") -> float:
        """Write one line; ``anchor`` as in Pillow; returns its width in px."""
        font = _font(size * OVERSAMPLING)
        self._draw.text((at[0] * OVERSAMPLING, at[1] * OVERSAMPLING), text, colour, font, anchor)
        return self._draw.textlength(text, font) / OVERSAMPLING
