"""The numbers of a record as Markdown, from the same content as the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tgvc_bench.report.means import Point, find_best

Content = Mapping[str, Any]


def format_report(content: Content) -> str:
    """The report: means at every rate, BD-rates, every clip, bits by layer, published numbers and differences."""
    parts = [f"# {_plain(content['title'])}", f"`{_plain(content['command']).replace('`', '')}`", *_means(content)]
    parts += [*_bd_rates(content), *_rows("All frames of all clips together", content, content["sets"])]
    parts += [*_clips(content), *_layers(content), *_rows("Ablations", content, content["ablations"])]
    parts += [*_published(content)]
    return "\n".join(parts).rstrip() + "\n"


def _means(content: Content) -> Iterator[str]:
    """Per size and rate a table of systems; bold: the best of those that coded every clip."""
    metrics, unit = content["metrics"], content["unit"]
    for size, names in content["sizes"].items():
        for rate in content["rates"]:
            rows = {m["id"]: [p for p in content["means"][m["id"]] if _is_of(p, size, rate)] for m in metrics}
            shown = [s for s in content["systems"] if any(p["system"] == s["id"] for ps in rows.values() for p in ps)]
            if not shown:
                continue
            yield f"\n## {rate:g} {unit['short']}, mean of {len(names)} clips of {size}\n"
            yield _row(["system", unit["short"], *(f"{_plain(m['title'])} {_arrow(m)}" for m in metrics)])
            yield "|---|" + "---:|" * (len(metrics) + 1)
            best = {m["id"]: _best(rows[m["id"]], m) for m in metrics}
            for system in shown:
                found = {m: next((p for p in ps if p["system"] == system["id"]), None) for m, ps in rows.items()}
                rates = [p[unit["id"]] for p in found.values() if p]
                cells = [_plain(system["title"]), f"{sum(rates) / len(rates):.{unit['digits']}f}"]
                for metric in metrics:
                    point = found[metric["id"]]
                    cells.append("–" if point is None else _mean_cell(point, metric, best[metric["id"]]))
                yield _row(cells)


def _mean_cell(point: Mapping[str, Any], metric: Mapping[str, Any], best: str | None) -> str:
    text = f"{point['value']:.{metric['digits']}f}"
    if not point["whole"]:
        return f"({text}, {point['clips']} clips)"
    return f"**{text}**" if point["system"] == best else text


def _best(points: Sequence[Mapping[str, Any]], metric: Mapping[str, Any]) -> str | None:
    """The system with the best mean; None where there are not two to compare."""
    whole = [Point(metric=metric["id"], **p) for p in points if p["whole"]]
    return find_best(whole, metric["better"]).system if len(whole) > 1 else None


def _bd_rates(content: Content) -> Iterator[str]:
    shown = [m for m in content["metrics"] if m["id"] in content["bd_rate"]]
    if not shown:
        return
    first = content["bd_rate"][shown[0]["id"]]
    yield "\n## Bits against " + _plain(_title(content, first["anchor"])) + " for the same value\n"
    yield f"BD-rate, per cent, 95 % of the mean over clips in brackets. {_plain(first['method'])}.\n"
    yield _row(["system", *(_plain(m["title"]) for m in shown)])
    yield "|---|" + "---:|" * len(shown)
    for system in content["systems"]:
        cells = [_bd_cell(content["bd_rate"][m["id"]], system["id"]) for m in shown]
        if any(c != "–" for c in cells):
            yield _row([_plain(system["title"]), *cells])


def _bd_cell(rates: Mapping[str, Any], system: str) -> str:
    if rates["anchor"] == system:
        return "anchor"
    found = rates["systems"].get(system)
    if not found or found.get("mean") is None:
        return "–"
    low, high = found.get("low"), found.get("high")
    return f"{found['mean']:+.1f}" + (f" ({low:+.1f} to {high:+.1f})" if low is not None and high is not None else "")


def _clips(content: Content) -> Iterator[str]:
    metrics, unit = content["metrics"], content["unit"]
    for rate in content["rates"]:
        entries = [e for e in content["entries"] if e["rate"] == rate]
        if not entries:
            continue
        yield f"\n## {rate:g} {unit['short']}, clip by clip\n"
        yield _row(["clip", "system", unit["short"], "bytes", *(f"{_plain(m['title'])} {_arrow(m)}" for m in metrics)])
        yield "|---|---|" + "---:|" * (len(metrics) + 2)
        for entry in sorted(entries, key=lambda e: e["clip"]):
            cells = [_plain(entry["clip"]), _plain(_title(content, entry["system"]))]
            if "error" in entry:
                yield _row([*cells, "failed: " + _plain(entry["error"]), *[""] * (len(metrics) + 1)])
                continue
            scores = [entry["scores"].get(m["id"]) for m in metrics]
            values = ["–" if v is None else f"{v:.{m['digits']}f}" for m, v in zip(metrics, scores, strict=True)]
            yield _row([*cells, f"{entry[unit['id']]:.{unit['digits']}f}", f"{entry['bytes']:,}", *values])


def _layers(content: Content) -> Iterator[str]:
    entries = [e for e in content["entries"] if "error" not in e and any(e.get("layers", {}).values())]
    if not entries:
        return
    yield "\n## Bytes by layer\n"
    yield _row(["clip", "system", "asked", *content["layers"]])
    yield "|---|---|---:|" + "---:|" * len(content["layers"])
    for entry in entries:
        cells = [_plain(entry["clip"]), _plain(_title(content, entry["system"])), f"{entry['rate']:g}"]
        yield _row([*cells, *(f"{entry['layers'].get(layer) or 0:,}" for layer in content["layers"])])


def _rows(title: str, content: Content, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Rows of any names as a table."""
    if not rows:
        return
    flat = [{**{k: v for k, v in row.items() if k != "scores"}, **row.get("scores", {})} for row in rows]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    yield f"\n## {title}\n"
    yield _row([_plain(c).replace("_", " ") for c in columns])
    yield "|" + "---|" * len(columns)
    for row in flat:
        values = [row.get(c) for c in columns]
        yield _row(
            ["–" if v is None else f"{v:g}" if isinstance(v, float) else _plain(_title(content, v)) for v in values]
        )


def _published(content: Content) -> Iterator[str]:
    for document in content["published"]:
        metrics = document["metrics"]
        yield f"\n## Published: {_plain(document['title'])}, {document['size']}\n"
        yield f"Not ranked with anything above. Source: {_plain(document['source'])}.\n"
        yield from (f"- {_plain(text)}" for text in document["differences"])
        yield ""
        yield _row(["set", "system", "bpp", *(_plain(m["title"]) for m in metrics.values())])
        yield "|---|---|---:|" + "---:|" * len(metrics)
        for point in document["points"]:
            title = document["systems"][point["system"]]["title"]
            values = [f"{point['scores'][m]:g}" if m in point["scores"] else "–" for m in metrics]
            yield _row([_plain(point["set"]), _plain(title), f"{point['bpp']:g}", *values])


def _is_of(point: Mapping[str, Any], size: str, rate: float) -> bool:
    return bool(point["size"] == size and point["rate"] == rate)


def _title(content: Content, system: Any) -> str:
    return next((str(s["title"]) for s in content["systems"] if s["id"] == system), str(system))


def _arrow(metric: Mapping[str, Any]) -> str:
    return "↑" if metric["better"] == "higher" else "↓"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    """Text of a record that can be no markup: neither of Markdown's tables nor of HTML."""
    return " ".join(str(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").split())
