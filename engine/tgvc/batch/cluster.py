"""Work in the actors of a Ray cluster: each has its own warm engine and holds one item at a time.

Items and results travel through Ray's object store, so that no shared disk is needed; the machines of the cluster need
this package in the same version, as `deploy/ray` has it.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from tgvc.batch.places import LOCAL, Failure, Place, Work, describe_error, one_thread_each, open_safely
from tgvc.errors import BackendError, BackendUnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine:
    """What lives in an actor: opened work."""

    def __init__(self, work: Work[Any, Any], environment: dict[str, str]) -> None:
        for name, value in environment.items():
            os.environ.setdefault(name, value)
        self._call = open_safely(work)

    def run(self, item: Any) -> Any:
        """The result of one item, or its failure."""
        return self._call(item)


def run_on_ray(
    work: Work[Item, Result], items: Sequence[Item], place: Place
) -> Generator[tuple[int, Result | Failure], None, None]:
    """Do the work for all items on a cluster; see `tgvc.batch.runs.run_all`."""
    ray = _import_ray()
    ours = not ray.is_initialized()
    if ours:
        connect(ray, place)
    try:
        yield from _share_out(ray, work, items, place)
    finally:
        if ours:
            ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise BackendUnavailableError("ray: not installed; pip install 'tgvc[distributed]'") from error
    return ray


def connect(ray: Any, place: Place) -> None:
    """Join the cluster that is asked for, or start one here.

    Raises:
        BackendError: no cluster answers.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # actors without GPUs leave the variable alone
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        with one_thread_each():
            if place.ray == LOCAL:
                with _same_modules():
                    ray.init(address=LOCAL, num_cpus=place.jobs or 1, include_dashboard=False, **quiet)
            else:
                ray.init(address=place.ray, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise BackendError(f"ray={place.ray}: no cluster answers there ({describe_error(error)})") from error


@contextmanager
def _same_modules() -> Iterator[None]:
    """Processes that start inside the block find modules where this one does, in a checkout too."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _share_out(
    ray: Any, work: Work[Any, Any], items: Sequence[Any], place: Place
) -> Generator[tuple[int, Any], None, None]:
    """One item to every actor, and the next to whichever is done."""
    room = int(ray.cluster_resources().get("CPU", 1))
    shared = ray.put(work)
    kind = ray.remote(num_cpus=1, num_gpus=place.gpus, max_restarts=0)(Engine)
    names = dict.fromkeys(("OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")  # OMP's is set by Ray itself

    waiting = deque(range(len(items)))
    held: dict[Any, tuple[Any, int]] = {}
    free = [kind.remote(shared, names) for _ in range(min(place.jobs or room, len(items)))]
    while waiting or held:
        while free and waiting:
            number = waiting.popleft()
            try:
                held[free[-1].run.remote(items[number])] = free[-1], number
            except OSError as error:  # what the item is made of cannot be read
                yield number, Failure(describe_error(error))
            else:
                free.pop()
        if not held:
            continue
        (done,), _ = ray.wait(list(held), num_returns=1)
        actor, number = held.pop(done)
        try:
            result = ray.get(done)
        except ray.exceptions.RayError as error:  # the actor or its machine is gone
            why = str(error).strip().splitlines()[-1:]  # above it stands a trace
            result, actor = Failure(f"its actor died: {''.join(why)}"), kind.remote(shared, names)
        free.append(actor)
        yield number, result
