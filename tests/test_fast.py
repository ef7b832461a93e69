"""Fast ways: what is asked for is what runs, and only where it was measured to end near many steps."""

from __future__ import annotations

import io
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpolation_samples import CONSTANTS, KnownNetworks
from network_samples import tiny_bundle
from session_samples import make_stream
from test_bundle_kinds import write
from test_interpolation import fading, moving, render
from tgvc.backends.spec import NetRecord
from tgvc.config import FAST, SOLVERS, TIMESTEPS, DecoderConfig
from tgvc.decoder import Decoder
from tgvc.devices.host import HostDevice
from tgvc.diffusion import solvers
from tgvc.diffusion.solvers import Plan
from tgvc.errors import BundleError, ConfigError
from tgvc.models.bundle import load_bundle, write_manifest
from tgvc.models.contract import TINY_DECODER, VAE_DECODER, VAE_ENCODER, contract_of, optional_contract
from tgvc.models.footprint import decoding_footprint
from tgvc.models.interpolation import InterpolationNetworks
from tgvc.synthesis.fast import (
    FAST_WAYS,
    NOTE,
    FastWay,
    choose_plan,
    fast_ways,
    gate_fault,
    networks_hash,
    open_fast_way,
)
from tgvc.synthesis.interpolation.setup import make_interpolation
from tgvc.video.writer import VideoWriter
from tgvc_bench import fast as bench
from tgvc_bench.fast import distance, luma, note_ways
from video_samples import info_of, smooth_picture


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_stream(tmp_path_factory.mktemp("clip"), frames=6, group=6)


def decode(data: bytes, **fields: Any) -> Any:
    frames = Decoder(DecoderConfig(generator="latent", threads=1, **fields)).frames(io.BytesIO(data))
    return luma([shown.picture for shown in frames])


# ---------------------------------------------------------------- solvers in the generators


def test_options_and_names_are_those_of_the_solvers() -> None:
    assert SOLVERS == solvers.SOLVERS
    assert set(FAST) == set(FAST_WAYS)
    for name in TIMESTEPS:
        plan = choose_plan(DecoderConfig(generator="latent", timesteps=name, solver="dpmpp-2m"))
        assert plan.label.endswith({"trailing": "2m"}.get(name, name))


@pytest.mark.parametrize("dynamic", [False, True])
def test_networks_that_know_the_answer_give_it_by_every_solver(dynamic: bool) -> None:
    nets = KnownNetworks(constants=CONSTANTS.__class__(**{**vars(CONSTANTS), "dynamic": dynamic}))
    group, seen = fading([16, 20], [40, 200, 90]), {}
    for solver, spacing in (("ddim", "uniform_trailing"), ("dpmpp-2m", "uniform_trailing"), ("dpmpp-2m", "ays-sd")):
        plan = Plan(solver=solver, spacing=spacing)  # type: ignore[arg-type]
        seen[solver, spacing] = luma(render(nets, group, eta=0.0, steps=6, plan=plan))
        assert np.array_equal(seen[solver, spacing], luma(render(nets, group, eta=0.0, steps=6, plan=plan)))
    first = seen["ddim", "uniform_trailing"]
    assert all(np.abs(other - first).max() <= 1 for other in seen.values())  # rounding of a level


@pytest.mark.parametrize("cfg", [(0.0, 1.0), (0.25, 0.75), (0.5, 1.0)])
def test_only_guided_steps_ask_the_network_twice(cfg: tuple[float, float]) -> None:
    nets = KnownNetworks()
    plan = Plan(cfg_start=cfg[0], cfg_stop=cfg[1])
    render(nets, fading([16], [60, 120]), steps=8, scale=2.0, plan=plan)
    runs = [len(asked["x"]) for asked in nets.asked]
    first, last = int(8 * cfg[0]), int(8 * cfg[1])
    assert runs == [1] * first + [2] * (last - first) + [1] * (8 - last)
    assert all(len(asked[name]) == n for asked, n in zip(nets.asked, runs, strict=True) for name in ("t", "fs", "text"))
    assert (nets.asked[0]["text"][0] == nets.asked[-1]["text"][0]).all()  # the one left is the asked condition


def test_guidance_all_the_way_is_guidance_as_before() -> None:
    group = fading([16], [60, 120])
    whole = render(KnownNetworks(blur=0.3), group, scale=3.0, rescale=0.5)
    again = render(KnownNetworks(blur=0.3), group, scale=3.0, rescale=0.5, plan=Plan(cfg_start=0.0, cfg_stop=1.0))
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))


def test_trajectories_pull_with_every_solver() -> None:
    """Points that are sent change the frames between, whatever goes from step to step."""
    group = fading([16], [60, 120])
    guided = type(group)(0, 1, group.keys, [(moving(16), 16)], 0.4)
    for plan in (Plan(), Plan(solver="dpmpp-2m", spacing="ays-sd")):
        still, pulled = (
            render(KnownNetworks(blur=0.3), guided, guidance=g, eta=0.0, steps=8, plan=plan) for g in (0.0, 2.0)
        )
        assert any(not np.array_equal(a, b) for a, b in zip(still, pulled, strict=True))


def test_the_residual_generator_takes_solvers_too(data: bytes, tmp_path: Path) -> None:
    folder = str(tiny_bundle(tmp_path / "tiny", v_gain=1.0).folder)
    common = {"bundle": folder, "steps": 6, "grain": 0.0}
    even, second, aligned = (
        decode(data, **common, **more) for more in ({}, {"solver": "dpmpp-2m"}, {"timesteps": "ays-svd"})
    )
    assert np.array_equal(second, decode(data, **common, solver="dpmpp-2m"))
    assert even.shape == second.shape == aligned.shape
    decoder = Decoder(DecoderConfig(generator="latent", solver="dpmpp-2m", timesteps="ays-sd", bundle=folder))
    assert decoder.facts["solver"] == "dpmpp-2m, ays-sd"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"solver": "unipc"}, "solver='unipc'"),
        ({"timesteps": "karras"}, "timesteps='karras'"),
        ({"fast": "exact"}, "fast='exact'"),
        ({"fast": "steps10", "steps": 10}, "steps=10"),
        ({"fast": "steps10", "solver": "ddim"}, "solver='ddim'"),
        ({"fast": "steps3", "eta": 1.0}, "eta=1.0"),
        ({"fast": "steps10-half", "cfg_stop": 0.5}, "cfg_stop=0.5"),
        ({"fast": "steps10", "vae": "tiny"}, "vae='tiny'"),
        ({"cfg_start": 1.5}, "cfg_start=1.5"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        DecoderConfig(generator="latent", **fields)


@pytest.mark.parametrize("fields", [{"solver": "ddim"}, {"timesteps": "ays-sd"}, {"fast": "steps3"}])
def test_nothing_of_this_goes_without_networks(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected generator=latent beside it"):
        DecoderConfig(**fields)


def test_a_residual_bundle_has_no_classifier_free_guidance(tmp_path: Path) -> None:
    folder = str(tiny_bundle(tmp_path / "tiny").folder)
    with pytest.raises(ConfigError, match=r"cfg_stop=0\.5: expected a bundle of kind interpolation"):
        Decoder(DecoderConfig(generator="latent", bundle=folder, cfg_stop=0.5))


# ---------------------------------------------------------------- the gate

GOOD = {**FAST_WAYS["steps10"].fields, "error": 0.2, "limit": 0.25}


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (GOOD, ""),
        (None, "not measured"),
        ([], "not measured"),
        (GOOD | {"error": 0.26}, "0.26 of what they add, at most 0.25"),
        (GOOD | {"error": 0.9, "limit": 1.0}, "at most 0.25"),  # a limit of its own does not help
        (GOOD | {"error": -1.0}, "too far"),
        (GOOD | {"error": "0.1"}, "without numbers"),
        (GOOD | {"error": None}, "without numbers"),
        (GOOD | {"solver": "ddim"}, "another preset"),
        (GOOD | {"steps": 9}, "another preset"),
    ],
)
def test_only_a_sound_measurement_within_the_limit_opens_the_gate(found: Any, fault: str) -> None:
    assert fault in gate_fault(FAST_WAYS["steps10"], found)
    assert bool(fault) == bool(gate_fault(FAST_WAYS["steps10"], found))


def test_a_way_without_a_limit_has_to_be_as_near_as_the_default() -> None:
    way = FAST_WAYS["steps3"]
    assert not gate_fault(way, {**way.fields, "error": 0.4, "limit": 0.41})
    assert "at most 0.39" in gate_fault(way, {**way.fields, "error": 0.4, "limit": 0.39})
    assert "without numbers" in gate_fault(way, {**way.fields, "error": 0.4})


def test_a_bundle_that_was_not_measured_is_not_run_fast(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    config = DecoderConfig(generator="latent", fast="steps10", bundle=str(bundle.folder))
    with pytest.raises(ConfigError, match="was not measured on it; measure it with"):
        Decoder(config)
    good = GOOD | {"networks": networks_hash(bundle)}
    noted = note_ways(str(bundle.folder), {"steps10": good})
    assert noted.notes[NOTE]["steps10"]["error"] == 0.2
    assert Decoder(config).facts["steps"] == 10
    assert Decoder(config).facts["solver"] == "dpmpp-2m, ays-sd"
    note_ways(str(bundle.folder), {"steps10": good | {"error": 0.3}})
    with pytest.raises(ConfigError, match=r"ends too far from many steps on it: 0\.3"):
        Decoder(config)
    other = tiny_bundle(tmp_path / "tiny", v_gain=0.5)  # the same name, other weights
    assert networks_hash(other) != good["networks"]
    note_ways(str(bundle.folder), {"steps10": good})
    with pytest.raises(ConfigError, match="with other weights"):
        Decoder(config)


def test_a_fast_way_of_the_published_generator_adds_no_noise(tmp_path: Path) -> None:
    folder = write(tmp_path / "some", CONSTANTS)
    known = {"networks": networks_hash(load_bundle(folder))}
    bundle = note_ways(str(folder), {name: GOOD | dict(way.fields) | known for name, way in FAST_WAYS.items()})
    assert list(fast_ways(bundle)) == ["steps3", "steps10", "steps10-half"]
    for name, way in fast_ways(bundle).items():
        if way.limit is not None:
            opened = open_fast_way(DecoderConfig(generator="latent", fast=name, bundle=str(folder)), bundle)
            assert (opened.eta, opened.fast, opened.steps) == (0.0, None, 10)
            assert (opened.cfg_start, opened.cfg_stop) == ((0.25, 0.75) if name == "steps10-half" else (None, None))


def test_guidance_in_half_of_the_steps_and_the_tiny_decoder_have_gates_of_their_own(tmp_path: Path) -> None:
    folder = write_with_tiny(tmp_path / "tiny")
    bundle = load_bundle(folder)
    assert list(fast_ways(bundle)) == list(FAST_WAYS)
    known = {"networks": networks_hash(bundle), "error": 0.2, "limit": 0.25}
    tiny = DecoderConfig(generator="latent", fast="steps10-tiny", bundle=str(folder))
    with pytest.raises(ConfigError, match="not measured"):
        open_fast_way(tiny, bundle)
    noted = note_ways(str(folder), {"steps10-tiny": dict(FAST_WAYS["steps10-tiny"].fields) | known})
    opened = open_fast_way(tiny, noted)
    assert (opened.vae, opened.steps, opened.fast) == ("tiny", 10, None)
    with pytest.raises(ConfigError, match="not measured"):  # of one way nothing follows for the other
        open_fast_way(DecoderConfig(generator="latent", fast="steps10-half", bundle=str(folder)), noted)


def test_a_fast_way_of_other_bundles_is_refused_with_the_reason(tmp_path: Path) -> None:
    nano, without = load_bundle("nano"), load_bundle(write(tmp_path / "some", CONSTANTS))
    for name, bundle, reason in (
        ("steps10-half", nano, "is of kind residual, expected interpolation"),
        ("steps10-tiny", without, "has no network tiny_decoder"),
    ):
        with pytest.raises(ConfigError, match=f"fast={name}: .*{reason}"):
            open_fast_way(DecoderConfig(generator="latent", fast=name), bundle)


@pytest.mark.parametrize("way", ["steps3", "steps10"])
def test_the_shipped_networks_keep_what_was_measured_of_them(data: bytes, way: str) -> None:
    """The gate itself, on a clip of its own: what the manifest says must not be luck of three clips."""
    note = load_bundle("nano").notes[NOTE][way]
    assert not gate_fault(FAST_WAYS[way], note)
    plain = luma([shown.picture for shown in Decoder().frames(io.BytesIO(data))])
    many = decode(data, steps=50, grain=0.0)
    added = distance(many, plain)
    found, even = (distance(decode(data, grain=0.0, **fields), many) / added for fields in ({"fast": way}, {}))
    # other content: half as much again; and nearer to many steps than the four even ones that are the default
    assert found <= 1.5 * note["limit"]
    assert found < even


def test_the_measurement_tells_far_from_near(tmp_path: Path) -> None:
    """One step, called a fast way, must not pass where ten do."""
    pictures = [smooth_picture(n) for n in range(4)]
    with VideoWriter(tmp_path / "clip.mkv", info_of(), codec="ffv1") as writer:
        for n, picture in enumerate(pictures):
            writer.write(picture, Fraction(n, 25))
    ways = dict(FAST_WAYS)
    entries = list(bench.run_fast([tmp_path / "clip.mkv"], "nano", 0.05, 4, [1], tmp_path / "fast.json", scored=False))
    record = json.loads((tmp_path / "fast.json").read_text())
    errors = {name: way["error"] for name, way in entries[0]["ways"].items()}
    assert errors["steps10"] < errors["1 ddim trailing"]
    assert record["ways"]["steps10"]["error"] == errors["steps10"]
    assert record["ways"]["steps3"]["limit"] == errors["default"]
    one = FastWay(fields={"steps": 1, "solver": "ddim", "timesteps": "trailing"}, limit=ways["steps10"].limit)
    assert "too far" in gate_fault(one, {**one.fields, "error": errors["1 ddim trailing"]})
    assert bench.format_fast(record).count("\n") == 1 + len(errors)


# ---------------------------------------------------------------- the tiny decoder


def write_with_tiny(folder: Path, **changes: Any) -> Path:
    """A bundle of files that are no networks, a tiny decoder among them."""
    write(folder, CONSTANTS)
    nets = {name: folder / f"{name}.onnx" for name in (*contract_of(CONSTANTS), TINY_DECODER)}
    nets[TINY_DECODER].write_bytes(b"tiny")
    write_manifest(folder, name="made", revision="1", licence="none", constants=CONSTANTS, nets=nets, **changes)
    return folder


class NamedBackend:
    """Loads nothing and runs everything: a network returns a picture whose grey level is its place in the list."""

    name, version, providers, device = "named", "1", ("none",), "cpu"

    def load(self, record: NetRecord) -> Any:
        level = np.float32([VAE_DECODER, TINY_DECODER].index(record.name))
        run = lambda **inputs: {"picture": np.full((1, 3, 8, 8), level, np.float32)}  # noqa: E731
        return type("Net", (), {"record": record, "run": staticmethod(run)})()


def test_the_decoder_that_is_asked_for_makes_the_pictures(tmp_path: Path) -> None:
    bundle = load_bundle(write_with_tiny(tmp_path / "some"))
    z = np.zeros((2, CONSTANTS.latent_channels, 1, 1), np.float32)
    for level, name in enumerate((VAE_DECODER, TINY_DECODER)):
        nets = InterpolationNetworks(bundle, NamedBackend(), decoder=name)
        assert nets.decode(z).tolist() == np.full((2, 3, 8, 8), level).tolist()
    config = DecoderConfig(generator="latent", vae="tiny")
    assert make_interpolation(config, bundle, NamedBackend(), HostDevice()).facts["bundle"] == "made 1, tiny decoder"


def test_a_bundle_without_a_tiny_decoder_has_none(tmp_path: Path) -> None:
    bundle = load_bundle(write(tmp_path / "some", CONSTANTS))
    with pytest.raises(BundleError, match="has no tiny_decoder; decode without vae=tiny"):
        make_interpolation(DecoderConfig(generator="latent", vae="tiny"), bundle, NamedBackend(), HostDevice())
    config = DecoderConfig(generator="latent", vae="tiny", parity="reference")
    with_tiny = load_bundle(write_with_tiny(tmp_path / "tiny"))
    with pytest.raises(ConfigError, match="parity=reference"):
        make_interpolation(config, with_tiny, NamedBackend(), HostDevice())


def test_a_tiny_decoder_keeps_the_contract_of_the_large_one(tmp_path: Path) -> None:
    tensors = contract_of(CONSTANTS) | optional_contract(CONSTANTS)
    assert tensors[TINY_DECODER] == tensors[VAE_DECODER]
    with pytest.raises(BundleError, match="tiny_decoder has"):
        write_with_tiny(tmp_path / "some", tensors=tensors | {TINY_DECODER: tensors[VAE_ENCODER]})
    footprint = decoding_footprint(load_bundle(write_with_tiny(tmp_path / "other")), (64, 64), tiny=True)
    assert footprint.host_bytes > 0
    made = tiny_bundle(tmp_path / "residual")
    extra = made.folder / "tiny_decoder.onnx"
    shutil.copy(made.folder / "decoder.onnx", extra)
    nets = {name: record.path for name, record in made.nets.items()} | {TINY_DECODER: extra}
    tensors = {n: (r.inputs, r.outputs) for n, r in made.nets.items()} | {TINY_DECODER: tensors[VAE_DECODER]}
    told = {"name": "t", "revision": "1", "licence": "x", "constants": made.constants}
    with pytest.raises(BundleError, match="network tiny_decoder is not known"):
        write_manifest(made.folder, nets=nets, tensors=tensors, **told)  # type: ignore[arg-type]
