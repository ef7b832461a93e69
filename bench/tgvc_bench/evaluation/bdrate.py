"""Bjontegaard delta rate with piecewise cubic interpolation, and what its mean over clips is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.errors import BackendUnavailableError, ConfigError
from tgvc_bench.records import shorten

RESAMPLES = 10_000
TAILS = (2.5, 97.5)  # per cent of the resampled means left out on either side
SEED = 20260131
LEAST_CLIPS = 3  # fewer say nothing about how clips differ
METHOD = (
    "Bjontegaard delta rate in per cent: log10 of the rate as a piecewise cubic (PCHIP) of the value, integrated over "
    "the values that both curves reach; per clip through the points of real files that no other file of the system "
    "beats at the same or a lower rate; null where the curves share no value. Mean over the clips that have one; low "
    f"and high: 95 % interval, percentile bootstrap over clips, {RESAMPLES} resamples, seed {SEED}"
)

Curve = Sequence[tuple[float, float]]  # (rate, value); rates of one clip in one unit, whichever it is


def find_front(points: Curve, better: str) -> npt.NDArray[np.float64]:
    """The points that no other beats, by rate: float64 (n, 2) of log10(rate) and goodness, both strictly growing.

    Args:
        points: rates above 0 and values.
        better: ``higher`` or ``lower``; the goodness is the value or its negative.
    """
    sign = {"higher": 1.0, "lower": -1.0}[better]
    front: list[tuple[float, float]] = []
    for rate, good in sorted(((r, sign * v) for r, v in points), key=lambda p: (p[0], -p[1])):
        if not front or good > front[-1][1]:
            front.append((math.log10(rate), good))
    return np.array(front, np.float64).reshape(-1, 2)


def bd_rate(anchor: Curve, test: Curve, better: str) -> float | None:
    """How many per cent more bits the test needs than the anchor for equal value; negative = it saves.

    Args:
        anchor: (rate, value) of real files.
        test: the same of what is compared.
        better: ``higher`` or ``lower``.

    Returns:
        Per cent, above -100; None where a curve has fewer than two points or both have no value in common.

    Raises:
        BackendUnavailableError: SciPy is not installed.

    Source: G. Bjontegaard, VCEG-M33, 2001; piecewise cubic as in JCTVC common test conditions.
    """
    try:
        from scipy.interpolate import PchipInterpolator
    except ImportError as error:
        raise BackendUnavailableError("bd-rate: scipy is not installed; pip install 'tgvc[eval]'") from error
    curves = [find_front(points, better) for points in (anchor, test)]
    if any(len(curve) < 2 for curve in curves):
        return None
    low = max(curve[0, 1] for curve in curves)
    high = min(curve[-1, 1] for curve in curves)
    if not low < high:
        return None
    areas = [float(PchipInterpolator(curve[:, 1], curve[:, 0]).integrate(low, high)) for curve in curves]
    return 100 * (math.pow(10, (areas[1] - areas[0]) / (high - low)) - 1)


def mean_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the percentiles of the means of samples drawn with replacement; the same for the same values.

    Raises:
        ConfigError: no value.
    """
    if not values:
        raise ConfigError("interval: got no value, expected at least 1")
    array = np.asarray(values, np.float64)
    drawn = np.random.default_rng(SEED).integers(0, len(array), (RESAMPLES, len(array)))
    low, high = np.percentile(array[drawn].mean(axis=1), TAILS)
    return float(array.mean()), float(low), float(high)


def summarise(curves: Mapping[str, Mapping[str, Curve]], anchor: str, better: str) -> dict[str, Any]:
    """BD-rates of all systems against an anchor.

    Args:
        curves: system -> clip -> points.
        anchor: a system.
        better: ``higher`` or ``lower``.

    Returns:
        ``anchor``, ``method``, ``systems``: id -> ``mean, low, high`` over the clips that have a value (no interval of
        fewer than three), ``count`` of these, ``clips``: name -> value or None. Systems without any value are left out.
    """
    found: dict[str, Any] = {}
    base = curves.get(anchor, {})
    for system, clips in curves.items():
        if system == anchor:
            continue
        values = {c: bd_rate(base[c], points, better) if c in base else None for c, points in clips.items()}
        known = [v for v in values.values() if v is not None]
        if known:
            mean, low, high = (shorten(v, 5) for v in mean_with_interval(known))
            bounds = {"low": low, "high": high} if len(known) >= LEAST_CLIPS else {"low": None, "high": None}
            shown = {c: None if v is None else shorten(v, 5) for c, v in values.items()}
            found[system] = {"mean": mean, **bounds, "count": len(known), "clips": shown}
    return {"anchor": anchor, "method": METHOD, "systems": found}
