"""The CUDA kernels against the reference: their text, compiled for the host and run thread by thread; and on a GPU."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emulated_gpu import (
    PLACE,
    DlpackArray,
    FakeCupy,
    InterfaceArray,
    find_compiler,
    load_emulator,
    make_runtime,
    stored,
    to_bfloat,
    to_device,
    to_host,
)
from tgvc_kernels import cpu, gpu, latent_cpu, latent_reference, ops, picture_cpu, picture_reference, reference
from tgvc_kernels.device import call as device_call
from tgvc_kernels.device.driver import missing_gpu
from tgvc_kernels.device.runtime import Runtime
from tgvc_kernels.device.sources import UNITS, unit_text
from tgvc_kernels.device.step_kernels import pack_step, stored_step
from tgvc_kernels.step import Factors, Held, NoiseCounter, Pull

STREAM = PLACE
TYPES = ("float32", "float16", "bfloat16")
every_type = pytest.mark.parametrize("dtype", TYPES)


@pytest.fixture(scope="session")
def emulator() -> ctypes.CDLL:
    if find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    return load_emulator()


@pytest.fixture
def emulated(emulator: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCupy]:
    """The emulated GPU in place of the real one."""
    cupy, runtime = make_runtime(emulator, tmp_path)
    monkeypatch.setattr(device_call, "find_runtime", lambda device=0: runtime)
    yield cupy
    assert all(launch.stream == STREAM.ptr for launch in cupy.launches)
    assert all(launch.path.endswith(".cubin") for launch in cupy.launches)


@pytest.fixture(params=["emulated", pytest.param("real", marks=pytest.mark.gpu)])
def launched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kernels that were launched, by name, on the emulated GPU or on a real one."""
    if request.param == "emulated":
        request.getfixturevalue("emulated")
    else:
        if reason := missing_gpu():
            pytest.skip(reason)
        cupy = pytest.importorskip("cupy", reason="CuPy: arrays on a GPU")
        stream = cupy.cuda.Stream()
        monkeypatch.setattr(PLACE, "cupy", cupy)
        monkeypatch.setattr(PLACE, "stream", stream.ptr)
        cupy.cuda.Device().synchronize()
    names: list[str] = []
    launch = Runtime.launch

    def record(self: Runtime, unit: str, kernel: str, *arguments: Any, **named: Any) -> None:
        names.append(kernel)
        if PLACE.cupy is not None:
            PLACE.cupy.cuda.Device().synchronize()  # the tests make their arrays on the default stream
        launch(self, unit, kernel, *arguments, **named)

    monkeypatch.setattr(Runtime, "launch", record)
    return names


def numbers(seed: int, shape: tuple[int, ...], low: float = -2.0, high: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def bytes_of(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def assert_stored(got: Any, want: np.ndarray, dtype: str, tolerance: float = 0.0) -> None:
    """Equal to what the reference gives, rounded once to the storage type."""
    found, expected = to_host(got), stored(want, dtype) if want.dtype == np.float32 else want
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if tolerance == 0:
        assert np.array_equal(found, expected), np.argwhere(found != expected)[:3]
        return
    # the reference's own tolerance, and half a unit of the storage type where the two fall on two sides of a tie
    unit = {"float32": 0.0, "float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    assert np.all(np.abs(found - expected) <= tolerance + unit * np.abs(expected))


# ---------------------------------------------------------------- fields and planes


@every_type
@pytest.mark.parametrize("size", [(2, 2), (9, 7), (16, 33)])
@pytest.mark.parametrize("amplitude", [0.4, 30.0])
def test_field_kernels_equal_the_reference(
    launched: list[str], dtype: str, size: tuple[int, int], amplitude: float
) -> None:
    field, by = (stored(numbers(seed, (*size, 2)) * np.float32(amplitude), dtype) for seed in (1, 2))
    at = stored(numbers(3, (3, 5, 2), -4, 20), dtype)
    on_gpu = {name: to_device(value, dtype) for name, value in (("field", field), ("by", by), ("at", at))}
    assert_stored(
        gpu.sample_field(on_gpu["field"], on_gpu["at"], stream=STREAM), reference.sample_field(field, at), dtype
    )
    for tau, iterations in ((0.3, 1), (0.7, 4)):
        want = reference.project(field, tau, iterations)
        assert_stored(gpu.project(on_gpu["field"], tau, iterations, stream=STREAM), want, dtype)
    assert_stored(gpu.shift(on_gpu["field"], on_gpu["by"], stream=STREAM), reference.shift(field, by), dtype)


@every_type
@pytest.mark.parametrize(("size", "channels"), [((2, 2), 1), ((9, 7), 0), ((16, 33), 5)])
@pytest.mark.parametrize("amplitude", [0.0, 0.7, 20.0, 3e4])
def test_splat_equals_the_reference(
    launched: list[str], dtype: str, size: tuple[int, int], channels: int, amplitude: float
) -> None:
    features = stored(numbers(21, (channels, *size)) * np.float32(9e3), dtype)
    flow = stored(numbers(22, (*size, 2)) * np.float32(amplitude), dtype)
    flow[0, 0, 1], flow[1, 1] = np.nan, np.inf
    found = gpu.splat(to_device(features, dtype), to_device(flow, dtype), stream=STREAM)
    assert_stored(found, reference.splat(features, flow), dtype)


@every_type
@pytest.mark.parametrize("count", [0, 1, 9])
def test_densify_has_the_bits_of_the_cpu_twin_and_agrees_with_the_reference(
    launched: list[str], dtype: str, count: int
) -> None:
    centres, values = stored(numbers(4, (count, 2), -3, 30), dtype), stored(numbers(5, (count, 2)), dtype)
    found = gpu.densify(to_device(centres, dtype), to_device(values, dtype), 13, 21, 6.0, stream=STREAM)
    assert_stored(found, cpu.densify(centres, values, 13, 21, 6.0), dtype)
    # 1e-5 of the largest value: what the reference states
    assert_stored(found, reference.densify(centres, values, 13, 21, 6.0), dtype, 1e-5 * 2)


@every_type
@pytest.mark.parametrize(("size", "scale"), [((2, 3), 1), ((6, 9), 2), ((5, 7), 3), ((12, 40), 4)])
@pytest.mark.parametrize("amplitude", [0.5, 50.0])
def test_warp_and_mix_equal_the_reference(
    launched: list[str], dtype: str, size: tuple[int, int], scale: int, amplitude: float
) -> None:
    shape = (size[0] * scale, size[1] * scale)
    plane, field = bytes_of(6, shape), stored(numbers(7, (*size, 2)) * np.float32(amplitude), dtype)
    found = gpu.warp(to_device(plane), to_device(field, dtype), stream=STREAM)
    assert_stored(found, reference.warp(plane, field), dtype)
    a, b = (stored(numbers(seed, shape, 0, 255), dtype) for seed in (8, 9))
    weights = stored(numbers(10, size, 0, 1), dtype)
    mixed = gpu.mix(*(to_device(v, dtype) for v in (a, b, weights)), stream=STREAM)
    assert np.array_equal(to_host(mixed), reference.mix(a, b, weights))


@every_type
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 32), (19, 70)])
@pytest.mark.parametrize("tau", [0.0, 0.25, 1.0])
def test_blend_weights_agree_with_the_reference(
    launched: list[str], dtype: str, size: tuple[int, int], tau: float
) -> None:
    a = stored(numbers(11, (2 * size[0], 2 * size[1]), 0, 255), dtype)
    b = stored(np.clip(a + numbers(12, a.shape, -40, 40), 0, 255), dtype)
    trusts = [stored(numbers(seed, size, 0.05, 1), dtype) for seed in (13, 14)]
    found = gpu.blend_weights(*(to_device(v, dtype) for v in (a, b, *trusts)), tau, stream=STREAM)
    # 1e-5: what the reference states
    assert_stored(found, reference.blend_weights(a, b, *trusts, tau), dtype, 1e-5)


# ---------------------------------------------------------------- pictures


@every_type
@pytest.mark.parametrize(("count", "size"), [(1, (2, 2)), (2, (6, 8)), (3, (4, 22)), (1, (16, 32))])
def test_packing_equals_the_reference_and_comes_back(
    launched: list[str], dtype: str, count: int, size: tuple[int, int]
) -> None:
    pictures = bytes_of(15, (count, size[0] * 3 // 2, size[1]))
    planes = gpu.pack_planes(to_device(pictures), stream=STREAM, dtype=dtype)
    assert_stored(planes, picture_reference.pack_planes(pictures), dtype)
    wild = stored(numbers(16, (count, 6, size[0] // 2, size[1] // 2), -1.3, 1.3), dtype)
    wild.reshape(-1)[::5] = np.nan
    wild.reshape(-1)[1::7] = np.inf
    found = gpu.unpack_planes(to_device(wild, dtype), stream=STREAM)
    assert np.array_equal(to_host(found), picture_reference.unpack_planes(wild))
    if dtype != "bfloat16":  # its 8 bits do not hold 256 levels
        assert np.array_equal(to_host(gpu.unpack_planes(planes, stream=STREAM)), pictures)


@every_type
@pytest.mark.parametrize("matrix", [1, 6, 8, 9])
@pytest.mark.parametrize(("count", "size"), [(1, (2, 2)), (2, (6, 10))])
def test_colour_equals_the_reference(
    launched: list[str], dtype: str, matrix: int, count: int, size: tuple[int, int]
) -> None:
    rgb = stored(numbers(17, (count, 3, *size), -1.2, 1.2), dtype)
    found = gpu.rgb_to_yuv(to_device(rgb, dtype), matrix, stream=STREAM)
    assert np.array_equal(to_host(found), picture_reference.rgb_to_yuv(rgb, matrix))
    pictures = bytes_of(18, (count, size[0] * 3 // 2, size[1]))
    back = gpu.yuv_to_rgb(to_device(pictures), matrix, stream=STREAM, dtype=dtype)
    assert_stored(back, picture_reference.yuv_to_rgb(pictures, matrix), dtype)


# ---------------------------------------------------------------- latents


@every_type
@pytest.mark.parametrize("channels", [1, 4, 7])
def test_noise_is_that_of_every_other_machine(launched: list[str], dtype: str, channels: int) -> None:
    frames = np.array([5, 300, 2**32 - 1])
    arguments = (2**32 - 1, 2, frames, 4, channels, 3, 5)
    found = gpu.normal_noise(*arguments, stream=STREAM, dtype=dtype)
    assert_stored(found, latent_reference.normal_noise(*arguments), dtype)


def test_noise_of_half_a_million_positions_is_that_of_the_cpu(launched: list[str]) -> None:
    # far into the tails: the largest of so many is beyond 4.5
    arguments = (11, 3, np.arange(8), 9, 8, 64, 128)
    found = to_host(gpu.normal_noise(*arguments, stream=STREAM))
    assert np.array_equal(found, latent_cpu.normal_noise(*arguments))
    assert np.abs(found).max() > 4.5


@dataclass
class Scene:
    """Latents and tracks of one window."""

    z: np.ndarray
    outside: np.ndarray
    plan: Any


def make_scene(dtype: str = "float32", channels: int = 5, parity: bool = False) -> Scene:
    rng = np.random.default_rng(20)
    frames, size = 16, (7, 11)
    xy = rng.uniform(-8, 96, (9, frames, 2)).astype(np.float32)
    visible = rng.random((9, frames)) > 0.2
    slots = np.arange(frames)
    slots[-1] = frames + 1  # the last reference lies outside the window
    if parity:
        slots[-1] = frames - 1
    plan = latent_reference.guidance_plan(xy, visible, slots, (frames, *size), parity=parity)
    assert plan.cells.size > 50
    levels = [rng.integers(-3, 4, (channels, n, *size)).astype(np.float32) / 2 for n in (frames, 3)]
    return Scene(stored(levels[0], dtype), stored(levels[1], dtype), plan)


@every_type
@pytest.mark.parametrize("channels", [1, 4, 6])
def test_guidance_equals_the_reference(launched: list[str], dtype: str, channels: int) -> None:
    scene = make_scene(dtype, channels)
    volume = np.concatenate([scene.z, scene.outside], axis=1)
    plan = gpu.upload_plan(scene.plan, stream=STREAM)
    want = latent_reference.guidance_gradient(scene.z, scene.plan, volume, volume)
    assert want.any()
    z, around = to_device(scene.z, dtype), to_device(volume, dtype)
    assert_stored(gpu.guidance_gradient(z, plan, around, around, stream=STREAM), want, dtype)
    scene = make_scene(dtype, channels, parity=True)
    plan = gpu.upload_plan(scene.plan, stream=STREAM)
    want = latent_reference.guidance_gradient(scene.z, scene.plan)
    assert_stored(gpu.guidance_gradient(z, plan, stream=STREAM), want, dtype)


def test_plans_are_made_from_tracks_as_on_the_host(launched: list[str]) -> None:
    rng = np.random.default_rng(21)
    xy, visible = rng.uniform(0, 100, (5, 9, 2)).astype(np.float32), rng.random((5, 9)) > 0.1
    arguments = (xy, visible, np.arange(9), (9, 12, 13))
    made, want = (
        gpu.guidance_plan(*arguments, stream=STREAM),
        gpu.upload_plan(latent_reference.guidance_plan(*arguments), stream=STREAM),
    )
    assert made.size == want.size
    assert made.reach == want.reach
    assert np.array_equal(to_host(made.starts), to_host(want.starts))
    assert np.array_equal(to_host(made.entries), to_host(want.entries))


SHAPE = (5, 3, 7, 11)  # 1155 numbers: more than a row of lanes, not a whole number of any access


@pytest.mark.parametrize(
    ("dtype", "rescale", "shape"),
    [
        *((dtype, rescale, SHAPE) for dtype in TYPES for rescale in (0.0, 0.7)),
        ("float32", 1.0, (1, 1, 1, 3)),
        ("float16", 0.7, (4, 2, 41, 211)),  # more rows of lanes than one tile holds
    ],
)
def test_predict_clean_equals_the_reference(
    launched: list[str], dtype: str, rescale: float, shape: tuple[int, ...]
) -> None:
    x, v, u = (stored(numbers(seed, shape), dtype) for seed in (22, 23, 24))
    factors = (0.8, 0.6, 0.9)
    on_gpu = [to_device(value, dtype) for value in (x, v, u)]
    for _ in range(1 if shape[-1] > 100 else 2):  # the counters of the blocks go on where they were
        found = gpu.predict_clean(*on_gpu[:2], *factors, on_gpu[2], 7.5, rescale, stream=STREAM)
        want = latent_reference.predict_clean(x, v, *factors, u, 7.5, rescale)
        for a, b in zip(found, want, strict=True):
            assert_stored(a, b, dtype)
    clean, same = gpu.predict_clean(*on_gpu[:2], *factors, stream=STREAM)
    assert same is on_gpu[1]
    assert_stored(clean, latent_reference.predict_clean(x, v, *factors)[0], dtype)


def test_a_constant_output_is_not_rescaled(launched: list[str]) -> None:
    x, v = numbers(25, SHAPE), np.full(SHAPE, 0.25, np.float32)
    found = gpu.predict_clean(to_device(x), to_device(v), 0.8, 0.6, 1.0, to_device(v), 7.5, 0.7, stream=STREAM)
    assert np.array_equal(to_host(found[1]), v)


@every_type
@pytest.mark.parametrize("given", [(), ("earlier",), ("noise", "gradient"), ("earlier", "noise", "gradient")])
def test_sampler_step_equals_the_reference(launched: list[str], dtype: str, given: tuple[str, ...]) -> None:
    x, v, clean = (stored(numbers(seed, SHAPE), dtype) for seed in (26, 27, 28))
    terms = {name: stored(numbers(29 + n, SHAPE), dtype) for n, name in enumerate(given)}
    weights = (0.3, -0.2, 0.9, 0.1, 0.4, 1.1)
    on_gpu = {name: to_device(term, dtype) for name, term in terms.items()}
    found = gpu.sampler_step(*(to_device(a, dtype) for a in (x, v, clean)), weights, **on_gpu, stream=STREAM)
    assert_stored(found, latent_reference.sampler_step(x, v, clean, weights, **terms), dtype)


@every_type
@pytest.mark.parametrize(
    ("parts", "rescale", "channels"),
    [("bare", 0.7, 4), ("noise", 0.0, 5), ("pull", 0.0, 3), ("all", 0.0, 4), ("all", 0.7, 5), ("levels", 0.7, 5)],
)
def test_guided_step_equals_its_parts(
    launched: list[str], dtype: str, rescale: float, parts: str, channels: int
) -> None:
    scene = make_scene(channels=channels)
    shape, (frames, *cells) = scene.z.shape, scene.z.shape[1:]
    x, earlier, base, known = (numbers(seed, shape) for seed in (40, 41, 42, 43))
    v, u = (stored(numbers(seed, shape), dtype) for seed in (44, 45))
    scale = numbers(46, (channels,), 0.5, 1.5)
    arguments: dict[str, Any] = {
        "factors": Factors(0.8, 0.6, 0.9, 7.5, rescale),
        "weights": (0.3, -0.2, 0.9, 0.1, 0.4, 1.1),
    }
    host, on_gpu = dict(arguments), dict(arguments)
    if parts in ("noise", "all", "levels"):
        counter = NoiseCounter(1, 2, np.arange(100, 100 + frames), 6)
        host["noise"], on_gpu["noise"] = counter, counter._replace(frames=to_device(counter.frames))
    if parts in ("pull", "all", "levels"):
        plan = gpu.upload_plan(scene.plan, stream=STREAM)
        outside = to_device(scene.outside)
        host["pull"], on_gpu["pull"] = Pull(scene.plan, outside=scene.outside), Pull(plan, outside=outside)
    if parts == "all":
        held = np.arange(frames) < 3
        host |= {"earlier": earlier, "held": Held(held, known, 0.5, 0.7)}
        host["pull"] = Pull(scene.plan, base, scale, scene.outside, mean=True)
        on_gpu |= {"earlier": to_device(earlier), "held": Held(to_device(held), to_device(known), 0.5, 0.7)}
        on_gpu["pull"] = Pull(plan, to_device(base), to_device(scale), outside, mean=True)
    if parts == "levels":
        held, start = np.arange(frames) % 3 == 1, numbers(47, shape)
        host["held"] = Held(held, known, 0.5, 0.7, start, 0.9)
        host["pull"] = Pull(scene.plan, outside=scene.outside, outside_level=0.8)
        on_gpu["held"] = Held(to_device(held), to_device(known), 0.5, 0.7, to_device(start), 0.9)
        on_gpu["pull"] = Pull(plan, outside=outside, outside_level=0.8)
    if parts != "bare":
        host["uncond"], on_gpu["uncond"] = u, to_device(u, dtype)
    network = np.full((2, channels + 3, frames, *cells), 9, np.float32)
    rows = to_device(network, dtype)
    found = gpu.guided_step(to_device(x), to_device(v, dtype), **on_gpu, network=rows, stream=STREAM)
    for module in (latent_reference, latent_cpu):
        want = module.guided_step(x, v, **host, network=network)
        assert np.array_equal(to_host(found[0]), want[0])
        assert np.array_equal(to_host(found[1]), want[1])
        assert_stored(rows, network, dtype)
    stems = [name.rpartition("_")[0] for name in launched]
    assert stems == (["step_factor", "guided_step"] if rescale and parts != "bare" else ["guided_step"])


@every_type
@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_a_step_whose_arguments_lie_on_the_device_is_the_same_step(
    launched: list[str], dtype: str, rescale: float
) -> None:
    x, v, u = numbers(50, SHAPE), *(stored(numbers(seed, SHAPE), dtype) for seed in (51, 52))
    frames, network = np.arange(SHAPE[1]), np.zeros((2, SHAPE[0] + 1, *SHAPE[1:]), np.float32)
    factors, weights = Factors(0.8, 0.6, 0.9, 7.5, rescale), (0.3, -0.2, 0.9, 0.0, 0.4, 0.0)
    given = [to_device(x), to_device(v, dtype), to_device(u, dtype)]
    out = to_device(np.zeros_like(x)), to_device(np.zeros_like(x))
    counter, rows = NoiseCounter(1, 2, to_device(frames), 6), to_device(network, dtype)
    record = pack_step(*given[:2], factors, weights, given[2], noise=counter, network=rows, stream=STREAM, out=out)
    assert launched == []
    stored_step(to_device(record.view(np.uint8)), *given[1:], factors.scale, rescale, stream=STREAM)
    want = latent_reference.guided_step(x, v, factors, weights, u, noise=NoiseCounter(1, 2, frames, 6), network=network)
    assert all(np.array_equal(to_host(a), b) for a, b in zip(out, want, strict=True))
    assert_stored(rows, network, dtype)
    stems = [name.rpartition("_")[0] for name in launched]
    assert stems == (["step_factor", "guided_step_at"] if rescale else ["guided_step_at"])


# ---------------------------------------------------------------- storage


def test_halves_are_those_of_numpy_for_every_pattern(emulator: ctypes.CDLL) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    wide = bits.view(np.float16).astype(np.float32)
    found = np.array([emulator.tgvc_float_of_half(int(b)) for b in bits], np.float32)
    assert np.array_equal(found, wide, equal_nan=True)
    # halfway between neighbours, and a hair to either side
    finite = wide[np.isfinite(wide)]
    between = (finite[:-1].astype(np.float64) + finite[1:]) / 2
    values = np.concatenate([np.nextafter(between.astype(np.float32), d) for d in (-1e9, 1e9)] + [between])
    values = np.concatenate([values.astype(np.float32), np.float32([1e9, -1e9, np.inf, 65519.99, 65520, 3e-8, 2e-8])])
    with np.errstate(over="ignore"):
        want = values.astype(np.float16).view(np.uint16)
    assert np.array_equal([emulator.tgvc_half_of(float(v)) for v in values], want)
    assert np.isnan(np.uint16(emulator.tgvc_half_of(float("nan"))).view(np.float16))


def test_bfloats_are_rounded_to_the_nearest(emulator: ctypes.CDLL) -> None:
    values = np.concatenate([numbers(50, (3000,), -1e4, 1e4), np.float32([0, -0.0, np.inf, 3.4e38, 1e-40])])
    assert np.array_equal([emulator.tgvc_bfloat_of(float(v)) for v in values], to_bfloat(values))
    assert emulator.tgvc_bfloat_of(float("nan")) & 0x7FFF > 0x7F80


# ---------------------------------------------------------------- what is around the kernels


def test_every_kernel_of_every_unit_is_known_by_name(emulator: ctypes.CDLL) -> None:
    names = set()
    while (name := emulator.tgvc_kernel_name(len(names))) is not None:
        names.add(name.decode())
    stems = {name.rpartition("_")[0] for name in names}
    assert names == {f"{stem}_{suffix}" for stem in stems for suffix in device_call.SUFFIXES.values()}
    texts = [unit_text(unit) for unit in UNITS]
    assert all(sum(f"({stem}_##suffix)" in text for text in texts) == 2 - 1 for stem in stems)


@pytest.mark.parametrize("name", [name for name in gpu.__all__ if name not in ("DevicePlan", "upload_plan")])
def test_gpu_has_the_signature_of_its_twins(name: str) -> None:
    modules = (reference, cpu), (latent_reference, latent_cpu), (picture_reference, picture_cpu)
    twins = [getattr(m, name) for pair in modules for m in pair if hasattr(m, name)]
    assert len(twins) == 2
    own = list(inspect.signature(getattr(gpu, name)).parameters.values())
    want = list(inspect.signature(twins[0]).parameters.values())
    assert [(p.name, p.default) for p in own[: len(want)]] == [(p.name, p.default) for p in want]
    more = own[len(want) :]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in more)
    assert more[0].name == "stream"
    assert more[0].default is inspect.Parameter.empty
    assert {p.name for p in more} <= {"stream", "out", "dtype"}


def test_arrays_of_both_protocols_go_in_without_a_copy(emulated: FakeCupy) -> None:
    field, by = numbers(60, (6, 8, 2)), numbers(61, (6, 8, 2))
    target = InterfaceArray(np.zeros((6, 8, 2), np.float32))
    result = gpu.shift(InterfaceArray(field), DlpackArray(by), stream=STREAM, out=target)
    assert result is target
    assert np.array_equal(target.host, reference.shift(field, by))
    pointers = [int(a) for a in emulated.launches[0].arguments[:3]]
    assert pointers == [field.ctypes.data, by.ctypes.data, target.host.ctypes.data]


def test_ops_choose_by_the_type_of_the_arrays(emulated: FakeCupy) -> None:
    field, by = numbers(62, (6, 8, 2)), numbers(63, (6, 8, 2))
    found = ops.shift(to_device(field), to_device(by), stream=STREAM)
    assert np.array_equal(found.host, ops.shift(field, by))
    assert len(emulated.launches) == 1
    noise = ops.normal_noise(1, 2, np.arange(3), 4, 4, 5, 6, implementation="gpu", stream=STREAM)
    assert np.array_equal(noise.host, ops.normal_noise(1, 2, np.arange(3), 4, 4, 5, 6))
    with pytest.raises(ValueError, match="stream: expected a CUDA stream"):
        ops.shift(to_device(field), to_device(by))
    with pytest.raises(ValueError, match="stream: only kernels on a GPU take one"):
        ops.shift(field, by, stream=STREAM)
    with pytest.raises(ValueError, match="shift: expected arrays in host memory"):
        ops.shift(to_device(field), to_device(by), implementation="cpu")


FIELD = np.zeros((6, 8, 2), np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((FIELD, FIELD), "field: expected an array on a GPU, got ndarray in host memory"),
        ((to_device(FIELD), to_device(FIELD[:5])), r"by: expected float32 \(6, 8, 2\), got float32 \(5, 8, 2\)"),
        ((to_device(FIELD), to_device(FIELD, "float16")), r"by: expected float32 \(6, 8, 2\), got float16"),
        ((to_device(FIELD.astype(np.float64)), to_device(FIELD)), "field: expected float32 or float16 or bfloat16"),
        ((to_device(FIELD[:1]), to_device(FIELD[:1])), "field: expected at least 2 x 2 cells"),
        ((DlpackArray(FIELD[:, ::2]), to_device(FIELD[:, ::2])), "field: expected C-contiguous memory"),
        ((InterfaceArray(FIELD[::2]), to_device(FIELD[::2])), "field: expected C-contiguous memory"),
        (
            (to_device(FIELD), DlpackArray(FIELD, device=(2, 1))),
            "by: expected an array on device 0 as the others, got 1",
        ),
        ((DlpackArray(FIELD, device=(1, 0)), to_device(FIELD)), "field: expected an array on a GPU"),
    ],
)
def test_bad_arrays_are_refused_before_a_launch(emulated: FakeCupy, arrays: tuple[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gpu.shift(*arrays, stream=STREAM)
    assert emulated.launches == []


def test_what_a_step_cannot_do_is_refused(emulated: FakeCupy) -> None:
    scene = make_scene()
    x = to_device(scene.z)
    plan = gpu.upload_plan(scene.plan, stream=STREAM)
    factors, weights = Factors(0.8, 0.6), (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for changes, message in (
        ({"pull": Pull(plan)}, "outside: the plan points beyond its 16 frames"),
        ({"held": Held(to_device(np.ones(16, bool)), x, 0.5, 0.5)}, "held: expected start in it or noise beside it"),
        ({"noise": NoiseCounter(1, 2, np.arange(3))}, "noise: expected 16 frames, got 3"),
        ({"out": (x, to_device(scene.z))}, "out: expected other memory than that of x"),
        ({"network": to_device(scene.z[None, :2])}, "network: expected at least 5 channels, got 2"),
        ({"weights": (1.0,)}, "weights: expected 6 numbers, got 1"),
        ({"factors": Factors(0.8, 0.6, 1, 1, 1.5), "uncond": x}, "rescale=1.5: expected 0..1"),
    ):
        arguments: dict[str, Any] = {"factors": factors, "weights": weights} | changes
        with pytest.raises(ValueError, match=message):
            gpu.guided_step(x, x, **arguments, stream=STREAM)
    with pytest.raises(ValueError, match=r"(start|end): the plan points beyond its 16 frames"):
        gpu.guidance_gradient(x, plan, stream=STREAM)
    assert emulated.launches == []
