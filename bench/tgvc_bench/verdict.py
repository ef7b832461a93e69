"""From comparisons to a verdict: wins of six, means over clips, and the bars that the project must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SIX = ("psnr_y", "ms_ssim", "gmsd", "haarpsi", "vif", "vmaf")  # the metrics that decide
PRINTED = ("tof", "flicker", "vmaf_neg", "grad_energy", "swd")  # always shown beside them
SAVING = ("ms_ssim", "vmaf")  # the metrics whose mean saving the bars ask for
ENOUGH = 4  # wins of six that make a clip a won clip

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Bar:
    """What must hold against one codec at one rate; None = not asked.

    ``wins``: of six in the clip mean; ``share`` of clips with at least four wins; ``saving``: mean share of bits saved,
    for MS-SSIM and for VMAF.
    """

    codec: str
    wins: int
    share: float | None = None
    saving: float | None = None


BARS: dict[float, tuple[Bar, ...]] = {
    0.003: (Bar("svt-av1-p4", 5, 0.7, 0.10), Bar("x265-slow", 6, None, 0.20)),
    0.005: (Bar("svt-av1-p4", 5, 0.7, 0.05), Bar("x265-slow", 6)),
}


@dataclass(frozen=True)
class Summary:
    """All clips of one rate against one codec.

    ``ours``/``baseline``: means over clips per metric; ``won``: of six in these means; ``won_clips`` of ``clips``;
    ``saved``: mean over clips of the share of bits saved, per metric of six, bounds counted as values; ``bounded``: how
    many of those are only bounds; ``below_floor``: clips whose rate the codec cannot reach; ``failed``: clips that we
    could not encode (they count as lost clips and are missing from the means).
    """

    codec: str
    clips: int
    won: int
    won_clips: int
    ours: dict[str, float]
    baseline: dict[str, float]
    saved: dict[str, float]
    bounded: int
    below_floor: int
    failed: int


def count_wins(compared: Mapping[str, Mapping[str, Any]]) -> int:
    """Metrics of the six that are won."""
    return sum(bool(compared[m]["won"]) for m in SIX)


def summarise(entries: Sequence[Entry], codec: str) -> Summary | None:
    """The summary of one rate's entries against a codec; None where no entry has it."""
    have = [e["against"][codec] for e in entries if codec in e.get("against", {})]
    failed = sum("scores" not in e for e in entries)
    if not have:
        return None

    def mean(metric: str, field: str) -> float:
        return float(sum(c[metric][field] for c in have)) / len(have)

    metrics = [m for m in (*SIX, *PRINTED) if m in have[0]]
    ours, baseline = ({m: mean(m, field) for m in metrics} for field in ("ours", "baseline"))
    won = sum(ours[m] < baseline[m] if m == "gmsd" else ours[m] > baseline[m] for m in SIX)
    return Summary(
        codec,
        len(have) + failed,
        won,
        sum(count_wins(c) >= ENOUGH for c in have),
        ours,
        baseline,
        {m: mean(m, "bits_saved") for m in SIX},
        sum(c[m]["bound"] != "exact" for c in have for m in SIX),
        sum(c["psnr_y"]["below_floor"] for c in have),
        failed,
    )


def judge(bar: Bar, summary: Summary | None) -> tuple[bool, str]:
    """Whether a bar is passed, and the sentence that says how."""
    if summary is None:
        return False, f"{bar.codec}: not measured"
    share = summary.won_clips / summary.clips
    least = min(summary.saved[m] for m in SAVING)
    parts = [(summary.won >= bar.wins, f"{summary.won} of 6 in the clip mean (asked {bar.wins})")]
    if bar.share is not None:
        text = f"{summary.won_clips} of {summary.clips} clips with at least {ENOUGH} of 6 (asked {bar.share:.0%})"
        parts.append((share >= bar.share, text))
    if bar.saving is not None:
        saved = ", ".join(f"{m} {summary.saved[m]:+.1%}" for m in SAVING)
        parts.append((least >= bar.saving, f"mean saving {saved} (asked {bar.saving:.0%})"))
    passed = all(good for good, _ in parts) and not summary.failed
    lines = "; ".join(("" if good else "NOT MET: ") + text for good, text in parts)
    return passed, f"{bar.codec}: {lines}" + (f"; {summary.failed} clips failed" if summary.failed else "")
