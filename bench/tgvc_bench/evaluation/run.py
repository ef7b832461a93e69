"""An evaluation from its question to its record: what is known is kept, the rest shared out, failures are entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from tgvc.batch import Failure, Place, run_all
from tgvc.batch.places import describe_error
from tgvc.errors import TgvcError
from tgvc_bench.evaluation.cache import ResultCache
from tgvc_bench.evaluation.ours import OurPart, open_decoder, stream_name
from tgvc_bench.evaluation.parts import Bench, PartResult
from tgvc_bench.evaluation.plan import Key, Part, Plan, Question, make_plan, make_target, stream_key
from tgvc_bench.evaluation.previews import encode_preview
from tgvc_bench.evaluation.record import FORMAT, Findings, make_record
from tgvc_bench.evaluation.scoring import Scorer
from tgvc_bench.evaluation.sources import LoadedClip, load_clip
from tgvc_bench.evaluation.systems import System
from tgvc_bench.neural.weights import WeightFile
from tgvc_bench.records import read_record, write_record

RECORD = "record.json"
OnEntry = Callable[[dict[str, Any]], None]
OnStart = Callable[[int, int], None]


@dataclass(frozen=True)
class Measuring:
    """The work of a worker: any part of an evaluation, with networks that stay loaded."""

    metrics: tuple[str, ...]
    weights: tuple[WeightFile, ...] = ()

    def open(self) -> Callable[[Part], PartResult]:
        """A bench, ready.

        Raises:
            BundleError: a file of weights is not what it should be.
            BackendUnavailableError: torch is missing for metrics that need it.
        """
        bench = Bench(Scorer(self.metrics, self.weights), open_decoder)
        return lambda part: part.run(bench)


class _Carried(Sequence[Part]):
    """Parts that carry their clip's file, and whose sweeps leave nothing where they run: for machines elsewhere."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, number: int) -> Part: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Part]: ...
    def __getitem__(self, number: int | slice) -> Part | Sequence[Part]:
        if isinstance(number, slice):
            return _Carried(self._parts[number])
        part = self._parts[number]
        source = replace(part.source, data=part.source.path.read_bytes())
        if isinstance(part, OurPart):
            return replace(part, source=source)
        sweep = read_record(part.place) if part.place is not None and part.place.exists() else part.sweep
        return replace(part, source=source, sweep=sweep, place=None)

    def __iter__(self) -> Iterator[Part]:
        return (self[number] for number in range(len(self)))


def run_evaluation(
    question: Question,
    output: Path,
    place: Place | None = None,
    *,
    command: str = "tgvc eval",
    on_start: OnStart | None = None,
    on_entry: OnEntry | None = None,
) -> dict[str, Any]:
    """Measure what is asked and write the record after every part.

    Where there is a fuller record already, made before the code or the clips have changed, it stays until all that is
    asked has been measured anew or has failed: who interrupts the run still has it.

    Args:
        question: what is asked.
        output: folder of the record, the videos and the cache.
        place: where the parts run; this process if None.
        command: that is written into the record.
        on_start: told how many entries are known and how many are to be measured.
        on_entry: told of every entry as it comes, with its error if it has one.

    Returns:
        The record, ``tgvc-eval 1``.

    Raises:
        ConfigError: the output cannot be written.
        BackendError: the cluster that is asked for does not answer.
    """
    place, cache = place or Place(), ResultCache(output)
    clips, failed = read_clips(question, cache)
    plan = make_plan(question, clips, cache)
    findings = Findings(question, clips, failed, dict(plan.known), cache)
    missing = list_entries(cache.read(output / RECORD)) & set(plan.keys) - set(plan.known)
    if on_start:
        on_start(len(plan.known), sum(len(part.targets) for part in plan.parts))
    remove_previews(question, plan, output)
    # what begins with the slowest ends soonest
    plan.parts.sort(key=lambda p: isinstance(p, OurPart))
    parts: Sequence[Part] = plan.parts if place.ray is None else _Carried(plan.parts)
    record = make_record(findings, plan.keys, command)
    for number, result in run_all(Measuring(question.metrics, question.weights), parts, place):
        part = plan.parts[number]
        for entry in keep_result(question, plan, part, result, clips, cache):
            findings.entries[entry["clip"], entry["system"], entry["rate"]] = entry
            if on_entry:
                on_entry(entry)
        record = make_record(findings, plan.keys, command)
        missing -= set(findings.entries)
        if not missing:
            write_record(output / RECORD, record)
    write_record(output / RECORD, record)
    return record


def list_entries(record: Mapping[str, Any] | None) -> set[Key]:
    """Clip, system and rate of everything that a record has measured; nothing where there is no such record."""
    if record is None or record.get("format") != FORMAT:
        return set()
    return {(e["clip"], e["system"], e["rate"]) for e in record["entries"] if "scores" in e}


def read_clips(question: Question, cache: ResultCache) -> tuple[dict[Path, LoadedClip], dict[str, str]]:
    """What is known of the clips that can be read, and the errors of those that cannot, by name.

    Where previews are wanted, those of the clips themselves are written.
    """
    clips, failed = {}, {}
    for path in question.clips:
        try:
            loaded = load_clip(path, question.frames, question.size, question.crop)
        except TgvcError as error:
            failed[path.stem] = describe_error(error)
            continue
        name, mark = f"media/{path.stem}/source.mp4", f"cache/sources/{path.stem}-{loaded.identity[:16]}"
        known = (cache.folder / name).exists() and (cache.folder / mark).exists()
        if question.previews != () and not known:
            cache.write_file(name, encode_preview(loaded.clip.pictures, loaded.info))
            cache.write_file(mark, b"")
        clips[path] = loaded.without_pictures()
    return clips, failed


def remove_previews(question: Question, plan: Plan, output: Path) -> None:
    """Videos and trajectories of rates for which none are wanted: they may be those of another version."""
    for clip, system, rate in plan.keys:
        if not question.previewed(rate):
            for name in (f"media/{clip}/{system}-{rate:g}.mp4", f"media/tracks/{clip}/{system}-{rate:g}.json"):
                (output / name).unlink(missing_ok=True)


def keep_result(
    question: Question,
    plan: Plan,
    part: Part,
    result: PartResult | Failure,
    clips: dict[Path, LoadedClip],
    cache: ResultCache,
) -> list[dict[str, Any]]:
    """Write what a part has left; returns its entries, each with an error where the whole part failed."""
    wanted = list_wanted(part)
    if isinstance(result, Failure):
        return [{"clip": c, "system": s.id, "rate": r, "error": result.text} for (c, _, r), s in wanted]
    identity = clips[part.source.path].identity
    for name, data in result.files.items():
        cache.write_file(name, data)
    for name, (stream, seconds) in result.streams.items():
        if isinstance(part, OurPart) and name == stream_name(part):
            cache.keep_stream(stream_key(identity, part.targets[0][0], part.rate, part.unit), stream, seconds)
    if result.sweep is not None and not isinstance(part, OurPart) and part.place is not None:
        write_record(part.place, result.sweep)
    for key, features in result.features.items():
        cache.keep_features(plan.keys.get(key, f"{identity}-source"), features)
    systems = dict(wanted)
    for entry in result.entries:
        key = entry["clip"], entry["system"], entry["rate"]
        if "error" not in entry:
            target = make_target(question, key, systems[key])
            if target.tracks and target.tracks not in result.files:  # of an earlier version of the codec
                (cache.folder / target.tracks).unlink(missing_ok=True)
            cache.keep_entry(plan.keys[key], entry, target)
    return result.entries


def list_wanted(part: Part) -> list[tuple[Key, System]]:
    """The entries that a part is to give."""
    clip = part.source.name
    if isinstance(part, OurPart):
        return [((clip, system.id, part.rate), system) for system, _ in part.targets]
    return [((clip, part.system.id, rate), part.system) for rate, _ in part.targets]
