"""The record of exports at full size, made at small width."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tgvc[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'tgvc[export]'")
pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install 'tgvc[tensorrt-rtx]'")

from tgvc_bench.full_size import fill_halves, measure_net  # noqa: E402
from tgvc_export.dynamicrafter import published  # noqa: E402
from tgvc_export.dynamicrafter.published import PublishedSizes  # noqa: E402
from tgvc_export.dynamicrafter.resampler import ResamplerConfig  # noqa: E402
from tgvc_export.dynamicrafter.unet import UNetConfig  # noqa: E402
from tgvc_export.openclip.image import ImageConfig  # noqa: E402
from tgvc_export.openclip.text import TextConfig  # noqa: E402

WIDTH = 24
SMALL = PublishedSizes(
    unet=UNetConfig(context_dim=WIDTH),
    projection=ResamplerConfig(dim=16, depth=1, dim_head=8, heads=2, embedding_dim=16, output_dim=WIDTH),
    text=TextConfig(width=WIDTH, layers=2, heads=2, embed=8),
    image=ImageConfig(width=16, layers=1, head_width=8, embed=8),
)


def test_a_network_is_exported_checked_and_built_and_what_it_took_is_told(tmp_path: Path) -> None:
    found = measure_net("text_tower", tmp_path, "fp16", (2, 3), SMALL)
    assert found["values"] == sum(value.numel() for value in SMALL.build(published.TEXT).parameters())
    assert found["files"] == {"text_tower.onnx": (tmp_path / "text_tower.onnx").stat().st_size}
    assert found["file_bytes"] < 2.2 * found["values"]  # two bytes each, and the graph
    assert 0 < found["relative_rms"] < 3e-3  # a few roundings to 11 bits
    assert min(found[name] for name in ("export_s", "check_s", "peak_bytes", "check_peak_bytes", "engine_bytes")) > 0


def test_random_weights_are_the_same_halves_every_time_and_keep_the_size_of_values() -> None:
    first, second = (fill_halves(SMALL.build(published.TEXT)) for _ in range(2))
    assert {value.dtype for value in first.parameters()} == {torch.float16}
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    weight = first.model.transformer.resblocks[0].mlp.c_fc.weight.float()
    assert float(weight.std()) == pytest.approx(WIDTH**-0.5, rel=0.05)
    assert float(first.model.ln_final.weight.float().mean()) == pytest.approx(1, abs=0.1)
