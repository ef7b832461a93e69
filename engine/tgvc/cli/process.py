"""How a run ends: exit codes, one line on stderr, and interrupts that let every room tidy up."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

import click

from tgvc.errors import TgvcError

FAILED, MISUSED = 1, 2


class Interrupted(BaseException):
    """Ctrl-C or a request to end: unwinds the stack, so that no half file is left, and is not caught on the way."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.left = "nothing was written"


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` on SIGINT and SIGTERM inside the block.

    A signal that the process was started to ignore stays ignored. Signals belong to the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    wanted = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def leaving(left: str) -> Iterator[None]:
    """An interrupt inside the block says that this is what it leaves."""
    try:
        yield
    except Interrupted as stopped:
        stopped.left = left
        raise


def resumable() -> AbstractContextManager[None]:
    """For work that keeps what it has done: an interrupt inside the block says so."""
    return leaving("what is done is kept, the same command goes on")


class CommandLine(click.Group):
    """A group of commands whose every failure is one line on stderr and an exit code.

    0: done. 1: a TgvcError. 2: the command was called wrongly. 128 + n: ended by signal n (Ctrl-C: 130).
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands in the order in which they are most often needed."""
        return list(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and exit; see `click.BaseCommand.main` for the arguments."""
        kwargs["standalone_mode"] = False
        kwargs.setdefault("prog_name", "tgvc")
        sys.exit(self._run(*args, **kwargs))

    def _run(self, *args: Any, **kwargs: Any) -> int:
        try:
            with interruptible():
                return int(super().main(*args, **kwargs) or 0)
        except click.exceptions.NoArgsIsHelpError as error:  # the help as it is
            error.show()
            return error.exit_code
        except click.ClickException as error:
            place = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "tgvc"
            return complain(f"{error.format_message().rstrip('.')} (see {place} --help)", MISUSED)
        except TgvcError as error:
            if _reader_left(error):
                return FAILED
            return complain(str(error), FAILED)
        except BrokenPipeError:
            return FAILED
        except OSError as error:  # files of ours are named by errors of ours
            return complain(f"{error.filename or 'input or output'}: {error.strerror or error}", FAILED)
        except MemoryError:
            return complain("not enough memory for a video of this size; a smaller --size needs less", FAILED)
        except Interrupted as stopped:
            return complain_interrupted(stopped)


def complain(message: str, code: int, label: str = "error: ") -> int:
    """Print one line on stderr; returns ``code``."""
    click.echo(f"tgvc: {label}{' '.join(message.split())}", err=True)
    return code


def complain_interrupted(stopped: Interrupted) -> int:
    """Say that a signal ended the run; returns the exit code."""
    return complain(f"interrupted, {stopped.left}", 128 + stopped.number, "")


def leave(code: int) -> None:
    """End the process with an exit code, whatever a closed pipe or a thread still at work would make of it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or FAILED
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if code > 128:  # interrupted: threads may be in the middle of work that nobody waits for
        os._exit(code)
    raise SystemExit(code)


def _reader_left(error: BaseException) -> bool:
    """Whether an error goes back to a pipe that its reader has closed: not worth a message."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BrokenPipeError):
            return True
        cause = cause.__cause__
    return False
