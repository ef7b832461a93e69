"""The loop on a GPU that does not exist: the product's own device on streams that work in adverse orders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazy_cupy import LazyNet
from loop_samples import MakePlace, Place, make_group, same
from network_samples import tiny_bundle, tiny_constants
from tgvc.backends.base import load_backend
from tgvc.backends.spec import NetRecord
from tgvc.devices.cuda import CudaDevice, CudaStream
from tgvc.models.nets import Networks
from tgvc.overlap import StageClock
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.latent import LatentGenerator, LatentOptions
from tgvc.types import Picture, still_motion

POLICIES = [("needed", 0), ("others", 0), ("random", 1), ("random", 2)]


class LazyBackend:
    """ONNX Runtime on the CPU, queued on streams of the GPU that does not exist."""

    name, providers, version, device = "lazy", ("lazy",), "1", "cuda:0"

    def __init__(self, place: Place, *, capturable: bool = True) -> None:
        self.place, self.capturable, self._real = place, capturable, load_backend("onnxruntime", threads=1)

    def load(self, record: NetRecord) -> LazyNet:
        real = self._real.load(record)
        net = LazyNet(self.place.engine, record, lambda **i: real.run(**i), capturable=self.capturable)
        self.place.nets.append(net)
        return net


def far_nets(place: Place, folder: Path, *, capturable: bool = True, **options: Any) -> Networks:
    return Networks(tiny_bundle(folder, **options), LazyBackend(place, capturable=capturable))  # type: ignore[arg-type]


def near_nets(folder: Path, **options: Any) -> Networks:
    return Networks(tiny_bundle(folder, **options), load_backend("onnxruntime", threads=1))


def render(nets: Networks, group: DecodedGroup, device: CudaDevice | None = None, **options: Any) -> list[Picture]:
    values = {"steps": 3, "grain": 0.0, "detail": 0.7} | options
    return list(LatentGenerator(nets, LatentOptions(**values), device).render_group(group, StageClock()))


GUIDED = {"guidance": 0.3, "dense": True}
HALF = {"v_gain": 0.5, "constants": tiny_constants(residual_std=0.7)}


@pytest.mark.parametrize(("policy", "seed", "capturable"), [*((*p, True) for p in POLICIES), ("random", 3, False)])
def test_frames_are_those_of_the_host_whatever_order_streams_work_in(
    make_place: MakePlace, tmp_path: Path, policy: str, seed: int, capturable: bool
) -> None:
    place, group = make_place(policy, seed), make_group((9, 2, 7))
    found = render(far_nets(place, tmp_path / "b", capturable=capturable, **HALF), group, place.device, **GUIDED)
    assert place.engine.faults == []
    assert same(found, render(near_nets(tmp_path / "b", **HALF), group, **GUIDED))


@pytest.mark.parametrize("changes", [{"move_noise": True}, {"steps": 1}, {"guidance": 0.0}, {"moved": False}])
def test_every_option_of_the_latent_generator_works_there(
    make_place: MakePlace, tmp_path: Path, changes: dict[str, Any]
) -> None:
    place, group = make_place("random", 5), make_group((9, 7))
    options = GUIDED | changes
    found = render(far_nets(place, tmp_path / "b", **HALF), group, place.device, **options)
    assert place.engine.faults == []
    assert same(found, render(near_nets(tmp_path / "b", **HALF), group, **options))


@pytest.mark.parametrize("texture", [False, True])
def test_texture_is_the_same_but_for_roundings(make_place: MakePlace, tmp_path: Path, texture: bool) -> None:
    place, group = make_place("others"), make_group((9,))
    if texture:
        group = replace(group, texture=np.linspace(40, 60, group.frames).astype(np.float32))
    found = render(far_nets(place, tmp_path / "b", lack=1e-4), group, place.device, grain=0.8)
    want = render(near_nets(tmp_path / "b", lack=1e-4), group, grain=0.8)
    assert place.engine.faults == []
    # sums in another order fall on the other side of a half now and then, and then by one level
    apart = np.abs(np.stack(found).astype(int) - np.stack(want))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3
    assert not same(want, render(near_nets(tmp_path / "b", lack=1e-4), group))


def test_noise_that_stands_still_is_made_there_and_only_carried_noise_is_copied(
    make_place: MakePlace, tmp_path: Path
) -> None:
    group, windows, parts = make_group((9, 12)), 3, 2 + 2 + 2  # of at most four pictures
    for moving, drawn in ((False, windows + parts), (True, 0)):
        place = make_place()
        nets = far_nets(place, tmp_path / f"moving {moving}", lack=1e-4)
        render(nets, group, place.device, grain=0.8, move_noise=moving)
        assert place.launched("normal_noise") == drawn
        assert place.engine.faults == []


def test_a_graph_is_recorded_once_and_replayed_for_every_other_step(make_place: MakePlace, tmp_path: Path) -> None:
    place = make_place()
    nets = far_nets(place, tmp_path / "b", **HALF)
    generator = LatentGenerator(nets, LatentOptions(steps=4, **GUIDED), place.device)
    for number in range(2):  # groups of three windows of eight frames: 6 new ones each after the first
        list(generator.render_group(make_group((9, 12), number=number), StageClock()))
    steps = 2 * 3 * 4
    assert len(place.tell("capture")) == 1
    assert len(place.tell("replay")) == steps - 1  # the first one ran as it was
    denoiser = next(net for net in place.nets if net.record.name == "denoiser")
    assert len(denoiser.launches) == 2
    assert denoiser.launches[0] == denoiser.launches[1]
    assert place.launched("guided_step_at") == steps + 2 * 3
    assert place.engine.faults == []


def test_nothing_is_waited_for_between_the_first_step_of_a_group_and_its_last(
    make_place: MakePlace, tmp_path: Path
) -> None:
    place = make_place()
    render(far_nets(place, tmp_path / "b", **HALF), make_group((9, 12)), place.device, **GUIDED)
    threads = {thread for what, thread, _ in place.engine.log if what in ("replay", "denoiser")}
    assert len(threads) == 1
    assert [what for what, thread, _ in place.engine.log if what == "wait" and thread in threads] == []


def test_a_window_is_sampled_while_pictures_of_the_one_before_are_on_their_way(
    make_place: MakePlace, tmp_path: Path
) -> None:
    place = make_place()
    render(far_nets(place, tmp_path / "b", **HALF), make_group((9, 12, 14)), place.device, **GUIDED)
    waits, steps = place.tell("wait"), place.tell("guided_step_at")
    assert any(waits[0] < step for step in steps)
    assert sum(step < waits[0] for step in steps) > 4  # the opening and the steps of the first window, and more
    streams = {stream for what, _, stream in place.engine.log if what in ("guided_step_at", "unpack_planes")}
    assert len(streams) == 2


def test_memory_is_used_again_by_later_windows_and_groups(make_place: MakePlace, tmp_path: Path) -> None:
    place = make_place()
    nets = far_nets(place, tmp_path / "b", capturable=False, **HALF)
    generator = LatentGenerator(nets, LatentOptions(steps=4, grain=0.0), place.device)
    counts = []
    for number in range(3):
        list(generator.render_group(make_group((9, 12), number=number), StageClock()))
        counts.append(place.engine.allocations)
    # new are the latents of a window, which leave the loop, its pictures, and what sums need for a moment
    windows, parts, held = 3, 2 + 2 + 2, 2 + 2
    assert counts[2] - counts[1] == counts[1] - counts[0] == windows * (1 + 2) + parts + 2 * held
    for name, runs in (("denoiser", 3 * windows * 4), ("decoder", 3 * parts)):
        launches = [tuple(n.items()) for net in place.nets if net.record.name == name for n in net.launches]
        assert len(launches) == runs
        assert len(set(launches)) == 1


def test_a_missing_wait_is_found(make_place: MakePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CudaStream, "wait", lambda stream, event: None)
    place = make_place("others")
    render(far_nets(place, tmp_path / "b", **HALF), make_group((9,)), place.device, **GUIDED)
    assert any("in no order" in fault for fault in place.engine.faults)


def test_memory_given_back_too_early_is_found(make_place: MakePlace) -> None:
    place = make_place()
    one, other = place.device.make_stream(), place.device.make_stream()
    array = place.device.empty((4,), np.float32, one)
    place.device.apply(lambda out: out.__setitem__(..., np.float32(1)), array, stream=one)
    other.wait(one.record())
    kept = place.device.empty((4,), np.float32, other)
    place.device.copy(kept, array, other)
    del array
    assert place.device.download(kept, other).wait().tolist() == [1, 1, 1, 1]
    assert any("still be in use" in fault for fault in place.engine.faults)


def test_whoever_leaves_early_leaves_nothing_in_use(make_place: MakePlace, tmp_path: Path) -> None:
    place = make_place("others")
    nets = far_nets(place, tmp_path / "b", **HALF)
    generator = LatentGenerator(nets, LatentOptions(steps=3, grain=0.0, detail=0.7, **GUIDED), place.device)
    frames = generator.render_group(make_group((9, 9, 9)), StageClock())
    next(frames)
    frames.close()
    group = make_group((9, 2, 7))
    assert same(
        list(generator.render_group(group, StageClock())), render(near_nets(tmp_path / "b", **HALF), group, **GUIDED)
    )
    assert place.engine.faults == []


def test_groups_painted_at_once_do_not_disturb_each_other(make_place: MakePlace, tmp_path: Path) -> None:
    place = make_place("random", 11)
    nets = far_nets(place, tmp_path / "b", **HALF)
    generator = LatentGenerator(nets, LatentOptions(steps=3, grain=0.0, detail=0.7, **GUIDED), place.device)
    groups = [make_group(lengths, number=n) for n, lengths in enumerate([(9, 7), (5, 12), (9, 7), (14,)])]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda group: list(generator.render_group(group, StageClock())), groups))
    assert place.engine.faults == []
    near = near_nets(tmp_path / "b", **HALF)
    assert all(same(pictures, render(near, group, **GUIDED)) for pictures, group in zip(found, groups, strict=True))


def test_progress_and_seconds_are_told_as_on_the_host(make_place: MakePlace, tmp_path: Path) -> None:
    place, clock = make_place("random", 7), StageClock()
    told: list[tuple[str, int, int | None]] = []
    generator = LatentGenerator(far_nets(place, tmp_path / "b"), LatentOptions(steps=3), place.device)
    list(generator.render_group(make_group((9, 12)), clock, lambda *step: told.append(step)))
    assert told == [("denoise", n + 1, 9) for n in range(9)]
    assert set(clock.seconds) == {"conditions", "encode", "denoise", "decode", "grain"}
    assert all(seconds >= 0 for seconds in clock.seconds.values())
    assert generator.facts["device"] == "cuda:0"


def test_a_group_without_motion_is_painted_too(make_place: MakePlace, tmp_path: Path) -> None:
    place, group = make_place(), make_group((9, 4), lambda length: still_motion("H"))
    found = render(far_nets(place, tmp_path / "b", **HALF), group, place.device)
    assert same(found, render(near_nets(tmp_path / "b", **HALF), group))
