"""Kernels on a GPU: the same bits as the reference, then the time of one in a graph of a hundred."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tgvc.devices.base import HOST, Device, Stream, put
from tgvc.devices.choice import find_device
from tgvc.errors import TgvcError
from tgvc_bench.gpu.sizes import Sizes
from tgvc_bench.gpu.timing import time_graph
from tgvc_bench.protocol.agreement import Agreement, compare_equal, compare_within, require
from tgvc_bench.timed.kernel_cases import KernelCase, as_arrays, list_cases
from tgvc_bench.timed.kernels import FIXED, ROTATING, describe_micro
from tgvc_kernels.plan import GuidancePlan

if TYPE_CHECKING:  # which needs a GPU
    from tgvc.devices.cuda import CudaDevice

_ON_HOST = ("guidance_plan",)  # made by the processor, wherever it is used
_ALLOCATING = ("splat",)  # needs memory beside its result, which no graph may ask for
_L2 = 128 << 20  # bytes that rotating inputs take together: beyond the caches of any GPU
_MOST_SETS = 100


def measure_kernels(sizes: Sizes, have: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Rows of all kernels; one that fails gives a fault, the others go on."""
    ceilings = sizes.ceilings()
    yield {"ceilings": ceilings.as_dict()}
    device = find_device(HOST if sizes.dry else f"{sizes.device}:0")
    stream = device.make_stream()
    for case in list_cases(sizes.size, sizes.frames, sizes.points):
        if case.name in _ON_HOST:
            continue
        keys = {inputs: f"{case.name} {inputs}" for inputs in (FIXED, ROTATING)}
        if set(keys.values()) <= have:
            continue
        try:
            agreement = require(f"kernel {case.name}", check_kernel(case, device, stream))
            moved = case.moved_bytes(case.draw(0))
            for inputs, key in keys.items():
                sets = 1 if inputs == FIXED else max(2, min(_MOST_SETS, -(-_L2 // moved)))
                calls = [queue_kernel(case, case.draw(seed), device, stream) for seed in range(sets)]
                recorded = case.name not in _ALLOCATING
                nodes = max(sizes.nodes, sets)
                seconds = time_graph(device, stream, calls, nodes, sizes.replays, recorded=recorded)
                row = describe_micro(case.name, seconds, moved, ceilings, agreement)
                place = {"backend": "cuda kernels" if device.remote else "numba", "device": device.name}
                yield (
                    row
                    | place
                    | {"key": key, "inputs": f"{inputs}, {sets} sets, {nodes} {'nodes' if recorded else 'launches'}"}
                )
                del calls
        except (TgvcError, RuntimeError, ValueError) as fault:
            yield {"key": keys[FIXED], "fault": f"{type(fault).__name__}: {fault}"}


def bring(value: Any, device: Device, stream: Stream) -> Any:
    """Arguments of a kernel in memory of a device: arrays, plans, and what is made of them."""
    if isinstance(value, np.ndarray):
        return put(device, value, stream)
    if isinstance(value, GuidancePlan):
        return device.upload_plan(value, stream)
    if isinstance(value, tuple):
        parts = [bring(part, device, stream) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def call_kernel(case: KernelCase, arguments: tuple[Any, ...], device: Device, stream: Stream, out: Any = None) -> Any:
    """Queue a kernel; its results, in ``out`` where that is given."""
    if not device.remote:
        found = case.call(*arguments, implementation="cpu")
        for target, made in zip(as_arrays(out), as_arrays(found), strict=False):
            target[...] = made
        return found
    from tgvc_kernels import gpu

    named, there = {} if out is None else {"out": out}, cast("CudaDevice", device)
    with there.on(stream):  # else the arrays' library would make one stream wait for another
        return getattr(gpu, case.name)(*arguments, stream=stream.handle, **named)


def queue_kernel(case: KernelCase, arguments: tuple[Any, ...], device: Device, stream: Stream) -> Callable[[], None]:
    """A call of a kernel that allocates and copies nothing: all it needs is made here."""
    there = bring(arguments, device, stream)
    out = call_kernel(case, there, device, stream)

    def call() -> None:
        call_kernel(case, there, device, stream, out)

    return call


def check_kernel(case: KernelCase, device: Device, stream: Stream) -> Agreement:
    """A kernel on the device beside the reference, on inputs that are not those that are timed."""
    arguments = case.draw((1 << 31) - 1)
    found = call_kernel(case, bring(arguments, device, stream), device, stream)
    got = [device.download(array, stream).wait() for array in flatten(found)]
    worst: Agreement | None = None
    for ours, theirs in zip(got, case.run(arguments, "reference"), strict=True):
        agreement = compare_within(ours, theirs, case.within) if case.within else compare_equal(ours, theirs)
        if worst is None or not agreement.value <= worst.value:
            worst = agreement
    assert worst is not None
    return worst


def flatten(value: Any) -> list[Any]:
    """The arrays of a result, of any library."""
    return [array for part in value for array in flatten(part)] if isinstance(value, tuple) else [value]
