"""MTTF as published, at a narrow width: exported for each of its sizes of pictures, checked, built, run on pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tgvc.backends.base import load_backend
from tgvc.models.bundle import ModelBundle, load_bundle
from tgvc.models.constants import HumanConstants
from tgvc.models.contract import FRAME, KEY, PREDICTOR
from tgvc.models.human import HumanNetworks
from tgvc.models.rgb import from_rgb, to_rgb

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")

from tgvc_bench.full_human import (  # noqa: E402
    FORMAT,
    compare_runtimes,
    draw_pictures,
    make_random,
    measure_engines,
    measure_export,
)
from tgvc_export.bundle import round_weights  # noqa: E402
from tgvc_export.mttf.config import MttfConfig  # noqa: E402
from tgvc_export.mttf.export import make_networks  # noqa: E402

RECORD = Path(__file__).parents[1] / "bench" / "results" / "export_human.json"
MATRIX = 6
NARROW = MttfConfig(
    feature_size=16,
    channels=3,
    foreground=4,
    levels=1,
    predictor_width=4,
    predictor_most=8,
    motion_width=8,
    motion_most=16,
    head_width=4,
    width=4,
    width_most=16,
    blocks=1,
    background_width=4,
)


class Made(NamedTuple):
    path: int
    bundle: ModelBundle
    found: dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)  # what is measured sets it to one


# tracing the network of frames with free sizes takes ten seconds for each
@pytest.fixture(scope="module", params=[pytest.param(path, marks=pytest.mark.slow) for path in (1, 0, 2)])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("narrow")
    found = measure_export(folder, NARROW, request.param)
    return Made(request.param, load_bundle(folder), found)


def check_networks(networks: dict[str, Any], least: float) -> None:
    """Errors are those of sums in another order; each input changes ``least`` of a picture, and far more than they."""
    assert list(networks) == [PREDICTOR, KEY, FRAME]
    inputs = ["picture", "features", "source", "driving", "skip0", "skip1", "skip2", "skip3"]
    for net, found in networks.items():
        assert list(found["changes"]) == (inputs if net == FRAME else ["picture"])
        assert 0 < found["error"]["runtime_relative_rms"] < 2e-5
        assert found["error"]["runtime_relative_rms"] < 1e-3 * least < 1e-3 * min(found["changes"].values())
        assert found["error"]["storage_relative_rms"] < 1e-2
        assert min(found["deviation"]) > 0.02


def test_every_size_of_pictures_is_exported_and_paints_what_torch_paints(made: Made) -> None:
    constants = made.bundle.constants
    assert isinstance(constants, HumanConstants)
    assert (constants.planes, constants.measured, NARROW.exact) == (False, False, False)
    assert (constants.path, constants.cell_px) == (made.path, 8 >> made.path)
    assert made.found["size"] == [constants.size] * 2 == [128 >> made.path] * 2
    for net, found in made.found["networks"].items():
        assert found["file_bytes"] == (made.bundle.folder / f"{net}.onnx").stat().st_size
    check_networks(made.found["networks"], least=0.01)


def test_tensorrt_builds_every_size_of_pictures(made: Made) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install 'tgvc[tensorrt-rtx]'")
    found = measure_engines(made.bundle.folder, ["SM89"])
    assert found["targets"] == ["SM89"]
    assert list(found["networks"]) == [PREDICTOR, KEY, FRAME]
    assert min(engine["bytes"] for engine in found["networks"].values()) > 10_000


def test_pictures_that_are_no_whole_blocks_are_painted_as_torch_paints_them(made: Made) -> None:
    width, height, unit = 70, 42, made.found["block_px"]
    room = ((0, 0), (0, 0), (0, -height % unit), (0, -width % unit))
    assert room[2][1] * room[3][1]
    pictures = from_rgb(draw_pictures(3, height, width, 7).numpy() * 2 - 1, MATRIX)

    def measure(*_: object) -> Any:
        raise AssertionError("every picture has a state of its own")

    nets = HumanNetworks(made.bundle, load_backend("onnxruntime", threads=1), MATRIX)
    states, known = nets.states(pictures[0], pictures, measure), nets.know(pictures[0])
    driving = np.concatenate([states[:1], states[:1] + np.float32(0.1)])
    still, moved = nets.paint(known, states[0], driving)
    (other,) = nets.paint(nets.know(pictures[1]), states[0], states[:1])
    assert still.shape == pictures[0].shape
    for shown in (moved, other):  # by the state alone, and by the key picture alone
        assert np.abs(np.subtract(shown, still, dtype=int)).mean() > 1

    rgb = torch.from_numpy(np.pad((to_rgb(pictures, MATRIX) + 1) / 2, room, mode="edge"))
    networks = make_networks(make_random(NARROW, made.path), made.path)
    predictor, key, frame = (round_weights(part) for part in networks.values())
    with torch.no_grad():
        features, wanted = predictor(rgb)
        painted = frame(rgb[:1], features[:1], wanted[:1], torch.from_numpy(driving), *key(rgb[:1]))
    assert np.abs(states[1:] - states[0]).max() > 1e-3
    assert np.allclose(states, wanted.numpy(), atol=1e-5)
    cut = painted[:, :, :height, :width].numpy()
    for got, want in zip([still, moved], from_rgb(cut * 2 - 1, MATRIX), strict=True):
        assert np.abs(np.subtract(got, want, dtype=int)).max() <= 1


def test_both_runtimes_are_timed_on_the_same_networks(made: Made) -> None:
    found = compare_runtimes(made.bundle.folder, 1, NARROW, made.path)
    assert list(found) == [PREDICTOR, KEY, FRAME]
    assert all(times["ratio"] > 0 and times["torch"]["runs"] == 1 for times in found.values())


@pytest.mark.skipif(not RECORD.exists(), reason=f"{RECORD.name} is not there")
def test_the_record_at_the_published_width_is_whole_and_its_errors_are_small() -> None:
    record = json.loads(RECORD.read_text())
    assert record["format"] == FORMAT
    assert record["size"] == [256, 256]
    values = {name: round(number / 1e6, 1) for name, number in record["values"].items()}
    assert values == {"predictor": 14.3, "hourglasses": 113.9, "rest": 32.0, "rest_of_all_sizes": 33.3}
    check_networks(record["networks"], least=0.02)
    size = sum(found["file_bytes"] for found in record["networks"].values())
    held = sum(record["values"][name] for name in ("predictor", "hourglasses", "rest"))
    assert 2 * held < size < 2.01 * held  # two bytes each, and the graphs
    for net, engine in record["engines"]["networks"].items():
        assert engine["bytes"] > record["networks"][net]["file_bytes"]
    assert set(record["engines"]["targets"]) == {"SM80", "SM86", "SM89", "SM120"}
    assert set(record["runtimes"]) == {PREDICTOR, KEY, FRAME}
