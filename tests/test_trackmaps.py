"""Trajectory maps: how they are drawn, who is shown them, and a denoiser that has not learnt to look yet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from network_samples import tiny_bundle, tiny_constants
from tgvc.backends.base import load_backend
from tgvc.errors import BundleError
from tgvc.models.bundle import load_bundle
from tgvc.models.constants import MAPS
from tgvc.models.contract import DENOISER, HINTS, residual_contract
from tgvc.models.nets import Networks
from tgvc.overlap import StageClock
from tgvc.synthesis.group import DecodedGroup
from tgvc.synthesis.latent import LatentGenerator, LatentOptions
from tgvc.synthesis.paths import Paths
from tgvc.synthesis.stretches import Needs, prepare_stretches
from tgvc.synthesis.trackmaps import SPOT, draw_maps, guess_nearness, segment_maps
from tgvc.types import Motion, still_motion
from video_samples import smooth_picture

W, H = 96, 64


def paths(*tracks: list[tuple[float, float]], hidden: tuple[tuple[int, int], ...] = ()) -> Paths:
    xy = np.asarray(tracks, np.float32).reshape(len(tracks), -1, 2)
    visible = np.ones(xy.shape[:2], np.bool_)
    for track, frame in hidden:
        visible[track, frame] = False
    return Paths(xy, visible)


def sent(length: int, step: float = 3.0) -> Motion:
    """Mode G: one trajectory from (40, 30) that goes ``step`` px to the right per frame."""
    n = length - 1
    moved = (step * np.arange(1, n + 1)[None, :, None] * np.float32([1, 0])).astype(np.float32)
    empty = np.zeros((n, 4, 2), np.float32)
    anchors = np.float32([[40, 30]])
    return Motion("G", empty, np.zeros(n, np.float32), anchors, np.zeros(1, bool), moved, np.ones((1, n), np.bool_))


def test_a_spot_has_its_size_its_place_and_the_colour_of_where_it_began() -> None:
    maps = draw_maps(paths([(19.0, 42.0), (60.4, 20.0)]), (W, H))
    assert maps.shape == (MAPS, 2, H, W)
    for frame, (x, y) in enumerate(((19, 42), (60, 20))):
        painted = maps[3, frame] > 0
        assert painted.sum() == (2 * SPOT[0] + 1) * (2 * SPOT[1] + 1)
        assert painted[y - SPOT[1] : y + SPOT[1] + 1, x - SPOT[0] : x + SPOT[0] + 1].all()
        # red and green are the place in the first frame, in every frame
        assert np.allclose(maps[:3, frame, y, x], [19 / (W - 1), 42 / (H - 1), 0.5])
        assert not maps[:, frame, ~painted].any()


def test_spots_are_cut_at_the_border_and_hidden_ones_are_not_drawn() -> None:
    maps = draw_maps(paths([(0.0, 0.0), (-30.0, 5.0), (50.0, 40.0)], hidden=((0, 2),)), (W, H))
    assert (maps[3, 0] > 0).sum() == (SPOT[0] + 1) * (SPOT[1] + 1)
    assert not maps[:, 1:].any()


def test_far_spots_are_drawn_first_whatever_their_order() -> None:
    both = paths([(40.0, 30.0)], [(42.0, 30.0)])
    for near in (0, 1):
        nearness = np.float32([1.0, 0.0]) if near == 0 else np.float32([0.0, 1.0])
        maps = draw_maps(both, (W, H), nearness=nearness)
        assert maps[0, 0, 30, 41] == pytest.approx((40.0, 42.0)[near] / (W - 1))
        assert maps[2, 0, 30, 41] == 1.0  # blue: the nearest
    assert draw_maps(both, (W, H))[0, 0, 30, 41] == pytest.approx(42.0 / (W - 1))  # among equals the later one


def test_cells_are_means_of_pixels() -> None:
    many = paths([(11.0, 9.0), (33.0, 20.0)], [(70.0, 50.0), (66.0, 48.0)])
    fine, coarse = draw_maps(many, (W, H)), draw_maps(many, (W, H), 8)
    assert coarse.shape == (MAPS, 2, H // 8, W // 8)
    assert np.allclose(coarse, fine.reshape(MAPS, 2, H // 8, 8, W // 8, 8).mean(axis=(3, 5)), atol=1e-6)


def test_what_moves_unlike_the_rest_counts_as_near() -> None:
    shared = [[(10.0 * k, 5.0), (10.0 * k + 4, 5.0)] for k in range(5)]
    tracks = paths(*shared, [(50.0, 50.0), (70.0, 50.0)])
    nearness = guess_nearness(tracks)
    assert np.argmax(nearness) == 5
    assert np.allclose(nearness[:5], 0)
    assert guess_nearness(Paths(np.zeros((0, 2, 2), np.float32), np.zeros((0, 2), np.bool_))).shape == (0,)


def test_a_stretch_is_told_of_its_frames_and_black_without_trajectories() -> None:
    nothing = segment_maps(None, [], 1, (W, H), 8)
    assert nothing.shape == (MAPS, 1, H // 8, W // 8)
    assert not nothing.any()
    assert not segment_maps(still_motion("F"), [], 4, (W, H), 8).any()


@pytest.fixture
def group() -> DecodedGroup:
    keys = [smooth_picture(3 * n, W, H) for n in range(3)]
    return DecodedGroup(0, 1, keys, [(sent(6), 6), (still_motion("H"), 4)], 0.4)


def test_hints_are_followed_by_maps_of_the_sent_trajectories(tmp_path: Path, group: DecodedGroup) -> None:
    nets = Networks(tiny_bundle(tmp_path / "b"), load_backend("onnxruntime", threads=1))
    plain, told = (list(prepare_stretches(group, nets, Needs(maps=m), StageClock())) for m in (False, True))
    for without, shown in zip(plain, told, strict=True):
        assert shown.hints.shape[0] == HINTS + MAPS
        assert np.array_equal(shown.hints[:HINTS], without.hints)
        assert without.hints.shape[0] == HINTS
    painted = told[1].hints[HINTS + 3]
    assert painted.shape == (5, H // 8, W // 8)
    # the spot wanders to the right by 3 px per frame; within a cell nobody knows where it is
    centres = [float((row.sum(axis=0) * np.arange(W // 8)).sum() / row.sum()) * 8 for row in painted]
    assert (np.diff(centres) > 0).all()
    assert centres[-1] - centres[0] == pytest.approx(12, abs=2)
    assert not told[0].hints[HINTS:].any()
    assert not told[2].hints[HINTS:].any()


def test_the_manifest_says_whether_the_denoiser_is_shown_maps(tmp_path: Path, group: DecodedGroup) -> None:
    assert load_bundle("nano").constants == load_bundle("nano").constants
    for maps in (0, MAPS):
        folder = tmp_path / str(maps)
        bundle = tiny_bundle(folder, constants=tiny_constants(maps=maps))
        hints = next(t for t in residual_contract(4, 8, maps)[DENOISER][0] if t.name == "hints")
        assert hints.shape[1] == HINTS + maps
        assert ('"maps"' in (folder / "manifest.json").read_text()) == (maps > 0)
        generator = LatentGenerator(Networks(bundle, load_backend("onnxruntime", threads=1)), LatentOptions(steps=1))
        assert len(list(generator.render_group(group, StageClock()))) == group.frames
    manifest = tmp_path / "0" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"steps"', '"maps": 4, "steps"', 1))
    with pytest.raises(BundleError, match="denoiser"):
        load_bundle(tmp_path / "0")
    with pytest.raises(ValueError, match="maps=3: expected 0 or 4"):
        tiny_constants(maps=3)


def test_a_denoiser_that_has_not_learnt_to_look_computes_what_it_did() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[train]'")
    from tgvc_export.nano.denoiser import Denoiser, add_maps

    torch.manual_seed(0)
    plain = Denoiser(8).eval()
    torch.nn.init.normal_(plain.finish.weight, std=0.1)  # a fresh one gives zero
    shown = Denoiser(8, MAPS).eval()
    shown.load_state_dict(add_maps(plain.state_dict(), MAPS))
    x, keys, hints = torch.randn(1, 8, 3, 6, 8), torch.randn(1, 16, 3, 6, 8), torch.rand(1, HINTS, 3, 6, 8)
    t = torch.full((1,), 400.0)
    with torch.no_grad():
        want = plain(x, t, x, keys, hints)
        got = shown(x, t, x, keys, torch.cat([hints, torch.rand(1, MAPS, 3, 6, 8)], dim=1))
    assert want.abs().max() > 0.1
    # products with zero are added in another order
    assert torch.allclose(got, want, atol=1e-5)


def test_training_on_maps_begins_at_the_trained_denoiser_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[train]'")
    from test_train import make_photo
    from tgvc_export.nano.autoencoder import Encoder
    from tgvc_export.nano.denoiser import Denoiser
    from tgvc_train import latents, prepare
    from tgvc_train.checkpoint import load_checkpoint, save_checkpoint
    from tgvc_train.maps import FOLDER, MapsRecipe, train_maps

    monkeypatch.setattr(prepare, "_SCENE_SIZE", (192, 144))
    monkeypatch.setattr(prepare, "_EFFORT", 0)
    photos = []
    for n in range(2):
        photos.append(tmp_path / f"photo{n}.png")
        cv2.imwrite(str(photos[-1]), make_photo(n))
    data, run = tmp_path / "data", tmp_path / "run"
    run.mkdir()
    (recipe,) = prepare.plan_samples([], photos[:1], 1, 3, "actdiff")
    assert recipe.profile == "actdiff"
    folder = prepare.make_sample(recipe, data)
    count, channels, *_ = np.load(folder / "maps.npy").shape
    assert (count, channels) == (17, MAPS)
    # a sample without trajectories has none, and keeps the name that it always had
    assert "profile" not in prepare.Recipe("x.png", "photo", 0, 0.01, 4, 1).name
    torch.manual_seed(0)
    encoder, denoiser = Encoder().eval(), Denoiser(8)
    save_checkpoint(run / "autoencoder.pt", {"encoder_average": encoder.state_dict()})
    loaded, digest = latents.load_encoder(run / "autoencoder.pt")
    latents.encode_all(data, loaded, digest)
    state = {"average": denoiser.state_dict(), "scale": torch.ones(8), "encoder": digest, "step": 1}
    save_checkpoint(run / "denoiser.pt", state)
    recipe_ = MapsRecipe(steps=3, batch=1, frames=4, cells=16)
    train_maps(data, digest, run, recipe_, stop=0)
    begun = load_checkpoint(run / FOLDER / "denoiser.pt")
    assert begun is not None
    assert torch.equal(begun["average"]["start.weight"][:, : 4 * 8 + HINTS], denoiser.start.weight)
    assert not begun["average"]["start.weight"][:, 4 * 8 + HINTS :].any()
    train_maps(data, digest, run, recipe_, stop=2)
    train_maps(data, digest, run, recipe_)
    assert load_checkpoint(run / FOLDER / "denoiser.pt")["step"] == 3
    with pytest.raises(ValueError, match="train the denoiser of this autoencoder first"):
        train_maps(data, "other", run, recipe_)
    (folder / "maps.npy").unlink()
    with pytest.raises(ValueError, match="--profile actdiff"):
        train_maps(data, digest, tmp_path / "run", recipe_)
