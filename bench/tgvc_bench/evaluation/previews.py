"""Small videos of what was measured, which every browser plays."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tgvc.types import Picture, VideoInfo
from tgvc.video import VideoWriter

# Finer than any of the codecs shown at these rates, far smaller than what `tgvc decode` keeps. One thread: the same
# bytes on every machine.
_OPTIONS = {"crf": "22", "preset": "slow", "threads": "1"}


def encode_preview(pictures: Sequence[Picture], info: VideoInfo) -> bytes:
    """An H.264 file of pictures uint8 (3H/2, W)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "preview.mp4"
        with VideoWriter(path, info, options=_OPTIONS) as writer:
            for picture in pictures:
                writer.write(picture)
        return path.read_bytes()
