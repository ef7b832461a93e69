"""The C library: it builds, its check passes, a program links it, and its functions give the reference's numbers."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernel_vectors
from emulated_gpu import ROOT, find_compiler, load_emulator
from tgvc_kernels import cpu, latent_reference, picture_reference, reference
from tgvc_kernels.device.binaries import ARCHITECTURES
from tgvc_kernels.device.latent_kernels import DevicePlan, upload_plan
from tgvc_kernels.device.step_kernels import STEP

SHARED_OBJECT = {"linux": "libtgvc_kernels.so", "darwin": "libtgvc_kernels.dylib"}.get(sys.platform, "tgvc_kernels.dll")


@pytest.fixture(scope="session")
def emulator() -> ctypes.CDLL:
    if find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    return load_emulator()


# ---------------------------------------------------------------- CMake


def find_tool(name: str, *folders: Path) -> str | None:
    beside = [Path(sys.executable).parent, *folders]
    return shutil.which(name) or next((str(f / name) for f in beside if (f / name).is_file()), None)


def find_nvcc() -> str | None:
    """Of the system, of the CUDA toolkit, or of the wheel nvidia-cuda-nvcc."""
    wheels = [Path(entry) / "nvidia" / "cu13" / "bin" for entry in sys.path if entry]
    return os.environ.get("CUDACXX") or find_tool("nvcc", Path("/usr/local/cuda/bin"), *wheels)


CMAKE, NVCC = find_tool("cmake"), find_nvcc()
needs_cmake = pytest.mark.skipif(CMAKE is None or find_compiler() is None, reason="cmake or a C++ compiler is missing")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def runtime_of_wheel() -> list[str]:
    """The CUDA runtime beside a compiler from a wheel, whose file name CMake does not look for."""
    library = Path(NVCC or "").parents[1] / "lib" / "libcudart.so.13" if NVCC else Path()
    return [f"-DCUDA_CUDART={library}"] if "nvidia" in library.parts and library.is_file() else []


@needs_cmake
def test_the_check_alone_builds_without_cuda_and_passes(tmp_path: Path) -> None:
    run(CMAKE, "-S", ROOT, "-B", tmp_path, "-DTGVC_KERNELS_CUDA=OFF")
    run(CMAKE, "--build", tmp_path)
    told = run(Path(CMAKE).with_name("ctest"), "--test-dir", tmp_path, "--verbose")
    assert "18 cases, 0 failed" in told
    assert "100% tests passed, 0 tests failed out of 1" in told
    wrong = bytearray(kernel_vectors.VECTORS.read_bytes())
    at = wrong.rindex(struct.pack("<I", 2), 0, len(wrong) - 2000)
    wrong[at - 900] ^= 0x40
    (tmp_path / "wrong.bin").write_bytes(wrong)
    check = tmp_path / "tgvc_kernels_check"
    for vectors in (tmp_path / "wrong.bin", tmp_path / "absent.bin"):
        assert subprocess.run([check, vectors], capture_output=True, check=False).returncode in (1, 2)


@needs_cmake
@pytest.mark.slow
@pytest.mark.skipif(NVCC is None, reason="nvcc is missing: pip install 'tgvc[cuda-build]' or the CUDA toolkit")
def test_the_library_builds_for_every_architecture_installs_and_is_linked(tmp_path: Path) -> None:
    build, prefix, example = (tmp_path / name for name in ("build", "prefix", "example"))
    architectures = ";".join(f"{number}-real" for number in ARCHITECTURES)
    given = [
        f"-DCMAKE_CUDA_COMPILER={NVCC}",
        f"-DCMAKE_CUDA_ARCHITECTURES={architectures}",
        "-DCMAKE_BUILD_TYPE=Release",
    ]
    run(CMAKE, "-S", ROOT, "-B", build, *given, *runtime_of_wheel())
    run(CMAKE, "--build", build, "--parallel", "2")
    told = run(Path(CMAKE).with_name("ctest"), "--test-dir", build)
    assert "0 tests failed out of 2" in told
    run(CMAKE, "--install", build, "--prefix", prefix)
    installed = {path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if path.is_file()}
    assert "include/tgvc_kernels.h" in installed
    assert any(name.endswith(SHARED_OBJECT) for name in installed)
    run(CMAKE, "-S", ROOT / "deploy" / "cpp", "-B", example, f"-DCMAKE_PREFIX_PATH={prefix}", *runtime_of_wheel())
    run(CMAKE, "--build", example)
    done = subprocess.run([example / "embed"], capture_output=True, text=True, check=False)
    assert "tgvc_kernels 1" in done.stdout
    if done.returncode == 77:
        assert "no GPU here" in done.stdout
    else:
        assert done.returncode == 0, done.stderr
        assert " 0 of 245760 px differ" in f" {done.stdout}"


def test_vectors_are_what_the_reference_gives(emulator: ctypes.CDLL, tmp_path: Path) -> None:
    stored = kernel_vectors.VECTORS.read_bytes()
    at = 0
    for chunk in kernel_vectors.make_chunks(emulator, tmp_path):
        found = stored[at : at + len(chunk.content)]
        at += len(chunk.content)
        if chunk.tolerance == 0:
            assert found == chunk.content, f"at byte {at}: python tests/kernel_vectors.py writes the file again"
            continue
        kind = {1e-5: np.float32}.get(chunk.tolerance, np.uint16)
        # a power of NumPy's, good to a few units of its type, which neighbouring whole numbers of its bits are
        bits = [
            np.frombuffer(c, kind).view(np.uint32 if kind is np.float32 else np.uint16) for c in (found, chunk.content)
        ]
        assert np.abs(bits[0].astype(np.int64) - bits[1]).max() <= 8
    assert at == len(stored)


# ---------------------------------------------------------------- the C functions, on the emulated device


def pointer(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


class Library:
    """The C functions with NumPy arrays; every call is float32 on the default stream."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library

    def call(self, name: str, *arguments: Any, kind: int = 0) -> int:
        packed: list[Any] = []
        for argument in arguments:
            if isinstance(argument, np.ndarray) or argument is None:
                packed.append(pointer(argument))
            elif isinstance(argument, np.float64):
                packed.append(ctypes.c_double(argument))
            else:
                packed.append(ctypes.c_float(argument) if isinstance(argument, float) else ctypes.c_uint32(argument))
        return int(getattr(self.library, name)(kind, *packed, pointer(None)))


@pytest.fixture
def library(emulator: ctypes.CDLL) -> Library:
    return Library(emulator)


def numbers(seed: int, shape: tuple[int, ...], low: float = -2.0, high: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def test_c_functions_of_fields_and_planes_equal_the_reference(library: Library) -> None:
    field, by, at = numbers(1, (6, 40, 2)), numbers(2, (6, 40, 2)), numbers(3, (9, 2), -3, 30)
    out = np.empty_like(field)
    assert library.call("tgvc_shift", field, by, out, 6, 40) == 0
    assert np.array_equal(out, reference.shift(field, by))
    assert library.call("tgvc_project", field, out, 6, 40, 0.375, 3) == 0
    assert np.array_equal(out, reference.project(field, 0.375, 3))
    few = np.empty_like(at)
    assert library.call("tgvc_sample_field", field, at, few, 6, 40, 9) == 0
    assert np.array_equal(few, reference.sample_field(field, at))
    features, moved = numbers(10, (3, 6, 40)), np.empty((4, 6, 40), np.float32)
    sums = np.full((4, 6, 40), 77, np.int64)
    assert library.call("tgvc_splat", features, by, sums, moved, 3, 6, 40) == 0
    assert np.array_equal(moved, reference.splat(features, by))
    assert library.call("tgvc_splat", features, by, sums, moved, 2**32 - 1, 6, 40) != 0
    assert library.call("tgvc_densify", at, by, out, 9, 6, 40, np.float64(5.0)) == 0
    # 1e-6: the constant term is a power of the C library's here and one of NumPy's there
    assert np.allclose(out, cpu.densify(at, by.reshape(-1, 2)[:9].copy(), 6, 40, 5.0), rtol=0, atol=1e-6)
    plane, warped = np.random.default_rng(4).integers(0, 256, (12, 80), dtype=np.uint8), np.empty((12, 80), np.float32)
    assert library.call("tgvc_warp", plane, field, warped, 12, 80, 6, 40) == 0
    assert np.array_equal(warped, reference.warp(plane, field))
    a, b, trusts = numbers(5, (12, 80), 0, 255), numbers(6, (12, 80), 0, 255), numbers(7, (2, 6, 40), 0.1, 1)
    share = np.empty((6, 40), np.float32)
    for tau in (0.0, 0.375, 1.0):
        assert library.call("tgvc_blend_weights", a, b, trusts[0], trusts[1], share, 6, 40, tau) == 0
        # 1e-5: what the reference states
        assert np.allclose(share, reference.blend_weights(a, b, trusts[0], trusts[1], tau), rtol=0, atol=1e-5)
    mixed = np.empty((12, 80), np.uint8)
    assert library.call("tgvc_mix", a, b, trusts[0], mixed, 12, 80, 6, 40) == 0
    assert np.array_equal(mixed, reference.mix(a, b, trusts[0]))


@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 8, 9, 10, 255])
def test_c_functions_of_pictures_equal_the_reference(library: Library, matrix: int) -> None:
    pictures = np.random.default_rng(8).integers(0, 256, (2, 9, 10), dtype=np.uint8)
    planes, rgb, again = (
        np.empty((2, 6, 3, 5), np.float32),
        numbers(9, (2, 3, 6, 10), -1.2, 1.2),
        np.empty_like(pictures),
    )
    assert library.call("tgvc_pack_planes", pictures, planes, 2, 3, 5) == 0
    assert np.array_equal(planes, picture_reference.pack_planes(pictures))
    assert library.call("tgvc_unpack_planes", planes, again, 2, 3, 5) == 0
    assert np.array_equal(again, pictures)
    assert library.call("tgvc_rgb_to_yuv", rgb, again, matrix, 2, 3, 5) == 0
    assert np.array_equal(again, picture_reference.rgb_to_yuv(rgb, matrix))
    assert library.call("tgvc_yuv_to_rgb", pictures, rgb, matrix, 2, 3, 5) == 0
    assert np.array_equal(rgb, picture_reference.yuv_to_rgb(pictures, matrix))


@pytest.fixture
def host_plan(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`upload_plan` to host memory."""

    class Host:
        stream = 0

        def __init__(self, *_: Any) -> None:
            self.runtime = self

        def upload(self, array: np.ndarray, stream: int) -> np.ndarray:
            return array.copy()

    from tgvc_kernels.device import latent_kernels

    monkeypatch.setattr(latent_kernels, "Call", Host)
    return lambda plan: upload_plan(plan, stream=0)


def test_c_functions_of_latents_equal_the_reference(library: Library, host_plan: Any) -> None:
    from tgvc_kernels.step import Factors, NoiseCounter, Pull

    frames, shape = np.arange(70, 75), (5, 5, 6, 7)
    noise = np.empty(shape, np.float32)
    assert library.call("tgvc_normal_noise", frames, noise, 1, 2, 3, 5, 5, 42) == 0
    assert np.array_equal(noise, latent_reference.normal_noise(1, 2, frames, 3, *shape[:1], *shape[2:]))
    xy = numbers(10, (6, 5, 2), 0, 50)
    plan = latent_reference.guidance_plan(xy, np.ones((6, 5), bool), np.arange(5), (5, 6, 7))
    dense: DevicePlan = host_plan(plan)
    x, v, u, out = numbers(11, shape), numbers(12, shape), numbers(13, shape), np.empty(shape, np.float32)
    assert library.call("tgvc_guidance_gradient", x, x, x, out, dense.starts, dense.entries, 5, 210, 210, 210) == 0
    assert np.array_equal(out, latent_reference.guidance_gradient(x, plan))
    library.library.tgvc_work_size.restype = ctypes.c_size_t
    work, factor = np.zeros(library.library.tgvc_work_size(), np.uint8), np.zeros(1, np.float32)
    assert library.call("tgvc_step_factor", v, u, work, factor, np.float64(0.7), 7.5, x.size) == 0
    clean, combined = np.empty_like(x), np.empty_like(x)
    numbers_of = (0.75, 0.625, 0.875, 7.5)
    assert library.call("tgvc_predict_clean", x, v, u, factor, clean, combined, *numbers_of, x.size) == 0
    want = latent_reference.predict_clean(x, v, *numbers_of[:3], u, 7.5, 0.7)
    assert np.array_equal(clean, want[0])
    assert np.array_equal(combined, want[1])
    weights = np.float32([0.25, -0.5, 0.875, 0.125, 0.375, 1.125])
    assert library.call("tgvc_sampler_step", x, v, clean, None, noise, None, out, weights, x.size) == 0
    six = tuple(weights.tolist())
    assert np.array_equal(out, latent_reference.sampler_step(x, v, clean, six, noise=noise))
    step = np.zeros(1, STEP)
    pointers = {"x": x, "v": v, "u": u, "factor": factor, "noise_frames": frames, "starts": dense.starts}
    for name, array in (pointers | {"entries": dense.entries, "out": out, "clean": clean}).items():
        step[name] = array.ctypes.data
    counts = {"channels": 5, "frames": 5, "cells": 42, "seed": 1, "group": 2, "draw": 6}
    floats = dict(zip(("signal", "spread", "clean_scale", "scale"), numbers_of, strict=True))
    for name, value in (counts | floats | {"shown_scale": 1, "w": weights}).items():
        step[name] = value
    assert library.call("tgvc_guided_step", step) == 0
    want = latent_reference.guided_step(
        x, v, Factors(*numbers_of, 0.7), six, u, noise=NoiseCounter(1, 2, frames, 6), pull=Pull(plan)
    )
    assert np.array_equal(out, want[0])
    assert np.array_equal(clean, want[1])


def test_c_functions_refuse_what_does_not_fit(library: Library) -> None:
    a = numbers(14, (4, 4))
    refused = [
        ("tgvc_shift", a, a, a, 1, 8),
        ("tgvc_shift", a, a, a, 1 << 20, 1 << 20),
        ("tgvc_project", a, a, 2, 4, 1.5, 3),
        ("tgvc_warp", a, a, a, 5, 4, 2, 2),
        ("tgvc_rgb_to_yuv", a, a, 1, 1 << 12, 1 << 12, 1 << 12),
        ("tgvc_step_factor", a, a, a, a, np.float64(1.5), 1.0, 16),
        ("tgvc_predict_clean", a, a, a, None, a, None, 1.0, 1.0, 1.0, 1.0, 16),
        ("tgvc_guided_step", np.zeros(1, STEP)),
    ]
    for name, *arguments in refused:
        assert library.call(name, *arguments) == 1, name  # cudaErrorInvalidValue
    assert library.call("tgvc_shift", a, a, a, 2, 4, kind=3) == 1
    library.library.tgvc_kernel.restype = ctypes.c_void_p
    assert library.library.tgvc_kernel(b"warp_f16")
    assert not library.library.tgvc_kernel(b"warp_f64")
    assert library.library.tgvc_version() == 1
