"""Sizes and coded motion of every mode, for tests of the weight-free generator."""

from __future__ import annotations

import numpy as np

from tgvc.types import FloatArray, Motion

SIZE = (192, 128)
LENGTH = 9


def make_motion(
    mode: str,
    model: FloatArray | None = None,
    anchors: list[tuple[float, float]] | None = None,
    tracks: FloatArray | None = None,
    visible: np.ndarray | None = None,
    from_last: bool = False,
) -> Motion:
    """Motion of a segment of LENGTH frames; ``model`` float32 (n, 2) translation in px, ``tracks`` (K, n, 2) px."""
    n = LENGTH - (1 if mode == "G" else 2)
    k = len(anchors or [])
    weights = np.zeros((n, 4, 2), np.float32)
    if model is not None:
        weights[:, 0] = model
    return Motion(
        mode=mode,
        model=weights,
        phase=np.zeros(n, np.float32),
        anchors=np.asarray(anchors or [], np.float32).reshape(k, 2),
        from_last=np.full(k, from_last),
        tracks=np.zeros((k, n, 2), np.float32) if tracks is None else tracks.astype(np.float32),
        visible=np.ones((k, n), bool) if visible is None else visible,
    )
