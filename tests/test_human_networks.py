"""MTTF's networks in torch: published sizes, conventions written out by hand, the recipe of the nano ones."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from human_samples import SMALL_MTTF
from tgvc.types import picture_planes
from video_samples import psnr, smooth_picture

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[train]'")

from tgvc.models.nets import pack_planes, unpack_planes  # noqa: E402
from tgvc_export.mttf.config import BODIES, FACES, NANO  # noqa: E402
from tgvc_export.mttf.generator import look_planes  # noqa: E402
from tgvc_export.mttf.grids import enlarge_grid, look, pixel_grid, shrink  # noqa: E402
from tgvc_export.mttf.motion import MotionNetwork  # noqa: E402
from tgvc_export.mttf.networks import FrameNetwork, KeyNetwork, MeasuredNetwork, Mttf, PredictorNetwork  # noqa: E402
from tgvc_export.mttf.predictor import Gdn, Head, Regions  # noqa: E402
from tgvc_train import human, human_data  # noqa: E402
from tgvc_train.checkpoint import load_checkpoint  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def millions(*modules) -> float:
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


# ---- the published sizes


def test_the_full_width_has_the_published_number_of_parameters():
    with torch.device("meta"):
        mttf = Mttf(replace(FACES, paths=1))
    hourglass = mttf.generator.background.hourglass
    rest = millions(mttf) - millions(mttf.predictor, mttf.motion, hourglass)
    # the digits that the notes on the published code give
    assert round(millions(mttf.predictor), 1) == 14.3
    assert round(millions(mttf.motion, hourglass), 1) == 113.9
    assert round(rest) == 32
    assert round(millions(mttf) - millions(mttf.predictor)) == 146


@pytest.mark.parametrize(("config", "sizes"), [(FACES, (512, 256, 128)), (BODIES, (768, 384, 192))])
def test_three_sizes_of_pictures_meet_at_one_size_of_cells(config, sizes):
    cells = config.feature_size
    with torch.device("meta"):
        mttf = Mttf(config)
        for path, size in enumerate(sizes):
            picture = torch.zeros(1, 3, size, size)
            features, state = PredictorNetwork(mttf, path)(picture)
            skips = KeyNetwork(mttf, path)(picture)
            painted = FrameNetwork(mttf, path)(picture, features, state, torch.zeros(2, 40), *skips)
            assert features.shape == (1, 20, cells, cells)
            assert state.shape == (1, 40)
            assert skips[-1].shape == (1, 512, cells, cells)
            assert [skip.shape[2] // cells for skip in skips] == config.factors(path)
            assert painted.shape == (2, 3, size, size)


def test_a_head_steps_down_to_one_cell_at_the_published_sizes():
    for cells, sizes in ((64, [32, 16, 8, 4, 2]), (96, [48, 24, 12, 6, 3])):
        with torch.device("meta"):
            head, x = Head(35, 20, 20), torch.zeros(1, 35, cells, cells)
            found = []
            for step in head.steps:
                x = step(x)
                if not isinstance(step, Gdn):
                    found.append(x.shape[2])
        assert found == sizes
        assert head.last(x).shape[2:] == (1, 1)


# ---- conventions, written out by hand


def bilinear(picture: np.ndarray, x: float, y: float, *, border: bool) -> float:
    """A picture (h, w) at a place in px, pixel centres on whole numbers; beyond it zero, or its nearest pixel."""
    height, width = picture.shape
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(y - row)) * (1 - abs(x - column))
            inside = 0 <= row < height and 0 <= column < width
            if inside or border:
                total += weight * picture[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
    return total


@pytest.mark.parametrize("exact", [False, True])
def test_moving_is_what_the_convention_says_pixel_by_pixel(exact):
    rng = np.random.default_rng(2)
    height, width = 6, 9
    picture, flow = rng.normal(size=(height, width)), rng.normal(0, 2, (2, height, width))
    grid = pixel_grid(torch.tensor(flow[None], dtype=torch.float32), exact=exact)
    moved = look(torch.tensor(picture[None, None], dtype=torch.float32), grid, exact=exact)[0, 0].numpy()
    for row in range(height):
        for column in range(width):
            x, y = column + flow[0, row, column], row + flow[1, row, column]
            if not exact:  # to -1..1 over the centres of the outermost pixels, and back over their outer edges
                x = ((2 * x / (width - 1) - 1 + 1) * width - 1) / 2
                y = ((2 * y / (height - 1) - 1 + 1) * height - 1) / 2
            else:
                x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
            wanted = bilinear(picture, x, y, border=exact)
            # float32 grids: 1e-6 of a picture nine pixels wide, times slopes of a few
            assert moved[row, column] == pytest.approx(wanted, abs=1e-4)


def test_flow_zero_changes_a_picture_in_the_published_convention_and_not_in_ours():
    picture = torch.rand(1, 3, 16, 16) + 0.5
    still = torch.zeros(1, 2, 16, 16)
    published, ours = (look(picture, pixel_grid(still, exact=exact), exact=exact) for exact in (False, True))
    # the corner is looked at half a pixel outside on both axes: a quarter of it, and nothing else
    assert published[0, 0, 0, 0] == pytest.approx(float(picture[0, 0, 0, 0]) / 4, rel=1e-4)
    assert torch.allclose(ours, picture, atol=1e-6)


def test_pictures_shrink_over_corners_as_published_and_by_means_in_ours():
    picture = torch.arange(64.0).reshape(1, 1, 8, 8)
    corners = shrink(picture, 2, exact=False)[0, 0]
    places = [n * 7 / 3 for n in range(4)]
    wanted = [[bilinear(picture[0, 0].numpy(), x, y, border=True) for x in places] for y in places]
    assert np.allclose(corners.numpy(), wanted, atol=1e-4)
    assert corners[0, 0] == picture[0, 0, 0, 0]
    assert corners[-1, -1] == picture[0, 0, -1, -1]
    means = shrink(picture, 2, exact=True)[0, 0]
    assert means[0, 0] == picture[0, 0, :2, :2].mean()


def test_grids_grow_as_published_by_interpolating_places():
    flow = torch.randn(1, 2, 4, 4)
    grid = pixel_grid(flow, exact=False)
    grown = enlarge_grid(grid, 4, exact=False)[0].numpy()
    for axis in (0, 1):
        plane = grid[0, :, :, axis].numpy()
        for row, column in ((0, 0), (5, 9), (15, 15)):
            x, y = (column + 0.5) / 4 - 0.5, (row + 0.5) / 4 - 0.5
            wanted = bilinear(plane, min(max(x, 0), 3), min(max(y, 0), 3), border=True)
            assert grown[row, column, axis] == pytest.approx(wanted, abs=1e-5)


def test_candidates_are_weighed_by_two_masks_of_35_and_5():
    config = replace(FACES, motion_width=2, motion_most=4, levels=2, kernel=1)
    network = MotionNetwork(config).eval()
    features, small = torch.randn(1, 20, 8, 8), torch.rand(1, 3, 8, 8)
    source, driving = torch.randn(1, 40), torch.randn(1, 40)
    seen: dict[str, torch.Tensor] = {}
    network.flows.register_forward_hook(lambda _, __, out: seen.update(flows=out))
    network.masks.register_forward_hook(lambda _, __, out: seen.update(logits=out))
    network.flow.register_forward_pre_hook(lambda _, given: seen.update(maps=given[0]))
    network.mask.register_forward_pre_hook(lambda _, given: seen.update(heat=given[0]))
    front, behind, _, _, _ = network(features, source, driving, small)
    one, two = (features * s[:, :20, None, None] + s[:, 20:, None, None] for s in (source, driving))
    assert torch.equal(seen["maps"], torch.cat([one, two], dim=1))  # source first where flows are made,
    heat = seen["heat"].reshape(40, 4, 8, 8)
    assert torch.equal(heat[:, 0], torch.cat([two, one], dim=1)[0])  # and last beside what they move
    flows, logits = seen["flows"].reshape(40, 2, 8, 8), seen["logits"][0]
    for grid, part in ((front, range(35)), (behind, range(35, 40))):
        weights = torch.softmax(torch.stack([logits[k] for k in part]), dim=0)
        mixed = sum(
            w * pixel_grid(flows[k][None], exact=False)[0] for w, k in zip(weights[..., None], part, strict=True)
        )
        assert torch.allclose(grid[0], mixed, atol=1e-5)
    for k in (0, 17, 39):
        moved = look(small, pixel_grid(flows[k][None], exact=False), exact=False)
        assert torch.allclose(heat[k, 1:], moved[0], atol=1e-5)


def test_divisive_norm_is_its_formula():
    norm = Gdn(3)
    with torch.no_grad():
        norm.beta.copy_(torch.tensor([1.0, 2.0, 0.5]))
        norm.gamma.copy_(torch.rand(3, 3))
    x = torch.randn(2, 3, 4, 5)
    wanted = torch.empty_like(x)
    for c in range(3):
        size = norm.beta[c] + sum(norm.gamma[c, d] * x[:, d] ** 2 for d in range(3))
        wanted[:, c] = x[:, c] / size.sqrt()
    assert torch.allclose(norm(x), wanted, atol=1e-6)
    with torch.no_grad():
        norm.beta.fill_(-1)
        norm.gamma.fill_(-1)
    norm.clamp()
    assert torch.isfinite(norm(x)).all()


@pytest.mark.parametrize("size", [(16, 16), (8, 24)])
def test_regions_tell_affine_motion_at_any_size_and_stillness_as_zero(size):
    regions, (height, width) = Regions(5, 4, 6), size
    y, x = torch.meshgrid(*((2 * torch.arange(n) + 1 - n) * (4 / n) for n in size), indexing="ij")
    across = 0.5 + 0.2 * x - 0.1 * y  # eighths of the width
    motion = torch.stack([across * (width / 8), torch.full_like(x, -0.25) * (height / 8)])[None]
    trust, seen = torch.ones(1, 1, height, width), torch.rand(1, 5, height, width)
    moves, places = regions.measure(seen, motion, trust)
    mean, bends = moves.reshape(4, 6)[:, :2], moves.reshape(4, 6)[:, 2:]
    where = places.reshape(4, 2)
    assert torch.allclose(mean[:, 0], 0.5 + 0.2 * where[:, 0] - 0.1 * where[:, 1], atol=1e-5)
    assert torch.allclose(mean[:, 1], torch.tensor(-0.25), atol=1e-5)
    assert (bends[:, 0] > 0).all()  # what grows to the right moves more there
    assert torch.allclose(bends[:, 1::2], torch.zeros(4, 2), atol=1e-5)  # up and down all move alike
    assert torch.equal(regions(seen, torch.zeros_like(motion), trust), torch.zeros(1, 6))


def test_motion_that_is_not_believed_hardly_counts():
    regions = Regions(3, 2, 4)
    motion, trust, seen = torch.ones(1, 2, 8, 8), torch.ones(1, 1, 8, 8), torch.rand(1, 3, 8, 8)
    wrong = motion.clone()
    wrong[..., 5:], trust[..., 5:] = -9, 0
    right, misled = (regions.measure(seen, m, trust)[0][:, :2] for m in (motion, wrong))
    assert (right - misled).abs().max() < 0.3  # 10 cells of error at a fiftieth of the weight
    assert not torch.equal(right, misled)


# ---- a fresh nano network shows its key picture


def test_a_fresh_network_shows_the_key_picture_whatever_it_is_told():
    mttf = Mttf(NANO).eval()
    planes = torch.from_numpy(pack_planes([smooth_picture(0, 128, 128)]))
    motion = torch.cat([torch.zeros(1, 2, 32, 32), torch.randn(1, 2, 32, 32)])
    features, driving = MeasuredNetwork(mttf)(planes, motion, torch.ones(2, 1, 32, 32))
    state = driving[:1]
    assert not state.any()
    assert driving[1].any()
    painted = FrameNetwork(mttf)(planes, features, state, driving, *KeyNetwork(mttf)(planes))
    # luma is looked at with grids in float32, off by a ten-millionth of the width
    assert torch.allclose(painted, planes.expand_as(painted), atol=1e-4)


def test_luma_moves_by_whole_pixels_and_chroma_by_halves():
    picture = smooth_picture(0, 64, 64)
    planes = torch.from_numpy(pack_planes([picture]))
    flow = torch.zeros(1, 2, 16, 16)
    flow[:, 0], flow[:, 1] = 1.0, -0.5  # cells of 4 px: 4 px to the right, 2 px up
    grid = enlarge_grid(pixel_grid(flow, exact=True), 2, exact=True)
    (moved,) = unpack_planes(look_planes(planes, grid).numpy())
    wanted = [
        np.roll(plane, (step, -2 * step), (0, 1))
        for plane, step in zip(picture_planes(picture), (2, 1, 1), strict=True)
    ]
    inner = slice(8, -8)
    for got, plane in zip(picture_planes(moved), wanted, strict=True):
        assert np.abs(got[inner, inner].astype(int) - plane[inner, inner]).max() <= 1  # rounding of a float32 grid


# ---- the recipe


def test_a_picture_bent_by_a_flow_is_undone_by_looking_there():
    rng = np.random.default_rng(3)
    picture = smooth_picture(0, human_data.SIZE, human_data.SIZE)
    flow = human_data.bending(rng, human_data.SIZE)
    bent = human_data.bend(picture, flow)
    cells = cv2.resize(flow, (64, 64), interpolation=cv2.INTER_AREA).transpose(2, 0, 1) / 4
    grid = enlarge_grid(pixel_grid(torch.from_numpy(cells[None].copy()), exact=True), 2, exact=True)
    (looked,) = unpack_planes(look_planes(torch.from_numpy(pack_planes([picture])), grid).numpy())
    inner = slice(48, -48)  # a bent picture is reflected at its border, a looked-at one continued
    a, b = (picture_planes(p)[0][inner, inner] for p in (bent, looked))
    still = picture_planes(picture)[0][inner, inner]
    assert psnr(a, b) > psnr(a, still) + 12


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("human-data")
    noise = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    photo = folder / "photo.png"
    cv2.imwrite(str(photo), cv2.resize(noise, (400, 320), interpolation=cv2.INTER_CUBIC))
    human_data.prepare_clip(photo, "photo", folder / "data", 5)
    return folder / "data"


def test_a_prepared_clip_holds_key_pictures_as_coded(data):
    (clip,) = data.iterdir()
    frames, keys = (np.load(clip / f"{name}.npy") for name in ("frames", "keys"))
    assert frames.shape == (17, 384, 256)
    assert keys.shape == (3, 3, 384, 256)
    for key, source in zip(keys, frames[::8], strict=True):
        errors = [psnr(coded, source) for coded in key]
        assert errors == sorted(errors, reverse=True)
        assert 15 < errors[-1] < errors[0] < 60


def test_pairs_tell_where_the_driving_frame_lies_in_the_key_picture(data):
    pairs = human_data.PairSource(data).draw(np.random.default_rng(0), 6, bent=1.0)
    grid = pixel_grid(pairs.motion, exact=True)
    small = [shrink(p[:, :4].mean(dim=1, keepdim=True), 2, exact=True) for p in (pairs.source, pairs.driving)]
    inner = slice(12, -12)
    error = (look(small[0], grid, exact=True) - small[1])[..., inner, inner].abs()
    moved, trust = error.mean(), pairs.trust[..., inner, inner]
    still = (small[0] - small[1])[..., inner, inner].abs().mean()
    assert moved < 0.3 * still
    assert (trust * error).sum() / trust.sum() < 0.8 * moved  # what is believed is nearer than the rest


def test_training_goes_on_where_it_was_interrupted(data, tmp_path):
    recipe = human.HumanRecipe(steps=4, batch=2, paint_from=2, thrift_over=2)
    human.train_human(data, tmp_path / "whole", recipe, SMALL_MTTF)
    human.train_human(data, tmp_path / "parts", recipe, SMALL_MTTF, stop=3)
    human.train_human(data, tmp_path / "parts", recipe, SMALL_MTTF)
    whole, parts = (load_checkpoint(tmp_path / name / "human.pt") for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 4
    for name, value in whole["networks"].items():
        assert torch.equal(value, parts["networks"][name]), name
    fresh = Mttf(SMALL_MTTF).state_dict()
    assert any(not torch.equal(value, fresh[name]) for name, value in whole["networks"].items())


def test_faces_that_are_measured_on_are_never_trained_with(tmp_path):
    lines = ["file\tcategory\tmay_train_shipped_weights"]
    names = ["a.mp4", "b.mp4", *(f"{name}.mp4" for name in human_data.HELD_OUT), "c.mp4"]
    categories = ["talking head", "water", "talking head", "talking head", "people/gesture"]
    for name, category in zip(names, categories, strict=True):
        (tmp_path / name).touch()
        lines.append(f"{name}\t{category}\t{'no' if name == 'c.mp4' else 'yes'}")
    (tmp_path / "MANIFEST.tsv").write_text("\n".join(lines) + "\n")
    people, others = human_data.find_people(tmp_path / "MANIFEST.tsv")
    assert [p.name for p in people] == ["a.mp4"]
    assert [p.name for p in others] == ["b.mp4"]
