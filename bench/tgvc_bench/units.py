"""What a rate counts: bits of the whole file per pixel of the working size, or kilobits of it per second shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tgvc.errors import ConfigError


@dataclass(frozen=True)
class RateUnit:
    """A unit of rates.

    ``id``: its name in records, in entries, and as a target of `EncoderConfig`; ``title``: in a sentence; ``short``:
    behind a number; ``digits``: decimals in tables; ``highest``: rate that can be asked for.
    """

    id: str
    title: str
    short: str
    digits: int
    highest: float


BPP = RateUnit("bpp", "bits per pixel", "bpp", 5, 24.0)
KBPS = RateUnit("kbps", "kilobits per second", "kbit/s", 2, 1e6)
UNITS = {unit.id: unit for unit in (BPP, KBPS)}


def unit_of(record: Mapping[str, Any]) -> RateUnit:
    """The unit of the rates of a record; bits per pixel where it does not say.

    Raises:
        ConfigError: it is none of `UNITS`.
    """
    name = record.get("rate_unit", BPP.id)
    if name not in UNITS:
        raise ConfigError(f"rate_unit is {name!r}, expected {' or '.join(UNITS)}")
    return UNITS[name]


def bits_per_pixel(rate: float, unit: RateUnit, size: tuple[int, int], fps: Fraction) -> float:
    """A rate in bits per pixel of pictures of ``size`` px, of which ``fps`` are shown per second."""
    return rate if unit == BPP else rate * 1000 / (size[0] * size[1] * float(fps))


def kilobits_per_second(size: int, frames: int, fps: Fraction) -> float:
    """The rate of a file of ``size`` bytes."""
    return size * 8 * float(fps) / frames / 1000
