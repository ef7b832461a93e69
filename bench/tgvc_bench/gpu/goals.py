"""What was aimed at on one H100, and what was found: one table, in which what was not run is marked so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError
from tgvc_bench.gpu.network_steps import COMPILED, EAGER, GRAPH, NAMES
from tgvc_bench.protocol.report import format_seconds
from tgvc_bench.protocol.schema import load_record

NOT_RUN = "not run"
BEGIN, END = "<!-- table of the GPU, written by tgvc bench gpu --table -->", "<!-- end of the table -->"
_UNET, _VAE = NAMES.values()
_RTX = "tensorrt-rtx"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """One line of the table.

    ``what``: measured. ``goal``: in words; ``limit`` of the value, smaller being better, None where there is no goal.
    ``topic``: of the file. ``wanted``: whether a row belongs here. ``value``: of a row.
    """

    what: str
    goal: str
    limit: float | None
    topic: str
    wanted: Callable[[Row], bool]
    value: Callable[[Row], float]
    format: Callable[[float], str] = format_seconds
    part: str = ""  # the slice whose fault is told where there is no row


def _named(name: str, **fields: Any) -> Callable[[Row], bool]:
    return lambda row: row["name"] == name and all(row.get(key) == value for key, value in fields.items())


def _by(way: str, wanted: Callable[[Row], bool]) -> Callable[[Row], bool]:
    return lambda row: wanted(row) and str(row["backend"]).startswith(f"{way}, ")


def _median(row: Row) -> float:
    return float(row["latency"]["p50_s"])


def _frames(row: Row) -> float:
    return float(row["per_second"])


def _rate(value: float) -> str:
    return f"{value:.4g} frames/s"


GOALS = (
    Goal("UNet forward, 16x40x64, batch 1, best", "<= 30 ms", 0.030, "unet", _named(_UNET, batch=1), _median),
    *(
        Goal(f"- UNet, {way}", "", None, "unet", _by(way, _named(_UNET, batch=1)), _median)
        for way in (EAGER, GRAPH, COMPILED)
    ),
    Goal("UNet forward, batch 2, best", "<= 60 ms", 0.060, "unet", _named(_UNET, batch=2), _median),
    Goal(
        "guidance and step, 128 points, in a graph, the same bits", "<= 10 us", 10e-6, "kernels",
        lambda row: row["name"] == "guided_step" and row["inputs"].startswith("rotating"), _median,
    ),
    Goal("KL-VAE decode, 16 frames, best", "<= 70 ms", 0.070, "vae", _named(_VAE, batch=16), _median),
    *(
        Goal(f"- VAE, {way}", "", None, "vae", _by(way, _named(_VAE, batch=16)), _median)
        for way in (EAGER, GRAPH, COMPILED)
    ),
    Goal("segment, 50 steps x 2, best", "<= 3.5 s", 3.5, "segment", _named("segment 50x2"), _median),
    Goal("segment, 8 steps x 1, best", "<= 0.35 s", 0.35, "segment", _named("segment 8x1"), _median),
    Goal(
        "time outside of UNet, steps and VAE, 50 x 2", "<= 3 %", 0.03, "segment",
        _named("segment 50x2"), lambda row: float(row["overhead"]), lambda value: f"{value:.1%}",
    ),
    Goal(
        "device memory, segment 50 x 2", "<= 8 GB", 8e9, "segment",
        lambda row: row["name"] == "segment 50x2" and "device_bytes" in row,
        lambda row: float(row["device_bytes"]), lambda value: f"{value / 1e9:.2f} GB",
    ),
    Goal("nano bundle, one group at a time, best", "", None, "nano", _named("nano bundle", batch=1), _frames, _rate),
    Goal("nano bundle, best number of groups at once", "", None, "nano", _named("nano bundle"), _frames, _rate),
    Goal(
        "TensorRT-RTX, one group of the nano bundle", "runs", None, "nano",
        lambda row: row["backend"].startswith(_RTX), _frames, _rate, f"nano-{_RTX}",
    ),
)  # fmt: skip


def table_lines(folder: Path) -> Iterator[str]:
    """The table of a folder of records.

    Raises:
        ConfigError: a record of a dry run, whose numbers are no results.
    """
    yield "| measured | goal | found | by | verdict |"
    yield "|---|---|---|---|---|"
    for goal in GOALS:
        record = load_record(folder / f"gpu_{goal.topic}.json", "gpu")
        if any(run["machine"].get("dry") for run in record["runs"].values()):
            raise ConfigError(f"{folder / f'gpu_{goal.topic}.json'}: holds a dry run, which is no result")
        yield "| " + " | ".join(cells_of(goal, [row for row in record["rows"] if goal.wanted(row)], record)) + " |"


def cells_of(goal: Goal, rows: Sequence[Row], record: Mapping[str, Any]) -> list[str]:
    """What, goal, found, by what and where, verdict."""
    if not rows:
        fault = str(record.get("faults", {}).get(goal.part, "")).replace("|", "/")
        return [goal.what, goal.goal, f"{NOT_RUN}: {fault}" if fault else NOT_RUN, "", ""]
    fastest = max if goal.value is _frames else min
    best = fastest(rows, key=goal.value)
    machine = record["runs"][best["run"]]["machine"]
    by = f"{best['backend']}, {best['precision']}, {', '.join(machine.get('gpus', [])) or machine['processor']}"
    verdict = ""
    if goal.limit is not None:
        verdict = "met" if goal.value(best) <= goal.limit else "not met"
    return [goal.what, goal.goal, goal.format(goal.value(best)), by, verdict]


def write_table(folder: Path, page: Path) -> None:
    """Put the table between its marks in a page.

    Raises:
        ConfigError: the page has no marks, or the records are of a dry run.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"{page}: expected the marks {BEGIN} and {END}")
    lines = "\n".join(table_lines(folder))
    page.write_text(f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}", encoding="utf-8")
