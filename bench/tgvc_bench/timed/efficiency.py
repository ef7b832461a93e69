"""How close to what a machine can do at most."""

from __future__ import annotations

from typing import Any

from tgvc.models.cost import Cost
from tgvc_bench.protocol.ceilings import Ceilings
from tgvc_bench.records import shorten


def describe_cost(cost: Cost, seconds: float, ceilings: Ceilings) -> dict[str, Any]:
    """``cost``, ``achieved`` and ``efficiency`` of networks that took so long at best."""
    rate, floor = cost.flop / seconds, cost.roofline(ceilings.flop_per_s, ceilings.bytes_per_s)
    return {
        "cost": {"flop": cost.flop, "bytes": cost.heavy_bytes, "roofline_s": shorten(floor, 4)},
        "achieved": {"flop_per_s": shorten(rate, 4)},
        "efficiency": {"of_flop": shorten(rate / ceilings.flop_per_s, 3), "of_roofline": shorten(floor / seconds, 3)},
    }
