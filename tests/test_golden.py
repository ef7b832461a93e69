"""Every reference tensor in the folder, whatever it is of, is met by the network that its own description builds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from golden import (
    FOLDER,
    Comparison,
    block_names,
    compare,
    golden_files,
    read_meta,
    run_block,
    run_file,
    tolerance,
)


def _cases() -> list[tuple[Path, str]]:
    cases = []
    for path in golden_files():
        meta = read_meta(path)
        cases += [(path, name) for name in block_names(meta)] if meta["kind"] == "blocks" else [(path, "")]
    return cases


def _name(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(value)


def _check(outputs: dict[str, Comparison]) -> None:
    assert outputs, "no outputs were compared"
    bad = [f"{name}: {c.error:.3g} > {c.tolerance:.3g}" for name, c in outputs.items() if not c.good]
    assert not bad, "; ".join(bad)


@pytest.mark.skipif(not golden_files(), reason=f"no reference tensors in {FOLDER}: set TGVC_GOLDEN")
@pytest.mark.parametrize(("path", "block"), _cases(), ids=_name)
def test_reference_tensors_are_met_within_their_tolerance(path: Path, block: str) -> None:
    meta = read_meta(path)
    _check(run_block(path, meta, block) if block else run_file(path, meta))


def test_a_file_of_a_kind_that_nobody_runs_fails_and_is_named(tmp_path: Path) -> None:
    described = {"kind": "mystery", "calls": {}, "params": {}}
    path = tmp_path / "mystery.npz"
    np.savez(path, meta=np.frombuffer(json.dumps(described).encode(), np.uint8), **{"in.x": np.zeros(1)})
    assert read_meta(path) == described
    with pytest.raises(LookupError, match="no module runs kind mystery"):
        run_file(path, read_meta(path))
    with pytest.raises(LookupError, match="no module builds block mystery"):
        run_block(path, read_meta(path), "mystery")


def test_a_tolerance_is_the_floor_of_the_kind_or_five_times_the_noise() -> None:
    assert tolerance({"kind": "blocks", "noise_floor": {"out.a": 1e-6}}, "out.a") == 2e-5
    assert tolerance({"kind": "blocks", "noise_floor": {"out.a": 9e-5}}, "out.a") == pytest.approx(4.5e-4)
    assert tolerance({"kind": "anything", "noise_floor": {}}, "out.a") == 1e-4
    assert tolerance({"kind": "cotracker_predictor", "noise_floor": {"out.tracks": None}}, "out.tracks") == 1e-3
    assert tolerance({"kind": "pipeline_interp"}, "out.video") == 5e-4


def test_a_shape_a_nan_and_one_wrong_boolean_are_errors() -> None:
    one = np.ones((2, 3), np.float32)
    assert compare(one, one, 0.1).good
    assert compare(one + np.float32(0.05), one, 0.1).good
    assert not compare(one + np.float32(0.2), one, 0.1).good
    assert not compare(one[:1], one, 0.1).good
    assert not compare(np.where(one > 0, np.nan, one), one, 0.1).good
    flags = one > 0
    assert compare(flags, flags, 1.0).good
    assert not compare(np.array([[True, True, False], [True, True, True]]), flags, 1.0).good
    assert not compare(one, flags, 1.0).good
