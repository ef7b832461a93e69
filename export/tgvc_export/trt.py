"""Whether TensorRT-RTX takes a network: parsed, and built ahead of time for named GPUs, on a machine without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tgvc.backends.spec import NetRecord, split_dimension
from tgvc.errors import BackendError, BackendUnavailableError

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
    try:
        import tensorrt_rtx
    except ImportError as fault:
        why = " ".join(str(fault).split())
        raise BackendUnavailableError(f"tensorrt_rtx: {why}; pip install 'tgvc[tensorrt-rtx]'") from fault
    log = _collecting_log(tensorrt_rtx)
    builder = tensorrt_rtx.Builder(log)
    network = builder.create_network(1 << int(tensorrt_rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt_rtx.OnnxParser(network, log)
    if record.data is None:
        taken = parser.parse(record.read())
    else:
        record.verify()
        taken = parser.parse_from_file(str(record.path))  # which finds the weights beside it
    if not taken:
        faults = [parser.get_error(n) for n in range(parser.num_errors)]
        told = [f"{fault.node_operator()} {fault.node_name()}: {fault.desc()}" for fault in faults]
        raise BackendError(f"tensorrt_rtx does not parse {record.name}: {_one_line([*told, *log.told])}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for spec in record.inputs:
        parts = [split_dimension(dimension) for dimension in spec.shape]
        shapes = [tuple(f * lengths[s][which] if s else f for f, s in parts) for which in range(3)]
        profile.set_shape(spec.name, *shapes)
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = len(capabilities)
    for number, capability in enumerate(capabilities):
        config.set_compute_capability(getattr(tensorrt_rtx.ComputeCapability, capability), number)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BackendError(f"tensorrt_rtx does not build {record.name}: {_one_line(log.told)}")
    return bytes(engine)


def _collecting_log(runtime: Any) -> Any:
    class Log(runtime.ILogger):
        """Keeps what goes wrong instead of printing it."""

        def __init__(self) -> None:
            runtime.ILogger.__init__(self)
            self.told: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (runtime.ILogger.ERROR, runtime.ILogger.INTERNAL_ERROR):
                self.told.append(message)

    return Log()


def _one_line(messages: Sequence[str]) -> str:
    return " ".join("; ".join(messages).split())[:2000] or "no message"
