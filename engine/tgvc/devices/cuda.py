"""An NVIDIA GPU as a device, through CuPy and the kernels of `tgvc_kernels.gpu`.

The driver is asked before CuPy is touched. Nothing here waits but `CudaEvent.wait`, `CudaStream.synchronize` and what
allocates for the first time. Memory is of CuPy's pool: what was made on a stream is given back in the stream's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.devices.base import Array, Event, StepCall, Stream
from tgvc.devices.pinned import PinnedPool, Staging
from tgvc.errors import BackendUnavailableError
from tgvc_kernels.device.latent_kernels import normal_noise, upload_plan
from tgvc_kernels.device.picture_kernels import pack_planes, rgb_to_yuv, unpack_planes
from tgvc_kernels.device.runtime import find_runtime
from tgvc_kernels.device.step_kernels import STEP, pack_step, stored_step
from tgvc_kernels.errors import GpuUnavailableError
from tgvc_kernels.plan import GuidancePlan
from tgvc_kernels.step import NoiseCounter

_ALIGNED = 256  # bytes: a step and what the network is told of it begin at multiples


class CudaEvent:
    """See `tgvc.devices.base.Event`."""

    def __init__(self, own: Any, cupy: Any) -> None:
        self.own, self._cupy = own, cupy

    def done(self) -> bool:
        """See `tgvc.devices.base.Event.done`."""
        return bool(self.own.done)

    def wait(self) -> None:
        """See `tgvc.devices.base.Event.wait`."""
        self.own.synchronize()

    def seconds_since(self, earlier: Any) -> float:
        """See `tgvc.devices.base.Event.seconds_since`."""
        return float(self._cupy.cuda.get_elapsed_time(earlier.own, self.own)) / 1000


class CudaStream:
    """See `tgvc.devices.base.Stream`; it waits for no other stream but through events."""

    def __init__(self, cupy: Any, ordinal: int) -> None:
        self._cupy, self._ordinal = cupy, ordinal
        with cupy.cuda.Device(ordinal):
            self.own = cupy.cuda.Stream(non_blocking=True)

    @property
    def handle(self) -> int:
        """See `tgvc.devices.base.Stream.handle`."""
        return int(self.own.ptr)

    def record(self) -> CudaEvent:
        """See `tgvc.devices.base.Stream.record`."""
        with self._cupy.cuda.Device(self._ordinal):
            event = self._cupy.cuda.Event(block=True)  # whoever waits sleeps: others need the cores
            event.record(self.own)
        return CudaEvent(event, self._cupy)

    def wait(self, event: Any) -> None:
        """See `tgvc.devices.base.Stream.wait`."""
        self.own.wait_event(event.own)

    def synchronize(self) -> None:
        """See `tgvc.devices.base.Stream.synchronize`."""
        self.own.synchronize()


class _Graph:
    def __init__(self, own: Any) -> None:
        self._own = own

    def launch(self, stream: Any) -> None:
        self._own.launch(stream=stream.own)


class _OnItsWay:
    """A copy to the host; the array stays until it is there."""

    def __init__(self, array: Array, staging: Staging, arrived: Event, pool: PinnedPool) -> None:
        self._array, self._staging, self.arrived, self._pool = array, staging, arrived, pool

    def wait(self) -> npt.NDArray[Any]:
        self.arrived.wait()
        content = self._staging.view(self._array.shape, self._array.dtype).copy()
        self._pool.give_back(self._staging, self.arrived)
        return content


class CudaSteps:
    """Steps as records on the GPU; see `tgvc.devices.base.StepTable`.

    A row holds the arguments of a step and, behind them, the timesteps. Choosing one copies it to where the kernel, and
    the network, look.
    """

    def __init__(
        self,
        device: CudaDevice,
        v: Array,
        factors: tuple[float, float],
        capacity: int,
        dtype: npt.DTypeLike,
        stream: Stream,
    ) -> None:
        kind, runs = np.dtype(dtype), len(v)
        self._device, self._v, self._factors, self._kind = device, v, factors, kind
        self._calls: Sequence[StepCall] = ()
        self._split = -(-STEP.itemsize // _ALIGNED) * _ALIGNED
        row = self._split + -(-runs * kind.itemsize // _ALIGNED) * _ALIGNED
        self._host = np.zeros((capacity, row), np.uint8)
        self._rows = device.empty((capacity, row), np.uint8, stream)
        self._current = device.empty((row,), np.uint8, stream)
        self._record = self._current[: STEP.itemsize]
        self.timesteps = self._current[self._split : self._split + runs * kind.itemsize].view(kind)

    def fill(self, calls: Sequence[StepCall], stream: Stream) -> None:
        """See `tgvc.devices.base.StepTable.fill`."""
        for row, c in zip(self._host, calls, strict=False):
            step = self._device.pack(c, stream).view(np.uint8)
            told = np.full(len(self._v), c.timestep, self._kind).view(np.uint8)
            row[: len(step)], row[self._split : self._split + len(told)] = step, told
        self._device.copy(self._rows[: len(calls)], self._host[: len(calls)], stream)
        self._calls = calls

    def choose(self, number: int, stream: Stream) -> None:
        """See `tgvc.devices.base.StepTable.choose`."""
        self._device.copy_bytes(self._current, self._rows[number], stream)

    def queue(self, stream: Stream, *, guided: bool) -> None:
        """See `tgvc.devices.base.StepTable.queue`."""
        with self._device.on(stream):
            uncond = self._v[1] if guided else None
            stored_step(self._record, self._v[0], uncond, *self._factors, stream=stream.handle)


class CudaDevice:
    """See `tgvc.devices.base.Device`.

    Args:
        ordinal: of the GPU.

    Raises:
        BackendUnavailableError: there is no such GPU, or CuPy is missing: what to do.
    """

    remote = True

    def __init__(self, ordinal: int = 0) -> None:
        try:
            self._cupy = find_runtime(ordinal).cupy
        except GpuUnavailableError as fault:
            raise BackendUnavailableError(str(fault)) from fault
        self.name, self._ordinal = f"cuda:{ordinal}", ordinal
        self._pinned = PinnedPool(self._cupy.cuda.alloc_pinned_memory)

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """CuPy queues on a stream, and makes memory in its order."""
        with self._cupy.cuda.Device(self._ordinal), stream.own:
            yield

    def make_stream(self) -> CudaStream:
        """See `tgvc.devices.base.Device.make_stream`."""
        return CudaStream(self._cupy, self._ordinal)

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike, stream: Stream) -> Array:
        """See `tgvc.devices.base.Device.empty`."""
        with self.on(stream):
            return self._cupy.empty(tuple(shape), dtype)

    def copy(self, target: Array, source: Array, stream: Stream) -> None:
        """See `tgvc.devices.base.Device.copy`."""
        if not isinstance(source, np.ndarray):
            with self.on(stream):
                target[...] = source
            return
        direct = target.flags.c_contiguous and target.dtype == source.dtype and target.shape == source.shape
        there = target if direct else self.empty(source.shape, source.dtype, stream)
        staging = self._pinned.take(source.nbytes)
        staging.view(source.shape, source.dtype)[...] = source
        self._copy_memory(there.data.ptr, staging.address, source.nbytes, "memcpyHostToDevice", stream)
        self._pinned.give_back(staging, stream.record())
        if not direct:
            with self.on(stream):
                target[...] = there

    def copy_bytes(self, target: Array, source: Array, stream: Stream) -> None:
        """Copy dense memory of the device as it is."""
        self._copy_memory(target.data.ptr, source.data.ptr, target.nbytes, "memcpyDeviceToDevice", stream)

    def apply(self, function: Callable[..., None], out: Array, *arrays: Array, stream: Stream) -> None:
        """See `tgvc.devices.base.Device.apply`."""
        with self.on(stream):
            function(out, *arrays)

    def download(self, array: Array, stream: Stream) -> _OnItsWay:
        """See `tgvc.devices.base.Device.download`."""
        if not array.flags.c_contiguous:
            raise ValueError(f"download: expected a dense array, got one of shape {array.shape} with gaps")
        staging = self._pinned.take(array.nbytes)
        self._copy_memory(staging.address, array.data.ptr, array.nbytes, "memcpyDeviceToHost", stream)
        return _OnItsWay(array, staging, stream.record(), self._pinned)

    def capture(self, work: Callable[[], None], stream: Any) -> _Graph:
        """See `tgvc.devices.base.Device.capture`."""
        with self.on(stream):
            stream.own.begin_capture()
            try:
                work()
            except BaseException:
                with suppress(Exception):  # a stream that still records could not be used for anything else
                    stream.own.end_capture()
                raise
            return _Graph(stream.own.end_capture())

    def make_steps(
        self, v: Array, factors: tuple[float, float], capacity: int, dtype: npt.DTypeLike, stream: Stream
    ) -> CudaSteps:
        """See `tgvc.devices.base.Device.make_steps`."""
        return CudaSteps(self, v, factors, capacity, dtype, stream)

    def pack(self, call: StepCall, stream: Stream) -> npt.NDArray[Any]:
        """The record of a step."""
        c = call
        with self.on(stream):
            return pack_step(
                c.x, c.v, c.factors, c.weights, c.uncond, c.earlier, c.noise, c.held, c.pull, c.network,
                stream=stream.handle, out=(c.out, c.clean),
            )  # fmt: skip

    def upload_plan(self, plan: GuidancePlan, stream: Stream) -> Any:
        """See `tgvc.devices.base.Device.upload_plan`."""
        with self.on(stream):
            return upload_plan(plan, stream=stream.handle)

    def normal_noise(self, counter: NoiseCounter, out: Array, stream: Stream) -> None:
        """See `tgvc.devices.base.Device.normal_noise`."""
        c, (channels, _, height, width) = counter, out.shape
        with self.on(stream):
            normal_noise(c.seed, c.group, c.frames, c.draw, channels, height, width, stream=stream.handle, out=out)

    def pack_planes(self, pictures: Array, out: Array, stream: Stream) -> None:
        """See `tgvc.devices.base.Device.pack_planes`."""
        with self.on(stream):
            pack_planes(pictures, stream=stream.handle, out=out)

    def unpack_planes(self, planes: Array, stream: Stream) -> Array:
        """See `tgvc.devices.base.Device.unpack_planes`."""
        with self.on(stream):
            return unpack_planes(planes, stream=stream.handle)

    def rgb_to_yuv(self, rgb: Array, matrix: int, stream: Stream) -> Array:
        """See `tgvc.devices.base.Device.rgb_to_yuv`."""
        with self.on(stream):
            return rgb_to_yuv(rgb, matrix, stream=stream.handle)

    def _copy_memory(self, target: int, source: int, size: int, kind: str, stream: Stream) -> None:
        runtime = self._cupy.cuda.runtime
        with self._cupy.cuda.Device(self._ordinal):
            runtime.memcpyAsync(target, source, size, getattr(runtime, kind), stream.handle)
