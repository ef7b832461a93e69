"""A clip made on the spot: a camera glides over painted hills, a wheel rolls, a disc comes near, a ball bounces."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np

from tgvc.types import FloatArray, Picture
from tgvc.video.colour import Scaler

SIZE = (512, 320)
FRAMES = 64
FPS = 25


def render_scene(frames: int = FRAMES, size: tuple[int, int] = SIZE, seed: int = 7) -> Iterator[Picture]:
    """The pictures of the clip, one by one: I420 uint8 (3H/2, W), BT.601; the same on every run.

    Args:
        frames: how many.
        size: width and height in px, even.
        seed: of the landscape.

    Source: own.
    """
    width, height = size
    ground = _landscape(2 * width, height + height // 2, seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    scaler = Scaler()
    for n in range(frames):
        time = n / max(1, frames - 1)
        offset = 0.28 * time * width, height * (0.25 + 0.08 * np.sin(2 * time))
        wind = 5 * (y / height) ** 2 * np.sin(x / 23 + y / 31 + 9 * time) + 2 * np.sin(x / 41 - 5 * time)
        picture = _sample(ground, x + np.float32(offset[0]) + wind, y + np.float32(offset[1]) + wind / 3)
        for paint in (_wheel, _disc, _ball):
            colour, cover = paint(x, y, width, height, time)
            picture += cover[..., None] * (colour - picture)
        frame = av.VideoFrame.from_ndarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8), format="rgb24")
        yield scaler.to_picture(frame, width, height)


def _landscape(width: int, height: int, seed: int) -> FloatArray:
    """Hills behind hills under an evening sky, RGB float32 (height, width, 3), 0..255."""
    rng = np.random.default_rng(seed)
    x, y = np.arange(width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32)[:, None]
    sky = np.stack([250 - 150 * (1 - y), 178 - 60 * (1 - y), 120 + 60 * (1 - y)], axis=-1) + np.zeros((1, width, 1))
    picture = np.asarray(sky + 14 * _noise(width, height, 5, rng)[..., None], np.float32)
    for depth in range(5):
        near = depth / 4
        line = (
            0.42
            + 0.13 * depth
            + sum(
                (0.07 - 0.008 * k) / k * np.sin(2 * np.pi * (k * x / width * (1.5 + near) + rng.uniform()))
                for k in (1, 2, 3, 5, 9)
            )
        )
        tint = np.array([120 - 70 * near, 110 - 20 * near, 140 - 105 * near], np.float32)
        texture = _noise(width, height, 5, rng) * (24 + 40 * near)
        cover = np.clip((y - line) * height, 0, 1)[..., None]
        picture += cover * (tint + texture[..., None] + 30 * (y - line)[..., None] - picture)
    return picture


def _noise(width: int, height: int, octaves: int, rng: np.random.Generator) -> FloatArray:
    """Smooth noise with detail on several scales, float32 (height, width), about -1..1."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cell = 48 / 2**octave
        rows, columns = int(height / cell) + 2, int(width / cell) + 2
        grid = rng.uniform(-1, 1, (rows, columns, 1)).astype(np.float32)
        y, x = np.mgrid[:height, :width].astype(np.float32) / np.float32(cell)
        total += _sample(grid, x, y)[..., 0] * np.float32(0.7**octave)
    return total


def _sample(field: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Bilinear values float32 (H, W, C) of a field (h, w, C) at points x, y (H, W) in its pixels, clamped to it."""
    height, width = field.shape[:2]
    x, y = np.clip(x, 0, width - 1.001), np.clip(y, 0, height - 1.001)
    column, row = x.astype(np.int32), y.astype(np.int32)
    u, v = (x - column)[..., None], (y - row)[..., None]
    top = field[row, column] * (1 - u) + field[row, column + 1] * u
    bottom = field[row + 1, column] * (1 - u) + field[row + 1, column + 1] * u
    return np.asarray(top * (1 - v) + bottom * v, np.float32)


def _wheel(x: FloatArray, y: FloatArray, width: int, height: int, time: float) -> tuple[FloatArray, FloatArray]:
    """A wheel with eight spokes that rolls to the right: colour (H, W, 3) and cover (H, W), 0..1."""
    radius = 0.2 * height
    dx, dy = x - width * (0.12 + 0.3 * time), y - 0.68 * height
    distance = np.hypot(dx, dy)
    spoke = np.cos(8 * (np.arctan2(dy, dx) - width * 0.3 * time / radius))
    inside = np.where(distance < 0.3 * radius, 1.0, np.where(distance > 0.82 * radius, 1.0, np.clip(6 * spoke, 0, 1)))
    cover = np.clip(radius - distance, 0, 1) * inside
    shade = 1 - 0.4 * np.clip(distance / radius, 0, 1)
    return np.asarray(np.stack([214 * shade, 72 * shade, 58 * shade], axis=-1), np.float32), np.asarray(
        cover, np.float32
    )


def _disc(x: FloatArray, y: FloatArray, width: int, height: int, time: float) -> tuple[FloatArray, FloatArray]:
    """A chequered disc that turns slowly and comes nearer."""
    zoom, angle = 1 + 0.8 * time, 0.5 * time
    dx, dy = (x - 0.73 * width) / zoom, (y - 0.4 * height) / zoom
    radius = 0.16 * height
    u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    cell = radius / 2.5
    check = np.clip(8 * np.sin(np.pi * u / cell) * np.sin(np.pi * v / cell), -1, 1) / 2 + 0.5
    light, dark = np.array([244, 238, 220], np.float32), np.array([34, 74, 112], np.float32)
    colour = check[..., None] * light + (1 - check[..., None]) * dark
    return np.asarray(colour, np.float32), np.asarray(np.clip((radius - np.hypot(dx, dy)) * zoom, 0, 1), np.float32)


def _ball(x: FloatArray, y: FloatArray, width: int, height: int, time: float) -> tuple[FloatArray, FloatArray]:
    """A ball that bounces twice across the picture."""
    radius = 0.055 * height
    hop = 2 * time % 1
    dx, dy = x - width * (0.9 - 0.6 * time), y - height * (0.88 - 1.9 * hop * (1 - hop))
    distance = np.hypot(dx, dy)
    shade = np.clip(1.1 - np.hypot(dx + 0.35 * radius, dy + 0.35 * radius) / (2 * radius), 0.3, 1.1)
    return np.asarray(np.stack([250 * shade, 214 * shade, 70 * shade], axis=-1), np.float32), np.asarray(
        np.clip(radius - distance, 0, 1), np.float32
    )
