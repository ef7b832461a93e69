"""A folder of files: which of them are still to be done, and what came of each."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, overload

from tgvc.batch.manifest import (
    BEGUN,
    DONE,
    FAILED,
    FORMAT,
    KEPT,
    MANIFEST,
    Entry,
    hash_file,
    holds,
    read_manifest,
    write_manifest,
)
from tgvc.batch.places import Failure, Place, describe_error
from tgvc.batch.runs import run_all
from tgvc.batch.work import Decoding, Encoding, FileItem, FileResult
from tgvc.errors import ConfigError, VideoError
from tgvc.output import open_output

VIDEOS = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm", ".wmv", ".y4m")
STREAMS = (".tgvc",)

OnFile: TypeAlias = Callable[[Entry], None]


@dataclass
class BatchReport:
    """What came of every file.

    ``entries``, by the names of the sources, each with ``source``, ``state`` (done; kept from an earlier run; failed)
    and either the facts of the result or ``error``.
    """

    command: str
    settings: dict[str, Any]
    entries: list[Entry] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, state: str) -> int:
        """Files of a state."""
        return sum(e["state"] == state for e in self.entries)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        counts = {state: self.count(state) for state in (DONE, KEPT, FAILED)}
        return {"format": FORMAT, **dataclasses.asdict(self), "counts": counts}


def run_batch(
    work: Encoding | Decoding,
    folder: Path,
    output: Path,
    place: Place | None = None,
    *,
    again: bool = False,
    overwrite: bool = False,
    on_start: Callable[[int], None] | None = None,
    on_file: OnFile | None = None,
) -> BatchReport:
    """Encode or decode all files below a folder into another, with the same folders below it.

    A file is kept as it is if the manifest says that it was made of the same bytes, with the same settings, by the same
    version, and if it still has the bytes that were written then.

    Args:
        work: what is done with each file.
        folder: with the sources.
        output: folder for the results and the manifest; made if it is not there.
        place: where it runs; this process if None.
        again: keep nothing.
        overwrite: replace files that no batch has written.
        on_start: told how many files there are.
        on_file: told of every entry, in the order in which they are done.

    Raises:
        ConfigError: no file in the folder, or two that would have one name.
        VideoError: the output cannot be written.
    """
    began, place = time.perf_counter(), place or Place()
    sources = find_sources(folder, STREAMS if isinstance(work, Decoding) else VIDEOS, output)
    targets = name_targets(sources, folder, output, work)
    report = BatchReport("decode" if isinstance(work, Decoding) else "encode", describe_settings(work))
    known = read_manifest(output / MANIFEST)
    entries: dict[str, Entry] = {}
    todo: list[FileItem] = []
    if on_start:
        on_start(len(sources))
    for source, target in zip(sources, targets, strict=True):
        name = source.relative_to(folder).as_posix()
        entry = entries[name] = _begin(name, source, target, report.settings, known.get(name), again, overwrite)
        if entry["state"] == BEGUN:
            todo.append(FileItem(name, source, target.suffix, target))
        elif on_file:
            on_file(entry)
    _make_folders(targets)
    write_manifest(output / MANIFEST, report.command, entries.values())
    items: Sequence[FileItem] = todo if place.ray is None else _Carried(todo)
    for number, result in run_all(work, items, place):
        item = todo[number]
        entry = entries[item.name] = _finish(entries[item.name], item, result, output)
        write_manifest(output / MANIFEST, report.command, entries.values())
        if on_file:
            on_file(entry)
    report.entries = list(entries.values())
    report.seconds = time.perf_counter() - began
    return report


def find_sources(folder: Path, suffixes: tuple[str, ...], output: Path) -> list[Path]:
    """All files below a folder with one of the suffixes, by name; what lies in an output folder below it is no source.

    Raises:
        ConfigError: there is none.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder")
    inside, whole = output.resolve(), folder.resolve()
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not path.name.startswith(".")
        and (inside == whole or inside not in path.resolve().parents)
    ]
    if not found:
        raise ConfigError(f"{folder}: no file ends in {', '.join(suffixes)}")
    return found


def name_targets(sources: Sequence[Path], folder: Path, output: Path, work: Encoding | Decoding) -> list[Path]:
    """The file to write for every source: a.mp4 becomes a.tgvc, a.tgvc becomes a.tgvc.mp4, never the video it was.

    Raises:
        ConfigError: two sources would be one file.
    """
    targets: dict[Path, Path] = {}
    for source in sources:
        place = output / source.relative_to(folder)
        target = place.with_name((place.name if isinstance(work, Decoding) else place.stem) + work.suffix)
        if target in targets:
            raise ConfigError(f"{targets[target]} and {source} would both be {target}: rename one of them")
        targets[target] = source
    return list(targets)


def describe_settings(work: Encoding | Decoding) -> dict[str, Any]:
    """Everything that decides a result besides the source; what is at its default is left out."""
    from tgvc import __version__

    specs = dataclasses.fields(work.config)
    chosen = {s.name: getattr(work.config, s.name) for s in specs if getattr(work.config, s.name) != s.default}
    # as JSON gives it back, so that a manifest that was read compares with settings that were not
    chosen = json.loads(json.dumps(chosen, default=str))
    return {"version": __version__, "suffix": work.suffix, **chosen}


class _Carried(Sequence[FileItem]):
    """Items that carry the bytes of their source, read when one is asked for; those of the result come back."""

    def __init__(self, items: Sequence[FileItem]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, number: int) -> FileItem: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[FileItem]: ...
    def __getitem__(self, number: int | slice) -> FileItem | Sequence[FileItem]:
        if isinstance(number, slice):
            return _Carried(self._items[number])
        item = self._items[number]
        assert isinstance(item.source, Path)  # made so above
        return replace(item, source=item.source.read_bytes(), target=None)

    def __iter__(self) -> Iterator[FileItem]:
        return (self[number] for number in range(len(self)))


def _begin(
    name: str,
    source: Path,
    target: Path,
    settings: dict[str, Any],
    old: Entry | None,
    again: bool,
    overwrite: bool,
) -> Entry:
    """The entry of a file before work: kept, to be done, or failed already."""
    entry: Entry = {"source": name, "settings": settings}
    try:
        entry["sha256"] = hash_file(source)
    except OSError as error:
        return {**entry, "state": FAILED, "error": f"{source}: cannot be read ({error.strerror})"}
    same = old is not None and old["state"] == DONE and all(old.get(k) == v for k, v in entry.items())
    if old is not None and same and not again and holds(target, old.get("output_sha256")):
        return {**old, "state": KEPT}
    if target.exists() and old is None and not overwrite:
        text = f"{target}: exists, and no earlier batch wrote it; give -y to replace it, or another folder with -o"
        return {**entry, "state": FAILED, "error": text}
    return {**entry, "state": BEGUN}


def _make_folders(targets: Sequence[Path]) -> None:
    for folder in dict.fromkeys(target.parent for target in targets):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VideoError(f"{folder}: cannot be made ({error.strerror})") from error


def _finish(entry: Entry, item: FileItem, result: FileResult | Failure, output: Path) -> Entry:
    """The entry with what came of its file; writes the bytes that a cluster sent back."""
    target = item.target
    assert target is not None  # every item of this machine has one
    if isinstance(result, Failure):
        return {**entry, "state": FAILED, "error": result.text}
    try:
        if result.data is not None:
            with open_output(target) as stream:
                stream.write(result.data)
        made = {"output": target.relative_to(output).as_posix(), "output_sha256": hash_file(target)}
        return {**entry, "state": DONE, **made, "output_bytes": target.stat().st_size, **result.facts}
    except (VideoError, OSError) as error:
        return {**entry, "state": FAILED, "error": describe_error(error)}
