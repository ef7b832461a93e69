"""Bars on stderr, drawn from the progress that encoder and decoder report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

OnProgress = Callable[[str, int, int | None], None]

_STAGES = {"plan": "planning", "write": "encoding", "decode": "decoding"}
_SPEED_WINDOW_S = 600.0  # a group of frames can take longer than half a minute, and is one step


class FrameColumn(ProgressColumn):
    """Frames done, of how many, and how many per second."""

    def render(self, task: Task) -> Text:
        """The text for the state of a task."""
        total = "" if task.total is None else f"/{task.total:.0f}"
        speed = task.finished_speed or task.speed
        rate = "" if not speed else f", {speed:.1f} frames/s"
        return Text(f"{task.completed:.0f}{total} frames{rate}")


@contextmanager
def frame_progress(verb: str, *, quiet: bool, total: int | None = None) -> Iterator[OnProgress | None]:
    """A bar on stderr for the length of the block; yields the callback that moves it.

    Args:
        verb: shown until the first stage is reported, such as "encoding".
        quiet: no bar. There is none either where stderr is not a terminal; the callback is None then.
        total: frames in all, if the reporter does not know but the caller does.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        FrameColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, speed_estimate_period=_SPEED_WINDOW_S) as progress:
        task = progress.add_task(verb, total=total)

        def advance(stage: str, done: int, known_total: int | None) -> None:
            progress.update(task, description=_STAGES.get(stage, stage), completed=done, total=known_total or total)

        yield advance
