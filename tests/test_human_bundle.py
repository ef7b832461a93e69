"""MTTF's networks as a bundle: what the files give, what they cost, that they build for a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from human_samples import SMALL_MTTF
from tgvc.analysis.cells import measure_cells
from tgvc.backends.base import load_backend
from tgvc.models.bundle import ModelBundle
from tgvc.models.contract import FRAME, KEY, PREDICTOR
from tgvc.models.human import HumanNetworks
from tgvc.models.nets import pack_planes, unpack_planes
from tgvc.types import join_planes, picture_planes
from tgvc_bench.protocol.ceilings import Ceilings
from tgvc_bench.timed.bundle_cost import describe_bundle, format_costs
from video_samples import smooth_picture

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")

from cost_samples import count_networks  # noqa: E402
from tgvc_export.mttf.export import export_human, make_networks  # noqa: E402
from tgvc_export.mttf.networks import FrameNetwork, KeyNetwork, MeasuredNetwork, Mttf  # noqa: E402

pytestmark = pytest.mark.slow  # what is exported here is traced with free sizes


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def mttf() -> Mttf:
    torch.manual_seed(0)
    made = Mttf(SMALL_MTTF).eval()
    with torch.no_grad():
        for part in (made.motion.flows, made.generator.last[0], made.generator.background.last):
            part.weight.normal_(0, 0.02)
    return made


@pytest.fixture(scope="module")
def bundle(mttf: Mttf, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    pictures = [
        (torch.rand(n, 6, *size) * 2 - 1, torch.rand(m, 6, *size) * 2 - 1)
        for n, m, size in ((3, 2, (40, 56)), (2, 3, (32, 32)))
    ]
    return export_human(mttf, tmp_path_factory.mktemp("human") / "bundle", pictures, name="small", revision="1")


def test_a_bundle_gives_what_torch_gives(mttf: Mttf, bundle: ModelBundle) -> None:
    assert all(record.error["runtime_relative_rms"] < 1e-4 for record in bundle.nets.values())
    nets = HumanNetworks(bundle, load_backend("onnxruntime", threads=1), 6)
    key = smooth_picture(0, 80, 48)
    frame = np.roll(key.reshape(-1, 80), 3, axis=1).reshape(key.shape)
    states = nets.states(key, [key, frame], measure_cells)
    assert np.abs(states[0]).max() < 0.1 * np.abs(states[1]).max()  # flow of a picture to itself is not quite zero
    (painted,) = nets.paint(nets.know(key), states[0], states[1:])
    planes = torch.from_numpy(pack_planes([key]))
    with torch.no_grad():
        motion = measure_cells(*(np.ascontiguousarray(picture_planes(p)[0]) for p in (key, frame)), 4)
        features, state = MeasuredNetwork(mttf)(planes, *(torch.from_numpy(m[None]) for m in motion))
        assert np.allclose(state.numpy(), states[1:], atol=1e-3 * float(state.abs().max()))
        given = [torch.from_numpy(s[None]) for s in states]
        wanted = FrameNetwork(mttf)(planes, features, *given, *KeyNetwork(mttf)(planes))
    (same,) = unpack_planes(wanted.numpy())
    assert np.abs(painted.astype(int) - same).max() <= 1  # weights are stored in halves


def test_a_bundle_costs_what_torch_counts_at_any_size(mttf: Mttf, bundle: ModelBundle) -> None:
    block = bundle.constants.cell_px * bundle.constants.divisor  # type: ignore[union-attr]
    ceilings = Ceilings(1e11, 1e10, "float32", "of a test")
    for width, height in ((256, 256), (512, 320), (244, 145)):
        found = describe_bundle(str(bundle.folder), (width, height), 50, 1, ceilings)
        cells = {"h": -(-height // block), "w": -(-width // block)}  # pictures are continued to whole blocks
        assert found["lengths"] == {"N": 1, "T": 50, **cells}
        flop = count_networks(bundle.constants, make_networks(mttf), N=1, **cells)
        assert {name: cost["flop"] for name, cost in found["networks"].items()} == flop
        segment = found["segment"]
        assert segment["runs"] == {PREDICTOR: 1, KEY: 1, FRAME: 50}
        assert segment["flop"] == flop[PREDICTOR] + flop[KEY] + 50 * flop[FRAME]
        assert f"50 x {FRAME}" in format_costs(found)


def test_a_bundle_builds_for_a_gpu(bundle: ModelBundle) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install 'tgvc[tensorrt-rtx]'")
    from tgvc_export.trt import build_engine

    lengths = {"N": (1, 1, 4), "h": (4, 8, 16), "w": (4, 8, 16)}
    for record in bundle.nets.values():
        assert len(build_engine(record, ["SM89"], lengths)) > 10_000


def test_planes_are_joined_as_the_codec_has_them() -> None:
    picture = smooth_picture(0, 32, 32)
    (back,) = unpack_planes(pack_planes([picture]))
    assert np.array_equal(back, join_planes(*picture_planes(picture)))
