"""Networks of the published size with random weights, and small ones of the same structure for a dry run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tgvc.models.contract import interpolation_contract
from tgvc.types import FloatArray
from tgvc_bench.protocol.ceilings import Ceilings, measure_torch
from tgvc_bench.protocol.latency import Budget

if TYPE_CHECKING:  # torch takes long to import
    from torch import Tensor, nn

    from tgvc_export.dynamicrafter.published import PublishedSizes

HALVES = 5e-2  # relative error of halves against float32: hundreds of layers, each of which rounds by 1/2048
_SEED = 20


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is worked on, and for how long.

    ``dry``: small networks on the processor, to see that everything runs; no goal is measured. ``device``, ``dtype``:
    of torch. ``frames``, ``cells`` (rows, columns): of a segment in latents. ``size``: of pictures for kernels and the
    nano bundle, px. ``points``: trajectories. ``budget``: of a row. ``energy_s``: of a window of the counter.
    ``nodes``, ``replays``: of a graph of one kernel. ``side``, ``copied``: of the ceilings. ``jobs``: streams at once.
    ``schedules``: steps, and scale of the guidance without a classifier. ``compiler``: of `torch.compile`.
    """

    dry: bool = False
    device: str = "cuda"
    dtype: str = "float16"
    frames: int = 16
    cells: tuple[int, int] = (40, 64)
    size: tuple[int, int] = (512, 320)
    points: int = 128
    budget: Budget = field(default_factory=Budget)
    energy_s: float = 10.0
    nodes: int = 100
    replays: int = 100
    side: int = 8192
    copied: int = 1 << 32
    jobs: tuple[int, ...] = (1, 2, 4, 8)
    schedules: tuple[tuple[int, float], ...] = ((50, 7.5), (8, 1.0))
    compiler: str = "inductor"

    def networks(self) -> PublishedSizes:
        """Sizes of the networks."""
        from tgvc_export.dynamicrafter.autoencoder import AutoencoderConfig
        from tgvc_export.dynamicrafter.published import PublishedSizes
        from tgvc_export.dynamicrafter.resampler import ResamplerConfig
        from tgvc_export.dynamicrafter.unet import UNetConfig
        from tgvc_export.openclip.image import ImageConfig
        from tgvc_export.openclip.text import TextConfig

        if not self.dry:
            return PublishedSizes()
        unet = UNetConfig(
            model_channels=32,
            channel_mult=(1, 2),
            num_res_blocks=1,
            num_head_channels=8,
            context_dim=24,
            attention_resolutions=(1, 2),
        )
        return PublishedSizes(
            unet=unet,
            autoencoder=AutoencoderConfig(width=32, multiples=(1, 1), depth=1),
            projection=ResamplerConfig(
                dim=16, depth=1, dim_head=8, heads=2, num_queries=2, embedding_dim=32, output_dim=24, video_length=6
            ),
            text=TextConfig(width=24, layers=2, heads=2, embed=16),
            image=ImageConfig(width=32, layers=1, head_width=8, embed=16),
        )

    @property
    def segment_size(self) -> tuple[int, int]:
        """(width, height) of the pictures of a segment, px."""
        (rows, columns), px = self.cells, self.networks().autoencoder.cell_px
        return columns * px, rows * px

    def ceilings(self) -> Ceilings:
        """Of the device, measured now."""
        return measure_torch(self.device, self.dtype, self.side, self.copied)


FULL = Sizes()
DRY = Sizes(
    dry=True,
    device="cpu",
    dtype="float32",
    frames=6,
    cells=(8, 16),
    size=(128, 64),
    points=6,
    budget=Budget(2, 0.2),
    energy_s=0.1,
    nodes=3,
    replays=2,
    side=64,
    copied=1 << 16,
    jobs=(1, 2),
    schedules=((2, 7.5), (1, 1.0)),
    compiler="eager",
)


def build_module(sizes: Sizes, net: str) -> nn.Module:
    """A network with random halves, in float32, on the processor; always the same ones."""
    from tgvc_bench.full_size import fill_halves

    return fill_halves(hollow_module(sizes, net)).float()


def hollow_module(sizes: Sizes, net: str) -> nn.Module:
    """A network of the bundle without values, on ``meta``."""
    from tgvc_export.dynamicrafter.bundle import build_hollow

    return build_hollow(sizes.networks(), net)


def make_inputs(sizes: Sizes, net: str, batch: int) -> dict[str, Tensor]:
    """Random inputs of a network, float32, on the processor: ``batch`` runs or pictures."""
    from tgvc_bench.full_size import draw_inputs

    (rows, columns), constants = sizes.cells, sizes.networks().constants()
    lengths = {"N": batch, "B": batch, "T": sizes.frames, "M": constants.image_tokens, "h": rows, "w": columns}
    return draw_inputs(interpolation_contract(constants)[net][0], lengths, _SEED + batch)


def reference_output(sizes: Sizes, net: str, batch: int, folder: Path, module: nn.Module | None = None) -> FloatArray:
    """What a network gives in float32, computed once per folder by torch on the device.

    Args:
        sizes: of everything.
        net: of the bundle, with one output.
        batch: see `make_inputs`.
        folder: where it is kept.
        module: the network in float32 where it is there already.
    """
    import torch

    path = folder / f"{net}-{batch}.npy"
    if not path.exists():
        module = (build_module(sizes, net) if module is None else module).to(sizes.device)
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            given = {name: value.to(sizes.device) for name, value in make_inputs(sizes, net, batch).items()}
            found = run_pieces(module, given)
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}")
        with part.open("wb") as file:
            np.save(file, found.float().cpu().numpy())
        part.replace(path)
    loaded: FloatArray = np.load(path)
    return loaded


def run_pieces(module: nn.Module, given: dict[str, Tensor]) -> Tensor:
    """One run after the other, so that float32 takes no more memory than one does."""
    import torch

    count = len(next(iter(given.values())))
    parts = [module(**{name: value[n : n + 1] for name, value in given.items()}) for n in range(count)]
    found: Any = torch.cat(parts)
    return found
