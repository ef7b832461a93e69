"""The command ``tgvc eval``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgvc.cli.batch import place_options
from tgvc.cli.options import parse_size
from tgvc.cli.process import FAILED, resumable
from tgvc.config import CROPS

if TYPE_CHECKING:  # --help needs none of it
    from tgvc_bench.evaluation.plan import Question
    from tgvc_bench.evaluation.run import OnEntry, OnStart
    from tgvc_bench.units import RateUnit

_RATES = "0.002,0.003,0.005,0.0075,0.01"
_EXAMPLES = """\b
Examples:
  tgvc eval clips/ -o eval
  tgvc eval clips/ -o eval --bpp 0.003,0.005 --system 'auto-*' --system svt-av1-p4 --jobs 4
  tgvc eval clips/ -o eval --kbps 5,10,15 --size 256x256 --crop square
  tgvc eval clips/ -o eval --system auto-warp --system fine=effort=4 --system x265-slow
  tgvc eval clips/ -o eval --metric lpips --weights alexnet=alexnet.pth:SHA --weights lpips-alex=alex.pth:SHA
  tgvc eval clips/ -o eval --readme README.md
  tgvc eval --list
"""


def _show_list(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print systems and metrics, and end."""
    if not value:
        return
    from tgvc_bench.evaluation.metrics import METRICS, WITH_WEIGHTS
    from tgvc_bench.evaluation.systems import CATALOGUE

    click.echo("systems")
    for name, system in CATALOGUE.items():
        click.echo(f"  {name:<20} {system.title}{f' ({system.note})' if system.note else ''}")
    click.echo("metrics")
    for name, metric in METRICS.items():
        needs = ", needs --weights" if name in WITH_WEIGHTS else ""
        click.echo(f"  {name:<20} {metric['title']}; {metric['better']} is better{needs}")
    ctx.exit()


@click.command(name="eval", epilog=_EXAMPLES)
@click.argument(
    "clips", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="CLIPS|FOLDER..."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where record.json, tables.md, report.html, media/ and the cache go.",
)
@click.option("--bpp", metavar="R,R", help=f"Bits per pixel of whole files.  [default: {_RATES}]")
@click.option("--kbps", metavar="R,R", help="Kilobits per second of whole files, in place of --bpp.")
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="NAME",
    help="What is compared: a name or pattern of --list, or NAME=KEY=VALUE,... with options of encode and decode; "
    "default: all profiles with warp and latent, SVT-AV1, x265, x264, VVC.",
)
@click.option("--anchor", default="svt-av1-p4", show_default=True, metavar="NAME", help="System of the BD-rates.")
@click.option("--frames", default=64, show_default=True, type=click.IntRange(2), metavar="N", help="Of each clip.")
@click.option("--size", callback=parse_size, metavar="WxH", help="Working size; default: fits 512x320, aspect kept.")
@click.option("--crop", type=click.Choice(CROPS), help="Read the middle square of the clips in place of all of them.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Also this one, of those with weights.")
@click.option("--only", multiple=True, metavar="NAME", help="Only these metrics.")
@click.option(
    "--weights",
    multiple=True,
    metavar="KIND=FILE:SHA256",
    help="A file of weights: alexnet, vgg16, lpips-alex, lpips-vgg, dists, inception, clip.",
)
@click.option(
    "--previews", default="all", show_default=True, metavar="R,R", help="Rates whose videos are kept; all or none."
)
@click.option("--sizes", metavar="F,F", help="Parts of the size for conventional encoders; default 1,3/4,1/2,1/3,1/4.")
@click.option(
    "--baselines",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Sweeps that tgvc-bench baselines has made of the same frames.",
)
@click.option("--title", default="Evaluation", show_default=True, metavar="TEXT", help="Of page and tables.")
@click.option(
    "--readme",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Put the table between the marks <!-- tgvc eval: begin --> and <!-- tgvc eval: end --> of this file.",
)
@click.option("--readme-system", default="auto-warp", show_default=True, metavar="NAME", help="Whose table that is.")
@place_options
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no report.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_list,
    help="Show the systems and metrics that are known.",
)
def evaluate(clips: tuple[Path, ...], output: Path, **options: Any) -> None:
    """Encode, decode and score CLIPS with tgvc and conventional encoders, and compare.

    Every entry is a file that was written and decoded; all its bytes count, all frames are scored. Each conventional
    encoder is swept over five sizes and stands at its best for every rate. BD-rates come with 95 % intervals over
    clips.

    An interrupted run goes on where it was, and what is known of the same frames, options and code is not measured
    again. A clip or system that fails is listed and stops no other; the exit code is 1 then. Metrics with networks
    (LPIPS, DISTS, tLPIPS, FID, KID, CLIP similarity) need --weights: they are not computed without.
    """
    from tgvc.batch import Place
    from tgvc_bench.evaluation.run import run_evaluation
    from tgvc_bench.evaluation.tables import format_readme, format_tables, replace_block

    place = Place(options["jobs"], options["ray"], options["gpus"])
    question = read_question(clips, options)
    with resumable(), _progress(question.unit, quiet=options["quiet"]) as (on_start, on_entry):
        record = run_evaluation(
            question, output, place, command=describe_command(question, options), on_start=on_start, on_entry=on_entry
        )
    tables = format_tables(record)
    (output / "tables.md").write_text(tables)
    from tgvc_bench.report import write_report

    page = write_report(output / "record.json", output / "report.html", output / "media")
    if options["readme"]:
        replace_block(options["readme"], format_readme(record, options["readme_system"]))
    failed = sum("error" in e for e in record["entries"]) + len(record["failed_clips"])
    if not options["quiet"]:
        click.echo(tables)
        click.echo(f"wrote {page}: {len(record['entries'])} entries, {failed} failed")
    if failed:
        click.get_current_context().exit(FAILED)


def read_question(clips: tuple[Path, ...], options: Mapping[str, Any]) -> Question:
    """What the options ask for.

    Raises:
        ConfigError: something unknown, or metrics without their weights.
        click.BadParameter: a number is none.
    """
    from tgvc_bench.cli import parse_sizes
    from tgvc_bench.evaluation.metrics import METRICS, WITHOUT_WEIGHTS
    from tgvc_bench.evaluation.plan import Question
    from tgvc_bench.evaluation.sources import find_clips
    from tgvc_bench.evaluation.systems import choose_systems, usual_systems
    from tgvc_bench.neural.weights import parse_weights

    wanted = {*(options["only"] or WITHOUT_WEIGHTS), *options["metrics"]}
    unknown = sorted(wanted - set(METRICS))
    previews = options["previews"]
    rates, unit = read_rates(options["bpp"], options["kbps"])
    return Question(
        tuple(find_clips(clips)),
        tuple(choose_systems(options["systems"]) if options["systems"] else usual_systems()),
        rates,
        options["frames"],
        options["size"],
        (*(m for m in METRICS if m in wanted), *unknown),
        tuple(parse_weights(text) for text in options["weights"]),
        options["anchor"],
        None if previews == "all" else () if previews == "none" else parse_rates(previews),
        tuple(parse_sizes(options["sizes"])) if options["sizes"] else None,
        options["baselines"],
        options["title"],
        unit,
        options["crop"],
    )


def read_rates(bpp: str | None, kbps: str | None) -> tuple[tuple[float, ...], RateUnit]:
    """The rates that are asked for, growing, and what they count.

    Raises:
        click.UsageError: both kinds.
        click.BadParameter: one is no number.
    """
    from tgvc_bench.units import BPP, KBPS

    if bpp is not None and kbps is not None:
        raise click.UsageError("--bpp and --kbps: give one of them, a record holds rates of one unit")
    return (parse_rates(_RATES if bpp is None else bpp), BPP) if kbps is None else (parse_rates(kbps), KBPS)


def parse_rates(text: str) -> tuple[float, ...]:
    """Numbers separated by commas, growing.

    Raises:
        click.BadParameter: one is no number.
    """
    try:
        return tuple(sorted(float(part) for part in text.split(",")))
    except ValueError as error:
        raise click.BadParameter(f"got {text!r}, expected numbers such as 0.003,0.005") from error


def describe_command(question: Question, options: Mapping[str, Any]) -> str:
    """The command that makes the record again, clips by name only, without where it ran."""
    words = [
        "tgvc eval",
        *(path.name for path in question.clips),
        f"--{question.unit.id} {','.join(f'{r:g}' for r in question.rates)}",
    ]
    words += [f"--frames {question.frames}", *(f"--system '{name}'" for name in options["systems"])]
    words += [] if question.size is None else [f"--size {question.size[0]}x{question.size[1]}"]
    words += [f"--crop {question.crop}"] if question.crop else []
    words += [f"--metric {name}" for name in options["metrics"]] + [f"--only {name}" for name in options["only"]]
    words += [f"--weights {w.kind}={w.path.name}:{w.sha256}" for w in question.weights]
    words += [f"--sizes {options['sizes']}"] if options["sizes"] else []
    words += [] if options["anchor"] == "svt-av1-p4" else [f"--anchor {options['anchor']}"]
    return " ".join(words)


@contextmanager
def _progress(unit: RateUnit, *, quiet: bool) -> Iterator[tuple[OnStart | None, OnEntry | None]]:
    """A bar on stderr that counts entries, and a line for every one; the lines alone where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if quiet:
        yield None, None
        return
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("measuring", total=None)

        def start(known: int, wanted: int) -> None:
            progress.update(task, total=wanted)
            console.print(f"{known} entries known, {wanted} to measure", highlight=False)

        def advance(entry: Mapping[str, Any]) -> None:
            text = entry.get("error") or f"{entry['bytes']:,} bytes, {entry[unit.id]:.{unit.digits}f} {unit.short}"
            name = f"{entry['clip']} {entry['system']} {entry['rate']:g}"
            console.print(f"{name}: {text}", markup=False, highlight=False)
            progress.advance(task)

        yield start, advance
