"""Around the kernels: is there a GPU, whose arrays, whose streams, which binary; what is missing is named."""

from __future__ import annotations

import ctypes
import inspect
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emulated_gpu import DlpackArray, find_compiler
from tgvc_kernels import gpu
from tgvc_kernels.device import binaries, nvrtc, sources
from tgvc_kernels.device import runtime as device_runtime
from tgvc_kernels.device.arrays import on_device, read_capsule, stream_pointer, view_array
from tgvc_kernels.device.call import pack_argument
from tgvc_kernels.device.driver import device_capability, missing_gpu
from tgvc_kernels.device.step_kernels import STEP
from tgvc_kernels.errors import GpuUnavailableError

# ---------------------------------------------------------------- the driver

DRIVER = """
static int devices = {devices}, fault = {fault};
int cuInit(unsigned flags) {{ return flags ? 1 : fault; }}
int cuDeviceGetCount(int* count) {{ return *count = devices, 0; }}
int cuDeviceGet(int* device, int number) {{ return number < devices ? (*device = number, 0) : 101; }}
int cuDeviceGetAttribute(int* value, int attribute, int device) {{ return *value = attribute == 75 ? 9 : device, 0; }}
int cuGetErrorString(int code, const char** text) {{ return *text = code == 101 ? "invalid device" : "broken", 0; }}
"""


def build_driver(folder: Path, devices: int, fault: int = 0) -> str:
    """A driver of so many devices, or one that does not start."""
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    source, library = folder / "driver.c", folder / f"driver{devices}-{fault}.so"
    source.write_text(DRIVER.format(devices=devices, fault=fault))
    subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", source, "-o", library], check=True)
    return str(library)


def test_a_driver_is_asked_what_its_devices_are(tmp_path: Path) -> None:
    library = build_driver(tmp_path, devices=2)
    assert device_capability(0, library) == (9, 0)
    assert device_capability(1, library) == (9, 1)
    assert missing_gpu(library) == ""
    with pytest.raises(GpuUnavailableError, match="there is no device 2: error 101, invalid device"):
        device_capability(2, library)


@pytest.mark.parametrize(
    ("devices", "fault", "reason"),
    [
        (0, 0, "finds no NVIDIA GPU on this machine"),
        (0, 100, "finds no NVIDIA GPU on this machine"),
        (1, 3, "does not start: error 3, broken"),
    ],
)
def test_a_driver_without_a_device_says_so(tmp_path: Path, devices: int, fault: int, reason: str) -> None:
    assert missing_gpu(build_driver(tmp_path, devices, fault)).endswith(reason)


def test_a_missing_driver_is_named_before_any_gpu_library_is_loaded() -> None:
    code = (
        "import sys, numpy as np\n"
        "from tgvc_kernels import gpu, ops\n"
        "from tgvc_kernels.device import driver\n"
        "driver.device_capability.__defaults__ = (0, 'libnot-there.so')\n"
        "try:\n    ops.normal_noise(1, 2, np.arange(3), 4, 4, 5, 6, implementation='gpu', stream=0)\n"
        "except (ImportError, RuntimeError) as fault:\n    print(type(fault).__name__, fault)\n"
        "print([m for m in ('cupy', 'torch', 'pycuda', 'numba.cuda') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    reason, loaded = done.stdout.splitlines()
    assert reason.startswith("GpuUnavailableError gpu: libnot-there.so is missing: install the NVIDIA driver")
    assert loaded == "[]"


@pytest.mark.skipif(missing_gpu() == "", reason="there is a GPU here")
@pytest.mark.parametrize("name", [name for name in gpu.__all__ if name != "DevicePlan"])
def test_without_a_gpu_every_kernel_raises_with_the_reason(name: str) -> None:
    function = getattr(gpu, name)
    array = DlpackArray(np.zeros((2, 3, 3), np.float32))
    given: dict[str, Any] = {
        p.name: array if p.annotation == "Any" else 1
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty
    }
    if name in ("guidance_plan", "upload_plan"):
        plan = gpu.guidance_plan.__globals__["latent_cpu"]
        tracks = np.zeros((1, 3, 2), np.float32), np.ones((1, 3), bool), np.arange(3), (3, 4, 4)
        given = dict(zip(("xy", "visible", "slots", "size"), tracks, strict=True))
        if name == "upload_plan":
            given = {"plan": plan.guidance_plan(*tracks)}
    with pytest.raises(GpuUnavailableError, match=r"^gpu: lib\S+ (is missing|finds no|does not start)"):
        function(**given | {"stream": 0})


def test_a_missing_or_old_cupy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_runtime, "device_capability", lambda device: (9, 0))
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(GpuUnavailableError, match="CuPy is missing: pip install cupy-cuda13x"):
        device_runtime.find_runtime.__wrapped__(0)
    old = SimpleNamespace(cuda=SimpleNamespace(Stream=object), __version__="12.0")
    monkeypatch.setitem(sys.modules, "cupy", old)
    with pytest.raises(GpuUnavailableError, match=r"CuPy 12\.0 is too old"):
        device_runtime.find_runtime.__wrapped__(0)


def test_a_runtime_is_made_once_and_takes_binaries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device_runtime, "device_capability", lambda device: (9, device))
    stream = SimpleNamespace(from_external=None)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(Stream=stream), __version__="14.0"))
    monkeypatch.setattr(device_runtime, "find_runtime", cache(device_runtime.find_runtime.__wrapped__))
    device_runtime.use_binaries(tmp_path, 1)
    assert device_runtime.find_runtime(1).binaries == tmp_path
    assert device_runtime.find_runtime(1).capability == (9, 1)
    assert device_runtime.find_runtime(0).binaries is None


# ---------------------------------------------------------------- arrays and streams


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "uint8", "bool"])
def test_capsules_of_torch_are_read_without_a_copy(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="torch: its DLPack capsules")
    tensor = torch.zeros((3, 4, 5)).to(getattr(torch, dtype))[1:]
    view = read_capsule("x", tensor.__dlpack__())
    assert (view.pointer, view.shape, view.dtype) == (tensor.data_ptr(), (2, 4, 5), dtype)
    with pytest.raises(ValueError, match="x: expected C-contiguous memory"):
        read_capsule("x", tensor.transpose(0, 1).__dlpack__())


def test_what_is_in_host_memory_is_not_on_a_gpu() -> None:
    assert not any(map(on_device, (np.zeros(3), np.float32(1), 1.5, None, (1,), "name")))
    assert on_device(DlpackArray(np.zeros(3)))
    torch = pytest.importorskip("torch", reason="torch: a tensor of the CPU")
    assert not on_device(torch.zeros(3))


def test_producers_are_told_the_stream() -> None:
    array = DlpackArray(np.zeros(3, np.float32))
    for stream, told in ((0, 1), (1, 1), (2, 2), (140_000, 140_000)):  # 0 means another stream to DLPack
        view_array("x", array, stream)
        assert array.streams.pop() == told


def test_streams_of_every_library_are_known() -> None:
    class Protocol:
        def __cuda_stream__(self) -> tuple[int, int]:
            return 0, 9

    streams = [
        (0, 0),
        (np.int64(5), 5),
        (SimpleNamespace(ptr=6), 6),
        (SimpleNamespace(cuda_stream=7), 7),
        (SimpleNamespace(handle=8), 8),
        (SimpleNamespace(handle=ctypes.c_void_p(11)), 11),
        (SimpleNamespace(handle=ctypes.c_void_p(0)), 0),
        (Protocol(), 9),
    ]
    for stream, pointer in streams:
        assert stream_pointer(stream) == pointer
    for wrong in (None, -1, True, "default"):
        with pytest.raises(ValueError, match="stream: expected a CUDA stream or its pointer"):
            stream_pointer(wrong)


def test_arguments_have_the_width_that_kernels_read() -> None:
    packed = [pack_argument(a) for a in (None, 3, True, 0.5, np.float64(0.7))]
    assert [p.dtype.name for p in packed] == ["uint64", "uint32", "uint32", "float32", "float64"]
    assert STEP.itemsize == 240


# ---------------------------------------------------------------- texts and binaries


def test_units_are_whole_and_name_no_other_file() -> None:
    for unit in sources.UNITS:
        text = sources.unit_text(unit)
        assert '.cuh"' not in text
        assert text.count("constexpr u32 BLOCK = 256;") == 1
        assert "TGVC_FOR_EACH_TYPE(TGVC_DEFINE)" in text
    folder = Path(sources.__file__).parents[1] / "cuda"
    assert sorted(path.stem for path in folder.glob("*.cu")) == sorted(sources.UNITS)
    with pytest.raises(ValueError, match="unit='none': expected one of colour"):
        sources.unit_text("none")


def test_table_of_quantiles_is_that_of_the_reference() -> None:
    from tgvc_kernels.quantiles import normal_quantiles

    text = (Path(sources.__file__).parents[1] / "cuda" / "quantiles.cuh").read_text()
    numbers = text.partition("= {")[2].partition("};")[0].replace(",", " ").split()
    assert np.array_equal(np.array(numbers, np.int32).reshape(32, 65), normal_quantiles())


def test_binaries_are_kept_by_text_architecture_and_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int]] = []

    def compile_text(text: str, architecture: int, name: str) -> bytes:
        made.append((name, architecture))
        return text.encode()

    monkeypatch.setattr(binaries, "compile_text", compile_text)
    monkeypatch.setattr(binaries, "supported_architectures", lambda: [75, 80, 86, 90, 100])
    monkeypatch.setattr(binaries, "nvrtc_version", lambda: (13, 0))
    paths = [binaries.find_binary("noise", (9, 0), None, tmp_path) for _ in range(2)]
    assert paths[0] == paths[1]
    assert made == [("noise.cu", 90)]
    binaries.find_binary("noise", (8, 9), None, tmp_path)  # runs what was compiled for 8.6
    assert made[-1] == ("noise.cu", 86)
    monkeypatch.setattr(binaries, "nvrtc_version", lambda: (13, 1))
    assert binaries.find_binary("noise", (9, 0), None, tmp_path) != paths[0]
    monkeypatch.setattr(binaries, "unit_text", lambda unit: "another text")
    assert binaries.find_binary("noise", (9, 0), None, tmp_path).read_bytes() == b"another text"
    assert [path for path in tmp_path.iterdir() if path.suffix != ".cubin"] == []


def test_shipped_binaries_need_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "compile_text", lambda text, architecture, name: b"code")
    shipped = binaries.ship_binaries(tmp_path, [80, 90])
    assert len(shipped) == 2 * len(sources.UNITS)

    def refuse() -> list[int]:
        raise GpuUnavailableError("nvrtc: asked for")

    monkeypatch.setattr(binaries, "supported_architectures", refuse)
    assert binaries.find_binary("step", (8, 6), tmp_path).name.startswith("step-sm80-")
    with pytest.raises(GpuUnavailableError, match="asked for"):
        binaries.find_binary("step", (7, 5), tmp_path)


def _missing_nvrtc() -> str:
    try:
        nvrtc.open_nvrtc()
    except GpuUnavailableError as fault:
        return str(fault)
    return ""


@pytest.mark.skipif(_missing_nvrtc() != "", reason=_missing_nvrtc() or "nvrtc")
@pytest.mark.parametrize("unit", sources.UNITS)
def test_every_unit_passes_through_nvrtc(unit: str) -> None:
    # the oldest; nvcc compiles for all of them in test_gpu_build
    assert nvrtc.compile_text(sources.unit_text(unit), binaries.ARCHITECTURES[0], unit)[:4] == b"\x7fELF"


@pytest.mark.skipif(_missing_nvrtc() != "", reason=_missing_nvrtc() or "nvrtc")
def test_nvrtc_says_what_it_does_not_take() -> None:
    with pytest.raises(RuntimeError, match=r"wrong.cu for sm_90: wrong.cu\(1\): error"):
        nvrtc.compile_text("this is no text", 90, "wrong.cu")
    with pytest.raises(GpuUnavailableError, match="does not compile for sm_20"):
        nvrtc.compile_text("", 20)
