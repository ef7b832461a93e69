"""What is run on a GPU, in pieces that end within minutes: each writes its rows into one file per topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgvc.backends.base import BACKENDS
from tgvc.models.contract import UNET, VAE_DECODER
from tgvc_bench.gpu.sizes import Sizes

Rows = Iterator[dict[str, Any]]
_TORCH = ("torch", "gpu")
_BUNDLE = ("torch", "onnx", "gpu", "bundle", "cupy")


@dataclass(frozen=True)
class Slice:
    """One process.

    ``name``: of it; ``topic``: of its file, ``gpu_TOPIC.json``. ``needs``: see `tgvc_bench.gpu.inventory`.
    ``run(sizes, folder, have)``: its rows, but those whose keys are in ``have``; a row may be a ``fault`` of one key,
    or the ``ceilings`` of the run.
    """

    name: str
    topic: str
    needs: tuple[str, ...]
    run: Callable[[Sizes, Path, frozenset[str]], Rows]


def list_slices(sizes: Sizes) -> list[Slice]:
    """All of them, in the order in which they are worth most."""
    on_gpu = [name for name in BACKENDS if name != "onnxruntime"] if not sizes.dry else ["onnxruntime", "torch"]
    slices = [
        Slice("kernels", "kernels", ("gpu", "cupy", "torch"), _kernels),
        Slice("unet-eager", "unet", _TORCH, _network(UNET, (1, 2), compiled=False)),
        Slice("vae-eager", "vae", _TORCH, _network(VAE_DECODER, (sizes.frames, 4, 1), compiled=False)),
        Slice("unet-compile", "unet", (*_TORCH, "triton"), _network(UNET, (1,), compiled=True)),
        Slice("unet-compile-2", "unet", (*_TORCH, "triton"), _network(UNET, (2,), compiled=True)),
        Slice("vae-compile", "vae", (*_TORCH, "triton"), _network(VAE_DECODER, (sizes.frames,), compiled=True)),
        *(Slice(f"nano-{name}", "nano", ("gpu", "cupy"), _nano(name)) for name in on_gpu),
        Slice("bundle", "unet", ("torch", "onnx", "onnxscript", "gpu"), _export),
    ]
    for name in on_gpu:
        slices.append(Slice(f"unet-{name}", "unet", _BUNDLE, _backend(name, UNET, (1, 2))))
        slices.append(Slice(f"vae-{name}", "vae", _BUNDLE, _backend(name, VAE_DECODER, (4,))))
        slices += [
            Slice(f"segment-{steps}-{name}", "segment", _BUNDLE, _segment(name, steps, scale))
            for steps, scale in reversed(sizes.schedules)
        ]
    return slices


def _kernels(sizes: Sizes, folder: Path, have: frozenset[str]) -> Rows:
    from tgvc_bench.gpu.kernel_steps import measure_kernels

    return measure_kernels(sizes, have)


def _network(net: str, batches: tuple[int, ...], *, compiled: bool) -> Callable[[Sizes, Path, frozenset[str]], Rows]:
    def run(sizes: Sizes, folder: Path, have: frozenset[str]) -> Rows:
        from tgvc_bench.gpu.network_steps import measure_network

        return measure_network(sizes, folder, have, net, batches, compiled=compiled)

    return run


def _nano(name: str) -> Callable[[Sizes, Path, frozenset[str]], Rows]:
    def run(sizes: Sizes, folder: Path, have: frozenset[str]) -> Rows:
        from tgvc_bench.gpu.nano_steps import measure_nano

        return measure_nano(sizes, have, name)

    return run


def _export(sizes: Sizes, folder: Path, have: frozenset[str]) -> Rows:
    import sys

    from tgvc_bench.gpu.bundle_steps import export_bundle

    export_bundle(sizes, folder, lambda line: print(line, file=sys.stderr))
    return iter(())


def _backend(name: str, net: str, batches: tuple[int, ...]) -> Callable[[Sizes, Path, frozenset[str]], Rows]:
    def run(sizes: Sizes, folder: Path, have: frozenset[str]) -> Rows:
        from tgvc_bench.gpu.backend_steps import measure_backend

        return measure_backend(sizes, folder, have, name, net, batches)

    return run


def _segment(name: str, steps: int, scale: float) -> Callable[[Sizes, Path, frozenset[str]], Rows]:
    def run(sizes: Sizes, folder: Path, have: frozenset[str]) -> Rows:
        from tgvc_bench.gpu.segment_steps import measure_segment

        return measure_segment(sizes, folder, have, name, steps, scale)

    return run
