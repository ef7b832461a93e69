"""Command line options made from the fields of a configuration, so that help, limits and defaults have one source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import click

from tgvc.errors import ConfigError
from tgvc.options import describe_field

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Config = TypeVar("_Config")


def parse_size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Width and height of a text such as 512x320; which sizes are allowed is the configuration's business."""
    if value is None:
        return None
    parts = value.lower().split("x")
    if len(parts) != 2 or not all(p.isascii() and p.isdecimal() and len(p) < 9 for p in parts):
        raise click.BadParameter(f"{value!r}: expected WIDTHxHEIGHT, such as 512x320", ctx, param)
    return int(parts[0]), int(parts[1])


def config_options(kind: type) -> Callable[[_Command], _Command]:
    """A decorator that gives a command one option per field of a configuration dataclass."""
    hints = get_type_hints(kind)

    def decorate(command: _Command) -> _Command:
        for spec in reversed(dataclasses.fields(kind)):
            command = _option(spec, hints[spec.name])(command)
        return command

    return decorate


def build_config(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """The configuration that the options ask for.

    Raises:
        click.UsageError: the configuration refuses them.
    """
    names = {spec.name for spec in dataclasses.fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{name: value for name, value in values.items() if name in names})
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _option(spec: dataclasses.Field[Any], hint: Any) -> Callable[[_Command], _Command]:
    flag = "--" + spec.name.replace("_", "-")
    kinds = get_args(hint) or (hint,)
    text = describe_field(spec)
    text = f"{text[0].upper()}{text[1:]}."
    if bool in kinds:
        return click.option(flag, is_flag=True, default=spec.default, help=text)
    default, shown = spec.default, spec.default is not None
    if any(get_args(k) == (int, int) for k in kinds):
        return click.option(flag, callback=parse_size, default=default, metavar="WxH", help=text)
    if "choices" in spec.metadata:
        choices = click.Choice(spec.metadata["choices"])
        return click.option(flag, type=choices, default=default, show_default=shown, help=text)
    metavar = spec.metadata.get("metavar", "N")
    kind = int if int in kinds else float if float in kinds else str
    return click.option(flag, type=kind, default=default, show_default=shown, metavar=metavar, help=text)
