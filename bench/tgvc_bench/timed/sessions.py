"""Whole measurements: ceilings first, then rows, gathered into one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError
from tgvc_bench.protocol.ceilings import measure_host
from tgvc_bench.protocol.latency import Budget
from tgvc_bench.protocol.provenance import describe_run
from tgvc_bench.protocol.report import format_seconds
from tgvc_bench.protocol.schema import start_record
from tgvc_bench.timed.decode import DecodeOptions, measure_decode
from tgvc_bench.timed.encode import measure_encode
from tgvc_bench.timed.kernel_cases import list_cases
from tgvc_bench.timed.kernels import time_kernel

_KERNEL_NOTES = (
    "fixed: the same inputs again and again, which stay in the caches, so that a share of memory may exceed 1; "
    "rotating: sets of inputs that the caches do not hold together",
    "bytes: every input read once, every output written once",
    "against: smallest of interleaved runs; a ratio is told where it exceeds three times the spread of A against A",
)
_DECODE_NOTES = (
    "single stream: the whole stream, one decode after the other; offline: a DecodeSession that always has streams to "
    "decode; cold start: fresh processes, to the first frame that was painted, the median one. Nothing is written",
    "stages: every moment is dealt out once, in equal parts where stages overlap; the gap belongs to no stage",
    "of ceiling: FLOP of the networks at the best time, and their roofline with everything else fused, against the "
    "ceilings of this run",
)
_ENCODE_NOTES = (
    "single stream: the whole clip, one encode after the other, written to memory",
    "choose: what the planner does in its own thread while no candidate is coded, shown or fitted in others",
)
Say = Callable[[str], None]


def measure_kernels(
    size: tuple[int, int], only: Sequence[str], threads: int, budget: Budget, say: Say, command: str
) -> dict[str, Any]:
    """The record of ``tgvc bench kernels``.

    Args:
        size: (width, height) of the pictures in px.
        only: names of kernels; all if empty.
        threads: of the ceilings; a kernel runs on one.
        budget: of each row.
        say: told of every row.
        command: as it was called.

    Raises:
        ConfigError: an unknown kernel.
        BackendError: a kernel is wrong; nothing is timed.
    """
    cases = list_cases(size)
    if unknown := set(only) - {case.name for case in cases}:
        raise ConfigError(f"kernel {min(unknown)!r}: expected some of {', '.join(case.name for case in cases)}")
    ceilings = measure_host(threads)
    name, run = describe_run(command, ceilings)
    record = start_record("kernels") | {"notes": list(_KERNEL_NOTES), "runs": {name: run}}
    for case in cases:
        if not only or case.name in only:
            for row in time_kernel(case, ceilings, budget):
                record["rows"].append({"run": name, **row})
                say(f"{case.name}, {row['inputs']}: {format_seconds(row['latency']['p50_s'])}")
    return record


def measure_decoding(
    stream: Path, settings: dict[str, Any], options: DecodeOptions, say: Say, command: str
) -> dict[str, Any]:
    """The record of ``tgvc bench decode``; arguments as of `tgvc_bench.timed.decode.measure_decode`."""
    ceilings = measure_host(int(settings.get("threads", 2)))
    name, run = describe_run(command, ceilings)
    record = start_record("decode") | {"notes": list(_DECODE_NOTES), "runs": {name: run}}
    for row in measure_decode(stream, settings, ceilings, options):
        record["rows"].append({"run": name, **row})
        say(f"{row['name']}, {row['scenario']}: done")
    return record


def measure_encoding(
    clip: Path, settings: dict[str, Any], threads: int, budget: Budget, say: Say, command: str
) -> dict[str, Any]:
    """The record of ``tgvc bench encode``; arguments as of `tgvc_bench.timed.encode.measure_encode`."""
    name, run = describe_run(command, measure_host(threads))
    record = start_record("encode") | {"notes": list(_ENCODE_NOTES), "runs": {name: run}}
    for row in measure_encode(clip, settings, threads, budget):
        record["rows"].append({"run": name, **row})
        say(f"{row['name']}: {row['frames_per_second']} frames per second")
    return record
