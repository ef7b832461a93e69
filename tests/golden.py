"""Reference tensors of the original networks: where they lie, how they are read, how near is near enough.

The folder is ``$TGVC_GOLDEN``, or ``shared/golden`` beside the repository. Each ``golden_*.py`` here runs some kinds:

* ``RUNNERS``: kind -> ``run(meta, arrays, weights)``, which gives a `Comparison` for every output of a file;
  `compare_outputs` makes them.
* ``BLOCKS``: prefix of a block's name -> ``build(call, weights)``, which gives ``run(inputs)``; for files of kind
  ``blocks``. ``call`` is the file's sentence about the block, ``weights`` have the block's name cut off, ``inputs`` are
  by their last name, such as ``x``.

``python tests/golden.py`` prints the table of all files; ``--write F`` keeps it as JSON.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FOLDER = Path(os.environ.get("TGVC_GOLDEN") or Path(__file__).resolve().parents[2] / "shared" / "golden")
MODULES = tuple(f"golden_{part}" for part in ("unet", "vae", "clip", "cotracker", "sampler", "pipeline"))

# The rule of the folder's README: the larger of a floor and five times what float32 itself costs the original.
NOISE_FACTOR = 5.0
BLOCK_FLOOR, NETWORK_FLOOR, PREDICTOR_FLOOR, PIPELINE_FLOOR = 2e-5, 1e-4, 1e-3, 5e-4
_FLOORS = {"blocks": BLOCK_FLOOR, "cotracker_predictor": PREDICTOR_FLOOR, "pipeline_interp": PIPELINE_FLOOR}

Meta: TypeAlias = dict[str, Any]
Arrays: TypeAlias = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Comparison:
    """The largest absolute error of one output and what it may be; booleans: the number that differ, which may be 0."""

    error: float
    tolerance: float

    @property
    def good(self) -> bool:
        return self.error <= self.tolerance


Run: TypeAlias = Callable[[Meta, Arrays, Arrays], dict[str, Comparison]]
RunBlock: TypeAlias = Callable[[Arrays], npt.NDArray[Any]]
BuildBlock: TypeAlias = Callable[[str, Arrays], RunBlock]


@dataclass
class Registry:
    """What the modules offer."""

    runners: dict[str, Run] = field(default_factory=dict)
    blocks: dict[str, BuildBlock] = field(default_factory=dict)


@cache
def registry() -> Registry:
    """The kinds and blocks of all modules; two that claim the same one are an error."""
    found = Registry()
    for name in MODULES:
        module = importlib.import_module(name)
        for known, new in ((found.runners, module.RUNNERS), (found.blocks, getattr(module, "BLOCKS", {}))):
            if twice := set(known) & set(new):
                raise ValueError(f"{name}: {', '.join(sorted(twice))} is claimed twice")
            known.update(new)
    return found


def golden_files() -> list[Path]:
    """All files of the folder; none where it does not exist."""
    return sorted(FOLDER.glob("*.npz"))


@cache
def _recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_recipe", FOLDER / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_meta(path: Path) -> Meta:
    """The description in a file, without its tensors."""
    with np.load(path, allow_pickle=False) as stored:
        meta: Meta = json.loads(bytes(stored["meta"]).decode("utf-8"))
    return meta


def read_arrays(path: Path, prefix: str = "") -> Arrays:
    """Tensors of a file by their names, those that begin with ``prefix`` after ``in.``, ``out.`` and so on."""
    with np.load(path, allow_pickle=False) as stored:
        names = [name for name in stored.files if name != "meta" and name.partition(".")[2].startswith(prefix)]
        return {name: stored[name] for name in names}


def make_weights(meta: Meta) -> Arrays:
    """Weights of a file by the folder's recipe, float32; nothing for a file without networks."""
    if "params" not in meta:
        return {}
    weights: Arrays = _recipe().weights(meta)
    if _recipe().sha256(weights) != meta["weights_sha256"]:
        raise ValueError("weights: the recipe does not give those that the file was made with")
    return weights


def tolerance(meta: Meta, output: str) -> float:
    """What the largest absolute error of an output, such as ``out.y``, may be."""
    noise = (meta.get("noise_floor") or {}).get(output) or 0.0
    return max(_FLOORS.get(meta["kind"], NETWORK_FLOOR), NOISE_FACTOR * noise)


def compare(got: npt.NDArray[Any], want: npt.NDArray[Any], limit: float) -> Comparison:
    """One output against its reference; another shape or a number that is not finite is infinitely far away."""
    if got.shape != want.shape or (got.dtype == np.bool_) != (want.dtype == np.bool_):
        return Comparison(math.inf, limit)
    if want.dtype == np.bool_:
        return Comparison(float(np.count_nonzero(got != want)), 0.0)
    error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    return Comparison(float(error.max(initial=0.0)) if np.isfinite(error).all() else math.inf, limit)


def compare_outputs(meta: Meta, arrays: Arrays, got: Mapping[str, npt.NDArray[Any]]) -> dict[str, Comparison]:
    """Every output of a file by its name; one that ``got`` lacks is infinitely far away.

    Args:
        meta: of the file.
        arrays: of the file.
        got: results by the names of the file's outputs, with or without ``out.``; others are named as unknown.
    """
    given = {name.removeprefix("out."): value for name, value in got.items()}
    wanted = {name.removeprefix("out."): value for name, value in arrays.items() if name.startswith("out.")}
    if unknown := set(given) - set(wanted):
        raise ValueError(f"{', '.join(sorted(unknown))}: not among the outputs {', '.join(sorted(wanted))}")
    result = {}
    for name, want in wanted.items():
        limit = tolerance(meta, f"out.{name}")
        result[name] = compare(given[name], want, limit) if name in given else Comparison(math.inf, limit)
    return result


def block_names(meta: Meta) -> list[str]:
    """Names of the blocks in a file of kind ``blocks``."""
    return sorted(meta["calls"])


def block_builder(name: str) -> BuildBlock | None:
    """What builds a block: the longest prefix of its name that a module knows."""
    blocks = registry().blocks
    prefixes = [prefix for prefix in blocks if name.startswith(prefix)]
    return blocks[max(prefixes, key=len)] if prefixes else None


def run_block(path: Path, meta: Meta, name: str) -> dict[str, Comparison]:
    """All runs of one block of a file.

    Raises:
        LookupError: no module builds it.
    """
    build = block_builder(name)
    if build is None:
        raise LookupError(f"no module builds block {name}")
    shapes = {key: shape for key, shape in meta["params"].items() if key.startswith(f"{name}.")}
    every = _recipe().fill(shapes, meta["seed"], meta.get("gains", ()), meta.get("overrides"))
    run = build(meta["calls"][name], {key.removeprefix(f"{name}."): value for key, value in every.items()})
    arrays = read_arrays(path, f"{name}.")
    wanted = {key.removeprefix("out."): value for key, value in arrays.items() if key.startswith("out.")}
    result = {}
    for key, want in wanted.items():
        inputs = {n.rpartition(".")[2]: value for n, value in arrays.items() if n.startswith(f"in.{key}.")}
        result[key] = compare(run(inputs), want, tolerance(meta, f"out.{key}"))
    return result


def run_file(path: Path, meta: Meta) -> dict[str, Comparison]:
    """All outputs of one file that is not of kind ``blocks``.

    Raises:
        LookupError: no module runs its kind.
    """
    run = registry().runners.get(meta["kind"])
    if run is None:
        raise LookupError(f"no module runs kind {meta['kind']}")
    return run(meta, read_arrays(path), make_weights(meta))


def run_all() -> Iterator[tuple[str, dict[str, Comparison], float]]:
    """Every file, and every block of those of kind ``blocks``: its name, its outputs, seconds taken."""
    for path in golden_files():
        meta = read_meta(path)
        names = block_names(meta) if meta["kind"] == "blocks" else [""]
        for name in names:
            begin = time.perf_counter()
            try:
                outputs = run_block(path, meta, name) if name else run_file(path, meta)
            except LookupError as fault:
                outputs = {str(fault): Comparison(math.inf, 0.0)}
            yield f"{path.name}:{name}".rstrip(":"), outputs, time.perf_counter() - begin


def _main() -> int:
    parser = argparse.ArgumentParser(description="Compare all reference tensors and print the worst error of each.")
    parser.add_argument("--write", type=Path, help="keep the table as JSON")
    target = parser.parse_args().write
    rows, bad = {}, 0
    if not golden_files():
        print(f"no *.npz in {FOLDER}: set TGVC_GOLDEN", file=sys.stderr)
        return 2
    print(f"{'file':44} {'output nearest to its tolerance':34} {'error':>10} {'tolerance':>10} {'seconds':>8}")
    for name, outputs, seconds in run_all():
        worst = max(
            outputs, key=lambda key: (not outputs[key].good, outputs[key].error / (outputs[key].tolerance or 1))
        )
        pair = outputs[worst]
        bad += not all(value.good for value in outputs.values())
        mark = "" if pair.good else "  FAILS"
        print(f"{name:44} {worst:34} {pair.error:10.2g} {pair.tolerance:10.2g} {seconds:8.1f}{mark}")
        rows[name] = {
            "seconds": round(seconds, 2),
            "outputs": {key: {"error": v.error, "tolerance": v.tolerance} for key, v in outputs.items()},
        }
    if target is not None:
        target.write_text(json.dumps({"files": rows}, indent=1) + "\n", encoding="utf-8")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(_main())
