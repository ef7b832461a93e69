"""Results of ``tgvc-bench quality`` as Markdown: worst clip first, losses as visible as wins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tgvc.errors import ConfigError
from tgvc_bench.verdict import BARS, PRINTED, SIX, Entry, Summary, count_wins, judge, summarise

_DIGITS = {"psnr_y": 2, "vmaf": 1, "vmaf_neg": 1, "flicker": 2, "grad_energy": 2}
_NOTES = (
    "Cells: ours / baseline at our rate (best of five sizes, per metric), bold = ours is better. "
    "`†`: the baseline cannot go that low, its cheapest point stands in. "
    "Saved: share of bits we need less for equal value; `>`/`<` where only a bound is known. "
    "gmsd, tof, flicker, swd: smaller is better; grad_energy: of the source's 1."
)


def format_tables(record: Mapping[str, Any], codec: str) -> str:
    """The whole report: per rate one table of clips against ``codec``, one of all codecs, and the verdict.

    Raises:
        ConfigError: No entry is compared with the codec.
    """
    if not any(codec in e.get("against", {}) for e in record["entries"]):
        raise ConfigError(f"table: no entry is compared with {codec!r}; run tgvc-bench baselines --codecs {codec}")
    lines = [f"`{record['command']}`", "", _NOTES, ""]
    for rate in record["rates"]:
        entries = [e for e in record["entries"] if e["rate"] == rate]
        lines += [f"## {rate:g} bpp against {codec}", "", *_clip_table(entries, codec), ""]
        lines += [f"## {rate:g} bpp against all", "", *_codec_table(entries), ""]
        for bar in BARS.get(rate, ()):
            passed, text = judge(bar, summarise(entries, bar.codec))
            lines.append(f"- must, {rate:g} bpp: **{'met' if passed else 'not met'}**, {text}")
        lines.append("")
    return "\n".join(lines)


def _clip_table(entries: Sequence[Entry], codec: str) -> Iterator[str]:
    columns = ["clip", "bpp", *SIX, "won", *(f"saved {m}" for m in ("ms_ssim", "vmaf")), *PRINTED]
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for entry in entries:
        if "scores" not in entry:
            yield f"| {entry['clip']} | failed: {entry['error']} |" + " |" * (len(columns) - 2)
    scored = [e for e in entries if codec in e.get("against", {})]
    for entry in sorted(scored, key=lambda e: _rank(e["against"][codec])):
        compared = entry["against"][codec]
        cells = [
            entry["clip"],
            f"{entry['bpp']:.5f}",
            *(_cell(m, compared[m]) for m in SIX),
            f"{count_wins(compared)}/6",
        ]
        cells += [_saved(compared[m]) for m in ("ms_ssim", "vmaf")] + [_cell(m, compared[m]) for m in PRINTED]
        yield "| " + " | ".join(cells) + " |"
    if summary := summarise(entries, codec):
        mean = {m: {"ours": summary.ours[m], "baseline": summary.baseline[m]} for m in summary.ours}
        cells = ["**mean**", "", *(_cell(m, mean[m]) for m in SIX), f"{summary.won}/6"]
        cells += [f"{summary.saved[m]:+.1%}" for m in ("ms_ssim", "vmaf")] + [_cell(m, mean[m]) for m in PRINTED]
        yield "| " + " | ".join(cells) + " |"


def _rank(compared: Mapping[str, Mapping[str, Any]]) -> tuple[int, float]:
    """Worst first: fewest wins, then least saved."""
    return count_wins(compared), sum(compared[m]["bits_saved"] for m in SIX)


def _cell(metric: str, values: Mapping[str, Any]) -> str:
    digits = _DIGITS.get(metric, 4)
    ours, baseline = f"{values['ours']:.{digits}f}", f"{values['baseline']:.{digits}f}"
    mark = "†" if values.get("below_floor") else ""
    return f"**{ours}** / {baseline}{mark}" if values.get("won") else f"{ours} / {baseline}{mark}"


def _saved(values: Mapping[str, Any]) -> str:
    return {"exact": "", "at_least": ">", "at_most": "<"}[values["bound"]] + f"{values['bits_saved']:+.1%}"


def _codec_table(entries: Sequence[Entry]) -> Iterator[str]:
    columns = ["codec", "version", "clips", "won in the mean", "clips with 4 of 6", *(f"saved {m}" for m in SIX)]
    columns += ["bounds", "out of its reach"]
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    codecs = dict.fromkeys(name for e in entries for name in e.get("against", {}))
    for codec in codecs:
        summary = summarise(entries, codec)
        if summary:
            yield _codec_row(summary, next(e for e in entries if codec in e.get("against", {})))


def _codec_row(summary: Summary, entry: Entry) -> str:
    cells = [summary.codec, entry["baseline_versions"][summary.codec], str(summary.clips), f"{summary.won}/6"]
    cells += [f"{summary.won_clips}/{summary.clips}", *(f"{summary.saved[m]:+.1%}" for m in SIX)]
    cells += [f"{summary.bounded} of {6 * (summary.clips - summary.failed)}", f"{summary.below_floor} clips"]
    return "| " + " | ".join(cells) + " |"
