"""Engines of a bundle by one command, ahead of time and without a GPU; each refusal is one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'tgvc[export]'")

from interpolation_samples import CONSTANTS
from network_samples import tiny_bundle
from tgvc.backends.engines.signing import SigningKey
from tgvc.backends.engines.store import EngineStore
from tgvc.backends.places import full_shape
from tgvc.errors import ConfigError
from tgvc.models.bundle import load_bundle
from tgvc_export.command import export
from tgvc_export.engines import (
    build_engines,
    parse_architectures,
    parse_lengths,
    parse_size,
    usual_lengths,
)
from tgvc_kernels.device.driver import missing_gpu


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        export.main([str(word) for word in words], prog_name="tgvc export")
    told = capsys.readouterr()
    return int(end.value.code or 0), told.out, told.err


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's store and key, in a folder of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def test_the_command_builds_nano_for_named_gpus_and_keeps_what_it_built(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx: pip install 'tgvc[tensorrt-rtx]'")
    words = ["nano", "--tensorrt", "--arch", "sm_80", "--arch", "sm_89,sm_80", "--size", "128x96"]
    words += ["--shapes", "T=8", "--shapes", "T=12", "--json"]
    code, told, fault = run(capsys, *words)
    assert code == 0, fault
    report = json.loads(told)
    assert report["bundle"] == load_bundle("nano").label
    engines = [(e["net"], e["shapes"].get("x", e["shapes"].get("planes"))) for e in report["engines"]]
    assert engines == [
        ("encoder", [4, 6, 48, 64]),  # of which there is no T: once
        ("denoiser", [1, 8, 8, 12, 16]),
        ("denoiser", [1, 8, 12, 12, 16]),
        ("decoder", [4, 6, 48, 64]),
    ]
    entries = list(EngineStore().entries())
    assert len(entries) == 4
    assert all(entry.about["targets"] == ["sm_80", "sm_89"] and not entry.fault for entry in entries)
    made = {entry.key: entry.used for entry in entries}
    code, _, fault = run(capsys, *words[:-1], "--quiet")
    assert code == 0, fault
    assert {entry.key for entry in EngineStore().entries()} == set(made)
    assert all((EngineStore().folder / f"{key}.d").stat().st_mtime <= made[key] for key in made)  # not built again


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "say what to make of the bundle: --tensorrt"),
        (["--tensorrt", "--arch", "hopper"], 1, "arch='hopper': expected names such as sm_89"),
        (["--tensorrt", "--arch", "sm_80", "--net", "unet"], 1, "net=unet: expected encoder, denoiser, decoder"),
        (["--tensorrt", "--arch", "sm_80", "--size", "big"], 1, "size='big': expected a width and a height"),
        (["--tensorrt", "--arch", "sm_80", "--shapes", "T=0"], 1, "shapes='T=0': expected symbols and lengths"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    ended, _, fault = run(capsys, "nano", *words)
    assert ended == code
    assert told in fault
    assert len(fault.strip().splitlines()) == 1


def test_architectures_that_the_library_does_not_know_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx: pip install 'tgvc[tensorrt-rtx]'")
    code, _, fault = run(capsys, "nano", "--tensorrt", "--arch", "sm_80,sm_90")
    assert code == 1
    assert "does not build for sm_90 ahead of time: it knows sm_75, sm_80" in fault
    assert not EngineStore().folder.exists()


@pytest.mark.skipif(missing_gpu() == "", reason="this machine has a GPU")
def test_without_a_gpu_and_without_names_the_gpu_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, fault = run(capsys, "nano", "--tensorrt")
    assert code == 1
    assert "gpu: " in fault


def test_a_folder_that_holds_no_bundle_and_a_name_that_is_none_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, fault = run(capsys, tmp_path, "--tensorrt", "--arch", "sm_80")
    assert code == 1
    assert "no manifest.json there" in fault
    code, _, fault = run(capsys, tmp_path / "none", "--tensorrt")
    assert code == 2
    assert "No such command" in fault


def test_a_length_that_nothing_says_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx: pip install 'tgvc[tensorrt-rtx]'")
    bundle = tiny_bundle(tmp_path / "tiny")
    store = EngineStore(tmp_path / "engines", SigningKey(tmp_path / "key"))
    with pytest.raises(ConfigError, match="encoder: how long is h? give --shapes h=N".replace("?", r"\?")):
        build_engines(bundle, [{"N": 1, "w": 4}], targets=["sm_80"], store=store)


def test_lengths_follow_from_the_bundle_and_the_size() -> None:
    lengths = usual_lengths(load_bundle("nano"), (640, 360))
    assert {symbol: lengths[symbol] for symbol in "BThw"} == {"B": 1, "T": 16, "h": 45, "w": 80}


@pytest.mark.parametrize("size", [(512, 320), (250, 130)])
def test_lengths_of_human_nano_make_the_pictures_that_its_networks_run_on(size: tuple[int, int]) -> None:
    bundle = load_bundle("human-nano")
    width, height = (side + -side % 64 for side in size)  # pictures are continued to whole blocks of cells
    lengths = usual_lengths(bundle, size)
    shapes = {s.name: full_shape(s, lengths) for record in bundle.nets.values() for s in record.inputs}
    assert shapes["picture"][1:] == (6, height // 2, width // 2)
    assert shapes["motion"][1:] == (2, height // 4, width // 4)


def test_lengths_of_a_padded_bundle_are_whole_blocks() -> None:
    bundle = replace(load_bundle("nano"), constants=replace(CONSTANTS, cell_px=8, divisor=8))
    lengths = usual_lengths(bundle, (640, 360))
    assert (lengths["h"], lengths["w"]) == (48, 80)


def test_lists_are_read_as_they_are_written() -> None:
    assert parse_architectures(["sm_80, sm_89", "sm_80"]) == ["sm_80", "sm_89"]
    assert parse_lengths("T=16, h0=40") == {"T": 16, "h0": 40}
    assert parse_lengths("") == {}
    assert parse_size("512x320") == (512, 320)
