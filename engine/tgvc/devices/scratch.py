"""Memory of a device that is used again: under one name, shape and type it is the same array every time.

Networks and recorded graphs remember addresses, so that what they read and write should not move between segments.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.devices.base import Array, Device, Stream

_MOST = 64  # arrays that are kept: a decoder that meets many sizes lets go of the oldest


class Scratch:
    """Arrays of one stream, kept until this goes; on the host, where nothing remembers addresses, always new ones."""

    def __init__(self, device: Device, stream: Stream) -> None:
        self.device, self.stream = device, stream
        self._arrays: OrderedDict[tuple[Any, ...], Array] = OrderedDict()
        self._kept: dict[str, tuple[npt.NDArray[Any], Array]] = {}

    def take(self, name: str, shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
        """An array of any content; what is queued on the stream from now on may write to it."""
        if not self.device.remote:
            return self.device.empty(shape, dtype, self.stream)
        key = (name, tuple(shape), np.dtype(dtype).name)
        if key not in self._arrays:
            self._arrays[key] = self.device.empty(shape, dtype, self.stream)
            if len(self._arrays) > _MOST:  # given back in the order of the stream, which may still use it
                self._arrays.popitem(last=False)
        self._arrays.move_to_end(key)
        return self._arrays[key]

    def bring(self, name: str, array: npt.NDArray[Any], dtype: npt.DTypeLike | None = None) -> Array:
        """An array of the host where the device reads it: itself on the host, else a copy under a name.

        One that is read-only, and was the last under its name, is there already.
        """
        if not self.device.remote:
            return array
        there = self.take(name, array.shape, dtype or array.dtype)
        kept = self._kept.get(name)
        if kept is None or kept[0] is not array or kept[1] is not there:
            self.device.copy(there, array, self.stream)
            self._kept.pop(name, None)
            if not array.flags.writeable:
                self._kept[name] = array, there
        return there
