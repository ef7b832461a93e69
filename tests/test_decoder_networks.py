"""Streams decoded by networks: what is asked for is what runs, and what runs is told."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import tgvc
from network_samples import tiny_bundle
from tgvc.cli.commands import commands
from tgvc.config import DecoderConfig
from tgvc.decoder import Decoder
from tgvc.errors import BackendUnavailableError, BundleError, ConfigError
from tgvc.models import bundle as bundles
from tgvc.types import Picture
from tgvc.video.writer import VideoWriter
from video_samples import info_of, smooth_picture

FRAMES, SIZE = 13, (96, 64)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three groups of at most five frames."""
    folder = tmp_path_factory.mktemp("clips")
    with VideoWriter(folder / "clip.mp4", info_of(*SIZE)) as writer:
        for index in range(FRAMES):
            writer.write(smooth_picture(index, *SIZE))
    tgvc.encode(folder / "clip.mp4", folder / "clip.tgvc", bpp=0.3, effort=0, group=5, seed=7)
    return folder / "clip.tgvc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle that paints noise: what is drawn depends on seed, group and frame."""
    return str(tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", v_gain=0.0).folder)


def decode(stream: Path, **fields: object) -> list[Picture]:
    return [frame.picture for frame in tgvc.decode_frames(stream, **fields)]


def test_the_same_stream_is_painted_by_either_generator(stream: Path, folder: str) -> None:
    warp, latent = decode(stream), decode(stream, generator="latent", bundle=folder)
    assert len(warp) == len(latent) == FRAMES
    assert [p.shape for p in warp] == [p.shape for p in latent]
    assert not any(np.array_equal(a, b) for a, b in zip(warp, latent, strict=True))


def test_cutting_a_stream_changes_no_painted_frame(stream: Path, folder: str, tmp_path: Path) -> None:
    whole = decode(stream, generator="latent", bundle=folder)
    fps = tgvc.info(stream)["fps"]
    tgvc.trim(stream, tmp_path / "cut.tgvc", start=6 / fps, end=12 / fps)  # the first group is dropped
    part = decode(tmp_path / "cut.tgvc", generator="latent", bundle=folder)
    assert len(part) == 6
    assert all(np.array_equal(a, b) for a, b in zip(part, whole[6:12], strict=True))


def test_a_part_is_the_same_frames_as_in_the_whole(stream: Path, folder: str) -> None:
    whole = decode(stream, generator="latent", bundle=folder)
    part = list(tgvc.decode_frames(stream, generator="latent", bundle=folder, start=0.2, end=0.44))
    fps = tgvc.info(stream)["fps"]
    first = round(float(part[0].time) * fps)
    assert first > 4  # in the second group, so that the first is skipped
    assert len(part) > 3
    assert all(np.array_equal(whole[first + n], frame.picture) for n, frame in enumerate(part))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_the_frames(stream: Path, folder: str, threads: int) -> None:
    # the arithmetic of ONNX Runtime on a CPU does not depend on its threads
    alone = decode(stream, generator="latent", bundle=folder, threads=1)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(alone, decode(stream, generator="latent", bundle=folder, threads=threads), strict=True)
    )


def test_the_report_tells_what_ran(stream: Path, folder: str, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int | None]] = []
    report = tgvc.decode(
        stream,
        tmp_path / "out.y4m",
        on_progress=lambda *told: steps.append(told),
        generator="latent",
        bundle=folder,
        backend="onnxruntime",
        steps=3,
    )
    assert (report.generator, report.bundle, report.steps, report.frames) == ("latent", "tiny 1", 3, FRAMES)
    assert report.backend.startswith("onnxruntime 1.")
    assert report.providers == ("CPUExecutionProvider",)
    assert set(report.stages) == {"pictures", "motion", "conditions", "encode", "denoise", "decode", "grain", "write"}
    assert all(spent > 0 for spent in report.stages.values())
    assert json.loads(json.dumps(report.as_dict()))["bundle"] == "tiny 1"
    assert {told for told in steps if told[0] == "denoise"} == {("denoise", n, 3) for n in (1, 2, 3)}
    assert steps[-1] == ("decode", FRAMES, None)


def test_the_steps_of_the_bundle_are_the_default(stream: Path, folder: str) -> None:
    assert Decoder(DecoderConfig(generator="latent", bundle=folder)).decode(stream, io.BytesIO()).steps == 2


def test_the_command_tells_bundle_backend_and_stages(stream: Path, folder: str, tmp_path: Path) -> None:
    arguments = ["decode", str(stream), "-o", str(tmp_path / "out.y4m"), "--generator", "latent", "--bundle", folder]
    done = CliRunner().invoke(commands, [*arguments, "--steps", "1", "--detail", "0.5"])
    assert done.exit_code == 0, done.output
    assert "bundle tiny 1, 1 step, onnxruntime 1." in done.output
    assert "with CPUExecutionProvider" in done.output
    assert "denoise" in done.output


def test_a_bundle_that_is_not_there_is_one_line_and_no_file(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "files", lambda package: tmp_path)
    with pytest.raises(BundleError, match="bundle nano: not in this installation"):
        decode(stream, generator="latent")
    target = tmp_path / "out.mp4"
    done = CliRunner().invoke(commands, ["decode", str(stream), "-o", str(target), "--generator", "latent"])
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert not target.exists()


def test_a_backend_that_does_not_run_here_is_refused_and_not_replaced(
    stream: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendUnavailableError, match="onnxruntime-cuda"):
        decode(stream, generator="latent", bundle=folder, backend="onnxruntime-cuda")


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 4},
        {"detail": 0.5},
        {"guidance": 1.0},
        {"guides": "all"},
        {"noise": "still"},
        {"bundle": "nano"},
        {"backend": "auto"},
    ],
)
def test_what_only_networks_have_is_refused_without_them(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"expected generator=latent(, flow or human)? beside it"):
        DecoderConfig(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields", [{"steps": 0}, {"steps": 1.5}, {"detail": 1.1}, {"guidance": -1.0}, {"backend": "openvino"}]
)
def test_values_out_of_range_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        DecoderConfig(generator="latent", **fields)  # type: ignore[arg-type]
