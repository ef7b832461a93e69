"""The text of the kernels: one unit per `.cu` file, its includes put in place, so that a compiler needs no files."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

UNITS = ("colour", "fields", "guidance", "noise", "packing", "pictures", "splat", "step")


@cache
def unit_text(unit: str) -> str:
    """The text of a unit with every file it includes, each once.

    Args:
        unit: one of `UNITS`.

    Raises:
        ValueError: another name.
    """
    if unit not in UNITS:
        raise ValueError(f"unit={unit!r}: expected one of {', '.join(UNITS)}")
    return "\n".join(_lines(f"{unit}.cu", set())) + "\n"


def _lines(name: str, seen: set[str]) -> list[str]:
    found = []
    for line in (files("tgvc_kernels") / "cuda" / name).read_text("utf-8").splitlines():
        start, _, rest = line.partition('#include "')
        wanted = rest.partition('"')[0]
        if start or not wanted.endswith(".cuh"):
            if line != "#pragma once":
                found.append(line)
        elif wanted not in seen:
            seen.add(wanted)
            found += _lines(wanted, seen)
    return found
