"""What the doctor finds on machines that are not this one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from network_samples import tiny_bundle
from tgvc import doctor
from tgvc.backends.base import BACKENDS
from tgvc.backends.engines.store import EngineStore
from tgvc.models.bundle import load_bundle


class FakeDriver:
    """Answers like libcuda with one device."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.status

    def cuDriverGetVersion(self, version: Any) -> None:  # noqa: N802
        version._obj.value = 12040

    def cuDeviceGetCount(self, count: Any) -> None:  # noqa: N802
        count._obj.value = 1

    def cuDeviceGet(self, device: Any, ordinal: int) -> None:  # noqa: N802
        device._obj.value = ordinal

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> None:  # noqa: N802
        name.value = b"Some GPU"

    def cuDeviceTotalMem_v2(self, size: Any, device: Any) -> None:  # noqa: N802
        size._obj.value = 80 << 30

    def cuDeviceGetAttribute(self, part: Any, attribute: int, device: Any) -> None:  # noqa: N802
        part._obj.value = {75: 9, 76: 0}[attribute]


def test_without_a_driver_nothing_else_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        assert name == "libcuda.so.1"
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(doctor.ctypes, "CDLL", refuse)
    found = doctor.find_gpus()
    assert (found["driver"], found["devices"]) == (None, [])
    assert "no NVIDIA driver" in found["note"]


def test_a_driver_that_does_not_start_is_named_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.ctypes, "CDLL", lambda name: FakeDriver(status=100))
    found = doctor.find_gpus()
    assert found["devices"] == []
    assert "error 100" in found["note"]


def test_a_device_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.ctypes, "CDLL", lambda name: FakeDriver())
    found = doctor.find_gpus()
    assert found["driver"] == "12.4"
    assert found["devices"] == [{"name": "Some GPU", "memory_gib": 80.0, "capability": "9.0"}]


def examine_with(monkeypatch: pytest.MonkeyPatch, faults: dict[str, str], missing: set[str]) -> dict[str, Any]:
    monkeypatch.setattr(doctor, "_import_fault", lambda module: faults.get(module, ""))
    monkeypatch.setattr(doctor, "find_version", lambda name: None if name in missing else "1.0")
    monkeypatch.setattr(
        doctor, "measure_speed", lambda: {"size": [512, 320], "threads": 2, "frames_per_second": 60.0, "warm_up_s": 0.5}
    )
    return doctor.examine()


def test_an_absent_extra_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine_with(monkeypatch, {}, {"hdbscan"})
    assert found["packages"]["hdbscan"] is None
    assert "pip install 'tgvc[cluster]'" in found["runs"]["encoding, profile tgvc"]
    assert found["runs"]["encoding, profile auto"] == ""
    rows = doctor.doctor_rows(found)
    assert ("does not", f"encoding, profile tgvc: {found['runs']['encoding, profile tgvc']}") in rows
    assert any(name == "speed" and "2.0 times real time" in text for name, text in rows)


def test_a_broken_package_stops_what_needs_it_and_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine_with(monkeypatch, {"cv2": "libGL.so.1: cannot open shared object file"}, set())
    assert found["broken"] == {"opencv": "libGL.so.1: cannot open shared object file"}
    assert all("opencv" in why for why in found["runs"].values())
    assert found["speed"] is None
    assert ("broken", "opencv (libGL.so.1: cannot open shared object file)") in doctor.doctor_rows(found)


def test_a_missing_codec_stops_only_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_CODECS", {"libsvtav1": "w", "libdav1d": "r", "libx264": "w", "no-such-codec": "w"})
    found = examine_with(monkeypatch, {}, set())
    assert found["codecs"]["no-such-codec"] is False
    assert "libvpx-vp9" in found["runs"]["writing .webm"]
    assert found["runs"]["decoding"] == ""


def test_backends_and_bundles_are_told_with_what_they_lack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    monkeypatch.setattr(doctor, "EMBEDDED", ("nano", "gone"))
    monkeypatch.setattr(doctor, "load_bundle", lambda name: load_bundle(bundle.folder if name == "nano" else tmp_path))
    found = examine_with(monkeypatch, {}, set())
    backends, bundles = found["networks"]["backends"], found["networks"]["bundles"]
    assert backends["onnxruntime"]["fault"] == ""
    assert backends["onnxruntime"]["providers"] == ["CPUExecutionProvider"]
    assert bundles["nano"]["bytes"] == sum(record.size for record in bundle.nets.values())
    assert "no manifest.json" in bundles["gone"]["fault"]
    assert found["runs"]["generator latent"] == ""  # which needs the other one alone
    monkeypatch.setattr(doctor, "load_bundle", lambda name: load_bundle(tmp_path))
    runs = examine_with(monkeypatch, {}, set())["runs"]
    assert "no manifest.json" in runs["generator latent"]
    for what in ("generator flow", "profile human, its encoding and generator"):
        assert "no manifest.json" in runs[what]
        assert runs[what].endswith("; or name another with --bundle")
    assert runs["encoding, profile auto"].startswith("only with --effort 1, or of large pictures; small ones are tried")
    assert "no manifest.json" in runs["encoding, profile auto"]
    assert "--bundle" not in runs["encoding, profile auto"]  # which it does not know
    assert (runs["encoding, profile actdiff"], runs["encoding, profile dynamics"]) == ("", "")
    assert found["runs"]["generator warp"] == ""
    rows = doctor.doctor_rows(found)
    assert ("bundle", f"nano 1, 0.0 MB, verified; {bundles['nano']['memory']}") in rows
    assert bundles["nano"]["memory"].startswith("decoding 512x320 takes about ")
    assert ("bundle", f"not here: {bundles['gone']['fault']}") in rows
    assert any(name == "backend" and text.endswith("with CPUExecutionProvider") for name, text in rows)


def test_libraries_clashes_and_engines_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(doctor, "find_clashes", lambda: ["one breaks another"])
    store = EngineStore()
    store.write({"net": "unet"}, bytes(2_000_000))
    store.write({"net": "vae"}, bytes(10))
    next(store.folder.glob("*.json")).write_text("{}")
    found = examine_with(monkeypatch, {}, set())
    assert found["libraries"]["onnxruntime"][0].isdigit()
    assert set(found["networks"]["backends"]) == set(BACKENDS)
    assert {b["device"] for b in found["networks"]["backends"].values() if not b["fault"]} >= {"cpu"}
    assert found["networks"]["engines"] == {
        "folder": str(store.folder),
        "count": 2,
        "bytes": 2_000_010,
        "refused": 1,
        "fault": "",
    }
    rows = doctor.doctor_rows(found)
    assert ("clash", "one breaks another") in rows
    assert ("engines", f"2 in {store.folder}, 0.00 GB, 1 refused: see `tgvc engines list`") in rows
    assert len([text for name, text in rows if name == "backend"]) == len(BACKENDS)
    monkeypatch.setattr(doctor, "find_version", lambda name: "1.0")
    (tmp_path / "data" / "tgvc" / "engine.key").write_bytes(b"short")
    (engines,) = (text for name, text in doctor.doctor_rows(doctor.examine()) if name == "engines")
    assert engines.startswith("none can be used: signing key")


def test_a_backend_that_does_not_run_stops_the_networks_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny").folder
    monkeypatch.setattr(doctor, "load_bundle", lambda name: load_bundle(folder))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = examine_with(monkeypatch, {}, set())
    for what in ("generator latent", "generator flow", "profile human, its encoding and generator"):
        assert "pip install onnxruntime" in found["runs"][what]
    assert "small ones are tried with profile human too: " in found["runs"]["encoding, profile auto"]
    assert "pip install onnxruntime" in found["runs"]["encoding, profile auto"]
    assert found["runs"]["encoding, profile dynamics"] == ""
    assert found["runs"]["decoding"] == ""
