"""Whether a bundle gives in the shipped runtime what its makers recorded; run in a process without torch."""

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

from tgvc.backends.base import load_backend
from tgvc.models.bundle import load_bundle

_TIMEOUT_S = 600
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
        for net, recorded in cases.items():
            for number, case in enumerate(recorded):
                arrays: dict[str, Any] = {
                    f"in.{name}": np.ascontiguousarray(value) for name, value in case.inputs.items()
                }
                arrays |= {f"out.{n}": value for n, value in enumerate(case.outputs)}
                np.savez(Path(made) / f"{net}.{number}.npz", **arrays)
        command = [sys.executable, "-m", "tgvc_export.check", str(folder), made]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"the check of {folder} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


def measure_cases(folder: Path, recorded: Path) -> dict[str, dict[str, float]]:
    """What `check_bundle` returns, measured in this process."""
    bundle, backend = load_bundle(folder), load_backend("onnxruntime", threads=1)
    nets = {name: backend.load(record) for name, record in bundle.nets.items()}
    found: dict[str, dict[str, float]] = {}
    for path in sorted(recorded.glob("*.npz")):
        name = path.name.partition(".")[0]
        with np.load(path, allow_pickle=False) as case:
            inputs = {key[3:]: case[key] for key in case.files if key.startswith("in.")}
            got = nets[name].run(**inputs)
            for number, spec in enumerate(bundle.nets[name].outputs):
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


def main() -> None:
    """Measure the cases of a folder and print the errors as JSON."""
    folder, recorded = map(Path, sys.argv[1:])
    found = measure_cases(folder, recorded)
    if "torch" in sys.modules:
        raise SystemExit("torch was loaded: the check has to run as a user's machine does")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
