"""A GPU that does not exist, groups of moving pictures, and how two ways of painting them are compared."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from emulated_gpu import empty_binaries
from lazy_cupy import Engine, LazyCupy, LazyNet
from test_interpolation import moving
from tgvc.devices.cuda import CudaDevice
from tgvc.synthesis.group import DecodedGroup
from tgvc.types import Motion, Picture
from tgvc_kernels.device import call as device_call
from tgvc_kernels.device.runtime import Runtime
from video_samples import smooth_picture

W, H = 96, 64


@dataclass
class Place:
    """A GPU that does not exist, and networks there."""

    engine: Engine
    device: CudaDevice
    nets: list[LazyNet]

    def launched(self, net: str) -> int:
        return sum(what == net for what, _, _ in self.engine.log)

    def tell(self, what: str) -> list[int]:
        return [n for n, (told, *_) in enumerate(self.engine.log) if told == what]


MakePlace = Callable[..., Place]


def place_maker(emulator: ctypes.CDLL, folder: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlace:
    """Makes a GPU whose streams follow a policy, and lets the product find it; see `lazy_cupy.Engine`."""

    def make(policy: str = "needed", seed: int = 0) -> Place:
        engine = Engine(emulator, policy, seed)
        runtime = Runtime(LazyCupy(engine), 0, (9, 0), empty_binaries(folder))
        for module in (device_call, CudaDevice.__init__.__globals__):
            if isinstance(module, dict):
                monkeypatch.setitem(module, "find_runtime", lambda ordinal=0: runtime)
            else:
                monkeypatch.setattr(module, "find_runtime", lambda ordinal=0: runtime)
        return Place(engine, CudaDevice(), [])

    return make


def make_group(lengths: Sequence[int], motion: Callable[[int], Motion] = moving, number: int = 3) -> DecodedGroup:
    keys = [smooth_picture(3 * n, W, H) for n in range(len(lengths) + 1)]
    return DecodedGroup(number, 1, keys, [(motion(length), length) for length in lengths], 0.4)


def same(a: Sequence[Picture], b: Sequence[Picture]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
