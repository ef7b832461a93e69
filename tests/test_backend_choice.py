"""Which backend runs, which is refused and why, and planes of pictures."""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import pytest

from tgvc.backends.base import load_backend
from tgvc.backends.ort import OrtBackend
from tgvc.errors import BackendUnavailableError, ConfigError
from tgvc.models.nets import pack_planes, unpack_planes


def test_an_unknown_backend_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="backend='jax': expected one of auto, onnxruntime, onnxruntime-cuda"):
        load_backend("jax")


def test_auto_logs_its_choice_and_what_it_passed_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: OrtBackend) -> None:
        raise BackendUnavailableError("onnxruntime-cuda: no driver")

    monkeypatch.setattr(OrtBackend, "_prepare_cuda", refuse)
    with caplog.at_level(logging.INFO, "tgvc.backends"):
        chosen = load_backend("auto")
    assert chosen.name == "onnxruntime"
    assert f"chose onnxruntime {chosen.version} (onnxruntime-cuda: no driver)" in caplog.text


class _Fallen:
    """A session that got another provider than it was asked for."""

    def __init__(self, model: bytes, options: object, providers: list[Any]) -> None:
        assert providers[0][0] == "CUDAExecutionProvider"

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def disable_fallback(self) -> None:
        pass


def test_a_session_that_fell_back_to_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr("tgvc.backends.ort.find_gpu", lambda ordinal: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", _Fallen)
    with pytest.raises(
        BackendUnavailableError, match=r"asked for CUDAExecutionProvider, in force CPUExecutionProvider.*pip install"
    ):
        load_backend("onnxruntime-cuda")


def test_a_build_without_cuda_is_refused_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendUnavailableError, match=r"built without CUDA.*pip install 'onnxruntime-gpu"):
        load_backend("onnxruntime-cuda")


def test_a_missing_runtime_is_refused_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailableError, match="pip install onnxruntime"):
        load_backend("onnxruntime")
    with pytest.raises(BackendUnavailableError, match="backend auto: none runs here"):
        load_backend("auto")


def test_planes_and_back_are_the_same_picture() -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (72, 64), np.uint8) for _ in range(3)]
    pictures[0].flat[:256] = np.arange(256)  # every level
    planes = pack_planes(pictures)
    assert planes.shape == (3, 6, 24, 32)
    assert planes.min() == -1
    assert planes.max() == 1
    assert all(np.array_equal(a, b) for a, b in zip(pictures, unpack_planes(planes), strict=True))


def test_planes_hold_the_four_corners_of_blocks_then_chroma() -> None:
    picture = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4)  # 4 x 4 luma 0..15, then U 16..19, V 20..23
    level = pack_planes([picture])[0] * 127.5 + 127.5
    want = [[[0, 2], [8, 10]], [[1, 3], [9, 11]], [[4, 6], [12, 14]], [[5, 7], [13, 15]]]
    want += [[[16, 17], [18, 19]], [[20, 21], [22, 23]]]
    np.testing.assert_allclose(level, want, atol=1e-5)  # two roundings of numbers up to 255


def test_planes_are_rounded_to_the_nearest_level_and_cut() -> None:
    planes = np.full((1, 6, 2, 2), -2.0, np.float32)
    planes[0, 1], planes[0, 2], planes[0, 3] = 3.0, 100.4 / 127.5 - 1, 100.6 / 127.5 - 1
    picture = unpack_planes(planes)[0]
    assert picture[:4].tolist() == [[0, 255, 0, 255], [100, 101, 100, 101]] * 2
    assert picture[4:].max() == 0
