"""Stable Video Diffusion and MOFA-Video's adapter: names, numbers, conventions, loader, exports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")

from safetensors.torch import load_file, save_file  # noqa: E402

from animation_samples import OPTIONS, SIZES, random_network, write_folder  # noqa: E402
from tgvc.backends.base import load_backend  # noqa: E402
from tgvc.backends.spec import bind_shapes  # noqa: E402
from tgvc.errors import ConfigError  # noqa: E402
from tgvc.models.bundle import load_bundle  # noqa: E402
from tgvc.models.contract import contract_of  # noqa: E402
from tgvc.models.footprint import decoding_footprint  # noqa: E402
from tgvc_export.check import Case, check_files, describe_file  # noqa: E402
from tgvc_export.checkpoint_records import CheckpointError  # noqa: E402
from tgvc_export.command import export  # noqa: E402
from tgvc_export.graph_rules import fix_specs  # noqa: E402
from tgvc_export.mofa.adapter import Adapter  # noqa: E402
from tgvc_export.mofa.autoencoder import TemporalVae  # noqa: E402
from tgvc_export.mofa.bundle import choose_precision, make_example, wrap_network  # noqa: E402
from tgvc_export.mofa.config import AdapterConfig, TemporalVaeConfig, VideoConfig  # noqa: E402
from tgvc_export.mofa.image import EmbeddingTower, TowerConfig  # noqa: E402
from tgvc_export.mofa.published import AnimationSizes, open_folder  # noqa: E402
from tgvc_export.mofa.splat import invert_flow, look, shrink_flow, splat  # noqa: E402
from tgvc_export.mofa.unet import VideoUNet, published_sums  # noqa: E402
from tgvc_export.onnx_file import export_module  # noqa: E402
from tgvc_kernels import reference  # noqa: E402

CONTRACT = contract_of(SIZES.constants())
IDS = torch.tensor([[6.0, 128.0, 0.02]])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def digest(module: torch.nn.Module) -> str:
    lines = sorted(f"{name} {tuple(value.shape)}" for name, value in module.state_dict().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def millions(module: torch.nn.Module) -> float:
    return round(sum(value.numel() for value in module.parameters()) / 1e6, 1)


# ---- the published files


def test_names_and_shapes_are_those_of_diffusers_and_so_are_the_numbers_of_parameters() -> None:
    with torch.device("meta"):
        unet, vae, tower, adapter = VideoUNet(), TemporalVae(), EmbeddingTower(), Adapter()
    # of the classes of diffusers 0.42.1 with the published configurations
    assert digest(unet) == "27ca5984b2f20107f54b08cc8cab276e2ea3577bcc3d4abc0f8f79643fcb0689"
    assert digest(vae) == "e7f1f9b270706d3824ad0f600195f31c0f6400f8077cd2b75521d8ad43010e44"
    assert [millions(each) for each in (unet, vae, tower)] == [1524.6, 97.7, 632.1]
    copied = {name for name in unet.state_dict() if not name.startswith(("up_blocks.", "conv_norm_out.", "conv_out."))}
    own = {name.rsplit(".", 1)[0] for name in adapter.state_dict() if name not in copied}
    assert copied <= set(adapter.state_dict())
    assert own == {
        *(f"controlnet_down_blocks.{n}" for n in range(12)),
        "controlnet_mid_block",
        *(f"controlnet_cond_embedding.{name}" for name in ("conv_in", "conv_out", *(f"blocks.{n}" for n in range(6)))),
        *(f"flow_encoder.encoders.{n}.conv_in" for n in range(3)),
        *(f"flow_encoder.zeroconvs.{n}" for n in range(3)),
    }


def test_at_full_width_every_network_gives_the_shapes_of_the_contract() -> None:
    sizes = AnimationSizes()
    contract = contract_of(sizes.constants())
    lengths = {"N": 1, "B": 1, "T": 2, "h": 1, "w": 2}
    adapter, unet, vae, tower = (sizes.build(name) for name in ("controlnet", "unet", "vae", "image_encoder"))
    nets = {"reference": adapter, "adapter": adapter, "unet": unet, "vae_encoder": vae, "vae_decoder": vae}
    for net, module in (nets | {"image_tower": tower}).items():
        inputs, outputs = (fix_specs(specs, lengths) for specs in contract[net])
        with torch.device("meta"), torch.no_grad():
            found = wrap_network(net, module)(**{spec.name: torch.zeros(spec.shape) for spec in inputs})
        found = found if isinstance(found, tuple) else (found,)
        assert [tuple(value.shape) for value in found] == [spec.shape for spec in outputs]
    assert len(contract["adapter"][1]) == 13


def test_noise_goes_from_much_to_little() -> None:
    with pytest.raises(ValueError, match="sigma_min=700: expected less than sigma_max=700"):
        replace(SIZES.constants(), sigma_min=700.0)


def test_small_networks_give_what_those_of_diffusers_give() -> None:
    # recorded from diffusers 0.42.1 with the same random weights
    generator = torch.Generator().manual_seed(3)
    x, embedding = torch.randn(1, 8, 3, 8, 6, generator=generator), torch.randn(1, 24, generator=generator)
    z, picture = torch.randn(1, 3, 4, 2, 2, generator=generator), torch.randn(1, 3, 16, 24, generator=generator)
    vae = random_network("vae")
    with torch.no_grad():
        v = random_network("unet")(x, torch.tensor([0.7]), IDS, embedding)
        decoded, moments = vae.decode(z), vae.encode(picture)
    # sums in another order, a few dozen layers deep
    close = {"rtol": 0, "atol": 2e-5}
    np.testing.assert_allclose(v.flatten()[::123], [0.0886439, -0.2510720, -0.4155603, -0.8441062, -0.3784405], **close)
    wanted = [-0.0921810, -0.4120686, 1.1688851, -0.2941063, -0.1900871, -0.3557394]
    np.testing.assert_allclose(decoded.flatten()[::401], wanted, **close)
    wanted = [0.0642566, -0.1419423, 0.6068739, 0.6223017, 0.4611668, 1.1561683, 0.1980088]
    np.testing.assert_allclose(moments.flatten()[::7], wanted, **close)


def test_the_copy_has_its_own_number_of_heads_whatever_its_file_says() -> None:
    assert AdapterConfig.from_options({"num_attention_heads": [5, 10, 20, 20]}).num_attention_heads == (5, 10, 10, 20)
    assert VideoConfig().num_attention_heads == (5, 10, 20, 20)


@pytest.mark.parametrize(
    ("make", "options", "told"),
    [
        (VideoConfig, {"num_heads": 8}, "unknown options num_heads"),
        (VideoConfig, {"projection_class_embeddings_input_dim": 512}, "expected three times addition_time_embed_dim"),
        (VideoConfig, {"block_out_channels": [320, 640, 1280]}, "down_block_types of 4 levels"),
        (VideoConfig, {"num_attention_heads": [5, 10, 20, 3]}, "1280 channels: expected a multiple of 32 and of 3"),
        (AdapterConfig, {"block_out_channels": [320, 640, 1280, 640]}, "which need the same width"),
        (TemporalVaeConfig, {"layers_per_block": 1}, "expected 2 or more"),
        (TowerConfig, {"hidden_act": "quick_gelu"}, "expected gelu"),
    ],
)
def test_configurations_of_other_networks_are_refused(make: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make.from_options(options)


def test_networks_that_are_no_copy_of_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="layers_per_block: UNet 1, adapter 2: expected a copy"):
        AnimationSizes(unet=VideoConfig(layers_per_block=1))


# ---- the adapter


def test_residuals_are_added_once_per_level_that_follows() -> None:
    steps = [torch.zeros(1)] * 12
    sums = published_sums(steps, [torch.ones(1)] * 12, VideoConfig())
    assert [int(each) for each in sums] == [4, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1]
    with pytest.raises(ValueError, match="11 residuals for 12 steps"):
        published_sums(steps, [torch.ones(1)] * 11, VideoConfig())


def test_the_adapter_is_the_way_down_with_features_added_after_every_level_and_the_coarsest_twice() -> None:
    adapter, unet = random_network("controlnet"), random_network("unet")
    adapter.load_state_dict(unet.state_dict(), strict=False)
    identity = torch.eye(32)[:, :, None, None]
    for layer in (*adapter.controlnet_down_blocks, adapter.controlnet_mid_block):
        layer.weight.data, layer.bias.data = identity, torch.zeros(32)
    seen: dict[str, Any] = {}
    unet.up_blocks[0].register_forward_pre_hook(lambda _, given: seen.update(left=list(given[1]), middle=given[0]))
    adapter.mid_block.register_forward_pre_hook(lambda _, given: seen.update(before=given[0]))
    adapter.down_blocks[1].register_forward_pre_hook(lambda _, given: seen.update(second=given[0]))
    adapter.down_blocks[1].register_forward_hook(lambda _, given, out: seen.update(coarse=out[0]))
    generator = torch.Generator().manual_seed(1)
    x, embedding = torch.randn(1, 8, 2, 4, 4, generator=generator), torch.randn(1, 24, generator=generator)
    given = x, torch.tensor([0.3]), IDS, embedding
    moved = [torch.randn(1, 2, 32, side, side, generator=generator) for side in (4, 2)]
    with torch.no_grad():
        unet(*given)
        still = adapter(*given, [torch.zeros_like(each) for each in moved])
        # with as many heads the copy gives what it was copied from
        for found, wanted in zip(still, [*seen["left"], seen["middle"]], strict=True):
            torch.testing.assert_close(found, wanted)
        first, *_, halved, _, _ = adapter(*given, moved)
    torch.testing.assert_close(first, still[0] + moved[0][0])
    torch.testing.assert_close(seen["second"], halved + moved[1][0])
    torch.testing.assert_close(seen["before"], seen["coarse"] + 2 * moved[1][0])


def test_an_adapter_that_says_nothing_changes_nothing() -> None:
    unet = random_network("unet")
    generator = torch.Generator().manual_seed(2)
    given = torch.randn(1, 8, 2, 4, 4, generator=generator), torch.tensor([0.3]), IDS, torch.zeros(1, 24)
    sides = [4, 4, 2, 2, 2]
    silent = [torch.zeros(2, 32, side, side) for side in sides]
    with torch.no_grad():
        alone = unet(*given)
        assert torch.equal(unet(*given, silent), alone)
        assert not torch.allclose(unet(*given, [each + 0.1 for each in silent]), alone, atol=1e-3)


# ---- features that move


def swirl(height: int, width: int, size: float) -> torch.Tensor:
    """A smooth flow (1, 2, h, w) of so many cells at most, 0 at the border, in 1/64 cell."""
    y, x = np.mgrid[:height, :width] / (np.array([[[height]], [[width]]]) - 1.0)
    hill = np.sin(np.pi * x) ** 2 * np.sin(np.pi * y) ** 2
    flow = size * np.stack([hill * np.cos(2 * y), hill * np.sin(3 * x)])
    return torch.from_numpy(np.rint(flow * 64) / 64).float()[None]


def test_splatting_is_that_of_the_kernels() -> None:
    generator = torch.Generator().manual_seed(4)
    features = torch.round(torch.randn(2, 5, 12, 17, generator=generator) * 2**12) / 2**12
    flow = torch.round(torch.randn(2, 2, 12, 17, generator=generator) * 3 * 64) / 64  # also out of the picture
    found = splat(features, flow)
    for n in range(2):
        wanted = reference.splat(features[n].numpy(), flow[n].permute(1, 2, 0).numpy())
        # what hardly came is divided by its weight and 1e-7, here only by its weight, 2^-12 or more
        np.testing.assert_allclose(found[n], wanted[:-1], atol=2e-3)
        heavy = wanted[-1] > 0.1
        assert heavy.mean() > 0.5
        np.testing.assert_allclose(found[n][:, heavy], wanted[:-1, heavy], atol=1e-5)


def test_looking_by_the_inverse_flow_is_splatting_where_nothing_is_hidden() -> None:
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(56.0), indexing="ij")
    features = torch.stack([torch.sin(x / 6) + torch.cos(y / 5), torch.sin((x + y) / 7)])[None]
    flow = swirl(40, 56, 3.0)
    back = invert_flow(flow)
    assert float((back + look(flow, back)).abs().max()) < 1e-3  # cells; each round brings it nearer by half or more
    moved, looked = splat(features, flow), look(features, back)
    # both are interpolations of values up to 2, of which a cell changes 1/5 at most: second differences of 1/25 each
    assert float((moved - looked).abs().max()) < 0.1
    assert float((moved - features).abs().max()) > 0.5
    assert torch.allclose(splat(features, torch.zeros_like(flow)), features, atol=1e-6)


def test_flow_of_cells_is_that_of_their_first_pixels_in_cells() -> None:
    flow = torch.arange(2 * 64 * 128.0).reshape(1, 2, 64, 128)
    assert torch.equal(shrink_flow(flow, 32), flow[:, :, [[0], [32]], [0, 32, 64, 96]] / 32)


def test_the_first_frame_is_shown_the_key_picture_as_it_is() -> None:
    adapter = random_network("controlnet")
    generator = torch.Generator().manual_seed(5)
    picture = torch.randn(1, 3, 32, 48, generator=generator)
    flow = torch.zeros(1, 2, 2, 32, 48)
    flow[:, :, 0] = 16.0  # one cell of the coarsest, two of the finest, to the right
    with torch.no_grad():
        for forwards in (True, False):
            for level, moved in enumerate(adapter.describe(picture, flow, forwards)):
                cells = 2 >> level
                assert moved.shape[:2] == (1, 3)
                torch.testing.assert_close(moved[:, 1, :, :, cells:], moved[:, 0, :, :, :-cells])
                torch.testing.assert_close(moved[:, 2], moved[:, 1])


# ---- the published folder


def test_all_that_is_not_there_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "svd")
    (folder / "vae" / "config.json").unlink()
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(SystemExit) as end:
        export.main(["svd-mofa", "--checkpoint", str(folder), "-o", str(tmp_path / "bundle")], prog_name="tgvc export")
    told = capsys.readouterr().err.strip()
    assert end.value.code == 1
    assert len(told.splitlines()) == 1
    assert "unet/diffusion_pytorch_model.safetensors" in told
    assert "vae/config.json" in told


def test_all_faults_of_all_files_are_one_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "svd")
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(str(unet))
    del tensors["conv_in.bias"]
    tensors["time_embedding.linear_1.weight"] = torch.zeros(3, 3)
    tensors["ema.decay"] = torch.zeros(1)
    save_file(tensors, str(unet))
    tower = folder / "image_encoder" / "model.safetensors"
    old = load_file(str(tower)) | {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    del old["visual_projection.weight"]
    save_file(old, str(tower))
    with pytest.raises(CheckpointError) as fault:
        open_folder(folder).tensors()
    told = str(fault.value)
    assert "\n" not in told
    for part in (
        "1 missing: conv_in.bias",
        "1 of another shape: time_embedding.linear_1.weight (3, 3), expected (128, 32)",
        "1 unexpected: ema.decay",
        "1 missing: visual_projection.weight",
    ):
        assert part in told
    assert "position_ids" not in told


def test_halves_and_an_adapter_elsewhere_are_found(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "svd")
    (folder / "controlnet").rename(tmp_path / "adapter")
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    halves = {name: value.half() for name, value in load_file(str(file)).items()}
    file.unlink()
    save_file(halves, str(folder / "vae" / "diffusion_pytorch_model.fp16.safetensors"))
    opened = open_folder(folder, tmp_path / "adapter")
    vae = opened.load("vae", opened.tensors()["vae"])
    assert torch.equal(vae.quant_conv.weight, halves["quant_conv.weight"].float())
    assert opened.sizes == SIZES
    (folder / "unet" / "config.json").write_text(json.dumps(OPTIONS["unet"] | {"cross_attention_dim": 32}))
    with pytest.raises(CheckpointError, match="image tower gives 24, UNet takes 32"):
        open_folder(folder, tmp_path / "adapter")


# ---- exports


def test_features_move_in_the_shipped_runtime_as_in_torch(tmp_path: Path) -> None:
    inputs, outputs = CONTRACT["reference"]
    example = make_example(CONTRACT["reference"], small=True)
    lengths = bind_shapes(inputs, {name: tuple(value.shape) for name, value in example.items()})
    for forwards in (True, False):
        module, path = wrap_network("reference", random_network("controlnet"), forwards), tmp_path / f"{forwards}.onnx"
        export_module(module, example, inputs, outputs, path, precision="fp32", static=True)
        record = describe_file("reference", path, (fix_specs(inputs, lengths), fix_specs(outputs, lengths)))
        with torch.no_grad():
            wanted = [value.numpy() for value in module(**example)]
        case = Case({name: value.numpy() for name, value in example.items()}, wanted)
        # sums in another order; places of pixels are exact
        assert check_files([record], {"reference": [case]})["reference"]["max_abs"] < 1e-5


def test_only_the_encoder_of_pictures_never_computes_in_halves() -> None:
    used = {net: choose_precision(net, "fp16", upcast=True) for net in CONTRACT}
    assert {net for net, precision in used.items() if precision != "fp16"} == {"vae_encoder"}
    assert used["vae_encoder"] == "stored-halves"
    assert choose_precision("vae_encoder", "fp16", upcast=False) == "fp16"
    assert choose_precision("vae_encoder", "fp32", upcast=True) == "fp32"


@pytest.mark.slow
def test_a_published_folder_goes_through_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "svd")
    words = ["svd-mofa", "--checkpoint", str(folder), "-o", str(tmp_path / "bundle"), "--json"]
    with pytest.raises(SystemExit) as end:
        export.main(words, prog_name="tgvc export")
    assert not end.value.code
    report = json.loads(capsys.readouterr().out)
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.kind == "animation"
    assert bundle.constants == SIZES.constants()
    assert "Stability" in bundle.licence
    assert set(report["errors"]) == {"reference", "vae_encoder", "vae_decoder", "image_tower", "adapter", "unet"}
    # sums in another order, a few dozen layers deep
    assert all(record.error["relative_rms"] < 1e-5 for record in bundle.nets.values())
    with pytest.raises(ConfigError, match="kind animation decodes nothing"):
        decoding_footprint(bundle, (64, 64))
    # networks of other sizes than they were traced with, each given what the one before gave
    backend = load_backend("onnxruntime", threads=1)
    nets = {name: backend.load(bundle.nets[name]) for name in ("reference", "adapter", "unet")}
    given = {spec: value.numpy() for spec, value in make_example(CONTRACT["reference"], small=True).items()}
    moved = nets["reference"].run(**given)
    noisy = make_example(CONTRACT["adapter"], small=True)
    noisy = {name: value for name, value in noisy.items() if "moved" not in name}
    residuals = nets["adapter"].run(**{name: value.numpy() for name, value in noisy.items()}, **moved)
    v = nets["unet"].run(**{name: value.numpy() for name, value in noisy.items()}, **residuals)["v"]
    adapter, unet = random_network("controlnet"), random_network("unet")
    with torch.no_grad():
        picture, flow = (torch.from_numpy(given[name]) for name in ("picture", "flow"))
        values = [noisy[name] for name in ("x", "t", "ids", "embedding")]
        wanted = unet(*values, adapter(*values, adapter.describe(picture, flow[:, 1:])))
    np.testing.assert_allclose(v, wanted, atol=1e-4)  # as above, three networks deep
