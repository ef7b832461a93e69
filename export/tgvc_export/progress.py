"""How far an export is, told on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tgvc.types import OnProgress


@contextmanager
def show_progress(quiet: bool) -> Iterator[OnProgress | None]:
    """Bars on stderr, one line for what is being done; none where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(bar_width=30), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading")

        def advance(stage: str, done: int, total: int | None) -> None:
            progress.update(task, description=stage, completed=done, total=total)

        yield advance
