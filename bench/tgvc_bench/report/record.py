"""Reading the record of an evaluation, ``tgvc-eval 1``: everything a page relies on is checked once, here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError
from tgvc_bench.records import read_record
from tgvc_bench.units import unit_of

FORMAT = "tgvc-eval 1"
FAMILIES = ("tgvc", "conventional", "published")
KINDS = ("fidelity", "realism", "motion", "flicker")
LAYERS = ("pictures", "motion", "overhead")
_NUMBERS = ("rate", "bytes", "bpp", "kbps")
_MOST_FRAMES = 1_000_000


def read_evaluation(path: Path) -> dict[str, Any]:
    """The record of a file, checked.

    Args:
        path: JSON file that `tgvc eval` wrote.

    Returns:
        The record; ``fps`` of every clip is a float, every entry without an error has bytes, bpp and scores.

    Raises:
        ConfigError: there is no such file, it is of another format, or something in it does not fit.
    """
    record = read_record(path)
    if record is None:
        raise ConfigError(f"{path}: no such record; tgvc eval writes one")
    try:
        check_evaluation(record)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return record


def check_evaluation(record: dict[str, Any]) -> None:
    """Check a record and bring its clips' frame rates to numbers, in place.

    Raises:
        ConfigError: the first thing that does not fit.
    """
    if record.get("format") != FORMAT:
        raise ConfigError(f"format is {record.get('format')!r}, expected {FORMAT!r}; tgvc eval writes such records")
    unit = unit_of(record).id
    clips = _require(record, "clips", list, "the record")
    systems = _require(record, "systems", dict, "the record")
    metrics = _require(record, "metrics", dict, "the record")
    entries = _require(record, "entries", list, "the record")
    names: dict[str, int] = {}
    for clip in clips:
        name = _require(clip, "name", str, "a clip")
        if name in names:
            raise ConfigError(f"clip {name!r} is listed twice, expected once")
        clip["fps"] = _positive(clip.get("fps"), f"fps of clip {name!r}")
        for key in ("width", "height", "frames"):
            if not isinstance(clip.get(key), int) or not 0 < clip[key] <= _MOST_FRAMES:
                raise ConfigError(f"{key} of clip {name!r} is {clip.get(key)!r}, expected a whole number above 0")
        names[name] = clip["frames"]
    for key, system in systems.items():
        if _require(system, "family", str, f"system {key!r}") not in FAMILIES:
            raise ConfigError(
                f"family of system {key!r} is {system['family']!r}, expected one of {', '.join(FAMILIES)}"
            )
    for key, metric in metrics.items():
        if metric.get("better") not in ("higher", "lower"):
            raise ConfigError(f"better of metric {key!r} is {metric.get('better')!r}, expected higher or lower")
        if metric.get("of", KINDS[0]) not in KINDS:
            raise ConfigError(f"of of metric {key!r} is {metric['of']!r}, expected one of {', '.join(KINDS)}")
    for name, sweeps in record.get("points", {}).items():
        for system, points in sweeps.items():
            for point in points:
                _positive(point.get(unit), f"{unit} of a point of {name!r}, {system!r}")
                _require(point, "scores", dict, f"a point of {name!r}, {system!r}")
    seen: set[tuple[Any, ...]] = set()
    for entry in entries:
        _check_entry(entry, names, systems, metrics, unit)
        mark = (entry["clip"], entry["system"], entry["rate"], tuple(entry.get("size", ())))
        if mark in seen:
            raise ConfigError(f"{_name(entry)} is there twice, expected once")
        seen.add(mark)


def _check_entry(
    entry: Mapping[str, Any],
    clips: Mapping[str, int],
    systems: Mapping[str, Any],
    metrics: Mapping[str, Any],
    unit: str,
) -> None:
    for key, known in (("clip", clips), ("system", systems)):
        if entry.get(key) not in known:
            raise ConfigError(f"an entry has the {key} {entry.get(key)!r}, which is not listed")
    if systems[entry["system"]]["family"] == "published":
        raise ConfigError(
            f"an entry belongs to the published system {entry['system']!r}: numbers of others stand under 'published', "
            "where they are shown as references and ranked with nothing"
        )
    _positive(entry.get("rate"), f"rate of {entry['clip']!r}, {entry['system']!r}")
    if "error" in entry:
        return
    for key in _NUMBERS:
        if key in entry or key in ("rate", "bytes", "bpp", unit):
            _positive(entry.get(key), f"{key} of {_name(entry)}")
    for key, value in _require(entry, "scores", dict, _name(entry)).items():
        if key in metrics:
            _check_number(value, f"{key} of {_name(entry)}")
    for key in LAYERS:
        _check_number(entry.get("layers", {}).get(key), f"{key} of the layers of {_name(entry)}")
    for key, values in entry.get("frames", {}).items():
        if not isinstance(values, list) or len(values) > clips[entry["clip"]]:
            raise ConfigError(f"frames of {key} of {_name(entry)}: expected a list of {clips[entry['clip']]} values")
        for value in values:
            _check_number(value, f"a frame of {key} of {_name(entry)}")


def _name(entry: Mapping[str, Any]) -> str:
    return f"entry {entry['clip']!r}, {entry['system']!r}, {entry['rate']}"


def _require(holder: Any, key: str, kind: type, what: str) -> Any:
    if not isinstance(holder, Mapping):
        raise ConfigError(f"{what} is a {type(holder).__name__}, expected an object")
    if not isinstance(holder.get(key), kind):
        raise ConfigError(f"{key} of {what} is {type(holder.get(key)).__name__}, expected {kind.__name__}")
    return holder[key]


def _check_number(value: Any, what: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{what} is {value!r}, expected a finite number")


def _positive(value: Any, what: str) -> float:
    if isinstance(value, str):  # frame rates may be fractions
        try:
            value = float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            raise ConfigError(f"{what} is {value!r}, expected a number above 0") from None
    if value is None:
        raise ConfigError(f"{what} is missing, expected a number above 0")
    _check_number(value, what)
    if value <= 0:
        raise ConfigError(f"{what} is {value!r}, expected a number above 0")
    return float(value)
