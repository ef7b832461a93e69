"""The command ``tgvc-bench``."""

from __future__ import annotations

import json
import os
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tgvc.errors import BackendError, ConfigError, TgvcError
from tgvc_bench import (
    ablation,
    encoders,
    fast,
    following,
    generators,
    guidance,
    memory,
    networks,
    published,
    quality,
    rate,
    results,
    speed,
)
from tgvc_bench.baselines import Sweep
from tgvc_bench.clips import read_clip
from tgvc_bench.records import read_record
from tgvc_bench.tables import format_tables


@click.group()
def commands() -> None:
    """Measure tgvc against conventional codecs."""


@commands.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of results."
)
@click.option("--codecs", default=",".join(encoders.ENCODERS), show_default=True, help="Names, in the order of work.")
@click.option(
    "--frames", default=64, show_default=True, type=click.IntRange(1), help="Only the first frames of a clip."
)
@click.option("--sizes", default="1,3/4,1/2,1/3,1/4", show_default=True, help="Parts of the clip's size.")
def baselines(clips: tuple[Path, ...], output: Path, codecs: str, frames: int, sizes: str) -> None:
    """Encode and score CLIPS with conventional encoders; goes on where an earlier run stopped."""
    names = [name.strip() for name in codecs.split(",")]
    if unknown := [name for name in names if name not in encoders.ENCODERS]:
        raise click.BadParameter(f"unknown codec {unknown[0]!r}, expected some of {', '.join(encoders.ENCODERS)}")
    fractions = parse_sizes(sizes)
    console = Console()
    for name in names:
        for path in clips:
            start = time.monotonic()
            sweep = Sweep(read_clip(path, frames), output / f"{path.stem}.json")
            with console.status(f"{name} {path.stem}") as status:
                try:
                    for line in sweep.run(name, fractions):
                        status.update(f"{path.stem} {line}")
                except BackendError as error:  # the other clips can still be swept
                    console.print(f"{name} {path.stem}: {error}", markup=False)
                    continue
            points = sweep.record["codecs"][name]["points"]
            scored = sum("vmaf" in p["scores"] for p in points)
            seconds = time.monotonic() - start
            console.print(f"{name} {path.stem}: {scored} of {len(points)} points scored, {seconds:.1f} s")


def parse_sizes(text: str) -> list[Fraction]:
    """Fractions of a size, separated by commas, each above 0 and at most 1."""
    try:
        fractions = [Fraction(part.strip()) for part in text.split(",")]
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(f"got {text!r}, expected fractions such as 1,1/2") from error
    if wrong := [f for f in fractions if not 0 < f <= 1]:
        raise click.BadParameter(f"got the size {wrong[0]}, expected above 0 and at most 1")
    return fractions


def parse_setting(text: str) -> tuple[str, Any]:
    """A pair KEY=VALUE for ``tgvc.encode``: VALUE as JSON where it is JSON, else as text."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise click.BadParameter(f"got {text!r}, expected KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


@commands.command("quality")
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bpp", "rates", multiple=True, default=(0.003, 0.005), show_default=True, help="Bits per pixel.")
@click.option("--frames", default=64, show_default=True, type=click.IntRange(1), help="As in the baselines.")
@click.option("--effort", type=int, help="Of the encoder.")
@click.option("--profile", default="auto", show_default=True, help="Of the encoder.")
@click.option("--set", "settings", multiple=True, help="KEY=VALUE, a further argument of tgvc.encode.")
@click.option("--baselines", "folder", default=quality.BASELINES, type=click.Path(file_okay=False, path_type=Path))
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Processes, one clip each.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON file.")
def measure_quality(
    clips: tuple[Path, ...],
    rates: tuple[float, ...],
    frames: int,
    effort: int | None,
    profile: str,
    settings: tuple[str, ...],
    folder: Path,
    jobs: int,
    output: Path,
) -> None:
    """Encode CLIPS with tgvc at the rates, score all frames, compare with the baselines."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # a process per clip, not threads on top of it
        os.environ.setdefault(name, "1")
    options = quality.Options(frames, effort, profile, dict(parse_setting(s) for s in settings))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("quality", total=len(clips) * len(rates))
        for entry in quality.run_quality(clips, rates, options, output, folder, jobs):
            text = entry.get("error") or f"{entry['bpp']:.5f} bpp, {entry['scores']['psnr_y']:.2f} dB"
            progress.console.print(f"{entry['clip']} {entry['rate']:g}: {text}", markup=False, highlight=False)
            progress.advance(task)
        kept = len(clips) * len(rates) - int(progress.tasks[task].completed)
        progress.console.print(f"{output}: {kept} entries kept from an earlier run", highlight=False)


@commands.command()
@click.argument("result", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--against", default="svt-av1-p4", show_default=True, help="Codec of the table of clips.")
def table(result: Path, against: str) -> None:
    """Print RESULT of ``tgvc-bench quality`` as Markdown, with the verdict."""
    record = read_record(result)
    if record is None or record.get("format") != quality.FORMAT:
        raise ConfigError(f"{result}: expected a file made by tgvc-bench quality")
    click.echo(format_tables(record, against))


@commands.command("generators")
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bpp", "rates", multiple=True, type=float, default=(0.003, 0.005), show_default=True)
@click.option("--steps", multiple=True, type=int, default=(1, 2, 4, 8), show_default=True, help="Of the latent one.")
@click.option("--frames", default=64, show_default=True, type=click.IntRange(1))
@click.option("--baselines", "folder", default=quality.BASELINES, type=click.Path(path_type=Path), show_default=True)
@click.option("--pictures", type=click.Path(file_okay=False, path_type=Path), help="Folder for side-by-side pictures.")
@click.option("--streams", type=click.Path(file_okay=False, path_type=Path), help="Folder that keeps what was encoded.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
def measure_generators(
    clips: tuple[Path, ...],
    rates: tuple[float, ...],
    steps: tuple[int, ...],
    frames: int,
    folder: Path,
    pictures: Path | None,
    streams: Path | None,
    output: Path,
) -> None:
    """Score the generators on the same streams of CLIPS, and the networks behind SVT-AV1."""
    variants = generators.usual_variants(steps)
    console = Console()
    for entry in generators.run_generators(clips, rates, variants, frames, output, folder, pictures, streams):
        for name, found in entry["variants"].items():
            scores = " ".join(f"{k} {found['scores'][k]:.4g}" for k in ("ms_ssim", "gmsd", "grad_energy", "swd", "tof"))
            console.print(f"{entry['clip']} {entry['rate']:g} {name}: {scores}", markup=False, highlight=False)
    click.echo(generators.format_generators(read_record(output) or {"entries": []}))


@commands.command("networks")
@click.argument("clip", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--steps", multiple=True, type=int, default=(1, 2, 4, 8), show_default=True)
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1))
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
def measure_networks(clip: Path, steps: tuple[int, ...], threads: int, repeats: int, output: Path) -> None:
    """Time the latent generator on 16 frames of CLIP, stage by stage, and its networks against torch."""
    for line in networks.run_networks(clip, steps, threads, repeats, output):
        click.echo(line)


@commands.command("following")
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--spacing",
    "spacings",
    multiple=True,
    type=int,
    default=following.SPACINGS,
    show_default=True,
    help="Frames between keys.",
)
@click.option("--steps", multiple=True, type=int, default=following.STEPS, show_default=True)
@click.option("--strength", default=0.5, show_default=True, help="Of the guidance.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
def measure_following(
    clips: tuple[Path, ...], spacings: tuple[int, ...], steps: tuple[int, ...], strength: float, output: Path
) -> None:
    """Track the points of CLIPS' streams again in what the latent generator paints, with and without guidance.

    An interrupted run goes on where it was.
    """
    for entry in following.run_following(clips, output, spacings, steps, strength):
        click.echo(f"{entry['clip']}, spacing {entry['spacing']}: {entry['errors_px']}")
    click.echo(following.format_following(read_record(output) or {"entries": []}))


@commands.command("fast")
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON file.")
@click.option("--bundle", default="nano", show_default=True, metavar="NAME", help="A name or a folder.")
@click.option("--bpp", default=0.004, show_default=True, help="Of the streams.")
@click.option("--frames", default=16, show_default=True, type=click.IntRange(2), help="Of every clip.")
@click.option("--grid", multiple=True, type=click.IntRange(1), help="Steps to measure all solvers and timesteps at.")
@click.option("--note", is_flag=True, help="Write the result into the bundle, so that `tgvc decode --fast` knows it.")
def fast_command(
    clips: tuple[Path, ...], output: Path, bundle: str, bpp: float, frames: int, grid: tuple[int, ...], note: bool
) -> None:
    """How far from many steps the fast ways of a bundle end, on CLIPS."""
    for entry in fast.run_fast(clips, bundle, bpp, frames, grid, output):
        click.echo(f"{entry['clip']}: " + ", ".join(f"{n} {w['error']:.3f}" for n, w in entry["ways"].items()))
    record = read_record(output)
    assert record is not None
    if note:
        fast.note_ways(bundle, record["ways"])
    click.echo(fast.format_fast(record))


@commands.command("results")
@click.option("--folder", default=Path("bench/results"), show_default=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", default=Path("docs/results.md"), show_default=True, type=click.Path(path_type=Path))
def make_results(folder: Path, output: Path) -> None:
    """Write the page of results from the committed measurements."""
    results.write_results(folder, output)
    click.echo(output)


@commands.command("rate")
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bpp", "rates", multiple=True, default=(0.003, 0.005), show_default=True, help="Bits per pixel.")
@click.option("--effort", default=2, show_default=True, help="Of the encoder.")
@click.option("--again", is_flag=True, help="Encode twice and compare the bytes.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON file.")
def measure_rates(clips: tuple[Path, ...], rates: tuple[float, ...], effort: int, again: bool, output: Path) -> None:
    """Whole CLIPS: is the rate met from below, and does the decoder show what the encoder said?"""
    for entry in rate.run_rate(clips, rates, output, effort, again):
        said = "met" if entry["met"] else "NOT MET"
        same = "exact" if entry["exact"] else "DIFFERENT"
        click.echo(f"{entry['clip']} {entry['rate']:g}: {entry['share']:.1%} of the target, {said}; decoder {same}")


@commands.command("ablation")
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bpp", "rates", multiple=True, default=(0.003, 0.005), show_default=True, help="Bits per pixel.")
@click.option("--spacing", "spacings", multiple=True, default=ablation.SPACINGS, show_default=True, help="Frames.")
@click.option("--frames", default=64, show_default=True, type=click.IntRange(1), help="Only the first of a clip.")
@click.option("--effort", default=2, show_default=True, help="Of the encoder.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON file.")
def measure_ablation(
    clips: tuple[Path, ...],
    rates: tuple[float, ...],
    spacings: tuple[int, ...],
    frames: int,
    effort: int,
    output: Path,
) -> None:
    """Cross-fade, F, G and T at equal bytes and fixed spacings, on CLIPS; prints the tables at the end."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    console = Console(stderr=True)
    found = ablation.run_ablation(clips, rates, output, frames=frames, effort=effort, spacings=spacings)
    for entry in found:
        text = entry.get("error") or f"{entry['bpp']:.5f} bpp, {entry['scores']['psnr_y']:.2f} dB"
        name = f"{entry['clip']} {entry['rate']:g} {entry['system']} spacing {entry['spacing']}"
        console.print(f"{name}: {text}", markup=False, highlight=False)
    click.echo(ablation.format_ablation(read_record(output) or {}))


@commands.command("speed")
@click.argument("clip", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--frames", default=96, show_default=True, type=click.IntRange(9), help="Only the first of the clip.")
@click.option("--bpp", default=0.005, show_default=True, help="Bits per pixel.")
@click.option("--effort", "efforts", multiple=True, type=int, default=speed.EFFORTS, show_default=True)
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1), help="Runs of each timing.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="Of encoder and decoder.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON file.")
def measure_speed(
    clip: Path, frames: int, bpp: float, efforts: tuple[int, ...], repeats: int, threads: int, output: Path
) -> None:
    """Decoding and encoding of CLIP against real time, kernels against NumPy."""
    options = speed.Options(frames, bpp, efforts, repeats, threads)
    for line in speed.run_speed(clip, output, options):
        click.echo(line)


@commands.command("guidance")
@click.option("--tracks", multiple=True, type=click.IntRange(1), default=guidance.TRACKS, show_default=True)
@click.option("--channels", default=4, show_default=True, type=click.IntRange(1), help="Of the latents.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1), help="Runs of the slowest.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON file.")
def measure_guidance(tracks: tuple[int, ...], channels: int, repeats: int, output: Path) -> None:
    """The pull of trajectories in closed form against autograd of its loss; needs torch."""
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    for line in guidance.run_guidance(output, tracks, channels, repeats):
        click.echo(line)


@commands.command("memory")
@click.option("--frames", "lengths", multiple=True, type=int, default=memory.LENGTHS, show_default=True)
@click.option("--effort", "efforts", multiple=True, type=int, default=(0, 2), show_default=True)
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="Of the encoder.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON file.")
def measure_memory(lengths: tuple[int, ...], efforts: tuple[int, ...], threads: int, output: Path) -> None:
    """Peak memory of encoding and decoding, a short generated clip against a long one."""
    for line in memory.run_memory(output, lengths=lengths, efforts=efforts, threads=threads):
        click.echo(line)


@commands.command("published")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--bpp", "rates", multiple=True, default=published.RATES, show_default=True, help="Bits per pixel.")
@click.option("--effort", default=2, show_default=True, help="Of the encoder.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON file.")
def measure_published(folder: Path, rates: tuple[float, ...], effort: int, output: Path) -> None:
    """Our picture of UVG Beauty beside T-GVC's published one, from FOLDER; prints the table at the end."""
    for line in published.run_published(folder, output, rates=rates, effort=effort):
        click.echo(line, err=True)
    click.echo(published.format_published(output))


def main() -> None:
    """Run the command; an expected failure is one line on stderr and exit status 2."""
    try:
        commands(standalone_mode=True)
    except TgvcError as error:
        Console(stderr=True).print(f"tgvc-bench: {error}", markup=False, highlight=False)
        raise SystemExit(2) from error
