"""What a measurement ran on: versions of the parts that matter, the processor, how busy it was, seconds spent."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tgvc.doctor import cpu_name, find_version, usable_cores
from tgvc_bench.ffmpeg import ffmpeg_version
from tgvc_bench.records import shorten

_PACKAGES = ("tgvc", "av", "numpy", "numba", "opencv-python-headless")
_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")  # what changes how libraries share cores
_Result = TypeVar("_Result")


def read_versions(*, ffmpeg: bool = True) -> dict[str, str]:
    """Versions of the packages that decide a result; ``ffmpeg``: also of the binary that runs VMAF."""
    found = {"ffmpeg": ffmpeg_version()} if ffmpeg else {}
    return found | {package: find_version(package) or "not installed as a package" for package in _PACKAGES}


def describe_machine() -> dict[str, Any]:
    """Processor, usable cores, Python, settings of threads in the environment, load averaged over the last minute."""
    return {
        "processor": cpu_name(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "environment": {name: os.environ[name] for name in _SETTINGS if name in os.environ},
        "load": shorten(os.getloadavg()[0], 3),
    }


@dataclass(frozen=True)
class Spent:
    """Seconds of one run: ``wall`` by the clock, ``cpu`` of all threads of this process, user and system."""

    wall: float
    cpu: float


def time_call(call: Callable[[], _Result]) -> tuple[_Result, Spent]:
    """Run once; what it returned and what it took."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    result = call()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return result, Spent(wall, cpu)


def time_repeats(call: Callable[[], object], repeats: int, *, warm_up: bool = True) -> list[Spent]:
    """Run several times, after one run that is not counted (kernels are compiled in it)."""
    if warm_up:
        call()
    return [time_call(call)[1] for _ in range(repeats)]


def summarise(spent: Sequence[Spent]) -> dict[str, Any]:
    """Median and smallest of the runs: ``wall_s``, ``cpu_s``, each {median, min}, and how many ``runs``."""
    result: dict[str, Any] = {"runs": len(spent)}
    for name, values in (("wall_s", [s.wall for s in spent]), ("cpu_s", [s.cpu for s in spent])):
        result[name] = {"median": shorten(statistics.median(values), 4), "min": shorten(min(values), 4)}
    return result
