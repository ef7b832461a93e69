"""Result files: JSON, written whole or not at all, with numbers short enough to read."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from tgvc.errors import ConfigError


def read_record(path: Path) -> dict[str, Any] | None:
    """The JSON object of a file, or None where there is no such file.

    Raises:
        ConfigError: The file is no JSON object.
    """
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{path}: is no JSON ({error}), expected a record that tgvc wrote") from error
    if not isinstance(record, dict):
        raise ConfigError(f"{path}: expected a JSON object, got {type(record).__name__}")
    return record


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON object so that a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    os.replace(part, path)


def shorten(value: float, digits: int = 6) -> float:
    """A number rounded to significant digits."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))
