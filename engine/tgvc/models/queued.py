"""Networks as a loop queues them: launched where a device has memory of its own, called where it is the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tgvc.backends.base import DeviceNet, Net
from tgvc.backends.places import full_shape
from tgvc.backends.spec import NetRecord, bind_shapes
from tgvc.devices.base import Array, Device, Stream
from tgvc.devices.scratch import Scratch
from tgvc.errors import BackendError


@dataclass(frozen=True, eq=False)
class QueuedNet:
    """A network on a device.

    ``call``: outputs by name for arrays of the host. ``find``: the network itself, which only a device with memory of
    its own asks for.
    """

    device: Device
    call: Callable[[Mapping[str, Array]], Mapping[str, Array]]
    find: Callable[[], Net]

    @property
    def capturable(self) -> bool:
        """Whether its runs may be recorded."""
        return self.device.remote and self._net().capturable

    def dtype_of(self, name: str) -> np.dtype[Any]:
        """Type of an input or output; networks on the host take and give float32."""
        if not self.device.remote:
            return np.dtype(np.float32)
        record = self._net().record
        return np.dtype(next(spec.dtype for spec in (*record.inputs, *record.outputs) if spec.name == name))

    def queue(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], stream: Stream) -> None:
        """Queue a run into arrays that are there; one that was made for fewer at once is launched several times."""
        if not self.device.remote:
            for name, value in self.call(inputs).items():
                outputs[name][...] = value
            return
        net, runs = self._net(), _runs(inputs)
        at_once = _at_once(net.record, runs)
        for n in range(0, runs, at_once):
            part = slice(n, n + at_once)
            given, wanted = ({name: array[part] for name, array in side.items()} for side in (inputs, outputs))
            net.launch(given, wanted, stream.handle)

    def run(self, inputs: Mapping[str, Array], scratch: Scratch) -> Mapping[str, Array]:
        """Queue a run on the stream of some scratch memory; what it gives lies there until the next one."""
        if not self.device.remote:
            return self.call(inputs)
        record, runs = self._net().record, _runs(inputs)
        at_once = _at_once(record, runs)
        lengths = bind_shapes(record.inputs, {name: array[:at_once].shape for name, array in inputs.items()})
        outputs = {
            spec.name: scratch.take(spec.name, (runs, *full_shape(spec, lengths)[1:]), spec.dtype)
            for spec in record.outputs
        }
        self.queue(inputs, outputs, scratch.stream)
        return outputs

    def _net(self) -> DeviceNet:
        net = self.find()
        if not isinstance(net, DeviceNet):
            raise BackendError(f"{net.record.name}: its backend does not launch networks on {self.device.name}")
        return net


def _runs(inputs: Mapping[str, Array]) -> int:
    return len(next(iter(inputs.values())))


def _at_once(record: NetRecord, runs: int) -> int:
    """Runs, or pictures, that a network takes in one launch."""
    made_for = record.inputs[0].shape[0]
    return made_for if isinstance(made_for, int) else runs
