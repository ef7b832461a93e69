"""A small tracker with random weights, and clips for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 128, 96
WINDOW = 16


def make_tracker(*, sliding: bool = True):  # type: ignore[no-untyped-def]  # torch is imported by who needs it
    """CoTracker3 with few and narrow layers, whose steps are small: one that jumps multiplies what is rounded."""
    import torch

    from tgvc_export.cotracker.tracker import CoTracker3
    from tgvc_export.cotracker.update import Widths

    torch.manual_seed(3)
    widths = Widths(radius=1, correlation_hidden=16, correlation=8, width=32, heads=4, depth=1, virtual=4)
    tracker = CoTracker3(
        WINDOW,
        sliding=sliding,
        widths=widths,
        stages=(8, 8, 12, 16),
        features=16,
        resolution=(HEIGHT, WIDTH),
    )
    with torch.no_grad():
        tracker.updateformer.flow_head.weight.mul_(0.1)
        tracker.updateformer.vis_conf_head.bias[0] = 0.8  # so that about half of what is found is believed
    return tracker.eval()


def make_pictures(length: int, width: int = WIDTH, height: int = HEIGHT, seed: int = 5) -> npt.NDArray[np.uint8]:
    """Smooth random pictures uint8 (T, H, W, 3) that slide by 2 px to the right from each to the next."""
    random = np.random.default_rng(seed)
    coarse = random.random((height // 8 + 2, (width + 2 * length) // 8 + 2, 3))
    rows, columns = np.arange(height) / 8, np.arange(width + 2 * length) / 8
    y, x = rows.astype(int), columns.astype(int)
    down, right = (rows - y)[:, None, None], (columns - x)[None, :, None]
    above = coarse[y][:, x] * (1 - right) + coarse[y][:, x + 1] * right
    below = coarse[y + 1][:, x] * (1 - right) + coarse[y + 1][:, x + 1] * right
    wide = ((above * (1 - down) + below * down) * 255).astype(np.uint8)
    return np.stack([wide[:, 2 * (length - t) : 2 * (length - t) + width] for t in range(length)])
