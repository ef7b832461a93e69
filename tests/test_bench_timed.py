"""What is timed: wrong answers are not, stages add up, bytes and runs are counted, records are whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tgvc.cli.weights import COMMANDS
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.decoder import Decoder
from tgvc.encoder import Encoder
from tgvc.errors import BackendError, ConfigError
from tgvc.models.bundle import load_bundle
from tgvc.models.constants import AnimationConstants
from tgvc.types import Picture
from tgvc_bench.command import bench
from tgvc_bench.protocol.ceilings import Ceilings
from tgvc_bench.protocol.latency import Budget
from tgvc_bench.protocol.schema import MICRO, OFFLINE, SINGLE_STREAM, check_record
from tgvc_bench.published import write_lossless
from tgvc_bench.timed import bundle_cost, decode, efficiency, encode, kernels, plain, reference, sessions
from tgvc_bench.timed.kernel_cases import KernelCase, list_cases
from tgvc_kernels import gpu, latent_ops, ops, picture_ops

ROOT = Path(__file__).resolve().parents[1]
CEILINGS = Ceilings(1e11, 1e10, "float32", "of a test")
FRAMES, SIZE = 9, (192, 128)
QUICK = Budget(2, 0.5)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., list[Picture]]) -> Path:
    path = tmp_path_factory.mktemp("timed") / "moving.mkv"
    write_lossless(path, make_clip([(2 * t, t) for t in range(FRAMES)], size=SIZE), Fraction(25))
    return path


@pytest.fixture(scope="module")
def stream(clip: Path) -> Path:
    path = clip.with_suffix(".tgvc")
    Encoder(EncoderConfig(bpp=0.05, effort=0), threads=1).encode(str(clip), str(path))
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ceilings that cost nothing."""
    monkeypatch.setattr(sessions, "measure_host", lambda threads: CEILINGS)


# ---------------------------------------------------------------- kernels

CASES = {case.name: case for case in list_cases((64, 48), frames=4, points=6)}


def test_every_kernel_is_measured() -> None:
    offered = {name for module in (ops, latent_ops, picture_ops) for name in dir(module) if name in gpu.__all__}
    assert set(CASES) == offered - {"upload_plan", "DevicePlan"}


@pytest.mark.parametrize("name", CASES)
def test_kernels_keep_what_they_promise_and_their_bytes_are_counted(name: str) -> None:
    case = CASES[name]
    found = kernels.check_case(case, "cpu")
    assert found["value"] <= found["limit"] == case.within
    first, second = case.draw(0), case.draw(1)
    assert case.moved_bytes(first) > 0
    same = [np.array_equal(a, b) for a, b in zip(case.run(first, "cpu"), case.run(second, "cpu"), strict=True)]
    assert not all(same)  # other inputs, other results: nothing is timed on constants


def test_bytes_are_those_of_arguments_and_results() -> None:
    case = CASES["mix"]  # two planes and weights in float32, a plane of bytes out
    assert case.moved_bytes(case.draw(0)) == 64 * 48 * (4 + 4 + 1) + 32 * 24 * 4
    plan = CASES["guidance_gradient"].draw(0)[1]
    assert CASES["guidance_gradient"].moved_bytes(CASES["guidance_gradient"].draw(0)) == 2 * 4 * 4 * 4 * 6 * 8 + sum(
        array.nbytes for array in plan[1:]
    )


@pytest.mark.parametrize("name", ["warp", "densify"])
def test_a_planted_wrong_kernel_is_not_timed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, called = CASES[name], list[str]()

    def wrong(*arguments: Any, implementation: str) -> Any:
        called.append(implementation)
        result = case.call(*arguments, implementation=implementation).copy()
        if implementation == "cpu":
            result.flat[7] += np.float32(3e-3)
        return result

    broken = KernelCase(name, wrong, case.draw, case.within)
    monkeypatch.setattr(kernels, "measure_runs", lambda *_: pytest.fail("timed"))
    with pytest.raises(BackendError, match=f"kernel {name}, cpu: .* none is given"):
        list(kernels.time_kernel(broken, CEILINGS, QUICK))
    assert set(called) == {"cpu", "reference"}


def test_rotating_inputs_are_larger_than_caches_and_come_in_turn() -> None:
    assert kernels.count_sets(4 << 20) == 24
    assert kernels.count_sets(1 << 40) == 2
    assert kernels.count_sets(100) == kernels.count_sets(1000)  # at most so many
    seen: list[Any] = []
    case = KernelCase("k", lambda value, implementation: seen.append((value, implementation)), lambda seed: (seed,))
    call = kernels.rotate(case, [(1,), (2,), (3,)], "cpu")
    for _ in range(4):
        call()
    assert seen == [(1, "cpu"), (2, "cpu"), (3, "cpu"), (1, "cpu")]


def run(*words: str) -> dict[str, Any]:
    result = CliRunner().invoke(bench, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.usefixtures("quick")
def test_the_command_measures_kernels_cold_and_warm(tmp_path: Path) -> None:
    output = tmp_path / "kernels.json"
    words = ["kernels", "--size", "64x48", "--only", "mix", "--only", "warp", "--runs", "3", "--seconds", "1"]
    record = run(*words, "-o", str(output))
    assert json.loads(output.read_text()) == record
    check_record(record)
    rows = record["rows"]
    assert [row["name"] for row in rows] == ["warp", "warp", "mix", "mix"]
    assert [row["inputs"].split(",")[0] for row in rows] == ["fixed", "rotating"] * 2
    assert all(row["scenario"] == MICRO and row["backend"] == "numba" for row in rows)
    assert rows[0]["comparison"]["ratio"] > 2  # a loop of Numba against many passes of NumPy
    for row in rows:
        assert row["achieved"]["bytes_per_s"] == pytest.approx(row["cost"]["bytes"] / row["latency"]["min_s"], rel=0.01)
    with pytest.raises(ConfigError, match="kernel 'wrap': expected some of sample_field"):
        sessions.measure_kernels((64, 48), ["wrap"], 1, QUICK, lambda _: None, "")


# ---------------------------------------------------------------- decoding


@pytest.mark.usefixtures("quick")
def test_decoding_is_measured_in_scenarios_that_are_not_mixed(stream: Path) -> None:
    record = run(
        "decode", str(stream), "--runs", "2", "--seconds", "0.3", "--starts", "0", "--threads", "1", "--jobs", "1"
    )
    check_record(record)
    single, offline = record["rows"]
    assert (single["scenario"], offline["scenario"]) == (SINGLE_STREAM, OFFLINE)
    assert single["frames"] == FRAMES
    assert single["frames_per_second"] == pytest.approx(FRAMES / single["latency"]["min_s"], rel=0.01)
    assert single["x_real_time"] == pytest.approx(single["frames_per_second"] / 25, rel=0.01)
    assert (offline["done"], offline["streams"] * FRAMES) == (offline["done"] // FRAMES * FRAMES, offline["done"])
    parts = single["breakdown"]
    assert set(parts["stages"]) == {"parse", "pictures", "motion", "render"}
    assert sum(parts["stages"].values()) + parts["gap_s"] == pytest.approx(parts["whole_s"], rel=1e-3)
    assert single["agreement"]["value"] <= 1


def test_a_setting_that_is_not_known_is_refused_with_those_that_are(stream: Path) -> None:
    options = decode.DecodeOptions(QUICK, starts=0, checked=4)
    with pytest.raises(ConfigError, match="foo: not known, expected some of generator, "):
        next(decode.measure_decode(stream, {"foo": 1}, CEILINGS, options))
    with pytest.raises(ConfigError, match="foo: not known, expected some of profile, "):
        next(encode.measure_encode(stream, {"foo": 1}, 1, QUICK))


def test_a_decoder_with_a_wrong_kernel_is_not_timed(stream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, options = ops.choose, decode.DecodeOptions(QUICK, starts=0, checked=4)

    class Wrong:
        def __getattr__(self, name: str) -> Any:
            return getattr(right(None, cpu=ops.cpu), name)

        def mix(self, *arguments: Any) -> Any:
            return right(None, cpu=ops.cpu).mix(*arguments) ^ np.uint8(2)

    monkeypatch.setattr(ops, "choose", lambda name, **known: right(name, **known) if name == "reference" else Wrong())
    monkeypatch.setattr(decode, "warm_up", lambda *_: pytest.fail("timed"))
    with pytest.raises(BackendError, match=r"decoding moving\.tgvc: largest difference of a pixel.* is 2, expected"):
        list(decode.measure_decode(stream, {"threads": 1}, CEILINGS, options))
    assert ops.choose(None, cpu=1, reference=2).__class__ is Wrong  # the switch is back where it was


def test_the_slow_decode_uses_no_fast_kernel(stream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    right = ops.choose

    def watch(name: Any, **known: Any) -> Any:
        names.append(name or "cpu")
        return right(name, **known)

    monkeypatch.setattr(ops, "choose", watch)
    decoder = Decoder(DecoderConfig(threads=1))
    with plain.reference_kernels():
        reference.decode_first(stream, decoder, 3)
    assert set(names) == {"reference"}
    reference.decode_first(stream, decoder, 3)
    assert "cpu" in names


def test_frames_are_compared_in_grey_levels() -> None:
    want = [np.full((6, 4), 100, np.uint8)] * 3
    off = [want[0], want[1] + np.uint8(1), want[2]]
    assert plain.compare_frames(off, want, networks=False).value == 1
    assert plain.compare_frames(off, want, networks=True).value == pytest.approx(np.sqrt(1 / 3))
    assert not plain.compare_frames(off[:2], want, networks=True).holds
    assert not plain.compare_frames(off, want, networks=True, tolerance=0.1).holds


def test_networks_are_counted_run_by_run(stream: Path) -> None:
    config = DecoderConfig(threads=1, generator="latent", steps=1)
    found = decode.count_cost(stream, config)
    assert found is not None
    bundle = load_bundle("nano")
    lengths = bundle_cost.choose_lengths(bundle, SIZE, None, 1)
    once = {name: bundle_cost.measure_net(bundle.nets[name], lengths) for name in bundle.nets}
    # every picture is decoded once, and encoded at least once, in pieces of several
    products = sum(one.kind == "convolution" for one in once["decoder"].operations)
    assert found.flop > FRAMES * once["decoder"].flop + once["encoder"].flop
    assert sum(one.kind == "convolution" for one in found.operations) > 2 * products
    twice = decode.count_cost(stream, DecoderConfig(threads=1, generator="latent", steps=2))
    assert twice is not None
    assert twice.flop > found.flop
    assert decode.count_cost(stream, DecoderConfig(threads=1)) is None
    told = efficiency.describe_cost(found, 2.0, CEILINGS)
    assert told["achieved"]["flop_per_s"] == pytest.approx(found.flop / 2, rel=1e-3)
    assert told["efficiency"]["of_flop"] == pytest.approx(found.flop / 2 / 1e11, rel=1e-2)
    assert told["cost"]["roofline_s"] >= found.flop / 1e11 * 0.999


# ---------------------------------------------------------------- encoding, costs, commands


@pytest.mark.usefixtures("quick")
def test_encoding_is_checked_then_timed_stage_by_stage(clip: Path) -> None:
    record = run("encode", str(clip), "--set", "bpp=0.05", "--set", "effort=0", "--runs", "1", "--threads", "1")
    check_record(record)
    (row,) = record["rows"]
    assert row["settings"] == {"bpp": 0.05, "effort": 0}
    assert row["agreement"] == {"rule": "values that differ", "value": 0.0, "limit": 0}
    parts = row["breakdown"]
    assert {"read", "choose", "code pictures", "fit motion"} <= set(parts["stages"])
    assert parts["adds_up"]  # reading and choosing leave nothing out
    assert row["candidates"] >= 1


def test_an_encoder_that_says_something_else_is_not_timed(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Decoder.frames

    def dimmed(self: Decoder, source: Any) -> Any:
        for frame in right(self, source):
            yield frame.__class__(frame.time, frame.picture ^ np.uint8(1))

    monkeypatch.setattr(Decoder, "frames", dimmed)
    monkeypatch.setattr(encode, "measure_runs", lambda *_: pytest.fail("timed"))
    with pytest.raises(BackendError, match=r"encoding moving\.mkv: .*values that differ is"):
        list(encode.measure_encode(clip, {"bpp": 0.05, "effort": 0}, 1, QUICK))


def test_a_bundle_tells_its_cost_and_that_of_a_segment() -> None:
    found = run("cost", "--flops", "100", "--bandwidth", "1000")
    nets, segment = found["networks"], found["segment"]
    assert set(nets) == {"encoder", "denoiser", "decoder"}
    assert segment["flop"] == sum(times * nets[name]["flop"] for name, times in segment["runs"].items())
    for cost in (*nets.values(), segment):
        assert cost["roofline_s"] >= max(cost["flop"] / 1e14, cost["bytes_fused"] / 1e12) * 0.999
        assert cost["bytes_unfused"] > cost["bytes_fused"]
    text = CliRunner().invoke(bench, ["cost", "--flops", "100", "--bandwidth", "1000"]).stdout
    assert f"| denoiser | {nets['denoiser']['flop'] / 1e9:,.1f} |" in text
    with pytest.raises(ConfigError, match="expected multiples of 8 px"):
        bundle_cost.choose_lengths(load_bundle("nano"), (500, 320), None, 1)
    swaying: Any = SimpleNamespace(constants=object.__new__(AnimationConstants), label="swaying", kind="animation")
    with pytest.raises(ConfigError, match="bundle swaying: kind animation, which no generator runs"):
        bundle_cost.choose_lengths(swaying, (512, 320), None, 1)


def test_bench_is_a_command_of_tgvc() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][COMMANDS]["bench"] == "tgvc_bench.command:bench"
    assert set(bench.commands) >= {"kernels", "decode", "encode", "cost"}


@pytest.mark.parametrize("words", [["kernels", "--size", "20x20"], ["decode", "not-there.tgvc"], ["encode"]])
def test_wrong_calls_end_with_one_line(words: list[str]) -> None:
    result = CliRunner().invoke(bench, words)
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1
