"""Losses over steps as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

_WIDTH, _HEIGHT, _MARGIN = 480, 200, 36
_INK, _LINE, _PAPER = (60, 60, 60), (180, 90, 20), 255
_NOT_CURVES = {"step", "seconds"}


def plot_logs(logs: Sequence[Path], target: Path) -> None:
    """One small chart per logged value, stacked.

    Raises:
        ValueError: nothing was logged yet.
    """
    charts = []
    for log in logs:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        names = sorted({n for line in lines for n in line} - _NOT_CURVES)
        for name in names:
            points = [(line["step"], line[name]) for line in lines if np.isfinite(line.get(name, np.nan))]
            if len(points) > 1:
                charts.append(_chart(f"{log.stem}: {name}", np.array(points, np.float64)))
    if not charts:
        raise ValueError("plot: no logs with at least two lines, train first")
    columns = [charts[0::2], charts[1::2] or [np.full_like(charts[0], _PAPER)]]
    while len(columns[1]) < len(columns[0]):
        columns[1].append(np.full_like(charts[0], _PAPER))
    cv2.imwrite(str(target), np.hstack([np.vstack(c) for c in columns]))


def _chart(title: str, points: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    canvas = np.full((_HEIGHT, _WIDTH, 3), _PAPER, np.uint8)
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1)
    x = _MARGIN + (points[:, 0] - low[0]) / span[0] * (_WIDTH - 2 * _MARGIN)
    y = _HEIGHT - _MARGIN - (points[:, 1] - low[1]) / span[1] * (_HEIGHT - 2 * _MARGIN)
    cv2.polylines(canvas, [np.stack([x, y], axis=1).astype(np.int32)], False, _LINE, 1, cv2.LINE_AA)
    for text, place in (
        (title, (_MARGIN, 20)),
        (f"{high[1]:.4g}", (2, _MARGIN)),
        (f"{low[1]:.4g}", (2, _HEIGHT - _MARGIN)),
        (f"{int(high[0])} steps", (_WIDTH - 100, _HEIGHT - 8)),
    ):
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    return canvas
