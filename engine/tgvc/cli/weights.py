"""Commands for published weights, and those that other packages of the project add."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import click

from tgvc.fetch import WEIGHTS, Weights

COMMANDS = "tgvc.commands"  # the group of entry points whose values are commands


@click.command(
    epilog="\b\nExamples:\n  tgvc fetch cotracker3\n  tgvc fetch dynamicrafter-512-interp -o weights --accept-licence"
)
@click.argument("name", metavar="NAME", type=click.Choice(list(WEIGHTS)))
@click.option("-o", "--output", metavar="FOLDER", help="Where the files go; default: a folder of that name, here.")
@click.option("--file", "files", metavar="FILE", multiple=True, help="Only this file; may be given several times.")
@click.option("--accept-licence", is_flag=True, help="I have read the terms and accept them: do not ask.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no report.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on standard output.")
def fetch(
    name: str, output: str | None, files: tuple[str, ...], accept_licence: bool, quiet: bool, as_json: bool
) -> None:
    """Download published weights, of which `tgvc export` makes bundles.

    NAME is dynamicrafter-512-interp or cotracker3. The licence is shown and has to be accepted before anything is
    fetched. A download that was cut off goes on where it stopped; every file is checked against a known hash.
    """
    from tgvc.cli.progress import byte_progress
    from tgvc.cli.tables import print_json, print_lines
    from tgvc.fetch import choose_files, fetch_weights

    weights = WEIGHTS[name]
    size = sum(file.size for file in choose_files(weights, files))
    if not accept_licence:
        accept_licence = _ask(weights, size)
    folder = Path(output or name)
    with byte_progress(quiet=quiet) as on_progress:
        paths = fetch_weights(weights, folder, accepted=accept_licence, files=files, on_progress=on_progress)
    if as_json:
        print_json({"name": name, "revision": weights.revision, "files": [str(path) for path in paths]})
    elif not quiet:
        print_lines([("wrote", f"{path}: {path.stat().st_size:,} bytes, the published sha256") for path in paths])


def _ask(weights: Weights, size: int) -> bool:
    """Show the terms and ask; where nobody can answer, the answer is no."""
    click.echo(f"{weights.name}: {size / 1e9:.2f} GB from {weights.url}", err=True)
    click.echo(f"licence: {weights.licence}", err=True)
    click.echo(weights.terms, err=True)
    if not sys.stdin.isatty():
        return False
    return click.confirm("Do you accept these terms?", default=False, err=True)


def find_commands() -> dict[str, click.Command]:
    """Commands of other installed packages by their names: see `COMMANDS`."""
    return {entry.name: entry.load() for entry in sorted(entry_points(group=COMMANDS), key=lambda e: e.name)}
