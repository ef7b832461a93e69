"""The host as a device: NumPy, the kernels of the CPU, and everything done at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.devices.base import HOST, Array, Event, Graph, StepCall, Stream
from tgvc_kernels import ops
from tgvc_kernels.plan import GuidancePlan
from tgvc_kernels.step import NoiseCounter


class HostEvent:
    """A moment; see `tgvc.devices.base.Event`."""

    def __init__(self) -> None:
        self.moment = time.perf_counter()

    def done(self) -> bool:
        """See `tgvc.devices.base.Event.done`."""
        return True

    def wait(self) -> None:
        """See `tgvc.devices.base.Event.wait`."""

    def seconds_since(self, earlier: Any) -> float:
        """See `tgvc.devices.base.Event.seconds_since`."""
        return float(self.moment - earlier.moment)


class HostStream:
    """See `tgvc.devices.base.Stream`; whoever queues has done the work by then."""

    handle = 0

    def record(self) -> Event:
        """See `tgvc.devices.base.Stream.record`."""
        return HostEvent()

    def wait(self, event: Event) -> None:
        """See `tgvc.devices.base.Stream.wait`."""

    def synchronize(self) -> None:
        """See `tgvc.devices.base.Stream.synchronize`."""


class _Arrived:
    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array, self.arrived = array, HostEvent()

    def wait(self) -> npt.NDArray[Any]:
        return self._array


class _Replay:
    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def launch(self, stream: Stream) -> None:
        self._work()


class HostSteps:
    """Steps as calls of `tgvc_kernels.ops.guided_step`; see `tgvc.devices.base.StepTable`."""

    def __init__(self, runs: int, dtype: npt.DTypeLike) -> None:
        self.timesteps = np.zeros(runs, dtype)
        self._calls: Sequence[StepCall] = ()
        self._current = 0

    def fill(self, calls: Sequence[StepCall], stream: Stream) -> None:
        """See `tgvc.devices.base.StepTable.fill`."""
        self._calls = calls

    def choose(self, number: int, stream: Stream) -> None:
        """See `tgvc.devices.base.StepTable.choose`."""
        self._current = number
        self.timesteps[...] = self._calls[number].timestep

    def queue(self, stream: Stream, *, guided: bool) -> None:
        """See `tgvc.devices.base.StepTable.queue`."""
        c = self._calls[self._current]
        following, clean = ops.guided_step(
            c.x, c.v, c.factors, c.weights, c.uncond, c.earlier, c.noise, c.held, c.pull, c.network
        )
        c.out[...], c.clean[...] = following, clean


class HostDevice:
    """See `tgvc.devices.base.Device`; every call has done its work when it returns."""

    name, remote = HOST, False

    def make_stream(self) -> Stream:
        """See `tgvc.devices.base.Device.make_stream`."""
        return HostStream()

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike, stream: Stream) -> Array:
        """See `tgvc.devices.base.Device.empty`."""
        return np.empty(tuple(shape), dtype)

    def copy(self, target: Array, source: Array, stream: Stream) -> None:
        """See `tgvc.devices.base.Device.copy`."""
        target[...] = source

    def apply(self, function: Callable[..., None], out: Array, *arrays: Array, stream: Stream) -> None:
        """See `tgvc.devices.base.Device.apply`."""
        function(out, *arrays)

    def download(self, array: Array, stream: Stream) -> _Arrived:
        """See `tgvc.devices.base.Device.download`."""
        return _Arrived(array)

    def capture(self, work: Callable[[], None], stream: Stream) -> Graph:
        """See `tgvc.devices.base.Device.capture`."""
        return _Replay(work)

    def make_steps(
        self, v: Array, factors: tuple[float, float], capacity: int, dtype: npt.DTypeLike, stream: Stream
    ) -> HostSteps:
        """See `tgvc.devices.base.Device.make_steps`."""
        return HostSteps(len(v), dtype)

    def upload_plan(self, plan: GuidancePlan, stream: Stream) -> GuidancePlan:
        """See `tgvc.devices.base.Device.upload_plan`."""
        return plan

    def normal_noise(self, counter: NoiseCounter, out: Array, stream: Stream) -> None:
        """See `tgvc.devices.base.Device.normal_noise`."""
        c, (channels, _, height, width) = counter, out.shape
        out[...] = ops.normal_noise(c.seed, c.group, c.frames, c.draw, channels, height, width)

    def pack_planes(self, pictures: Array, out: Array, stream: Stream) -> None:
        """See `tgvc.devices.base.Device.pack_planes`."""
        out[...] = ops.pack_planes(pictures)

    def unpack_planes(self, planes: Array, stream: Stream) -> Array:
        """See `tgvc.devices.base.Device.unpack_planes`."""
        return ops.unpack_planes(planes)

    def rgb_to_yuv(self, rgb: Array, matrix: int, stream: Stream) -> Array:
        """See `tgvc.devices.base.Device.rgb_to_yuv`."""
        return ops.rgb_to_yuv(rgb, matrix)
