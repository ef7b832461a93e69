"""Whether networks give in the shipped runtime what their makers recorded; run in a process without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tgvc.backends.base import Net, load_backend
from tgvc.backends.spec import DataFile, NetRecord, TensorSpec
from tgvc.models.bundle import DATA_ENDING, hash_file, load_bundle
from tgvc.models.contract import Tensors

_TIMEOUT_S = 600
_NETS = "nets.json"  # beside the recorded cases: networks that are in no bundle
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One recorded run of a network: inputs by name, outputs in the order of the manifest."""

    inputs: Mapping[str, Array]
    outputs: Sequence[Array]


def check_bundle(folder: Path, cases: Mapping[str, Sequence[Case]]) -> dict[str, dict[str, float]]:
    """Run recorded cases in a fresh process with nothing but the shipped runtime.

    Args:
        folder: of the bundle.
        cases: by the names of the networks.

    Returns:
        By the names of the networks: ``max_abs`` and ``relative_rms``, the worst of all cases.

    Raises:
        RuntimeError: the process failed; its last line says why.
    """
    with tempfile.TemporaryDirectory(prefix="tgvc-check-") as made:
        _write_cases(Path(made), cases)
        return _run_check(str(folder), [str(folder), made])


def check_files(records: Sequence[NetRecord], cases: Mapping[str, Sequence[Case]]) -> dict[str, dict[str, float]]:
    """As `check_bundle`, for networks that are in no bundle; only those that have cases are loaded.

    Args:
        records: see `describe_file`.
        cases: by the names of the records.
    """
    described = [
        {
            "name": record.name,
            "path": str(record.path),
            "inputs": [spec.as_dict() for spec in record.inputs],
            "outputs": [spec.as_dict() for spec in record.outputs],
        }
        for record in records
    ]
    with tempfile.TemporaryDirectory(prefix="tgvc-check-") as made:
        _write_cases(Path(made), cases)
        (Path(made) / _NETS).write_text(json.dumps(described), encoding="utf-8")
        return _run_check(", ".join(cases), [made])


def describe_file(name: str, path: Path, tensors: Tensors) -> NetRecord:
    """The record of an ONNX file that is in no bundle; weights beside it are found by their name."""
    data = path.with_name(path.name + DATA_ENDING)
    beside = DataFile(data, data.stat().st_size, hash_file(data)) if data.is_file() else None
    return NetRecord(name, path, path.stat().st_size, hash_file(path), *tensors, data=beside)


def measure_cases(records: Mapping[str, NetRecord], recorded: Path) -> dict[str, dict[str, float]]:
    """What `check_bundle` returns for networks by name, measured in this process."""
    backend = load_backend("onnxruntime", threads=1)
    found: dict[str, dict[str, float]] = {}
    nets: dict[str, Net] = {}
    for path in sorted(recorded.glob("*.npz")):
        name = path.name.partition(".")[0]
        if name not in nets:
            nets = {name: backend.load(records[name])}  # one after another: they may be large
        with np.load(path, allow_pickle=False) as case:
            inputs = {key[3:]: case[key] for key in case.files if key.startswith("in.")}
            got = nets[name].run(**inputs)
            for number, spec in enumerate(records[name].outputs):
                errors = measure_error(got[spec.name], case[f"out.{number}"])
                worst = found.setdefault(name, dict.fromkeys(errors, 0.0))
                found[name] = {kind: max(worst[kind], value) for kind, value in errors.items()}
    return found


def measure_error(got: Array, want: Array) -> dict[str, float]:
    """How far an array is from another of its shape: ``max_abs`` and ``relative_rms``; infinite if not finite."""
    if got.shape != want.shape:
        raise ValueError(f"shape {got.shape}, expected {want.shape}")
    apart = got.astype(np.float64) - want
    if not np.isfinite(apart).all():
        return {"max_abs": float("inf"), "relative_rms": float("inf")}
    size = float(np.sqrt(np.mean(np.square(want, dtype=np.float64))))
    return {
        "max_abs": float(np.abs(apart).max()),
        "relative_rms": float(np.sqrt(np.mean(apart**2))) / max(size, 1e-12),
    }


def _write_cases(folder: Path, cases: Mapping[str, Sequence[Case]]) -> None:
    for net, recorded in cases.items():
        for number, case in enumerate(recorded):
            arrays: dict[str, Any] = {f"in.{name}": np.ascontiguousarray(value) for name, value in case.inputs.items()}
            arrays |= {f"out.{n}": value for n, value in enumerate(case.outputs)}
            np.savez(folder / f"{net}.{number}.npz", **arrays)


def _read_records(recorded: Path) -> dict[str, NetRecord]:
    described = json.loads((recorded / _NETS).read_text(encoding="utf-8"))
    records = {}
    for net in described:
        inputs, outputs = (
            tuple(TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in net[side])
            for side in ("inputs", "outputs")
        )
        records[net["name"]] = describe_file(net["name"], Path(net["path"]), (inputs, outputs))
    return records


def _run_check(what: str, arguments: Sequence[str]) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "tgvc_export.check", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the check of {what} failed: {last}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure the cases of a folder and print the errors as JSON."""
    *folder, recorded = map(Path, sys.argv[1:])
    found = measure_cases(load_bundle(folder[0]).nets if folder else _read_records(recorded), recorded)
    if "torch" in sys.modules:
        raise SystemExit("torch was loaded: the check has to run as a user's machine does")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
