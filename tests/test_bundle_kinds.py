"""Bundles of the kinds interpolation and tracker: their constants, contracts, and weights beside the ONNX files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from network_samples import tensor, tiny_constants
from published_sizes import PUBLISHED, TRACKER
from tgvc.backends.base import load_backend
from tgvc.backends.spec import NetRecord, TensorSpec
from tgvc.errors import BackendError, BundleError
from tgvc.models.bundle import hash_file, load_bundle, write_manifest
from tgvc.models.constants import AnyConstants
from tgvc.models.contract import Tensors, contract_of, keeps_contract
from tgvc.models.interpolation import InterpolationNetworks
from tgvc.models.nets import Networks
from tgvc.models.tracker import TrackerNetworks


def write(folder: Path, constants: AnyConstants, **changes: Any) -> Path:
    """A bundle whose files are no networks: nothing of them is looked at before they run."""
    folder.mkdir()
    nets = {}
    for name in contract_of(constants):
        nets[name] = folder / f"{name}.onnx"
        nets[name].write_bytes(name.encode())
    write_manifest(folder, name="made", revision="1", licence="none", constants=constants, nets=nets, **changes)
    return folder


def fixed(tensors: Tensors, **lengths: int) -> Tensors:
    """The same tensors with some symbols replaced by lengths."""

    def replace(spec: TensorSpec) -> TensorSpec:
        shape = []
        for dimension in spec.shape:
            factor, _, symbol = str(dimension).rpartition("*")
            shape.append(int(factor or 1) * lengths[symbol] if symbol in lengths else dimension)
        return TensorSpec(spec.name, spec.dtype, tuple(shape))

    return tuple(map(replace, tensors[0])), tuple(map(replace, tensors[1]))


@pytest.mark.parametrize(("kind", "constants"), [("interpolation", PUBLISHED), ("tracker", TRACKER)])
def test_a_bundle_of_each_kind_is_read_back_with_its_constants(
    kind: str, constants: AnyConstants, tmp_path: Path
) -> None:
    bundle = load_bundle(write(tmp_path / "made", constants))
    assert bundle.kind == kind
    assert bundle.constants == constants
    assert {name: (r.inputs, r.outputs) for name, r in bundle.nets.items()} == contract_of(constants)


def test_the_published_networks_have_the_shapes_of_the_contract() -> None:
    contract = contract_of(PUBLISHED)
    assert [str(s) for s in contract["unet"][0]] == [
        "x float32 (B, 8, T, h, w)",
        "shifts float32 (B, 20160)",
        "text_kv float32 (B, 390, 77, 64)",
        "image_kv float32 (B, T, 390, M, 64)",
    ]
    assert [str(s) for side in contract["time"] for s in side] == [
        "t float32 (S)",
        "fs float32 (S)",
        "shifts float32 (S, 20160)",
    ]
    assert [str(s) for s in contract["context"][0]] == ["text float32 (B, 77, 1024)", "image float32 (B, T, M, 1024)"]
    assert contract["context"][1] == contract["unet"][0][2:]
    assert [str(s) for s in contract["image_tower"][1]] == [
        "tokens float32 (N, 256, 1024)",
        "embedding float32 (N, 1024)",
    ]
    assert str(contract["text_tower"][0][0]) == "tokens int64 (N, 77)"
    assert str(contract["vae_encoder"][1][0]) == "moments float32 (N, 8, h, w)"
    update = contract_of(TRACKER)["update"]
    assert [str(s) for s in update[0]][:2] == ["level0 float32 (T, 128, h0, w0)", "level1 float32 (T, 128, h1, w1)"]
    assert str(update[0][4]) == "support0 float32 (K, 49, 128)"
    assert [s.name for s in update[1]] == ["new_coords", "new_visible", "new_confident"]


def test_networks_made_for_one_size_keep_the_contract_and_mixed_sizes_do_not() -> None:
    contract = contract_of(PUBLISHED)["unet"]
    assert keeps_contract(fixed(contract, B=2, T=16, h=40, w=64), contract, fixed=True)
    assert not keeps_contract(fixed(contract, B=2, T=16, h=40, w=64), contract, fixed=False)
    wrong = fixed(contract, T=16)[0], fixed(contract, T=8)[1]
    assert not keeps_contract(wrong, contract, fixed=True)
    assert not keeps_contract((contract[0][:-1], contract[1]), contract, fixed=True)
    odd = contract_of(PUBLISHED)["vae_decoder"]
    picture = TensorSpec("picture", "float32", ("N", 3, 4 * 40, 8 * 64))
    assert not keeps_contract((fixed(odd, h=40, w=64)[0], (picture,)), odd, fixed=True)


def test_a_network_that_the_kind_does_not_know_or_lacks_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "made", PUBLISHED)
    values = json.loads((folder / "manifest.json").read_text())
    values["nets"]["guess"] = values["nets"].pop("unet")
    (folder / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=r"no unet among the networks; network guess is not known"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("constants", "name", "value", "told"),
    [
        (PUBLISHED, "fs", 0, "whole number in 1..1000"),
        (PUBLISHED, "fs", 5.0, "whole number"),
        (PUBLISHED, "dynamic", 1, "true or false"),
        (PUBLISHED, "eta", 1.5, "number in 0..1"),
        (PUBLISHED, "latent_scale", 0, "latent_scale"),
        (PUBLISHED, "schedule", "cosine", "this release knows linear-ztsnr"),
        (TRACKER, "sliding", None, "true or false"),
        (TRACKER, "threshold", "0.9", "number in 0..1"),
        (TRACKER, "window", 1, "whole number in 2..4096"),
    ],
)
def test_a_constant_out_of_its_range_is_refused(
    constants: AnyConstants, name: str, value: object, told: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "made", constants)
    values = json.loads((folder / "manifest.json").read_text())
    values["constants"][name] = value
    (folder / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=told):
        load_bundle(folder)


def test_a_bundle_whose_unet_computes_everything_itself_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "made", PUBLISHED)
    values = json.loads((folder / "manifest.json").read_text())
    for name in ("shifts", "heads", "head_width"):
        del values["constants"][name]
    (folder / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    told = "manifest.json: constants: no shifts, heads, head_width, which this release needs of kind interpolation"
    assert str(caught.value) == f"bundle {folder}: {told}; export the bundle again"


def test_networks_of_another_kind_are_not_taken(tmp_path: Path) -> None:
    bundle, backend = load_bundle(write(tmp_path / "made", TRACKER)), load_backend("onnxruntime", threads=1)
    with pytest.raises(BundleError, match="kind 'tracker', expected 'interpolation'"):
        InterpolationNetworks(bundle, backend)
    with pytest.raises(BundleError, match="kind 'tracker', expected 'residual'"):
        Networks(bundle, backend)
    other = load_bundle(write(tmp_path / "other", PUBLISHED))
    with pytest.raises(BundleError, match="kind 'interpolation', expected 'tracker'"):
        TrackerNetworks(other, backend)


def _net_with_data(folder: Path) -> NetRecord:
    """y = x @ weights, whose weights lie in a file of their own."""
    weights = numpy_helper.from_array(np.arange(64 * 64, dtype=np.float32).reshape(64, 64), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 64])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = folder / "unet.onnx"
    onnx.save(model, path, save_as_external_data=True, location="unet.onnx.data", size_threshold=0)
    specs = (tensor("x", "N", 64),), (tensor("y", "N", 64),)
    return NetRecord("unet", path, path.stat().st_size, hash_file(path), *specs)


def test_weights_in_a_file_of_their_own_are_listed_hashed_and_used(tmp_path: Path) -> None:
    folder = write(tmp_path / "made", PUBLISHED)
    record = _net_with_data(folder)
    nets = {name: folder / f"{name}.onnx" for name in contract_of(PUBLISHED)}
    made = write_manifest(folder, name="made", revision="1", licence="none", constants=PUBLISHED, nets=nets)
    data = made.nets["unet"].data
    assert data is not None
    assert data.path == folder / "unet.onnx.data"
    assert data.size == 64 * 64 * 4
    assert [path.name for path in made.nets["unet"].paths] == ["unet.onnx", "unet.onnx.data"]
    assert made.nets["text_tower"].data is None

    whole = NetRecord(record.name, record.path, record.size, record.sha256, record.inputs, record.outputs, data=data)
    backend = load_backend("onnxruntime", threads=1)
    x = np.eye(2, 64, dtype=np.float32)
    got = backend.load(whole).run(x=x)["y"]
    np.testing.assert_array_equal(got, np.arange(128, dtype=np.float32).reshape(2, 64))

    damaged = bytearray(data.path.read_bytes())
    damaged[7] ^= 1
    data.path.write_bytes(bytes(damaged))
    with pytest.raises(BundleError, match=r"unet\.onnx\.data has another sha256"):
        backend.load(whole)
    with pytest.raises(BundleError, match=r"unet\.onnx\.data has another sha256"):
        load_bundle(folder)
    data.path.unlink()
    with pytest.raises(BundleError, match=r"unet\.onnx\.data is missing"):
        load_bundle(folder)


def test_weights_that_the_manifest_does_not_list_are_not_followed(tmp_path: Path) -> None:
    record = _net_with_data(tmp_path)
    with pytest.raises(BackendError, match="does not take unet"):
        load_backend("onnxruntime", threads=1).load(record)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            {"file": "../unet.onnx.data", "bytes": 1, "sha256": "0" * 64},
            r"data: file .*plain name ending in .onnx.data",
        ),
        ({"file": "unet.onnx", "bytes": 1, "sha256": "0" * 64}, "data: file .*ending in .onnx.data"),
        ({"file": "unet.onnx.data", "bytes": 1 << 41, "sha256": "0" * 64}, "data: bytes"),
        ({"file": "unet.onnx.data", "bytes": 1, "sha256": "0"}, "data: sha256"),
        ({"file": "unet.onnx.data"}, "data: expected an object"),
        ("unet.onnx.data", "data: expected an object"),
    ],
)
def test_a_hostile_entry_for_a_second_file_is_refused(value: object, told: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "made", PUBLISHED)
    values = json.loads((folder / "manifest.json").read_text())
    values["nets"]["unet"]["data"] = value
    (folder / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=told):
        load_bundle(folder)


def test_the_manifest_of_a_residual_bundle_names_no_second_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "made", tiny_constants())
    assert '"data"' not in (folder / "manifest.json").read_text()


def test_a_vocabulary_is_listed_hashed_and_verified(tmp_path: Path) -> None:
    folder = write(tmp_path / "made", PUBLISHED)
    (folder / "words.txt.gz").write_bytes(b"a b")
    nets = {name: folder / f"{name}.onnx" for name in contract_of(PUBLISHED)}
    described = {"name": "made", "revision": "1", "licence": "none", "constants": PUBLISHED, "nets": nets}
    made = write_manifest(folder, **described, files={"vocabulary": folder / "words.txt.gz"})
    assert made.files["vocabulary"].path == folder / "words.txt.gz"
    (folder / "words.txt.gz").write_bytes(b"a c")
    with pytest.raises(BundleError, match=r"words\.txt\.gz has another sha256"):
        load_bundle(folder)
    with pytest.raises(BundleError, match="file 'licence' is not known"):
        write_manifest(folder, **described, files={"licence": folder / "words.txt.gz"})
    values = json.loads((folder / "manifest.json").read_text())
    values["files"] = {"vocabulary": {"file": "/etc/passwd", "bytes": 1, "sha256": "0" * 64}}
    (folder / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match="file 'vocabulary': file '/etc/passwd': expected a plain name"):
        load_bundle(folder)
