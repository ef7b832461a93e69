"""Taking a part of every frame before it is scaled."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

import av
from av.filter import Graph

from tgvc.config import CROPS
from tgvc.errors import ConfigError
from tgvc.video.geometry import Orientation

Window: TypeAlias = tuple[int, int, int, int]  # x, y, width, height in stored px


def check_crop(crop: str | None) -> str | None:
    """The same crop, if it is one that is known.

    Raises:
        ConfigError: it is not.
    """
    if crop is not None and crop not in CROPS:
        raise ConfigError(f"crop={crop!r}: expected {' or '.join(CROPS)}")
    return crop


def cropped_size(shown: tuple[int, int], crop: str | None) -> tuple[int, int]:
    """Width and height in px, as a player shows them, of what is left of a picture of the size ``shown``."""
    return shown if crop is None else (min(shown), min(shown))


def square_window(width: int, height: int, shown: tuple[int, int], orientation: Orientation) -> Window:
    """The middle of a stored frame that a player shows as a square, as large as it fits.

    Args:
        width: of the stored frame, px.
        height: of the stored frame, px.
        shown: width and height in px at which a player shows it, with its sample aspect and turn.
        orientation: the turn.

    Returns:
        x, y, width, height in stored px, even, so that every sample of chroma keeps its four of luma.

    Source: the protocol of published codecs of people, which cut clips to their middle square.
    """
    across, down = orientation.shown_size(*shown)  # of the picture before the turn
    side = min(across, down)
    kept = _even(Fraction(width * side, across)), _even(Fraction(height * side, down))
    return _even(Fraction(width - kept[0], 2)), _even(Fraction(height - kept[1], 2)), *kept


def _even(length: Fraction) -> int:
    return int(length / 2) * 2


class Cropper:
    """Cuts windows out of frames of any format without touching a sample; keeps libav's filter between calls."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._made_for: tuple[int, int, str, Window] | None = None

    def cut(self, frame: av.VideoFrame, window: Window) -> av.VideoFrame:
        """The window of a frame, tagged as the frame is; the frame itself where nothing is to be cut."""
        x, y, width, height = window
        if min(width, height) < 2 or (width, height) == (frame.width, frame.height):
            return frame
        wanted = frame.width, frame.height, frame.format.name, window
        if self._graph is None or wanted != self._made_for:
            graph = Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
            )
            crop, sink = graph.add("crop", f"{width}:{height}:{x}:{y}"), graph.add("buffersink")
            source.link_to(crop)
            crop.link_to(sink)
            graph.configure()
            self._graph, self._made_for = graph, wanted
        self._graph.push(frame)
        cut = self._graph.pull()
        assert isinstance(cut, av.VideoFrame)  # the filter takes and gives pictures alone
        return cut
