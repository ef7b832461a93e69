"""Means over clips with what they are worth, and the rule of what may be compared with what.

Clips of another size are another group: a bit per pixel of one size says nothing about another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tgvc.errors import ConfigError
from tgvc_bench.records import shorten

LEAST_CLIPS = 3  # fewer say nothing about how clips differ
_RESAMPLES = 2000
_TAILS = (2.5, 97.5)  # per cent
_SEED = 20

Record = Mapping[str, Any]
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """One mean: a system at one asked rate over the clips of one size.

    ``bpp``, ``kbps`` and ``value`` are means over ``clips`` clips (``kbps`` None where an entry does not tell its own),
    ``whole`` says that no clip of the group is missing; ``low``
    and ``high``: 95 % of the mean by resampling the clips, None where too few or some are missing; ``ours``: measured
    here, not published by others.
    """

    system: str
    metric: str
    size: str
    rate: float
    bpp: float
    value: float
    clips: int
    whole: bool
    low: float | None = None
    high: float | None = None
    ours: bool = True
    kbps: float | None = None


def group_clips(record: Record) -> dict[str, list[str]]:
    """Names of the clips by size, ``512x320`` and so on, the largest group first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for clip in record["clips"]:
        groups[f"{clip['width']}x{clip['height']}"].append(clip["name"])
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def pick_best(entries: Sequence[Entry], metric: str, better: str) -> dict[tuple[str, str, float], Entry]:
    """By (clip, system, rate) the entry that has the metric; of several coded sizes the best, anew for each metric."""
    best: dict[tuple[str, str, float], Entry] = {}
    sign = 1 if better == "higher" else -1
    for entry in entries:
        value = entry.get("scores", {}).get(metric) if "error" not in entry else None
        if value is None:
            continue
        key = (entry["clip"], entry["system"], entry["rate"])
        if key not in best or sign * value > sign * best[key]["scores"][metric]:
            best[key] = entry
    return best


def mean_curves(record: Record, metric: str) -> list[Point]:
    """The means of one metric, by size, system and rate.

    The interval is that of a comparison: what a clip does to all systems alike is taken out before the clips are
    resampled (Cousineau's normalisation), so that easy and hard clips do not hide how systems differ.

    Source: D. Cousineau, "Confidence intervals in within-subject designs", 2005, with a bootstrap in place of t.
    """
    best = pick_best(record["entries"], metric, record["metrics"][metric]["better"])
    points: list[Point] = []
    for size, names in group_clips(record).items():
        rates = sorted({rate for clip, _, rate in best if clip in names})
        for rate in rates:
            found = {s: [best.get((clip, s, rate)) for clip in names] for s in record["systems"]}
            found = {s: entries for s, entries in found.items() if any(e is not None for e in entries)}
            bands = _bands({s: e for s, e in found.items() if None not in e}, metric)
            for system, entries in found.items():
                have = [e for e in entries if e is not None]
                low, high = bands.get(system, (None, None))
                bpp = shorten(float(np.mean([e["bpp"] for e in have])))
                told = [e["kbps"] for e in have if "kbps" in e]
                kbps = shorten(float(np.mean(told))) if len(told) == len(have) else None
                value = shorten(float(np.mean([e["scores"][metric] for e in have])))
                whole = len(have) == len(names)
                point = Point(system, metric, size, rate, bpp, value, len(have), whole, low, high, kbps=kbps)
                points.append(point)
    order = {s: n for n, s in enumerate(record["systems"])}
    sizes = list(group_clips(record))
    return sorted(points, key=lambda p: (sizes.index(p.size), order[p.system], p.rate))


def find_best(points: Sequence[Point], better: str) -> Point:
    """The best of several means.

    Raises:
        ConfigError: they are not of one metric, one size, one rate and the same clips, or not all were measured here:
            such numbers have no order.
    """
    for what, values in (
        ("metrics", {p.metric for p in points}),
        ("sizes", {p.size for p in points}),
        ("rates", {f"{p.rate:g}" for p in points}),
        ("numbers of clips", {str(p.clips) for p in points}),
    ):
        if len(values) != 1:
            raise ConfigError(f"ranking: got the {what} {', '.join(sorted(values)) or 'of nothing'}, expected one")
    if foreign := [p.system for p in points if not p.ours]:
        raise ConfigError(f"ranking: {foreign[0]} was not measured here; published numbers are references, not rivals")
    return (max if better == "higher" else min)(points, key=lambda p: p.value)


def _bands(systems: Mapping[str, Sequence[Entry | None]], metric: str) -> dict[str, tuple[float, float]]:
    """Low and high by system; empty where the clips are too few."""
    values = np.array([[e["scores"][metric] for e in entries if e is not None] for entries in systems.values()])
    if values.ndim != 2 or values.shape[1] < LEAST_CLIPS:
        return {}
    own = values - values.mean(axis=0) + values.mean()
    count = len(values)
    if count > 1:  # the normalisation takes a share of the spread away (Morey 2008)
        own = values.mean(axis=1, keepdims=True) + (own - own.mean(axis=1, keepdims=True)) * np.sqrt(
            count / (count - 1)
        )
    else:
        own = values
    chosen = np.random.default_rng(_SEED).integers(0, values.shape[1], (_RESAMPLES, values.shape[1]))
    low, high = np.percentile(own[:, chosen].mean(axis=2), _TAILS, axis=1)
    return {s: (shorten(float(a)), shorten(float(b))) for s, a, b in zip(systems, low, high, strict=True)}
