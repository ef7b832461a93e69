"""The guidance benchmark: what is timed is the same answer, and ratios are those of the times beside them."""

import json

import numpy as np
import pytest

from tgvc.errors import BackendError, BackendUnavailableError
from tgvc_bench import guidance
from tgvc_kernels import ops


def test_the_record_has_every_case_and_its_ratio(tmp_path):
    pytest.importorskip("torch", reason="torch: the other side of the comparison")
    output = tmp_path / "guidance.json"
    lines = list(guidance.run_guidance(output, (3, 7), channels=2, repeats=1))
    record = json.loads(output.read_text())
    assert len(lines) == len(record["cases"]) == 2
    for case, count in zip(record["cases"], (3, 7), strict=True):
        assert case["tracks"] == count
        assert 0 < case["windows"] <= 14 * count
        assert case["windows"] <= case["entries"] <= 25 * case["windows"]
        # times are stored with four digits, ratios with four
        assert case["ratio"] == pytest.approx(case["per_window_ms"]["min"] / case["closed_form_ms"]["min"], rel=2e-3)
        assert case["ratio_to_batched"] == pytest.approx(
            case["batched_ms"]["min"] / case["closed_form_ms"]["min"], rel=2e-3
        )
    assert record["goal"]["met"] == all(c["ratio"] >= guidance.GOAL for c in record["cases"])
    assert record["command"].startswith("tgvc-bench guidance --tracks 3 --tracks 7 --channels 2")


def test_gradients_that_differ_are_not_timed(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch: the other side of the comparison")
    right = ops.guidance_gradient
    monkeypatch.setattr(ops, "guidance_gradient", lambda *a: right(*a) + np.float32(0.5))
    with pytest.raises(BackendError, match="per_window and the closed form differ at"):
        guidance.measure_case(torch, 3, 2, 1)


def test_without_torch_the_error_says_so(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(BackendUnavailableError, match="torch is not installed"):
        list(guidance.run_guidance(tmp_path / "guidance.json"))
    assert not list(tmp_path.iterdir())
