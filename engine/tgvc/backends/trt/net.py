"""A network as engines: found in the store or built once per set of shapes, then launched."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from tgvc.backends.cuda import Gpu
from tgvc.backends.places import Launch, Place, full_shape, prepare_launch
from tgvc.backends.spec import NetRecord, bind_shapes, check_inputs, check_outputs
from tgvc.backends.trt.engine import Engine
from tgvc.backends.trt.memory import Scratch
from tgvc.errors import BackendError

_MOST_ENGINES = 8  # sets of shapes that stay on the device for `run`
Lengths = tuple[tuple[str, int], ...]


class TrtNet:
    """A network in engines; see `tgvc.backends.base.DeviceNet`.

    Args:
        record: of the network.
        device: ``cuda:N``.
        gpu: that device.
        scratch: shared with the other networks of the backend.
        find: the engine for lengths of the symbols; it may build it.
        keep: called with an engine and its lengths after its first run, to keep what was compiled for it.
    """

    capturable = True

    def __init__(
        self,
        record: NetRecord,
        device: str,
        gpu: Gpu,
        scratch: Scratch,
        find: Callable[[Mapping[str, int]], Engine],
        keep: Callable[[Engine, Mapping[str, int]], None],
    ) -> None:
        self.record, self.device = record, device
        self._gpu, self._scratch, self._find_engine, self._keep_compiled = gpu, scratch, find, keep
        self._engines: OrderedDict[Lengths, Engine] = OrderedDict()
        self._launched: set[Lengths] = set()  # which a recorded graph may refer to: they stay
        self._ran: set[Lengths] = set()  # what was compiled for them was kept
        self._buffers: dict[str, tuple[int, int]] = {}  # name -> size, address
        self._kept: dict[str, npt.NDArray[Any]] = {}  # read-only inputs that lie on the device
        self._stream = gpu.make_stream()
        self._lock = threading.RLock()

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Have the engine for inputs of these shapes ready, built now if it is in no store.

        Raises:
            BackendError: shapes that are not those of the record, or the network is not taken.
        """
        try:
            lengths = bind_shapes(self.record.inputs, shapes)
        except (ValueError, KeyError) as fault:
            raise BackendError(f"{self.record.name}: {fault}") from fault
        with self._lock, self._gpu.active():
            self._engine(lengths)

    def launch(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: int) -> None:
        """Queue one run on a stream; see `tgvc.backends.base.DeviceNet.launch`."""
        launch = prepare_launch(self.record, self.device, inputs, outputs, stream)
        with self._lock:
            self._launched.add(_key(launch.lengths))
            self._queue(launch, stream)

    def run(self, **inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name; see `tgvc.backends.base.Net.run`."""
        lengths = check_inputs(self.record, inputs)
        with self._lock:
            given = {name: self._upload(name, array) for name, array in inputs.items()}
            made = {}
            for spec in self.record.outputs:
                shape = full_shape(spec, lengths)
                place = Place(0, shape, spec.dtype)
                made[spec.name] = Place(self._buffer(spec.name, place.size), shape, spec.dtype)
            self._queue(Launch(given, made, lengths), self._stream)
            outputs = {
                name: self._gpu.download(place.pointer, place.shape, place.dtype, self._stream)
                for name, place in made.items()
            }
        check_outputs(self.record, lengths, outputs)
        return outputs

    def _queue(self, launch: Launch, stream: int) -> None:
        with self._gpu.active():
            engine, key = self._engine(launch.lengths), _key(launch.lengths)
            engine.launch(launch, stream, self._scratch)
            if key not in self._ran:
                self._keep_compiled(engine, launch.lengths)
                self._ran.add(key)

    def _engine(self, lengths: Mapping[str, int]) -> Engine:
        key = _key(lengths)
        if key not in self._engines:
            spare = [old for old in self._engines if old not in self._launched]
            if len(spare) >= _MOST_ENGINES:
                self._gpu.wait()  # it may still be running
                del self._engines[spare[0]]
            self._engines[key] = self._find_engine(lengths)
        self._engines.move_to_end(key)
        return self._engines[key]

    def _upload(self, name: str, array: npt.NDArray[Any]) -> Place:
        address = self._buffer(name, array.nbytes)
        if self._kept.get(name) is not array:
            self._gpu.upload(array, address, self._stream)
        if array.flags.writeable:
            self._kept.pop(name, None)
        else:
            self._kept[name] = array
        return Place(address, array.shape, array.dtype.name)

    def _buffer(self, name: str, size: int) -> int:
        """Memory for one tensor of `run`, kept until a larger one is needed."""
        held, address = self._buffers.get(name, (-1, 0))
        if held < size:
            if held >= 0:
                self._gpu.wait(self._stream)
                self._gpu.free(address)
            self._kept.pop(name, None)
            address = self._gpu.allocate(size)
            self._buffers[name] = size, address
        return address


def _key(lengths: Mapping[str, int]) -> Lengths:
    return tuple(sorted(lengths.items()))
