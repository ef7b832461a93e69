"""Whether TensorRT-RTX takes a network: parsed, and built ahead of time for named GPUs, on a machine without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tgvc.backends.spec import NetRecord, split_dimension
from tgvc.backends.trt.build import build_plan
from tgvc.backends.trt.library import find_library

CAPABILITIES = ("SM80", "SM86", "SM89", "SM120")
# shortest, usual and longest length of each symbol, in the order of an optimisation profile
LENGTHS: Mapping[str, tuple[int, int, int]] = {
    "N": (1, 4, 16),
    "B": (1, 1, 2),
    "T": (2, 16, 32),
    "h": (8, 40, 136),
    "w": (8, 64, 240),
}


def build_engine(
    record: NetRecord,
    capabilities: Sequence[str] = CAPABILITIES,
    lengths: Mapping[str, tuple[int, int, int]] = LENGTHS,
) -> bytes:
    """Parse a network and build it; needs no GPU, because the targets are named.

    Args:
        record: of the network.
        capabilities: targets, names of ``tensorrt_rtx.ComputeCapability``.
        lengths: (shortest, usual, longest) of every symbol of the record.

    Returns:
        The serialised engine.

    Raises:
        BackendUnavailableError: tensorrt_rtx is not installed.
        BackendError: the network is not taken: every message of the parser or the builder.
    """
    profile = {}
    for spec in record.inputs:
        parts = [split_dimension(dimension) for dimension in spec.shape]
        low, usual, high = (tuple(f * lengths[s][which] if s else f for f, s in parts) for which in range(3))
        profile[spec.name] = low, usual, high
    targets = [f"sm_{capability[2:]}" for capability in capabilities]
    return build_plan(find_library("tensorrt-rtx"), record, profile, targets=targets).plan
