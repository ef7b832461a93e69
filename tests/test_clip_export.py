"""The CLIP towers of the published system: names, exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")

from published_samples import (  # noqa: E402
    CONSTANTS,
    compare_with_torch,
    engine_size,
    export_net,
    own_shapes,
    published_shapes,
    random_weights,
)
from tgvc_export.dynamicrafter.networks import ImageContext  # noqa: E402
from tgvc_export.dynamicrafter.resampler import Resampler, ResamplerConfig  # noqa: E402
from tgvc_export.openclip.image import ImageConfig, ImageTower, leftover_tensors  # noqa: E402
from tgvc_export.openclip.text import TextConfig, TextTower  # noqa: E402

VOCABULARY = 64
SMALL_TEXT = TextConfig(width=CONSTANTS.context, layers=2, heads=3, vocabulary=VOCABULARY, embed=CONSTANTS.embedding)


def small(net: str) -> torch.nn.Module:
    torch.manual_seed(4)
    if net == "text_tower":
        return random_weights(TextTower(SMALL_TEXT))
    tower = ImageTower(ImageConfig(width=48, layers=1, head_width=16, embed=CONSTANTS.embedding))
    sizes = {"num_queries": CONSTANTS.image_tokens, "output_dim": CONSTANTS.context, "video_length": CONSTANTS.window}
    resampler = Resampler(ResamplerConfig(dim=32, depth=1, dim_head=8, heads=2, embedding_dim=48, **sizes))
    return random_weights(ImageContext(tower, resampler))


def example(net: str, n: int) -> Mapping[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    if net == "text_tower":
        return {"tokens": torch.randint(0, VOCABULARY, (n, 77), generator=generator)}
    return {"pixels": torch.randn(n, 3, 224, 224, generator=generator)}


def test_names_and_shapes_of_the_text_tower_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        module = TextTower()
    assert own_shapes(module) == published_shapes("openclip_text")


def test_the_published_file_holds_the_image_tower_and_what_is_left_over_of_the_text_tower() -> None:
    with torch.device("meta"):
        module = ImageTower()
    assert not set(own_shapes(module)) & set(leftover_tensors())
    assert own_shapes(module) | leftover_tensors() == published_shapes("openclip_vision")


def test_no_token_sees_those_after_it() -> None:
    tower = small("text_tower")
    tokens = example("text_tower", 1)["tokens"]
    other = tokens.clone()
    other[0, 40:] = (other[0, 40:] + 1) % VOCABULARY
    with torch.no_grad():
        first, second = tower(tokens), tower(other)
    assert torch.equal(first[:, :40], second[:, :40])
    assert not torch.isclose(first[:, 40], second[:, 40]).all()


@pytest.mark.parametrize("net", ["image_tower", "text_tower"])
def test_an_exported_tower_takes_any_number_and_builds_for_gpus(net: str, tmp_path: Path) -> None:
    module = small(net)
    record = export_net(net, module, example(net, 3), tmp_path, "fp32")
    errors = compare_with_torch(record, module, [example(net, 3), example(net, 1)])
    assert errors["max_abs"] < 1e-4  # the tolerance of the reference tensors
    assert engine_size(record) > 10_000


@pytest.mark.parametrize("net", ["image_tower", "text_tower"])
def test_a_tower_in_halves_of_one_size_is_near_and_builds_for_gpus(net: str, tmp_path: Path) -> None:
    module = small(net)
    record = export_net(net, module, example(net, 1), tmp_path, "fp16", static=True)
    # 11 bits of a half, a few roundings one after the other
    assert compare_with_torch(record, module, [example(net, 1)])["relative_rms"] < 3e-3
    assert engine_size(record) > 10_000
