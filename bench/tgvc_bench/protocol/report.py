"""A record as a table: one row per row, the same columns on a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tgvc_bench.protocol.schema import COLD_START, OFFLINE

_COLUMNS = ("what", "on", "inputs", "runs", "p50", "p90", "p99", "best", "of ceiling", "against", "right by")
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def format_seconds(seconds: float) -> str:
    """A time with a unit that keeps it readable, three digits: ``1.23 ms``."""
    for size, unit in _UNITS:
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns" if seconds else "0 s"


def table_rows(record: Mapping[str, Any]) -> Iterator[list[str]]:
    """The columns' names, then the cells of every row that tells a time."""
    yield list(_COLUMNS)
    for row in record["rows"]:
        yield [_name(row), _place(row), row.get("inputs", ""), *_times(row), _share(row), _against(row), _right(row)]


def format_markdown(record: Mapping[str, Any]) -> str:
    """The table, the stages of rows that have some, and which runs they come from."""
    head, *rows = table_rows(record)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", *stage_lines(record)]
    for name, run in record["runs"].items():
        machine = run["machine"]
        where = ", ".join(machine.get("gpus", [])) or f"{machine['processor']}, {machine['cores']} cores"
        lines += ["", f"Run {name}: `{run['command']}` on {where}, load {machine['load']}"]
        if "ceilings" in run:
            lines[-1] += "; " + describe_ceilings(run["ceilings"])
    return "\n".join(lines).rstrip() + "\n"


def stage_lines(record: Mapping[str, Any]) -> list[str]:
    """A line of every row that says where its time went, the gap always among it."""
    lines = []
    for row in record["rows"]:
        if "breakdown" in row:
            parts, whole = row["breakdown"], row["breakdown"]["whole_s"]
            part_of = [(name, spent, spent / whole if whole else 0) for name, spent in parts["stages"].items()]
            shares = [f"{name} {format_seconds(spent)} ({share:.1%})" for name, spent, share in part_of]
            shares.append(f"gap {format_seconds(parts['gap_s'])} ({parts['gap_share']:.1%})")
            verdict = "" if parts["adds_up"] else ", which is too much: stages do not add up"
            each = f", {format_seconds(row['seconds_per_frame'])} a frame at best" if "seconds_per_frame" in row else ""
            lines.append(f"- {_name(row)}{each}: {format_seconds(whole)} = {' + '.join(shares)}{verdict}")
    return lines


def describe_ceilings(ceilings: Mapping[str, Any]) -> str:
    """Both ceilings in words."""
    flop, moved = ceilings["flop_per_s"] / 1e9, ceilings["bytes_per_s"] / 1e9
    said = f"{flop / 1000:.4g} TFLOP/s" if flop >= 1000 else f"{flop:.4g} GFLOP/s"
    return f"ceilings {said} in {ceilings['precision']} and {moved:.4g} GB/s ({ceilings['how']})"


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['name']}, {row['scenario']}"


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['backend']} on {row['device']}, {row['precision']}"


def _times(row: Mapping[str, Any]) -> list[str]:
    if row["scenario"] == OFFLINE:
        rate = f"{row['per_second']:.4g} {row.get('unit', 'runs')}/s"
        return [f"{row['done']:g}", rate, "", "", ""]
    if row["scenario"] == COLD_START:
        return [str(row.get("starts", 1)), format_seconds(row["breakdown"]["whole_s"]), "", "", ""]
    latency = row["latency"]
    return [str(latency["runs"]), *(format_seconds(latency[f"{name}_s"]) for name in ("p50", "p90", "p99", "min"))]


def _share(row: Mapping[str, Any]) -> str:
    words = {"of_flop": "FLOP/s", "of_bandwidth": "memory", "of_roofline": "roofline"}
    return ", ".join(f"{share:.1%} {words[name]}" for name, share in row.get("efficiency", {}).items())


def _against(row: Mapping[str, Any]) -> str:
    found = row.get("comparison")
    if found is None:
        return ""
    other = found.get("with", "the other")
    if not found["told"]:
        return f"as fast as {other} (A/A {found['spread']:.1%})"
    return f"{found['ratio']:.3g} x {other} (A/A {found['spread']:.1%})"


def _right(row: Mapping[str, Any]) -> str:
    found = row["agreement"]
    return "==" if found["limit"] == 0 else f"{found['rule']} {found['value']:.2g} <= {found['limit']:g}"
