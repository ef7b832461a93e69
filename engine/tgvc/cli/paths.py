"""Where a command writes: default names, what must not be overwritten, and what a terminal must be spared."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tgvc.errors import VideoError

STDIO = "-"


def choose_output(output: str | None, source: str, suffix: str, *, overwrite: bool, others: Sequence[str] = ()) -> str:
    """The output that was asked for, or the source's name with another suffix, in the current folder.

    Args:
        output: as asked for, or None.
        source: the input.
        suffix: of the output. One of two parts, such as ``.tgvc.mp4``, never hits the video that was encoded.
        overwrite: whether an existing file may be replaced; an input never is.
        others: further inputs.

    Raises:
        click.UsageError: no name can be made up, or bytes would go to a terminal.
        VideoError: the file exists and may not be overwritten, or is an input.
    """
    if output is None:
        if source == STDIO:
            raise click.UsageError(f"standard input has no name to make one of: give -o OUT{suffix} or -o -")
        output = Path(source).resolve().stem + suffix
    if output == STDIO:
        if sys.stdout.isatty():
            raise click.UsageError("-o - would write bytes to this terminal: redirect or pipe standard output")
        return output
    from tgvc.api import check_target

    check_target(output, source, *others)
    if Path(output).is_file() and not overwrite:
        raise VideoError(f"{output}: exists; give -y to overwrite it, or another name with -o")
    return output
