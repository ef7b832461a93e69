"""A codec whose sizes are known beforehand, for tests of planning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tgvc.bitstream.pictures import QUALITY_MAX, QUALITY_MIN, CodedTrack
from tgvc.types import Picture


class FakeCodec:
    """A codec whose sizes are known beforehand."""

    name = "fake"

    def __init__(self, size_of: Callable[[float], int]) -> None:
        self.size_of = size_of

    def encode(self, pictures: Sequence[Picture], quality: float, preset: int) -> CodedTrack:
        assert QUALITY_MIN <= quality <= QUALITY_MAX
        assert quality * 4 == round(quality * 4)
        return CodedTrack(bytes(self.size_of(quality)), list(pictures))

    def decode(self, payload: bytes, width: int, height: int, count: int) -> list[Picture]:
        raise NotImplementedError
