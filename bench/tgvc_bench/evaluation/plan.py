"""What an evaluation is asked for, and the parts of it that are still to be measured."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

from tgvc.errors import ConfigError
from tgvc_bench.evaluation.cache import ResultCache
from tgvc_bench.evaluation.code import hash_conventional, hash_networks, hash_ours
from tgvc_bench.evaluation.conventional import BaselinePart, sweep_rates
from tgvc_bench.evaluation.metrics import METRICS, WITHOUT_WEIGHTS
from tgvc_bench.evaluation.ours import OurPart
from tgvc_bench.evaluation.parts import Target
from tgvc_bench.evaluation.sources import LoadedClip, Source
from tgvc_bench.evaluation.systems import ANCHOR, System
from tgvc_bench.ffmpeg import ffmpeg_version
from tgvc_bench.neural.weights import WeightFile, require_weights
from tgvc_bench.records import read_record
from tgvc_bench.units import BPP, RateUnit

RATES = (0.002, 0.003, 0.005, 0.0075, 0.01)

Part: TypeAlias = OurPart | BaselinePart
Key: TypeAlias = tuple[str, str, float]  # clip, system, rate


@dataclass(frozen=True)
class Question:
    """What is asked.

    ``clips``: files; ``rates``: in ``unit``, growing; ``frames``: of each clip at most; ``size``: working size, None =
    fits 512x320; ``crop``: ``square`` = the middle square of the clips alone; ``metrics``: keys; ``previews``: rates
    whose videos are kept, None = all; ``sizes``: parts of the size that conventional encoders may choose from, None =
    all five; ``baselines``: folder of sweeps that are known already.

    Raises:
        ConfigError: something that cannot be measured.
    """

    clips: tuple[Path, ...]
    systems: tuple[System, ...]
    rates: tuple[float, ...] = RATES
    frames: int = 64
    size: tuple[int, int] | None = None
    metrics: tuple[str, ...] = WITHOUT_WEIGHTS
    weights: tuple[WeightFile, ...] = ()
    anchor: str = ANCHOR
    previews: tuple[float, ...] | None = None
    sizes: tuple[Fraction, ...] | None = None
    baselines: Path | None = None
    title: str = "Evaluation"
    unit: RateUnit = BPP
    crop: str | None = None

    def __post_init__(self) -> None:
        if not self.clips or not self.systems or not self.rates:
            raise ConfigError("eval: got no clip, no system or no rate, expected at least one of each")
        if wrong := [r for r in self.rates if not 0 < r <= self.unit.highest]:
            limit = f"at most {self.unit.highest:g} {self.unit.title}"
            raise ConfigError(f"{self.unit.id}={wrong[0]}: expected above 0 and {limit}")
        if len({f"{r:g}" for r in self.rates}) != len(self.rates):
            raise ConfigError(f"{self.unit.id}={self.rates}: expected every rate once")
        if unknown := [m for m in self.metrics if m not in METRICS]:
            raise ConfigError(f"metric {unknown[0]!r}: not known, expected some of {', '.join(METRICS)}")
        require_weights(self.metrics, self.weights)

    def source(self, clip: Path) -> Source:
        """A clip as it is to be read."""
        return Source(clip.stem, clip, self.frames, self.size, self.crop)

    def previewed(self, rate: float) -> bool:
        """Whether the videos of a rate are kept."""
        return self.previews is None or rate in self.previews


def entry_key(question: Question, identity: str, system: System, rate: float) -> str:
    """Everything that decides an entry, as a hash: the pictures, what is done with them, by which code."""
    networks = hash_networks([*system.eyes, *system.painters])
    code = [hash_conventional(), ffmpeg_version()] if system.codec else [hash_ours(system.profile), *networks]
    vmaf = [ffmpeg_version()] if any(m.startswith("vmaf") for m in question.metrics) else []
    sizes = None if question.sizes is None else [str(s) for s in question.sizes]
    facts = [
        identity, *_asked(rate, question.unit), dict(system.encode), dict(system.decode), system.codec,
        sizes if system.codec else None,
        sorted(question.metrics), sorted((w.kind, w.sha256) for w in question.weights), code, vmaf,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def stream_key(identity: str, system: System, rate: float, unit: RateUnit) -> str:
    """Everything that decides a stream of ours."""
    facts = [identity, *_asked(rate, unit), dict(system.encode), hash_ours(system.profile), *hash_networks(system.eyes)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _asked(rate: float, unit: RateUnit) -> list[Any]:
    return [rate] if unit == BPP else [rate, unit.id]


@dataclass
class Plan:
    """``known``: entries that are measured already; ``parts``: what is not, clip by clip; ``keys``: of all entries."""

    known: dict[Key, dict[str, Any]] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    keys: dict[Key, str] = field(default_factory=dict)


def make_plan(question: Question, clips: Mapping[Path, LoadedClip], cache: ResultCache) -> Plan:
    """Look up what is known and cut the rest into parts: one per stream of ours, one per sweep of an encoder.

    Raises:
        ConfigError: ``question.baselines`` has nothing of what is still to be swept.
    """
    plan = Plan()
    for path, loaded in clips.items():
        source, identity = question.source(path), loaded.identity
        streams: dict[str, OurPart] = {}
        sweeps: dict[str, list[tuple[float, Target]]] = defaultdict(list)
        for rate in question.rates:
            for system in question.systems:
                name = source.name, system.id, rate
                plan.keys[name] = key = entry_key(question, identity, system, rate)
                target = make_target(question, name, system)
                if entry := cache.find_entry(key, target):
                    plan.known[name] = {**entry, "clip": source.name, "system": system.id}
                elif system.codec:
                    sweeps[system.id].append((rate, target))
                else:
                    wanted = stream_key(identity, system, rate, question.unit)
                    if wanted not in streams:
                        stream, seconds = cache.find_stream(wanted) or (None, 0.0)
                        streams[wanted] = OurPart(source, rate, (), stream, seconds, question.unit)
                    part = streams[wanted]
                    streams[wanted] = replace(part, targets=(*part.targets, (system, target)))
        plan.parts += streams.values()
        around = sweep_rates([loaded.bits_per_pixel(rate, question.unit) for rate in question.rates])
        for system in question.systems:
            if targets := sweeps.get(system.id):
                sweep = find_sweep(question, loaded, system.codec)
                place = cache.sweep_place(f"{identity[:16]}-{system.codec}-{ffmpeg_version()}")
                given = source, system, tuple(targets), around, question.sizes, question.unit
                plan.parts.append(BaselinePart(*given, sweep, place))
    swept = [part for part in plan.parts if isinstance(part, BaselinePart)]
    if question.baselines is not None and swept and all(part.sweep is None for part in swept):
        raise ConfigError(
            f"{question.baselines}: no sweep of these encoders with this ffmpeg, of these frames at this size; leave "
            "--baselines out to measure them"
        )
    return plan


def make_target(question: Question, name: Key, system: System) -> Target:
    """The files that an entry leaves below the output folder."""
    clip, _, rate = name
    stem = f"{clip}/{system.id}-{rate:g}"
    preview = f"media/{stem}.mp4" if question.previewed(rate) else ""
    tracks = f"media/tracks/{stem}.json" if question.previewed(rate) and not system.codec else ""
    return Target(preview, tracks)


def find_sweep(question: Question, loaded: LoadedClip, codec: str) -> dict[str, Any] | None:
    """What an earlier `tgvc-bench baselines` found for exactly these frames with the same binary, if anything.

    Rates that it lacks are swept on top of it.
    """
    if question.baselines is None:
        return None
    record = read_record(question.baselines / f"{loaded.clip.path.stem}.json")
    if record is None or codec not in record.get("codecs", {}):
        return None
    wanted = {"sha256": loaded.clip.sha256, "fps": str(loaded.clip.fps), "ffmpeg": ffmpeg_version()}
    if any(record.get(k) != v for k, v in wanted.items()):
        return None
    return {**record, "codecs": {codec: record["codecs"][codec]}}
