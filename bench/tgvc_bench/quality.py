"""tgvc on real clips at given rates: encode, decode, score all frames, compare with the committed baselines.

The result is one JSON file without anything of the machine it ran on. An entry is kept as long as clip, rate, options
and the codec's own code are the same; else it is measured again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import math
import multiprocessing
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError, TgvcError
from tgvc.types import Picture
from tgvc_bench.clips import read_clip
from tgvc_bench.ffmpeg import ffmpeg_version
from tgvc_bench.hull import compare
from tgvc_bench.metrics import score
from tgvc_bench.records import read_record, shorten, write_record
from tgvc_bench.verdict import PRINTED, SIX
from tgvc_bench.vmaf import score_vmaf

FORMAT = "tgvc-quality 1"
BASELINES = Path(__file__).parents[1] / "results" / "baselines"
_PACKAGES = ("av", "numpy", "numba", "opencv-python-headless")
_OF_THE_MACHINE = ("second", "time", "speed", "elapsed", "path", "thread")  # left out of reports


@dataclasses.dataclass(frozen=True)
class Options:
    """How tgvc is asked to encode.

    ``frames``: only the first so many; ``effort``: None = the encoder's default; ``extra``: more arguments of encode.
    """

    frames: int = 64
    effort: int | None = None
    profile: str = "auto"
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of ``tgvc.encode``; what is at its default is not passed."""
        chosen: dict[str, Any] = {"frames": self.frames, **self.extra}
        if self.effort is not None:
            chosen["effort"] = self.effort
        if self.profile != "auto":
            chosen["profile"] = self.profile
        return chosen


def run_tgvc(clip: Path, bpp: float, options: Options) -> tuple[int, list[Picture], dict[str, Any]]:
    """Encode a clip to a file and decode the file: bytes of the file, pictures, facts of the encoder's report."""
    import tgvc

    with tempfile.TemporaryDirectory() as folder:
        stream = Path(folder) / "clip.tgvc"
        report = tgvc.encode(clip, stream, bpp=bpp, threads=1, **options.arguments())
        pictures = [frame.picture for frame in tgvc.decode_frames(stream)]
        return stream.stat().st_size, pictures, _facts(report)


def _facts(report: object) -> dict[str, Any]:
    """What of a report is plain data and does not depend on the machine."""
    if dataclasses.is_dataclass(report) and not isinstance(report, type):
        report = dataclasses.asdict(report)
    facts = _strip(report)
    return facts if isinstance(facts, dict) else {}


def _strip(value: object) -> Any:
    """Plain data without the keys that depend on the machine; None for everything that JSON cannot hold."""
    if isinstance(value, Mapping):
        kept = {str(k): _strip(v) for k, v in value.items() if not any(w in str(k).lower() for w in _OF_THE_MACHINE)}
        return {k: v for k, v in kept.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_strip(v) for v in value]
    if isinstance(value, float):
        return shorten(value) if math.isfinite(value) else None
    return value if isinstance(value, str | bool | int) else None


def hash_code() -> str:
    """SHA-256 of the sources of tgvc and tgvc_kernels: a result is only worth keeping for the code that made it."""
    digest = hashlib.sha256()
    for package in ("tgvc", "tgvc_kernels"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ConfigError(f"quality: package {package} is not installed")
        root = Path(spec.origin).parent
        for source in sorted(root.rglob("*.py")):
            digest.update(str(source.relative_to(root)).encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def measure(path: Path, rate: float, options: Options) -> dict[str, Any]:
    """One entry: a clip at a rate. An encoder that refuses gives an entry with its ``error`` and no scores."""
    clip = read_clip(path, options.frames)
    entry: dict[str, Any] = {"clip": path.stem, "sha256": clip.sha256, "rate": rate}
    try:
        size, pictures, report = run_tgvc(path, rate, options)
    except TgvcError as error:
        return {**entry, "error": f"{type(error).__name__}: {error}"}
    scores = {**score(clip.pictures, pictures), **score_vmaf(clip.pictures, pictures)}
    return {
        **entry,
        "bytes": size,
        "bpp": shorten(clip.bpp(size)),
        "scores": {k: shorten(v) for k, v in scores.items()},
        "report": report,
    }


def find_baselines(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The finished sweeps of an entry's clip: codec -> version and points.

    Raises:
        ConfigError: No sweep of this clip's frames in the folder.
    """
    record = read_record(folder / f"{entry['clip']}.json")
    if record is None or record.get("sha256") != entry["sha256"]:
        raise ConfigError(
            f"{folder}: no baselines of {entry['clip']} with these frames; run tgvc-bench baselines -o {folder} first"
        )
    return {name: codec for name, codec in record["codecs"].items() if codec["done"]}


def add_comparisons(entries: Sequence[dict[str, Any]], folder: Path) -> None:
    """Give every scored entry ``against``: codec -> metric -> comparison, and the codecs' versions."""
    for entry in entries:
        if "scores" not in entry:
            continue
        found = find_baselines(folder, entry)
        entry["against"] = {}
        for name, codec in found.items():
            compared = compare(entry, codec["points"], [*SIX, *PRINTED])
            for values in compared.values():
                values.update({k: shorten(v) for k, v in values.items() if isinstance(v, float)})
            entry["against"][name] = compared
        entry["baseline_versions"] = {name: codec["version"] for name, codec in found.items()}


def run_quality(
    clips: Sequence[Path],
    rates: Sequence[float],
    options: Options,
    output: Path,
    folder: Path = BASELINES,
    jobs: int = 1,
) -> Iterator[dict[str, Any]]:
    """Measure every clip at every rate; yields entries as they come and writes the file after each.

    Raises:
        ConfigError: The file holds results of other options, or a baseline is missing.
    """
    code = hash_code()
    record = read_record(output) or {}
    asked = dataclasses.asdict(options)
    if record and (record.get("format") != FORMAT or record.get("options") != asked):
        raise ConfigError(f"{output}: holds results of other options ({record.get('options')}); use another file")
    order = [(path.stem, rate) for rate in rates for path in clips]
    if len(set(order)) != len(order):
        raise ConfigError("quality: a clip name or a rate was given twice")
    known = {(e["clip"], e["rate"]): e for e in record.get("entries", []) if e.get("code") == code and "scores" in e}
    entries: dict[tuple[str, float], dict[str, Any]] = {}
    todo: list[tuple[Path, float]] = []
    for rate in rates:
        for path in clips:
            sha256 = read_clip(path, options.frames).sha256
            find_baselines(folder, {"clip": path.stem, "sha256": sha256})
            old = known.get((path.stem, rate))
            if old and old["sha256"] == sha256:
                entries[path.stem, rate] = old
            else:
                todo.append((path, rate))

    def save() -> None:
        ordered = [entries[key] for key in order if key in entries]
        add_comparisons(ordered, folder)
        write_record(
            output,
            {
                "format": FORMAT,
                "command": _describe(clips, rates, options),
                "options": asked,
                "versions": _versions(),
                "rates": list(rates),
                "entries": ordered,
            },
        )

    save()
    for entry in _measure_all(todo, options, jobs):
        entry["code"] = code
        entries[entry["clip"], entry["rate"]] = entry
        save()
        yield entry


def _measure_all(todo: Sequence[tuple[Path, float]], options: Options, jobs: int) -> Iterator[dict[str, Any]]:
    """Entries as they are finished; with one job in this process, else one process per entry at a time."""
    if jobs == 1:
        yield from (measure(path, rate, options) for path, rate in todo)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(measure, path, rate, options) for path, rate in todo]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _describe(clips: Sequence[Path], rates: Sequence[float], options: Options) -> str:
    """The command that makes the file again, clips by name only."""
    words = ["tgvc-bench quality", *(p.name for p in clips), *(f"--bpp {r:g}" for r in rates)]
    words += [f"--frames {options.frames}", f"--profile {options.profile}"]
    words += [] if options.effort is None else [f"--effort {options.effort}"]
    return " ".join([*words, *(f"--set {k}={v}" for k, v in options.extra.items())])


def _versions() -> dict[str, str]:
    found = {"ffmpeg": ffmpeg_version()}
    for package in ("tgvc", *_PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found
