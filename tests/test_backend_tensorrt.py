"""TensorRT: what it is asked, in which order, on which stream and memory; engines that are kept, and refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from fake_driver import FakeDriver, GpuArray, fake_gpu
from fake_tensorrt import fake_module
from network_samples import save_net, tensor
from tgvc.backends.base import DeviceNet
from tgvc.backends.engines.signing import SigningKey
from tgvc.backends.engines.store import EngineStore
from tgvc.backends.spec import DataFile, NetRecord
from tgvc.backends.trt import backend as trt
from tgvc.backends.trt.build import build_plan, parse_network, static_profile
from tgvc.backends.trt.library import Library, find_library
from tgvc.errors import BackendError, BackendUnavailableError, BundleError
from tgvc.models.bundle import EMBEDDED, hash_file, load_bundle

SPECS = ((tensor("a", "N", 4), tensor("b", "N", 4)), (tensor("y", "N", 4),))


@pytest.fixture
def record(tmp_path: Path) -> NetRecord:
    """y = a + 2 b."""
    nodes = [helper.make_node("Mul", ["b", "two"], ["c"]), helper.make_node("Add", ["a", "c"], ["y"])]
    path = save_net(tmp_path / "net.onnx", nodes, *SPECS, {"two": np.array(2, np.float32)})
    return NetRecord("net", path, path.stat().st_size, hash_file(path), *SPECS)


class Machine:
    """A machine with a fake GPU and a fake library; backends are made anew as in another process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, rtx: bool) -> None:
        self.module = fake_module("1.7.1.116" if rtx else "11.4.0.106", rtx=rtx)
        self.gpu, self.driver = fake_gpu()
        self.store = EngineStore(folder / "engines", SigningKey(folder / "key"))
        name = "tensorrt_rtx" if rtx else "tensorrt"
        monkeypatch.setattr(trt, "find_library", lambda asked: Library(self.module, name, self.module.__version__))
        monkeypatch.setattr(trt, "find_gpu", lambda ordinal: self.gpu)
        self.events: list[Any] = self.module.events

    def load(self, record: NetRecord) -> DeviceNet:
        return trt.TrtBackend("tensorrt", store=self.store).load(record)

    def count(self, kind: str) -> int:
        return sum(event[0] == kind for event in self.events)


@pytest.fixture(params=[False, True], ids=["tensorrt", "tensorrt_rtx"])
def machine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch, rtx=request.param)


def arrays(rows: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(rows, 4)).astype(np.float32) for name in "ab"}


def test_an_engine_is_built_once_for_every_set_of_shapes_and_found_again(machine: Machine, record: NetRecord) -> None:
    net = machine.load(record)
    for rows in (3, 3, 1, 3):
        given = arrays(rows)
        np.testing.assert_array_equal(net.run(**given)["y"], given["a"] + 2 * given["b"])
    assert machine.count("build") == machine.count("load") == 2
    given = arrays(1)
    np.testing.assert_array_equal(machine.load(record).run(**given)["y"], given["a"] + 2 * given["b"])
    assert machine.count("build") == 2
    assert machine.driver.depth == 0


def test_a_build_is_told_with_its_progress(
    machine: Machine, record: NetRecord, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    backend = trt.TrtBackend(store=machine.store, on_progress=lambda *step: told.append(step))
    with caplog.at_level(logging.WARNING, "tgvc.backends"):
        backend.load(record).run(**arrays())
    assert "building the engine of net for a 3x4, b 3x4 on Fake GPU, once" in caplog.text
    assert told == [("Building engine", 0, 2), ("Building engine", 1, 2), ("Building engine", 2, 2)]
    assert ("clear", "TF32") in machine.events
    assert backend.version == f"{backend._library.name} {machine.module.__version__}"
    assert backend.providers[0].endswith("on Fake GPU, sm_90")


def launch(net: DeviceNet, given: dict[str, np.ndarray], into: np.ndarray, stream: int) -> None:
    net.launch({name: GpuArray(array) for name, array in given.items()}, {"y": GpuArray(into)}, stream)


def test_a_launch_queues_on_the_stream_and_does_nothing_else(machine: Machine, record: NetRecord) -> None:
    net, given, into = machine.load(record), arrays(), np.zeros((3, 4), np.float32)
    assert isinstance(net, DeviceNet)
    assert net.capturable
    launch(net, given, into, 55)
    np.testing.assert_array_equal(into, given["a"] + 2 * given["b"])
    machine.events.clear()
    machine.driver.calls.clear()
    given["a"] += 1
    launch(net, given, into, 55)
    np.testing.assert_array_equal(into, given["a"] + 2 * given["b"])
    assert machine.events == [("execute", 55)]  # the same addresses: nothing is set again
    assert machine.driver.calls == []  # nothing copied, allocated or waited for
    other = np.zeros((3, 4), np.float32)
    launch(net, given, other, 55)
    assert machine.events[1:] == [("address", "y", other.ctypes.data), ("execute", 55)]


def test_engines_on_one_stream_share_scratch_memory_and_those_on_others_do_not(
    machine: Machine, record: NetRecord, tmp_path: Path
) -> None:
    backend = trt.TrtBackend(store=machine.store)
    one, two = backend.load(record), backend.load(replace(record, name="other"))
    into = np.zeros((3, 4), np.float32)
    for net, stream in ((one, 5), (two, 5), (one, 6), (one, 5)):
        launch(net, arrays(), into, stream)
    memory = [event[1] for event in machine.events if event[0] == "scratch"]
    assert len(memory) == 3
    assert memory[0] == memory[1] != memory[2]
    assert backend._scratch.size == 2 * 4096
    backend._scratch.close()
    assert backend._scratch.size == 0


def test_a_refusal_of_the_library_is_an_error_with_its_words(machine: Machine, record: NetRecord) -> None:
    net = machine.load(record)
    machine.module.fail.build = True
    with pytest.raises(BackendError, match="does not build net: no tactic"):
        net.run(**arrays())
    machine.module.fail.build, machine.module.fail.execute = False, True
    with pytest.raises(BackendError, match="net failed"):
        net.run(**arrays())
    machine.module.fail.execute, machine.module.fail.load = False, True
    with pytest.raises(BackendError, match="does not load its engine of net: bad magic"):
        machine.load(record).run(**arrays())


def test_inputs_that_cannot_change_are_sent_once(machine: Machine, record: NetRecord) -> None:
    net, given = machine.load(record), arrays()
    given["a"].flags.writeable = False
    for _ in range(3):
        np.testing.assert_array_equal(net.run(**given)["y"], given["a"] + 2 * given["b"])
        given["b"] += 1
    assert len(machine.driver.named("upload")) == 4
    other = arrays(3, seed=7)
    np.testing.assert_array_equal(net.run(**other)["y"], other["a"] + 2 * other["b"])


def test_what_was_measured_or_compiled_is_used_again(machine: Machine, record: NetRecord) -> None:
    machine.load(record).run(**arrays(3))
    machine.load(record).run(**arrays(1))
    machine.load(record).run(**arrays(1))
    if hasattr(machine.module, "IRuntimeCache"):
        assert [event[1] for event in machine.events if event[0] == "compiled"] == [b"!"]
    else:
        assert [event[1] for event in machine.events if event[0] == "timing"] == [b"", b"!"]


def test_what_is_compiled_for_an_engine_that_was_ready_before_is_kept_once(machine: Machine, record: NetRecord) -> None:
    net = machine.load(record)
    net.prepare({"a": (3, 4), "b": (3, 4)})  # type: ignore[attr-defined]
    for _ in range(2):
        net.run(**arrays(3))
        machine.store.write = None  # type: ignore[assignment, method-assign]  # nothing is kept again
    kept = [entry for entry in machine.store.entries() if entry.about["kind"] == trt.COMPILED]
    assert len(kept) == hasattr(machine.module, "IRuntimeCache")


@pytest.mark.parametrize("how", ["changed", "foreign", "unsigned", "renamed"])
def test_a_plan_that_was_not_made_here_is_refused_before_it_is_loaded(
    machine: Machine, record: NetRecord, how: str, tmp_path: Path
) -> None:
    machine.load(record).run(**arrays())
    entry = next(e for e in machine.store.entries() if e.about["kind"] == "plan")
    manifest = machine.store.folder / f"{entry.key}.json"
    (plan,) = (machine.store.folder / f"{entry.key}.d").iterdir()
    if how == "changed":
        plan.write_bytes(plan.read_bytes()[:-1] + b"?")
    elif how == "foreign":
        machine.store = EngineStore(machine.store.folder, SigningKey(tmp_path / "another key"))
    elif how == "unsigned":
        manifest.write_text(manifest.read_text().replace('"signature"', '"note"'))
    else:  # the signed entry of another network under this one's name
        other = {**entry.about, "net": "other"}
        machine.store.write(other, b"FAKEPLAN")
        key = next(e.key for e in machine.store.entries() if e.about["net"] == "other")
        manifest.write_bytes((machine.store.folder / f"{key}.json").read_bytes())
    machine.events.clear()
    with pytest.raises(BackendError, match=r"refused: .*tgvc engines clean") as caught:
        machine.load(record).run(**arrays())
    assert "\n" not in str(caught.value)
    assert machine.count("load") == 0


def test_an_engine_of_other_tensors_is_refused_with_what_removes_it(machine: Machine, record: NetRecord) -> None:
    specs = (SPECS[0][:1], SPECS[1])
    path = save_net(record.path.with_name("other.onnx"), [helper.make_node("Neg", ["a"], ["y"])], *specs)
    machine.load(NetRecord("other", path, path.stat().st_size, hash_file(path), *specs)).run(a=arrays()["a"])
    (plan,) = (machine.store.read(e.about) for e in machine.store.entries() if e.about["kind"] == "plan")
    machine.load(record).run(**arrays())
    (about,) = (e.about for e in machine.store.entries() if (e.about["kind"], e.about["net"]) == ("plan", "net"))
    machine.store.write(about, plan or b"")
    with pytest.raises(BackendError, match="the engine has a: `tgvc engines clean --net net` removes it"):
        machine.load(record).run(**arrays())


@pytest.mark.parametrize("change", ["network", "library", "driver", "gpu"])
def test_an_engine_of_anything_else_is_not_used(machine: Machine, record: NetRecord, change: str) -> None:
    machine.load(record).run(**arrays())
    if change == "network":
        record.path.write_bytes(record.path.read_bytes().replace(b"tiny", b"tinY"))
        record = replace(record, sha256=hash_file(record.path))
    elif change == "library":
        machine.module.__version__ = "11.5.0"
    elif change == "driver":
        machine.gpu.driver = "13.1"
    else:
        machine.gpu.name = "Other GPU"
    given = arrays()
    np.testing.assert_array_equal(machine.load(record).run(**given)["y"], given["a"] + 2 * given["b"])
    assert machine.count("build") == 2


def test_a_file_with_other_tensors_is_refused_when_it_is_loaded(machine: Machine, record: NetRecord) -> None:
    for inputs, outputs in (((SPECS[0][0],), SPECS[1]), (SPECS[0], (tensor("y", "N", 5),))):
        with pytest.raises(BundleError, match="the manifest says"):
            machine.load(replace(record, inputs=inputs, outputs=outputs))


def test_arrays_of_another_kind_are_refused(machine: Machine, record: NetRecord) -> None:
    net, given = machine.load(record), arrays()
    host = np.zeros((3, 4), np.float32)
    for wrong, told in (
        (host, "a is ndarray in host memory, expected an array on cuda:0"),
        (GpuArray(host.astype(np.float64)), "a is float64, expected float32"),
        (GpuArray(np.zeros((4, 3), np.float32).T), "a is not contiguous"),
        (GpuArray(np.zeros((3, 5), np.float32)), r"a: shape \(3, 5\), expected \(N, 4\)"),
    ):
        with pytest.raises(BackendError, match=told):
            net.launch({"a": wrong, "b": GpuArray(given["b"])}, {"y": GpuArray(host)}, 5)
    with pytest.raises(BackendError, match="y shares memory with a"):
        launch(net, {"a": host, "b": given["b"]}, host, 5)
    with pytest.raises(BackendError, match="stream='5'"):
        net.launch({name: GpuArray(a) for name, a in given.items()}, {"y": GpuArray(host)}, "5")  # type: ignore[arg-type]


def test_engines_that_only_plain_runs_used_give_way_and_launched_ones_stay(machine: Machine, record: NetRecord) -> None:
    net = machine.load(record)
    launch(net, arrays(3), np.zeros((3, 4), np.float32), 5)
    for rows in range(10, 20):
        net.run(**arrays(rows))
    builds, loads = machine.count("build"), machine.count("load")
    launch(net, arrays(3), np.zeros((3, 4), np.float32), 5)
    net.run(**arrays(19))
    assert machine.count("load") == loads
    net.run(**arrays(10))
    assert machine.count("load") == loads + 1
    assert machine.count("build") == builds


def test_a_plan_built_ahead_of_time_serves_the_architectures_it_was_built_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: NetRecord
) -> None:
    machine = Machine(tmp_path, monkeypatch, rtx=True)
    library = Library(machine.module, "tensorrt_rtx", machine.module.__version__)
    shapes = {"a": (3, 4), "b": (3, 4)}
    built = build_plan(library, record, static_profile(shapes), targets=("sm_80", "sm_89"))
    machine.store.write(trt.plan_about(library, record, shapes, ("sm_80", "sm_89")), built.plan)
    machine.events.clear()
    machine.gpu.capability = (8, 9)
    machine.load(record).run(**arrays())
    assert machine.count("build") == 0
    machine.gpu.capability = (12, 0)
    machine.load(record).run(**arrays())
    assert machine.count("build") == 1


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("10.12.0.36", "tensorrt 10.12.0.36, expected 10.13 to before 12.0"),
        ("12.0.0", "tensorrt 12.0.0, expected 10.13 to before 12.0"),
    ],
)
def test_another_version_is_refused(version: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> Any:
        if name == "tensorrt":
            return fake_module(version)
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("tgvc.backends.trt.library.import_module", find)
    with pytest.raises(BackendUnavailableError, match=told):
        find_library()


def test_whichever_library_is_installed_is_taken_and_one_that_only_runs_engines_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lean = fake_module("11.4.0")
    del lean.Builder
    modules = {"tensorrt": lean, "tensorrt_rtx": fake_module("1.7.1", rtx=True)}
    monkeypatch.setattr("tgvc.backends.trt.library.import_module", modules.__getitem__)
    assert find_library().label == "tensorrt_rtx 1.7.1"
    modules["tensorrt"] = fake_module("10.13.3")
    assert find_library().label == "tensorrt 10.13.3"
    assert find_library("tensorrt-rtx").label == "tensorrt_rtx 1.7.1"


def test_without_a_gpu_or_a_library_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise BackendUnavailableError(f"{name}: no such thing")

    monkeypatch.setattr(trt, "find_library", refuse)
    monkeypatch.setattr(trt, "find_gpu", lambda ordinal: refuse("gpu"))
    with pytest.raises(BackendUnavailableError, match=r"^tensorrt: gpu: no such thing; no such thing$"):
        trt.TrtBackend()


def test_the_stand_in_has_nothing_that_the_real_library_has_not() -> None:
    real: Any = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx: pip install 'tgvc[tensorrt-rtx]'")
    fake = fake_module(rtx=True)
    for name, stand_in in fake.classes.items():
        own = {part for part in vars(stand_in) if not part.startswith("_")}
        own -= {"compute", "shape_of", "strategy", "cache"}  # how the stand-in works
        assert own - set(dir(getattr(real, name))) == set(), name
    for name in (
        "NetworkDefinitionCreationFlag",
        "TensorIOMode",
        "ExecutionContextAllocationStrategy",
        "IRuntimeCache",
    ):
        assert hasattr(real, name)


@pytest.mark.parametrize("bundle", EMBEDDED)
def test_the_real_library_builds_the_embedded_networks_for_fixed_shapes_without_a_gpu(bundle: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx: pip install 'tgvc[tensorrt-rtx]'")
    from tgvc.backends.places import full_shape

    library = find_library("tensorrt-rtx")
    for record in load_bundle(bundle).nets.values():
        shapes = {s.name: full_shape(s, {"N": 1, "B": 1, "T": 8, "h": 8, "w": 8}) for s in record.inputs}
        built = build_plan(library, record, static_profile(shapes), targets=library.targets[1:3])
        assert len(built.plan) > record.size  # weights in float32 are among it
    with pytest.raises(BackendError, match=r"does not build for sm_90 ahead of time: it knows sm_75, sm_80.*with that"):
        build_plan(library, record, static_profile(shapes), targets=("sm_90",))


def outside(path: Path, location: str) -> NetRecord:
    """y = a + w, where w lies in another file."""
    specs = (SPECS[0][:1], SPECS[1])
    save_net(path, [helper.make_node("Add", ["a", "w"], ["y"])], *specs, {"w": np.ones(4, np.float32)})
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    return NetRecord("net", path, path.stat().st_size, hash_file(path), *specs)


def test_the_real_parser_takes_weights_of_the_record_and_no_others(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx: pip install 'tgvc[tensorrt-rtx]'")
    library, data = find_library("tensorrt-rtx"), tmp_path / "net.onnx.data"
    data.write_bytes(np.ones(4, np.float32).tobytes())
    inside = replace(
        outside(tmp_path / "net.onnx", data.name), data=DataFile(data, data.stat().st_size, hash_file(data))
    )
    parsed = parse_network(library, inside)
    assert parsed.network.num_inputs == 1
    for location in (str(data), "../" + tmp_path.name + "/" + data.name):
        with pytest.raises(BackendError, match="tensorrt_rtx does not take net"):
            parse_network(library, outside(tmp_path / "other.onnx", location))
    with pytest.raises(BundleError, match=r"has tensors a, the manifest says a, b"):
        parse_network(library, replace(inside, inputs=SPECS[0]))
    with pytest.raises(BundleError, match=r"has a float32 \('\?', 4\), the manifest says a float16"):
        parse_network(library, replace(inside, inputs=(tensor("a", "N", 4, dtype="float16"),)))


def test_a_library_that_builds_for_its_own_gpu_only_says_so(record: NetRecord) -> None:
    library = Library(fake_module(), "tensorrt", "11.4.0")
    with pytest.raises(BackendError, match="builds for the GPU that it runs on and for no other"):
        build_plan(library, record, static_profile({"a": (1, 4), "b": (1, 4)}), targets=("sm_90",))


def test_memory_that_is_not_there_is_named() -> None:
    gpu, driver = fake_gpu()
    with pytest.raises(BackendError, match="gpu 0: out of memory in cuMemAlloc"):
        gpu.allocate(1 << 50)
    assert isinstance(driver, FakeDriver)
    assert driver.depth == 0
