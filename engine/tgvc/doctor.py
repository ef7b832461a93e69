"""What is installed on this machine, what will run, and how fast."""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

from tgvc import __version__
from tgvc.backends.base import BACKENDS, load_backend
from tgvc.backends.engines.store import EngineStore
from tgvc.backends.libraries import find_clashes, find_versions
from tgvc.config import FLOW_BUNDLE, HUMAN_BUNDLE, DecoderConfig
from tgvc.errors import BackendError, BundleError
from tgvc.memory import available_memory
from tgvc.models.bundle import EMBEDDED, ModelBundle, load_bundle
from tgvc.models.constants import TRACKER
from tgvc.models.footprint import decoding_footprint, describe_bytes, tracking_footprint
from tgvc.types import Picture, join_planes, still_motion

# name -> module
_REQUIRED = {"numpy": "numpy", "av": "av", "opencv": "cv2", "numba": "numba", "pillow": "PIL"}
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")
_CODECS = {"libsvtav1": "w", "libdav1d": "r", "libx264": "w", "libvpx-vp9": "w"}  # libav's name -> reads or writes
_LIBRARIES = (  # what backends are made of
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "onnx",
    "tensorrt-cu13",
    "tensorrt-cu12",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "cupy-cuda13x",
    "cupy-cuda12x",
)
_SIZE = (512, 320)
_SAMPLES = 65536  # points x frames of one run of a tracker
_LENGTH = 17  # frames of a measured segment: its flow is found once for fifteen frames painted
_MEASURE_S = 1.2
_DEFAULT_BUNDLE = "nano"
_PLAIN_BACKEND = "onnxruntime"
_ANOTHER = "; or name another with --bundle"
_MAJOR, _MINOR = 75, 76  # CUdevice_attribute: compute capability


def examine(bundles: Sequence[str] = ()) -> dict[str, Any]:
    """Everything `tgvc doctor` prints, as plain values.

    Args:
        bundles: folders of bundles to look at beside the embedded ones.

    Returns:
        ``tgvc``, ``python``, ``platform``, ``cpu``, ``memory`` (bytes available or None), ``packages`` (name ->
        version, None if missing), ``broken`` (name -> why it cannot be imported), ``codecs`` (libav's name -> present),
        ``gpu``, ``libraries`` (of backends, those that are installed: name -> version), ``clashes`` (which of them
        break each other, and what to do), ``networks`` (see `find_networks`), ``runs`` (what -> "" if it runs, else
        what is missing) and ``speed`` (None where the codec does not run).
    """
    packages = {name: find_version(name) for name in (*_REQUIRED, "hdbscan")}
    broken = {name: why for name, module in _REQUIRED.items() if (why := _import_fault(module))}
    codecs = {} if "av" in broken else _find_codecs()
    networks = find_networks(bundles)
    runs = _what_runs(broken, codecs, packages["hdbscan"] is not None, networks)
    return {
        "tgvc": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": {"name": cpu_name(), "cores": os.cpu_count() or 1, "usable": usable_cores()},
        "memory": available_memory(),
        "packages": packages,
        "broken": broken,
        "codecs": codecs,
        "gpu": find_gpus(),
        "libraries": find_versions(*_LIBRARIES),
        "clashes": find_clashes(),
        "networks": networks,
        "runs": runs,
        "speed": None if runs["generator warp"] else measure_speed(),
    }


def doctor_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of a report of `examine`."""
    cpu, gpu, speed = found["cpu"], found["gpu"], found["speed"]
    missing = [f"{name} ({why})" for name, why in found["broken"].items()]
    rows = [
        ("tgvc", f"{found['tgvc']} on Python {found['python']}, {found['platform']}"),
        ("cpu", f"{cpu['name']}, {cpu['cores']} threads, {cpu['usable']} usable"),
        ("memory", "" if found["memory"] is None else f"{describe_bytes(found['memory'])} available"),
        ("gpu", "; ".join([*(_gpu_line(d) for d in gpu["devices"]), gpu["note"]])),
        ("packages", ", ".join(f"{name} {v or 'not installed'}" for name, v in found["packages"].items())),
        ("broken", ", ".join(missing)),
        ("codecs", ", ".join(f"{name} {'yes' if there else 'missing'}" for name, there in found["codecs"].items())),
    ]
    rows += [("libraries", ", ".join(f"{name} {version}" for name, version in found["libraries"].items()))]
    rows += [("clash", clash) for clash in found["clashes"]]
    rows += [("backend", _backend_line(name, backend)) for name, backend in found["networks"]["backends"].items()]
    rows += [("engines", _engines_line(found["networks"]["engines"]))]
    rows += [("bundle", _bundle_line(name, bundle)) for name, bundle in found["networks"]["bundles"].items()]
    rows += [
        ("runs" if not why else "does not", what + (f": {why}" if why else "")) for what, why in found["runs"].items()
    ]
    if speed:
        width, height = speed["size"]
        fps = speed["frames_per_second"]
        rows += [
            (
                "speed",
                f"{fps:.0f} frames per second painted at {width}x{height} by the warp generator with "
                f"{speed['threads']} threads: {fps / 30:.1f} times real time at 30 per second",
            ),
            (
                "warm-up",
                f"{speed['warm_up_s']:.1f} s until the first frame: kernels are compiled once after every installation "
                "and kept in a cache",
            ),
        ]
    return rows


def find_gpus() -> dict[str, Any]:
    """NVIDIA devices, asked of the driver alone; where there is no driver nothing else is touched.

    Returns:
        ``driver``: the CUDA version it speaks, or None. ``devices``: name, memory in GiB, compute capability of each.
        ``note``: what that means here.
    """
    nothing: dict[str, Any] = {"driver": None, "devices": []}
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {**nothing, "note": "none: no NVIDIA driver (libcuda.so.1); none is needed"}
    if status := cuda.cuInit(0):
        return {**nothing, "note": f"none: the NVIDIA driver does not start (error {status}); none is needed"}
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    driver = f"{number.value // 1000}.{number.value % 1000 // 10}"
    cuda.cuDeviceGetCount(ctypes.byref(number))
    devices = [_describe_gpu(cuda, ordinal) for ordinal in range(number.value)]
    return {
        "driver": driver,
        "devices": devices,
        "note": f"CUDA {driver}; for networks, through the backends that run on it",
    }


def find_networks(folders: Sequence[str] = ()) -> dict[str, Any]:
    """Backends, embedded bundles and others.

    Args:
        folders: of other bundles.

    Returns:
        ``backends``: by name, ``fault`` (empty if it runs here), ``version``, ``providers`` in force and ``device``.
        ``engines``: ``folder``, how many entries (``count``), their ``bytes``, how many would be ``refused``, and the
        ``fault`` that keeps all of them from being used. ``bundles``: by name or folder, ``fault`` (empty if it is
        whole), ``revision``, ``bytes``, and ``memory``: what it takes on the CPU, in words.
    """
    backends: dict[str, Any] = {}
    for name in BACKENDS:
        try:
            backend = load_backend(name)
            found = {"version": backend.version, "providers": list(backend.providers), "device": backend.device}
            backends[name] = {"fault": "", **found}
        except BackendError as fault:
            backends[name] = {"fault": str(fault), "version": None, "providers": [], "device": None}
    bundles: dict[str, Any] = {}
    for name in (*EMBEDDED, *folders):
        try:
            bundle = load_bundle(name)
            size = sum(path.stat().st_size for record in bundle.nets.values() for path in record.paths)
            needs = _memory_needs(bundle)
            bundles[name] = {"fault": "", "revision": bundle.revision, "bytes": size, "memory": needs}
        except BundleError as fault:
            bundles[name] = {"fault": str(fault), "revision": None, "bytes": 0, "memory": ""}
    return {"backends": backends, "engines": _find_engines(), "bundles": bundles}


def _find_engines() -> dict[str, Any]:
    store = EngineStore()
    nothing: dict[str, Any] = {"folder": str(store.folder), "count": 0, "bytes": 0, "refused": 0, "fault": ""}
    try:
        entries = list(store.entries())
    except BackendError as fault:
        return nothing | {"fault": str(fault)}
    sizes = {
        "count": len(entries),
        "bytes": sum(e.size for e in entries),
        "refused": sum(bool(e.fault) for e in entries),
    }
    return nothing | sizes


def _memory_needs(bundle: ModelBundle) -> str:
    if bundle.kind == TRACKER:
        return f"tracking takes about {tracking_footprint(bundle, _SAMPLES).describe()}"
    width, height = _SIZE
    return f"decoding {width}x{height} takes about {decoding_footprint(bundle, _SIZE).describe()}"


def measure_speed(threads: int = DecoderConfig().threads) -> dict[str, Any]:
    """Frames that the warp generator paints per second, segments side by side as the decoder runs them.

    Reading key pictures and writing a video are not counted.

    Args:
        threads: segments at once.
    """
    from tgvc.synthesis.warp import WarpGenerator

    generator, motion = WarpGenerator(), still_motion("F")
    first, last = _textured_picture(0), _textured_picture(12)
    began = time.perf_counter()
    generator.render(first, last, motion, 3)
    warm_up = time.perf_counter() - began

    def paint(_: int) -> int:
        return len(generator.render(first, last, motion, _LENGTH))

    painted, began = 0, time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        while (elapsed := time.perf_counter() - began) < _MEASURE_S:
            painted += sum(pool.map(paint, range(threads)))
    return {
        "size": list(_SIZE),
        "threads": threads,
        "frames_per_second": round(painted / elapsed, 1),
        "warm_up_s": round(warm_up, 2),
    }


def _textured_picture(shift_px: int) -> Picture:
    """Waves in many directions, moved to the right: I420 uint8 (3H/2, W)."""
    width, height = _SIZE
    y, x = np.mgrid[:height, :width].astype(np.float32)
    rng = np.random.default_rng(1)
    luma = np.full((height, width), 125, np.float32)
    for angle, period in zip(rng.uniform(0, np.pi, 12), rng.uniform(6, 60, 12), strict=True):
        luma += 9 * np.sin(2 * np.pi * ((x - shift_px) * np.cos(angle) + y * np.sin(angle)) / period)
    grey = np.full((height // 2, width // 2), 128, np.uint8)
    return join_planes(np.clip(luma, 16, 235).astype(np.uint8), grey, grey)


def _what_runs(
    broken: dict[str, str], codecs: dict[str, bool], clusters: bool, networks: dict[str, Any]
) -> dict[str, str]:
    """What works -> "", or what it lacks and how to get it."""
    core = ", ".join(broken)
    lost = f"broken or missing: {core}; reinstall with pip install --force-reinstall tgvc" if core else ""

    def needs(codec: str) -> str:
        return lost or ("" if codecs.get(codec) else f"this PyAV lacks {codec}; pip install --force-reinstall av")

    backend = networks["backends"][_PLAIN_BACKEND]["fault"]
    people = backend or _bundle_fault(HUMAN_BUNDLE)
    small = "only with --effort 1, or of large pictures; small ones are tried with profile human too: "
    return {
        "encoding, profile auto": needs("libsvtav1") or (small + people if people else ""),
        "encoding, profile actdiff": needs("libsvtav1"),
        "encoding, profile dynamics": needs("libsvtav1"),
        "encoding, profile tgvc": needs("libsvtav1")
        or ("" if clusters else "needs hdbscan; get it with pip install 'tgvc[cluster]'"),
        "decoding": needs("libdav1d"),
        "generator warp": lost,
        "generator latent": lost or backend or networks["bundles"][_DEFAULT_BUNDLE]["fault"],
        "generator flow": lost or backend or _bundle_fault(FLOW_BUNDLE, _ANOTHER),
        "profile human, its encoding and generator": needs("libsvtav1")
        or backend
        or _bundle_fault(HUMAN_BUNDLE, _ANOTHER),
        "writing .mp4 .mov .mkv": needs("libx264"),
        "writing .webm": needs("libvpx-vp9"),
    }


def _bundle_fault(usual: str, advice: str = "") -> str:
    """What keeps networks from working without a bundle of one's own, then ``advice``; empty if nothing does."""
    try:
        load_bundle(usual)
    except BundleError as fault:
        return f"{fault}{advice}"
    return ""


def find_version(name: str) -> str | None:
    """Version of an installed distribution, None if there is none; ``opencv`` stands for any of its distributions."""
    for distribution in _OPENCV if name == "opencv" else (name,):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def _import_fault(module: str) -> str:
    """Why a module cannot be imported, on one line; empty if it can."""
    if find_spec(module) is None:
        return "not installed"
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as fault:  # a package may be there and a library that it needs not
        return " ".join(str(fault).split())
    return ""


def _find_codecs() -> dict[str, bool]:
    import av

    found = {}
    for name, mode in _CODECS.items():
        try:
            av.Codec(name, "w" if mode == "w" else "r")
            found[name] = True
        except ValueError:  # what PyAV raises for an unknown codec is one
            found[name] = False
    return found


def usable_cores() -> int:
    """Processor threads that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """The processor as the system names it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _describe_gpu(cuda: ctypes.CDLL, ordinal: int) -> dict[str, Any]:
    device, size, part = ctypes.c_int(), ctypes.c_size_t(), ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    cuda.cuDeviceGet(ctypes.byref(device), ordinal)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    capability = []
    for attribute in (_MAJOR, _MINOR):
        cuda.cuDeviceGetAttribute(ctypes.byref(part), attribute, device)
        capability.append(str(part.value))
    return {"name": name.value.decode(), "memory_gib": round(size.value / 2**30, 1), "capability": ".".join(capability)}


def _backend_line(name: str, backend: dict[str, Any]) -> str:
    if backend["fault"]:
        return f"not here: {backend['fault']}"
    return f"{name} {backend['version']} with {', '.join(backend['providers'])}"


def _engines_line(engines: dict[str, Any]) -> str:
    if engines["fault"]:
        return f"none can be used: {engines['fault']}"
    if not engines["count"]:
        return ""
    refused = f", {engines['refused']} refused: see `tgvc engines list`" if engines["refused"] else ""
    return f"{engines['count']} in {engines['folder']}, {engines['bytes'] / 1e9:.2f} GB{refused}"


def _bundle_line(name: str, bundle: dict[str, Any]) -> str:
    if bundle["fault"]:
        return f"not here: {bundle['fault']}"
    return f"{name} {bundle['revision']}, {bundle['bytes'] / 1e6:.1f} MB, verified; {bundle['memory']}"


def _gpu_line(device: dict[str, Any]) -> str:
    return f"{device['name']}, {device['memory_gib']} GiB, compute capability {device['capability']}"
