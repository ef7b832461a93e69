"""What earlier runs of an evaluation have left in its folder, found by the hash of everything that decides it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.errors import ConfigError
from tgvc.types import FloatArray
from tgvc_bench.evaluation.parts import Target
from tgvc_bench.records import read_record, write_record


class ResultCache:
    """Entries, streams, sweeps and features below ``folder/cache``; videos and trajectories below ``folder`` itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cache = folder / "cache"

    def find_entry(self, key: str, target: Target) -> dict[str, Any] | None:
        """An entry, if it is known and the files that it is to leave are still those that belong to it."""
        record = self.read(self._cache / "entries" / f"{key}.json")
        if record is None:
            return None
        files = record["files"]
        wanted = [target.preview] if target.preview else []
        wanted += [target.tracks] if target.tracks and files.get("tracks") else []
        kept = {"preview": target.preview, "tracks": target.tracks}
        fits = all(self._hash(name) == files.get(role) for role, name in kept.items() if name in wanted)
        return dict(record["entry"]) if fits else None

    def keep_entry(self, key: str, entry: dict[str, Any], target: Target) -> None:
        """Remember an entry without error and the hashes of its files."""
        files = {role: self._hash(name) for role, name in (("preview", target.preview), ("tracks", target.tracks))}
        write_record(self._cache / "entries" / f"{key}.json", {"entry": entry, "files": files})

    def find_stream(self, key: str) -> tuple[bytes, float] | None:
        """The bytes of a stream and the seconds that encoding took."""
        path = self._cache / "streams" / f"{key}.tgvc"
        facts = self.read(path.with_suffix(".json"))
        return None if facts is None or not path.exists() else (path.read_bytes(), float(facts["encode_seconds"]))

    def keep_stream(self, key: str, stream: bytes, seconds: float) -> None:
        """Remember a stream."""
        self.write_file(f"cache/streams/{key}.tgvc", stream)
        write_record(self._cache / "streams" / f"{key}.json", {"encode_seconds": seconds})

    def sweep_place(self, name: str) -> Path:
        """The file of a sweep."""
        return self._cache / "sweeps" / f"{name}.json"

    def find_features(self, key: str) -> FloatArray | None:
        """Features float32 (N, D) of all frames of an entry or a source."""
        path = self._cache / "features" / f"{key}.npy"
        return np.asarray(np.load(path, allow_pickle=False), np.float32) if path.exists() else None

    def keep_features(self, key: str, features: FloatArray) -> None:
        """Remember features."""
        path = self._cache / "features" / f"{key}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, features, allow_pickle=False)

    def write_file(self, name: str, data: bytes) -> None:
        """A file below the folder, whole or not at all.

        Raises:
            ConfigError: it cannot be written.
        """
        path = self.folder / name
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            os.replace(part, path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error

    def read(self, path: Path) -> dict[str, Any] | None:
        """A record below the folder; one that is damaged counts as not there."""
        try:
            return read_record(path)
        except (ConfigError, json.JSONDecodeError):
            return None

    def _hash(self, name: str) -> str | None:
        path = self.folder / name
        return hashlib.sha256(path.read_bytes()).hexdigest() if name and path.is_file() else None
