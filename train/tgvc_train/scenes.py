"""Generated scenes: photographs filmed by a moving camera, with things that move in front of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tgvc.types import FloatArray, Picture, join_planes

Photo = npt.NDArray[np.uint8]  # (H, W, 3) BGR


def read_photo(path: Path) -> Photo:
    """A photograph as uint8 (H, W, 3) BGR.

    Raises:
        ValueError: the file is not a picture.
    """
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise ValueError(f"{path}: cannot be read as a picture")
    return np.asarray(photo, np.uint8)


def film_photo(photo: Photo, front: Photo | None, frames: int, width: int, height: int, seed: int) -> list[Picture]:
    """A scene of a photograph under a smooth camera motion.

    Args:
        photo: uint8 (h, w, 3) BGR, at least the size of the frames.
        front: photograph of which a soft-edged piece moves across the scene, or None.
        frames: pictures to make.
        width: of the pictures, px.
        height: of the pictures, px.
        seed: decides the motion.

    Returns:
        I420 pictures uint8 (3H/2, W).
    """
    rng = np.random.default_rng(seed)
    camera = _camera_path(rng, frames, photo.shape[1], photo.shape[0], width, height)
    layer = None if front is None else _Layer(rng, front, frames, width, height)
    pictures = []
    for n in range(frames):
        frame = cv2.warpAffine(
            photo, camera[n], (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101
        )
        bytes_ = np.asarray(frame, np.uint8)
        pictures.append(_to_picture(bytes_ if layer is None else layer.paint(bytes_, n), width, height))
    return pictures


def sway_photo(photo: Photo, frames: int, width: int, height: int, seed: int) -> list[Picture]:
    """A scene of a photograph in which parts sway, and waves run through others, while the camera stands still.

    Args:
        photo: uint8 (h, w, 3) BGR, at least the size of the frames.
        frames: pictures to make.
        width: of the pictures, px.
        height: of the pictures, px.
        seed: decides what moves and how.

    Returns:
        I420 pictures uint8 (3H/2, W).
    """
    rng = np.random.default_rng(seed)
    fit = max(width / photo.shape[1], height / photo.shape[0])
    zoom = rng.uniform(max(fit, 0.7), max(fit, 0.7) * 1.3)
    left, top = (rng.uniform(0, n - side / zoom) for n, side in ((photo.shape[1], width), (photo.shape[0], height)))
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    waves = [_Wave(rng, grid, frames) for _ in range(int(rng.integers(2, 6)))]
    pictures = []
    for n in range(frames):
        moved = np.sum([wave.shift(n) for wave in waves], axis=0)
        at = (grid - moved) / zoom + np.array([left, top])
        frame = cv2.remap(photo, at.astype(np.float32), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)  # type: ignore[call-overload]
        pictures.append(_to_picture(np.asarray(frame, np.uint8), width, height))
    return pictures


class _Wave:
    """One way in which a part of the picture swings, some all at once and some like water."""

    def __init__(self, rng: np.random.Generator, grid: FloatArray, frames: int) -> None:
        height, width = grid.shape[:2]
        rough = rng.normal(size=(int(rng.integers(3, 9)), int(rng.integers(3, 9)))).astype(np.float32)
        where = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
        strength = np.clip(where / max(float(where.max()), 1e-3), 0, 1) * rng.uniform(1, 6)
        angle, heading = rng.uniform(0, 2 * np.pi, 2)
        self._reach = (strength[..., None] * np.array([np.cos(angle), np.sin(angle)])).astype(np.float32)
        along = grid @ np.array([np.cos(heading), np.sin(heading)], np.float32)
        self._phase = along * np.float32(rng.choice([0, 2 * np.pi / rng.uniform(50, 300)]))
        self._speed = 2 * np.pi * rng.uniform(0.4, 3) / frames * rng.choice([-1, 1])

    def shift(self, frame: int) -> FloatArray:
        """Displacement float32 (h, w, 2) px; none in the first frame."""
        swing = np.sin(self._phase + self._speed * frame) - np.sin(self._phase)
        return np.asarray(self._reach * swing[..., None], np.float32)


def _smooth_path(rng: np.random.Generator, frames: int, reach: float) -> FloatArray:
    """A smooth one-dimensional path float32 (frames,): a drift, a swing, and a little hand-shake."""
    t = np.linspace(0, 1, frames)
    drift = rng.normal() * reach * frames / 16
    swing = rng.normal() * reach * np.sin(2 * np.pi * (rng.uniform(0.3, 2) * t + rng.uniform()))
    shake = np.convolve(rng.normal(size=frames + 4), np.ones(5) / 5, "valid") * reach * rng.choice([0, 0, 0.15])
    return np.asarray(drift * (t - 0.5) + swing + shake, np.float32)


def _camera_path(
    rng: np.random.Generator, frames: int, photo_width: int, photo_height: int, width: int, height: int
) -> list[npt.NDArray[np.float64]]:
    """Affine maps (2, 3) from the photograph to each frame."""
    reach = float(rng.choice([0, 1, 3, 8]))
    x, y = _smooth_path(rng, frames, reach), _smooth_path(rng, frames, reach)
    fit = max(width / photo_width, height / photo_height)
    zoom = rng.uniform(max(fit, 0.7), max(fit, 0.7) * 1.3) * np.exp(_smooth_path(rng, frames, 0.004 * reach))
    turn = _smooth_path(rng, frames, 0.2 * reach)
    centre = np.array([rng.uniform(0.35, 0.65) * photo_width, rng.uniform(0.35, 0.65) * photo_height])
    maps = []
    for n in range(frames):
        affine = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), float(turn[n]), float(zoom[n]))
        affine[:, 2] += (width / 2 - centre[0] + x[n], height / 2 - centre[1] + y[n])
        maps.append(np.asarray(affine, np.float64))
    return maps


class _Layer:
    """A soft-edged blob cut out of a photograph, on a path of its own."""

    def __init__(self, rng: np.random.Generator, photo: Photo, frames: int, width: int, height: int) -> None:
        size = int(rng.uniform(0.2, 0.5) * min(width, height))
        top, left = (int(rng.integers(0, n - size)) for n in photo.shape[:2])
        self.piece = photo[top : top + size, left : left + size].astype(np.float32)
        yy, xx = np.mgrid[:size, :size] / (size - 1) * 2 - 1
        angle = np.arctan2(yy, xx)
        radius = 0.75 + 0.15 * np.sin(angle * rng.integers(2, 6) + rng.uniform(0, 6))
        self.mask = np.clip((radius - np.hypot(xx, yy)) * size / 3, 0, 1).astype(np.float32)[..., None]
        reach = float(rng.choice([2, 6, 16]))
        self.x = rng.uniform(0.2, 0.8) * width - size / 2 + _smooth_path(rng, frames, reach)
        self.y = rng.uniform(0.2, 0.8) * height - size / 2 + _smooth_path(rng, frames, reach)

    def paint(self, frame: Photo, n: int) -> Photo:
        place = np.array([[1, 0, self.x[n]], [0, 1, self.y[n]]], np.float64)
        size = (frame.shape[1], frame.shape[0])
        piece = cv2.warpAffine(self.piece, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mask = cv2.warpAffine(self.mask, place, size, flags=cv2.INTER_LINEAR)[..., None]
        return np.asarray(np.rint(frame + mask * (piece - frame)), np.uint8)


def _to_picture(frame: Photo, width: int, height: int) -> Picture:
    planar = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420), np.uint8)
    chroma = planar[height:].reshape(2, height // 2, width // 2)
    return join_planes(planar[:height], chroma[0], chroma[1])
