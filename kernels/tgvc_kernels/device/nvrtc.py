"""NVRTC through ctypes: compiles a unit for any architecture, also where there is no GPU."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tgvc_kernels.errors import GpuUnavailableError

_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")
_FOLDERS = ("cu13/lib", "cuda_nvrtc/lib")  # of the wheels nvidia-cuda-nvrtc and nvidia-cuda-nvrtc-cu12
OPTIONS = ("--std=c++17", "--fmad=false")


@cache
def open_nvrtc() -> ctypes.CDLL:
    """The library.

    Raises:
        GpuUnavailableError: it is not found.
    """
    if sys.platform == "win32":
        raise GpuUnavailableError("nvrtc: kernels are compiled on Linux only; see use_binaries for compiled ones")
    for path in [*_wheels(), *_NAMES]:
        try:
            # from a wheel it does not find its other half by itself
            for half in sorted(Path(path).parent.glob("libnvrtc-builtins.so.*")) if "/" in path else ():
                ctypes.CDLL(str(half), ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise GpuUnavailableError(
        "nvrtc: libnvrtc.so.13 or .12 is missing: pip install nvidia-cuda-nvrtc, or install the CUDA toolkit"
    )


def _wheels() -> list[str]:
    spec = find_spec("nvidia")
    roots = [] if spec is None else list(spec.submodule_search_locations or ())
    paths = [Path(root) / folder / name for root in roots for folder in _FOLDERS for name in _NAMES]
    return [str(path) for path in paths if path.is_file()]


def nvrtc_version() -> tuple[int, int]:
    """Version (major, minor) of the library, which is that of its CUDA release."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(open_nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "nvrtcVersion")
    return major.value, minor.value


def supported_architectures() -> list[int]:
    """Architectures that it compiles for, increasing, as 90 for compute capability 9.0."""
    library, count = open_nvrtc(), ctypes.c_int()
    _check(library.nvrtcGetNumSupportedArchs(ctypes.byref(count)), "nvrtcGetNumSupportedArchs")
    found = (ctypes.c_int * count.value)()
    _check(library.nvrtcGetSupportedArchs(found), "nvrtcGetSupportedArchs")
    return sorted(found)


def compile_text(text: str, architecture: int, name: str = "kernels.cu") -> bytes:
    """A cubin.

    Args:
        text: CUDA C++ without includes.
        architecture: 75, 80, ..; one of `supported_architectures`.
        name: what messages call the text.

    Raises:
        GpuUnavailableError: the library is missing, or does not know the architecture.
        RuntimeError: it does not take the text; holds its messages.
    """
    library = open_nvrtc()
    known = supported_architectures()
    if architecture not in known:
        raise GpuUnavailableError(
            f"nvrtc: {'.'.join(map(str, nvrtc_version()))} does not compile for sm_{architecture}, only for {known}"
        )
    program = ctypes.c_void_p()
    source = text.encode()
    _check(
        library.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), 0, None, None), "nvrtcCreateProgram"
    )
    try:
        flags = [option.encode() for option in (*OPTIONS, f"--gpu-architecture=sm_{architecture}")]
        if library.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags)):
            log = _read(library, program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").rstrip(b"\0\n")
            raise RuntimeError(f"nvrtc: {name} for sm_{architecture}: {log.decode(errors='replace')}")
        return _read(library, program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _read(library: ctypes.CDLL, program: ctypes.c_void_p, size_of: str, get: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(library, size_of)(program, ctypes.byref(size)), size_of)
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(library, get)(program, buffer), get)
    return buffer.raw


def _check(code: int, call: str) -> None:
    if code:
        raise RuntimeError(f"nvrtc: {call} failed with code {code}")
