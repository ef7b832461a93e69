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
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
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


def _settings(function: str, example: str) -> Callable[[_Command], _Command]:
    text = f"KEY=VALUE, an argument of {function}, such as {example}; may be given several times."
    return click.option("--set", "settings", multiple=True, callback=_parse_settings, metavar="KEY=VALUE", help=text)


def _parse_settings(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> list[tuple[str, Any]]:
    from tgvc_bench.cli import parse_setting

    return [parse_setting(text) for text in given]


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


@bench.command(
    "decode",
    epilog="\b\nExamples:\n  tgvc bench decode clip.tgvc --seconds 20\n"
    "  tgvc bench decode clip.tgvc --set generator=latent --set backend=torch --json\n"
    "  tgvc bench decode talk.tgvc --set bundle=human/ --against torch",
)
@click.argument("stream", metavar="FILE", type=_FILE)
@_settings("tgvc.decode", "generator=latent")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1, 64), help="Streams at once, offline.")
@click.option("--starts", default=3, show_default=True, type=click.IntRange(0), help="Cold ones, in fresh processes.")
@click.option("--checked", default=16, show_default=True, type=click.IntRange(1), help="Frames decoded slowly, first.")
@click.option("--tolerance", type=float, metavar="LEVELS", help="Of these frames, grey levels; default: 1.")
@click.option("--against", metavar="BACKEND", help="Run the same networks on this one too, in turn, such as torch.")
@_measuring
def bench_decode(
    stream: Path,
    settings: tuple[tuple[str, Any], ...],
    jobs: int,
    starts: int,
    checked: int,
    tolerance: float | None,
    against: str | None,
    threads: int,
    runs: int,
    seconds: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Decoding of a .tgvc file: one stream at a time, several at once, and from a cold start."""
    from tgvc_bench.protocol.latency import Budget
    from tgvc_bench.timed.decode import DecodeOptions
    from tgvc_bench.timed.sessions import measure_decoding

    options = DecodeOptions(Budget(runs, seconds), jobs, starts, checked, tolerance, against)
    record = measure_decoding(stream, {"threads": threads, **dict(settings)}, options, _say, _command())
    _deliver(record, output, as_json)


@bench.command("encode", epilog="\b\nExample:\n  tgvc bench encode clip.mp4 --set effort=1 --set frames=64")
@click.argument("clip", metavar="VIDEO", type=_FILE)
@_settings("tgvc.encode", "effort=1")
@_measuring
def bench_encode(
    clip: Path,
    settings: tuple[tuple[str, Any], ...],
    threads: int,
    runs: int,
    seconds: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Encoding of a video: what was written is decoded and compared first."""
    from tgvc_bench.protocol.latency import Budget
    from tgvc_bench.timed.sessions import measure_encoding

    _deliver(measure_encoding(clip, dict(settings), threads, Budget(runs, seconds), _say, _command()), output, as_json)


@bench.command("cost", epilog="\b\nExamples:\n  tgvc bench cost\n  tgvc bench cost --size 1024x576 --json")
@click.argument("bundle", metavar="[BUNDLE]", default="nano")
@click.option("--size", default="512x320", show_default=True, metavar="WxH", help="Of the pictures.")
@click.option("--frames", type=click.IntRange(1), help="Of a segment; default: as the bundle is used.")
@click.option("--points", default=600, show_default=True, type=click.IntRange(1), help="That a tracker follows.")
@click.option("--flops", type=float, metavar="TFLOP/S", help="Ceiling of the machine; default: measured here.")
@click.option("--bandwidth", type=float, metavar="GB/S", help="Ceiling of its memory; default: measured here.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1, 64), help="Of the ceilings.")
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
def bench_cost(
    bundle: str,
    size: str,
    frames: int | None,
    points: int,
    flops: float | None,
    bandwidth: float | None,
    threads: int,
    as_json: bool,
) -> None:
    """What the networks of a bundle cost: FLOP, parameters, bytes, and the time below which no machine comes.

    BUNDLE is an embedded bundle's name, or a folder. Counted from the graphs; nothing is run but two ceilings.
    """
    from tgvc.cli.tables import print_json
    from tgvc_bench.protocol.ceilings import Ceilings, measure_host
    from tgvc_bench.timed.bundle_cost import describe_bundle, format_costs

    if flops and bandwidth:
        ceilings = Ceilings(flops * 1e12, bandwidth * 1e9, "given", "given on the command line")
    else:
        ceilings = measure_host(threads)
    found = describe_bundle(bundle, _read_size(size), frames, points, ceilings)
    if as_json:
        print_json(found)
    else:
        click.echo(format_costs(found))


@bench.command(
    "gpu",
    epilog="\b\nExamples:\n  tgvc bench gpu -o results            again and again until nothing is left\n"
    "  tgvc bench gpu -o results --list     what is done, what is not, and why\n"
    "  tgvc bench gpu -o dry --dry-run      the same with small networks on the processor",
)
@click.option("-o", "--output", type=_FOLDER, default=Path("bench/results"), show_default=True, metavar="FOLDER")
@click.option("--limit", default=570.0, show_default=True, metavar="S", help="Seconds for this call.")
@click.option("--only", multiple=True, metavar="NAME", help="Only these slices.")
@click.option("--dry-run", is_flag=True, help="Small networks on the processor: does everything run?")
@click.option("--list", "listed", is_flag=True, help="Run nothing; say which slices are done.")
@click.option("--table", type=_PATH, metavar="PAGE", help="Run nothing; write the table of goals into a page.")
def bench_gpu(
    output: Path, limit: float, only: tuple[str, ...], dry_run: bool, listed: bool, table: Path | None
) -> None:
    """The goals on one large GPU, in slices: kernels, networks of full size, segments, the nano bundle.

    Needs no network. Each call runs what has not been run, within its limit; what is finished is written at once to
    gpu_*.json and never run again. Missing packages are named, and what needs them is left out.
    """
    from tgvc.errors import ConfigError
    from tgvc_bench.gpu.goals import write_table
    from tgvc_bench.gpu.run import describe_state, run_slices

    state = describe_state(output, dry=dry_run)
    if table is not None:
        write_table(output, table)
    elif listed:
        for name, text in state.items():
            click.echo(f"{name:<28} {text}")
    else:
        if unknown := [name for name in only if name not in state]:
            raise ConfigError(f"slice {unknown[0]!r}: expected some of {', '.join(state)}")
        for line in run_slices(output, _command(), dry=dry_run, limit_s=limit, only=only):
            click.echo(line)


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
    words = sys.argv[2:] if "bench" in sys.argv[1:2] else ["gpu", *sys.argv[1:]]
    return " ".join(["tgvc bench", *(Path(word).name if "/" in word else word for word in words)])


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
