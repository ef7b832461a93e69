"""The flow-driven painter: what it is told, what it does untrained, its training, its bundle and the generator."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

import tgvc
from test_dynamics import DISKS, FRAMES, H, W, swaying_clip
from tgvc.bitstream.container import Header, Writer
from tgvc.bitstream.group import Group
from tgvc.encoder import make_group
from tgvc.errors import BundleError, ConfigError
from tgvc.models.bundle import load_bundle
from tgvc.planning.dynamics import DynamicsPlanner
from tgvc.planning.group import Task
from tgvc.planning.plan import GroupPlan
from tgvc.synthesis.densify import FrameFields
from tgvc.synthesis.driven import rough_motion
from tgvc.synthesis.motion import read_motion
from tgvc.synthesis.paths import Paths
from tgvc.synthesis.rough import describe_motion
from tgvc.types import Picture, picture_planes, picture_size

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[train]'")

from tgvc_export.nano.mover import Mover  # noqa: E402
from tgvc_train import mover as stage  # noqa: E402
from tgvc_train import mover_bundle, prepare, samples, scenes  # noqa: E402
from tgvc_train.checkpoint import load_checkpoint  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_photo(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (24, 36, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (576, 384), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One prepared sample of a photograph that sways."""
    root = tmp_path_factory.mktemp("mover")
    cv2.imwrite(str(root / "photo.png"), make_photo(1))
    (recipe,) = prepare.plan_samples([], [root / "photo.png"], 1, 3, "dynamics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "_SWAYING", 17)
        patch.setattr(prepare, "_SCENE_SIZE", (192, 128))
        prepare.make_sample(recipe, root / "data")
    return root / "data"


def even_fields(count: int, dx: float) -> list[FrameFields]:
    """Frames of 32 x 24 cells in which everything moves to the right by ``dx`` cells per frame."""
    fields = []
    for n in range(1, count + 1):
        first, last = (np.zeros((24, 32, 2), np.float32) for _ in range(2))
        first[..., 0], last[..., 0] = -dx * n, dx * (count + 1 - n)
        trust = np.ones((24, 32), np.float32)
        fields.append(FrameFields(n / (count + 1), first, last, trust, trust))
    return fields


def test_motion_is_told_in_cells_of_the_networks() -> None:
    xy = np.float32([[[20, 20], [28, 20], [36, 20], [44, 20]], [[60, 40], [61, 40], [62, 40], [63, 40]]])
    seen = np.array([[True, True, False, True], [True] * 4])
    rough = describe_motion(even_fields(2, 1.0), Paths(xy, seen), open_end=False)
    assert np.allclose(rough.to_first[:, 0], np.float32([-0.25, -0.5])[:, None, None])
    assert np.allclose(rough.to_last[:, 0], np.float32([0.5, 0.25])[:, None, None])
    assert np.allclose(rough.when, [[1 / 3, 1], [2 / 3, 1]])
    assert rough.sent[0, :, 2, 3].tolist() == [-1, 0, 1]  # 8 px to the left lies where it began
    assert rough.sent[1, 2, 2, 4] == 0, "hidden there"
    assert rough.sent[1, :, 5, 7].tolist() == [-0.25, 0, 1]
    assert rough.sent[:, 2].sum() == 3


def test_an_open_end_is_told_as_one() -> None:
    nothing = Paths(np.zeros((0, 5, 2), np.float32), np.zeros((0, 5), np.bool_))
    rough = describe_motion(even_fields(4, 1.0), nothing, open_end=True)
    assert not rough.when.any()


@pytest.mark.parametrize("open_end", [False, True])
def test_untrained_it_moves_and_blends(open_end: bool) -> None:
    rng = np.random.default_rng(2)
    wide = cv2.resize(rng.normal(size=(8, 16)).astype(np.float32), (96, 48), interpolation=cv2.INTER_CUBIC)
    planes = torch.from_numpy(np.stack([wide] * 6))[None]
    first, last = planes[..., 8:72], planes[..., 24:88]  # all has moved to the left by 16 columns, 4 cells
    to_first, to_last = torch.zeros(1, 2, 12, 16), torch.zeros(1, 2, 12, 16)
    to_first[:, 0], to_last[:, 0] = 1.0, 1.0 if open_end else -3.0
    when = torch.tensor([[0.0, 0.0]] if open_end else [[0.25, 1.0]])
    with torch.no_grad():
        made, motion = Mover()(first, first if open_end else last, to_first, to_last, torch.zeros(1, 3, 12, 16), when)
    assert torch.equal(motion, torch.cat([to_first, to_last], dim=1))
    inner = slice(12, 44)
    assert torch.allclose(made[..., inner], planes[..., 12:76][..., inner], atol=1e-4)


def test_mirrored_planes_are_those_of_the_mirrored_picture() -> None:
    picture = swaying_clip()[3]
    luma, u, v = (np.ascontiguousarray(p[:, ::-1]) for p in picture_planes(picture))
    mirrored = np.concatenate([luma, u.reshape(-1, W), v.reshape(-1, W)])
    wanted = samples.cut_planes(mirrored, 0, 0, W, H)
    assert np.array_equal(samples.mirror_planes(samples.cut_planes(picture, 0, 0, W, H)), wanted)


def test_what_sways_does_so_by_its_seed_and_begins_at_rest() -> None:
    runs = [scenes.sway_photo(make_photo(0), 9, 128, 96, seed) for seed in (1, 1, 2)]
    assert all(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not np.array_equal(runs[0][0], runs[2][0])
    assert {picture_size(p) for p in runs[0]} == {(128, 96)}
    moved = [float(np.abs(p.astype(int) - runs[0][0]).mean()) for p in runs[0]]
    assert moved[0] == 0 < min(moved[1:])


def test_samples_hold_what_the_generator_will_be_told(data: Path) -> None:
    (folder,) = data.iterdir()
    sample = samples.Sample.open(folder)
    rough, when = np.load(folder / "rough.npy"), np.load(folder / "when.npy")
    assert rough.shape == (len(sample.source), 7, *sample.hints.shape[2:])
    inner = np.setdiff1d(np.arange(len(sample.source)), sample.around)
    assert np.abs(rough[inner, :2]).max() > 0.05
    assert not rough[np.unique(sample.around)].any()
    assert ((when[:, 1] == 1) == (sample.around[:, 0] != sample.around[:, 1])).all()


def test_training_goes_on_as_if_never_interrupted(data: Path, tmp_path: Path) -> None:
    recipe = stage.MoverRecipe(steps=3, batch=2, size=64)
    stage.train_mover(data, tmp_path / "whole", recipe)
    stage.train_mover(data, tmp_path / "parts", recipe, stop=2)
    stage.train_mover(data, tmp_path / "parts", recipe)
    whole, parts = (load_checkpoint(tmp_path / n / "mover.pt") for n in ("whole", "parts"))
    assert whole is not None
    assert parts is not None
    for key, value in whole["average"].items():
        assert torch.equal(value, parts["average"][key]), key


# ---------------------------------------------------------------- the generator


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a painter after one step, which is far too small to be seen."""
    folder = tmp_path_factory.mktemp("run")
    stage.train_mover(data, folder, stage.MoverRecipe(steps=1, batch=1, size=64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mover_bundle, "_EXAMPLES", ((3, 96), (2, 64)))
        return mover_bundle.write_mover_bundle(data, folder, folder / "bundle", "1").folder


def test_a_bundle_says_what_it_was_trained_on_and_for_how_long(bundle: Path) -> None:
    made = load_bundle(bundle)
    assert (made.kind, made.notes["trained_steps"]) == ("flow", 1)
    assert made.notes["held_out"] == list(prepare.HELD_OUT)


def write_stream(plan: GroupPlan) -> bytes:
    target = io.BytesIO()
    header = Header(width=W, height=H, source_width=W, source_height=H, fps=Fraction(25), profile=3)
    writer = Writer(target, header)
    group: Group = make_group(plan, list(swaying_clip()), [Fraction(n, 25) for n in range(FRAMES)], Fraction(25))
    writer.write(group)
    writer.finish()
    return target.getvalue()


def psnr(a: Picture, b: Picture) -> float:
    one, two = (picture_planes(p)[0].astype(float) for p in (a, b))
    return float(10 * np.log10(255**2 / np.mean((one - two) ** 2)))


@pytest.mark.parametrize("length", [1, 2])
def test_the_generator_shows_keys_as_they_are_and_moves_the_rest(
    bundle: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = DynamicsPlanner._key_ladder
    monkeypatch.setattr(
        DynamicsPlanner, "_key_ladder", lambda s, task: [k for k in ladder(s, task) if len(k) == length]
    )
    plan = DynamicsPlanner(0, 1, spacing=16).plan(Task(list(swaying_clip()), 2000.0))
    stream = write_stream(plan)
    asked = {"generator": "flow", "bundle": str(bundle), "threads": 1}
    frames = [f.picture for f in tgvc.decode_frames(io.BytesIO(stream), **asked)]
    plain = [f.picture for f in tgvc.decode_frames(io.BytesIO(stream))]
    assert len(frames) == len(plain) == FRAMES
    assert all(np.array_equal(frames[k], plain[k]) for k in plan.keys)
    # the same motion, looked at bilinearly and on cells of 8 instead of 2 px
    assert min(psnr(a, b) for n, (a, b) in enumerate(zip(frames, plain, strict=True)) if n not in plan.keys) > 30
    again = [f.picture for f in tgvc.decode_frames(io.BytesIO(stream), **asked)]
    assert all(np.array_equal(a, b) for a, b in zip(frames, again, strict=True))


def test_the_generator_is_told_where_things_come_from() -> None:
    plan = DynamicsPlanner(0, 1, spacing=16).plan(Task(list(swaying_clip()), 2000.0))
    motion = read_motion(plan.segments[0], W, H)
    last = plan.reconstruction[plan.keys[1]] if len(plan.keys) > 1 else None
    rough = rough_motion(plan.reconstruction[0], last, motion, plan.segments[0].length)
    centre = DISKS[0][0]
    swing = rough.to_first[3, 0, int(centre[1]) // 8, int(centre[0]) // 8] * 8
    assert swing == pytest.approx(-6.0, abs=2.0)  # at its farthest it comes from 6 px to the left


def test_without_an_embedded_bundle_one_has_to_be_named() -> None:
    with pytest.raises(BundleError, match=r"bundle flow-nano: not embedded .* expected --bundle"):
        tgvc.decode_frames(io.BytesIO(b""), generator="flow")


def test_options_and_bundles_that_do_not_fit_are_refused(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="steps=2: expected generator=latent"):
        tgvc.decode_frames(io.BytesIO(b""), generator="flow", bundle=str(bundle), steps=2)
    with pytest.raises((BundleError, ConfigError), match="kind 'residual', expected 'flow'"):
        tgvc.decode_frames(io.BytesIO(b""), generator="flow", bundle="nano")
