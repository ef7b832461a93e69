"""A CuPy whose streams work as late as they may, in orders that only events restrict; its kernels are emulated.

What is queued is a closure over NumPy memory, and is run when the host waits for something behind it, or when the
policy takes another stream first. Two pieces of work that touch the same bytes, one of them writing, have to be in
order: by their stream, by events, or by the host having waited between. Memory that goes must not be in use on another
stream than the one it was made on, as CuPy's pool gives it to the next who asks there. What breaks these rules is in
`Engine.faults`, whether or not it did any harm in this run.
"""

from __future__ import annotations

import bisect
import ctypes
import itertools
import math
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from emulated_gpu import DlpackArray
from tgvc_kernels.device.step_kernels import STEP

Clock = dict[int, int]
WRITTEN = {"pack_planes": (1,), "unpack_planes": (1,), "rgb_to_yuv": (1,), "normal_noise": (1,), "step_factor": (2, 3)}
STEP_OUTPUTS = ("out", "clean", "network")


@dataclass(eq=False)
class Block:
    """Memory that was asked for once. ``gone``: when and behind what it was given back."""

    memory: np.ndarray
    stream: int | None
    uses: list[tuple[Op, int, int, bool]] = field(default_factory=list)
    gone: tuple[int, Clock] | None = None

    @property
    def address(self) -> int:
        return int(self.memory.ctypes.data)


@dataclass(eq=False)
class Op:
    """A piece of work. ``touches``: (first byte, byte behind the last, written), told when it runs."""

    name: str
    work: Callable[[], None]
    touches: Callable[[], list[tuple[int, int, bool]]]
    stream: int = 0
    moment: int = 0  # how many pieces of its stream come up to it
    clock: Clock = field(default_factory=dict)
    asked: int = 0

    def is_before(self, other: Op) -> bool:
        return other.clock.get(self.stream, 0) >= self.moment


class Engine:
    """All streams of a GPU that does not exist.

    Args:
        library: the emulator.
        policy: ``needed``: only what is waited for; ``others``: everything else first; ``random``.
        seed: of that.
    """

    def __init__(self, library: ctypes.CDLL, policy: str, seed: int = 0) -> None:
        self.library, self.policy, self.random = library, policy, random.Random(seed)
        self.faults: list[str] = []
        self.log: list[tuple[str, int, int]] = []  # what, thread, stream
        self.allocations = 0  # on the GPU
        self.lock = threading.RLock()
        self.streams: dict[int, LazyStream] = {}
        self.blocks: list[Block] = []
        self._addresses: list[int] = []
        self._ticks = itertools.count(1)
        self.local = threading.local()

    # ------------------------------------------------------------ memory

    def allocate(self, size: int, stream: int | None) -> Block:
        memory = np.full(max(size, 1), 0xA5, np.uint8)
        block = Block(memory, stream)
        with self.lock:
            at = bisect.bisect(self._addresses, block.address)
            self._addresses.insert(at, block.address)
            self.blocks.insert(at, block)
            self.allocations += stream is not None
        return block

    def block_at(self, address: int) -> Block:
        block = self.blocks[bisect.bisect(self._addresses, address) - 1]
        assert block.address <= address < block.address + block.memory.nbytes, "a pointer that leads nowhere"
        return block

    def let_go(self, block: Block) -> None:
        with self.lock:
            clock = dict(self.host_clock())
            if block.stream in self.streams:
                merge(clock, self.streams[block.stream].clock)
            block.gone = next(self._ticks), clock
            for op, *_ in block.uses:
                self._check_gone(block, op)

    def _check_gone(self, block: Block, op: Op) -> None:
        if block.gone is None or block.stream is None:
            return
        tick, clock = block.gone
        if op.asked > tick:
            self.faults.append(f"{op.name}: uses memory that was given back before")
        elif op.stream != block.stream and clock.get(op.stream, 0) < op.moment:
            self.faults.append(f"{op.name}: memory is given back while it may still be in use on another stream")

    # ------------------------------------------------------------ order

    def host_clock(self) -> Clock:
        if not hasattr(self.local, "clock"):
            self.local.clock = {}
        clock: Clock = self.local.clock
        return clock

    def queue(self, stream: LazyStream, op: Op) -> None:
        with self.lock:
            if stream.recorded is not None:
                stream.recorded.append(op)
                return
            merge(stream.clock, self.host_clock())
            stream.clock[stream.ptr] = stream.clock.get(stream.ptr, 0) + 1
            op.stream, op.moment, op.clock = stream.ptr, stream.clock[stream.ptr], dict(stream.clock)
            op.asked = next(self._ticks)
            stream.items.append(op)
            self.note(op.name, stream.ptr)

    def note(self, what: str, stream: int = 0) -> None:
        self.log.append((what, threading.get_ident(), stream))

    def run_until(self, event: LazyEvent) -> None:
        with self.lock:
            while not event.fired:
                ready = [s for s in self.streams.values() if s.ready]
                assert ready, "nothing can run: streams wait for each other"
                needed = event.stream
                while not needed.ready:
                    assert needed.items, "an event that was never recorded is waited for"
                    needed = needed.items[0][1].stream
                if self.policy == "needed":
                    chosen = needed
                elif self.policy == "others":
                    chosen = next((s for s in ready if s is not needed), needed)
                else:
                    chosen = self.random.choice(ready)
                chosen.advance()
            merge(self.host_clock(), event.clock)

    def touch(self, op: Op) -> None:
        """What a piece of work that runs now reads and writes, against everything before and beside it."""
        for first, last, written in op.touches():
            if first == last:
                continue
            block = self.block_at(first)
            assert last <= block.address + block.memory.nbytes, f"{op.name}: goes beyond its memory"
            self._check_gone(block, op)
            for other, low, high, wrote in block.uses:
                apart = last <= low or high <= first or not (written or wrote)
                if not (apart or other.is_before(op) or op.is_before(other)):
                    self.faults.append(f"{op.name} and {other.name} use the same memory in no order")
            block.uses.append((op, first, last, written))


def merge(clock: Clock, other: Clock) -> None:
    for stream, moment in other.items():
        clock[stream] = max(clock.get(stream, 0), moment)


class LazyEvent:
    """As `cupy.cuda.Event`; may be recorded once."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.fired, self.moment = engine, False, 0.0
        self.stream: Any = None
        self.clock: Clock = {}

    def record(self, stream: LazyStream) -> None:
        assert self.stream is None, "an event is recorded once"
        with self.engine.lock:
            self.stream, self.clock = stream, dict(stream.clock)
            stream.items.append(("record", self))

    @property
    def done(self) -> bool:
        with self.engine.lock:
            if self.engine.policy == "random" and self.stream.ready:
                self.stream.advance()
            if self.fired:
                merge(self.engine.host_clock(), self.clock)
            return self.fired

    def synchronize(self) -> None:
        self.engine.note("wait", self.stream.ptr)
        self.engine.run_until(self)


class LazyStream:
    """As `cupy.cuda.Stream`."""

    def __init__(self, engine: Engine, pointer: int) -> None:
        self.engine, self.ptr = engine, pointer
        self.items: deque[Any] = deque()
        self.clock: Clock = {}
        self.recorded: list[Op] | None = None
        engine.streams[pointer] = self

    @property
    def ready(self) -> bool:
        return bool(self.items) and not (isinstance(self.items[0], tuple) and self._is_blocked(*self.items[0]))

    def _is_blocked(self, what: str, event: LazyEvent) -> bool:
        return what == "wait" and not event.fired

    def advance(self) -> None:
        item = self.items.popleft()
        if isinstance(item, Op):
            self.engine.touch(item)
            item.work()
        elif item[0] == "record":
            item[1].fired, item[1].moment = True, time.perf_counter()

    def wait_event(self, event: LazyEvent) -> None:
        with self.engine.lock:
            merge(self.clock, event.clock)
            self.items.append(("wait", event))

    def synchronize(self) -> None:
        event = LazyEvent(self.engine)
        event.record(self)
        event.synchronize()

    def begin_capture(self) -> None:
        assert self.recorded is None
        self.engine.note("capture", self.ptr)
        self.recorded = []

    def end_capture(self) -> LazyGraph:
        assert self.recorded is not None
        graph, self.recorded = LazyGraph(self.engine, self.recorded), None
        return graph

    def __enter__(self) -> LazyStream:
        self.engine.local.current = [*getattr(self.engine.local, "current", []), self]
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.local.current = self.engine.local.current[:-1]


class LazyGraph:
    """As `cupy.cuda.Graph`."""

    def __init__(self, engine: Engine, ops: Sequence[Op]) -> None:
        self.engine, self.ops = engine, ops

    def launch(self, stream: LazyStream) -> None:
        self.engine.note("replay", stream.ptr)
        for op in self.ops:
            self.engine.queue(stream, Op(op.name, op.work, op.touches))


class _Token:
    """Gone when the last array of a block is."""


class LazyArray(NDArrayOperatorsMixin):
    """As `cupy.ndarray`; nobody on the host can look into it."""

    def __init__(self, engine: Engine, block: Block, host: np.ndarray, token: object = None) -> None:
        self.engine, self.block, self.host = engine, block, host
        if token is None:
            token = _Token()
            weakref.finalize(token, engine.let_go, block).atexit = False
        self.token = token

    @classmethod
    def new(cls, engine: Engine, shape: Sequence[int], dtype: Any) -> LazyArray:
        stream = engine.local.current[-1]
        assert stream.recorded is None, "memory is asked for while a graph is recorded"
        kind = np.dtype(dtype)
        block = engine.allocate(math.prod(shape) * kind.itemsize, stream.ptr)
        count = math.prod(shape) * kind.itemsize
        return cls(engine, block, block.memory[:count].view(kind).reshape(tuple(shape)))

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    data = property(lambda self: SimpleNamespace(ptr=int(self.host.ctypes.data)))
    flags = property(lambda self: SimpleNamespace(c_contiguous=self.host.flags.c_contiguous))

    def __len__(self) -> int:
        return len(self.host)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise AssertionError("the host looks into memory of the GPU")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, stream: int | None = None) -> Any:
        assert stream == self.engine.local.current[-1].ptr, "CuPy would make one stream wait for another"
        self.spoken = DlpackArray(self.host)
        return self.spoken.__dlpack__(stream)

    def span(self) -> tuple[int, int]:
        low, high = np.lib.array_utils.byte_bounds(self.host) if self.size else (0, 0)
        return int(low), int(high)

    def _seen(self, host: np.ndarray) -> LazyArray:
        assert np.shares_memory(host, self.host) or not host.size
        return LazyArray(self.engine, self.block, host, self.token)

    def __getitem__(self, key: Any) -> LazyArray:
        return self._seen(np.asarray(self.host[key]))

    def view(self, dtype: Any) -> LazyArray:
        return self._seen(self.host.view(dtype))

    def swapaxes(self, a: int, b: int) -> LazyArray:
        return self._seen(self.host.swapaxes(a, b))

    def transpose(self, *axes: int) -> LazyArray:
        return self._seen(self.host.transpose(*axes))

    def reshape(self, *shape: int) -> LazyArray:
        return self._derive("reshape", lambda a: a.reshape(*shape), self)

    def astype(self, dtype: Any) -> LazyArray:
        return self._derive("astype", lambda a: a.astype(dtype), self)

    def mean(self, **options: Any) -> LazyArray:
        return self._derive("mean", lambda a: a.mean(**options), self)

    def __setitem__(self, key: Any, value: Any) -> None:
        target = self._seen(np.asarray(self.host[key]))
        self._queue("assign", target, lambda v: v, value)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        assert method == "__call__"
        if out is None:
            return self._derive(ufunc.__name__, lambda *a: ufunc(*a, **options), *inputs)
        self._queue(ufunc.__name__, out[0], lambda *a: ufunc(*a, **options), *inputs)
        return out[0]

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        return self._derive(function.__name__, lambda a: function(a, *arguments[1:], **options), arguments[0])

    def _derive(self, name: str, function: Callable[..., Any], *inputs: Any) -> LazyArray:
        samples = [np.zeros(i.shape, i.dtype) if isinstance(i, LazyArray) else i for i in inputs]
        with np.errstate(all="ignore"):
            like = np.asarray(function(*samples))
        out = LazyArray.new(self.engine, like.shape, like.dtype)
        self._queue(name, out, function, *inputs)
        return out

    def _queue(self, name: str, out: LazyArray, function: Callable[..., Any], *inputs: Any) -> None:
        far = [i for i in inputs if isinstance(i, LazyArray)]
        assert all(isinstance(i, LazyArray | np.generic | int | float) for i in inputs), "arrays of two places"
        hosts = [i.host if isinstance(i, LazyArray) else i for i in inputs]
        target, spans = out.host, [(*i.span(), False) for i in far] + [(*out.span(), True)]

        def work() -> None:
            target[...] = function(*hosts)

        self.engine.queue(self.engine.local.current[-1], Op(name, work, lambda: spans))


class LazyCupy:
    """The module, as far as `tgvc_kernels.device` and `tgvc.devices.cuda` use it."""

    __version__ = "14.0.0"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        streams = itertools.count(0x5000)
        null = SimpleNamespace(ptr=0)  # nothing of ours goes to the default stream: it has no queue

        class Stream:
            def __new__(cls, *, non_blocking: bool) -> Any:
                assert non_blocking
                return LazyStream(engine, next(streams))

            @staticmethod
            def from_external(stream: Any) -> LazyStream:
                return engine.streams[stream.__cuda_stream__()[1]]

        Stream.null = null  # type: ignore[attr-defined]
        runtime = SimpleNamespace(
            memcpyHostToDevice=1, memcpyDeviceToHost=2, memcpyDeviceToDevice=3, memcpyAsync=self._copy
        )
        self.cuda = SimpleNamespace(
            Stream=Stream,
            Event=lambda block: LazyEvent(engine),
            Device=lambda ordinal: nullcontext(ordinal),
            runtime=runtime,
            alloc_pinned_memory=lambda size: engine.allocate(size, None).memory,
            get_elapsed_time=_elapsed,
        )

    def empty(self, shape: Sequence[int], dtype: Any) -> LazyArray:
        return LazyArray.new(self.engine, shape, dtype)

    def zeros(self, shape: Sequence[int], dtype: Any) -> LazyArray:
        array = self.empty(shape, dtype)
        array[...] = np.dtype(dtype).type(0)
        return array

    def asarray(self, array: np.ndarray) -> LazyArray:
        """CuPy reads the array before it returns."""
        out, read = self.empty(array.shape, array.dtype), array.copy()
        target = out.host

        def work() -> None:
            target[...] = read

        self.engine.queue(self.engine.local.current[-1], Op("upload", work, lambda: [(*out.span(), True)]))
        return out

    def RawModule(self, *, path: str, enable_cooperative_groups: bool = False) -> Any:  # noqa: N802
        assert Path(path).is_file()
        return SimpleNamespace(get_function=lambda name: self._kernel(name, enable_cooperative_groups))

    def _copy(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        touches = [(source, source + size, False), (target, target + size, True)]
        self.engine.queue(
            self.engine.streams[stream],
            Op(f"copy {kind}", lambda: ctypes.memmove(target, source, size), lambda: touches),  # type: ignore[arg-type]
        )

    def _kernel(self, name: str, cooperative: bool) -> Callable[..., None]:
        stem = name.rpartition("_")[0]

        def call(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...], *, stream: Any) -> None:
            held = [np.atleast_1d(np.asarray(argument)).copy() for argument in arguments]

            def work() -> None:
                pointers = (ctypes.c_void_p * len(held))(*(argument.ctypes.data for argument in held))
                code = self.engine.library.tgvc_emulate(name.encode(), grid[0], block[0], int(cooperative), pointers)
                assert code == 0, name

            places = [(n, int(a[0])) for n, a in enumerate(held) if a.dtype == np.uint64 and a[0]]
            self.engine.queue(stream, Op(stem, work, lambda: self._touched(stem, places)))

        return call

    def _touched(self, stem: str, places: Sequence[tuple[int, int]]) -> list[tuple[int, int, bool]]:
        pointers = [(place, n in WRITTEN.get(stem, ())) for n, place in places]
        if stem == "guided_step_at":  # the other places are in the record, which is read when the kernel runs
            record = np.frombuffer((ctypes.c_char * STEP.itemsize).from_address(places[0][1]), STEP)[0]
            names = [name for name in STEP.names or () if STEP[name] == np.uint64]
            pointers += [(int(record[name]), name in STEP_OUTPUTS) for name in names if record[name]]
        found = []
        for place, written in pointers:
            block = self.engine.block_at(place)
            found.append((place, block.address + block.memory.nbytes, written))
        return found


def _elapsed(earlier: LazyEvent, later: LazyEvent) -> float:
    assert earlier.fired
    assert later.fired
    return 1000 * (later.moment - earlier.moment)


class LazyNet:
    """A network whose launches are queued; see `tgvc.backends.base.DeviceNet`.

    Args:
        engine: that runs it.
        record: of the network.
        function: outputs by name for arrays of the host by name.
        capturable: whether it may be recorded.
    """

    def __init__(
        self, engine: Engine, record: Any, function: Callable[..., Mapping[str, np.ndarray]], *, capturable: bool = True
    ) -> None:
        self.engine, self.record, self.function, self.capturable = engine, record, function, capturable
        self.launches: list[dict[str, int]] = []

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        return dict(self.function(**inputs))

    def launch(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: int) -> None:
        record = self.record
        for given, specs in ((inputs, record.inputs), (outputs, record.outputs)):
            assert {s.name: s.dtype for s in specs} == {name: a.dtype.name for name, a in given.items()}
            assert all(a.host.flags.c_contiguous for a in given.values()), record.name
        self.launches.append({name: a.data.ptr for name, a in (*inputs.items(), *outputs.items())})
        read, written = ({name: a.host for name, a in side.items()} for side in (inputs, outputs))
        spans = [(*a.span(), False) for a in inputs.values()] + [(*a.span(), True) for a in outputs.values()]

        def work() -> None:
            for name, value in self.function(**read).items():
                written[name][...] = value

        self.engine.queue(self.engine.streams[stream], Op(record.name, work, lambda: spans))
