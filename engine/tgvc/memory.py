"""Memory of the machine: how much a process may still take, and how it gives some back."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # what a group without a limit says is larger


@cache
def _allocator() -> Any:
    """The C library if it is one that can give freed memory back, else None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None


def release_memory() -> None:
    """Return freed memory to the system.

    Encoder threads come and go; glibc keeps what each of them freed in a pool of its own, so that without this a long
    video would take more and more although nothing is held. Does nothing where the C library has no such call.
    """
    library = _allocator()
    if library is not None:
        library.malloc_trim(0)


def available_memory(proc: Path = _PROC, groups: Path = _GROUPS) -> int | None:
    """Bytes that this process may still take without pushing anything out; None where the system does not say.

    What the kernel holds available, or less where a control group (of a container or a service) has a lower limit;
    pages of files that a group could drop count as free.

    Args:
        proc: where the kernel says it.
        groups: where control groups are mounted, of version 1 or 2.
    """
    found = [*_free_in_groups(proc, groups)]
    lines = _read_lines(proc / "meminfo")
    found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    if not found and hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def device_memory(ordinal: int = 0) -> int | None:
    """Bytes of memory of an NVIDIA GPU; None without one or without its driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, size = ctypes.c_int(), ctypes.c_size_t()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), ordinal):
        return None
    return None if cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device) else size.value


def _free_in_groups(proc: Path, groups: Path) -> Iterator[int]:
    """What every control group above this process leaves."""
    for line in _read_lines(proc / "self" / "cgroup"):
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        root = groups / "memory" if controllers else groups
        names = ("limit_in_bytes", "usage_in_bytes") if controllers else ("max", "current")
        prefix, dropped = ("memory.", "total_inactive_file") if controllers else ("memory.", "inactive_file")
        folder = root / place.strip("/")
        for level in (folder, *folder.parents):
            if not level.is_relative_to(root):
                break
            limit, used = (_read_number(level / (prefix + name)) for name in names)
            if limit is None or used is None or limit >= _UNLIMITED:
                continue
            stat = (entry.split() for entry in _read_lines(level / "memory.stat"))
            spare = next((int(pair[1]) for pair in stat if len(pair) == 2 and pair[0] == dropped), 0)
            yield max(0, limit - max(0, used - spare))


def _read_number(path: Path) -> int | None:
    lines = _read_lines(path)
    return int(lines[0]) if lines and lines[0].strip().isdecimal() else None


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
