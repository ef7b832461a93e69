"""A bundle of the published size with random weights, in the folder of the run: what backends are measured with."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tgvc.errors import BundleError
from tgvc.memory import release_memory
from tgvc.models.bundle import ModelBundle, load_bundle, write_manifest
from tgvc.models.contract import contract_of
from tgvc.models.manifest import MANIFEST
from tgvc_bench.gpu.sizes import Sizes

FOLDER = "bundle"
_ROOM = 12 << 30  # bytes of the disk: weights twice for a while


def has_bundle(folder: Path) -> bool:
    """Whether the bundle is there, whole."""
    return (folder / FOLDER / MANIFEST).exists()


def open_bundle(folder: Path) -> ModelBundle:
    """The bundle of a run.

    Raises:
        BundleError: it is not there, or damaged.
    """
    return load_bundle(folder / FOLDER)


def export_bundle(sizes: Sizes, folder: Path, say: Callable[[str], None]) -> None:
    """Write the bundle, network by network; those that are there from an earlier try are kept.

    Its UNet and its VAE have the weights of `tgvc_bench.gpu.sizes.build_module`.

    Raises:
        BundleError: the disk has no room.
    """
    from tgvc_bench.full_size import fill_halves
    from tgvc_export.dynamicrafter.bundle import NETS, build_hollow, make_example
    from tgvc_export.onnx_file import export_module

    free = shutil.disk_usage(folder).free
    if not sizes.dry and free < _ROOM:
        raise BundleError(f"{folder}: {_ROOM >> 30} GiB are needed, {free >> 30} GiB are free; give another with -o")
    networks, place = sizes.networks(), folder / FOLDER
    contract = contract_of(networks.constants())
    place.mkdir(parents=True, exist_ok=True)
    for net in NETS:
        if (place / f"{net}.done").exists():
            continue
        say(f"exporting {net}")
        module = fill_halves(build_hollow(networks, net))
        example = make_example(networks, net, contract[net], small=False)
        precision: Any = "fp32" if sizes.dry else "fp16"
        module = module.float() if sizes.dry else module.half()
        export_module(module, example, *contract[net], place / f"{net}.onnx", precision=precision)
        (place / f"{net}.done").touch()
        del module
        gc.collect()
        release_memory()
    write_manifest(
        place,
        name="random",
        revision="dry" if sizes.dry else "full",
        licence="Apache-2.0",
        constants=networks.constants(),
        nets={net: place / f"{net}.onnx" for net in NETS},
        precision="float32" if sizes.dry else "float16, norms and softmax float32",
        notes={"weights": "random; see tgvc_bench.gpu"},
    )
