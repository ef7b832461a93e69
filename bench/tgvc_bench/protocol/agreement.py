"""Nothing is timed that is wrong: how an answer is compared with its reference, and what a run does if it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.errors import BackendError
from tgvc_bench.records import shorten

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Agreement:
    """An answer beside its reference: ``rule`` in words, ``value`` found, ``limit`` of it; larger is worse."""

    rule: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the value is within the limit; not a number never is."""
        return self.value <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a record."""
        return {"rule": self.rule, "value": shorten(self.value, 3), "limit": self.limit}


def require(what: str, agreement: Agreement) -> dict[str, Any]:
    """The agreement as plain values.

    Raises:
        BackendError: it does not hold; the run ends without a time.
    """
    if not agreement.holds:
        raise BackendError(
            f"{what}: {agreement.rule} is {agreement.value:.3g}, expected at most {agreement.limit:g}; "
            "a time of a wrong answer means nothing, none is given"
        )
    return agreement.as_dict()


def compare_equal(got: Array, want: Array) -> Agreement:
    """How many values differ; none may. Values that are not numbers differ from all."""
    rule = "values that differ"
    if got.shape != want.shape or got.dtype != want.dtype:
        return Agreement(f"{rule} ({got.dtype} {got.shape} beside {want.dtype} {want.shape})", float("inf"), 0)
    return Agreement(rule, float(np.count_nonzero(got != want)), 0)


def compare_within(got: Array, want: Array, limit: float) -> Agreement:
    """The largest difference as a part of the reference's largest value, or of 1 if that is smaller."""
    rule = "largest difference / largest value"
    if got.shape != want.shape:
        return Agreement(f"{rule} (shape {got.shape} beside {want.shape})", float("inf"), limit)
    wide = want.astype(np.float64)
    difference = np.abs(got.astype(np.float64) - wide)
    value = float(difference.max(initial=0)) / max(1.0, float(np.abs(wide).max(initial=0)))
    return Agreement(rule, value, limit)


def compare_relative(got: Array, want: Array, limit: float) -> Agreement:
    """Root of the mean squared difference over that of the reference."""
    rule = "relative rms error"
    if got.shape != want.shape:
        return Agreement(f"{rule} (shape {got.shape} beside {want.shape})", float("inf"), limit)
    wide = want.astype(np.float64)
    size = float(np.sqrt(np.mean(wide**2)))
    error = float(np.sqrt(np.mean((got.astype(np.float64) - wide) ** 2)))
    return Agreement(rule, error / size if size else error, limit)
