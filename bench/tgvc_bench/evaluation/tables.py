"""An evaluation as Markdown: BD-rates, means by rate, ablations, what failed; and the table of a README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError
from tgvc.output import open_output
from tgvc_bench.hull import compare
from tgvc_bench.units import unit_of
from tgvc_bench.verdict import SIX, summarise

BEGIN, END = "<!-- tgvc eval: begin -->", "<!-- tgvc eval: end -->"
_DIGITS = {"psnr_y": 2, "vmaf": 1, "vmaf_neg": 1, "tof": 3, "track_error": 2, "flicker": 2}
_README_METRICS = ("psnr_y", "ms_ssim", "vmaf")
_README_SAVED = ("psnr_y", "ms_ssim", "vmaf")
_BOUNDS = (
    "–: on most clips that encoder does not come to our value at any rate that was measured; >: on some it does not, "
    "and its best counts; <: on some already its cheapest file is better, and counts."
)
_CROPPED = {"square": "Of every clip its middle square is read, then scaled."}

Record = Mapping[str, Any]


def format_tables(record: Record) -> str:
    """Everything as Markdown."""
    clips, unit, failed = record["clips"], unit_of(record), [e for e in record["entries"] if "error" in e]
    lines = [f"# {record['title']}", "", f"`{record['command']}`", ""]
    lines += [f"{len(clips)} clips, {sum(c['frames'] for c in clips):,} frames; every rate is that of a real file.", ""]
    lines += [_CROPPED[record["crop"]], ""] if record.get("crop") else []
    if record["bd_rate"]:
        lines += ["## BD-rate", "", *_rate_table(record, list(record["bd_rate"])), ""]
        lines += [next(iter(record["bd_rate"].values()))["method"] + ".", ""]
    for rate in record["rates"]:
        lines += [f"## Means at {rate:g} {unit.title}", "", *_mean_table(record, rate), ""]
    if record["sets"]:
        lines += ["## All frames of all clips together", "", *_set_table(record), ""]
    if record["ablations"]:
        lines += ["## Ablations", "", *_ablation_table(record), ""]
    if failed or record["failed_clips"]:
        lines += ["## Failed", ""]
        lines += [f"- {clip}: {error}" for clip, error in record["failed_clips"].items()]
        lines += [f"- {e['clip']}, {e['system']}, {e['rate']:g}: {e['error']}" for e in failed]
    return "\n".join(lines).rstrip() + "\n"


def format_readme(record: Record, system: str) -> str:
    """The tables of a README: one of our systems against every conventional encoder, and BD-rates of all systems.

    Raises:
        ConfigError: the record has no entry of the system.
    """
    if not any(e["system"] == system and "scores" in e for e in record["entries"]):
        raise ConfigError(
            f"readme: the record has nothing of {system!r}, expected some of {', '.join(record['systems'])}"
        )
    lines = [*_win_table(record, system), "", _BOUNDS]
    if metrics := [m for m in _README_METRICS if m in record["bd_rate"]]:
        found = record["bd_rate"][metrics[0]]
        anchor = record["systems"][found["anchor"]]["title"]
        lines += ["", f"BD-rate against {anchor}, mean over clips with its 95 % interval; below 0 = fewer bits:", ""]
        lines += _rate_table(record, metrics)
    return "\n".join(lines)


def replace_block(path: Path, text: str) -> None:
    """Put text between the two marks of a file, ``BEGIN`` and ``END``.

    Raises:
        ConfigError: the file cannot be read, or does not have each mark once, in this order.
    """
    try:
        whole = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if whole.count(BEGIN) != 1 or whole.count(END) != 1 or whole.index(BEGIN) > whole.index(END):
        raise ConfigError(
            f"{path}: expected one line {BEGIN} and after it one line {END}, between which the table goes"
        )
    head, tail = whole[: whole.index(BEGIN)], whole[whole.index(END) :]
    with open_output(path) as stream:
        stream.write(f"{head}{BEGIN}\n{text.strip()}\n{tail}".encode())


def _rate_table(record: Record, metrics: Sequence[str]) -> Iterator[str]:
    titles = [record["metrics"][m]["title"] for m in metrics]
    yield "| system | " + " | ".join(titles) + " |"
    yield "|---|" + "---|" * len(metrics)
    for system, facts in record["systems"].items():
        cells = [_rate_cell(record["bd_rate"][m]["systems"].get(system), len(record["clips"])) for m in metrics]
        if any(cells):
            yield f"| {facts['title']} | " + " | ".join(c or "–" for c in cells) + " |"


def _rate_cell(found: Mapping[str, Any] | None, clips: int) -> str:
    """Mean and interval in per cent; how many clips, where some have no value."""
    if found is None:
        return ""
    text = f"{found['mean']:+.1f} %{_interval(found)}"
    text += "" if found["count"] == clips else f", {found['count']} of {clips} clips"
    return f"**{text}**" if found["high"] is not None and found["high"] < 0 else text


def _interval(found: Mapping[str, Any]) -> str:
    """Nothing where clips are too few."""
    return "" if found["low"] is None else f" ({found['low']:+.1f} to {found['high']:+.1f})"


def _mean_table(record: Record, rate: float) -> Iterator[str]:
    metrics, unit = record["metrics"], unit_of(record)
    yield f"| system | clips | {unit.short} | " + " | ".join(m["title"] for m in metrics.values()) + " |"
    yield "|---|---|---|" + "---|" * len(metrics)
    for system, facts in record["systems"].items():
        entries = [e for e in record["entries"] if e["system"] == system and e["rate"] == rate and "scores" in e]
        if not entries:
            continue
        cells = [f"{len(entries)} of {len(record['clips'])}", f"{_mean([e[unit.id] for e in entries]):.{unit.digits}f}"]
        for key in metrics:
            values = [e["scores"][key] for e in entries if key in e["scores"]]
            cells.append(f"{_mean(values):.{_DIGITS.get(key, 4)}f}" if values else "–")
        yield f"| {facts['title']} | " + " | ".join(cells) + " |"


def _set_table(record: Record) -> Iterator[str]:
    keys = list(record["sets"][0]["scores"])
    yield "| system | rate | frames | " + " | ".join(k.upper() for k in keys) + " |"
    yield "|---|---|---|" + "---|" * len(keys)
    for row in record["sets"]:
        scores = " | ".join(f"{row['scores'][k]:.4g}" for k in keys)
        yield f"| {record['systems'][row['system']]['title']} | {row['rate']:g} | {row['frames']} | {scores} |"


def _ablation_table(record: Record) -> Iterator[str]:
    yield "| choice | without | metric | more bits for the same value | clips | published |"
    yield "|---|---|---|---|---|---|"
    for row in record["ablations"]:
        bits = f"{row['more_bits_percent']:+.1f} %{_interval(row)}"
        yield (
            f"| {row['title']} | {record['systems'][row['system']]['title']} | {row['metric']} | {bits} "
            f"| {row['clips']} | {row['published'] or 'not published'} |"
        )


def _win_table(record: Record, system: str) -> Iterator[str]:
    metrics = [m for m in SIX if m in record["metrics"]]
    if len(metrics) < len(SIX):
        raise ConfigError(f"readme: its table needs the metrics {', '.join(SIX)}")
    saved = " | ".join(record["metrics"][m]["title"].split(",")[0] for m in _README_SAVED)
    yield f"| against | rate | won | clips with 4 of 6 | saved at equal {saved} |"
    yield "|---|---|---|---|" + "---|" * len(_README_SAVED)
    for rate in record["rates"]:
        ours = [e for e in record["entries"] if e["system"] == system and e["rate"] == rate]
        for name, facts in record["systems"].items():
            if facts["family"] != "conventional":
                continue
            compared = [c for entry in ours if (c := _compared(record, entry, name)) is not None]
            if summary := summarise(compared, name):
                cells = [
                    facts["title"],
                    f"{rate:g} {unit_of(record).short}",
                    f"{summary.won} of 6",
                    f"{summary.won_clips} of {summary.clips}",
                ]
                against = [c["against"][name] for c in compared if "against" in c]
                cells += [_saved_cell([found[m] for found in against]) for m in _README_SAVED]
                yield "| " + " | ".join(cells) + " |"


def _saved_cell(found: Sequence[Mapping[str, Any]]) -> str:
    """Mean of the bits saved; nothing where most files of the other encoder never come to our value."""
    known = [f["bits_saved"] for f in found if f["bound"] == "exact"]
    if 2 * len(known) < len(found):
        return "–"
    sign = "" if len(known) == len(found) else "> " if any(f["bound"] == "at_least" for f in found) else "< "
    return f"{sign}{100 * _mean([f['bits_saved'] for f in found]):.0f} %"


def _compared(record: Record, entry: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """An entry of ours with its comparison with all files of a conventional encoder; None where that has none."""
    if "scores" not in entry:
        return dict(entry)
    points = list(record["points"].get(entry["clip"], {}).get(name, []))
    points += (
        {**other, "size": "x".join(map(str, other["size"]))}
        for other in record["entries"]
        if (other["clip"], other["system"]) == (entry["clip"], name) and "scores" in other
    )
    return {**entry, "against": {name: compare(entry, points, SIX)}} if points else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
