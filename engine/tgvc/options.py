"""Fields of configurations that carry their help and their limits, and what is made of both."""

from __future__ import annotations

import math
from dataclasses import Field, field, fields
from textwrap import fill
from typing import Any, NoReturn, TypeVar

from tgvc.errors import ConfigError

_WIDEST_LIMIT = 4096  # a limit beyond this is a guard against nonsense, not something to read in a help text
_Kind = TypeVar("_Kind")


def option(default: Any, help_text: str, **limits: Any) -> Any:
    """A dataclass field that carries its own help text and limits (``minimum``, ``maximum``, ``choices``)."""
    return field(default=default, metadata={"help": help_text, **limits})


def describe_field(spec: Field[Any]) -> str:
    """The help text of a field, with its limits where they tell something."""
    text, limit = str(spec.metadata["help"]), spec.metadata.get("maximum")
    if limit is None or limit > _WIDEST_LIMIT or f"{limit:g}" in text:
        return text
    return f"{text} ({spec.metadata['minimum']:g} to {limit:g})"


def documented(kind: type[_Kind]) -> type[_Kind]:
    """A dataclass whose docstring lists its fields, with the help texts that the command line shows too."""
    lines = []
    for spec in fields(kind):  # type: ignore[arg-type]
        choices = ", ".join(spec.metadata.get("choices", ()))
        text = f"{spec.name}{f' ({choices})' if choices else ''}: {describe_field(spec)}"
        if spec.default is not None:
            text += f"; default: {spec.default}"
        lines.append(fill(f"{text}.", 110, initial_indent=" " * 4, subsequent_indent=" " * 8))
    kind.__doc__ = f"{kind.__doc__}\n\nAttributes:\n" + "\n".join(lines)
    return kind


def refuse(name: str, value: object, rule: str) -> NoReturn:
    """Raise ConfigError: what it is, what was given, what is expected."""
    raise ConfigError(f"{name}={value!r}: expected {rule}")


def check_limits(config: Any) -> None:
    """Check every field against the limits in its metadata, and whole numbers for being whole."""
    for name, spec in config.__dataclass_fields__.items():
        value, meta = getattr(config, name), spec.metadata
        if value is None and spec.default is None:
            continue
        if "choices" in meta and value not in meta["choices"]:
            refuse(name, value, "one of " + ", ".join(map(str, meta["choices"])))
        if "minimum" in meta:
            low, high = meta["minimum"], meta["maximum"]
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                refuse(name, value, f"a number in {low}..{high}")
            if not low <= value <= high:
                refuse(name, value, f"{low}..{high}")
            if spec.type in ("int", "int | None") and value != int(value):
                refuse(name, value, "a whole number")
