"""The manifest of a bundle: plain values read with suspicion, or made from what an export knows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from tgvc.backends.spec import DataFile, NetRecord, TensorSpec
from tgvc.errors import BundleError
from tgvc.models.constants import CONSTANTS, AnyConstants, Constants, is_number

__all__ = ["Constants", "Manifest", "net_entry", "parse_manifest"]

MANIFEST = "manifest.json"
FORMAT = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_NET_BYTES = (1 << 31) - 1  # the most that one ONNX file can hold
MAX_DATA_BYTES = 1 << 40
_MAX_NETS, _MAX_FILES, _MAX_TENSORS, _MAX_TEXT = 16, 4, 64, 4096
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\.onnx", re.ASCII)
_DATA = re.compile(_FILE.pattern + r"\.data", re.ASCII)
_OTHER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(?<!\.onnx)(?<!\.data)(?<!\.json)", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a manifest says; ``nets`` and ``files`` point into the folder that it lies in, ``notes`` are for people."""

    name: str
    revision: str
    kind: str
    licence: str
    constants: AnyConstants
    nets: Mapping[str, NetRecord]
    notes: Mapping[str, Any]
    files: Mapping[str, DataFile] = field(default_factory=dict)


def parse_manifest(text: bytes, folder: Path) -> Manifest:
    """Read a manifest.

    Args:
        text: JSON in UTF-8.
        folder: where the files of the networks lie.

    Raises:
        BundleError: every fault found, on one line.
    """
    top = _parse_json(text)
    if top.get("format") != FORMAT or isinstance(top.get("format"), bool):
        raise BundleError(
            f"{MANIFEST}: format {top.get('format')!r:.40}, this release reads {FORMAT}: update tgvc or the bundle"
        )
    faults: list[str] = []
    known = {"format", "name", "revision", "kind", "licence", "constants", "nets", "notes", "files"}
    faults += [f"{name[:40]!r} is not known" for name in sorted(set(top) - known)]
    words = {name: _read_text(top, name, faults) for name in ("name", "revision", "kind", "licence")}
    faults += [
        f"{name}={words[name][:40]!r}: expected letters, digits and . _ + -"
        for name in ("name", "revision", "kind")
        if words[name] and not _LABEL.fullmatch(words[name])
    ]
    constants = _read_constants(words["kind"], top.get("constants"), faults)
    nets = _read_nets(top.get("nets"), folder, faults)
    files = _read_files(top.get("files", {}), folder, faults)
    notes = top.get("notes", {})
    if not isinstance(notes, dict):
        faults.append("notes: expected an object")
    if faults or constants is None:
        raise BundleError(f"{MANIFEST}: " + "; ".join(faults))
    return Manifest(**words, constants=constants, nets=nets, notes=notes, files=files)


def net_entry(record: NetRecord) -> dict[str, Any]:
    """A network as the manifest has it; ``data`` only where there is a second file."""
    data = record.data
    return {
        "file": record.path.name,
        "bytes": record.size,
        "sha256": record.sha256,
        **({"data": file_entry(data)} if data else {}),
        "precision": record.precision,
        "error": dict(record.error),
        "inputs": [spec.as_dict() for spec in record.inputs],
        "outputs": [spec.as_dict() for spec in record.outputs],
    }


def file_entry(file: DataFile) -> dict[str, Any]:
    """A file that is no network as the manifest has it."""
    return {"file": file.path.name, "bytes": file.size, "sha256": file.sha256}


def _parse_json(text: bytes) -> dict[str, Any]:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not a number")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            raise ValueError("a name occurs twice in one object")
        return values

    try:
        top = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, RecursionError) as fault:  # UnicodeDecodeError is one; deep nesting ends the recursion
        raise BundleError(f"{MANIFEST}: not JSON ({' '.join(str(fault).split())[:120]})") from fault
    if not isinstance(top, dict):
        raise BundleError(f"{MANIFEST}: expected an object, got {type(top).__name__}")
    return top


def _read_text(values: Mapping[str, Any], name: str, faults: list[str]) -> str:
    value = values.get(name)
    if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT:
        return value
    faults.append(f"{name}: expected a text")
    return ""


def _read_constants(kind: str, values: Any, faults: list[str]) -> AnyConstants | None:
    made = CONSTANTS.get(kind)
    if made is None:
        faults.append(f"kind {kind[:40]!r}, this release runs {', '.join(CONSTANTS)}")
        return None
    names = list(made.__dataclass_fields__)
    needed = {name for name, spec in made.__dataclass_fields__.items() if spec.default is MISSING}
    if isinstance(values, dict) and needed - set(values) and set(values) <= set(names):
        lost = ", ".join(name for name in names if name in needed and name not in values)
        faults.append(f"constants: no {lost}, which this release needs of kind {kind}; export the bundle again")
        return None
    if not isinstance(values, dict) or not set(values) <= set(names):
        faults.append(f"constants: expected an object with {', '.join(names)}")
        return None
    try:
        return made(**values)
    except ValueError as fault:
        faults.append(f"constants: {fault}")
        return None


def _read_nets(values: Any, folder: Path, faults: list[str]) -> dict[str, NetRecord]:
    if not isinstance(values, dict) or not 0 < len(values) <= _MAX_NETS:
        faults.append(f"nets: expected an object of 1 to {_MAX_NETS} networks")
        return {}
    nets = {}
    for name, entry in values.items():
        found: list[str] = []
        record = _read_net(name, entry, folder, found)
        faults += [f"net {name[:40]!r}: {fault}" for fault in found]
        if record is not None:
            nets[name] = record
    files = [path.name for record in nets.values() for path in record.paths]
    faults += [f"file {file} is named twice" for file in sorted({f for f in files if files.count(f) > 1})]
    return nets


def _read_net(name: str, entry: Any, folder: Path, faults: list[str]) -> NetRecord | None:
    names = {"file", "bytes", "sha256", "precision", "error", "inputs", "outputs"}
    if not _LABEL.fullmatch(name) or not isinstance(entry, dict) or set(entry) - {"data"} != names:
        faults.append(f"expected an object with {', '.join(sorted(names))}")
        return None
    file = _read_file(entry, _FILE, MAX_NET_BYTES, ".onnx", faults)
    precision = _read_text(entry, "precision", faults)
    error = entry["error"]
    if not isinstance(error, dict) or not all(is_number(v) for v in error.values()):
        faults.append("error: expected an object of numbers")
    inputs, outputs = (_read_tensors(entry[side], side, faults) for side in ("inputs", "outputs"))
    data = None
    if "data" in entry:
        found: list[str] = []
        data = _read_data(entry["data"], _DATA, ".onnx.data", folder, found)
        faults += [f"data: {fault}" for fault in found]
    if faults:
        return None
    return NetRecord(name, folder / file[0], file[1], file[2], inputs, outputs, precision, error, data)


def _read_files(values: Any, folder: Path, faults: list[str]) -> dict[str, DataFile]:
    if not isinstance(values, dict) or len(values) > _MAX_FILES:
        faults.append(f"files: expected an object of at most {_MAX_FILES} files")
        return {}
    files = {}
    for name, entry in values.items():
        found: list[str] = []
        data = _read_data(entry, _OTHER, "no .onnx", folder, found)
        faults += [f"file {name[:40]!r}: {fault}" for fault in found]
        if data is not None:
            files[name] = data
    return files


def _read_data(entry: Any, allowed: re.Pattern[str], ending: str, folder: Path, faults: list[str]) -> DataFile | None:
    if not isinstance(entry, dict) or set(entry) != {"file", "bytes", "sha256"}:
        faults.append("expected an object with bytes, file, sha256")
        return None
    name, size, digest = _read_file(entry, allowed, MAX_DATA_BYTES, ending, faults)
    return None if faults else DataFile(folder / name, size, digest)


def _read_file(
    entry: Mapping[str, Any], allowed: re.Pattern[str], most: int, ending: str, faults: list[str]
) -> tuple[str, int, str]:
    file, size, digest = entry["file"], entry["bytes"], entry["sha256"]
    if not isinstance(file, str) or not allowed.fullmatch(file):
        faults.append(f"file {file!r:.60}: expected a plain name ending in {ending}")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= most:
        faults.append(f"bytes {size!r:.40}: expected 1..{most}")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        faults.append("sha256: expected 64 hexadecimal digits")
    return file, size, digest


def _read_tensors(values: Any, side: str, faults: list[str]) -> tuple[TensorSpec, ...]:
    if not isinstance(values, list) or not 0 < len(values) <= _MAX_TENSORS:
        faults.append(f"{side}: expected a list of 1 to {_MAX_TENSORS} tensors")
        return ()
    specs = []
    for value in values:
        try:
            if not isinstance(value, dict) or set(value) != {"name", "dtype", "shape"}:
                raise ValueError("expected an object with name, dtype, shape")
            shape = value["shape"]
            specs.append(TensorSpec(value["name"], value["dtype"], tuple(shape) if isinstance(shape, list) else shape))
        except ValueError as fault:
            faults.append(f"{side}: {fault}"[:200])
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        faults.append(f"{side}: a tensor occurs twice")
    return tuple(specs)
