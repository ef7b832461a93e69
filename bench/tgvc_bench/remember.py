"""Picture codecs that remember: where several encodes code the same key pictures, only the first one takes the time.

The codecs are deterministic, so every byte is the same as without; nothing that is timed may run under it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tgvc.bitstream.pictures import CODECS, CodedTrack, PictureCodec
from tgvc.types import Picture


class RememberingCodec:
    """Another codec with a memory of its tracks: see `tgvc.bitstream.pictures.PictureCodec`."""

    def __init__(self, codec: PictureCodec) -> None:
        self.codec, self.name = codec, codec.name
        self.known: dict[tuple[str, float, int], CodedTrack] = {}

    def encode(self, pictures: Sequence[Picture], quality: float, preset: int) -> CodedTrack:
        """The track coded by the other codec, now or earlier."""
        digest = hashlib.sha256(str(pictures[0].shape).encode())
        for picture in pictures:
            digest.update(picture.tobytes())
        key = (digest.hexdigest(), quality, preset)
        if key not in self.known:
            self.known[key] = self.codec.encode(pictures, quality, preset)
        return self.known[key]

    def decode(self, payload: bytes, width: int, height: int, count: int) -> list[Picture]:
        """As the other codec."""
        return self.codec.decode(payload, width, height, count)


@contextmanager
def remember_tracks() -> Iterator[None]:
    """All picture codecs remember their tracks inside; a new memory every time, freed at the end."""
    before = dict(CODECS)
    CODECS.update({number: RememberingCodec(codec) for number, codec in before.items()})
    try:
        yield
    finally:
        CODECS.update(before)
