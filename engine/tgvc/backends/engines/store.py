"""The engine store: plans and caches by what they were made of and for, each with a signed manifest.

An entry is a folder of files and a manifest beside it. The manifest is written last and in one step, so that an entry
is there whole or not at all. Its signature is checked before a byte of the files goes anywhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgvc.backends.engines.locking import locked, locked_if_free
from tgvc.backends.engines.signing import SigningKey
from tgvc.backends.spec import hash_file
from tgvc.errors import BackendError

FORMAT = "tgvc-engine 1"
CAPACITY = 32 << 30  # bytes that are kept at most
_MOST_TEXT = 1 << 20
_BY_OTHERS = 0o022
_log = logging.getLogger("tgvc.backends")
About = Mapping[str, Any]


def engine_folder() -> Path:
    """Where engines are kept: ``tgvc/engines`` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tgvc" / "engines"


def key_of(about: About) -> str:
    """First 32 digits of the SHA-256 of what an entry was made of and for."""
    return hashlib.sha256(_plain(about)).hexdigest()[:32]


@dataclass(frozen=True)
class Entry:
    """What is known of an entry: its key, what it was made of and for, its bytes, when it was last used (Unix time, s).

    ``fault``: why it would be refused; empty if it would not, as far as its manifest tells.
    """

    key: str
    about: About
    size: int
    used: float
    fault: str = ""


class EngineStore:
    """A folder of entries.

    Args:
        folder: `engine_folder` by default; made at the first write.
        key: that signs; the user's by default, made when it is first needed.
        capacity: bytes that are kept; what was not used for longest goes first.
    """

    def __init__(self, folder: Path | None = None, key: SigningKey | None = None, capacity: int = CAPACITY) -> None:
        self.folder, self.capacity, self._key = folder or engine_folder(), capacity, key

    @property
    def key(self) -> SigningKey:
        """That signs and checks."""
        if self._key is None:
            self._key = SigningKey()
        return self._key

    def lock(self, about: About) -> AbstractContextManager[None]:
        """Nobody else builds or writes the same entry meanwhile."""
        return locked(self._lock_file(key_of(about)), str(about.get("net", "engine")))

    def read(self, about: About) -> bytes | None:
        """The content of an entry of one file; None if there is none.

        Raises:
            BackendError: the entry is unsigned, signed by another key, or changed; or the folder is open to others.
        """
        key = key_of(about)
        if not self._manifest(key).is_file():
            return None
        for last in (False, True):  # between two looks another process may have replaced the entry
            name, told = next(iter(self._open(key)["files"].items()), ("", {"size": 0}))
            try:
                data: bytes = (self._files(key) / name).read_bytes()
                break
            except OSError as fault:
                if last:
                    raise self._refuse(key, f"{name}: {fault.strerror or fault}") from fault
        if len(data) != told["size"] or hashlib.sha256(data).hexdigest() != told["sha256"]:
            raise self._refuse(key, "its content changed after it was signed")
        os.utime(self._manifest(key))
        return data

    def write(self, about: About, data: bytes) -> Entry:
        """Keep an entry of one file, whole or not at all; entries that were not used for longest make room."""
        key = key_of(about)
        folder = self._make(self._files(key))
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.bin"
        _write_whole(folder / name, data)
        self._sign(key, about, [name])
        for path in folder.iterdir():
            if path.name != name:
                path.unlink(missing_ok=True)
        self.shrink(self.capacity, keep=key)
        return self._describe(key)

    def open_folder(self, about: About) -> Path:
        """The folder of an entry whose files a runtime writes itself; what is in it was checked. Hold its lock.

        Files without any manifest are what a process left that ended before it could sign: they are dropped.

        Raises:
            BackendError: a file is not signed, or changed.
        """
        key = key_of(about)
        folder = self._make(self._files(key))
        if not self._manifest(key).is_file():
            self.drop_unsigned(about)
        elif unsigned := self._find_unsigned(key):
            raise self._refuse(key, f"{unsigned[0].name} is not what was signed")
        return folder

    def drop_unsigned(self, about: About) -> None:
        """Remove from the folder of an entry what is not as it was signed. Hold its lock."""
        key = key_of(about)
        for path in self._find_unsigned(key):
            _log.warning("engine %s: %s is not what was signed and is dropped", key, path.name)
            _remove(path)

    def seal_folder(self, about: About) -> None:
        """Sign what a runtime has written into the folder of an entry. Hold its lock."""
        key = key_of(about)
        self._sign(key, about, sorted(path.name for path in self._files(key).iterdir()))
        self.shrink(self.capacity, keep=key)

    def entries(self) -> Iterator[Entry]:
        """All of them, those that would be refused too; what was used last comes first."""
        found = [self._describe(path.stem) for path in self.folder.glob("*.json")]
        yield from sorted(found, key=lambda entry: -entry.used)

    def shrink(self, most: int, keep: str = "") -> list[Entry]:
        """Drop what was not used for longest until no more than ``most`` bytes are left; ``keep``: a key that stays."""
        dropped, size = [], 0
        for entry in self.entries():
            size += entry.size
            if size > most and entry.key != keep and self.drop(entry.key):
                dropped.append(entry)
                size -= entry.size
        return dropped

    def drop(self, key: str) -> bool:
        """Remove an entry, unless somebody holds its lock; whether it is gone."""
        with locked_if_free(self._lock_file(key)) as free:
            if free:
                self._drop(key)
        return free

    def drop_refused(self) -> list[Entry]:
        """Remove entries that would be refused, found by reading every file, unless somebody holds their locks."""
        dropped = []
        for entry in self.entries():
            with locked_if_free(self._lock_file(entry.key)) as free:
                if free and self._is_refused(entry.key):
                    self._drop(entry.key)
                    dropped.append(entry)
        return dropped

    def drop_leftovers(self) -> int:
        """Remove folders without a manifest, parts of files, and files beside those that were signed; how many.

        Those of entries whose locks somebody holds stay: a build is in progress.
        """
        count = 0
        for path in (*self.folder.glob("*.part"), *self.folder.glob("*.d")):
            with locked_if_free(self._lock_file(path.name.partition(".")[0])) as free:
                left = self._find_leftovers(path) if free else []
                for found in left:
                    _remove(found)
                count += len(left)
        return count

    def _drop(self, key: str) -> None:
        """The manifest first, so that an entry is gone at once."""
        self._manifest(key).unlink(missing_ok=True)
        _remove(self._files(key))

    def _is_refused(self, key: str) -> bool:
        told, fault = self._parse(key)
        if fault:
            return True
        there = [path for path in map(self._files(key).joinpath, told["files"]) if path.exists()]
        gone = bool(told["files"]) and not there  # one of several may be: a runtime makes it again
        return gone or not all(_is_signed(path, told) for path in there)

    def _find_unsigned(self, key: str) -> list[Path]:
        """Files of an entry that are not as they were signed, or never were."""
        told = self._open(key) if self._manifest(key).is_file() else {"files": {}}
        return [path for path in sorted(self._files(key).iterdir()) if not _is_signed(path, told)]

    def _find_leftovers(self, path: Path) -> list[Path]:
        """What is to go of a part of a manifest or a folder of files."""
        if path.suffix == ".part" or not self._manifest(path.stem).is_file():
            return [path]
        told, fault = self._parse(path.stem)
        return [] if fault else [file for file in path.iterdir() if file.name not in told["files"]]

    def _lock_file(self, key: str) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # else made as the parent of locks, for others too
        return self.folder / "locks" / f"{key}.lock"

    def _manifest(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _files(self, key: str) -> Path:
        return self.folder / f"{key}.d"

    def _make(self, folder: Path) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _check_folder(self) -> None:
        if os.name == "posix" and self.folder.stat().st_mode & _BY_OTHERS:
            raise BackendError(f"engines {self.folder}: others may write there: chmod go-w, or give another folder")

    def _sign(self, key: str, about: About, names: list[str]) -> None:
        paths = {name: self._files(key) / name for name in names}
        files = {name: {"size": path.stat().st_size, "sha256": hash_file(path)} for name, path in paths.items()}
        told = {"format": FORMAT, "about": dict(about), "files": files}
        text = json.dumps(told | {"signature": self.key.sign(_plain(told))}, indent=1) + "\n"
        _write_whole(self._manifest(key), text.encode())

    def _open(self, key: str) -> dict[str, Any]:
        """The manifest of an entry, whose signature was found right."""
        self._check_folder()
        told, fault = self._parse(key)
        if fault:
            raise self._refuse(key, fault)
        return told

    def _parse(self, key: str) -> tuple[dict[str, Any], str]:
        try:
            with self._manifest(key).open("rb") as file:
                told = json.loads(file.read(_MOST_TEXT))
        except (OSError, ValueError) as fault:
            return {}, f"its manifest cannot be read ({' '.join(str(fault).split())})"
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            return {}, f"its manifest is not of the format {FORMAT}"
        signature = told.pop("signature", None)
        if signature is None:
            return told, "it is not signed"
        if not self.key.signed(_plain(told), signature):
            return told, f"it is not signed with {self.key.path}: it comes from elsewhere, or was changed"
        if key_of(told["about"]) != key:
            return told, "it is the entry of another key"
        return told, ""

    def _refuse(self, key: str, why: str) -> BackendError:
        return BackendError(f"engine {self._manifest(key)}: refused: {why}; `tgvc engines clean` removes it")

    def _describe(self, key: str) -> Entry:
        told, fault = self._parse(key)
        about = told.get("about") if isinstance(told.get("about"), dict) else {}
        try:
            size = sum(path.stat().st_size for path in self._files(key).iterdir())
        except OSError:  # somebody writes or removes it just now
            size = 0
        try:
            used = self._manifest(key).stat().st_mtime
        except OSError:
            used = 0.0
        return Entry(key, about or {}, size, used, fault)


def _plain(value: About) -> bytes:
    """One text for one value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _is_signed(path: Path, told: Mapping[str, Any]) -> bool:
    """Whether a file can be read and is what a manifest tells of it."""
    try:
        return path.name in told["files"] and hash_file(path) == told["files"][path.name]["sha256"]
    except OSError:
        return False


def _remove(path: Path) -> None:
    """Whatever it is; it may be gone."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _write_whole(path: Path, content: bytes) -> None:
    """Beside, under a name that tells whose it is, then renamed."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
