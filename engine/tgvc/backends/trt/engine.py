"""An engine for one set of shapes, and its contexts: one per stream, with addresses set before every launch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tgvc.backends.places import Launch, Place, full_shape
from tgvc.backends.spec import NetRecord
from tgvc.backends.trt.build import dtype_name
from tgvc.backends.trt.library import Library
from tgvc.backends.trt.memory import Scratch
from tgvc.errors import BackendError


class Engine:
    """A plan that was read, which is to say, run: it must have come from the store.

    Args:
        library: that built it.
        record: of the network.
        plan: the serialised engine.
        lengths: of the symbols of the record.
        cache: compiled kernels of an earlier run of `tensorrt_rtx`; empty for none, or for `tensorrt`.

    Raises:
        BackendError: the library does not take the plan, or it is of another network.
    """

    def __init__(
        self, library: Library, record: NetRecord, plan: bytes, lengths: Mapping[str, int], cache: bytes = b""
    ) -> None:
        self.record, self._library = record, library
        library.take_log()
        self._runtime = library.module.Runtime(library.log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BackendError(f"{library.label} does not load its engine of {record.name}: {library.take_log()}")
        self._shapes = {spec.name: full_shape(spec, lengths) for spec in record.inputs}
        self._promised = {spec.name: full_shape(spec, lengths) for spec in record.outputs}
        self._check(lengths)
        self._contexts: dict[int, _Context] = {}
        self._config, self._cache = self._configure(cache)

    @property
    def compiled(self) -> bytes:
        """Kernels that were compiled so far, for the next time; empty where the library keeps none."""
        return b"" if self._cache is None else bytes(self._cache.serialize())

    def launch(self, launch: Launch, stream: int, scratch: Scratch) -> None:
        """Queue a run.

        Args:
            launch: arrays of the shapes of this engine.
            stream: handle.
            scratch: memory for what is between inputs and outputs.

        Raises:
            BackendError: the library refused: what it says.
        """
        context = self._contexts.get(stream)
        if context is None:
            context = self._contexts[stream] = self._make_context(stream, scratch)
        context.launch({**launch.inputs, **launch.outputs})

    def _configure(self, cache: bytes) -> tuple[Any, Any]:
        """The configuration of contexts and the cache of compiled kernels, where there are such things."""
        module = self._library.module
        if not hasattr(module, "IRuntimeCache"):
            return None, None
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(module.ExecutionContextAllocationStrategy.USER_MANAGED)
        kept = config.create_runtime_cache()
        if cache:
            kept.deserialize(cache)  # of another driver or GPU it is not taken, and kernels are compiled again
        config.set_runtime_cache(kept)
        return config, kept

    def _make_context(self, stream: int, scratch: Scratch) -> _Context:
        strategy = self._library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        made = self._engine.create_execution_context(strategy if self._config is None else self._config)
        if made is None:
            raise BackendError(f"{self._library.label} starts no context of {self.record.name}: {self._told()}")
        for name, shape in self._shapes.items():
            if not made.set_input_shape(name, shape):
                raise BackendError(f"{self.record.name}: the engine does not take {name} {shape}: {self._told()}")
        for spec in self.record.outputs:
            shape, want = tuple(made.get_tensor_shape(spec.name)), self._promised[spec.name]
            if shape != want:  # found before anything is written behind the end of an array
                raise BackendError(
                    f"{self.record.name}: gave {spec.name} {spec.dtype} {shape}, expected {spec.dtype} {want}; "
                    "the file is not what its manifest says"
                )
        size = int(self._engine.device_memory_size_v2)
        made.set_device_memory(scratch.find(stream, size), size)
        return _Context(made, self.record.name, stream, self._library)

    def _check(self, lengths: Mapping[str, int]) -> None:
        """Refuse an engine whose tensors are not those of the record."""
        engine, mode = self._engine, self._library.module.TensorIOMode
        names = [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)]
        remove = f"`tgvc engines clean --net {self.record.name}` removes it"
        for specs, kind in ((self.record.inputs, mode.INPUT), (self.record.outputs, mode.OUTPUT)):
            found = sorted(name for name in names if engine.get_tensor_mode(name) == kind)
            if found != sorted(spec.name for spec in specs):
                raise BackendError(f"{self.record.name}: the engine has {', '.join(found)}: {remove}")
            for spec in specs:
                dtype, want = dtype_name(engine.get_tensor_dtype(spec.name)), full_shape(spec, lengths)
                shape = tuple(engine.get_tensor_shape(spec.name))
                fixed = all(a in (-1, b) for a, b in zip(shape, want, strict=False)) and len(shape) == len(want)
                if dtype != spec.dtype or not fixed:
                    raise BackendError(
                        f"{self.record.name}: the engine has {spec.name} {dtype} {shape}, expected {spec}: {remove}"
                    )

    def _told(self) -> str:
        return self._library.take_log()


class _Context:
    """A context on one stream; an address is set only where it is another than before."""

    def __init__(self, context: Any, name: str, stream: int, library: Library) -> None:
        self._context, self._name, self._stream, self._library = context, name, stream, library
        self._addresses: dict[str, int] = {}

    def launch(self, places: Mapping[str, Place]) -> None:
        for name, place in places.items():
            if self._addresses.get(name) != place.pointer:
                if not self._context.set_tensor_address(name, place.pointer):
                    raise BackendError(f"{self._name}: address of {name} refused: {self._library.take_log()}")
                self._addresses[name] = place.pointer
        if not self._context.execute_async_v3(self._stream):  # which says so and does not raise
            raise BackendError(f"{self._name} failed: {self._library.take_log()}")
