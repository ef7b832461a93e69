"""The command ``tgvc report``: the record of an evaluation as a page."""

from __future__ import annotations

from pathlib import Path

import click

SECTIONS = ("curves", "matrix", "player", "table", "layers", "published")
_PATH = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(epilog="\b\nExamples:\n  tgvc report eval.json\n  tgvc report eval.json -o page.html --picture page.png")
@click.argument("record", metavar="RECORD", type=_PATH)
@click.option("-o", "--output", type=_PATH, metavar="PAGE", help="Default: the record's name with .html, beside it.")
@click.option("--media", type=_FOLDER, metavar="FOLDER", help="Of videos; default: media beside the record.")
@click.option(
    "--embed",
    "embedded_mb",
    type=click.FloatRange(0),
    default=48,
    show_default=True,
    metavar="MB",
    help="Videos go into the page if together they have at most so many megabytes; else the page names their files.",
)
@click.option("--picture", type=_PATH, metavar="FILE", help="Also draw the page: .png or .webp; needs a Chromium.")
@click.option("--section", type=click.Choice(SECTIONS), help="Draw only this part of it.")
@click.option("--dark", is_flag=True, help="Draw it in dark colours.")
@click.option("-y", "--overwrite", is_flag=True, help="Replace the page if it exists.")
@click.option("-q", "--quiet", is_flag=True, help="No report.")
def report(
    record: Path,
    output: Path | None,
    media: Path | None,
    embedded_mb: float,
    picture: Path | None,
    section: str | None,
    dark: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Make one HTML page of RECORD, which `tgvc eval` wrote.

    The page opens from disk and asks for nothing. The same numbers go into a Markdown and a JSON file beside it.
    """
    from tgvc.errors import ConfigError
    from tgvc_bench.report.page import list_files, write_report

    page = output or record.with_suffix(".html")
    written = [*list_files(page), *([picture] if picture else [])]
    for path in written:
        if path.exists() and not overwrite:
            raise ConfigError(f"{path}: exists; give -y to overwrite it, or another name with -o")
    write_report(record, page, media, embedded_bytes=round(embedded_mb * 1e6))
    if picture is not None:
        from tgvc_bench.report.browser import draw_page

        draw_page(page, picture, section=section, dark=dark)
    if not quiet:
        for path in written:
            click.echo(f"wrote {path}: {path.stat().st_size:,} bytes")
