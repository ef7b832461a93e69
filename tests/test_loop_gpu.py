"""The loop on a real GPU; where there is none, the same tests with plain networks run on one that does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emulated_gpu import empty_binaries
from lazy_cupy import Engine, LazyCupy
from loop_samples import make_group
from network_samples import tiny_bundle, tiny_constants
from tgvc.backends.base import BACKENDS, load_backend
from tgvc.backends.spec import NetRecord
from tgvc.devices import cuda
from tgvc.devices.choice import find_device
from tgvc.devices.cuda import CudaDevice
from tgvc.devices.host import HostDevice
from tgvc.errors import BackendUnavailableError
from tgvc.models.bundle import load_bundle
from tgvc.models.nets import Networks
from tgvc.overlap import StageClock
from tgvc.synthesis.latent import LatentGenerator, LatentOptions
from tgvc_kernels.device import call as device_call
from tgvc_kernels.device.driver import missing_gpu
from tgvc_kernels.device.runtime import Runtime
from tgvc_kernels.errors import GpuUnavailableError


class PlainNet:
    """Networks of single roundings, so that every machine gives the same bits: on a GPU through CuPy, else NumPy."""

    capturable = True

    def __init__(self, record: NetRecord, cupy: Any, encode: Any) -> None:
        self.record, self._cupy, self._encode = record, cupy, encode

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        if self.record.name == "encoder":
            return dict(self._encode(**inputs))
        planes = inputs.get("planes")
        outputs = {"v": np.empty_like(inputs["x"])} if planes is None else _made(planes)
        self._compute(inputs, outputs)
        return outputs

    def launch(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: int) -> None:
        class Given:
            def __cuda_stream__(self) -> tuple[int, int]:
                return 0, stream

        with self._cupy.cuda.Stream.from_external(Given()):
            self._compute(inputs, outputs)

    def _compute(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        if self.record.name == "denoiser":
            # nothing is made for a moment: a recorded graph would go on writing there
            np.multiply(inputs["x"], np.float32(0.5), out=outputs["v"])
        else:
            outputs["pictures"][...] = inputs["planes"] * np.float32(0.75)
            outputs["pictures"][:, :4, 2::4, 2::4] = inputs["latents"]  # one number of every cell
            outputs["lack"][...] = inputs["planes"][:, :1] * np.float32(0)


def _made(planes: np.ndarray) -> dict[str, np.ndarray]:
    return {"pictures": np.empty_like(planes), "lack": np.empty_like(planes[:, :1])}


class PlainBackend:
    name, providers, version, device = "plain", ("plain",), "1", "cuda:0"

    def __init__(self, cupy: Any = None) -> None:
        self._cupy, self._real = cupy, load_backend("onnxruntime", threads=1)

    def load(self, record: NetRecord) -> PlainNet:
        return PlainNet(record, self._cupy, self._real.load(record).run if record.name == "encoder" else None)


@pytest.fixture(params=["emulated", pytest.param("real", marks=pytest.mark.gpu)])
def cupy(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "real":
        if reason := missing_gpu():
            pytest.skip(reason)
        return pytest.importorskip("cupy", reason="CuPy: arrays on a GPU")
    made = LazyCupy(Engine(request.getfixturevalue("emulator"), "random", 3))
    runtime = Runtime(made, 0, (9, 0), empty_binaries(tmp_path))
    for module in (device_call, cuda):
        monkeypatch.setattr(module, "find_runtime", lambda ordinal=0: runtime)
    return made


def test_steps_and_guidance_have_the_bits_of_the_host(cupy: Any, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", constants=tiny_constants(residual_std=0.7))
    options, group = LatentOptions(steps=4, grain=0.0, detail=0.7, guidance=0.3, dense=True), make_group((9, 2, 7))
    shown = []
    for backend, device in ((PlainBackend(cupy), CudaDevice()), (PlainBackend(), HostDevice())):
        generator = LatentGenerator(Networks(bundle, backend), options, device)  # type: ignore[arg-type]
        # the second time every step is replayed
        shown += [list(generator.render_group(group, StageClock())) for _ in range(2)]
    free = LatentGenerator(
        Networks(bundle, PlainBackend()),  # type: ignore[arg-type]
        LatentOptions(steps=4, grain=0.0, detail=0.7),
    )
    assert not np.array_equal(np.stack(shown[0]), np.stack(list(free.render_group(group, StageClock()))))
    for pictures in shown[1:]:
        assert np.array_equal(np.stack(pictures), np.stack(shown[0]))


def test_strided_and_converted_copies_arrive(cupy: Any) -> None:
    device = CudaDevice()
    stream = device.make_stream()
    rng = np.random.default_rng(1)
    host = rng.normal(size=(3, 4, 5)).astype(np.float32)
    there = device.empty((3, 6, 5), np.float16, stream)
    device.apply(lambda out: out.__setitem__(..., np.float32(2)), there, stream=stream)
    device.copy(there[:, 1:5], host, stream)
    device.copy(there[:, 0], host[0, 0], stream)
    want = np.full((3, 6, 5), 2, np.float16)
    want[:, 1:5], want[:, 0] = host, host[0, 0]
    host[...] = 0  # it was read before
    assert np.array_equal(device.download(there, stream).wait(), want)
    with pytest.raises(ValueError, match="expected a dense array"):
        device.download(there[:, 1:3], stream)


def test_work_that_fails_while_it_is_recorded_leaves_the_stream_usable(cupy: Any) -> None:
    device = CudaDevice()
    stream = device.make_stream()
    array = device.empty((4,), np.float32, stream)

    def work() -> None:
        raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError, match="no more memory"):
        device.capture(work, stream)
    device.copy(array, np.arange(4, dtype=np.float32), stream)
    assert device.download(array, stream).wait().tolist() == [0, 1, 2, 3]


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "onnxruntime"])
def test_networks_on_a_gpu_paint_the_pictures_of_the_cpu(name: str) -> None:
    if reason := missing_gpu():
        pytest.skip(reason)
    try:
        far = load_backend(name)
    except BackendUnavailableError as fault:
        pytest.skip(str(fault))
    if far.device == "cpu":
        pytest.skip(f"{name} computes on the CPU here")
    bundle, group = load_bundle("nano"), make_group((17, 9, 14))
    options = LatentOptions(steps=4, detail=0.5, guidance=0.25)
    near = LatentGenerator(Networks(bundle, load_backend("onnxruntime")), options)
    there = LatentGenerator(Networks(bundle, far), options, find_device(far.device))
    want, found = (np.stack(list(g.render_group(group, StageClock()))).astype(int) for g in (near, there))
    # convolutions add in another order, which four steps and signs of the guidance pass on; a level is 1 / 255
    assert np.abs(found - want).mean() < 0.1
    assert (np.abs(found - want) > 2).mean() < 1e-3


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(ordinal: int) -> None:
        raise GpuUnavailableError(f"gpu: there is no device {ordinal}")

    monkeypatch.setattr(cuda, "find_runtime", missing)
    with pytest.raises(BackendUnavailableError, match="gpu: there is no device 3"):
        find_device("cuda:3")
    assert find_device("cpu").name == "cpu"
