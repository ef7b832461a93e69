"""A .tgvc stream as one picture: key frames with the motion that was sent, and the bits of every layer over time."""

from tgvc.view.drawing import draw_view

__all__ = ["draw_view"]
