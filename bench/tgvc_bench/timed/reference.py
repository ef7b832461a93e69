"""A slow decode beside the one that will be timed."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

from tgvc.decoder import Decoder
from tgvc.types import Picture
from tgvc_bench.protocol.agreement import Agreement
from tgvc_bench.timed.plain import PLAIN_BACKEND, compare_frames, reference_kernels


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
        tolerance: grey levels; one if None.
    """
    backend = decoder.config.backend if decoder.config.generator in (None, "warp") else PLAIN_BACKEND
    with reference_kernels():
        slow = Decoder(replace(decoder.config, threads=1, backend=backend))
        want = decode_first(stream, slow, count)
    got = decode_first(stream, decoder, count)
    return compare_frames(got, want, networks=bool(decoder.facts.get("bundle")), tolerance=tolerance)
