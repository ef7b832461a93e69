"""On a real GPU: arrays of every library go in as they are, and a step can be captured into a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tgvc_kernels import gpu, latent_reference, ops, reference
from tgvc_kernels.device.driver import missing_gpu
from tgvc_kernels.step import Factors, NoiseCounter

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(missing_gpu() != "", reason=missing_gpu() or "gpu")]
FIELD, BY = (np.random.default_rng(seed).normal(size=(12, 17, 2)).astype(np.float32) for seed in (1, 2))


def test_arrays_of_torch_go_in_and_come_out_without_a_copy() -> None:
    torch = pytest.importorskip("torch", reason="torch: tensors on a GPU")
    if not torch.cuda.is_available():
        pytest.skip("torch was built without CUDA")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        field, by = (torch.from_numpy(a).cuda() for a in (FIELD, BY))
        out = torch.empty_like(field)
        assert gpu.shift(field, by, stream=stream, out=out) is out
        halves = gpu.shift(field.bfloat16(), by.bfloat16(), stream=stream, out=torch.empty_like(field.bfloat16()))
    stream.synchronize()
    assert np.array_equal(out.cpu().numpy(), reference.shift(FIELD, BY))
    rounded = [a.bfloat16().float().numpy() for a in map(torch.from_numpy, (FIELD, BY))]
    want = torch.from_numpy(reference.shift(*rounded)).bfloat16()
    assert torch.equal(halves.cpu(), want)


def test_arrays_of_numba_go_in_without_a_copy() -> None:
    cuda = pytest.importorskip("numba.cuda", reason="numba.cuda: its arrays")
    if not cuda.is_available():
        pytest.skip("numba finds no CUDA")
    stream = cuda.stream()
    field, by, out = (cuda.to_device(a, stream=stream) for a in (FIELD, BY, np.zeros_like(FIELD)))
    ops.shift(field, by, stream=stream)
    gpu.shift(field, by, stream=stream, out=out)
    assert np.array_equal(out.copy_to_host(stream=stream), reference.shift(FIELD, BY))


def test_arrays_of_pycuda_go_in_without_a_copy() -> None:
    pytest.importorskip("pycuda", reason="pycuda: its arrays")
    import pycuda.autoprimaryctx  # noqa: F401
    from pycuda import driver, gpuarray

    stream = driver.Stream()
    field, by, out = (gpuarray.to_gpu(a) for a in (FIELD, BY, np.zeros_like(FIELD)))
    gpu.shift(field, by, stream=stream, out=out)
    stream.synchronize()
    assert np.array_equal(out.get(), reference.shift(FIELD, BY))


def test_a_step_is_captured_into_a_graph_and_replayed() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy: streams and graphs")
    rng, shape = np.random.default_rng(3), (4, 16, 40, 64)
    x, v, u = (rng.normal(size=shape).astype(np.float32) for _ in range(3))
    factors, weights = Factors(0.8, 0.6, 0.9, 7.5, 0.7), (0.3, -0.2, 0.9, 0.0, 0.4, 0.0)
    frames = np.arange(16)
    given: list[Any] = [cupy.asarray(a) for a in (x, v, u)]
    out, counter = (cupy.empty_like(given[0]), cupy.empty_like(given[0])), NoiseCounter(1, 2, cupy.asarray(frames), 6)
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()

    def step() -> None:
        gpu.guided_step(given[0], given[1], factors, weights, given[2], noise=counter, stream=stream, out=out)

    step()  # compiles and makes the memory of the sums
    stream.synchronize()
    with stream:
        stream.begin_capture()
        step()
        graph = stream.end_capture()
    want = latent_reference.guided_step(x, v, factors, weights, u, noise=NoiseCounter(1, 2, frames, 6))
    for _ in range(3):
        for array in out:
            array.fill(0)
        cupy.cuda.Device().synchronize()
        graph.launch(stream)
        stream.synchronize()
        for found, expected in zip(out, want, strict=True):
            assert np.array_equal(cupy.asnumpy(found), expected)
