"""Metrics with weights: the numbers of piq for the same random weights, and no number at all without weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural_samples import (
    random_dists,
    random_heads,
    random_inception,
    random_pictures,
    random_trunk,
    torch,
)
from tgvc.errors import BundleError, ConfigError
from tgvc.types import join_planes
from tgvc_bench.neural.distances import frechet_distance, kernel_distance
from tgvc_bench.neural.inception import Inception
from tgvc_bench.neural.panel import NeuralPanel
from tgvc_bench.neural.perceptual import ALEXNET, VGG16, Dists, Lpips, Trunk
from tgvc_bench.neural.weights import NEEDED, PUBLISHED, WeightFile, parse_weights, require_weights

# piq 0.8.0 with torchvision 0.28.0 (torch 2.13), printed by tests/piq_reference.py
PIQ: dict[str, Any] = {
    "vgg16": [0.136006, 0.20030081],
    "alexnet": [0.11856472, 0.15828151],
    "dists": [0.015247762, 0.016593695],
    "inception": [2.376236, 0.52177495, 0.90759927],
    "fid": 2.3466285,
    "kid": 0.87260329,
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def make_lpips(name: str) -> Lpips:
    layers = {"vgg16": VGG16, "alexnet": ALEXNET}[name]
    return Lpips(Trunk(random_trunk(name), layers, name), random_heads(name), name)


def make_dists() -> Dists:
    return Dists(Trunk(random_trunk("vgg16"), VGG16, "vgg16", smooth=True), random_dists())


def measure(metric: Lpips | Dists, a: Any, b: Any) -> list[float]:
    with torch.inference_mode():
        found: list[float] = metric.between(metric.describe(a), metric.describe(b)).tolist()
    return found


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_lpips_agrees_with_piq(name: str) -> None:
    # float32 sums over 600 channels in another order: 1e-6 was seen; a wrong layer or constant moves the first digit
    assert measure(make_lpips(name), *random_pictures()) == pytest.approx(PIQ[name], rel=2e-5)


def test_dists_agrees_with_piq() -> None:
    # one minus a sum near 1: what float32 leaves of 0.015 is 6e-8
    assert measure(make_dists(), *random_pictures()) == pytest.approx(PIQ["dists"], abs=5e-7)


def test_inception_features_agree_with_piq() -> None:
    with torch.inference_mode():
        features = Inception(random_inception()).features(random_pictures()[0])
    found = [float(features[0, 0]), float(features[0, 1000]), float(features.mean())]
    # 94 convolutions in float32, normalisation folded into them here: 1e-6 was seen
    assert features.shape == (2, 2048)
    assert found == pytest.approx(PIQ["inception"], rel=2e-5)


def test_set_distances_agree_with_piq() -> None:
    rng = np.random.default_rng(10)
    x, y = rng.standard_normal((40, 6)), 0.7 * rng.standard_normal((50, 6)) + 0.3
    # piq stops its iteration for the matrix root at a relative error of 1e-5
    assert frechet_distance(x, y) == pytest.approx(PIQ["fid"], rel=2e-5)
    assert kernel_distance(x, y[:40]) == pytest.approx(PIQ["kid"], rel=1e-7)


def test_the_frechet_distance_of_gaussians_is_known() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 3))
    x -= x.mean(axis=0)
    # the same cloud, stretched and moved: |shift|^2 + sum of the variances times (1 - 2)^2, exact up to rounding
    expected = 3 * 0.25 + np.trace(np.cov(x, rowvar=False))
    assert frechet_distance(x, 2 * x + 0.5) == pytest.approx(expected, rel=1e-9)


def test_fewer_rows_than_features_still_give_a_number() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 2048)).astype(np.float32)
    # float64 of float32 rows: the root of what rounding leaves of 2048 squares
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x + 1) == pytest.approx(2048, rel=1e-6)
    with pytest.raises(ConfigError, match="at least 2 rows"):
        kernel_distance(x[:1], x)


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "dists"])
def test_equal_pictures_are_at_no_distance_and_more_noise_is_farther(name: str) -> None:
    metric = make_dists() if name == "dists" else make_lpips(name)
    a, b = random_pictures()
    assert measure(metric, a, a) == pytest.approx([0, 0], abs=1e-6)
    near, far = measure(metric, a, (a + b) / 2), measure(metric, a, b)
    assert all(0 < n < f for n, f in zip(near, far, strict=True))


def save(folder: Path, kind: str, tensors: Any) -> WeightFile:
    path = folder / f"{kind}.pth"
    torch.save(tensors, path)
    return parse_weights(f"{kind}={path}:{hashlib.sha256(path.read_bytes()).hexdigest()}")


def make_frames(count: int, shift: float) -> list[Any]:
    y, x = np.mgrid[:64, :80]
    luma = [(120 + 60 * np.sin((x + shift * t) / 7) * np.cos(y / 9)).astype(np.uint8) for t in range(count)]
    chroma = np.full((32, 40), 128, np.uint8)
    return [join_planes(plane, chroma, chroma) for plane in luma]


def test_files_of_weights_are_all_that_the_metrics_need(tmp_path: Path) -> None:
    files = [
        save(tmp_path, "alexnet", random_trunk("alexnet")),
        save(tmp_path, "lpips-alex", random_heads("alexnet")),
        save(tmp_path, "vgg16", {**random_trunk("vgg16"), "classifier.0.weight": torch.zeros(2, 2)}),
        save(tmp_path, "lpips-vgg", list(random_heads("vgg16").values())),
        save(tmp_path, "dists", random_dists()),
    ]
    wanted = ("lpips", "lpips_vgg", "dists", "tlpips")
    source = make_frames(3, 2)
    clip = NeuralPanel(wanted, files).read(source, 6)
    same, features = clip.score(source)
    assert features is None
    assert same == pytest.approx(dict.fromkeys(wanted, 0), abs=1e-6)
    still, _ = clip.score([source[0]] * 3)
    assert set(still) == set(wanted)
    assert all(value > 1e-4 for value in still.values())


def test_changed_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    trunk, heads = save(tmp_path, "vgg16", random_trunk("vgg16")), save(tmp_path, "lpips-vgg", random_heads("alexnet"))
    with pytest.raises(BundleError, match=r"lin0\.model\.1\.weight|lin1\.model\.1\.weight"):
        NeuralPanel(["lpips_vgg"], [trunk, heads])
    heads.path.write_bytes(b"other bytes")
    with pytest.raises(BundleError, match=f"expected {heads.sha256}"):
        NeuralPanel(["lpips_vgg"], [trunk, heads])
    text = parse_weights(f"lpips-vgg={heads.path}:{hashlib.sha256(b'other bytes').hexdigest()}")
    with pytest.raises(BundleError, match="no file of PyTorch weights"):
        NeuralPanel(["lpips_vgg"], [trunk, text])
    heads.path.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        NeuralPanel(["lpips_vgg"], [trunk, heads])


@pytest.mark.parametrize("metric", NEEDED)
def test_without_weights_one_line_says_which_file_from_where_and_how(metric: str) -> None:
    with pytest.raises(ConfigError) as caught:
        require_weights([metric], [])
    text, known = str(caught.value), PUBLISHED[NEEDED[metric][0]]
    assert "\n" not in text
    for part in (metric, known.name, known.url, known.prefix, f"--weights {NEEDED[metric][0]}=FILE:SHA256"):
        assert part in text


@pytest.mark.parametrize(
    "text", ["lpips=a.pth:" + 64 * "0", "vgg16=a.pth", "vgg16=a.pth:123", "vgg16=:" + 64 * "0", "vgg16=a:" + 64 * "g"]
)
def test_texts_that_name_no_file_with_its_hash_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="weights"):
        parse_weights(text)
