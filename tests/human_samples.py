"""A bundle of kind human whose answers are known, a clip that it codes nearly without loss, networks of few layers."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from onnx import helper

from network_samples import save_net
from tgvc.models.bundle import ModelBundle, write_manifest
from tgvc.models.constants import HumanConstants
from tgvc.models.contract import FRAME, KEY, PREDICTOR, contract_of
from tgvc.types import Picture, join_planes, picture_planes
from tgvc_export.mttf.config import MttfConfig
from video_samples import make_clip, smooth_picture

SMALL_MTTF = MttfConfig(
    feature_size=16,
    channels=2,
    foreground=3,
    levels=1,
    predictor_width=4,
    predictor_most=8,
    motion_width=4,
    motion_most=8,
    head_width=4,
    measured=True,
    width=4,
    width_most=8,
    halvings=1,
    paths=1,
    blocks=1,
    background_width=4,
    kernel=3,
    planes=True,
    exact=True,
)


def tiny_human(folder: Path, **changes: Any) -> ModelBundle:
    """A bundle whose state of a picture is how bright it is, and which paints by adding the change of that."""
    values: dict[str, Any] = {"channels": 1, "cell_px": 4, "divisor": 2, "planes": True, "halvings": 1, "path": 0}
    values["measured"] = False
    constants = HumanConstants(**(values | {"width": 2, "width_most": 2, "size": 64} | changes))
    contract, c = contract_of(constants), constants.channels
    folder.mkdir(parents=True, exist_ok=True)
    node = helper.make_node
    column, zeros = np.array([-1, 1, 1, 1], np.int64), np.zeros((1, 2 * c - 1), np.float32)
    predictor = save_net(
        folder / "predictor.onnx",
        [
            node("ReduceMean", ["picture", "all"], ["mean"], keepdims=0),
            node("Unsqueeze", ["mean", "last"], ["level"]),
            node("Pad", ["level", "room"], ["state"]),
            node("ReduceMean", ["picture", "last"], ["grey"], keepdims=1),
            node("AveragePool", ["grey"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Tile", ["small", "many"], ["features"]),
        ],
        *contract[PREDICTOR],
        {
            "all": np.array([1, 2, 3], np.int64),
            "last": np.array([1], np.int64),
            "room": np.array([0, 0, 0, zeros.shape[1]], np.int64),
            "many": np.array([1, c, 1, 1], np.int64),
        },
    )
    key = save_net(
        folder / "key.onnx",
        [
            node("Conv", ["picture", "mix"], ["skip0"], kernel_shape=[1, 1]),
            node("AveragePool", ["skip0"], ["skip1"], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        *contract[KEY],
        {"mix": np.full((2, 6, 1, 1), 0.1, np.float32)},
    )
    frame = save_net(
        folder / "frame.onnx",
        [
            node("Sub", ["driving", "source"], ["apart"]),
            node("Slice", ["apart", "from", "to", "last"], ["first"]),
            node("Reshape", ["first", "column"], ["change"]),
            node("Add", ["picture", "change"], ["painted"]),
        ],
        *contract[FRAME],
        {
            "from": np.array([0], np.int64),
            "to": np.array([1], np.int64),
            "last": np.array([1], np.int64),
            "column": column,
        },
    )
    nets = {PREDICTOR: predictor, KEY: key, FRAME: frame}
    return write_manifest(folder, name="bright", revision="1", licence="CC0-1.0", constants=constants, nets=nets)


def bright_pictures(count: int, width: int = 96, height: int = 64, reach: float = 24.0) -> list[Picture]:
    """One scene whose light goes up and down, I420 uint8 (3H/2, W); all planes alike, as the bundle paints it."""
    rng = np.random.default_rng(1)
    still = [plane + rng.normal(0, 12, plane.shape) for plane in picture_planes(smooth_picture(3, width, height))]
    pictures = []
    for n in range(count):
        change = reach * np.sin(2 * np.pi * n / 23)
        pictures.append(join_planes(*(np.rint(plane + change).clip(0, 255).astype(np.uint8) for plane in still)))
    return pictures


def save_pictures(path: Path, pictures: list[Picture]) -> Path:
    """A lossless clip of I420 pictures, 25 per second."""
    frames = [av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="yuv420p") for picture in pictures]
    return make_clip(path, frames, fps=Fraction(25))
