"""Decoding that is timed: streams of profiles dynamics and human by every generator, and against torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper

from human_samples import bright_pictures, save_pictures, tiny_human
from network_samples import save_net, tiny_bundle
from tgvc.config import EncoderConfig
from tgvc.encoder import Encoder
from tgvc.models.bundle import write_manifest
from tgvc.models.constants import FlowConstants
from tgvc.models.contract import MOVER, contract_of
from tgvc.types import Picture
from tgvc_bench.command import bench
from tgvc_bench.protocol.ceilings import Ceilings
from tgvc_bench.protocol.report import format_markdown
from tgvc_bench.protocol.schema import COLD_START, OFFLINE, SINGLE_STREAM, check_record
from tgvc_bench.published import write_lossless
from tgvc_bench.timed import sessions

FRAMES, SIZE = 12, (96, 64)
PARSED = {"parse", "pictures", "motion"}  # stages of every decode


def tiny_flow(folder: Path, gain: float = 1.0) -> str:
    """A bundle of kind flow that shows the weight-free pictures, ``gain`` times."""
    constants = FlowConstants(cell_px=8)
    (inputs, outputs) = contract_of(constants)[MOVER]
    folder.mkdir()
    node = helper.make_node
    path = save_net(
        folder / "mover.onnx",
        [
            node("Conv", ["warp", "mix"], ["pictures"], kernel_shape=[1, 1]),
            node("Concat", ["to_first", "to_last"], ["motion"], axis=1),
        ],
        inputs,
        outputs,
        {"mix": gain * np.eye(6, dtype=np.float32)[:, :, None, None]},
    )
    write_manifest(folder, name="still", revision="1", licence="CC0-1.0", constants=constants, nets={MOVER: path})
    return str(folder)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bundles")
    tiny_human(folder / "human")
    tiny_bundle(folder / "latent")
    return {"flow": tiny_flow(folder / "flow"), "human": str(folder / "human"), "latent": str(folder / "latent")}


@pytest.fixture(scope="module")
def streams(
    bundles: dict[str, str], make_clip: Callable[..., list[Picture]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streams")
    moving, bright = folder / "moving.mkv", folder / "bright.mkv"
    write_lossless(moving, make_clip([(2 * t, t) for t in range(FRAMES)], size=SIZE), Fraction(25))
    save_pictures(bright, bright_pictures(FRAMES, *SIZE))
    made = {}
    for profile, clip, target in (
        ("dynamics", moving, {"bytes": 900}),
        ("human", bright, {"kbps": 16.0, "bundle": bundles["human"]}),
    ):
        made[profile] = folder / f"{profile}.tgvc"
        config: dict[str, Any] = {"profile": profile, "effort": 0, "size": SIZE, **target}
        Encoder(EncoderConfig(**config), threads=1).encode(str(clip), str(made[profile]))
    return made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ceilings that cost nothing."""
    monkeypatch.setattr(sessions, "measure_host", lambda threads: Ceilings(1e11, 1e10, "float32", "of a test"))


def run(stream: Path, *words: str) -> dict[str, Any]:
    usual = ["--runs", "2", "--seconds", "0.3", "--threads", "1", "--jobs", "1", "--json"]
    result = CliRunner().invoke(bench, ["decode", str(stream), *usual, *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    check_record(found)
    return found


def check_row(row: dict[str, Any], stages: set[str]) -> None:
    parts = row["breakdown"]
    assert set(parts["stages"]) == PARSED | stages
    assert sum(parts["stages"].values()) + parts["gap_s"] == pytest.approx(parts["whole_s"], rel=1e-3)
    assert row["frames"] == FRAMES
    assert row["seconds_per_frame"] * FRAMES == pytest.approx(row["latency"]["min_s"], rel=0.01)


LATENT = {"conditions", "encode", "denoise", "decode", "grain"}


@pytest.mark.parametrize(
    ("generator", "stages"),
    [("warp", {"render"}), ("flow", {"conditions", "render"}), ("latent", LATENT)],
)
def test_trajectories_of_profile_dynamics_are_timed_by_every_generator(
    generator: str, stages: set[str], streams: dict[str, Path], bundles: dict[str, str]
) -> None:
    words = ["--starts", "0", "--set", f"generator={generator}"]
    if generator != "warp":
        pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[torch]'")
        words += ["--set", f"bundle={bundles[generator]}", "--against", "torch"]
    single, offline = run(streams["dynamics"], *words)["rows"]
    assert (single["scenario"], offline["scenario"]) == (SINGLE_STREAM, OFFLINE)
    assert single["generator"] == generator
    check_row(single, stages)
    if generator != "warp":
        assert single["backend"].startswith("onnxruntime ")
        assert single["comparison"]["with"].startswith("torch ")
        assert single["comparison"]["ratio"] > 0
        assert single["cost"]["flop"] > 0


def test_a_stream_of_states_is_timed_by_the_generator_that_it_asks_for(
    streams: dict[str, Path], bundles: dict[str, str]
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[torch]'")
    words = ["--set", f"bundle={bundles['human']}", "--against", "torch", "--starts", "1"]
    record = run(streams["human"], *words)
    single, offline, cold = record["rows"]
    assert (single["generator"], offline["scenario"], cold["scenario"]) == ("human", OFFLINE, COLD_START)
    check_row(single, {"key", "render"})
    assert single["engine"].keys() == {"predictor", "key", "frame"}
    assert single["cost"]["flop"] == 2 * 6 * 2 * (SIZE[0] // 2) * (SIZE[1] // 2)  # one product of six planes, per key
    assert single["comparison"]["with"].startswith("torch ")
    text = format_markdown(record)
    assert " a frame at best: " in text
    assert "render" in text
    assert f"x {single['comparison']['with']}" in text or f"as fast as {single['comparison']['with']}" in text


def test_a_rival_that_paints_something_else_is_not_timed(
    streams: dict[str, Path], bundles: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[torch]'")
    from tgvc.backends.pytorch.net import TorchNet

    right = TorchNet.run

    def dimmed(self: Any, **inputs: Any) -> Any:
        return {name: value * np.float32(0.9) for name, value in right(self, **inputs).items()}

    monkeypatch.setattr(TorchNet, "run", dimmed)
    words = ["--set", "generator=flow", "--set", f"bundle={bundles['flow']}", "--against", "torch", "--starts", "0"]
    result = CliRunner().invoke(bench, ["decode", str(streams["dynamics"]), *words])
    assert result.exit_code == 1
    assert "decoding dynamics.tgvc on torch: rms difference of frames" in result.output


def test_without_networks_there_is_nothing_to_compare_on_another_backend(streams: dict[str, Path]) -> None:
    result = CliRunner().invoke(bench, ["decode", str(streams["dynamics"]), "--against", "torch"])
    assert result.exit_code == 1
    assert "against=torch: expected a generator with networks, warp has none" in result.output
