"""Matrix products in eight bits: what is written keeps to its limit, and what gains nothing is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

from interpolation_samples import CONSTANTS
from network_samples import save_net, tiny_bundle
from tgvc.backends.base import load_backend
from tgvc.errors import BundleError
from tgvc.models.bundle import ModelBundle, hash_file, load_bundle, write_manifest
from tgvc.models.contract import UNET, contract_of
from tgvc_export.command import export
from tgvc_export.eight_bit import PRECISION, quantise_bundle, random_inputs
from tgvc_export.graph_rules import ExportError


def made(folder: Path, weights: np.ndarray, revision: str = "1") -> ModelBundle:
    """A bundle whose UNet is one matrix product over channels; the others are no networks, nobody looks at them."""
    folder.mkdir(exist_ok=True)
    contract = contract_of(CONSTANTS)
    nets = {name: folder / f"{name}.onnx" for name in contract}
    for name, path in nets.items():
        path.write_bytes(name.encode())
    nodes = [
        helper.make_node("Transpose", ["x"], ["last"], perm=[0, 2, 3, 4, 1]),
        helper.make_node("MatMul", ["last", "w"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["v"], perm=[0, 4, 1, 2, 3]),
    ]
    save_net(nets[UNET], nodes, *contract[UNET], {"w": weights.astype(np.float32)})
    notes = {"fast": {"steps10": {}}, "source": "here"}
    return write_manifest(
        folder, name="made", revision=revision, licence="none", constants=CONSTANTS, nets=nets, notes=notes
    )


@pytest.fixture
def weights() -> np.ndarray:
    c = CONSTANTS.latent_channels
    return np.random.default_rng(1).standard_normal((2 * c, c))


def test_eight_bits_stay_near_and_say_how_near(weights: np.ndarray, tmp_path: Path) -> None:
    bundle = made(tmp_path / "plain", weights)
    eight = quantise_bundle(str(bundle.folder), tmp_path / "eight")
    record = eight.nets[UNET]
    operators = {node.op_type for node in onnx.load(record.path).graph.node}
    assert "MatMulInteger" in operators
    assert "MatMul" not in operators
    assert eight.revision == "1-int8"
    inputs = random_inputs(record, 7)  # other numbers than those that the error was measured on
    found, want = (load_backend("onnxruntime").load(b.nets[UNET]).run(**inputs)["v"] for b in (eight, bundle))
    error = float(np.sqrt(np.mean((found - want) ** 2) / np.mean(want**2)))
    # a step of 255 over about 9 deviations is 0.035 deviations wide: 1 % of rounding, and as much of the weights
    assert 0.001 < error < 0.03
    assert record.error["eight_bit_relative_rms"] == pytest.approx(error, rel=0.3)
    assert eight.notes["eight_bit"]["products"] == 1
    assert eight.notes["source"] == "here"
    assert "fast" not in eight.notes  # that was measured with other weights
    assert all(r.precision == PRECISION for r in eight.nets.values())


def test_an_error_above_the_limit_writes_nothing(weights: np.ndarray, tmp_path: Path) -> None:
    bundle = made(tmp_path / "plain", weights)
    with pytest.raises(ExportError, match=r"at most 0\.001 is allowed"):
        quantise_bundle(str(bundle.folder), tmp_path / "eight", limit=0.001)
    assert list((tmp_path / "eight").iterdir()) == []


@pytest.mark.parametrize("which", ["nano", "tiny"])
def test_networks_of_convolutions_gain_nothing_and_are_refused(which: str, tmp_path: Path) -> None:
    source = which if which == "nano" else str(tiny_bundle(tmp_path / "tiny").folder)
    with pytest.raises(BundleError, match="no matrix product with float32 weights"):
        quantise_bundle(source, tmp_path / "eight")
    assert not (tmp_path / "eight" / "manifest.json").exists()


def test_the_command_reports_and_replaces_only_when_told(weights: np.ndarray, tmp_path: Path) -> None:
    bundle = made(tmp_path / "plain", weights)
    arguments = ["int8", str(bundle.folder), "-o", str(tmp_path / "eight"), "--json"]
    done = CliRunner().invoke(export, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["errors"][UNET]["eight_bit_relative_rms"] < 0.03
    again = CliRunner().invoke(export, arguments)
    assert again.exit_code == 1
    assert "give -y to replace it" in again.output
    assert CliRunner().invoke(export, [*arguments, "-y"]).exit_code == 0
    itself = CliRunner().invoke(export, ["int8", str(bundle.folder), "-o", str(bundle.folder), "-y"])
    assert itself.exit_code == 1
    assert "is the bundle itself" in itself.output


def test_other_weights_of_the_same_network_are_another_bundle(weights: np.ndarray, tmp_path: Path) -> None:
    """How distilled weights are put in place: the file that holds them is replaced and the manifest written again."""
    bundle = made(tmp_path / "plain", weights)
    kept = hash_file(bundle.nets[UNET].path)
    other = made(tmp_path / "plain", 2 * weights, revision="2-distilled")
    assert other.revision == "2-distilled"
    assert hash_file(other.nets[UNET].path) != kept
    inputs = random_inputs(other.nets[UNET], 3)
    net = load_backend("onnxruntime").load(load_bundle(tmp_path / "plain").nets[UNET])
    last = np.moveaxis(inputs["x"], 1, -1)
    # sums of eight products in float32
    assert np.abs(net.run(**inputs)["v"] - np.moveaxis(last @ (2 * weights), -1, 1)).max() < 1e-4
    with pytest.raises(BundleError):  # what was verified before the swap is no longer what lies there
        load_backend("onnxruntime").load(bundle.nets[UNET])
