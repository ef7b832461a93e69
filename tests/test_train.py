"""The recipe of the shipped networks: data, windows, and training that can be interrupted."""

from __future__ import annotations

import math
import subprocess
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tgvc.synthesis.grain import fine_octave
from tgvc.types import picture_planes, picture_size

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[train]'")
from torch.nn import functional  # noqa: E402

from tgvc_export.nano.autoencoder import Decoder, Encoder, ScaledDecoder, ScaledEncoder  # noqa: E402
from tgvc_export.nano.denoiser import Denoiser  # noqa: E402
from tgvc_train import autoencode, latents, losses, pack, plot, prepare, samples, scenes  # noqa: E402
from tgvc_train.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from tgvc_train.losses import luma_of  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_photo(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (24, 36, 3), np.uint8)
    return cv2.resize(noise, (576, 384), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two prepared samples of generated photographs."""
    root = tmp_path_factory.mktemp("train")
    photos = []
    for n in range(2):
        photos.append(root / f"photo{n}.png")
        cv2.imwrite(str(photos[-1]), make_photo(n))
    recipes = prepare.plan_samples([], photos, 1, seed=3)
    for recipe in recipes:
        prepare.make_sample(recipe, root / "data")
    return root / "data"


def test_a_scene_is_decided_by_its_seed():
    scene = [scenes.film_photo(make_photo(0), make_photo(1), 5, 128, 96, seed) for seed in (1, 1, 2)]
    assert all(np.array_equal(a, b) for a, b in zip(scene[0], scene[1], strict=True))
    assert not np.array_equal(scene[0][0], scene[2][0])
    assert {picture_size(p) for p in scene[0]} == {(128, 96)}


def test_a_prepared_sample_is_what_the_codec_shows(data):
    for folder in data.iterdir():
        sample = samples.Sample.open(folder)
        count, rows, width = sample.source.shape
        assert sample.warp.shape == sample.source.shape
        assert sample.hints.shape == (count, 4, rows * 2 // 3 // 8, width // 8)
        keys = np.flatnonzero(sample.around[:, 0] == sample.around[:, 1])
        assert keys[0] == 0
        assert keys[-1] == count - 1
        between = np.setdiff1d(np.arange(count), keys)
        assert np.all(sample.around[between, 0] < between)
        assert np.all(between < sample.around[between, 1])
        assert float(sample.hints.min()) >= 0
        assert float(sample.hints.max()) <= 1
        difference = sample.source.astype(float) - sample.warp
        assert 0 < np.sqrt(np.mean(difference**2)) < 40  # coded, and still the same scene


def test_preparing_again_makes_nothing_new(data):
    recipe = prepare.Recipe("x.png", "photo", 0, 0.01, 4, 1)
    (data / recipe.name).mkdir()
    assert prepare.make_sample(recipe, data) == data / recipe.name
    (data / recipe.name).rmdir()


def test_planes_hold_every_pixel_once(data):
    picture = samples.Sample.open(next(data.iterdir())).source[0]
    width, height = picture_size(picture)
    planes = torch.from_numpy(samples.cut_planes(picture, 0, 0, width, height))[None]
    luma = (luma_of(planes)[0, 0] + 1) * 127.5
    assert np.array_equal(luma.round().numpy(), picture_planes(picture)[0])


def test_windows_show_neighbouring_frames_of_one_place(data):
    drawn = samples.Samples(data).window(np.random.default_rng(0), 2, 4, 64)
    assert drawn.source.shape == drawn.warp.shape == drawn.before.shape == (2, 4, 6, 32, 32)
    assert drawn.hints.shape == (2, 4, 4, 8, 8)
    place = drawn.hints[:, 1, :, 0, 0]  # tau
    on_key = place == 0
    for batch, frame in zip(*np.nonzero(on_key.numpy()), strict=True):
        assert torch.equal(drawn.warp[batch, frame], drawn.before[batch, frame])


def test_training_goes_on_as_if_never_interrupted(data, tmp_path):
    recipe = autoencode.AutoencoderRecipe(steps=3, batch=1, crop=64, critic_from=1)
    autoencode.train_autoencoder(data, tmp_path / "whole", recipe)
    autoencode.train_autoencoder(data, tmp_path / "parts", recipe, stop=2)
    autoencode.train_autoencoder(data, tmp_path / "parts", recipe)
    whole, parts = (load_checkpoint(tmp_path / n / "autoencoder.pt") for n in ("whole", "parts"))
    assert whole is not None
    assert parts is not None
    assert whole["step"] == parts["step"] == 3
    for name in ("encoder", "decoder", "critic", "encoder_average"):
        for key, value in whole[name].items():
            assert torch.equal(value, parts[name][key]), f"{name}.{key}"


def test_latents_of_a_window_match_the_encoder(data, tmp_path):
    torch.manual_seed(0)
    encoder = Encoder().eval()
    save_checkpoint(tmp_path / "autoencoder.pt", {"encoder_average": encoder.state_dict()})
    loaded, digest = latents.load_encoder(tmp_path / "autoencoder.pt")
    latents.encode_all(data, loaded, digest)
    drawn = latents.LatentSamples(data, digest)
    window = drawn.window(np.random.default_rng(0), 2, 3, 16)
    assert window.target.shape == window.base.shape == (2, 8, 3, 16, 16)
    assert window.keys.shape == (2, 16, 3, 16, 16)
    everything = np.concatenate([s.latents[:, 0].astype(float) - s.latents[:, 1] for k in drawn.kinds for s in k])
    spread = np.sqrt(np.square(everything).mean(axis=(0, 2, 3))) / drawn.scale
    assert np.allclose(spread, 1, atol=0.3)  # the deviation is taken from every fourth frame


def test_a_fresh_decoder_shows_the_weight_free_picture_and_lacks_little():
    planes, noise = torch.rand(2, 6, 32, 48), torch.randn(2, 8, 8, 12)
    shown, lack = Decoder()(noise, planes)
    assert torch.equal(shown, planes)
    assert lack.shape == (2, 1, 32, 48)
    assert torch.allclose(lack, torch.tensor(math.exp(-8)))


def test_the_amount_of_grain_settles_at_the_energy_that_is_lacking():
    torch.manual_seed(0)

    def textured(deviation):
        luma = deviation * torch.randn(2, 1, 96, 96)
        return torch.cat([functional.pixel_unshuffle(luma, 2), torch.zeros(2, 2, 48, 48)], dim=1)

    painted, source = textured(0.02), textured(0.1)
    had, whole = (float(losses.fine_octave(losses.luma_of(p)).square().mean()) for p in (painted, source))
    level = torch.full((1,), -7.0, requires_grad=True)
    optimiser = torch.optim.Adam([level], 0.1)
    for _ in range(80):
        optimiser.zero_grad()
        losses.grain_loss(level.exp().expand(2, 1, 48, 48), painted, source, 0.5).backward()
        optimiser.step()
    assert abs(float(level.detach().exp()) / (0.5 * whole - had) - 1) < 0.05  # patches at the edges count less


def test_the_grain_of_the_recipe_is_what_the_decoder_adds():
    luma = np.random.default_rng(0).normal(size=(32, 48)).astype(np.float32)
    ours = losses.fine_octave(torch.from_numpy(luma)[None, None])[0, 0].numpy()
    # at the edges the recipe sees black, the decoder a mirror
    np.testing.assert_allclose(ours[2:-2, 2:-2], fine_octave(luma)[2:-2, 2:-2], atol=1e-6)


def test_scaling_the_latents_changes_no_luma_and_chroma_stays():
    torch.manual_seed(0)
    encoder, decoder, scale = Encoder(), Decoder(), torch.rand(8) + 0.5
    torch.nn.init.normal_(decoder.finish.weight, std=0.02)
    torch.nn.init.normal_(decoder.lack["fine"].weight, std=0.02)
    planes = torch.rand(1, 6, 32, 48)
    plain = decoder(encoder(planes), planes)
    scaled = ScaledDecoder(decoder, scale)(ScaledEncoder(encoder, scale)(planes), planes)
    for a, b in ((plain[0][:, :4], scaled[0][:, :4]), (plain[1], scaled[1])):
        assert torch.allclose(a, b, atol=1e-5)  # a division and a product, rounded in float32
    assert torch.equal(scaled[0][:, 4:], planes[:, 4:])
    assert not torch.equal(plain[0][:, 4:], planes[:, 4:])


@pytest.mark.parametrize("shape", [(1, 1, 6, 8), (2, 5, 10, 4)])
def test_the_denoiser_takes_any_even_size_and_length(shape):
    batch, frames, height, width = shape
    latent = torch.randn(batch, 8, frames, height, width)
    keys, hints = torch.randn(batch, 16, frames, height, width), torch.rand(batch, 4, frames, height, width)
    assert Denoiser()(latent, torch.full((batch,), 500.0), latent, keys, hints).shape == latent.shape


def test_a_pack_stays_under_its_limit(data, tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), make_photo(5))
    root = Path(__file__).parents[1]
    target = tmp_path / "pack.tar"
    pack.pack_training(root, [], [], [], target, limit=1 << 30)
    limit = target.stat().st_size + 300_000
    large, small = tmp_path / "large.mp4", tmp_path / "small.mp4"
    large.write_bytes(bytes(280_000))
    small.write_bytes(bytes(1000))
    assert pack.pack_training(root, [large, small], [photo] * 50, [], target, limit)[0] == 1  # half for photographs
    clips, photos = pack.pack_training(root, [], [photo] * 50, [], target, limit)
    assert clips == 0
    assert 0 < photos < 50
    with tarfile.open(target) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    listed = prepare.allowed_files(tmp_path / "unpacked" / "photos" / "MANIFEST.tsv")
    assert len(listed) == photos
    script = (tmp_path / "unpacked" / "train.sh").read_text()
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
    assert target.stat().st_size <= limit
    with pytest.raises(ValueError, match="expected at most 1000"):
        pack.pack_training(root, [], [photo], [], target, limit=1000)


def test_losses_become_a_picture(tmp_path):
    log = tmp_path / "a.jsonl"
    log.write_text('{"step": 100, "loss": 2.0}\n{"step": 200, "loss": 1.0}\n')
    plot.plot_logs([log], tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")).min() < 255
    with pytest.raises(ValueError, match="train first"):
        plot.plot_logs([], tmp_path / "b.png")
