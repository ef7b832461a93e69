"""Processes of their own: the same Python, the same modules, and one line of what they said if they fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables of a child that finds the modules that this process finds, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **(more or {})}


def last_line(text: str) -> str:
    """What a failed process said last."""
    return (text.strip().splitlines() or ["no message"])[-1]
