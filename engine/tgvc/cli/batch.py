"""The commands ``tgvc batch``: what `encode`, `decode` and `eval` do with one file, for folders of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tgvc.cli.options import build_config, config_options
from tgvc.cli.process import FAILED, resumable
from tgvc.config import DecoderConfig, EncoderConfig

if TYPE_CHECKING:  # --help needs neither encoder nor decoder
    from tgvc.batch import BatchReport, Decoding, Encoding

_Command = TypeVar("_Command", bound=Callable[..., Any])
_SUFFIXES = ("mp4", "webm", "mkv", "mov", "gif", "y4m")


def place_options(command: _Command) -> _Command:
    """The options that say where work runs: ``--jobs``, ``--ray``, ``--gpus``."""
    command = click.option(
        "--gpus", type=float, default=0.0, metavar="N", help="GPUs of every actor, with --ray; parts such as 0.5 too."
    )(command)
    command = click.option(
        "--ray",
        metavar="ADDRESS",
        help="Run on a Ray cluster: auto, ray://HOST:10001, or local for one that is started here.",
    )(command)
    return click.option(
        "--jobs",
        type=click.IntRange(1),
        metavar="N",
        help="Files worked on at once, in processes of their own; default: 1, on a cluster its processors.",
    )(command)


def _folder_options(command: _Command) -> _Command:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Report as JSON on standard output."),
        click.option("-q", "--quiet", is_flag=True, help="No progress bar and no report."),
        click.option("-y", "--overwrite", is_flag=True, help="Replace files that no batch has written."),
        click.option("--again", is_flag=True, help="Do everything again, whatever is done already."),
        place_options,
        click.option(
            "-o",
            "--output",
            required=True,
            type=click.Path(file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="Where the results go.",
        ),
        click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path)),
    ):
        command = option(command)
    return command


@click.group(
    epilog="\b\nExamples:\n  tgvc batch encode clips/ -o streams/ --jobs 4\n"
    "  tgvc batch decode streams/ -o videos/\n  tgvc batch eval clips/ -o eval/"
)
def batch() -> None:
    """Encode, decode or evaluate all files of a folder.

    An interrupted run goes on where it was: what is done, by the bytes of the source and the settings, is not done
    again. A file that fails does not stop the others; the exit code is 1 then. Neither the number of processes nor a
    cluster changes a byte of any result.
    """


@batch.command(
    epilog="\b\nExamples:\n  tgvc batch encode clips/ -o streams/ --jobs 4\n"
    "  tgvc batch encode clips/ -o streams/ --bpp 0.003 --ray auto"
)
@_folder_options
@config_options(EncoderConfig)
@click.option(
    "--threads", type=click.IntRange(1, 64), default=1, show_default=True, metavar="N", help="Candidates at once."
)
def encode(folder: Path, output: Path, threads: int, **options: Any) -> None:
    """Encode all videos below FOLDER, each to a .tgvc file of its name."""
    from tgvc.batch import Encoding

    _run(Encoding(build_config(EncoderConfig, options), threads), folder, output, options)


@batch.command(
    epilog="\b\nExamples:\n  tgvc batch decode streams/ -o videos/ --jobs 4\n"
    "  tgvc batch decode streams/ -o videos/ --generator latent --ray auto --gpus 1"
)
@_folder_options
@config_options(DecoderConfig)
@click.option("--to", "suffix", type=click.Choice(_SUFFIXES), default="mp4", show_default=True, help="Kind of video.")
def decode(folder: Path, output: Path, suffix: str, **options: Any) -> None:
    """Decode all .tgvc files below FOLDER, each to a video of its name: clip.tgvc to clip.tgvc.mp4."""
    from tgvc.batch import Decoding

    _run(Decoding(build_config(DecoderConfig, options), f".{suffix}"), folder, output, options)


def _run(work: Encoding | Decoding, folder: Path, output: Path, options: Mapping[str, Any]) -> None:
    from tgvc.batch import Place, run_batch
    from tgvc.cli.tables import print_json

    place = Place(options["jobs"], options["ray"], options["gpus"])
    quiet = options["quiet"]
    with resumable(), file_progress(quiet=quiet or options["as_json"]) as (on_start, on_file):
        report = run_batch(
            work,
            folder,
            output,
            place,
            again=options["again"],
            overwrite=options["overwrite"],
            on_start=on_start,
            on_file=on_file,
        )
    if options["as_json"]:
        print_json(report.as_dict())
    elif not quiet:
        print_summary(report)
    if report.count("failed"):
        click.get_current_context().exit(FAILED)


def print_summary(report: BatchReport) -> None:
    """Print one row per file and a line of sums."""
    width = max(len(e["source"]) for e in report.entries)
    for entry in report.entries:
        click.echo(f"{entry['state']:<6} {entry['source']:<{width}}  {_describe(entry)}")
    counts = ", ".join(f"{report.count(state)} {state}" for state in ("done", "kept", "failed"))
    size = sum(e.get("output_bytes", 0) for e in report.entries)
    click.echo(f"{len(report.entries)} files: {counts}; {size:,} bytes, {report.seconds:.1f} s")


def _describe(entry: Mapping[str, Any]) -> str:
    if "error" in entry:
        return str(entry["error"])
    rate = f", {entry['bpp']:.5f} bits per pixel, PSNR {entry['psnr_y']:.2f} dB" if "bpp" in entry else ""
    return f"{entry['output_bytes']:,} bytes, {entry['frames']:,} frames{rate}"


@contextmanager
def file_progress(
    *, quiet: bool
) -> Iterator[tuple[Callable[[int], None] | None, Callable[[Mapping[str, Any]], None] | None]]:
    """A bar on stderr that counts files, and above it a line for every file that failed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None, None
        return
    columns = TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("files", total=None)

        def start(count: int) -> None:
            progress.update(task, total=count)

        def advance(entry: Mapping[str, Any]) -> None:
            if "error" in entry:
                progress.console.print(f"{entry['source']}: {entry['error']}", markup=False, highlight=False)
            progress.update(task, advance=1, description=str(entry["source"]))

        yield start, advance
