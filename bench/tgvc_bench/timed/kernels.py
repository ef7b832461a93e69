"""Kernels on the processor: right first, then the time of a call on inputs that are in the caches and on others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

from tgvc_bench.protocol.agreement import Agreement, compare_equal, compare_within, require
from tgvc_bench.protocol.ceilings import Ceilings
from tgvc_bench.protocol.latency import Budget, measure_runs, summarise_runs
from tgvc_bench.protocol.noise import compare_calls
from tgvc_bench.protocol.schema import MICRO
from tgvc_bench.records import shorten
from tgvc_bench.timed.kernel_cases import KernelCase

FIXED, ROTATING = "fixed", "rotating"
_CACHE, _MOST_SETS = 96 << 20, 64  # bytes that rotating inputs take together, beyond the caches of a processor; sets


def time_kernel(
    case: KernelCase, ceilings: Ceilings, budget: Budget, implementations: Sequence[str] = ("cpu",)
) -> Iterator[dict[str, Any]]:
    """Rows of a kernel, without their run: one per implementation and kind of inputs.

    Args:
        case: the kernel.
        ceilings: of this machine, in this run.
        budget: of each row.
        implementations: of `tgvc_kernels`, each compared with ``reference`` first.

    Raises:
        BackendError: an implementation is not what it promises.
    """
    first = case.draw(0)
    moved = case.moved_bytes(first)
    sets = [first, *(case.draw(seed) for seed in range(1, count_sets(moved)))]
    for implementation in implementations:
        agreement = check_case(case, implementation)
        for inputs, chosen in ((FIXED, [first]), (ROTATING, sets)):
            call = rotate(case, chosen, implementation)
            call()  # compiles
            seconds = measure_runs(call, budget)
            row = describe_micro(case.name, seconds, moved, ceilings, agreement)
            row |= {"backend": _BACKENDS[implementation], "device": "cpu", "inputs": _say(inputs, len(chosen))}
            if inputs == FIXED and implementation != "reference":
                reference = rotate(case, chosen, "reference")
                row["comparison"] = compare_calls(reference, call, Budget(max(5, budget.runs // 3), budget.seconds))[0]
                row["comparison"] = row["comparison"].as_dict() | {"with": "NumPy reference"}
            yield row


_BACKENDS = {"cpu": "numba", "reference": "numpy", "gpu": "cuda"}


def check_case(case: KernelCase, implementation: str) -> dict[str, Any]:
    """The agreement of an implementation with the reference, on inputs that are not those that are timed.

    Raises:
        BackendError: it is not what the kernel promises.
    """
    arguments = case.draw(-1 % (1 << 31))
    got, want = case.run(arguments, implementation), case.run(arguments, "reference")
    worst: Agreement | None = None
    for ours, theirs in zip(got, want, strict=True):
        found = compare_within(ours, theirs, case.within) if case.within else compare_equal(ours, theirs)
        if worst is None or not found.value <= worst.value:
            worst = found
    assert worst is not None
    return require(f"kernel {case.name}, {implementation}", worst)


def rotate(case: KernelCase, sets: Sequence[tuple[Any, ...]], implementation: str) -> Callable[[], object]:
    """A call that takes the next set of arguments each time."""
    turn = cycle(sets)
    return lambda: case.call(*next(turn), **case.options, implementation=implementation)


def count_sets(moved: int) -> int:
    """How many sets of arguments are larger than the caches together."""
    return max(2, min(_MOST_SETS, -(-_CACHE // max(moved, 1))))


def describe_micro(
    name: str, seconds: Sequence[float], moved: int, ceilings: Ceilings, agreement: dict[str, Any]
) -> dict[str, Any]:
    """The fields of a row that follow from the seconds of a call and the bytes that it has to move."""
    rate = moved / min(seconds)
    return {
        "name": name,
        "scenario": MICRO,
        "precision": "float32",
        "agreement": agreement,
        "latency": summarise_runs(seconds),
        "cost": {"bytes": moved},
        "achieved": {"bytes_per_s": shorten(rate, 3)},
        "efficiency": {"of_bandwidth": shorten(rate / ceilings.bytes_per_s, 3)},
    }


def _say(inputs: str, sets: int) -> str:
    return f"{inputs}, {sets} sets" if sets > 1 else f"{inputs}, in the caches"
