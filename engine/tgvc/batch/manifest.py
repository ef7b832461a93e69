"""The manifest of a batch: a JSON file beside the results that says of which bytes, and how, each of them was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from tgvc.errors import ConfigError
from tgvc.output import open_output

FORMAT = "tgvc-batch 1"
MANIFEST = "tgvc-batch.json"
BEGUN, DONE, KEPT, FAILED = "begun", "done", "kept", "failed"  # states of a file

Entry: TypeAlias = dict[str, Any]


def read_manifest(path: Path) -> dict[str, Entry]:
    """Entries by source; none where there is no manifest.

    Raises:
        ConfigError: the file is something else.
    """
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text())
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']!r}, expected {FORMAT!r}")
        return {entry["source"]: entry for entry in record["entries"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no manifest of a batch ({error}); delete it to begin anew") from error


def write_manifest(path: Path, command: str, entries: Iterable[Entry]) -> None:
    """Write the entries, by source; those that an earlier run made count as done."""
    ordered = sorted(entries, key=lambda e: str(e["source"]))
    found = [{**e, "state": DONE} if e["state"] == KEPT else e for e in ordered]
    record = {"format": FORMAT, "command": command, "entries": found}
    with open_output(path) as stream:
        stream.write((json.dumps(record, indent=1, allow_nan=False) + "\n").encode())


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def holds(path: Path, sha256: object) -> bool:
    """Whether a file is there and has these bytes."""
    try:
        return path.is_file() and hash_file(path) == sha256
    except OSError:
        return False
