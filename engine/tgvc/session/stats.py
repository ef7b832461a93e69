"""What requests and sessions tell of themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

State: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled", "expired"]
ENDS: tuple[State, ...] = ("done", "failed", "cancelled", "expired")
_SHARES = (50, 90, 99)


@dataclass(frozen=True, kw_only=True)
class RequestStats:
    """One request, at one moment; times in seconds.

    ``state``: one of waiting, running, done, failed, cancelled, expired. ``frames`` made and ``taken``. ``queued_s``:
    until it was begun. ``first_frame_s``: from the request to its first frame, None before. ``seconds``: from the
    request to its end, or until now. ``work_s``: that workers gave it. ``stalled_s``: that it stood still because
    nobody took its frames. ``fps``: frames made per second since it was begun. ``stages``: seconds per stage, summed
    over threads.
    """

    state: State
    priority: int
    frames: int
    taken: int
    queued_s: float
    first_frame_s: float | None
    seconds: float
    work_s: float
    stalled_s: float
    fps: float
    stages: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class SessionStats:
    """All requests of a session, at one moment; times in seconds.

    ``waiting`` and ``running``: requests now. ``done, failed, cancelled, expired``: requests that ended. ``frames``
    made in all, in ``seconds`` since the session was made. ``fps``: frames per second over that time. ``times``:
    ``queued_s``, ``first_frame_s`` and ``seconds`` of the latest requests that ended (1024 at most), each with its
    ``p50, p90, p99``: the smallest value that so many per cent do not exceed. ``stages``: seconds per stage of all
    requests that ended.
    """

    waiting: int
    running: int
    done: int
    failed: int
    cancelled: int
    expired: int
    frames: int
    seconds: float
    fps: float
    times: Mapping[str, Mapping[str, float]]
    stages: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """``p50, p90, p99`` of some values by nearest rank; nothing of none."""
    ranked = sorted(values)
    return {f"p{share}": ranked[math.ceil(share / 100 * len(ranked)) - 1] for share in _SHARES if ranked}
