"""Operators of our own for the way from torch to ONNX, where torch's are slow to trace."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@torch.library.custom_op("tgvc::sample_grid", mutates_args=())
def sample_grid(maps: Tensor, grid: Tensor) -> Tensor:
    """Bilinear values (N, C, P, Q) of maps (N, C, h, w) at a grid (N, P, Q, 2) in -1..1, the border repeated.

    The same as torch's own `grid_sample` with aligned corners. To know the size of the answer that one is taken to
    pieces whenever it is traced, half a second each; CoTracker3 has 28 of them.
    """
    return functional.grid_sample(maps, grid, padding_mode="border", align_corners=True)


@sample_grid.register_fake
def _(maps: Tensor, grid: Tensor) -> Tensor:
    return maps.new_empty(*maps.shape[:2], *grid.shape[1:3])


def translate_sample_grid(maps: Any, grid: Any) -> Any:
    """One node of opset 20, 4-dimensional."""
    from onnxscript import opset20 as op

    return op.GridSample(maps, grid, align_corners=1, mode="linear", padding_mode="border")
