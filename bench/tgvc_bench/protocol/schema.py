"""What a record of ``tgvc bench`` has to hold; one that lacks something is not written.

A record has ``runs``, each with its command, machine and versions, and ``rows``, each of which names its run, what ran
on what with which numbers, how it was found right, and what it took. `COMMON` is in every row; the other fields of
`FIELDS` depend on its scenario.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError
from tgvc_bench.records import read_record, write_record

FORMAT = "tgvc-bench 1"
KINDS = ("kernels", "decode", "encode", "gpu")
SINGLE_STREAM, OFFLINE, COLD_START, MICRO = "single stream", "offline", "cold start", "micro"
SCENARIOS = (SINGLE_STREAM, OFFLINE, COLD_START, MICRO)  # never mixed in one row
_NUMBER, _TEXT, _FLAG = "a number", "a text", "true or false"
_LATENCY = {"runs": _NUMBER, "min_s": _NUMBER, "p50_s": _NUMBER, "p90_s": _NUMBER, "p99_s": _NUMBER, "mean_s": _NUMBER}
_AGREEMENT = {"rule": _TEXT, "value": _NUMBER, "limit": _NUMBER}
_BREAKDOWN = {"whole_s": _NUMBER, "stages": {}, "gap_s": _NUMBER, "gap_share": _NUMBER, "adds_up": _FLAG}
_RUN = {
    "command": _TEXT,
    "machine": {"processor": _TEXT, "cores": _NUMBER, "python": _TEXT, "system": _TEXT, "load": _NUMBER},
    "versions": {"tgvc": _TEXT, "numpy": _TEXT},
}
COMMON = {
    "name": _TEXT,
    "run": _TEXT,
    "scenario": _TEXT,
    "backend": _TEXT,
    "device": _TEXT,
    "precision": _TEXT,
    "agreement": _AGREEMENT,
}
FIELDS: dict[str, Mapping[str, Any]] = {
    SINGLE_STREAM: {"latency": _LATENCY, "warm_up": {"runs": _NUMBER, "settled": _FLAG}},
    OFFLINE: {"seconds": _NUMBER, "done": _NUMBER, "per_second": _NUMBER},
    COLD_START: {"breakdown": _BREAKDOWN},
    MICRO: {"latency": _LATENCY, "inputs": _TEXT},
}
_OPTIONAL: dict[str, Any] = {
    "breakdown": _BREAKDOWN,
    "comparison": {"ratio": _NUMBER, "spread": _NUMBER, "told": _FLAG, "rounds": _NUMBER},
    "energy": {"joule": _NUMBER, "joule_idle_subtracted": _NUMBER},
}
_SOME = {  # at least one of these, and no others; all are numbers
    "cost": ("flop", "bytes", "roofline_s"),
    "achieved": ("flop_per_s", "bytes_per_s"),
    "efficiency": ("of_flop", "of_bandwidth", "of_roofline"),
}


def start_record(kind: str) -> dict[str, Any]:
    """An empty record."""
    return {"format": FORMAT, "kind": kind, "notes": [], "runs": {}, "rows": []}


def load_record(path: Path, kind: str) -> dict[str, Any]:
    """The record of a file, to be added to; an empty one where there is no file.

    Raises:
        ConfigError: the file holds something else.
    """
    record = read_record(path)
    if record is None:
        return start_record(kind)
    check_record(record)
    if record["kind"] != kind:
        raise ConfigError(f"{path}: holds a record of {record['kind']}, expected {kind}; give another file")
    return record


def save_record(path: Path, record: dict[str, Any]) -> None:
    """Check a record and write it, whole or not at all.

    Raises:
        ConfigError: it lacks something.
    """
    check_record(record)
    write_record(path, record)


def check_record(record: Mapping[str, Any]) -> None:
    """Look whether everything is there that a reader needs.

    Raises:
        ConfigError: which field of which row is missing or is something else.
    """
    if record.get("format") != FORMAT:
        raise ConfigError(f"record: format is {record.get('format')!r}, expected {FORMAT!r}")
    if record.get("kind") not in KINDS:
        raise ConfigError(f"record: kind is {record.get('kind')!r}, expected one of {', '.join(KINDS)}")
    for name, kind in (("runs", dict), ("rows", list), ("notes", list)):
        if not isinstance(record.get(name), kind):
            raise ConfigError(f"record: {name} is {record.get(name)!r:.40}, expected a {kind.__name__}")
    for key, run in record["runs"].items():
        _check(f"runs[{key}]", run, _RUN)
        if "ceilings" in run:
            _check(f"runs[{key}].ceilings", run["ceilings"], {"flop_per_s": _NUMBER, "bytes_per_s": _NUMBER})
    for number, row in enumerate(record["rows"]):
        place = f"rows[{number}]"
        _check(place, row, COMMON)
        if row["run"] not in record["runs"]:
            raise ConfigError(f"record: {place}.run is {row['run']!r}, expected one of {', '.join(record['runs'])}")
        if row["scenario"] not in SCENARIOS:
            raise ConfigError(f"record: {place}.scenario is {row['scenario']!r}, expected {', '.join(SCENARIOS)}")
        _check(place, row, FIELDS[row["scenario"]])
        for name, wanted in _OPTIONAL.items():
            if name in row:
                _check(f"{place}.{name}", row[name], wanted)
        for name, known in _SOME.items():
            found = row.get(name, {known[0]: 0})
            if not isinstance(found, Mapping) or not found or set(found) - set(known):
                raise ConfigError(f"record: {place}.{name} is {found!r:.60}, expected some of {', '.join(known)}")
            _check(f"{place}.{name}", found, dict.fromkeys(found, _NUMBER))
        if row["agreement"]["value"] > row["agreement"]["limit"]:
            raise ConfigError(f"record: {place}.agreement does not hold, so that it may carry no time")


def _check(place: str, found: Any, wanted: Any) -> None:
    """Raise ConfigError unless a value is what is wanted: a kind in words, or fields by their names."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            raise ConfigError(f"record: {place} is {found!r:.40}, expected fields")
        for name, kind in wanted.items():
            if name not in found:
                raise ConfigError(f"record: {place}.{name} is missing, expected {_describe(kind)}")
            _check(f"{place}.{name}", found[name], kind)
        return
    is_number = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    fits = {_NUMBER: is_number, _TEXT: isinstance(found, str) and found != "", _FLAG: isinstance(found, bool)}
    if not fits[wanted]:
        raise ConfigError(f"record: {place} is {found!r:.40}, expected {wanted}")


def _describe(wanted: Any) -> str:
    return wanted if isinstance(wanted, str) else "fields"
