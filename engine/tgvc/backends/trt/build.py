"""From an ONNX file to a plan: parsed strongly typed, then built for this GPU, or for named ones without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tgvc.backends.spec import NetRecord, tensor_faults
from tgvc.backends.trt.library import Library, join_lines
from tgvc.errors import BackendError, BundleError
from tgvc.types import OnProgress

Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]  # shortest, usual, longest shape
_DTYPES = {
    "BF16": "bfloat16",
    "BOOL": "bool",
    "FLOAT": "float32",
    "HALF": "float16",
    "INT32": "int32",
    "INT64": "int64",
    "INT8": "int8",
    "UINT8": "uint8",
}


@dataclass(frozen=True)
class Built:
    """``plan``: the serialised engine. ``timing``: what was measured, for the next build; empty if nothing was."""

    plan: bytes
    timing: bytes


@dataclass(frozen=True)
class Parsed:
    """A network in a builder."""

    builder: Any
    network: Any
    parser: Any  # owns the weights that the network refers to


def static_profile(shapes: Mapping[str, tuple[int, ...]]) -> Profile:
    """The profile of one set of shapes."""
    return {name: (shape, shape, shape) for name, shape in shapes.items()}


def parse_network(library: Library, record: NetRecord) -> Parsed:
    """Read the file of a record into a network; needs no GPU.

    Raises:
        BundleError: the file is not that of the record, or its tensors are not.
        BackendError: the parser does not take it: all that it says.
    """
    module = library.module
    library.take_log()
    builder = module.Builder(library.log)
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = module.OnnxParser(network, library.log)
    if record.data is None:
        taken = parser.parse(record.read())
    else:
        record.verify()
        taken = parser.parse_from_file(str(record.path))  # which finds the weights beside it
    if not taken:
        faults = [parser.get_error(n) for n in range(parser.num_errors)]
        told = [f"{fault.node_operator()} {fault.node_name()}: {fault.desc()}" for fault in faults]
        raise BackendError(f"{library.name} does not take {record.name}: {join_lines([*told, library.take_log()])}")
    inputs = [network.get_input(n) for n in range(network.num_inputs)]
    outputs = [network.get_output(n) for n in range(network.num_outputs)]
    faults = [*_faults(inputs, record.inputs), *_faults(outputs, record.outputs, free=True)]
    if faults:
        raise BundleError(f"{record.path.name}: " + "; ".join(faults))
    return Parsed(builder, network, parser)


def build_plan(
    library: Library,
    record: NetRecord,
    profile: Profile,
    *,
    targets: Sequence[str] = (),
    timing: bytes = b"",
    on_progress: OnProgress | None = None,
) -> Built:
    """Build a network.

    Args:
        library: see `find_library`.
        record: of the network.
        profile: shapes of its inputs; with `static_profile` the engine takes no others.
        targets: architectures such as ``sm_89``, which need no GPU here; without any, the GPU that is current.
        timing: what an earlier build with the same library and GPU gave.
        on_progress: called with the phase, steps done and steps in all.

    Raises:
        BundleError: see `parse_network`.
        BackendError: the network is not taken, or a target is not known: what the library says.
    """
    check_targets(library, targets)
    module, parsed = library.module, parse_network(library, record)
    config = parsed.builder.create_builder_config()
    config.clear_flag(module.BuilderFlag.TF32)  # it would be another precision than that of the manifest
    shapes = parsed.builder.create_optimization_profile()
    for spec in record.inputs:
        shapes.set_shape(spec.name, *profile[spec.name])
    config.add_optimization_profile(shapes)
    if targets:
        config.num_compute_capabilities = len(targets)
        for number, target in enumerate(targets):
            config.set_compute_capability(getattr(module.ComputeCapability, _capability(target)), number)
    measured = not hasattr(module, "ComputeCapability")  # TensorRT-RTX chooses without measuring
    if measured and not config.set_timing_cache(config.create_timing_cache(timing), False) and timing:
        config.set_timing_cache(config.create_timing_cache(b""), False)
    if on_progress is not None:
        config.progress_monitor = _monitor(module, on_progress)
    plan = parsed.builder.build_serialized_network(parsed.network, config)
    if plan is None:
        raise BackendError(f"{library.name} does not build {record.name}: {library.take_log()}")
    cache = config.get_timing_cache() if measured else None
    return Built(bytes(plan), b"" if cache is None else bytes(cache.serialize()))


def check_targets(library: Library, targets: Sequence[str]) -> None:
    """Refuse architectures that a library does not build for.

    Raises:
        BackendError: names them, and what can be done instead.
    """
    known = library.targets
    if targets and not known:
        raise BackendError(
            f"{library.label} builds for the GPU that it runs on and for no other: leave --arch away on that machine, "
            "or build for named ones with tensorrt_rtx"
        )
    if unknown := [target for target in targets if target not in known]:
        raise BackendError(
            f"{library.label} does not build for {', '.join(unknown)} ahead of time: it knows {', '.join(known)}; "
            "build on a machine with that GPU"
        )


def dtype_name(dtype: Any) -> str:
    """NumPy's name of a type of the library."""
    name = str(getattr(dtype, "name", dtype))
    return _DTYPES.get(name, name)


def _faults(tensors: Sequence[Any], specs: Any, *, free: bool = False) -> list[str]:
    """Where tensors differ; ``free``: the parser may not know yet that a free length of an output is a fixed one."""
    found = {}
    by_name = {spec.name: spec for spec in specs}
    for tensor in tensors:
        shape = [length if length >= 0 else "?" for length in tensor.shape]
        spec = by_name.get(tensor.name)
        if free and spec is not None and len(shape) == len(spec.shape):
            # lengths that follow from others are worked out when the engine is built, and checked then
            shape = [
                want if isinstance(want, int) != isinstance(got, int) else got
                for got, want in zip(shape, spec.shape, strict=True)
            ]
        found[tensor.name] = dtype_name(tensor.dtype), shape
    return tensor_faults(found, specs)


def _capability(target: str) -> str:
    return target.replace("sm_", "SM")


def _monitor(module: Any, on_progress: OnProgress) -> Any:
    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        """Tells of the outermost phases."""

        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self.totals: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self.totals[phase_name] = num_steps
                on_progress(phase_name, 0, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            if total := self.totals.pop(phase_name, 0):
                on_progress(phase_name, total, total)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self.totals:
                on_progress(phase_name, min(step + 1, self.totals[phase_name]), self.totals[phase_name])
            return True

    return Monitor()
