"""What kernels/check/vectors.bin holds: launches of every kernel, recorded from `tgvc_kernels.gpu`, and the reference.

``python tests/kernel_vectors.py`` writes the file again. Its inputs come from a counter-based generator and plain
arithmetic, so that they are the same with every NumPy.
"""

from __future__ import annotations

import ctypes
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from emulated_gpu import ROOT, DlpackArray, Launch, load_emulator, make_runtime, stored, to_bfloat, to_device

VECTORS = ROOT / "kernels" / "check" / "vectors.bin"
MAGIC = b"TGVCVEC1"
KINDS = {"uint8": 1, "float32": 2, "float16": 3, "bfloat16": 4}
REPEATED = 0x80
TYPES = ("float32", "float16", "bfloat16")
Want = tuple[np.ndarray, float]


def uniform(seed: int, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Multiples of 2**-12 of the range."""
    steps = np.random.Philox(seed).random_raw(int(np.prod(shape))) >> 52
    return (low + (high - low) * steps / 4096).astype(np.float32).reshape(shape)


def greys(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return (np.random.Philox(seed).random_raw(int(np.prod(shape))) >> 56).astype(np.uint8).reshape(shape)


@dataclass
class Chunk:
    """Bytes of the file; floats that may differ by ``tolerance`` between machines where it is above 0."""

    content: bytes
    tolerance: float = 0.0


@dataclass
class Recording:
    """Launches of one case, and memory as it was when a launch first saw it."""

    name: str
    launches: list[Launch] = field(default_factory=list)
    before: dict[int, tuple[DlpackArray, bytes]] = field(default_factory=dict)

    def see(self, launch: Launch) -> None:
        self.launches.append(launch)
        for array in DlpackArray.alive or ():
            self.before.setdefault(array.host.ctypes.data, (array, array.host.tobytes()))

    def encode(self, outputs: list[tuple[Any, Want]]) -> Iterator[Chunk]:
        places = {address: n for n, address in enumerate(self.before)}
        wanted = {array.host.ctypes.data: want for array, want in outputs}
        yield _text(self.name)
        yield _number(len(places))
        for address, (array, content) in self.before.items():
            values, tolerance = wanted.get(address, (None, 0.0))
            kind = 0 if values is None else KINDS[array.dtype]
            same = len(set(content)) == 1  # memory that nobody has written to yet
            yield Chunk(struct.pack("<Bf", kind | same * REPEATED, tolerance))
            yield Chunk(struct.pack("<IB", len(content), content[0])) if same else _blob(content)
            if values is None:
                continue
            after = to_bfloat(values) if array.dtype == "bfloat16" else values.astype(array.dtype)
            yield _number(after.nbytes)
            yield Chunk(after.tobytes(), tolerance)
        yield _number(len(self.launches))
        for launch in self.launches:
            yield _text(launch.kernel)
            yield Chunk(struct.pack("<IIB", launch.grid, launch.block, launch.cooperative))
            yield _number(len(launch.arguments))
            for argument in launch.arguments:
                yield from _encode_argument(np.atleast_1d(np.asarray(argument)), places)


def _encode_argument(argument: np.ndarray, places: dict[int, int]) -> Iterator[Chunk]:
    """Its bytes with every pointer taken out, and where which pointer goes."""
    kind, content, pointers = argument.dtype, argument.copy(), []
    names = [name for name in kind.names or () if kind[name] == np.uint64]
    slots = [(kind.fields[name][1], content[name]) for name in names] if kind.fields else []
    if kind == np.uint64:
        slots = [(0, content)]
    for offset, value in slots:
        if value[0]:
            pointers.append((offset, places[int(value[0])]))
            value[0] = 0
    yield _blob(content.tobytes())
    yield _number(len(pointers))
    for pair in pointers:
        yield Chunk(struct.pack("<II", *pair))


def _number(value: int) -> Chunk:
    return Chunk(struct.pack("<I", value))


def _blob(content: bytes) -> Chunk:
    return Chunk(struct.pack("<I", len(content)) + content)


def _text(value: str) -> Chunk:
    return _blob(value.encode())


def make_chunks(library: ctypes.CDLL, folder: Path) -> list[Chunk]:
    """The file in pieces."""
    from tgvc_kernels.device import call

    cases = [(f"{name} {dtype}", make, dtype) for name, make in CASES.items() for dtype in TYPES]
    chunks = [Chunk(MAGIC), _number(len(cases))]
    for name, make, dtype in cases:
        recording = Recording(name)
        cupy, runtime = make_runtime(library, folder)
        cupy.before = recording.see
        DlpackArray.alive = []
        try:
            with mock.patch.object(call, "find_runtime", lambda device=0, runtime=runtime: runtime):
                outputs = make(dtype)
        finally:
            arrays, DlpackArray.alive = DlpackArray.alive, None
        chunks += recording.encode(outputs)
        del arrays
    return chunks


# ---------------------------------------------------------------- the cases: outputs, and what they should be

Outputs = list[tuple[Any, Want]]


def _fields(dtype: str) -> Outputs:
    from tgvc_kernels import cpu, gpu, reference

    field, by = (stored(uniform(seed, (5, 9, 2), -4, 4), dtype) for seed in (1, 2))
    at, values = stored(uniform(3, (7, 2), -3, 12), dtype), stored(uniform(4, (7, 2), -2, 2), dtype)
    features = stored(uniform(30, (3, 5, 9), -2, 2), dtype)
    on = {id(a): to_device(a, dtype) for a in (field, by, at, values)}
    return [
        (gpu.sample_field(on[id(field)], on[id(at)], stream=0), (reference.sample_field(field, at), 0)),
        (gpu.project(on[id(field)], 0.375, 3, stream=0), (reference.project(field, 0.375, 3), 0)),
        (gpu.shift(on[id(field)], on[id(by)], stream=0), (reference.shift(field, by), 0)),
        (gpu.splat(to_device(features, dtype), on[id(by)], stream=0), (reference.splat(features, by), 0)),
        (gpu.densify(on[id(at)], on[id(values)], 6, 11, 4.0, stream=0), (cpu.densify(at, values, 6, 11, 4.0), 0)),
    ]


def _pictures(dtype: str) -> Outputs:
    from tgvc_kernels import gpu, reference

    plane, motion = greys(5, (15, 27)), stored(uniform(6, (5, 9, 2), -4, 4), dtype)
    a, b = (stored(uniform(seed, (10, 68), 0, 255), dtype) for seed in (7, 8))
    shares, *trusts = (stored(uniform(seed, (5, 34), 0.0625, 1), dtype) for seed in (9, 10, 11))
    planes = [to_device(v, dtype) for v in (a, b)]
    trusted = [to_device(v, dtype) for v in trusts]
    # 1e-5: of the reference; a storage type of 16 bits may round it to either side
    unit = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    return [
        (gpu.warp(to_device(plane), to_device(motion, dtype), stream=0), (reference.warp(plane, motion), 0)),
        (
            gpu.blend_weights(*planes, *trusted, 0.375, stream=0),
            (reference.blend_weights(a, b, trusts[0], trusts[1], 0.375), unit),
        ),
        (gpu.mix(*planes, to_device(shares, dtype), stream=0), (reference.mix(a, b, shares), 0)),
    ]


def _planes(dtype: str) -> Outputs:
    from tgvc_kernels import gpu
    from tgvc_kernels import picture_reference as reference

    pictures, planes = greys(12, (2, 9, 14)), stored(uniform(13, (2, 6, 3, 7), -1.25, 1.25), dtype)
    rgb, here = stored(uniform(14, (2, 3, 6, 14), -1.25, 1.25), dtype), to_device(pictures)
    return [
        (gpu.pack_planes(here, stream=0, dtype=dtype), (reference.pack_planes(pictures), 0)),
        (gpu.unpack_planes(to_device(planes, dtype), stream=0), (reference.unpack_planes(planes), 0)),
        (gpu.rgb_to_yuv(to_device(rgb, dtype), 1, stream=0), (reference.rgb_to_yuv(rgb, 1), 0)),
        (gpu.yuv_to_rgb(here, 6, stream=0, dtype=dtype), (reference.yuv_to_rgb(pictures, 6), 0)),
    ]


def _plan(frames: int, size: tuple[int, int]) -> Any:
    from tgvc_kernels import latent_reference

    xy = uniform(15, (5, frames, 2), -8, 8 * size[1])
    visible = greys(16, (5, frames)) > 40
    slots = np.arange(frames)
    slots[-1] = frames
    return latent_reference.guidance_plan(xy, visible, slots, (frames, *size))


def _latents(dtype: str) -> Outputs:
    from tgvc_kernels import gpu
    from tgvc_kernels import latent_reference as reference

    plan = _plan(5, (6, 7))
    z = stored(np.round(uniform(17, (3, 6, 6, 7), -3, 3)), dtype)
    inner, volume = np.ascontiguousarray(z[:, :5]), to_device(z, dtype)
    frames = np.array([5, 300, 2**32 - 1])
    uploaded = gpu.upload_plan(plan, stream=0)
    return [
        (
            gpu.normal_noise(1, 2, frames, 4, 6, 3, 5, stream=0, dtype=dtype),
            (reference.normal_noise(1, 2, frames, 4, 6, 3, 5), 0),
        ),
        (
            gpu.guidance_gradient(to_device(inner, dtype), uploaded, volume, volume, stream=0),
            (reference.guidance_gradient(inner, plan, z, z), 0),
        ),
    ]


def _step(dtype: str) -> Outputs:
    from tgvc_kernels import gpu
    from tgvc_kernels import latent_reference as reference

    shape, weights = (3, 2, 9, 20), (0.25, -0.5, 0.875, 0.125, 0.375, 1.125)
    x, v, u, earlier = (stored(uniform(seed, shape, -2, 2), dtype) for seed in (18, 19, 20, 21))
    on = [to_device(value, dtype) for value in (x, v, u, earlier)]
    found = gpu.predict_clean(on[0], on[1], 0.75, 0.625, 0.875, on[2], 7.5, 0.7, stream=0)
    want = reference.predict_clean(x, v, 0.75, 0.625, 0.875, u, 7.5, 0.7)
    moved = gpu.sampler_step(on[0], on[1], on[2], weights, on[3], stream=0)
    return [
        (found[0], (want[0], 0)),
        (found[1], (want[1], 0)),
        (moved, (reference.sampler_step(x, v, u, weights, earlier), 0)),
    ]


def _guided(dtype: str) -> Outputs:
    from tgvc_kernels import gpu
    from tgvc_kernels import latent_reference as reference
    from tgvc_kernels.step import Factors, Held, NoiseCounter, Pull

    shape, plan = (5, 4, 5, 6), _plan(4, (5, 6))
    x, earlier, known, base = (uniform(seed, shape, -2, 2) for seed in (22, 23, 24, 25))
    v, u = (stored(uniform(seed, shape, -2, 2), dtype) for seed in (26, 27))
    outside, scale = uniform(28, (5, 1, 5, 6), -2, 2), uniform(29, (5,), 0.5, 1.5)
    held, frames = np.arange(4) == 1, np.arange(40, 44)
    network = np.zeros((2, 7, *shape[1:]), np.float32)
    factors, weights = Factors(0.75, 0.625, 0.875, 7.5, 0.7), (0.25, -0.5, 0.875, 0.125, 0.375, 1.125)
    rows = to_device(network, dtype)
    found = gpu.guided_step(
        to_device(x), to_device(v, dtype), factors, weights, to_device(u, dtype), to_device(earlier),
        NoiseCounter(1, 2, to_device(frames), 6), Held(to_device(held), to_device(known), 0.5, 0.75),
        Pull(gpu.upload_plan(plan, stream=0), to_device(base), to_device(scale), to_device(outside), mean=True),
        rows, stream=0,
    )  # fmt: skip
    want = reference.guided_step(
        x, v, factors, weights, u, earlier, NoiseCounter(1, 2, frames, 6), Held(held, known, 0.5, 0.75),
        Pull(plan, base, scale, outside, mean=True), network,
    )  # fmt: skip
    return [(found[0], (want[0], 0)), (found[1], (want[1], 0)), (rows, (network, 0))]


CASES: dict[str, Callable[[str], Outputs]] = {
    "fields": _fields,
    "pictures": _pictures,
    "planes": _planes,
    "latents": _latents,
    "step": _step,
    "guided step": _guided,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        chunks = make_chunks(load_emulator(), Path(name))
    VECTORS.write_bytes(b"".join(chunk.content for chunk in chunks))
    print(f"{VECTORS}: {VECTORS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
