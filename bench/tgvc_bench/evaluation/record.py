"""The record of an evaluation, ``tgvc-eval 1``: everything that its page and its tables show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tgvc_bench.evaluation.bdrate import summarise
from tgvc_bench.evaluation.cache import ResultCache
from tgvc_bench.evaluation.metrics import METRICS, SETS
from tgvc_bench.evaluation.plan import Key, Question
from tgvc_bench.evaluation.sources import LoadedClip
from tgvc_bench.evaluation.systems import ABLATIONS
from tgvc_bench.ffmpeg import ffmpeg_version
from tgvc_bench.machine import describe_machine, read_versions
from tgvc_bench.neural.distances import frechet_distance, kernel_distance
from tgvc_bench.records import read_record, shorten
from tgvc_bench.units import kilobits_per_second

FORMAT = "tgvc-eval 1"


@dataclass
class Findings:
    """What is known of an evaluation so far; ``failed``: errors of clips that cannot be read, by name."""

    question: Question
    clips: Mapping[Path, LoadedClip]
    failed: Mapping[str, str]
    entries: dict[Key, dict[str, Any]]
    cache: ResultCache


def make_record(findings: Findings, keys: Mapping[Key, str], command: str) -> dict[str, Any]:
    """The record of what is known."""
    question = findings.question
    ordered = [findings.entries[key] for key in keys if key in findings.entries]
    points = read_points(findings)
    curves = {metric: make_curves(findings, points, metric) for metric in question.metrics if metric not in SETS}
    rates = {
        metric: summarise(found, question.anchor, METRICS[metric]["better"])
        for metric, found in curves.items()
        if question.anchor in found
    }
    return {
        "format": FORMAT,
        "title": question.title,
        "command": command,
        "machine": {**describe_machine(), "versions": read_versions()},
        **({"crop": question.crop} if question.crop else {}),
        "clips": [loaded.describe(path.stem) for path, loaded in findings.clips.items()],
        "failed_clips": dict(findings.failed),
        "systems": {system.id: system.describe() for system in question.systems},
        "metrics": {metric: METRICS[metric] for metric in question.metrics if metric not in SETS},
        "weights": {file.kind: file.describe() for file in question.weights},
        "rate_unit": question.unit.id,
        "rates": list(question.rates),
        "entries": ordered,
        "points": points,
        "sets": measure_sets(findings, keys),
        "bd_rate": {metric: found for metric, found in rates.items() if found["systems"]},
        "ablations": describe_ablations(findings, curves),
    }


def read_points(findings: Findings) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """All scored files of the conventional encoders' sweeps, clip -> system -> points: their hulls."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for path, loaded in findings.clips.items():
        for system in findings.question.systems:
            if not system.codec:
                continue
            place = findings.cache.sweep_place(f"{loaded.identity[:16]}-{system.codec}-{ffmpeg_version()}")
            codec = (read_record(place) or {"codecs": {}})["codecs"].get(system.codec)
            if codec is not None:
                found.setdefault(path.stem, {})[system.id] = [
                    {**p, "kbps": shorten(kilobits_per_second(p["bytes"], loaded.frames, loaded.info.fps))}
                    for p in codec["points"]
                ]
    return found


def make_curves(
    findings: Findings, points: Mapping[str, Mapping[str, Any]], metric: str
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """(rate, value) of every file that has the metric: system -> clip -> curve."""
    unit = findings.question.unit.id
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for (clip, system, _), entry in findings.entries.items():
        if metric in entry.get("scores", {}):
            curve = curves.setdefault(system, {}).setdefault(clip, [])
            curve.append((entry[unit], entry["scores"][metric]))
    for clip, systems in points.items():
        for system, found in systems.items():
            for point in found:
                value = _value(point["scores"], metric)
                if value is not None:
                    curves.setdefault(system, {}).setdefault(clip, []).append((point[unit], value))
    return curves


def _value(scores: Mapping[str, float], metric: str) -> float | None:
    if metric == "grad_gap":
        energy = scores.get("grad_energy")
        return None if energy is None else abs(1 - energy)
    return scores.get(metric)


def measure_sets(findings: Findings, keys: Mapping[Key, str]) -> list[dict[str, Any]]:
    """FID and KID of all frames of all clips together, for each system and rate that has every clip."""
    wanted = [m for m in SETS if m in findings.question.metrics]
    if not wanted:
        return []
    sources = [findings.cache.find_features(f"{loaded.identity}-source") for loaded in findings.clips.values()]
    if not sources or any(f is None for f in sources):
        return []
    reference = np.concatenate([f for f in sources if f is not None])
    distances = {"fid": frechet_distance, "kid": kernel_distance}
    rows = []
    for system in findings.question.systems:
        for rate in findings.question.rates:
            names = [(path.stem, system.id, rate) for path in findings.clips]
            have = [findings.cache.find_features(keys[n]) for n in names if n in findings.entries]
            parts = [f for f in have if f is not None]
            if len(parts) == len(names):
                test = np.concatenate(parts)
                scores = {m: shorten(distances[m](reference, test)) for m in wanted}
                rows.append({"system": system.id, "rate": rate, "frames": len(test), "scores": scores})
    return rows


def describe_ablations(findings: Findings, curves: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per ablation and metric whose systems are both there: BD-rate of the system without the choice."""
    rows = []
    present = {s.id for s in findings.question.systems}
    for ablation in ABLATIONS:
        if not {ablation.system, ablation.without} <= present:
            continue
        for metric, found in curves.items():
            both = {s: found.get(s, {}) for s in (ablation.system, ablation.without)}
            result = summarise(both, ablation.system, METRICS[metric]["better"])["systems"].get(ablation.without)
            if result is not None:
                rows.append(
                    {
                        "title": ablation.title,
                        "system": ablation.without,
                        "against": ablation.system,
                        "metric": METRICS[metric]["title"],
                        "more_bits_percent": result["mean"],
                        "low": result["low"],
                        "high": result["high"],
                        "clips": result["count"],
                        "published": ablation.published,
                    }
                )
    return rows
