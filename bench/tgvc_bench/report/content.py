"""What the page and the files beside it show of a record, put together once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tgvc_bench.report.means import Point, group_clips, mean_curves
from tgvc_bench.report.record import FAMILIES, KINDS, LAYERS
from tgvc_bench.report.references import find_marks, list_differences, size_of
from tgvc_bench.units import BPP, unit_of

FORMAT = "tgvc-report 1"
_DIGITS = ((100, 1), (10, 2), (1, 3), (0, 4))  # of the largest value: decimals that are shown
_ENTRY = ("clip", "system", "rate", "bytes", "bpp", "kbps", "size", "layers", "seconds", "scores", "error")

Record = Mapping[str, Any]


def gather(record: Record, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything but frames and media: clips, systems, metrics, entries, means, BD-rates, published numbers.

    Args:
        record: checked.
        documents: published data.

    Returns:
        Plain values; systems and metrics are lists in the order in which they are shown.
    """
    measured = {m for e in record["entries"] if "error" not in e for m, v in e["scores"].items() if v is not None}
    metrics = [_metric(key, m, _values(record, key)) for key, m in record["metrics"].items() if key in measured]
    metrics.sort(key=lambda m: KINDS.index(m["of"]))
    used = {e["system"] for e in record["entries"]}
    systems = [_system(key, s) for key, s in record["systems"].items() if key in used]
    systems.sort(key=lambda s: FAMILIES.index(s["family"]))
    sizes = group_clips(record)
    clips = [{k: c.get(k) for k in ("name", "width", "height", "fps", "frames")} for c in record["clips"]]
    unit = unit_of(record)
    drawn = documents if unit == BPP else []  # the rates of all that is published here are bits per pixel
    return {
        "format": FORMAT,
        "title": record.get("title") or "Evaluation",
        "command": record.get("command", ""),
        "machine": record.get("machine", {}),
        "weights": record.get("weights", {}),
        "failed_clips": record.get("failed_clips", {}),
        "unit": {"id": unit.id, "title": unit.title, "short": unit.short, "digits": unit.digits},
        "crop": record.get("crop"),
        "clips": clips,
        "sizes": sizes,
        "systems": systems,
        "metrics": metrics,
        "rates": sorted({e["rate"] for e in record["entries"]}),
        "layers": LAYERS,
        "entries": [{k: e[k] for k in _ENTRY if k in e} for e in record["entries"]],
        "means": {m["id"]: [_point(p) for p in mean_curves(record, m["id"])] for m in metrics},
        "bd_rate": {k: v for k, v in record.get("bd_rate", {}).items() if k in record["metrics"]},
        "points": record.get("points", {}),
        "sets": record.get("sets", []),
        "ablations": [_flatten(row) for row in record.get("ablations", [])],
        "marks": {m["id"]: {size: find_marks(drawn, m["id"], size) for size in sizes} for m in metrics},
        "published": [
            {**document, "size": size_of(document), "differences": list_differences(document, record)}
            for document in documents
        ],
    }


def _values(record: Record, metric: str) -> list[float]:
    found = (e["scores"].get(metric) for e in record["entries"] if "error" not in e)
    return [abs(v) for v in found if v is not None]


def _metric(key: str, metric: Mapping[str, Any], values: Sequence[float]) -> dict[str, Any]:
    return {
        "id": key,
        "title": metric.get("title", key),
        "better": metric["better"],
        "unit": metric.get("unit") or "",
        "of": metric.get("of", KINDS[0]),
        "digits": next(digits for least, digits in _DIGITS if max(values) >= least),
    }


def _flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without rows in it: what an object of it holds stands beside the rest; lists are left out."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value)
        elif not isinstance(value, list):
            flat[key] = value
    return flat


def _system(key: str, system: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": key,
        "title": system.get("title", key),
        "family": system["family"],
        "options": system.get("options", {}),
        "note": system.get("note", ""),
    }


def _point(point: Point) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(point).items() if k not in ("metric", "ours")}
