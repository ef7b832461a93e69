"""Work in processes of this machine: each has its own warm engine, and its death costs the item it held, no more."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, NoReturn, TypeVar

from tgvc.batch.places import Failure, Work, one_thread_each, open_safely

Item = TypeVar("Item")
Result = TypeVar("Result")

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy threads of libraries in whatever state they are
_PATIENCE_S = 5.0  # that a process gets to end by itself


class _Worker:
    """A process and the number of the item that it holds."""

    def __init__(self, work: Work[Any, Any]) -> None:
        self.line, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(theirs, work), daemon=True)
        with one_thread_each():
            self.process.start()
        theirs.close()  # so that the end of the process is the end of the line
        self.number = -1

    def give(self, number: int, item: object) -> None:
        self.number = number
        try:
            self.line.send(item)
        except OSError:  # it has died between two items; `take` says so
            return

    def take(self) -> Any:
        """The result, or a failure if the process has died."""
        try:
            return self.line.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            return Failure(f"its process ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}")

    def dismiss(self) -> None:
        """Have the process end by itself, without what it holds; waits for nothing."""
        self.line.close()
        if self.number >= 0:
            self.process.terminate()


def run_in_processes(
    work: Work[Item, Result], items: Sequence[Item], jobs: int
) -> Generator[tuple[int, Result | Failure], None, None]:
    """Do the work for all items in ``jobs`` processes; see `tgvc.batch.runs.run_all`."""
    waiting = deque(enumerate(items))
    workers: list[_Worker] = []
    try:
        for _ in range(min(jobs, len(waiting))):
            workers.append(_Worker(work))
            workers[-1].give(*waiting.popleft())
        while busy := [w for w in workers if w.number >= 0]:
            ready = wait([w.line for w in busy])
            for worker in [w for w in busy if w.line in ready]:
                number, result = worker.number, worker.take()
                worker.number = -1
                if waiting:
                    if not worker.process.is_alive():
                        worker.dismiss()
                        workers.remove(worker)
                        worker = _Worker(work)
                        workers.append(worker)
                    worker.give(*waiting.popleft())
                yield number, result
    finally:
        _stop(workers)


def _stop(workers: Sequence[_Worker]) -> None:
    """End processes, all at once; one that does not tidy up in time, as in a long step of a library, is killed."""
    for worker in workers:
        worker.dismiss()
    until = time.monotonic() + _PATIENCE_S
    for worker in workers:
        worker.process.join(max(until - time.monotonic(), 0.0))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(line: Connection, work: Work[Any, Any]) -> None:
    """Answer items until the line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends us
    signal.signal(signal.SIGTERM, _unwind)
    call = open_safely(work)
    while True:
        try:
            item = line.recv()
        except (EOFError, OSError):
            return
        line.send(call(item))


def _unwind(number: int, frame: FrameType | None) -> NoReturn:
    """End the process by an exception, so that no half file is left; once, as that must not be interrupted itself."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
