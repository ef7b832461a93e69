"""Bars on stderr, drawn from the progress that encoder and decoder report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from tgvc.types import OnProgress

_STAGES = {"plan": "planning", "write": "encoding", "decode": "decoding"}


class FrameColumn(ProgressColumn):
    """Frames done, of how many, how many per second, and the time that is left at this rate.

    The rate is the mean since the start: the encoder goes on by whole groups, and a few of them tell little.
    """

    def render(self, task: Task) -> Text:
        """The text for the state of a task."""
        return Text(describe_state(task.completed, task.total, task.elapsed or 0.0))


def describe_state(done: float, total: float | None, elapsed_s: float) -> str:
    """A line such as ``48/96 frames, 6.0 per second, 0:00:08 left``.

    Args:
        done: frames done.
        total: frames in all, if known.
        elapsed_s: seconds since the start.
    """
    text = f"{done:.0f} frames" if total is None else f"{done:.0f}/{total:.0f} frames"
    spent = timedelta(seconds=round(elapsed_s))
    if not done or not elapsed_s:
        return f"{text}, {spent}"
    rate = done / elapsed_s
    text += f", {rate:.1f} per second"
    if total is None or done >= total:
        return f"{text}, {spent}"
    return f"{text}, {timedelta(seconds=round((total - done) / rate))} left"


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
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30), FrameColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(verb, total=total)

        def advance(stage: str, done: int, known: int | None) -> None:
            if stage == "denoise":  # steps, not frames
                progress.update(task, description=f"denoising, step {done}/{known}")
                return
            progress.update(task, description=_STAGES.get(stage, stage), completed=done, total=known or total)

        yield advance


@contextmanager
def byte_progress(*, quiet: bool) -> Iterator[OnProgress | None]:
    """Bars on stderr, one for each stage, for work that is counted in bytes; see `frame_progress`."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(bar_width=30), DownloadColumn()
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def advance(stage: str, done: int, known: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=known)
            progress.update(tasks[stage], completed=done, total=known)

        yield advance
