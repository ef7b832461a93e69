"""Work for many items, wherever it runs: in this process, in others of this machine, in the actors of a Ray cluster.

Work is opened once per worker, so that networks are loaded once and stay warm, and then called with one item after the
other. What it returns does not depend on where it ran. Whatever goes wrong with an item is its `Failure`; the others
are worked on all the same, even where a whole process dies.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TypeVar

from tgvc.batch.cluster import run_on_ray
from tgvc.batch.places import Failure, Place, Work, open_safely
from tgvc.batch.processes import run_in_processes

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    work: Work[Item, Result], items: Sequence[Item], place: Place | None = None
) -> Generator[tuple[int, Result | Failure], None, None]:
    """Do the work for all items.

    Args:
        work: opened once per worker.
        items: each goes to one worker; on a cluster they and the results travel over the network.
        place: where; this process if None.

    Yields:
        The number of an item and what came of it, in the order in which they are done.

    Raises:
        BackendUnavailableError: a cluster is asked for and Ray is not installed.
        BackendError: the cluster cannot be reached.
    """
    place = place or Place()
    if not items:
        return
    done: Generator[tuple[int, Result | Failure], None, None]
    if place.ray is not None:
        done = run_on_ray(work, items, place)
    elif (place.jobs or 1) > 1:
        done = run_in_processes(work, items, min(place.jobs or 1, len(items)))
    else:
        done = _run_here(work, items)
    with closing(done):
        yield from done


def _run_here(work: Work[Item, Result], items: Sequence[Item]) -> Generator[tuple[int, Result | Failure], None, None]:
    call = open_safely(work)
    yield from ((number, call(item)) for number, item in enumerate(items))
