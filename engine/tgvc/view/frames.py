"""Key pictures with the motion that leads on from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tgvc.bitstream.container import Header
from tgvc.synthesis.flow import CELL, measure_key_flow
from tgvc.synthesis.motion import model_at, read_motion
from tgvc.types import BoolArray, FloatArray, Motion, Picture, picture_planes
from tgvc.video.colour import Scaler, picture_frame
from tgvc.view.canvas import DIM, MODES, TEXT, TRACKS, Box, Canvas, Point
from tgvc.view.contents import Contents, Piece, decode_keys
from tgvc_kernels import ops

_NODES_ACROSS = 16  # nodes of the grid that shows dense motion
_STRIP_PX = 30
_VISIBLE_PX = 1.0  # motion below this would only be a blot


@dataclass(frozen=True)
class Tile:
    """A key picture and the segment that begins with it, if any.

    ``number``: of the frame. ``tracks`` float32 (K, T, 2) px with ``visible`` bool (K, T): what was sent as
    trajectories. ``grid`` float32 (P, T, 2) px: how points on a grid move in the dense motion behind them.
    """

    number: int
    image: Image.Image
    piece: Piece | None
    tracks: FloatArray
    visible: BoolArray
    grid: FloatArray


def picture_image(picture: Picture, matrix: int) -> Image.Image:
    """The RGB image of an I420 picture uint8 (3H/2, W) with a colour matrix code of ISO/IEC 23091-2."""
    frame = picture_frame(picture, matrix)
    return Image.fromarray(Scaler().to_rgb(frame, frame.width, frame.height).to_ndarray())


def choose_tiles(contents: Contents, count: int) -> list[Tile]:
    """One tile of each of ``count`` equal parts of the video: the segment that carries most, decoded.

    Raises:
        BitstreamError: damaged pictures.
    """
    shown = [piece for piece in contents.pieces if piece.whole]
    if not shown:
        pictures = [decode_keys(group, contents.header)[0] for group in contents.lone[:count]]
        return [_still_tile(n, picture, contents.header) for n, picture in enumerate(pictures)]
    parts: dict[int, list[Piece]] = {}
    for piece in shown:
        parts.setdefault(piece.first * count // contents.frames, []).append(piece)
    chosen = [max(part, key=lambda p: (p.tracks, p.motion_bytes, p.last - p.first)) for part in parts.values()]
    return [_moving_tile(piece, contents.header) for piece in chosen]


def draw_tile(canvas: Canvas, tile: Tile, box: Box, header: Header) -> None:
    """Draw a tile into a box whose height leaves room for a line of text below the picture."""
    left, top, right, bottom = box
    scale = (right - left) / header.width
    canvas.paste(tile.image, (left, top, right, bottom - _STRIP_PX))
    mode = tile.piece.mode if tile.piece else "plain"

    def place(point: FloatArray) -> Point:
        x, y = (point + 0.5) * scale
        return left + min(max(float(x), 0.0), right - left), top + min(max(float(y), 0.0), bottom - _STRIP_PX - top)

    for path in tile.grid:
        points = [place(p) for p in path]
        if np.ptp(path, axis=0).max() < _VISIBLE_PX:
            canvas.dot(points[0], 1.2, MODES[mode], 110)
            continue
        canvas.line(points, (0, 0, 0), 2.6, 90)
        canvas.line(points, MODES[mode], 1.3, 230)
        canvas.dot(points[0], 1.6, MODES[mode])
    for number, (path, visible) in enumerate(zip(tile.tracks, tile.visible, strict=True)):
        colour = TRACKS[number % len(TRACKS)]
        for run in _visible_runs(visible):
            points = [place(p) for p in path[run]]
            canvas.line(points, (0, 0, 0), 5.0, 140)
            canvas.line(points, colour, 2.6)
        motion = tile.piece.motion if tile.piece else None
        anchor = place(path[-1 if motion is not None and motion.origin[number] else 0])
        canvas.dot(anchor, 5.0, (0, 0, 0), 170)
        canvas.dot(anchor, 3.6, colour)
    baseline = bottom - _STRIP_PX / 2
    if tile.piece is None:
        canvas.text((left, baseline), f"frame {tile.number}", 15, TEXT, "lm")
        return
    canvas.dot((left + 6, baseline), 5, MODES[mode])
    width = canvas.text((left + 18, baseline), f"frames {tile.piece.first} to {tile.piece.last}", 15, TEXT, "lm")
    canvas.text((left + 18 + width + 12, baseline), mode, 15, MODES[mode], "lm")
    count = len(tile.tracks)
    note = f"{tile.piece.motion_bytes:.0f} bytes of motion" if tile.piece.motion_bytes >= 0.5 else ""
    if count:
        note = f"{count} {'trajectory' if count == 1 else 'trajectories'}, " + note
    canvas.text((right, baseline), note, 15, DIM, "rm")


def _still_tile(number: int, picture: Picture, header: Header) -> Tile:
    nothing = np.zeros((0, 2, 2), np.float32)
    return Tile(number, picture_image(picture, header.matrix), None, nothing, np.zeros((0, 2), np.bool_), nothing)


def _moving_tile(piece: Piece, header: Header) -> Tile:
    keys = decode_keys(piece.group, header)
    first = keys[piece.number]
    if piece.motion is None or piece.mode in ("plain", "H"):
        still = _still_tile(piece.first, first, header)
        return Tile(still.number, still.image, piece, still.tracks, still.visible, still.grid)
    motion = read_motion(piece.motion, header.width, header.height)
    last = keys[min(piece.number + 1, len(keys) - 1)]  # an open group ends in mode G, which does not look at it
    pitch = header.width / _NODES_ACROSS
    rows = max(2, round(header.height / pitch))
    x = (np.arange(_NODES_ACROSS) + 0.5) * pitch
    y = (np.arange(rows) + 0.5) * header.height / rows
    nodes = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
    none = np.zeros((len(nodes), len(motion.phase), 2), np.float32)
    size, length = (header.width, header.height), piece.motion.length
    flow = None if piece.mode == "G" else measure_key_flow(picture_planes(first)[0], picture_planes(last)[0])
    flows = None if flow is None else (flow.forward, flow.backward)
    grid = _trace(motion, flows, nodes, np.zeros(len(nodes), np.bool_), none, length, size)
    tracks = _trace(motion, flows, motion.anchors, motion.from_last, motion.tracks, length, size)
    visible = np.ones(tracks.shape[:2], np.bool_)
    if len(tracks):
        visible[:, length - 1 - motion.visible.shape[1] : length - 1] = motion.visible
    return Tile(piece.first, picture_image(first, header.matrix), piece, tracks, visible, grid)


def _trace(
    motion: Motion,
    flows: tuple[FloatArray, FloatArray] | None,
    points: FloatArray,
    from_last: BoolArray,
    beyond: FloatArray,
    length: int,
    size: tuple[int, int],
) -> FloatArray:
    """Where points are in every frame of a segment, as the generator moves them.

    Args:
        motion: of the segment.
        flows: forward and backward, float32 (h, w, 2) cells; None for mode G.
        points: float32 (K, 2) px in the first key, or the last where ``from_last`` bool (K,) says so.
        from_last: see ``points``.
        beyond: float32 (K, n, 2) px, displacement beyond model and flow in the frames that ``motion`` describes.
        length: T, frames of the segment.
        size: working size in px.

    Returns:
        float32 (K, T, 2) px.
    """
    before = 1
    after = length - before - len(motion.phase)
    tau = np.linspace(0, 1, length, dtype=np.float32)
    tau[1:-1] += np.pad(motion.phase, (before, after))[1:-1]
    paths = np.repeat(points[:, None], length, axis=1)
    if flows is not None:
        cells = np.asarray((points + 0.5) / CELL - 0.5, np.float32)
        forth, back = (np.float32(CELL) * ops.sample_field(flow, cells) for flow in flows)
        straight = np.where(from_last[:, None, None], (1 - tau)[:, None] * back[:, None], tau[:, None] * forth[:, None])
        paths = paths + straight
    model = np.pad(motion.model, ((before, after), (0, 0), (0, 0)))
    paths = paths + model_at(model, points, *size).transpose(1, 0, 2)
    return np.asarray(paths + np.pad(beyond, ((0, 0), (before, after), (0, 0))), dtype=np.float32)


def _visible_runs(visible: BoolArray) -> list[slice]:
    """Runs of at least two frames in which a trajectory is visible."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], visible, [False]]).astype(np.int8)))
    return [slice(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True) if b - a > 1]
