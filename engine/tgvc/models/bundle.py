"""A bundle: networks in a folder with a manifest, verified whole before anything of it runs."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tgvc.backends.spec import DataFile, NetRecord, file_fault, hash_file
from tgvc.diffusion.schedule import SCHEDULE
from tgvc.errors import BundleError
from tgvc.models.constants import (
    CONSTANTS,
    AnimationConstants,
    AnyConstants,
    FlowConstants,
    HumanConstants,
    TrackerConstants,
)
from tgvc.models.contract import Tensors, contract_of, files_of, keeps_contract, optional_contract
from tgvc.models.manifest import (
    FORMAT,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Manifest,
    file_entry,
    net_entry,
    parse_manifest,
)

__all__ = ["EMBEDDED", "ModelBundle", "bundle_folder", "hash_file", "load_bundle", "write_manifest"]
EMBEDDED = ("nano", "flow-nano", "human-nano")
DATA_ENDING = ".data"  # of the file beside an ONNX file that holds its weights


@dataclass(frozen=True, kw_only=True)
class ModelBundle(Manifest):
    """A manifest whose files were found to be what it says; ``folder`` holds them."""

    folder: Path

    @property
    def label(self) -> str:
        """Name and revision, such as ``nano 1``, for reports."""
        return f"{self.name} {self.revision}"

    @property
    def number(self) -> int:
        """What a stream of states names its networks by: 1..65535, from the CRC-32 of `label`.

        Of the label and not of files, because the same weights in another precision understand the same states.
        """
        return 1 + zlib.crc32(self.label.encode()) % 65535


def bundle_folder(which: str | os.PathLike[str]) -> Path:
    """The folder of a bundle: of an embedded one for its name, else the path itself."""
    if which in EMBEDDED:
        return Path(str(files("tgvc"))) / "assets" / str(which)
    return Path(which)


def load_bundle(which: str | os.PathLike[str] = "nano") -> ModelBundle:
    """Find a bundle and verify all of it: manifest, sizes, hashes, and that its networks fit each other.

    Args:
        which: the name of an embedded bundle, or the path of a folder.

    Raises:
        BundleError: every fault found, on one line.
    """
    folder = bundle_folder(which)
    place = f"bundle {which}" if which in EMBEDDED else f"bundle {folder}"
    try:
        with (folder / MANIFEST).open("rb") as stream:
            text = stream.read(MAX_MANIFEST_BYTES + 1)
    except (OSError, ValueError) as fault:  # ValueError: a path with a null byte
        if which in EMBEDDED:
            raise BundleError(
                f"{place}: not in this installation; reinstall tgvc, or give a bundle's folder"
            ) from fault
        raise BundleError(
            f"{place}: no {MANIFEST} there; expected a folder with one, or {', '.join(EMBEDDED)}"
        ) from fault
    if len(text) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{place}: {MANIFEST} has more than {MAX_MANIFEST_BYTES} bytes")
    try:
        manifest = parse_manifest(text, folder)
    except BundleError as fault:
        raise BundleError(f"{place}: {fault}") from fault
    faults = [*contract_faults(manifest), *file_faults(manifest)]
    if faults:
        raise BundleError(f"{place}: " + "; ".join(faults))
    return ModelBundle(**vars(manifest), folder=folder)


def contract_faults(manifest: Manifest) -> list[str]:
    """What networks lack of what their kind demands."""
    constants = manifest.constants
    needed = contract_of(constants)
    contract = needed | optional_contract(constants)
    faults = [f"file {name!r} is not known" for name in manifest.files if name not in files_of(constants)]
    unscheduled = TrackerConstants | HumanConstants | FlowConstants | AnimationConstants
    if not isinstance(constants, unscheduled) and constants.schedule != SCHEDULE:
        faults.append(f"schedule {constants.schedule!r}, this release knows {SCHEDULE}")
    if lost := [name for name in needed if name not in manifest.nets]:
        faults.append(f"no {', '.join(lost)} among the networks")
    for name, record in manifest.nets.items():
        if name not in contract:
            faults.append(f"network {name} is not known")
            continue
        found = record.inputs, record.outputs
        if keeps_contract(found, contract[name], fixed=manifest.kind != "residual"):
            continue
        for got, want in zip(found, contract[name], strict=True):
            if set(got) != set(want):
                faults.append(f"{name} has {'; '.join(map(str, got))}, expected {'; '.join(map(str, want))}")
    return faults


def file_faults(manifest: Manifest) -> list[str]:
    """What is wrong with the files of a manifest: missing, of another size, of another hash."""
    others = [*manifest.files.values(), *(record.data for record in manifest.nets.values() if record.data is not None)]
    files = [(record.path, record.size, record.sha256) for record in manifest.nets.values()]
    files += [(other.path, other.size, other.sha256) for other in others]
    return [fault for file in files if (fault := file_fault(*file))]


def write_manifest(
    folder: Path,
    *,
    name: str,
    revision: str,
    licence: str,
    constants: AnyConstants,
    nets: Mapping[str, Path],
    tensors: Mapping[str, Tensors] | None = None,
    precision: str = "float32",
    errors: Mapping[str, Mapping[str, float]] | None = None,
    notes: Mapping[str, Any] | None = None,
    files: Mapping[str, Path] | None = None,
) -> ModelBundle:
    """Write the manifest of ONNX files that lie in a folder, and load the bundle back.

    Args:
        folder: of the bundle; the files are there already, and weights in a file of their own lie beside their ONNX
            file as ``NAME.onnx.data``.
        name: of the bundle, such as "nano".
        revision: of the bundle.
        licence: of the weights.
        constants: of the networks; they say which kind the bundle is.
        nets: files by the names of the networks.
        tensors: inputs and outputs by the names of the networks; those of the kind's contract if None.
        precision: how weights are stored and sums are taken, in words.
        errors: what was measured against the original, by the names of the networks.
        notes: anything worth knowing, plain values.
        files: what is no network, by the names of `tgvc.models.contract.files_of`.

    Raises:
        BundleError: what was written is not a valid bundle.
    """
    tensors = tensors or contract_of(constants) | optional_contract(constants)
    records = [
        NetRecord(
            net,
            path,
            path.stat().st_size,
            hash_file(path),
            *tensors[net],
            precision=precision,
            error=(errors or {}).get(net, {}),
            data=_data_beside(path),
        )
        for net, path in nets.items()
    ]
    top = {
        "format": FORMAT,
        "name": name,
        "revision": revision,
        "kind": next(kind for kind, made in CONSTANTS.items() if type(constants) is made),
        "licence": licence,
        "constants": {n: v for n, v in asdict(constants).items() if v != constants.__dataclass_fields__[n].default},
        "nets": {record.name: net_entry(record) for record in records},
        "notes": dict(notes or {}),
    }
    if files:
        top["files"] = {name: file_entry(_describe(path)) for name, path in files.items()}
    text = json.dumps(top, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    beside = folder / (MANIFEST + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(folder / MANIFEST)
    return load_bundle(folder)


def _data_beside(path: Path) -> DataFile | None:
    data = path.with_name(path.name + DATA_ENDING)
    return _describe(data) if data.exists() else None


def _describe(path: Path) -> DataFile:
    return DataFile(path, path.stat().st_size, hash_file(path))
