"""The tracker's two networks as files: checked against torch, run by ONNX Runtime, built by TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'tgvc[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")

from golden import FOLDER, golden_files, make_weights, read_arrays, read_meta  # noqa: E402
from golden_cotracker import TorchCalls, build_tracker, run_predictor  # noqa: E402
from tgvc.analysis.cotracker import NetworkTracker  # noqa: E402
from tgvc.backends.base import load_backend  # noqa: E402
from tgvc.backends.places import full_shape  # noqa: E402
from tgvc.models.bundle import ModelBundle, load_bundle  # noqa: E402
from tgvc.models.tracker import TrackerNetworks  # noqa: E402
from tgvc_bench.full_tracker import compare_runtimes, measure_grid  # noqa: E402
from tgvc_export.cotracker.export import TOLERANCES, export_tracker, tracker_tensors  # noqa: E402
from tgvc_export.cotracker.tracker import CoTracker3  # noqa: E402
from tgvc_export.graph_rules import ExportError  # noqa: E402
from tgvc_export.trt import build_engine  # noqa: E402
from tgvc_kernels.device.driver import missing_gpu  # noqa: E402
from tracker_samples import HEIGHT, WIDTH, make_pictures, make_tracker  # noqa: E402

PREDICTORS = [path for path in golden_files() if read_meta(path)["kind"] == "cotracker_predictor"]


@pytest.fixture(scope="module")
def tracker() -> CoTracker3:
    return make_tracker()


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def bundle(
    request: pytest.FixtureRequest, tracker: CoTracker3, tmp_path_factory: pytest.TempPathFactory
) -> ModelBundle:
    folder = tmp_path_factory.mktemp(request.param)
    return export_tracker(tracker, folder, name="small", revision="1", precision=request.param)


def is_wide(bundle: ModelBundle) -> bool:
    return bundle.nets["update"].precision == "float32"


def test_a_bundle_says_what_it_is_and_how_far_it_is_from_torch(bundle: ModelBundle, tracker: CoTracker3) -> None:
    assert bundle.kind == "tracker"
    assert bundle.licence == "CC-BY-NC-4.0"
    assert load_bundle(bundle.folder).constants == bundle.constants
    limit = TOLERANCES["fp32" if is_wide(bundle) else "fp16"]
    for net, record in bundle.nets.items():
        assert 0 < record.error["relative_rms"] < limit
        assert (record.inputs, record.outputs) == tracker_tensors(tracker)[net]
    shapes = {spec.name: spec.shape for spec in bundle.nets["update"].inputs}
    assert shapes["level1"] == ("T", 16, HEIGHT // 8, WIDTH // 8)
    assert shapes["coords"] == ("T", "K", 2)


def test_graphs_find_cells_by_positions_in_float32_whatever_else_is_in_halves(bundle: ModelBundle) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(bundle.nets["update"].path))
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.input)}
    floors = [node for node in model.graph.node if node.op_type == "Floor"]
    assert len(floors) == 4  # levels
    makers = {name: node for node in model.graph.node for name in node.output}
    for name in (node.input[0] for node in floors):
        while name in makers:  # back to the positions themselves, through nothing but scaling and turning
            assert makers[name].op_type in ("Div", "Transpose")
            assert kinds[name] == onnx.TensorProto.FLOAT
            name = makers[name].input[0]
        assert name == "coords"
    assert not any(node.op_type == "GridSample" for node in model.graph.node)
    halves = sum(w.data_type == onnx.TensorProto.FLOAT16 for w in model.graph.initializer)
    assert (halves == 0) == is_wide(bundle)


def test_segments_are_tracked_by_the_files_as_by_torch(bundle: ModelBundle, tracker: CoTracker3) -> None:
    pictures = make_pictures(19, 160, 96)
    nets = TrackerNetworks(bundle, load_backend("onnxruntime", threads=1))
    got = NetworkTracker(nets, grid=3).track_segment(pictures)
    want = NetworkTracker(TorchCalls(tracker), grid=3).track_segment(pictures)
    # px, six iterations in two windows. fp32: sums in another order. Halves: displacements of up to a cell of 4 px
    # in each iteration, rounded to 11 bits a few dozen times on their way
    np.testing.assert_allclose(got.xy, want.xy, atol=1e-3 if is_wide(bundle) else 0.1)
    if is_wide(bundle):
        assert np.array_equal(got.visible, want.visible)


@pytest.mark.skipif(missing_gpu() == "", reason="this machine has a GPU, and this test is of the CPU")
def test_the_backend_torch_runs_the_same_files(bundle: ModelBundle) -> None:
    rng, lengths = np.random.default_rng(2), {"N": 2, "T": 4, "K": 5, "h": HEIGHT // 4, "w": WIDTH // 4}
    lengths |= {f"{s}{n}": lengths[s] >> n for s in "hw" for n in range(bundle.constants.levels)}
    for record in bundle.nets.values():
        given = {s.name: rng.random(full_shape(s, lengths), np.float32).astype(s.dtype) for s in record.inputs}
        want, got = (load_backend(name, threads=1).load(record).run(**given) for name in ("onnxruntime", "torch"))
        for name, value in want.items():
            # sums in another order; halves rounded a few dozen times on the way
            np.testing.assert_allclose(got[name], value, atol=(1e-5 if is_wide(bundle) else 1e-2) * np.abs(value).max())


def test_tensorrt_rtx_builds_both_networks_for_all_gpus(bundle: ModelBundle) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install 'tgvc[tensorrt-rtx]'")
    for record in bundle.nets.values():
        assert len(build_engine(record, lengths={"N": (1, 4, 8), "T": (2, 16, 60), "K": (1, 64, 4096)})) > 10_000


def test_runtimes_are_timed_by_turns_and_a_grid_with_its_memory(bundle: ModelBundle, tracker: CoTracker3) -> None:
    found = compare_runtimes(bundle.folder, 2, 5, tracker)
    assert set(found) == {"features", "update"}
    for each in found.values():
        times = [each[name]["wall_s"]["min"] for name in ("torch", "onnxruntime")]
        assert each["ratio"] == pytest.approx(times[0] / times[1], rel=0.01)  # times are kept to four digits
        assert each["torch"]["runs"] == each["onnxruntime"]["runs"] == 2
    grid = measure_grid(bundle.folder, 9)
    assert grid["points"] == 9
    assert min(grid["wall_s"], grid["peak_bytes"]) > 0


def test_a_table_of_times_that_the_runtime_does_not_make_is_refused(tmp_path: Path) -> None:
    tracker = make_tracker()
    tracker.time_emb += 0.01
    with pytest.raises(ExportError, match=r"time_emb: 0\.01 from the sines"):
        export_tracker(tracker, tmp_path / "bundle", name="small", revision="1")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
@pytest.mark.skipif(not PREDICTORS, reason=f"no reference tensors of the predictor in {FOLDER}: set TGVC_GOLDEN")
@pytest.mark.parametrize("path", PREDICTORS, ids=lambda path: path.stem)
def test_reference_tensors_of_the_predictor_are_met_by_the_files_too(path: Path, tmp_path: Path) -> None:
    meta = read_meta(path)
    weights = make_weights(meta)
    tracker = build_tracker(meta, weights)
    assert isinstance(tracker, CoTracker3)
    bundle = export_tracker(tracker, tmp_path, name="full", revision="1")
    nets = TrackerNetworks(bundle, load_backend("onnxruntime", threads=1))
    assert bundle.constants.iterations == meta["config"]["iters"]
    for name, found in run_predictor(meta, read_arrays(path), weights, lambda _, **__: nets).items():
        assert found.good, f"{name}: {found}"
