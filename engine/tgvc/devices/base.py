"""The protocol of devices: memory, streams, events, recorded graphs, copies, and the kernels that the loop queues.

Work is queued on a stream and done in its order; streams know of each other through events alone. Whoever queues work
keeps the arrays that it touches until an event after it has been waited for, unless they are used on one stream only.
On the host everything is done when the call returns, and a stream is nothing but a name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tgvc_kernels.plan import GuidancePlan
from tgvc_kernels.step import Factors, Held, NoiseCounter, Pull

HOST = "cpu"
Array: TypeAlias = Any
"""An array of a device: NumPy's on the host. It has ``shape`` and ``dtype``, and slices of it are views."""


class Event(Protocol):
    """A place in the work of a stream."""

    def done(self) -> bool:
        """Whether the stream has come past it; does not wait."""

    def wait(self) -> None:
        """Return once the stream has come past it."""

    def seconds_since(self, earlier: Event) -> float:
        """Time between two places that streams have come past."""


class Stream(Protocol):
    """Work that is done in the order in which it was queued."""

    @property
    def handle(self) -> int:
        """The CUDA stream; 0 on the host."""

    def record(self) -> Event:
        """A place behind all that has been queued so far."""

    def wait(self, event: Event) -> None:
        """What is queued from now on begins after an event of another stream; the caller does not wait."""

    def synchronize(self) -> None:
        """Return once everything that was queued is done."""


class Graph(Protocol):
    """Work that was recorded once."""

    def launch(self, stream: Stream) -> None:
        """Queue all of it."""


class Download(Protocol):
    """A copy on its way to the host."""

    @property
    def arrived(self) -> Event:
        """Behind the copy."""

    def wait(self) -> npt.NDArray[Any]:
        """What arrived, in memory of its own."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StepCall:
    """Arguments of one `tgvc_kernels.ops.guided_step`, all arrays on the device, outputs among them.

    ``x, v, uncond, factors, weights, earlier, noise, held, pull, network``: as there; frames of ``noise`` and ``held``
    are arrays of the device, the plan of ``pull`` is one of `Device.upload_plan`. ``out, clean``: next x and estimate.
    ``timestep``: what the network is told in this step.
    """

    x: Array
    v: Array
    uncond: Array | None
    factors: Factors
    weights: tuple[float, float, float, float, float, float]
    earlier: Array | None
    noise: NoiseCounter | None
    held: Held | None
    pull: Pull | None
    network: Array
    out: Array
    clean: Array
    timestep: float


class StepTable(Protocol):
    """The steps of a run, in memory of the device. One is the current one, so that a graph can be any of them."""

    @property
    def timesteps(self) -> Array:
        """What the network is told of the current step: one number per run of it, (B,)."""

    def fill(self, calls: Sequence[StepCall], stream: Stream) -> None:
        """Put in the steps of a run; the arrays are kept until the next one is put in."""

    def choose(self, number: int, stream: Stream) -> None:
        """Make a step the current one."""

    def queue(self, stream: Stream, *, guided: bool) -> None:
        """Do the current step; ``guided``: it has an ``uncond``."""


class Device(Protocol):
    """A place that computes. Calls from several threads are allowed, on streams of their own."""

    @property
    def name(self) -> str:
        """``cpu``, or ``cuda:0`` with the ordinal of the GPU."""

    @property
    def remote(self) -> bool:
        """Whether it has memory and a pace of its own: arrays are not NumPy's, work is done later than it is queued."""

    def make_stream(self) -> Stream:
        """A new stream."""

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike, stream: Stream) -> Array:
        """New memory, dense, of any content; given back in the order of the stream."""

    def copy(self, target: Array, source: Array | npt.NDArray[Any], stream: Stream) -> None:
        """Copy to where ``target`` is, from the device or the host, as NumPy assigns: converted and repeated to fit.

        An array of the host may change as soon as this returns.
        """

    def apply(self, function: Callable[..., None], out: Array, *arrays: Array, stream: Stream) -> None:
        """Queue ``function(out, *arrays)``, which writes to ``out[...]`` with operators and NumPy's functions alone."""

    def download(self, array: Array, stream: Stream) -> Download:
        """Begin to copy a dense array to the host."""

    def capture(self, work: Callable[[], None], stream: Stream) -> Graph:
        """Record what ``work`` queues on a stream, without doing it; it must have been done there once before."""

    def make_steps(
        self, v: Array, factors: tuple[float, float], capacity: int, dtype: npt.DTypeLike, stream: Stream
    ) -> StepTable:
        """A table of steps.

        Args:
            v: output of the network (B, C, T, h, w), its second run being the one without condition.
            factors: scale and rescale of the guidance without a classifier.
            capacity: steps, at most.
            dtype: of the timesteps.
            stream: that all of it is used on.
        """

    def upload_plan(self, plan: GuidancePlan, stream: Stream) -> Any:
        """A plan as `StepCall.pull` takes it."""

    def normal_noise(self, counter: NoiseCounter, out: Array, stream: Stream) -> None:
        """Make normal numbers of a counter's draw, float32 (C, T, h, w); its frames are an array of the device."""

    def pack_planes(self, pictures: Array, out: Array, stream: Stream) -> None:
        """Planes (N, 6, H/2, W/2) of I420 uint8 (N, 3H/2, W)."""

    def unpack_planes(self, planes: Array, stream: Stream) -> Array:
        """I420 uint8 (N, 3H/2, W) of planes (N, 6, H/2, W/2)."""

    def rgb_to_yuv(self, rgb: Array, matrix: int, stream: Stream) -> Array:
        """I420 uint8 (N, 3H/2, W) of RGB (N, 3, H, W) in -1..1."""


def put(device: Device, array: npt.NDArray[Any], stream: Stream) -> Array:
    """An array of the host as the device has it: itself on the host, else a copy."""
    if not device.remote:
        return array
    there = device.empty(array.shape, array.dtype, stream)
    device.copy(there, array, stream)
    return there


def fill_zeros(out: Array) -> None:
    """For `Device.apply`."""
    out[...] = np.float32(0)
