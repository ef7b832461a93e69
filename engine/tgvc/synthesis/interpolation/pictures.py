"""From latents to pictures, on a device: the VAE's decoder, the colours of the codec, and the copy to the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from tgvc.devices.base import Array, Download, Event
from tgvc.devices.scratch import Scratch
from tgvc.models.queued import QueuedNet
from tgvc.models.rgb import from_rgb
from tgvc.overlap import StageClock
from tgvc.synthesis.loop import Progress
from tgvc.types import Picture

_AT_ONCE = 4  # pictures decoded in one go where the device works by itself; on the host one after the other


@dataclass(frozen=True, eq=False)
class Sampled:
    """Frames in latents.

    ``latents``: float32 (C, h, w) each, of the device, whole once the stream of the loop is past ``done``. ``began``:
    where sampling began. ``progress``: of the group.
    """

    latents: Sequence[Array]
    began: Event
    done: Event
    progress: Progress


class RgbQueue:
    """Decodes latents in the order in which they come.

    Args:
        net: ``z`` in, ``picture`` out.
        scratch: memory, and the stream.
        latent_scale: what the sampler's latents are divided by.
    """

    def __init__(self, net: QueuedNet, scratch: Scratch, latent_scale: float) -> None:
        self._net, self._scratch, self._scale = net, scratch, np.float32(latent_scale)

    def show(self, sampled: Sampled, size: tuple[int, int], matrix: int, clock: StageClock) -> Iterator[Picture]:
        """The pictures of frames, I420 uint8 (3H/2, W).

        Where the device works by itself all are queued now, and waited for one by one; on the host each is made when it
        is asked for.

        Args:
            sampled: frames.
            size: width and height of the pictures, px: what networks made beyond is cut off.
            matrix: colour matrix code of ISO/IEC 23091-2.
            clock: told of the stages ``denoise`` and ``decode``.
        """
        if not self._scratch.device.remote:
            return self._make(sampled, size, matrix, clock)
        stream, count = self._scratch.stream, len(sampled.latents)
        stream.wait(sampled.done)
        began = stream.record()
        parts = [self._queue(sampled.latents[n : n + _AT_ONCE], size, matrix) for n in range(0, count, _AT_ONCE)]
        return self._arrive(sampled, parts, began, clock)

    def _make(self, sampled: Sampled, size: tuple[int, int], matrix: int, clock: StageClock) -> Iterator[Picture]:
        clock.add("denoise", sampled.done.seconds_since(sampled.began))
        width, height = size
        for latents in sampled.latents:
            with clock.measure("decode"):
                rgb = self._net.run({"z": latents[None] / self._scale}, self._scratch)["picture"]
                (picture,) = from_rgb(rgb[..., :height, :width], matrix)
            yield picture

    def _queue(self, latents: Sequence[Array], size: tuple[int, int], matrix: int) -> Download:
        scratch, device, stream = self._scratch, self._scratch.device, self._scratch.stream
        count, (width, height) = len(latents), size
        z = scratch.take("z", (_AT_ONCE, *latents[0].shape), self._net.dtype_of("z"))
        for n in range(_AT_ONCE):  # always as many, so that networks and their memory have one shape
            device.apply(partial(_divide, by=self._scale), z[n], latents[min(n, count - 1)], stream=stream)
        made = self._net.run({"z": z}, scratch)["picture"]
        rgb = scratch.take("rgb", (count, 3, height, width), made.dtype)
        device.copy(rgb, made[:count, :, :height, :width], stream)
        return device.download(device.rgb_to_yuv(rgb, matrix, stream), stream)

    def _arrive(
        self, sampled: Sampled, parts: Sequence[Download], began: Event, clock: StageClock
    ) -> Iterator[Picture]:
        sampled.done.wait()
        sampled.progress.tell()
        clock.add("denoise", sampled.done.seconds_since(sampled.began))
        for part in parts:
            yield from part.wait()
        clock.add("decode", parts[-1].arrived.seconds_since(began))


def _divide(out: Array, latents: Array, by: np.float32) -> None:
    out[...] = latents / by
