"""Names under which outputs are written until they are whole."""

from __future__ import annotations

import secrets
from pathlib import Path


def pending_path(target: Path) -> Path:
    """A hidden new name beside ``target``, on the same file system, so that a rename puts it into place at once."""
    return target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
