"""The commands; each one calls what the package offers to everybody, and prints."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import click

from tgvc import __version__
from tgvc.cli.batch import batch
from tgvc.cli.engines import engines
from tgvc.cli.options import build_config, config_options
from tgvc.cli.paths import STDIO, choose_output
from tgvc.cli.process import CommandLine, leaving
from tgvc.cli.weights import fetch, find_commands
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.errors import BitstreamError

_Command = TypeVar("_Command", bound=Callable[..., Any])
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


_OVERWRITE = click.option("-y", "--overwrite", is_flag=True, help="Replace the output if it exists.")
_QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress bar and no report.")
_JSON = click.option(
    "--json", "as_json", is_flag=True, help="Report as JSON on standard output; on stderr if that carries the result."
)


def _moments(command: _Command) -> _Command:
    command = click.option(
        "--end", type=float, metavar="S", help="Moment before which the last frame begins, seconds."
    )(command)
    return click.option("--start", type=float, metavar="S", help="First moment shown, seconds.")(command)


@click.group(
    cls=CommandLine,
    context_settings=_SETTINGS,
    epilog=_examples(
        "tgvc encode clip.mp4                 clip.tgvc at 0.005 bits per pixel",
        "tgvc decode clip.tgvc                clip.tgvc.mp4, to be watched",
        "tgvc encode --help                   what else it can do",
    ),
)
@click.version_option(__version__, "-V", "--version", message="tgvc %(version)s")
def commands() -> None:
    """A trajectory-guided video codec for rates below 0.005 bits per pixel."""


@commands.command(
    epilog=_examples(
        "tgvc encode clip.mp4",
        "tgvc encode clip.mp4 -o small.tgvc --bpp 0.003 --effort 4",
        "tgvc encode clip.mp4 --kbps 10 --size 384x240",
        "tgvc encode frames/ -o clip.tgvc",
        "ffmpeg -i clip.mkv -f yuv4mpegpipe - | tgvc encode - -o clip.tgvc",
    )
)
@click.argument("source", metavar="IN")
@click.option("-o", "--output", metavar="OUT", help="File to write, - for a pipe; default: IN's name with .tgvc, here.")
@config_options(EncoderConfig)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    metavar="N",
    help="Candidates tried at once.",
)
@_OVERWRITE
@_QUIET
@_JSON
def encode(
    source: str, output: str | None, threads: int, overwrite: bool, quiet: bool, as_json: bool, **fields: Any
) -> None:
    """Encode a video into a .tgvc file.

    IN is a video file, a folder of pictures, or - for y4m or any streamable format on standard input. Without a target,
    the file takes 0.005 bits per pixel; a target is met from below, or the report says by how much not, and why.
    """
    config = build_config(EncoderConfig, fields)
    target = choose_output(output, source, ".tgvc", overwrite=overwrite)
    from tgvc.cli.progress import frame_progress
    from tgvc.cli.tables import encode_rows, show_report
    from tgvc.encoder import Encoder

    with _telling(target), frame_progress("encoding", quiet=quiet) as on_progress:
        report = Encoder(config, threads=threads).encode(source, target, on_progress)
    show_report(report.as_dict(), encode_rows(report, target), target, as_json, quiet)


@commands.command(
    epilog=_examples(
        "tgvc decode clip.tgvc",
        "tgvc decode clip.tgvc -o back.webm --restore-size",
        "tgvc decode clip.tgvc -o frames/ --start 2 --end 4.5",
        "tgvc decode clip.tgvc -o - | ffplay -",
    )
)
@click.argument("source", metavar="FILE")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="File (.mp4 .mov .mkv .webm .gif .y4m), folder/ for PNG, - for y4m; default: FILE.mp4, here.",
)
@config_options(DecoderConfig)
@_OVERWRITE
@_QUIET
@_JSON
def decode(source: str, output: str | None, overwrite: bool, quiet: bool, as_json: bool, **fields: Any) -> None:
    """Decode a .tgvc file into a video.

    FILE may be - for standard input: frames are shown while the stream still arrives.
    """
    config = build_config(DecoderConfig, fields)
    target = choose_output(output, source, ".tgvc.mp4", overwrite=overwrite)
    from tgvc.cli.progress import frame_progress
    from tgvc.cli.tables import decode_rows, show_report
    from tgvc.decoder import Decoder

    total = None if quiet else _count_frames(source, config)
    with _telling(target), frame_progress("decoding", quiet=quiet, total=total) as on_progress:
        try:
            report = Decoder(config).decode(source, target, on_progress)
        except BitstreamError as error:
            raise type(error)(f"{error}{_describe_intact(source, target)}") from error
    show_report(report.as_dict(), decode_rows(report, target), target, as_json, quiet)


@commands.command(epilog=_examples("tgvc info clip.tgvc", "tgvc info clip.tgvc --json | jq .layers"))
@click.argument("source", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Everything known, as JSON.")
def info(source: str, as_json: bool) -> None:
    """Say what a .tgvc file holds."""
    from tgvc.api import info as describe
    from tgvc.cli.tables import info_rows, print_json, print_lines

    facts = {"file": "standard input" if source == STDIO else source, **describe(source)}
    if as_json:
        print_json(facts)
    else:
        print_lines(info_rows(facts))


@commands.command(epilog=_examples("tgvc view clip.tgvc", "tgvc view clip.tgvc -o picture.png"))
@click.argument("source", metavar="FILE")
@click.option("-o", "--output", metavar="PNG", help="Picture to write; default: FILE's name with .png, here.")
@_OVERWRITE
@_QUIET
def view(source: str, output: str | None, overwrite: bool, quiet: bool) -> None:
    """Draw a .tgvc file as one picture.

    It shows key frames with the motion that was sent, and the bits of every layer over time.
    """
    target = choose_output(output, source, ".png", overwrite=overwrite)
    from tgvc.output import open_output
    from tgvc.view import draw_view

    picture = draw_view(source)
    with open_output(target) as stream:
        picture.save(stream, format="PNG")
    _say_written(target, f"{picture.width}x{picture.height}", quiet=quiet)


@commands.command(epilog=_examples("tgvc trim clip.tgvc -o part.tgvc --start 2 --end 4.5"))
@click.argument("source", metavar="FILE")
@click.option("-o", "--output", metavar="OUT", required=True, help="File to write, - for a pipe.")
@_moments
@_OVERWRITE
@_QUIET
def trim(source: str, output: str, start: float | None, end: float | None, overwrite: bool, quiet: bool) -> None:
    """Cut a part out of a .tgvc file without coding it again.

    Whole groups outside the range are dropped. Frames outside it whose group is needed stay in the file, hidden.
    """
    target = choose_output(output, source, ".tgvc", overwrite=overwrite)
    from tgvc.api import info as describe
    from tgvc.api import trim as cut
    from tgvc.cli.tables import format_hidden, print_lines

    with _telling(target):
        size = cut(source, target, start=start, end=end)
    _say_written(target, f"{size:,} bytes", quiet=quiet)
    if not quiet and target != STDIO:
        print_lines([("hidden", format_hidden(describe(target)["groups"]))])


@commands.command(epilog=_examples("tgvc concat one.tgvc two.tgvc three.tgvc -o all.tgvc"))
@click.argument("sources", metavar="FILES...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT", required=True, help="File to write, - for a pipe.")
@_OVERWRITE
@_QUIET
def concat(sources: tuple[str, ...], output: str, overwrite: bool, quiet: bool) -> None:
    """Join .tgvc files of one size and rate without coding them again."""
    target = choose_output(output, sources[0], ".tgvc", overwrite=overwrite, others=sources[1:])
    from tgvc.api import concatenate

    with _telling(target):
        size = concatenate(sources, target)
    _say_written(target, f"{size:,} bytes", quiet=quiet)


@commands.command(epilog=_examples("tgvc doctor", "tgvc doctor --bundle interp", "tgvc doctor --json > machine.json"))
@click.option("--bundle", "bundles", metavar="FOLDER", multiple=True, help="A bundle to look at too, and its memory.")
@click.option("--json", "as_json", is_flag=True, help="Everything found, as JSON.")
def doctor(bundles: tuple[str, ...], as_json: bool) -> None:
    """Say what is installed here, what will run, and how fast."""
    from tgvc.cli.tables import print_json, print_lines
    from tgvc.doctor import doctor_rows, examine

    found = examine(bundles)
    if as_json:
        print_json(found)
    else:
        print_lines(doctor_rows(found))


commands.add_command(batch)
commands.add_command(engines)
commands.add_command(fetch)
for _name, _command in find_commands().items():
    commands.add_command(_command, _name)
if "eval" in commands.commands:
    batch.add_command(commands.commands["eval"], "eval")


def _say_written(target: str, what: str, *, quiet: bool) -> None:
    if not quiet and target != STDIO:
        click.echo(f"{'wrote':<9} {target}: {what}")


def _telling(target: str) -> AbstractContextManager[None]:
    """An interrupt inside the block says what is true of standard output, where that is the target."""
    return leaving("what standard output got is not whole") if target == STDIO else nullcontext()


def _describe_intact(source: str, target: str) -> str:
    """What a damaged file still holds and how to get it, to follow an error; empty where it has been shown or is gone.

    Args:
        source: of the stream.
        target: where frames were to go; a named one is left alone, a pipe has got what is intact.
    """
    if target == STDIO or not Path(source).is_file():
        return ""
    from tgvc.bitstream.container import Reader
    from tgvc.timing import shown_times

    frames, last, clock = 0, Fraction(0), Fraction(0)
    with Path(source).open("rb") as stream, suppress(BitstreamError):
        reader = Reader(stream)
        for group in reader:
            times = shown_times(group, clock, reader.header.fps)
            frames, last, clock = frames + len(times), times[-1], times[-1] + 1 / reader.header.fps
    if not frames:
        return ""
    end = int(last * 1000) / 1000  # a decoder that has seen this moment reads no further
    part = f", --end {end} all but the last" if end else ""
    return f"; {frames:,} frames before it are intact: -o - writes them as y4m{part}"


def _count_frames(source: str, config: DecoderConfig) -> int | None:
    """Frames that a whole file will show, for the progress bar; None where only decoding tells, damage too."""
    if not Path(source).is_file() or config.start is not None or config.end is not None:
        return None
    from tgvc.bitstream.container import Reader

    with Path(source).open("rb") as stream, suppress(BitstreamError):
        return sum(entry.frames for entry in Reader(stream).index())
    return None
