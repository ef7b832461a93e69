"""Memory is estimated before networks start, near what they take, and what cannot fit is refused with numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tgvc
from network_samples import tiny_bundle
from published_sizes import PUBLISHED, TRACKER
from tgvc import memory
from tgvc.backends.spec import NetRecord
from tgvc.cli.commands import commands
from tgvc.errors import ConfigError
from tgvc.memory import available_memory, device_memory
from tgvc.models.bundle import EMBEDDED, ModelBundle, load_bundle
from tgvc.models.footprint import (
    Footprint,
    check_fit,
    decoding_footprint,
    describe_bytes,
    looking_footprint,
    tracking_footprint,
)
from tgvc.video.writer import VideoWriter
from video_samples import info_of, smooth_picture

GIB = 1 << 30
# The kernel's own peak of this program: ru_maxrss would count the process that started it, too
_CHILD = """
import sys
import tgvc
tgvc.decode(sys.argv[1], sys.argv[2], generator="latent", steps=1)
lines = open("/proc/self/status").read().splitlines()
print(next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")))
"""


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventeen frames of 512x320: one segment, one run of the denoiser more than full."""
    folder = tmp_path_factory.mktemp("clips")
    with VideoWriter(folder / "clip.mp4", info_of(512, 320)) as writer:
        for index in range(17):
            writer.write(smooth_picture(index, 512, 320))
    tgvc.encode(folder / "clip.mp4", folder / "clip.tgvc", quality=40.0, effort=0, spacing=16, modes="F")
    return folder / "clip.tgvc"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc: where the peak is read")
def test_the_peak_of_decoding_lies_between_half_the_estimate_and_the_estimate(stream: Path, tmp_path: Path) -> None:
    estimate = decoding_footprint(load_bundle("nano"), (512, 320), frames=17).host_bytes
    command = [sys.executable, "-c", _CHILD, str(stream), str(tmp_path / "out.y4m")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=child_environment())
    assert estimate / 2 <= int(done.stdout) <= estimate


def child_environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


def sized_record(tmp_path: Path, name: str, values: int, *, halves: bool = False, beside: bool = False) -> NetRecord:
    """A record whose files have the sizes of this many weights; they take no room on the disk."""
    from tgvc.backends.spec import DataFile

    size = values * (2 if halves else 4)
    path = tmp_path / f"{name}.onnx"
    data = None
    if beside:
        data = DataFile(tmp_path / f"{name}.onnx.data", size, "0" * 64)
        with data.path.open("wb") as stream:
            stream.truncate(size)
    with path.open("wb") as stream:
        stream.truncate(1000 if beside else size)
    precision = "float16, norms and softmax float32" if halves else "float32"
    return NetRecord(name, path, path.stat().st_size, "0" * 64, (), (), precision, data=data)


def published_bundle(tmp_path: Path, *, halves: bool) -> ModelBundle:
    """A bundle of the published sizes without a single weight in it."""
    values = {
        "time": 29_926_080,
        "context": 51_118_080,
        "unet": 1_357_810_820,
        "vae_encoder": 34_163_664,
        "vae_decoder": 49_490_199,
        "image_tower": 680_864_256,
        "text_tower": 354_032_641,
    }
    large = 500_000_000 if not halves else 1_000_000_000
    nets = {
        name: sized_record(tmp_path, name, count, halves=halves, beside=count > large) for name, count in values.items()
    }
    return ModelBundle(
        name="big",
        revision="1",
        kind="interpolation",
        licence="x",
        constants=PUBLISHED,
        nets=nets,
        notes={},
        files={},
        folder=tmp_path,
    )


def test_the_published_networks_need_more_than_their_files(tmp_path: Path) -> None:
    bundle = published_bundle(tmp_path, halves=False)
    footprint = decoding_footprint(bundle, (512, 320))
    stored = sum(path.stat().st_size for record in bundle.nets.values() for path in record.paths)
    assert footprint.host_bytes > stored
    assert footprint.host["activations"] > 32 * 5 * 2560**2 * 4  # scores of attention of the finest level alone
    assert 20 * GIB < footprint.host_bytes < 60 * GIB


def test_halves_on_a_gpu_need_half_of_it_there_and_little_on_the_host(tmp_path: Path) -> None:
    full = decoding_footprint(published_bundle(tmp_path, halves=False), (512, 320), on_device=True)
    half = decoding_footprint(published_bundle(tmp_path, halves=True), (512, 320), on_device=True)
    assert half.device_bytes == pytest.approx(full.device_bytes / 2, rel=0.02)
    assert half.host_bytes < 2 * GIB


def test_estimates_grow_with_the_picture_the_runs_and_the_weights(tmp_path: Path) -> None:
    bundle = published_bundle(tmp_path, halves=False)

    def total(size: tuple[int, int], runs: int = 2) -> int:
        return decoding_footprint(bundle, size, runs=runs).host_bytes

    assert total((512, 320), 1) < total((512, 320)) < total((768, 480))
    nano = load_bundle("nano")
    assert decoding_footprint(nano, (256, 160)).host_bytes < decoding_footprint(nano, (512, 320)).host_bytes


def test_what_does_not_fit_is_refused_with_the_numbers() -> None:
    footprint = Footprint("decoding a film", {"program": GIB, "weights": 9 * GIB}, {"weights": 20 * GIB})
    with pytest.raises(ConfigError) as caught:
        check_fit(footprint, host=4 * GIB, device=8 * GIB)
    text = str(caught.value)
    assert "\n" not in text
    assert (
        "decoding a film: about 11.5 GiB are needed (program 1.0 GiB, weights 9.0 GiB), 4.0 GiB are available" in text
    )
    assert "23.0 GiB are needed on the GPU (weights 20.0 GiB), it has 8.0 GiB" in text
    assert "--ignore-memory" in text
    check_fit(footprint, ignore=True, host=1, device=1)
    check_fit(footprint, host=12 * GIB, device=24 * GIB)


def test_a_decoder_refuses_before_it_starts_unless_told_otherwise(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bundle(tmp_path / "tiny")
    monkeypatch.setattr("tgvc.models.footprint.available_memory", lambda: 100 << 20)
    settings: dict[str, Any] = {"generator": "latent", "bundle": str(tmp_path / "tiny"), "steps": 1}
    with pytest.raises(
        ConfigError, match=r"decoding 512x320 with bundle .*: about .* are needed .*100 MiB are available"
    ):
        tgvc.decode(stream, tmp_path / "out.y4m", **settings)
    assert not (tmp_path / "out.y4m").exists()
    tgvc.decode(stream, tmp_path / "out.y4m", generator="warp")  # no networks, no estimate
    assert tgvc.decode(stream, tmp_path / "out.y4m", ignore_memory=True, end=0.1, **settings).frames > 0


def test_trackers_and_image_towers_have_estimates_too(tmp_path: Path) -> None:
    bundle = published_bundle(tmp_path, halves=False)
    assert looking_footprint(bundle).host_bytes > 680_864_256 * 4
    nets = {
        "update": sized_record(tmp_path, "update", 22_000_000),
        "features": sized_record(tmp_path, "features", 3_000_000),
    }
    tracker = replace(bundle, kind="tracker", constants=TRACKER, nets=nets)
    assert tracking_footprint(tracker, 65536).host_bytes > 65536 * 1110 * 4
    assert tracking_footprint(tracker, 65536).host_bytes > tracking_footprint(tracker, 4096).host_bytes
    with pytest.raises(ConfigError, match="decodes nothing"):
        decoding_footprint(tracker, (512, 320))
    with pytest.raises(ConfigError, match="tracks nothing"):
        tracking_footprint(bundle, 4096)


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", ".").replace("_S_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_available_memory_is_the_kernels_or_less_in_a_control_group(tmp_path: Path) -> None:
    proc = written(tmp_path / "proc", meminfo="MemTotal: 9000 kB\nMemAvailable:   8000 kB\n")
    assert available_memory(proc, tmp_path / "none") == 8000 * 1024
    (proc / "self").mkdir()
    (proc / "self" / "cgroup").write_text("0::/a/b\n")
    groups = tmp_path / "groups"
    written(groups / "a" / "b", memory__max="max\n", memory__current="100\n")
    assert available_memory(proc, groups) == 8000 * 1024
    written(groups / "a", memory__max="5000\n", memory__current="3000\n", memory__stat="anon 7\ninactive_file 500\n")
    assert available_memory(proc, groups) == 5000 - (3000 - 500)
    written(groups / "a" / "b", memory__max="1000\n")
    assert available_memory(proc, groups) == 900
    written(groups / "a" / "b", memory__current="2000\n")
    assert available_memory(proc, groups) == 0


def test_control_groups_of_version_1_are_read(tmp_path: Path) -> None:
    proc = written(tmp_path / "proc", meminfo="MemAvailable:   8000 kB\n")
    (proc / "self").mkdir()
    (proc / "self" / "cgroup").write_text("5:cpu,cpuacct:/x\n4:memory:/x/y\n0::/\n")
    place = tmp_path / "groups" / "memory" / "x" / "y"
    written(
        place, memory__limit_in_bytes="4000\n", memory__usage_in_bytes="1000\n", memory__stat="total_inactive_file 5\n"
    )
    written(place.parent, memory__limit_in_bytes=str((1 << 63) - 4096), memory__usage_in_bytes="1000\n")
    assert available_memory(proc, tmp_path / "groups") == 4000 - 995


def test_a_system_that_says_nothing_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.os, "sysconf_names", {})
    assert available_memory(tmp_path, tmp_path) is None
    monkeypatch.setattr("tgvc.models.footprint.available_memory", lambda: None)
    check_fit(Footprint("anything", {"weights": 1 << 50}))


def test_a_machine_without_a_driver_has_no_device_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(memory.ctypes, "CDLL", refuse)
    assert device_memory() is None


def test_the_doctor_tells_what_bundles_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    monkeypatch.setattr("tgvc.doctor.measure_speed", lambda: None)
    tiny_bundle(tmp_path / "tiny")
    told = CliRunner().invoke(commands, ["doctor", "--bundle", str(tmp_path / "tiny")], standalone_mode=False).output
    lines = [line for line in told.splitlines() if "decoding 512x320 takes about" in line]
    assert len(lines) == len(EMBEDDED) + 1  # those of the installation and the given one
    assert any(line.startswith("memory") and "available" in line for line in told.splitlines())


@pytest.mark.parametrize(("size", "text"), [(320 << 20, "320 MiB"), (3 * GIB // 2, "1.5 GiB")])
def test_sizes_are_told_in_words(size: int, text: str) -> None:
    assert describe_bytes(size) == text
