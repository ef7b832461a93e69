"""The flow-driven painter: what it is told, what it does untrained, its training, its bundle and the generator."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import tgvc
from network_samples import tiny_bundle
from test_dynamics import DISKS, FRAMES, H, W, swaying_clip
from tgvc.backends.base import load_backend
from tgvc.bitstream.container import Header, Writer
from tgvc.bitstream.group import Group
from tgvc.config import DecoderConfig
from tgvc.decoder import Decoder
from tgvc.encoder import make_group
from tgvc.errors import BundleError, ConfigError
from tgvc.models.bundle import load_bundle
from tgvc.models.contract import MOVER
from tgvc.models.flow import AT_ONCE
from tgvc.models.nets import Networks, pack_planes, unpack_planes
from tgvc.overlap import StageClock
from tgvc.planning.dynamics import DynamicsPlanner
from tgvc.planning.group import Task
from tgvc.planning.plan import GroupPlan
from tgvc.synthesis.conditions import group_conditions
from tgvc.synthesis.densify import FrameFields
from tgvc.synthesis.driven import DrivenGroups
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.latent import LatentGenerator, LatentOptions
from tgvc.synthesis.motion import read_motion
from tgvc.synthesis.paths import Paths, sent_paths
from tgvc.synthesis.rough import describe_motion
from tgvc.types import FloatArray, Motion, Picture, picture_planes, picture_size, still_motion
from tgvc_bench.protocol.ceilings import Ceilings
from tgvc_bench.timed.bundle_cost import describe_bundle
from video_samples import smooth_picture

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[train]'")

from torch.nn import functional  # noqa: E402

from cost_samples import count_networks  # noqa: E402
from tgvc_export.nano.mover import Mover  # noqa: E402
from tgvc_train import losses, mover_bundle, prepare, samples, scenes  # noqa: E402
from tgvc_train import mover as stage  # noqa: E402
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


def test_untrained_it_shows_the_weight_free_picture() -> None:
    rng = torch.Generator().manual_seed(5)
    keys, warp = torch.randn(2, 1, 6, 48, 64, generator=rng), torch.randn(3, 6, 48, 64, generator=rng)
    to_first, to_last = torch.randn(2, 3, 2, 12, 16, generator=rng)
    with torch.no_grad():
        made, motion = Mover()(*keys, warp, to_first, to_last, torch.zeros(3, 3, 12, 16), torch.rand(3, 2))
    assert torch.equal(made, warp)
    assert torch.equal(motion, torch.cat([to_first, to_last], dim=1))


def test_key_pictures_are_moved_px_by_px() -> None:
    wide = np.random.default_rng(2).normal(size=(1, 1, 96, 160)).astype(np.float32)  # as fine as luma can be
    luma = functional.pixel_unshuffle(torch.from_numpy(wide), 2)
    slope = torch.arange(80.0).expand(1, 2, 48, 80) / 80
    planes = torch.cat([luma, slope], dim=1)
    to_first, to_last = torch.zeros(1, 2, 12, 16), torch.zeros(1, 2, 12, 16)
    to_first[:, 0], to_last[:, 0] = -3 / 8, 5 / 8  # cells: from 3 px to the left, from 5 px to the right
    first, last = planes[..., 8:72], planes[..., 8:72]
    with torch.no_grad():
        painted = Mover().paint(first, last, first, to_first, to_last, torch.zeros(1, 3, 12, 16), torch.rand(1, 2))
    for moved, by in ((painted.from_first, -3), (painted.from_last, 5)):
        found = functional.pixel_shuffle(moved[:, :4], 2).numpy()[..., 8:-8]
        # places are known to a few millionths of a width of 128 px, neighbours are a few deviations apart
        assert np.allclose(found, wide[..., 16 + 8 + by : 16 + 120 + by], atol=5e-3)
        assert torch.allclose(moved[:, 4:, :, 4:-4], slope[..., 12:68] + by / 160, atol=1e-4)


@pytest.mark.parametrize("turned", [(0.1, 0.9), (0.9, 0.1), (0.1, 0.1)], ids=["mirrored", "upside-down", "both"])
def test_crops_that_are_turned_move_as_the_others_do(data: Path, turned: tuple[float, float]) -> None:
    source = stage.MovedFrames(data)
    (sample,) = (samples.Sample.open(folder) for folder in data.iterdir())

    def cut(draws: tuple[float, float]) -> stage.Moved:
        rng = SimpleNamespace(integers=lambda count: 1, random=iter(draws).__next__)
        return stage.Moved(*(torch.from_numpy(a)[None] for a in source._cut(rng, sample, 5, 96)))

    moved = []
    for batch in (cut((0.9, 0.9)), cut(turned)):
        with torch.no_grad():
            painted = Mover().paint(*(getattr(batch, name) for name in stage.TOLD))
        moved.append((batch.source, painted.from_first, painted.from_last, batch.sent[:, 2:]))
    for plain, other in zip(*moved, strict=True):
        wanted = plain.numpy()
        wanted = wanted if wanted.shape[1] == 6 else wanted.repeat(6, axis=1)
        wanted = samples.mirror_planes(wanted) if turned[0] < 0.5 else wanted
        wanted = samples.flip_planes(wanted) if turned[1] < 0.5 else wanted
        # cubic weights of places from the other side
        assert np.allclose(other.numpy(), wanted[:, : other.shape[1]], atol=1e-4)


def test_mirrored_planes_are_those_of_the_mirrored_picture() -> None:
    picture = swaying_clip()[3]
    luma, u, v = (np.ascontiguousarray(p[:, ::-1]) for p in picture_planes(picture))
    mirrored = np.concatenate([luma, u.reshape(-1, W), v.reshape(-1, W)])
    wanted = samples.cut_planes(mirrored, 0, 0, W, H)
    assert np.array_equal(samples.mirror_planes(samples.cut_planes(picture, 0, 0, W, H)), wanted)
    flipped = np.concatenate([p[::-1].reshape(-1, W) for p in picture_planes(picture)])
    wanted = samples.cut_planes(flipped, 0, 0, W, H)
    assert np.array_equal(samples.flip_planes(samples.cut_planes(picture, 0, 0, W, H)), wanted)


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


def test_texture_is_told_apart_by_octaves() -> None:
    fine = torch.ones(1, 1, 64, 64)
    fine[..., ::2, :] *= -1  # every row against the next
    coarse = functional.interpolate(fine[..., :16, :16], scale_factor=4.0, mode="bilinear")
    found = [[float(e.mean()) for e in losses.band_energy(luma)] for luma in (fine, coarse, 0 * fine)]
    assert found[0][0] > 0.9
    assert max(found[0][1:]) < 1e-3 * found[0][0]
    assert found[1][2] > 5 * found[1][0]  # a bilinear wave has corners
    assert max(found[2]) < 1e-5  # a quarter of a grey level of 255, squared


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
    """The bundle of a painter that has learnt nothing yet."""
    folder = tmp_path_factory.mktemp("run")
    stage.train_mover(data, folder, stage.MoverRecipe(steps=1, batch=1, size=64), stop=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mover_bundle, "_EXAMPLES", ((3, 96), (2, 64)))
        return mover_bundle.write_mover_bundle(data, folder, folder / "bundle", "1").folder


def test_a_bundle_says_what_it_was_trained_on_and_for_how_long(bundle: Path) -> None:
    made = load_bundle(bundle)
    assert (made.kind, made.notes["trained_steps"]) == ("flow", 0)
    assert made.notes["held_out"] == list(prepare.HELD_OUT)


def test_a_bundle_costs_what_torch_counts(bundle: Path) -> None:
    made, ceilings = load_bundle(bundle), Ceilings(1e11, 1e10, "float32", "of a test")
    for size, frames, runs in (((256, 256), None, 8), ((512, 320), 15, 4)):
        found = describe_bundle(str(bundle), size, frames, 1, ceilings)
        cells = {"h": size[1] // 8, "w": size[0] // 8}
        flop = count_networks(made.constants, {MOVER: Mover()}, N=AT_ONCE, **cells)
        assert {name: cost["flop"] for name, cost in found["networks"].items()} == flop
        assert (found["segment"]["runs"], found["segment"]["flop"]) == ({MOVER: runs}, runs * flop[MOVER])
    with pytest.raises(ConfigError, match=r"size=500x320: expected multiples of 8 px for bundle flow-nano"):
        describe_bundle(str(bundle), (500, 320), None, 1, ceilings)


def write_stream(plan: GroupPlan) -> bytes:
    target = io.BytesIO()
    header = Header(width=W, height=H, source_width=W, source_height=H, fps=Fraction(25), profile=3)
    writer = Writer(target, header)
    group: Group = make_group(plan, list(swaying_clip()), [Fraction(n, 25) for n in range(FRAMES)], Fraction(25))
    writer.write(group)
    writer.finish()
    return target.getvalue()


def sway(length: int, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A stream of the swaying clip with so many key pictures."""
    ladder = DynamicsPlanner._key_ladder
    monkeypatch.setattr(
        DynamicsPlanner, "_key_ladder", lambda s, task: [k for k in ladder(s, task) if len(k) == length]
    )
    return write_stream(DynamicsPlanner(0, 1, spacing=16).plan(Task(list(swaying_clip()), 2000.0)))


@pytest.mark.parametrize("length", [1, 2])
def test_untrained_the_generator_is_the_weight_free_one_bit_for_bit(
    bundle: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = sway(length, monkeypatch)
    asked = {"generator": "flow", "bundle": str(bundle), "threads": 1}
    frames = [f.picture for f in tgvc.decode_frames(io.BytesIO(stream), **asked)]
    plain = [f.picture for f in tgvc.decode_frames(io.BytesIO(stream), threads=1)]
    assert len(frames) == FRAMES
    assert all(np.array_equal(a, b) for a, b in zip(frames, plain, strict=True))


class Inverter:
    """In the place of the networks: shows negatives, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, int, float]] = []

    def know(self, key: Picture) -> FloatArray:
        return key.astype(np.float32)

    def paint(self, first: FloatArray, last: FloatArray, pictures: list[Picture], *rough: FloatArray) -> list[Picture]:
        assert len(pictures) == len(rough[3])
        self.told.append((int(first.sum()), int(last.sum()), len(pictures), float(rough[3][-1, 1])))
        return [255 - p for p in pictures]


def open_group() -> DecodedGroup:
    """Four keys, two of them neighbours, and five frames after the last one."""
    keys = [smooth_picture(3 * n, 96, 64) for n in range(4)]
    tail = Motion(
        "G",
        np.zeros((5, 4, 2), np.float32),
        np.zeros(5, np.float32),
        np.zeros((0, 2), np.float32),
        np.zeros(0, bool),
        np.zeros((0, 5, 2), np.float32),
        np.zeros((0, 5), bool),
    )
    motions = [(still_motion("H"), length) for length in (6, 2, 4)]
    return DecodedGroup(0, 1, keys, [*motions, (tail, 6)], 0.4)


def negatives(group: DecodedGroup) -> list[Picture]:
    conditions = group_conditions(group.keys, group.motions, group.fine)
    return [c.picture if c.fields is None else 255 - c.picture for c in conditions]


def test_the_network_paints_all_but_key_pictures() -> None:
    nets, group = Inverter(), open_group()
    shown = list(DrivenGroups(nets).render_group(group, StageClock()))  # type: ignore[arg-type]
    assert all(np.array_equal(a, b) for a, b in zip(shown, negatives(group), strict=True))
    sums = [int(key.sum()) for key in group.keys]
    assert nets.told == [(*sums[:2], 4, 1), (*sums[2:], 2, 1), (sums[3], sums[3], 5, 0)]


def test_diffusion_goes_on_from_what_was_painted(tmp_path: Path) -> None:
    nets, group = Networks(tiny_bundle(tmp_path / "b"), load_backend("onnxruntime", threads=1)), open_group()
    under = DrivenGroups(Inverter())  # type: ignore[arg-type]
    shown = list(LatentGenerator(nets, LatentOptions(steps=2), under=under).render_group(group, StageClock()))
    planes = pack_planes(negatives(group))
    want = unpack_planes(nets.decode(nets.encode(planes), planes)[0])
    # without a residual; sums of float32 in another order may fall on the other side of a half
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(shown, want, strict=True)) <= 1


def test_diffusion_is_asked_for_by_steps(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, asked = sway(2, monkeypatch), {"generator": "flow", "bundle": str(bundle), "threads": 1}
    plain, after = (
        [f.picture for f in tgvc.decode_frames(io.BytesIO(stream), **asked, steps=steps)] for steps in (0, 1)
    )
    assert len(after) == FRAMES
    assert not any(np.array_equal(a, b) for a, b in zip(plain, after, strict=True))
    # bundle nano over the same pictures
    latent = [f.picture for f in tgvc.decode_frames(io.BytesIO(stream), generator="latent", steps=1, threads=1)]
    assert all(np.array_equal(a, b) for a, b in zip(latent, after, strict=True))
    facts = Decoder(DecoderConfig(**asked, steps=1)).decode(io.BytesIO(stream), str(bundle.parent / "out.mp4"))
    assert (facts.generator, facts.steps) == ("flow", 1)
    assert facts.bundle.split(", ")[0] == "flow-nano 1"


def test_the_generator_is_told_where_things_come_from() -> None:
    plan = DynamicsPlanner(0, 1, spacing=16).plan(Task(list(swaying_clip()), 2000.0))
    motions = [(read_motion(s, W, H), s.length) for s in plan.segments]
    keys = [plan.reconstruction[k] for k in plan.keys]
    fields = [c.fields for c in group_conditions(keys, motions, 0.5)][1 : plan.segments[0].length - 1]
    rough = describe_motion(fields, sent_paths(motions[0][0], fields, W, H), open_end=len(keys) == 1)
    centre = DISKS[0][0]
    swing = rough.to_first[3, 0, int(centre[1]) // 8, int(centre[0]) // 8] * 8
    assert swing == pytest.approx(-6.0, abs=2.0)  # at its farthest it comes from 6 px to the left


def test_options_and_bundles_that_do_not_fit_are_refused(bundle: Path) -> None:
    with pytest.raises(ConfigError, match=r"detail=1\.0: expected generator=latent beside it: flow without steps"):
        tgvc.decode_frames(io.BytesIO(b""), generator="flow", bundle=str(bundle), detail=1.0)
    with pytest.raises(ConfigError, match=r"guidance=1\.0: expected generator=latent beside it: flow does not"):
        tgvc.decode_frames(io.BytesIO(b""), generator="flow", bundle=str(bundle), steps=2, guidance=1.0)
    with pytest.raises(ConfigError, match="steps=0: expected 1 or more"):
        tgvc.decode_frames(io.BytesIO(b""), generator="latent", steps=0)
    with pytest.raises((BundleError, ConfigError), match="kind 'residual', expected 'flow'"):
        tgvc.decode_frames(io.BytesIO(b""), generator="flow", bundle="nano")
