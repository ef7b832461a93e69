"""``tgvc bench``: speed that can be believed. See docs/bench.md."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tgvc.cli.process import CommandLine

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PATH = click.Path(dir_okay=False, path_type=Path)
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def _measuring(command: _Command) -> _Command:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="The record as JSON on standard output, no table."),
        click.option("-o", "--output", type=_PATH, metavar="JSON", help="File to write the record to."),
        click.option("--seconds", default=60.0, show_default=True, help="Of one measurement, at most."),
        click.option("--runs", default=30, show_default=True, type=click.IntRange(1), help="Of one measurement."),
        click.option("--threads", default=2, show_default=True, type=click.IntRange(1, 64), help="Of the processor."),
    ):
        command = option(command)
    return command


@click.group(cls=CommandLine, context_settings=_SETTINGS)
def bench() -> None:
    """Measure speed: kernels, networks, decoding, encoding.

    Nothing is timed before it was found right. Every row names its machine, backend and precision; shares are of what
    this machine was seen to do at most in the same run.
    """


@bench.command("kernels", epilog="\b\nExample:\n  tgvc bench kernels --seconds 2 -o kernels.json")
@click.option("--size", default="512x320", show_default=True, metavar="WxH", help="Of the pictures.")
@click.option("--only", multiple=True, metavar="NAME", help="Only these kernels.")
@_measuring
def bench_kernels(
    size: str, only: tuple[str, ...], threads: int, runs: int, seconds: float, output: Path | None, as_json: bool
) -> None:
    """Every kernel on the processor against its NumPy reference: right first, then cold and warm inputs."""
    from tgvc_bench.protocol.latency import Budget
    from tgvc_bench.timed.sessions import measure_kernels

    _deliver(measure_kernels(_read_size(size), only, threads, Budget(runs, seconds), _say, _command()), output, as_json)


def _read_size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    try:
        size = int(width), int(height)
    except ValueError:
        size = 0, 0
    if not cross or min(size) < 16 or size[0] % 16 or size[1] % 16:
        raise click.BadParameter(f"got {text!r}, expected WxH in multiples of 16, such as 512x320")
    return size


def _say(line: str) -> None:
    click.echo(line, err=True)


def _command() -> str:
    """What was called, with files by their names alone."""
    return " ".join(["tgvc bench", *(Path(word).name if "/" in word else word for word in sys.argv[2:])])


def _deliver(record: dict[str, Any], output: Path | None, as_json: bool) -> None:
    from tgvc.cli.tables import print_json
    from tgvc_bench.protocol.report import format_markdown
    from tgvc_bench.protocol.schema import check_record, save_record

    check_record(record)
    if output is not None:
        save_record(output, record)
    if as_json:
        print_json(record)
    else:
        click.echo(format_markdown(record))
