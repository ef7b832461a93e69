"""What is slow and leans on nothing fast: NumPy's formulas instead of kernels, networks on the processor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tgvc.types import Picture
from tgvc_bench.protocol.agreement import Agreement
from tgvc_kernels import latent_ops, ops, picture_ops

PLAIN_BACKEND = "onnxruntime"
LEVELS, RMS_LEVELS = 1.0, 1.0  # grey levels: of one pixel without networks; of the root of the mean square with them


@contextmanager
def reference_kernels() -> Iterator[None]:
    """Kernels that nobody asked for by name are the NumPy references inside the block, in the whole process."""
    modules: tuple[Any, ...] = ops, latent_ops, picture_ops
    before = [module.choose for module in modules]

    def choose_reference(implementation: Any, **known: Any) -> Any:
        return before[0](implementation or "reference", **known)

    for module in modules:
        module.choose = choose_reference
    try:
        yield
    finally:
        for module, choose in zip(modules, before, strict=True):
            module.choose = choose


def compare_frames(
    got: Sequence[Picture],
    want: Sequence[Picture],
    *,
    networks: bool,
    tolerance: float | None = None,
    by: str = "NumPy formulas",
) -> Agreement:
    """Frames beside others made ``by`` something: the largest difference, with networks the root of its mean square."""
    rule = "rms difference of frames, grey levels" if networks else "largest difference of a pixel, grey levels"
    limit = tolerance if tolerance is not None else RMS_LEVELS if networks else LEVELS
    if len(got) != len(want) or any(a.shape != b.shape for a, b in zip(got, want, strict=True)):
        return Agreement(f"{rule} ({len(got)} frames beside {len(want)})", float("inf"), limit)
    differences = np.stack(got).astype(np.float64) - np.stack(want)
    found = np.sqrt(np.mean(differences**2)) if networks else np.abs(differences).max(initial=0)
    return Agreement(f"{rule}, {len(got)} frames beside those of {by}", float(found), limit)
