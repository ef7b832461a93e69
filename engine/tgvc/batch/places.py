"""What is done with items, where, and what a failure is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tgvc.errors import ConfigError, TgvcError

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

LOCAL = "local"  # the address of a cluster that is started here and ends with the run
_SINGLE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")  # workers share the cores, libraries may not


class Work(Protocol[Item_contra, Result_co]):
    """What is to be done with every item; plain data that can be sent to a worker."""

    def open(self) -> Callable[[Item_contra], Result_co]:
        """Make everything ready that items share; returns what is called with each of them."""
        ...


@dataclass(frozen=True)
class Failure:
    """What came of an item in place of a result: one line."""

    text: str


@dataclass(frozen=True)
class Place:
    """Where to run.

    ``jobs``: workers; None = one, and on a cluster as many as it has processors for. ``ray``: address of a Ray cluster,
    such as ``auto`` or ``ray://head:10001``, or ``local``; None = this machine without Ray. ``gpus``: of every actor.
    """

    jobs: int | None = None
    ray: str | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"jobs={self.jobs}: expected at least 1")
        if self.gpus and self.ray is None:
            raise ConfigError(f"gpus={self.gpus:g}: expected a Ray cluster beside it, which shares GPUs out")


def open_safely(work: Work[Item, Result]) -> Callable[[Item], Result | Failure]:
    """Open work; neither that nor a call raises: a failure becomes a `Failure`, of every item if opening failed."""
    try:
        call = work.open()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer for these items and no more
        failed = Failure(describe_error(error))
        return lambda item: failed

    def attempt(item: Item) -> Result | Failure:
        try:
            return call(item)
        except Exception as error:  # noqa: BLE001 - the same
            return Failure(describe_error(error))

    return attempt


def describe_error(error: BaseException) -> str:
    """One line: the text of an expected error, kind and text of any other."""
    text = " ".join(str(error).split())
    return text if isinstance(error, TgvcError) else f"{type(error).__name__}: {text}".rstrip(": ")


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that start inside the block have libraries with one thread each, where nothing else was asked for."""
    added = [name for name in _SINGLE if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
