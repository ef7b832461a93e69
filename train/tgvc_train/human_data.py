"""Data of the human networks: square clips, their key pictures as coded, pairs of frames with the motion between them.

Every clip is a folder of arrays: ``frames.npy`` uint8 (N, 3S/2, S) I420, and ``keys.npy`` uint8 (N', Q, 3S/2, S), every
eighth frame as AV1 shows it at the qualities of `QUALITIES`.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch import Tensor

from tgvc.analysis.cells import CellMotion, measure_cells
from tgvc.analysis.shots import mark_cuts
from tgvc.bitstream.pictures import find_codec
from tgvc.models.nets import pack_planes
from tgvc.types import FloatArray, Picture, join_planes, picture_planes
from tgvc.video.reader import open_video
from tgvc_train.prepare import allowed_files
from tgvc_train.scenes import film_photo, read_photo

SIZE = 256  # px, as published for faces
QUALITIES = (40.0, 52.0, 60.0)  # of SVT-AV1: the range of key pictures at a few kilobits per second
HELD_OUT = ("f04_d9", "f07_d18")  # faces that are measured on and never trained with
_PEOPLE = ("talking head", "gesture")  # categories of clips
_KEY_EVERY = 8
_MOST_FRAMES, _SCENE = 120, 17
_PRESET = 8
_VARIED = 0.7  # share of pairs whose pictures are bent together
_MOST_GAP = 48  # frames between the two pictures of a pair
CELL_PX = 4


def prepare_clip(source: Path, kind: str, folder: Path, seed: int) -> Path:
    """Cut one clip or photograph to squares, code its key pictures, store both; what is there already stays."""
    target = folder / f"{source.stem}-{kind}"
    if target.exists():
        return target
    photo = kind == "photo"
    frames = film_photo(read_photo(source), None, _SCENE, SIZE, SIZE, seed) if photo else read_square(source)
    keys = [[find_codec(0).encode([f], q, _PRESET).pictures[0] for q in QUALITIES] for f in frames[::_KEY_EVERY]]
    pending = folder / f"{target.name}.{os.getpid()}.part"
    pending.mkdir(parents=True)
    np.save(pending / "frames.npy", np.stack(frames))
    np.save(pending / "keys.npy", np.stack([np.stack(k) for k in keys]))
    (pending / "recipe.json").write_text(json.dumps({"source": source.name, "kind": kind}))
    pending.rename(target)
    return target


def read_square(path: Path) -> list[Picture]:
    """The middle square of a clip's first shot at `SIZE`, I420 uint8 (3S/2, S), at most 120 frames.

    Source: centre crop and resize, as the published scripts do.
    """
    pictures: list[Picture] = []
    with open_video(path, size=None) as video:
        for picture, cut in mark_cuts(frame.picture for frame in video):
            if cut and len(pictures) > _KEY_EVERY:
                break
            pictures.append(_square(picture))
            if len(pictures) == _MOST_FRAMES:
                break
    return pictures


def _square(picture: Picture) -> Picture:
    planes = []
    for plane, size in zip(picture_planes(picture), (SIZE, SIZE // 2, SIZE // 2), strict=True):
        side = min(plane.shape)
        top, left = ((n - side) // 2 for n in plane.shape)
        cut = plane[top : top + side, left : left + side]
        planes.append(np.asarray(cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA), np.uint8))
    return join_planes(*planes)


def find_people(manifest: Path) -> tuple[list[Path], list[Path]]:
    """Clips of a manifest that may train shipped weights: of people near the camera, and all others.

    Those of `HELD_OUT` are in neither.
    """
    with manifest.open(newline="") as file:
        categories = {manifest.parent / r["file"]: r["category"] for r in csv.DictReader(file, delimiter="\t")}
    allowed = [path for path in allowed_files(manifest) if path.stem not in HELD_OUT]
    people = [path for path in allowed if any(word in categories[path] for word in _PEOPLE)]
    return people, [path for path in allowed if path not in people]


def prepare_all(people: Sequence[Path], clips: Sequence[Path], photos: Sequence[Path], folder: Path, seed: int) -> int:
    """Prepare everything; resumable. Returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    work = [(p, "face") for p in people] + [(p, "clip") for p in clips] + [(p, "photo") for p in photos]
    for number, (path, kind) in enumerate(track(work, "preparing")):
        prepare_clip(path, kind, folder, seed + number)
    return len(work)


@dataclass(frozen=True)
class Pairs:
    """A batch. Planes float32 (B, 6, S/2, S/2): ``key`` as decoded, ``source`` the same frame untouched, ``driving``.

    ``motion`` (B, 2, h, w) and ``trust`` (B, 1, h, w): see `tgvc.analysis.cells.CellMotion`.
    """

    key: Tensor
    source: Tensor
    driving: Tensor
    motion: Tensor
    trust: Tensor


class PairSource:
    """Draws pairs from prepared folders.

    Args:
        folder: of prepared clips.
        shares: how often a pair comes from faces, other clips and photographs; kinds that are not there count as zero.
    """

    def __init__(self, folder: Path, shares: tuple[float, float, float] = (0.5, 0.25, 0.25)) -> None:
        self._kinds: list[list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]] = []
        for kind in ("face", "clip", "photo"):
            folders = sorted(p for p in folder.glob(f"*-{kind}") if (p / "recipe.json").is_file())
            self._kinds.append(
                [(np.load(p / "frames.npy", mmap_mode="r"), np.load(p / "keys.npy", mmap_mode="r")) for p in folders]
            )
        there = np.array([share * bool(kind) for share, kind in zip(shares, self._kinds, strict=True)])
        if not there.sum():
            raise ValueError(f"{folder}: no prepared clips, run `tgvc-train human` with --clips first")
        self._shares = there / there.sum()

    def draw(self, rng: np.random.Generator, count: int, bent: float = 0.25) -> Pairs:
        """A random batch; a share ``bent`` of its pairs is one frame and itself bent."""
        drawn = [self._pair(rng, bent) for _ in range(count)]
        key, source, driving = (torch.from_numpy(pack_planes([pictures[n] for pictures, _ in drawn])) for n in range(3))
        motion, trust = (torch.from_numpy(np.stack([found[n] for _, found in drawn])) for n in range(2))
        return Pairs(key, source, driving, motion, trust)

    def _pair(self, rng: np.random.Generator, bent: float) -> tuple[list[Picture], CellMotion]:
        kind = self._kinds[int(rng.choice(3, p=self._shares))]
        frames, keys = kind[int(rng.integers(len(kind)))]
        n = int(rng.integers(len(keys)))
        quality = int(rng.integers(-1, len(QUALITIES)))
        source = np.asarray(frames[_KEY_EVERY * n])
        key = source if quality < 0 else np.asarray(keys[n, quality])
        known = rng.random() < bent
        low, high = max(0, _KEY_EVERY * n - _MOST_GAP), min(len(frames), _KEY_EVERY * n + _MOST_GAP + 1)
        driving = source if known else np.asarray(frames[int(rng.integers(low, high))])
        pictures = _vary(rng, [np.array(p) for p in (key, source, driving)])
        if known:
            pictures[2] = bend(pictures[1], bending(rng, SIZE))
        if rng.random() < 0.5:
            pictures = [join_planes(*(np.ascontiguousarray(p[:, ::-1]) for p in picture_planes(q))) for q in pictures]
        source, driving = (np.ascontiguousarray(picture_planes(picture)[0]) for picture in pictures[1:])
        return pictures, measure_cells(source, driving, CELL_PX)


def _vary(rng: np.random.Generator, pictures: list[Picture]) -> list[Picture]:
    """Pictures of one scene all bent by the same motion, lighter or darker, paler or more colourful: other faces."""
    if rng.random() < _VARIED:
        flow = bending(rng, SIZE)
        pictures = [bend(picture, flow) for picture in pictures]
    gains = (rng.uniform(0.85, 1.15), *rng.uniform(0.7, 1.3, 2))
    shifts = (rng.uniform(-15, 15), 0.0, 0.0)
    tables = [
        np.clip(np.rint((np.arange(256) - 128) * gain + 128 + shift), 0, 255)
        for gain, shift in zip(gains, shifts, strict=True)
    ]
    return [
        join_planes(*(t.astype(np.uint8)[p] for t, p in zip(tables, picture_planes(picture), strict=True)))
        for picture in pictures
    ]


def bending(rng: np.random.Generator, size: int) -> FloatArray:
    """A smooth random motion float32 (size, size, 2) px: shift, turn, zoom, shear, and waves."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    turn, zoom, shear = rng.normal(0, 0.08), rng.normal(0, 0.06), rng.normal(0, 0.04)
    flow = np.stack([zoom * x - turn * y + shear * y, turn * x + zoom * y + shear * x], axis=-1) * size
    flow += rng.normal(0, 0.03 * size, 2)
    coarse = rng.normal(0, 0.012 * size, (int(rng.integers(3, 7)),) * 2 + (2,)).astype(np.float32)
    return np.asarray(flow + cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def bend(picture: Picture, flow: FloatArray) -> Picture:
    """The picture whose pixel p shows what ``picture`` has at p + flow; I420 uint8 (3S/2, S)."""
    planes = []
    for plane in picture_planes(picture):
        size = plane.shape[0]
        part = cv2.resize(flow, (size, size), interpolation=cv2.INTER_AREA) * (size / len(flow))
        y, x = np.mgrid[:size, :size].astype(np.float32)
        place = (x + part[..., 0], y + part[..., 1])
        planes.append(np.asarray(cv2.remap(plane, *place, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.uint8))
    return join_planes(*planes)
