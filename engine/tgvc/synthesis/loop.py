"""The denoising loop on a device: steps, network and guidance queued on one stream, with nothing waited for between.

What happens when, and where it lies: docs/loop.md.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tgvc.devices.base import Array, Event, Graph, StepCall, StepTable, Stream, fill_zeros
from tgvc.devices.scratch import Scratch
from tgvc.diffusion.guidance import Guidance
from tgvc.diffusion.steps import StepNumbers
from tgvc.models.queued import QueuedNet
from tgvc.types import OnProgress
from tgvc_kernels.step import Factors, Held, NoiseCounter, Pull

_MOST_SHAPES = 4  # that memory and graphs are kept for
Outside = Callable[[int], tuple[Array, float]]
"""``outside(i)``: latents (C, n, h, w) of frames outside of the run for step ``i``, and what they are multiplied by."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """A run of the loop. Arrays are the device's.

    ``start`` float32 (C, T, h, w): noise. ``opening``: what is done to it before the first step; ``steps``: these.
    ``given``: inputs of the network that are the same in all steps, (B, ..), of the device or the host's; read-only
    ones of the host that were given before are there already. ``told``: those that change from step to step, one row
    for each, (S, ..), shown to all runs; without any, the network is told the timestep as ``t``. ``known``: latents
    (C, h, w) by slot, shown to the network behind its x, zeros elsewhere. ``noise``: counter of fresh noise. ``held``:
    frames that are known, bool (T,), and their latents (C, T, h, w). ``pull``: of the trajectories; ``outside``: what
    it is compared with beyond the run, where that changes from step to step. ``record`` float32 (S, C, 1, h, w): gets
    what slot 0 of x was at each step.
    """

    start: Array
    opening: StepNumbers
    steps: Sequence[StepNumbers]
    given: Mapping[str, Array] = field(default_factory=dict)
    told: Mapping[str, Array] = field(default_factory=dict)
    known: Mapping[int, Array] | None = None
    noise: NoiseCounter | None = None
    held: tuple[Array, Array] | None = None
    pull: Pull | None = None
    outside: Outside | None = None
    record: Array | None = None


@dataclass(frozen=True, eq=False)
class Finished:
    """What a run leaves behind on the loop's stream, until the next run: its estimate and x, float32 (C, T, h, w)."""

    clean: Array
    x: Array


class Progress:
    """Tells of steps as streams come past them; nobody waits for it.

    Args:
        tell: see `tgvc.types.OnProgress`.
        total: steps.
    """

    def __init__(self, tell: OnProgress | None, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()

    def watch(self, stream: Stream) -> None:
        """The next step, in the order of work, ends where the stream is now."""
        if self._tell is not None:
            self._events.append(stream.record())
            self.tell()

    def tell(self) -> None:
        """Report the steps that are over by now."""
        with self._lock:
            while self._tell is not None and self._events and self._events[0].done():
                self._events.popleft()
                self._done += 1
                self._tell("denoise", self._done, self._total)


@dataclass(eq=False)
class _Memory:
    """What runs of one shape lie in: both states of x and of the estimate, and what the network reads and writes.

    ``told``: what it is told of the current step, (B, ..).
    """

    table: StepTable
    states: list[Array]
    estimates: list[Array]
    x: Array
    v: Array
    nothing: Array
    told: Mapping[str, Array]
    given: Mapping[str, Array] = field(default_factory=dict)
    warm: set[int] = field(default_factory=set)
    graphs: dict[int, Graph] = field(default_factory=dict)


class Loop:
    """Runs of one network on one stream, one after the other in the same memory.

    Args:
        net: that predicts v: ``x``, what it is told of a step, and more in, ``v`` out.
        scratch: memory, and the stream.
        scale: of the guidance without a classifier; 1 = the network runs once per step, else for both.
        rescale: of its result.
    """

    def __init__(self, net: QueuedNet, scratch: Scratch, *, scale: float = 1.0, rescale: float = 0.0) -> None:
        self._net, self._scratch, self._scale, self._rescale = net, scratch, scale, rescale
        self._memory: dict[tuple[Any, ...], _Memory] = {}

    def run(self, task: Task, progress: Progress) -> Finished:
        """Queue a whole run; nothing is waited for."""
        device, stream = self._scratch.device, self._scratch.stream
        runs = 1 if self._scale == 1.0 else 2
        memory = self._memory_for(task, runs)
        given = {name: self._place(name, array) for name, array in task.given.items()}
        if task.known is not None:
            behind = memory.x[:, len(task.start) :]
            device.apply(fill_zeros, behind, stream=stream)
            for slot, latents in task.known.items():
                device.copy(behind[:, :, slot], latents, stream)
        if memory.graphs and any(array is not memory.given.get(name) for name, array in given.items()):
            stream.synchronize()  # a graph has to be over before it goes
            memory.graphs.clear()  # they read what was given when they were recorded
            memory.warm.clear()
        memory.given = given
        calls = self._calls(task, memory, runs)
        memory.table.fill(calls, stream)
        memory.table.choose(0, stream)
        memory.table.queue(stream, guided=False)
        for n, step in enumerate(task.steps, start=1):
            if task.record is not None:
                device.copy(task.record[n - 1], calls[n].x[:, :1], stream)
            memory.table.choose(n, stream)
            for name, rows in task.told.items():
                device.copy(memory.told[name], rows[n - 1], stream)
            self._step(memory, given, runs if step.guided else 1)
            progress.watch(stream)
        return Finished(calls[-1].clean, calls[-1].out)

    def _place(self, name: str, array: Array) -> Array:
        """An array where the network reads it, of its type."""
        scratch, kind = self._scratch, self._net.dtype_of(name)
        if isinstance(array, np.ndarray):
            return scratch.bring(name, array, kind)
        if array.dtype == kind:
            return array
        there = scratch.take(name, array.shape, kind)
        scratch.device.copy(there, array, scratch.stream)
        return there

    def _step(self, memory: _Memory, given: Mapping[str, Array], runs: int) -> None:
        """The network and the step behind it: replayed where that was recorded, recorded where it may be."""
        stream = self._scratch.stream

        def work() -> None:
            inputs = {"x": memory.x, **memory.told, **given}
            inputs = {name: _first(array, runs) for name, array in inputs.items()}
            self._net.queue(inputs, {"v": _first(memory.v, runs)}, stream)
            memory.table.queue(stream, guided=runs == 2)

        if runs not in memory.graphs and runs in memory.warm and self._net.capturable:
            memory.graphs[runs] = self._scratch.device.capture(work, stream)
        if runs in memory.graphs:
            memory.graphs[runs].launch(stream)
        else:
            work()
            memory.warm.add(runs)

    def _memory_for(self, task: Task, runs: int) -> _Memory:
        device, stream = self._scratch.device, self._scratch.stream
        shape, behind = task.start.shape, 0 if task.known is None else len(task.start)
        asked = [*task.given.items(), *task.told.items()]
        key = (*shape, behind, runs, len(task.steps), *((name, array.shape) for name, array in asked))
        if key not in self._memory:
            while len(self._memory) >= _MOST_SHAPES:
                stream.synchronize()  # a graph has to be over before it goes
                del self._memory[next(iter(self._memory))]
            states = [device.empty(shape, np.float32, stream) for _ in range(2)]
            estimates = [device.empty(shape, np.float32, stream) for _ in range(2)]
            x = device.empty((runs, shape[0] + behind, *shape[1:]), self._net.dtype_of("x"), stream)
            v = device.empty((runs, *shape), self._net.dtype_of("v"), stream)
            nothing = device.empty(shape, self._net.dtype_of("v"), stream)
            device.apply(fill_zeros, nothing, stream=stream)
            kind = np.float32 if task.told else self._net.dtype_of("t")
            table = device.make_steps(v, (self._scale, self._rescale), len(task.steps) + 1, kind, stream)
            told = {
                name: device.empty((runs, *rows.shape[1:]), self._net.dtype_of(name), stream)
                for name, rows in task.told.items()
            }
            told = told or {"t": table.timesteps}
            self._memory[key] = _Memory(table, states, estimates, x, v, nothing, told)
        return self._memory[key]

    def _calls(self, task: Task, memory: _Memory, runs: int) -> list[StepCall]:
        return [self._call(task, memory, n, step, runs) for n, step in enumerate((task.opening, *task.steps))]

    def _call(self, task: Task, memory: _Memory, n: int, step: StepNumbers, runs: int) -> StepCall:
        """Step ``n`` of the table, the opening one being 0: states and estimates take turns."""
        uncond = memory.v[1] if n and runs == 2 and step.guided else None
        pull = None
        if task.pull is not None and step.pull != 0:
            pull = task.pull
            if task.outside is not None:
                outside, level = task.outside(step.index - 1)
                pull = pull._replace(outside=outside, outside_level=level)
        held = None
        if task.held is not None:
            frames, clean = task.held
            held = Held(frames, clean, step.next_signal, step.next_spread, task.start, step.level)
        return StepCall(
            x=memory.states[(n - 1) % 2] if n else task.start,
            v=memory.v[0] if n else memory.nothing,
            uncond=uncond,
            factors=Factors(step.signal, step.spread, step.clean_scale, self._scale, self._rescale),
            weights=(*step.weights, step.sigma, step.pull),
            earlier=memory.estimates[(n - 1) % 2] if step.weights[3] else None,
            noise=task.noise._replace(draw=step.draw) if task.noise is not None and step.draw else None,
            held=held,
            pull=pull,
            network=memory.x,
            out=memory.states[n % 2],
            clean=memory.estimates[n % 2],
            timestep=float(step.timestep),
        )


def _first(array: Array, runs: int) -> Array:
    """The first runs; the array itself if these are all, so that a network knows again what it was given before."""
    return array if len(array) == runs else array[:runs]


def place_pull(guidance: Guidance, channels: int, scratch: Scratch) -> Pull | None:
    """What a guidance looks at, on a device; None where nothing pulls. Its base, scale and mean are the caller's.

    Args:
        guidance: for one window; latents of frames outside of it are arrays of the host or of the device.
        channels: of the latents.
        scratch: whose stream uses it.
    """
    if not guidance.plan.cells.size:
        return None
    device, stream, outside = scratch.device, scratch.stream, None
    if guidance.outside:
        outside = scratch.take("outside", (channels, len(guidance.outside), *guidance.plan.size[1:]), np.float32)
        for n, latents in enumerate(guidance.outside):
            device.copy(outside[:, n], latents, stream)
    return Pull(device.upload_plan(guidance.plan, stream), outside=outside)
