"""A baseline at any rate: the best over its sizes, chosen anew for every metric, which is generous to the baseline.

A point is a mapping with ``size``, ``bpp`` and ``scores``. Along one size the value between two points is linear in the
logarithm of the rate; nothing is extrapolated. A baseline may always spend less than the rate it is given.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from tgvc.errors import ConfigError
from tgvc_bench.metrics import SMALLER_IS_BETTER

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """One metric of one clip, ours against a baseline at our rate.

    ``baseline``: its value there; ``below_floor``: our rate is below all it can reach, so the value is that of its
    cheapest point; ``won``: ours is better; ``bits_saved``: 1 - our rate / the rate at which the baseline reaches our
    value (0.1 = we need 10 % fewer bits, negative = more).
    ``bound``: ``exact``; ``at_least`` = the baseline does not reach our value within its points, its best rate counted;
    ``at_most`` = the cheapest point of a size is already as good as ours, so the truth is no larger.
    """

    ours: float
    baseline: float
    won: bool
    bits_saved: float
    bound: str
    below_floor: bool


def _curves(points: Sequence[Point], metric: str) -> list[list[tuple[float, float]]]:
    """Per size the (log rate, goodness) of the points that have the metric, by rate; larger goodness is better."""
    sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for point in points:
        if metric in point["scores"]:
            curves[point["size"]].append((math.log(point["bpp"]), sign * point["scores"][metric]))
    if not curves:
        raise ConfigError(f"hull: no point of the baseline has {metric}; run tgvc-bench baselines to its end")
    return [sorted(curve) for curve in curves.values()]


def value_at(points: Sequence[Point], metric: str, bpp: float) -> float | None:
    """Best value of the metric a baseline reaches at a rate or below it; None below its cheapest point.

    Raises:
        ConfigError: No point has the metric.
    """
    rate, best = math.log(bpp), -math.inf
    for curve in _curves(points, metric):
        best = max([best, *(good for r, good in curve if r <= rate)])
        for (r0, good0), (r1, good1) in pairwise(curve):
            if r0 <= rate < r1:
                best = max(best, good0 + (good1 - good0) * (rate - r0) / (r1 - r0))
    if best == -math.inf:
        return None
    return -best if metric in SMALLER_IS_BETTER else best


def rate_for(points: Sequence[Point], metric: str, value: float) -> tuple[float, str]:
    """Lowest rate at which a baseline reaches a value, bpp, and the bound's name as in ``Comparison``.

    Raises:
        ConfigError: No point has the metric.
    """
    goal = -value if metric in SMALLER_IS_BETTER else value
    curves = _curves(points, metric)
    found: list[tuple[float, str]] = []
    for curve in curves:
        if curve[0][1] >= goal:
            found.append((curve[0][0], "at_most"))
            continue
        for (r0, good0), (r1, good1) in pairwise(curve):
            if good0 < goal <= good1:
                found.append((r0 + (r1 - r0) * (goal - good0) / (good1 - good0), "exact"))
                break
    if not found:
        return math.exp(max(curve[-1][0] for curve in curves)), "at_least"
    rate, bound = min(found)
    return math.exp(rate), bound


def compare(ours: Point, points: Sequence[Point], metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Per metric the ``Comparison`` of our point (``bpp``, ``scores``) with a baseline's points, as plain dictionaries.

    Raises:
        ConfigError: No point has one of the metrics.
    """
    result = {}
    for metric in metrics:
        mine, bpp = float(ours["scores"][metric]), float(ours["bpp"])
        value = value_at(points, metric, bpp)
        below = value is None
        if value is None:
            cheapest = min((p for p in points if metric in p["scores"]), key=lambda p: float(p["bpp"]))
            value = float(cheapest["scores"][metric])
        need, bound = rate_for(points, metric, mine)
        won = mine < value if metric in SMALLER_IS_BETTER else mine > value
        result[metric] = asdict(Comparison(mine, value, won, 1 - bpp / need, bound, below))
    return result
