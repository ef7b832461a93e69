"""The published system end to end: networks of its structure and random weights, encoded with and decoded by."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import tgvc
from checkpoint_samples import INTERPOLATION, TRACKER, interpolation_state, random_tensors
from conftest import MakeClip
from network_samples import tiny_constants
from test_bundle_kinds import PUBLISHED, write
from test_bundle_kinds import TRACKER as TRACKER_CONSTANTS
from tgvc.bitstream.container import Reader
from tgvc.cli.commands import commands
from tgvc.config import DecoderConfig
from tgvc.decoder import decode_group
from tgvc.errors import ConfigError
from tgvc.overlap import StageClock
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.interpolation.generator import InterpolationGenerator
from tgvc.types import Picture, VideoInfo, still_motion
from tgvc.video.writer import VideoWriter
from tgvc_export.checkpoint import open_checkpoint
from tgvc_export.cotracker.export import export_tracker
from tgvc_export.cotracker.tracker import CoTracker3
from tgvc_export.cotracker.update import Widths
from tgvc_export.dynamicrafter.bundle import BundleLabel, export_interpolation
from tgvc_export.dynamicrafter.published import parse_sizes

FRAMES, SIZE = 20, (96, 64)


def export_painter(folder: Path) -> Path:
    """A bundle of kind interpolation from a checkpoint of the published layout, with windows of 16 frames."""
    options: dict[str, Any] = copy.deepcopy(INTERPOLATION)
    params = options["model"]["params"]
    params["unet_config"]["params"]["temporal_length"] = 16
    params["image_proj_stage_config"]["params"] |= {"num_queries": 4, "video_length": 16}
    path = folder / "model.ckpt"
    torch.save({"state_dict": interpolation_state(options)}, path)
    label = BundleLabel(name="small", revision="1", licence="none", notes={})
    return export_interpolation(open_checkpoint(path), folder / "painter", label, sizes=parse_sizes(options)).folder


def export_follower(folder: Path) -> Path:
    """A bundle of kind tracker that looks at 3 x 3 cells instead of 7 x 7 and moves points once instead of six times.

    It is asked for 8192 points all the same.
    """
    widths = Widths(**TRACKER["widths"] | {"radius": 1})
    tracker = CoTracker3(60, widths=widths, stages=(16,) * 4, features=16, resolution=(64, 96))
    shapes = {name: tuple(value.shape) for name, value in tracker.named_parameters()}
    tracker.load_state_dict({**random_tensors(shapes), "time_emb": tracker.time_emb})
    bundle = export_tracker(tracker, folder / "follower", name="small-tracker", revision="1")
    manifest = bundle.folder / "manifest.json"
    values = json.loads(manifest.read_text())
    values["constants"]["iterations"] = 1
    manifest.write_text(json.dumps(values))
    return bundle.folder


def write_clip(path: Path, pictures: list[Picture]) -> Path:
    width, height = SIZE
    facts = VideoInfo(width=width, height=height, source_width=width, source_height=height, fps=Fraction(25))
    with VideoWriter(path, facts) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


def run(*arguments: object) -> str:
    """Output of a command that succeeds."""
    done = CliRunner().invoke(commands, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def coded_keys(stream: Path) -> dict[int, Picture]:
    """Key pictures of a stream of one group as every generator gets them, by their frames."""
    with stream.open("rb") as source:
        reader = Reader(source)
        (group,) = list(reader)
        return dict(zip(group.keys, decode_group(group, reader.header, StageClock()).keys, strict=True))


@pytest.mark.slow
def test_a_clip_goes_through_the_published_system(tmp_path: Path, make_clip: MakeClip) -> None:
    pytest.importorskip("hdbscan")
    torch.set_num_threads(1)
    painter, follower = export_painter(tmp_path), export_follower(tmp_path)
    clip = write_clip(tmp_path / "clip.mkv", make_clip([(2.0 * n, 0.5 * n) for n in range(FRAMES)], size=SIZE))
    stream = tmp_path / "clip.tgvc"
    plain = ["encode", clip, "--profile", "tgvc", "--bpp", 0.2, "--effort", 0, "--seed", 7, "--threads", 1, "-q"]
    run(*plain, "-o", stream, "--embedder", painter, "--tracker", follower)
    run(*plain, "-o", tmp_path / "plain.tgvc")
    assert stream.read_bytes() != (tmp_path / "plain.tgvc").read_bytes()

    def decode(**fields: Any) -> list[Picture]:
        asked = {"generator": "latent", "bundle": str(painter), "threads": 1, "steps": 2} | fields
        return [frame.picture for frame in tgvc.decode_frames(stream, **asked)]

    frames = decode()
    assert len(frames) == FRAMES
    assert all(np.array_equal(frames[n], key) for n, key in coded_keys(stream).items())
    assert all(np.array_equal(a, b) for a, b in zip(frames, decode(), strict=True))
    between = [n for n in range(FRAMES) if n not in coded_keys(stream)]
    for fields in ({"eta": 0.0}, {"cfg": 1.0}, {"rescale": 0.0}, {"fs": 20}, {"parity": "reference"}, {"steps": 3}):
        others = decode(**fields)
        assert len(others) == FRAMES
        assert any(not np.array_equal(frames[n], others[n]) for n in between), fields
    if tgvc.info(stream)["groups"][0]["trajectories"]:
        others = decode(guidance=0.0)
        assert any(not np.array_equal(frames[n], others[n]) for n in between)

    asked = ["--generator", "latent", "--bundle", painter, "--steps", 2, "--threads", 1, "--backend", "onnxruntime"]
    report = json.loads(run("decode", stream, "-o", tmp_path / "shown.mkv", *asked, "--json", "-q"))
    assert report["frames"] == FRAMES
    assert report["bundle"] == "small 1"
    assert report["steps"] == 2
    assert report["providers"] == ["CPUExecutionProvider"]


def refusal(*arguments: object) -> str:
    """What a command that fails says."""
    done = CliRunner().invoke(commands, [str(a) for a in arguments])
    assert done.exit_code != 0
    return " ".join((done.output + str(done.exception or "")).split())


@pytest.mark.parametrize(
    ("constants", "option", "value", "told"),
    [
        (PUBLISHED, "--grain", 0.5, "grain=0.5: expected a bundle of kind residual beside it; made 1 is interpolation"),
        (PUBLISHED, "--paint", "keys", "paint='keys': expected a bundle of kind residual"),
        (tiny_constants(), "--fs", 5, "fs=5: expected a bundle of kind interpolation beside it; made 1 is residual"),
        (tiny_constants(), "--parity", "reference", "parity='reference': expected a bundle of kind interpolation"),
        (TRACKER_CONSTANTS, "--steps", 2, "kind 'tracker', expected"),
        (PUBLISHED, "--prompt", "a boat", "the bundle has no vocabulary"),
    ],
)
def test_what_does_not_fit_a_bundle_is_one_line(
    constants: Any, option: str, value: object, told: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "made", constants)
    source = ["decode", tmp_path / "clip.tgvc", "-o", tmp_path / "clip.mkv", "--generator", "latent"]
    assert told in refusal(*source, "--bundle", folder, option, value, "--backend", "onnxruntime")


def test_the_published_pull_cannot_be_made_stronger(tmp_path: Path) -> None:
    folder = write(tmp_path / "made", PUBLISHED)
    source = ["decode", tmp_path / "clip.tgvc", "-o", tmp_path / "clip.mkv", "--generator", "latent"]
    told = refusal(*source, "--bundle", folder, "--parity", "reference", "--guidance", 2)
    assert "guidance=2.0: expected 0 or nothing with parity=reference" in told


@pytest.mark.parametrize("name", ["eta", "cfg", "rescale", "fs", "prompt", "parity"])
def test_options_of_networks_mean_nothing_without_them(name: str) -> None:
    value = {"prompt": "a boat", "parity": "reference", "fs": 5}.get(name, 0.5)
    with pytest.raises(ConfigError, match=f"{name}=.*expected generator=latent beside it"):
        DecoderConfig(**{name: value})


def test_a_frame_rate_is_whole() -> None:
    with pytest.raises(ConfigError, match=r"fs=5\.5: expected a whole number"):
        DecoderConfig(generator="latent", fs=5.5)  # type: ignore[arg-type]


def test_an_open_group_is_refused_by_networks_that_paint_between_two_keys() -> None:
    picture = np.zeros((96, 64), np.uint8)
    open_group = DecodedGroup(0, 0, [picture], [(still_motion("G"), 3)], 0.5)
    painter = object.__new__(InterpolationGenerator)
    with pytest.raises(ConfigError, match=r"ends without a key picture.*expected one: decode without networks"):
        next(painter.render_group(open_group, StageClock()))
