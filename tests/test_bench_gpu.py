"""The script for a GPU, run with small networks on the processor: records, resuming, limits, gates, table of goals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")

from emulated_gpu import empty_binaries, find_compiler, load_emulator  # noqa: E402
from lazy_cupy import Engine, LazyCupy  # noqa: E402
from network_samples import save_net  # noqa: E402
from tgvc.devices import cuda  # noqa: E402
from tgvc.devices.cuda import CudaDevice  # noqa: E402
from tgvc.devices.host import HostDevice  # noqa: E402
from tgvc.errors import BackendError, ConfigError  # noqa: E402
from tgvc.models.bundle import write_manifest  # noqa: E402
from tgvc.models.contract import (  # noqa: E402
    CONTEXT,
    IMAGE_TOWER,
    TEXT_TOWER,
    TIME,
    UNET,
    VAE_DECODER,
    VAE_ENCODER,
    contract_of,
)
from tgvc_bench.command import bench  # noqa: E402
from tgvc_bench.gpu import backend_steps, bundle_steps, kernel_steps, run, segment_steps, sizes, timing  # noqa: E402
from tgvc_bench.gpu.goals import BEGIN, END, GOALS, NOT_RUN, table_lines, write_table  # noqa: E402
from tgvc_bench.gpu.inventory import find_missing  # noqa: E402
from tgvc_bench.gpu.network_steps import measure_network  # noqa: E402
from tgvc_bench.gpu.sizes import DRY, FULL  # noqa: E402
from tgvc_bench.gpu.slices import Slice, list_slices  # noqa: E402
from tgvc_bench.protocol.ceilings import Ceilings  # noqa: E402
from tgvc_bench.protocol.schema import check_record, load_record, save_record, start_record  # noqa: E402
from tgvc_kernels.device import call as device_call  # noqa: E402
from tgvc_kernels.device.runtime import Runtime  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
NONE: frozenset[str] = frozenset()


def rows_of(found: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in found if "ceilings" not in row]


# ---------------------------------------------------------------- slices


@pytest.fixture
def sleepy(monkeypatch: pytest.MonkeyPatch) -> list[Slice]:
    """Slices that do what a test wants: their worker is this code."""
    slices: list[Slice] = []
    monkeypatch.setattr(run, "list_slices", lambda sizes: slices)
    return slices


def worker(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let a slice's process run some code instead; ``row(key, **more)`` prints a row."""
    made = json.dumps({"name": "n", "scenario": "offline", "backend": "b", "device": "d", "precision": "p"})
    start = (
        "import json, sys, time; have = json.loads(sys.argv[1])\n"
        f"base = json.loads('''{made}''') | {{'agreement': {{'rule': 'r', 'value': 0, 'limit': 0}}}}\n"
        "base |= {'seconds': 1, 'done': 1, 'per_second': 1}\n"
        "row = lambda key, **more: print(json.dumps(base | {'key': key} | more), flush=True)\n"
    )

    def popen(part: Slice, sizes: Any, folder: Path, have: frozenset[str]) -> Any:
        words = [sys.executable, "-S", "-c", start + code, json.dumps(sorted(have))]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    monkeypatch.setattr(run, "_start", popen)


def test_finished_rows_survive_a_cut_and_the_next_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleepy: list[Slice]
) -> None:
    sleepy.append(Slice("long", "t", (), lambda *_: iter(())))
    worker(monkeypatch, "[row(k) for k in 'ab' if k not in have]\nif 'a' not in have: time.sleep(60)\nrow('c')")
    began = time.monotonic()
    (said,) = run.run_slices(tmp_path, "tgvc bench gpu", dry=True, limit_s=run.SPARE_S + 1.5)
    assert time.monotonic() - began < 30
    assert "2 rows" in said
    assert "cut off" in said
    record = load_record(tmp_path / "gpu_t.json", "gpu")
    assert [row["key"] for row in record["rows"]] == ["a", "b"]
    assert "cut off" in record["faults"]["long"]
    assert "long" in next(iter(run.run_slices(tmp_path, "again", dry=True)))
    record = load_record(tmp_path / "gpu_t.json", "gpu")
    assert [row["key"] for row in record["rows"]] == ["a", "b", "c"]
    assert record["faults"] == {}
    assert len({row["run"] for row in record["rows"]}) == 2  # each says which call it is of
    assert list(run.run_slices(tmp_path, "again", dry=True)) == ["long: done before"]


def test_a_slice_that_fails_says_why_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleepy: list[Slice]
) -> None:
    sleepy += [Slice(name, "t", (), lambda *_: iter(())) for name in ("one", "two")]
    worker(monkeypatch, "print('a library talks'); row('a'); print(json.dumps({'key': 'x', 'fault': 'wrong'}))\n1 / 0")
    lines = list(run.run_slices(tmp_path, "tgvc bench gpu", dry=True, only=("one",)))
    assert lines == [
        f"one: 1 rows in {lines[0].split()[4]} s; the process ended with exit status 1: "
        "ZeroDivisionError: division by zero"
    ]
    record = load_record(tmp_path / "gpu_t.json", "gpu")
    assert set(record["faults"]) == {"x", "one"}
    assert record["done"] == {}
    assert list(run.run_slices(tmp_path, "late", dry=True, limit_s=0)) == [
        f"{name}: not begun, the time is over; call again" for name in ("one", "two")
    ]


def test_a_row_that_lacks_something_is_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleepy: list[Slice]
) -> None:
    sleepy.append(Slice("one", "t", (), lambda *_: iter(())))
    worker(monkeypatch, "row('a', device=None)")
    with pytest.raises(ConfigError, match="device is None, expected a text"):
        list(run.run_slices(tmp_path, "tgvc bench gpu", dry=True))
    assert not (tmp_path / "gpu_t.json").exists()


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tgvc_bench.gpu import inventory

    monkeypatch.setattr(inventory, "missing_gpu", lambda: "gpu: libcuda.so.1 is missing")
    monkeypatch.setattr(inventory, "find_spec", lambda name: None)
    said = find_missing(("gpu", "cupy", "bundle"), FULL, tmp_path)
    assert said == (
        "gpu: libcuda.so.1 is missing; CuPy is not installed: pip install cupy-cuda13x; "
        "the slice `bundle` has not been run"
    )
    assert find_missing(("gpu", "cupy"), DRY, tmp_path) == ""
    assert {need for part in list_slices(FULL) for need in part.needs} <= {"gpu", "bundle", *inventory._ADVICE}


def test_slices_are_told_apart() -> None:
    for whole in (FULL, DRY):
        slices = list_slices(whole)
        assert len({part.name for part in slices}) == len(slices)
    names = {part.name for part in list_slices(FULL)}
    assert {"unet-tensorrt-rtx", "segment-50-tensorrt", "segment-8-torch-compile", "nano-onnxruntime-cuda"} <= names


# ---------------------------------------------------------------- what is measured


def test_kernels_are_timed_in_a_graph_after_they_were_found_right(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [case for case in kernel_steps.list_cases(DRY.size, 4, 4) if case.name in ("guidance_plan", "guided_step")]
    monkeypatch.setattr(kernel_steps, "list_cases", lambda *_: few)
    found = rows_of(kernel_steps.measure_kernels(replace(DRY, nodes=2, replays=2), NONE))
    assert {row["key"].split()[0] for row in found} == {"guided_step"}  # plans are made by the processor
    assert {row["key"].split()[1] for row in found} == {"fixed", "rotating"}
    step = next(row for row in found if row["key"] == "guided_step rotating")
    assert step["agreement"]["limit"] == 0
    assert step["latency"]["runs"] == 2
    have = frozenset(row["key"] for row in found)
    assert rows_of(kernel_steps.measure_kernels(DRY, have)) == []


def test_the_way_to_a_gpu_is_the_products_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    engine = Engine(load_emulator(), "random", 3)  # a GPU that does not exist, and tells of work in the wrong order
    runtime = Runtime(LazyCupy(engine), 0, (9, 0), empty_binaries(tmp_path))
    for module in (device_call, cuda):
        monkeypatch.setattr(module, "find_runtime", lambda ordinal=0: runtime)
    monkeypatch.setattr(kernel_steps, "find_device", lambda name: CudaDevice())
    monkeypatch.setattr(kernel_steps, "_L2", 1)
    monkeypatch.setattr(sizes.Sizes, "ceilings", lambda self: Ceilings(1e12, 1e10, "float32", "of a test"))
    few = [case for case in kernel_steps.list_cases((64, 32), 3, 4) if case.name in ("normal_noise", "guided_step")]
    monkeypatch.setattr(kernel_steps, "list_cases", lambda *_: few)
    found = rows_of(kernel_steps.measure_kernels(replace(DRY, dry=False, nodes=2, replays=2), NONE))
    assert [row["key"] for row in found] == [
        f"{case.name} {inputs}" for case in few for inputs in ("fixed", "rotating")
    ]
    assert all(row["device"] == "cuda:0" and row["agreement"]["value"] == 0 for row in found)
    assert engine.faults == []


def test_a_wrong_kernel_gives_a_fault_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernel_steps.call_kernel

    def wrong(case: Any, *given: Any) -> Any:
        result = right(case, *given)
        return result + np.float32(1e-3) if case.name == "shift" else result

    cases = [case for case in kernel_steps.list_cases(DRY.size, 4, 4) if case.name in ("shift", "mix")]
    monkeypatch.setattr(kernel_steps, "list_cases", lambda *_: cases)
    monkeypatch.setattr(kernel_steps, "call_kernel", wrong)
    found = rows_of(kernel_steps.measure_kernels(replace(DRY, nodes=2, replays=2), NONE))
    assert [(row["key"], "latency" in row) for row in found] == [
        ("shift fixed", False), ("mix fixed", True), ("mix rotating", True),
    ]  # fmt: skip
    assert "a time of a wrong answer means nothing" in found[0]["fault"]


class CountingDevice(HostDevice):
    """The host, with a clock that advances by what calls say."""

    now = 0.0

    def make_stream(self) -> Any:
        return SimpleNamespace(handle=0, record=self._mark, synchronize=lambda: None)

    def _mark(self) -> Any:
        moment = self.now
        return SimpleNamespace(moment=moment, wait=lambda: None, seconds_since=lambda other: moment - other.moment)


def test_a_graph_is_timed_per_call_and_inputs_take_turns() -> None:
    device, seen = CountingDevice(), list[str]()

    def make(name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            seen.append(name)
            device.now += seconds

        return call

    found = timing.time_graph(device, device.make_stream(), [make("a", 1.0), make("b", 3.0)], 4, 5)
    assert found == [2.0] * 5  # (1 + 3 + 1 + 3) / 4
    assert seen[:4] == ["a", "b", "a", "b"]


def test_networks_are_compared_with_float32_before_they_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rows_of(measure_network(DRY, tmp_path, NONE, VAE_DECODER, (1,), compiled=False))
    assert [row["key"] for row in found] == [
        "vae_decoder torch eager batch 1", "vae_decoder torch eager in a CUDA graph batch 1",
    ]  # fmt: skip
    assert all(row["agreement"]["value"] < 1e-5 for row in found)
    assert found[0]["cost"]["flop"] > 1e6
    assert (tmp_path / "vae_decoder-1.npy").exists()
    np.save(tmp_path / "vae_decoder-1.npy", 1.3 * np.load(tmp_path / "vae_decoder-1.npy"))
    with pytest.raises(BackendError, match=r"relative rms error is 0\.231, expected at most 0\.05"):
        rows_of(measure_network(DRY, tmp_path, NONE, VAE_DECODER, (1,), compiled=False))


def made_bundle(folder: Path) -> None:
    """A bundle of the sizes of a dry run whose networks are a few operators each."""
    constants = DRY.networks().constants()
    contract, rng = contract_of(constants), np.random.default_rng(0)
    node = helper.make_node
    c, d, window, tokens = constants.latent_channels, constants.context, constants.window, constants.image_tokens
    px, wide, heads, head = constants.cell_px, window * tokens, constants.heads, constants.head_width

    def weights(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.5).astype(np.float32)

    nets: dict[str, tuple[list[Any], dict[str, np.ndarray]]] = {
        UNET: (
            [
                node("Slice", ["x", "zero", "some", "axis"], ["noisy"]),
                node("Mul", ["noisy", "half"], ["v"]),
            ],
            {
                "zero": np.array([0]), "some": np.array([c]), "axis": np.array([1]), "half": np.float32([0.5]),
            },
        ),
        TIME: (
            [node("Unsqueeze", ["t", "last"], ["column"]), node("Mul", ["column", "row"], ["shifts"])],
            {"last": np.array([1]), "row": weights(constants.shifts)},
        ),
        CONTEXT: (
            [
                node("MatMul", ["text", "a"], ["texts"]),
                node("Reshape", ["texts", "text_shape"], ["text_heads"]),
                node("Transpose", ["text_heads"], ["text_kv"], perm=[0, 2, 1, 3]),
                node("MatMul", ["image", "a"], ["images"]),
                node("Reshape", ["images", "image_shape"], ["image_heads"]),
                node("Transpose", ["image_heads"], ["image_kv"], perm=[0, 1, 3, 2, 4]),
            ],
            {
                "a": weights(d, heads * head), "text_shape": np.array([0, 0, heads, head]),
                "image_shape": np.array([0, 0, 0, heads, head]),
            },
        ),
        VAE_ENCODER: (
            [node("Conv", ["picture", "k"], ["moments"], strides=[px, px])],
            {"k": weights(2 * c, 3, px, px)},
        ),
        VAE_DECODER: (
            [node("ConvTranspose", ["z", "k"], ["picture"], strides=[px, px])],
            {"k": weights(c, 3, px, px)},
        ),
        IMAGE_TOWER: (
            [
                node("ReduceMean", ["pixels", "sides"], ["means"], keepdims=0),
                node("MatMul", ["means", "a"], ["flat"]),
                node("Reshape", ["flat", "shape"], ["tokens"]),
                node("MatMul", ["means", "b"], ["embedding"]),
            ],
            {
                "sides": np.array([2, 3]), "a": weights(3, wide * d), "b": weights(3, constants.embedding),
                "shape": np.array([-1, wide, d]),
            },
        ),
        TEXT_TOWER: (
            [
                node("Cast", ["tokens"], ["numbers"], to=1),
                node("Unsqueeze", ["numbers", "last"], ["column"]),
                node("Mul", ["column", "row"], ["text"]),
            ],
            {"last": np.array([2]), "row": weights(d) * np.float32(1e-5)},
        ),
    }  # fmt: skip
    folder.mkdir(parents=True)
    paths = {
        name: save_net(folder / f"{name}.onnx", nodes, *contract[name], values)
        for name, (nodes, values) in nets.items()
    }
    write_manifest(folder, name="made", revision="1", licence="CC0-1.0", constants=constants, nets=paths)


def test_a_segment_is_painted_by_the_products_loop_and_compared_with_the_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_bundle(tmp_path / bundle_steps.FOLDER)
    assert bundle_steps.has_bundle(tmp_path)
    (row,) = segment_steps.measure_segment(DRY, tmp_path, NONE, "onnxruntime", 2, 7.5)
    assert (row["key"], row["runs_of_unet"], row["frames"]) == ("segment 2x2 onnxruntime", 4, DRY.frames)
    stages = row["breakdown"]["stages"]
    assert {"conditions", "encode", "denoise", "decode"} <= set(stages)
    networks = sum(stages[name] for name in segment_steps.NETWORKS)
    assert row["overhead"] == pytest.approx(1 - networks / row["breakdown"]["whole_s"], abs=2e-3)
    assert list(segment_steps.measure_segment(DRY, tmp_path, frozenset([row["key"]]), "onnxruntime", 2, 7.5)) == []
    right, painted = segment_steps.paint, list[int]()

    def paint(*given: Any) -> Any:
        painted.append(1)
        return [frame ^ np.uint8(64 if len(painted) == 1 else 0) for frame in right(*given)]

    monkeypatch.setattr(segment_steps, "paint", paint)
    monkeypatch.setattr(segment_steps, "warm_up", lambda *_: pytest.fail("timed"))
    with pytest.raises(BackendError, match=r"rms difference of frames.*the processor's loop is"):
        list(segment_steps.measure_segment(DRY, tmp_path, NONE, "onnxruntime", 1, 1.0))


def test_a_backend_is_timed_where_its_network_gives_what_torch_does(tmp_path: Path) -> None:
    made_bundle(tmp_path / bundle_steps.FOLDER)
    given = sizes.make_inputs(DRY, UNET, 1)
    right = 0.5 * given["x"].numpy()[:, :4]
    np.save(tmp_path / "unet-1.npy", right)
    ceilings, row = backend_steps.measure_backend(DRY, tmp_path, NONE, "onnxruntime", UNET, (1,))
    assert ceilings["ceilings"]["flop_per_s"] > 0
    assert (row["key"], row["captured"]) == ("unet onnxruntime batch 1", False)
    assert row["agreement"]["value"] == 0
    assert row["backend"].startswith("onnxruntime 1.")
    np.save(tmp_path / "unet-1.npy", 1.1 * right)
    with pytest.raises(
        BackendError, match=r"unet on onnxruntime: relative rms error is 0\.0909, expected at most 0\.05"
    ):
        list(backend_steps.measure_backend(DRY, tmp_path, NONE, "onnxruntime", UNET, (1,)))


# ---------------------------------------------------------------- the command and its table


def test_the_dry_run_of_the_command_writes_valid_records(tmp_path: Path) -> None:
    words = ["gpu", "-o", str(tmp_path), "--dry-run", "--only", "vae-eager", "--only", "unet-torch"]
    said = CliRunner().invoke(bench, words, catch_exceptions=False)
    assert said.exit_code == 0, said.output
    assert said.output.splitlines()[1] == "unet-torch: not run: the slice `bundle` has not been run"
    record = load_record(tmp_path / "gpu_vae.json", "gpu")
    check_record(record)
    assert "vae-eager" in record["done"], record["faults"]
    assert {row["batch"] for row in record["rows"]} == {DRY.frames, 4, 1}
    assert next(iter(record["runs"].values()))["ceilings"]["flop_per_s"] > 0
    listed = CliRunner().invoke(bench, ["gpu", "-o", str(tmp_path), "--dry-run", "--list"]).output
    assert "vae-eager                    done" in listed
    with pytest.raises(ConfigError, match="holds a dry run, which is no result"):
        list(table_lines(tmp_path))
    wrong = CliRunner().invoke(bench, ["gpu", "-o", str(tmp_path), "--only", "all"])
    assert "slice 'all': expected some of kernels" in wrong.output


def test_the_script_runs_from_a_checkout_without_video_libraries(tmp_path: Path) -> None:
    for name in ("av", "imageio_ffmpeg", "hdbscan"):  # a bare machine with a GPU has none of them
        (tmp_path / f"{name}.py").write_text("raise ImportError('not on this machine')")
    modules = [f"tgvc_bench.gpu.{path.stem}" for path in sorted(Path(run.__file__).parent.glob("[a-z]*.py"))]
    paths = [str(tmp_path), *(str(ROOT / name) for name in ("engine", "kernels", "bench", "export"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHON": sys.executable}
    code = f"import importlib; [importlib.import_module(name) for name in {modules}]"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    script = [str(ROOT / "bench" / "gpu" / "run.sh"), str(tmp_path / "out"), "--dry-run", "--only", "nothing"]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert "error: slice 'nothing': expected some of kernels, unet-eager" in done.stderr
    assert done.returncode == 1


def test_goals_are_judged_and_what_was_not_run_is_marked(tmp_path: Path) -> None:
    assert all(f"| {NOT_RUN} |" in line for line in list(table_lines(tmp_path))[2:])
    record = start_record("gpu")
    machine = {"processor": "p", "cores": 1, "python": "3", "system": "s", "load": 0.5, "gpus": ["H100"]}
    record["runs"]["r"] = {"command": "c", "machine": machine, "versions": {"tgvc": "1", "numpy": "2"}}
    base = {"run": "r", "scenario": "single stream", "device": "cuda", "precision": "float16", "name": "UNet forward"}
    base |= {"agreement": {"rule": "e", "value": 0.0, "limit": 1}, "warm_up": {"runs": 3, "settled": True}}
    for way, batch, seconds in (("torch eager", 1, 0.1), ("torch.compile in a CUDA graph", 1, 0.028), ("trt", 2, 0.07)):
        latency = dict.fromkeys(("min_s", "p50_s", "p90_s", "p99_s", "mean_s"), seconds) | {"runs": 30}
        record["rows"].append(base | {"backend": f"{way}, torch 2", "batch": batch, "latency": latency})
    save_record(tmp_path / "gpu_unet.json", record)
    faulty = start_record("gpu") | {"faults": {"nano-tensorrt-rtx": "BackendError: no kernel for sm_90 | 9.0"}}
    save_record(tmp_path / "gpu_nano.json", faulty)
    lines = {line.split(" | ")[0]: line for line in table_lines(tmp_path)}
    best = lines["| UNet forward, 16x40x64, batch 1, best"]
    assert best.endswith("| <= 30 ms | 28 ms | torch.compile in a CUDA graph, torch 2, float16, H100 | met |")
    assert "| 100 ms | torch eager, torch 2, float16, H100 |  |" in lines["| - UNet, torch eager"]
    assert lines["| UNet forward, batch 2, best"].endswith("| not met |")
    assert NOT_RUN in lines["| - UNet, torch eager in a CUDA graph"]
    rtx = lines["| TensorRT-RTX, one group of the nano bundle"]
    assert "| not run: BackendError: no kernel for sm_90 / 9.0 |" in rtx


def test_the_table_of_the_docs_is_that_of_the_committed_records(tmp_path: Path) -> None:
    page, copy = ROOT / "docs" / "bench.md", tmp_path / "bench.md"
    copy.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    write_table(ROOT / "bench" / "results", copy)
    assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), (
        "run tgvc bench gpu --table docs/bench.md"
    )
    text = page.read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)
    assert text.count("\n| ") >= len(GOALS)
    copy.write_text("no marks")
    with pytest.raises(ConfigError, match="expected the marks"):
        write_table(tmp_path, copy)


def test_sizes_of_a_full_run_are_the_published_ones() -> None:
    assert FULL.segment_size == (512, 320)
    assert FULL.networks() == type(FULL.networks())()
    assert sizes.make_inputs(DRY, UNET, 2)["x"].shape == (2, 8, DRY.frames, *DRY.cells)
