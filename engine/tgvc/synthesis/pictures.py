"""From final latents to pictures, on a device: the bundle's decoder, texture, I420, and the copy to the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tgvc.devices.base import Array, Download, Event
from tgvc.devices.scratch import Scratch
from tgvc.models.contract import PLANES
from tgvc.models.queued import QueuedNet
from tgvc.overlap import StageClock
from tgvc.synthesis.grain import PHASES, add_grain, spread_grain
from tgvc.synthesis.loop import Progress
from tgvc.types import FloatArray, Picture
from tgvc_kernels.step import NoiseCounter

AT_ONCE = 4  # pictures decoded in one go: texture is measured over these


@dataclass(frozen=True, eq=False)
class Settled:
    """Frames that are done in latents, and what their pictures are made of.

    ``frames``: numbers in the group. ``pictures``: the weight-free ones, I420 uint8 (3H/2, W). ``latents`` float32
    (C, n, h, w) of the device, whole once the stream of the loop is past ``done``. ``grain``: noise that texture is
    made of, float32 (n, 4, H/2, W/2), or of one frame where it stands still. ``began``: where its run began.
    ``progress``: of the group.
    """

    frames: Sequence[int]
    pictures: Sequence[Picture]
    latents: Array
    grain: FloatArray | NoiseCounter
    began: Event
    done: Event
    progress: Progress


@dataclass(frozen=True, eq=False)
class Shown:
    """Pictures on their way to the host.

    ``settled``: what they are made of, kept until they arrive. ``first``: they are its first ones. ``marks``: where
    decoding began, and where texture did.
    """

    settled: Settled
    first: bool
    download: Download
    marks: tuple[Event, Event]

    def wait(self, clock: StageClock) -> list[Picture]:
        """The pictures, once they are there; the clock is told what they took."""
        pictures = list(self.download.wait())
        began, decoded = self.marks
        self.settled.progress.tell()
        if self.first:
            clock.add("denoise", self.settled.done.seconds_since(self.settled.began))
        clock.add("decode", decoded.seconds_since(began))
        clock.add("grain", self.download.arrived.seconds_since(decoded))
        return pictures


class PictureQueue:
    """Decodes final latents in the order in which they come.

    Args:
        net: ``latents, planes`` in, ``pictures, lack`` out.
        scratch: memory, and the stream.
        share: of the source's finest octave that pictures are brought to.
    """

    def __init__(self, net: QueuedNet, scratch: Scratch, share: float) -> None:
        self._net, self._scratch, self._share = net, scratch, share

    def show(self, settled: Settled, texture: FloatArray | None) -> Iterator[Shown]:
        """Queue frames part by part; nothing is waited for.

        Args:
            settled: frames.
            texture: energy of each frame of the group, or None.
        """
        self._scratch.stream.wait(settled.done)
        for n in range(0, len(settled.pictures), AT_ONCE):
            energy = None if texture is None else texture[list(settled.frames[n : n + AT_ONCE])]
            yield self._show_part(settled, slice(n, n + AT_ONCE), energy)

    def rest(self) -> None:
        """Wait until nothing is queued any more."""
        self._scratch.stream.synchronize()

    def _show_part(self, settled: Settled, part: slice, energy: FloatArray | None) -> Shown:
        scratch, device = self._scratch, self._scratch.device
        stream, pictures = scratch.stream, settled.pictures[part]
        began, count = stream.record(), len(pictures)
        if device.remote:  # always as many, so that networks and their memory have one shape
            pictures = [*pictures, *[pictures[-1]] * (AT_ONCE - count)]
        wanted = settled.latents[:, part].swapaxes(0, 1)
        latents = scratch.take("latents", (len(pictures), *wanted.shape[1:]), self._net.dtype_of("latents"))
        device.copy(latents[:count], wanted, stream)
        if count < len(latents):
            device.copy(latents[count:], wanted[-1:], stream)
        given = np.stack(pictures)
        size = len(given), PLANES, given.shape[1] // 3, given.shape[2] // 2
        planes = scratch.take("planes", size, self._net.dtype_of("planes"))
        device.pack_planes(scratch.bring("given", given), planes, stream)
        found = self._net.run({"latents": latents, "planes": planes}, scratch)
        decoded = stream.record()
        grain = settled.grain if isinstance(settled.grain, NoiseCounter) else settled.grain[part]
        shown = self._with_texture(found["pictures"][:count], found["lack"][:count], grain, energy)
        download = device.download(device.unpack_planes(shown, stream), stream)
        return Shown(settled, part.start == 0, download, (began, decoded))

    def _with_texture(
        self, planes: Array, lack: Array, grain: FloatArray | NoiseCounter, energy: FloatArray | None
    ) -> Array:
        scratch, device = self._scratch, self._scratch.device
        if self._share == 0:
            return planes
        white = self._white(grain, planes.shape[2:])
        if not device.remote:
            add_grain(planes, lack, np.broadcast_to(white, (len(planes), *white.shape[1:])), energy, self._share)
            return planes
        mean = None if energy is None else float(energy.mean())

        def spread(out: Array, planes: Array, lack: Array, white: Array) -> None:
            out[...] = spread_grain(planes, lack, white, mean, self._share)

        out = scratch.take("shown", planes.shape, np.float32)
        device.apply(spread, out, planes, lack, white, stream=scratch.stream)
        return out

    def _white(self, grain: FloatArray | NoiseCounter, size: tuple[int, ...]) -> Array:
        """Noise (n, 4, H/2, W/2); n is 1 where it is the same in all frames, and made here."""
        scratch, device = self._scratch, self._scratch.device
        if not isinstance(grain, NoiseCounter):
            return scratch.bring("white", grain)
        white = scratch.take("white", (len(PHASES), 1, *size), np.float32)
        device.normal_noise(grain._replace(frames=scratch.bring("still", grain.frames)), white, scratch.stream)
        return white[:, 0][None]
