"""A slow decode that leans on nothing fast: NumPy's formulas instead of kernels, networks on the processor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.decoder import Decoder
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


def decode_first(stream: Path, decoder: Decoder, count: int) -> list[Picture]:
    """The first frames of a stream."""
    return [frame.picture for frame in islice(decoder.frames(str(stream)), count)]


def check_decoder(stream: Path, decoder: Decoder, count: int, tolerance: float | None = None) -> Agreement:
    """The first frames of a decoder beside those of the slow one.

    Without networks no pixel may differ by more than one grey level: the weights of a blend are rounded differently.
    With networks the root of the mean square of all differences counts, in grey levels.

    Args:
        stream: to be decoded.
        decoder: that will be timed.
        count: frames.
        tolerance: grey levels; `LEVELS` or `RMS_LEVELS` if None.
    """
    backend = PLAIN_BACKEND if decoder.config.generator == "latent" else decoder.config.backend
    with reference_kernels():
        slow = Decoder(replace(decoder.config, threads=1, backend=backend))
        want = decode_first(stream, slow, count)
    got = decode_first(stream, decoder, count)
    return compare_frames(got, want, networks=bool(decoder.facts.get("bundle")), tolerance=tolerance)


def compare_frames(
    got: Sequence[Picture],
    want: Sequence[Picture],
    *,
    networks: bool,
    tolerance: float | None = None,
    by: str = "NumPy formulas",
) -> Agreement:
    """Frames beside others, as `check_decoder` says; ``by``: what made the others, in words."""
    rule = "rms difference of frames, grey levels" if networks else "largest difference of a pixel, grey levels"
    limit = tolerance if tolerance is not None else RMS_LEVELS if networks else LEVELS
    if len(got) != len(want) or any(a.shape != b.shape for a, b in zip(got, want, strict=True)):
        return Agreement(f"{rule} ({len(got)} frames beside {len(want)})", float("inf"), limit)
    differences = np.stack(got).astype(np.float64) - np.stack(want)
    found = np.sqrt(np.mean(differences**2)) if networks else np.abs(differences).max(initial=0)
    return Agreement(f"{rule}, {len(got)} frames beside those of {by}", float(found), limit)
