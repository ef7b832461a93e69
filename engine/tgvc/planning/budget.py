"""How many bytes a group may take so that the whole file meets its target from below."""

from __future__ import annotations

from tgvc.bitstream.group import texture_levels
from tgvc.config import EncoderConfig
from tgvc.errors import ConfigError
from tgvc.types import VideoInfo

HEADER_BYTES = 26  # header with its checksum; the exact number hardly matters, a difference is carried over
GROUP_BYTES = 20  # chunk frame and fields of a group
INDEX_BYTES = 4  # per group, written at the end


class Budget:
    """Shares a target out over groups as they come; what one leaves over goes to the next.

    Args:
        config: holds the target.
        info: source; a target in bytes needs its length.

    Raises:
        ConfigError: a target in bytes for a source of unknown length.
    """

    def __init__(self, config: EncoderConfig, info: VideoInfo) -> None:
        self._config, self._info = config, info
        self._frames = 0
        self._spent = float(HEADER_BYTES)
        self._groups = 0
        if config.bytes is not None and info.count is None:
            raise ConfigError("bytes: the length of this source is not known (a pipe?); give --bpp or --kbps instead")

    def target(self, frames: int) -> float | None:
        """Bytes that the first ``frames`` frames may take in all, or None for constant quality."""
        info = self._info
        bits = self._config.target_bits(info.width, info.height, info.fps, frames)
        if bits is None:
            return None
        if self._config.bytes is not None:
            assert info.count is not None
            bits *= min(1.0, frames / info.count)
        return bits / 8

    def grant(self, frames: int) -> float | None:
        """Bytes of both layers for the next group of ``frames`` frames, at least 1; None for constant quality."""
        target = self.target(self._frames + frames)
        if target is None:
            return None
        index = INDEX_BYTES * (self._groups + 1) + 12 if self._groups else 0
        return max(1.0, target - self._spent - GROUP_BYTES - texture_levels(frames) - index)

    def spend(self, frames: int, chunk_bytes: int) -> None:
        """Note that a group was written as a chunk of ``chunk_bytes`` bytes."""
        self._frames += frames
        self._spent += chunk_bytes
        self._groups += 1
