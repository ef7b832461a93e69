"""Numbers that others published, as data with their source: drawn as references, never ranked with measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError
from tgvc_bench.records import read_record
from tgvc_bench.report.means import group_clips
from tgvc_bench.units import BPP, unit_of

FORMAT = "tgvc-published 1"
FOLDER = Path(__file__).parent / "published"
_ORDER = ("t-gvc", "actdiff-vc", "evc-pdm")

Document = Mapping[str, Any]
Record = Mapping[str, Any]


def read_references(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The published systems that are known, T-GVC first.

    Raises:
        ConfigError: a file is no such data.
    """
    documents = []
    for path in folder.glob("*.json"):
        document = read_record(path) or {}
        try:
            check_reference(document)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        documents.append(document)
    known = {name: n for n, name in enumerate(_ORDER)}
    return sorted(documents, key=lambda d: (known.get(d["id"], len(known)), d["id"]))


def check_reference(document: Document) -> None:
    """Refuse data without source or protocol, or with points of unknown systems or metrics.

    Raises:
        ConfigError: the first thing that does not fit.
    """
    if document.get("format") != FORMAT:
        raise ConfigError(f"format is {document.get('format')!r}, expected {FORMAT!r}")
    for key in ("id", "title", "source", "protocol", "systems", "metrics", "points"):
        if not document.get(key):
            raise ConfigError(f"{key} is missing: published numbers are shown with all of it or not at all")
    size = document["protocol"].get("size")
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(v, int) and v > 0 for v in size)):
        raise ConfigError(f"size of the protocol is {size!r}, expected [width, height] in px")
    for point in document["points"]:
        if point.get("system") not in document["systems"]:
            raise ConfigError(f"a point is of the system {point.get('system')!r}, which is not listed")
        if unknown := [m for m in point.get("scores", {}) if m not in document["metrics"]]:
            raise ConfigError(f"a point has the metric {unknown[0]!r}, which is not listed")
        if not point.get("bpp", 0) > 0:
            raise ConfigError(f"bpp of a point of {point['system']!r} is {point.get('bpp')!r}, expected above 0")


def size_of(document: Document) -> str:
    """The picture size whose pixels the rates count, ``512x320`` and so on."""
    width, height = document["protocol"]["size"]
    return f"{width}x{height}"


def find_marks(documents: Sequence[Document], metric: str, size: str) -> list[dict[str, Any]]:
    """The published points that may be drawn into a chart: of the same metric and of pictures of the same size only.

    A document's own system alone: what its authors measured of their rivals stays in its own charts.

    Args:
        documents: published data.
        metric: key of the chart's metric; ``lpips_alex`` and the like count as ``lpips``.
        size: of the chart's clips, ``512x320`` and so on.

    Returns:
        ``{document, system, title, set, bpp, value}`` of each.
    """
    marks = []
    for document in documents:
        if size_of(document) != size:
            continue
        for key, facts in document["metrics"].items():
            if not _is_like(metric, facts.get("like", [key])):
                continue
            for point in document["points"]:
                system = document["systems"][point["system"]]
                if key in point["scores"] and system["own"]:
                    marks.append(
                        {
                            "document": document["id"],
                            "system": point["system"],
                            "title": system["title"],
                            "set": point["set"],
                            "bpp": point["bpp"],
                            "value": point["scores"][key],
                        }
                    )
    return marks


def list_differences(document: Document, record: Record) -> list[str]:
    """What separates published numbers from a record, a sentence each; never empty, as the content always differs."""
    if not record["clips"]:
        return ["No clip of this record could be read, so nothing was measured here."]
    protocol, groups = document["protocol"], group_clips(record)
    here = ", ".join(groups)
    same = size_of(document) in groups
    unit = unit_of(record)
    if unit != BPP:
        apart = f" Rates here are {unit.title}, so none of these points stands in a chart above."
    else:
        apart = "" if same else " Bits per pixel are of other pixels, so none of these points stands in a chart above."
    said = [f"Pictures of {size_of(document)}; here {here}.{apart}"]
    lengths = sorted({clip["frames"] for clip in record["clips"]})
    ours = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    frames = protocol.get("frames")
    said.append(f"{frames if frames else 'An unknown number of'} frames of each clip; here {ours}.")
    said.append(f"Content: {protocol['content']}; here {len(record['clips'])} clips of this record.")
    if "colour" in protocol:
        said.append(f"Colour: {protocol['colour']}; most metrics here look at luma alone.")
    scored = {m for e in record["entries"] if "error" not in e for m in e["scores"]}
    absent = []
    for key, facts in document["metrics"].items():
        mine = [m for m in record["metrics"] if m in scored and _is_like(m, facts.get("like", [key]))]
        if mine:
            titles = ", ".join(record["metrics"][m].get("title", m) for m in mine)
            said.append(f"Metric: {facts['implementation']}; here {titles}, computed by tgvc.")
        else:
            absent.append(facts["implementation"])
    if absent:
        said.append(f"Not measured here: {'; '.join(absent)}.")
    return said


def _is_like(metric: str, names: Sequence[str]) -> bool:
    return any(metric == name or metric.startswith(f"{name}_") for name in names)
