"""The autoencoder and the image projection of the published system: names, refusals, exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")

from published_samples import (  # noqa: E402
    compare_with_torch,
    engine_size,
    export_net,
    own_shapes,
    published_shapes,
    random_weights,
)
from tgvc_export.dynamicrafter.autoencoder import Autoencoder, AutoencoderConfig, sample_moments  # noqa: E402
from tgvc_export.dynamicrafter.networks import ImageContext, VaeDecoder, VaeEncoder  # noqa: E402
from tgvc_export.dynamicrafter.resampler import Resampler, ResamplerConfig  # noqa: E402
from tgvc_export.openclip.image import ImageConfig, ImageTower  # noqa: E402

PUBLISHED_OPTIONS = {
    "embed_dim": 4,
    "ddconfig": {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 128,
        "ch_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
    },
}


def example(net: str, n: int, h: int, w: int) -> Mapping[str, torch.Tensor]:
    """Random pictures or latents of a small autoencoder with two levels."""
    generator = torch.Generator().manual_seed(n)
    if net == "vae_encoder":
        return {"picture": torch.rand(n, 3, 2 * h, 2 * w, generator=generator) * 2 - 1}
    return {"z": torch.randn(n, 4, h, w, generator=generator)}


def small(net: str) -> torch.nn.Module:
    torch.manual_seed(3)
    config = AutoencoderConfig(width=32, multiples=(1, 2), depth=1)
    return random_weights({"vae_encoder": VaeEncoder, "vae_decoder": VaeDecoder}[net](Autoencoder(config)))


def test_names_and_shapes_of_the_autoencoder_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        module = Autoencoder()
    assert own_shapes(module) == published_shapes("dynamicrafter_vae")


def test_names_and_shapes_of_the_image_projection_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        module = Resampler()
    assert own_shapes(module) == published_shapes("dynamicrafter_resampler")


def test_published_options_are_the_default() -> None:
    assert AutoencoderConfig.from_options(PUBLISHED_OPTIONS) == AutoencoderConfig()
    assert AutoencoderConfig().cell_px == 8
    assert ResamplerConfig().tokens == 256


@pytest.mark.parametrize("change", [{"attn_resolutions": [32]}, {"double_z": False}, {"out_ch": 4}])
def test_options_of_another_autoencoder_are_refused(change: dict[str, object]) -> None:
    inner = {**PUBLISHED_OPTIONS["ddconfig"], **change}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="expected double_z"):
        AutoencoderConfig.from_options({**PUBLISHED_OPTIONS, "ddconfig": inner})


def test_options_of_another_image_projection_are_refused() -> None:
    with pytest.raises(ValueError, match="options max_seq_len"):
        ResamplerConfig.from_options({"dim": 64, "max_seq_len": 257})


def test_a_projection_that_does_not_fit_its_tower_is_refused() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="width 1280, the tower's are 64"):
        ImageContext(ImageTower(ImageConfig(width=64, layers=1, head_width=16)), Resampler())


def test_a_posterior_of_absurd_width_still_gives_finite_samples() -> None:
    moments = torch.tensor([0.0, 1.0, 1e9, -1e9]).reshape(1, 4, 1, 1)
    sample = sample_moments(moments, torch.ones(1, 2, 1, 1)).flatten()
    assert sample[0] == pytest.approx(22026.46, rel=1e-5)  # e to the half of the largest logarithm, 20
    assert sample[1] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("net", ["vae_encoder", "vae_decoder"])
def test_an_exported_half_of_the_autoencoder_takes_any_size_and_builds_for_gpus(net: str, tmp_path: Path) -> None:
    module = small(net)
    record = export_net(net, module, example(net, 3, 5, 7), tmp_path, "fp32")
    errors = compare_with_torch(record, module, [example(net, 3, 5, 7), example(net, 1, 6, 4), example(net, 2, 1, 3)])
    assert errors["max_abs"] < 1e-4  # the tolerance of the reference tensors
    assert engine_size(record) > 10_000


@pytest.mark.parametrize("net", ["vae_encoder", "vae_decoder"])
def test_a_half_of_the_autoencoder_in_halves_of_one_size_is_near_and_builds_for_gpus(net: str, tmp_path: Path) -> None:
    module = small(net)
    record = export_net(net, module, example(net, 1, 5, 7), tmp_path, "fp16", static=True)
    # 11 bits of a half, some 20 roundings one after the other; with norms in halves it would be ten times that
    assert compare_with_torch(record, module, [example(net, 1, 5, 7)])["relative_rms"] < 5e-3
    assert engine_size(record) > 10_000
