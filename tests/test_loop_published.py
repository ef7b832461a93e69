"""The published pipeline on a GPU that does not exist: networks, steps and pictures on streams in adverse orders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpolation_samples import KnownNetworks, changed
from lazy_cupy import LazyNet
from loop_samples import MakePlace, Place, make_group, same
from test_interpolation import PROMPTS
from tgvc.backends.spec import NetRecord
from tgvc.devices.cuda import CudaDevice, CudaStream
from tgvc.diffusion.solvers import Plan
from tgvc.models.contract import interpolation_contract
from tgvc.overlap import StageClock
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.interpolation.generator import InterpolationGenerator, InterpolationOptions
from tgvc.types import Picture, still_motion
from tgvc_kernels import ops
from video_samples import smooth_picture


class FarNetworks(KnownNetworks):
    """The same networks, launched."""

    def __init__(self, place: Place, *, runs: int | str = "B", dtype: str = "float32", **options: Any) -> None:
        super().__init__(**options)
        self._nets: dict[str, LazyNet] = {}
        contract = interpolation_contract(self.constants)
        functions = {"time": self._time, "context": self._context, "unet": self._unet, "vae_decoder": self._decoder}
        for name, function in functions.items():
            inputs, outputs = (
                tuple(
                    replace(s, dtype=dtype, shape=(runs if s.shape[0] == "B" else s.shape[0], *s.shape[1:]))
                    for s in side
                )
                for side in contract[name]
            )
            record = NetRecord(name, Path(name), 0, "", inputs, outputs)
            self._nets[name] = LazyNet(place.engine, record, function)

    def net(self, name: str) -> LazyNet:  # type: ignore[override]
        return self._nets[name]

    def _unet(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        wide = {name: value.astype(np.float32) for name, value in inputs.items()}
        return {"v": self.predict(*(wide[name] for name in ("x", "shifts", "text_kv", "image_kv")))}

    def _time(self, t: np.ndarray, fs: np.ndarray) -> dict[str, np.ndarray]:
        return {"shifts": self.describe_time(t, fs)}

    def _context(self, text: np.ndarray, image: np.ndarray) -> dict[str, np.ndarray]:
        text_kv, image_kv = self.describe_context(text, image)
        return {"text_kv": text_kv, "image_kv": image_kv}

    def _decoder(self, z: np.ndarray) -> dict[str, np.ndarray]:
        return {"picture": self.decode(z.astype(np.float32))}


def paint(nets: KnownNetworks, group: DecodedGroup, device: CudaDevice | None = None, **options: Any) -> list[Picture]:
    values = {"steps": 4, "guidance": 1.1, "scale": 2.0, "rescale": 0.0} | options
    generator = InterpolationGenerator(nets, InterpolationOptions(**values), PROMPTS, {}, device)
    return list(generator.render_group(group, StageClock()))


@pytest.fixture
def _colours_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's colours come from the kernel's twin too: then frames are the same bytes."""
    monkeypatch.setattr(
        "tgvc.synthesis.interpolation.pictures.from_rgb",
        lambda rgb, matrix: list(ops.rgb_to_yuv(np.ascontiguousarray(rgb), matrix)),
    )


@pytest.mark.usefixtures("_colours_of_the_kernel")
@pytest.mark.parametrize(
    ("policy", "seed", "changes"),
    [
        ("needed", 0, {}),
        ("others", 0, {"parity": True}),
        ("random", 1, {"eta": 0.0}),
        ("random", 2, {"scale": 1.0}),
    ],
)
def test_published_frames_are_those_of_the_host_whatever_order_streams_work_in(
    make_place: MakePlace, policy: str, seed: int, changes: dict[str, Any]
) -> None:
    place, group = make_place(policy, seed), make_group((5, 2, 20))
    options: dict[str, Any] = {"constants": changed(dynamic=True), "blur": 0.6}
    found = paint(FarNetworks(place, **options), group, place.device, **changes)
    assert place.engine.faults == []
    assert same(found, paint(KnownNetworks(**options), group, **changes))
    assert len(place.tell("capture")) == 1


@pytest.mark.usefixtures("_colours_of_the_kernel")
def test_steps_with_one_run_and_with_two_have_graphs_of_their_own(make_place: MakePlace) -> None:
    place, group = make_place("random", 6), make_group((5, 20))
    plan = Plan(solver="dpmpp-2m", cfg_start=0.25, cfg_stop=0.75)
    options = {"eta": 0.0, "plan": plan, "steps": 6}
    assert same(
        paint(FarNetworks(place, blur=0.6), group, place.device, **options),
        paint(KnownNetworks(blur=0.6), group, **options),
    )
    assert place.engine.faults == []
    assert len(place.tell("capture")) == 2


def test_memory_of_many_sizes_is_let_go(make_place: MakePlace) -> None:
    place = make_place()
    options = InterpolationOptions(steps=2, scale=1.0)
    generator = InterpolationGenerator(FarNetworks(place), options, PROMPTS, {}, place.device)
    for n in (1, 2, 3, 4, 5, 1):
        keys = [smooth_picture(k, 64 * n, 64) for k in (0, 4)]
        group = DecodedGroup(0, 1, keys, [(still_motion("H"), 5)], 0.4)
        assert len(list(generator.render_group(group, StageClock()))) == 5
    assert len(place.tell("capture")) == 6  # the first size was gone when it came again
    assert place.engine.faults == []


@pytest.mark.usefixtures("_colours_of_the_kernel")
def test_a_unet_made_for_one_run_is_launched_twice_within_the_graph(make_place: MakePlace) -> None:
    place, group = make_place("random", 3), make_group((5, 20))
    nets = FarNetworks(place, runs=1, blur=0.6)
    assert same(paint(nets, group, place.device), paint(KnownNetworks(blur=0.6), group))
    assert len(nets.net("unet").launches) == 2 * 2
    assert place.engine.faults == []


TWO = {"steps": 2, "rescale": 0.7}


@pytest.mark.usefixtures("_colours_of_the_kernel")
def test_both_runs_are_one_launch_and_a_step_is_two(make_place: MakePlace) -> None:
    place = make_place()
    nets = FarNetworks(place, blur=0.6)
    group = make_group((5,))
    assert same(paint(nets, group, place.device, **TWO), paint(KnownNetworks(blur=0.6), group, **TWO))
    steps, stages = 2, 1
    assert place.launched("unet") == steps
    assert place.launched("guided_step_at") == steps + stages
    assert place.launched("step_factor") == steps
    assert place.launched("normal_noise") == stages  # fresh noise is made inside of the step


def test_context_is_described_once_per_segment_and_time_once_for_all_steps_of_a_run(make_place: MakePlace) -> None:
    place = make_place()
    nets = FarNetworks(place)
    paint(nets, make_group((5, 2, 20)), place.device)
    segments, runs = 2, 1 + 2  # there is nothing between neighbours; twenty frames take two runs
    assert place.launched("context") == segments
    assert place.launched("time") == runs
    for name in ("context", "time"):  # and always in the same memory, as the graph remembers it
        launches = nets.net(name).launches
        assert all(launch == launches[0] for launch in launches)
    assert place.engine.faults == []


def test_a_step_is_two_copies_and_what_was_recorded(make_place: MakePlace) -> None:
    place = make_place()
    paint(FarNetworks(place), make_group((5,)), place.device)
    names = [what for what, *_ in place.engine.log]
    steps = names[names.index("replay") :]
    between = ["copy 3", "assign"]  # the row of numbers, and the row of shifts for both runs
    recorded = ["replay", "unet", "guided_step_at"]
    assert [what for what in steps if what in {*between, *recorded}][: 3 + 2 * 5] == [
        *recorded, *between, *recorded, *between, *recorded,
    ]  # fmt: skip
    assert len(place.tell("replay")) == 3
    assert place.engine.faults == []


@pytest.mark.parametrize("name", ["time", "context"])
def test_a_network_on_a_stream_that_nobody_waits_for_is_found(make_place: MakePlace, name: str) -> None:
    place = make_place("others")
    nets = FarNetworks(place)
    launch, elsewhere = nets.net(name).launch, place.device.make_stream()
    nets.net(name).launch = lambda given, made, _: launch(given, made, elsewhere.handle)  # type: ignore[method-assign]
    paint(nets, make_group((5,)), place.device)
    assert any("in no order" in fault and name in fault for fault in place.engine.faults)


def test_a_missing_wait_is_found(make_place: MakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CudaStream, "wait", lambda stream, event: None)
    place = make_place("others")
    paint(FarNetworks(place), make_group((5,)), place.device)
    assert any("in no order" in fault for fault in place.engine.faults)


def test_networks_of_halves_get_halves(make_place: MakePlace) -> None:
    place, group = make_place("random", 4), make_group((5, 20))
    found = paint(FarNetworks(place, dtype="float16", blur=0.6), group, place.device)
    want = paint(KnownNetworks(blur=0.6), group)
    assert place.engine.faults == []
    # a half of 11 bits is off by 2**-11 of a number up to 4, in x and in v, over four steps; a level is 1 / 110
    assert np.abs(np.stack(found).astype(int) - np.stack(want)).max() <= 3


def test_a_segment_is_sampled_before_the_one_before_it_is_shown(make_place: MakePlace) -> None:
    place = make_place()
    group = make_group((5, 6, 7))
    generator = InterpolationGenerator(
        FarNetworks(place), InterpolationOptions(steps=4, rescale=0.0), PROMPTS, {}, place.device
    )
    frames = generator.render_group(group, StageClock())
    next(frames)
    assert place.launched("unet") == 0
    next(frames)
    assert place.launched("unet") == 2 * 4
    assert len(list(frames)) == group.frames - 2
    assert place.launched("unet") == 3 * 4
    assert place.engine.faults == []


def test_an_error_of_a_launch_reaches_the_caller_and_the_next_group_works(make_place: MakePlace) -> None:
    place, group = make_place(), make_group((5,))
    nets = FarNetworks(place)
    generator = InterpolationGenerator(nets, InterpolationOptions(steps=3, rescale=0.0), PROMPTS, {}, place.device)
    launch, nets.net("unet").launch = nets.net("unet").launch, _fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no more memory"):
        list(generator.render_group(group, StageClock()))
    nets.net("unet").launch = launch  # type: ignore[method-assign]
    assert len(list(generator.render_group(group, StageClock()))) == group.frames
    assert place.engine.faults == []


def _fail(*_: Any) -> None:
    raise RuntimeError("no more memory")
