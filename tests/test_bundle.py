"""Bundles: what is verified before anything runs, and that nothing in a folder can do worse than be refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network_samples import tiny_bundle, tiny_constants
from tgvc.backends.spec import TensorSpec, bind_shapes
from tgvc.errors import BundleError
from tgvc.models.bundle import hash_file, load_bundle
from tgvc.models.contract import residual_contract
from tgvc.models.manifest import MAX_MANIFEST_BYTES, parse_manifest


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    edit(values)
    (folder / "manifest.json").write_text(json.dumps(values))


def test_what_was_written_is_read_back(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.label == "tiny 1"
    assert bundle.constants == tiny_constants()
    assert sorted(bundle.nets) == ["decoder", "denoiser", "encoder"]
    for record in bundle.nets.values():
        assert record.path.parent == folder
        assert record.read() == record.path.read_bytes()
        assert record.sha256 == hash_file(record.path)
    contract = residual_contract(4, 8)
    assert {n: (r.inputs, r.outputs) for n, r in bundle.nets.items()} == contract


def test_every_fault_is_named_in_one_error_on_one_line(folder: Path) -> None:
    (folder / "encoder.onnx").unlink()
    data = bytearray((folder / "decoder.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "decoder.onnx").write_bytes(bytes(data))
    with (folder / "denoiser.onnx").open("ab") as stream:
        stream.write(b"x")
    change(folder, lambda m: m["nets"]["encoder"]["outputs"][0].update(dtype="float16"))
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    text = str(caught.value)
    assert "\n" not in text
    for part in ("encoder.onnx is missing", "decoder.onnx has another sha256", "denoiser.onnx has", "latents float16"):
        assert part in text


@pytest.mark.parametrize("missing", ["nano-of-another-place", "", "\0"])
def test_a_folder_without_a_manifest_is_refused(missing: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no manifest.json"):
        load_bundle(os.fspath(tmp_path) + "/" + missing)


def test_a_manifest_of_another_format_is_refused_by_its_number(folder: Path) -> None:
    change(folder, lambda m: m.update(format=2))
    with pytest.raises(BundleError, match="format 2, this release reads 1"):
        load_bundle(folder)


def test_a_bundle_of_an_unknown_kind_is_refused(folder: Path) -> None:
    change(folder, lambda m: m.update(kind="audio"))
    with pytest.raises(BundleError, match="kind 'audio', this release runs residual"):
        load_bundle(folder)


def test_networks_that_do_not_fit_the_constants_are_refused(folder: Path) -> None:
    change(folder, lambda m: m["constants"].update(latent_channels=5))
    with pytest.raises(BundleError, match=r"encoder has .*\(N, 4, h, w\), expected .*\(N, 5, h, w\)"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("nets", "encoder", "file"), "../encoder.onnx", "expected a plain name"),
        (("nets", "encoder", "file"), "/etc/passwd", "expected a plain name"),
        (("nets", "encoder", "file"), "..\\encoder.onnx", "expected a plain name"),
        (("nets", "encoder", "file"), 7, "expected a plain name"),
        (("nets", "encoder", "file"), "decoder.onnx", "named twice"),
        (("nets", "encoder", "bytes"), 1 << 40, "bytes 1099511627776"),
        (("nets", "encoder", "bytes"), True, "bytes True"),
        (("nets", "encoder", "bytes"), -1, "bytes -1"),
        (("nets", "encoder", "sha256"), "0" * 63, "sha256"),
        (("nets", "encoder", "sha256"), None, "sha256"),
        (("nets", "encoder", "error"), {"worst": "small"}, "object of numbers"),
        (("nets", "encoder", "inputs"), [], "list of 1 to 64"),
        (("nets", "encoder", "inputs", 0, "name"), "a b", "expected a name"),
        (("nets", "encoder", "inputs", 0, "dtype"), ["float32"], "dtype"),
        (("nets", "encoder", "inputs", 0, "shape"), [1] * 9, "at most 8 dimensions"),
        (("nets", "encoder", "inputs", 0, "shape"), "NCHW", "at most 8 dimensions"),
        (("nets", "encoder", "inputs", 0, "shape"), [-1, 6], "expected 1 or more"),
        (("nets", "encoder", "inputs", 0, "shape"), ["h/2"], "expected a length, a symbol or a multiple"),
        (("nets", "encoder", "inputs", 0, "shape"), [True], "dimension True"),
        (("nets", "encoder", "inputs", 0, "shape"), [10**400], "expected 1 or more"),
        (("nets",), {}, "1 to 16 networks"),
        (("nets",), [], "1 to 16 networks"),
        (("nets", "encoder"), None, "expected an object with"),
        (("constants",), None, "constants: expected an object"),
        (("constants", "residual_std"), 0, "residual_std"),
        (("constants", "detail"), 1.5, "detail"),
        (("constants", "detail"), True, "detail"),
        (("constants", "residual_std"), "1", "residual_std"),
        (("constants", "cell_px"), 7, "even number"),
        (("constants", "latent_channels"), 8.0, "whole number"),
        (("constants", "schedule"), "../x", "schedule"),
        (("name",), "a/b", "name"),
        (("licence",), None, "licence: expected a text"),
        (("more",), 1, "'more' is not known"),
        (("notes",), 1, "notes: expected an object"),
        (("format",), "1", "format '1'"),
    ],
)
def test_a_hostile_value_is_refused_and_named(folder: Path, path: tuple[Any, ...], value: Any, told: str) -> None:
    def edit(values: Any) -> None:
        for step in path[:-1]:
            values = values[step]
        values[path[-1]] = value

    change(folder, edit)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": NaN}', b'{"format": 1, "format": 1}', b"9" * 9999],
)
def test_bytes_that_are_no_manifest_are_refused(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        parse_manifest(text, tmp_path)


def test_a_huge_manifest_is_refused_without_reading_it_all(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BundleError, match="more than"):
        load_bundle(folder)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), value=_PLAIN)
def test_any_value_in_any_place_is_read_or_refused(pristine: Path, data: st.DataObject, value: Any) -> None:
    values = json.loads((pristine / "manifest.json").read_text())
    place: Any = values
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    told = ""
    try:
        parse_manifest(json.dumps(values).encode(), pristine)
    except BundleError as fault:
        told = str(fault)
    assert "\n" not in told


def test_a_file_that_changes_after_the_bundle_was_loaded_is_refused_when_it_is_read(folder: Path) -> None:
    record = load_bundle(folder).nets["encoder"]
    data = record.path.read_bytes()
    record.path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match="sha256"):
        record.read()
    record.path.write_bytes(data + b"x")
    with pytest.raises(BundleError, match="not the"):
        record.read()


def test_symbols_get_one_length_over_all_tensors() -> None:
    specs = [TensorSpec("a", "float32", ("N", 6, "4*h")), TensorSpec("b", "float32", ("N", "h"))]
    assert bind_shapes(specs, {"a": (2, 6, 12), "b": (2, 3)}) == {"N": 2, "h": 3}
    with pytest.raises(ValueError, match="h is 3 in an earlier tensor"):
        bind_shapes(specs, {"a": (2, 6, 12), "b": (2, 4)})
    with pytest.raises(ValueError, match=r"a: shape \(2, 6, 13\)"):
        bind_shapes(specs, {"a": (2, 6, 13), "b": (2, 3)})
    with pytest.raises(ValueError, match=r"a: shape \(2, 6, 0\)"):
        bind_shapes(specs, {"a": (2, 6, 0), "b": (2, 3)})


def test_a_tensor_spec_says_what_it_is() -> None:
    assert str(TensorSpec("x", "float32", ("B", 4, "2*w"))) == "x float32 (B, 4, 2*w)"
    assert np.dtype(TensorSpec("x", "uint8", ()).dtype) == np.uint8
