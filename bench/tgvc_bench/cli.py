"""The command ``tgvc-bench``."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from tgvc.errors import TgvcError
from tgvc_bench import encoders
from tgvc_bench.baselines import Sweep
from tgvc_bench.clips import read_clip


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
def baselines(clips: tuple[Path, ...], output: Path, codecs: str, frames: int) -> None:
    """Encode and score CLIPS with conventional encoders; goes on where an earlier run stopped."""
    names = [name.strip() for name in codecs.split(",")]
    if unknown := [name for name in names if name not in encoders.ENCODERS]:
        raise click.BadParameter(f"unknown codec {unknown[0]!r}, expected some of {', '.join(encoders.ENCODERS)}")
    console = Console()
    for name in names:
        for path in clips:
            start = time.monotonic()
            sweep = Sweep(read_clip(path, frames), output / f"{path.stem}.json")
            with console.status(f"{name} {path.stem}") as status:
                for line in sweep.run(name):
                    status.update(f"{path.stem} {line}")
            points = sweep.record["codecs"][name]["points"]
            scored = sum("vmaf" in p["scores"] for p in points)
            seconds = time.monotonic() - start
            console.print(f"{name} {path.stem}: {scored} of {len(points)} points scored, {seconds:.1f} s")


def main() -> None:
    """Run the command; an expected failure is one line on stderr and exit status 2."""
    try:
        commands(standalone_mode=True)
    except TgvcError as error:
        Console(stderr=True).print(f"tgvc-bench: {error}", markup=False, highlight=False)
        raise SystemExit(2) from error
