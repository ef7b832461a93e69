"""When the frames of a stream are shown."""

from __future__ import annotations

from fractions import Fraction

from tgvc.bitstream.group import Group
from tgvc.errors import ConfigError


def shown_times(group: Group, clock: Fraction, fps: Fraction) -> list[Fraction]:
    """Times of the shown frames of a group in seconds, none before 0; ``clock`` is when its first one is due."""
    if group.times is None:
        return [clock + n / fps for n in range(group.shown)]
    times = group.times[group.hide_head : group.frames - group.hide_tail]
    early = Fraction(-times[0], 1_000_000)
    # what was trimmed begins on time, and so does what would else come before 0 or no later than the frame before it
    origin = times[0] if group.hide_head or early >= (1 / fps if clock else Fraction(1, 1_000_000)) else 0
    return [clock + Fraction(t - origin, 1_000_000) for t in times]


def moment(seconds: float) -> Fraction:
    """The time that a decimal number means, to a microsecond: 0.2 is 1/5, and a frame at 1/5 is not before it."""
    return Fraction(seconds).limit_denominator(1_000_000)


def check_range(start: float | None, end: float | None) -> None:
    """Raise ConfigError unless ``start`` <= t < ``end`` (seconds) can hold a moment t of a video."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and not 0 <= value < 1e9:
            raise ConfigError(f"{name}={value}: expected seconds from 0")
    if end is not None and end <= (start or 0.0):
        raise ConfigError(f"end={end}: expected more than start={start or 0.0:g}")
