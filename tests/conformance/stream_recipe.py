"""What the conformance stream holds, in plain integers: no random numbers, no floats, nothing measured.

Only the key pictures come from elsewhere: AV1 that was coded once, taken from the stream itself. Run this file to print
what ``stream.json`` should say of ``stream.tgvc``.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.bitstream.container import Group, Header, Reader, Writer
from tgvc.bitstream.motion import SegmentMotion, anchor_grid, series_samples
from tgvc.bitstream.pictures import find_codec
from tgvc.bitstream.tracks import canonical, decode_motion, encode_motion

STREAM = Path(__file__).with_name("stream.tgvc")
EXPECTED = Path(__file__).with_name("stream.json")
HEADER = Header(
    width=128, height=96, source_width=640, source_height=478, fps=Fraction(24000, 1001), matrix=1, profile=1, seed=77
)
META = {"title": "conformance", "note": "größer"}
KEY_SIZES = ((64, 48), (66, 50))
KEYS = ((0, 4, 8, 12, 16, 20, 22, 23), (0, 3, 16, 48))
TIMES = tuple(40_000 * i - 1_234 + (7_000 if i > 20 else 0) + i % 3 for i in range(49))


def wave(rows: int, columns: int, height: int, stride: int) -> np.ndarray:
    """Integers int32 (rows, columns) that fall with the row and change sign: like coefficients, and exact."""
    r, c = np.mgrid[:rows, :columns]
    swing = (r * stride + c * (stride + 3)) % (2 * height + 1) - height
    return np.asarray(np.sign(swing) * (np.abs(swing) // (1 + r)), np.int32)


def segment(mode: str, length: int, count: int, number: int, **fields: Any) -> SegmentMotion:
    """A segment of ``count`` tracks, unlike that of any other ``number``."""
    n = series_samples(mode, length)
    cells = (np.arange(count) * (5 + 2 * number) * 31 + number * 17) % (32 * 24)
    return SegmentMotion.of(
        mode,
        length,
        anchors=np.stack([cells % 32, cells // 32], 1).astype(np.int32),
        origin=np.arange(count) % 3 == 2,
        coefs=wave(n, 2 * count, 9 + number, 5 + number).reshape(n, count, 2).transpose(1, 0, 2).copy(),
        visible=(np.arange(length)[None] + np.arange(count)[:, None] * number) % 11 < (12 if number < 4 else 9),
        **fields,
    )


def motions() -> list[list[SegmentMotion]]:
    """Every mode, transform and option at least once."""
    pan = wave(4, 8, 30, 7).reshape(4, 4, 2)
    first = [
        segment("G", 5, 3, 0, global_step=12, track_step=18, global_coefs=pan),
        segment("G", 5, 5, 1, global_step=12, track_step=20, global_coefs=pan + 1),
        segment(
            "T",
            5,
            4,
            2,
            global_step=10,
            track_step=20,
            global_coefs=wave(3, 8, 6, 3).reshape(3, 4, 2) * (np.arange(4) < 1)[:, None].astype(np.int32),
        ),
        SegmentMotion.empty("F", 5),
        SegmentMotion.empty("H", 5),
        segment("T", 3, 0, 3, phase_coefs=np.array([5], np.int32)),
        SegmentMotion.empty("F", 2),
    ]
    second = [
        segment("T", 4, 2, 4, transform="dct", phase_coefs=np.array([1, -900], np.int32)),
        segment(
            "G",
            14,
            6,
            5,
            transform="dpcm",
            global_coefs=np.cumsum(wave(13, 8, 3, 2), 0).astype(np.int32).reshape(13, 4, 2),
        ),
        segment("G", 33, 9, 6, track_step=63),
    ]
    return [first, second]


def build(pictures: Sequence[bytes]) -> bytes:
    """The stream around given key pictures, one payload per group."""
    target, grid = io.BytesIO(), anchor_grid(HEADER.width, HEADER.height)
    writer = Writer(target, HEADER, META)
    extras: tuple[dict[str, Any], ...] = ({}, {"hide_head": 1, "hide_tail": 2, "texture": b"\x51\xa3", "times": TIMES})
    for keys, size, payload, group, extra in zip(KEYS, KEY_SIZES, pictures, motions(), extras, strict=True):
        motion = encode_motion(group, grid)
        writer.write(
            Group(
                frames=keys[-1] + 1,
                keys=keys,
                codec=0,
                key_width=size[0],
                key_height=size[1],
                pictures=payload,
                motion=motion,
                **extra,
            )
        )
    writer.finish()
    return target.getvalue()


def describe(data: bytes) -> dict[str, Any]:
    """All that a decoder learns from a stream, as plain values."""
    reader = Reader(io.BytesIO(data))
    h = reader.header
    grid = anchor_grid(h.width, h.height)
    groups = []
    for group in reader:
        lengths = [b - a + 1 for a, b in pairwise(group.keys)]
        decoded = find_codec(group.codec).decode(group.pictures, group.key_width, group.key_height, len(group.keys))
        groups.append(
            {
                "frames": group.frames,
                "keys": list(group.keys),
                "codec": group.codec,
                "key_size": [group.key_width, group.key_height],
                "hidden": [group.hide_head, group.hide_tail],
                "texture": group.texture.hex(),
                "times": None if group.times is None else list(group.times),
                "motion": [plain(s) for s in decode_motion(group.motion, lengths, grid)],
                "pictures_crc": [f"{zlib.crc32(p.tobytes()):08x}" for p in decoded],
            }
        )
    return {
        "header": {name: str(getattr(h, name)) for name in h.__dataclass_fields__},
        "meta": reader.meta,
        "groups": groups,
        "index": [[e.offset, e.first, e.frames] for e in reader.index()],
    }


def plain(s: SegmentMotion) -> dict[str, Any]:
    """A segment as plain values, empty fields left out."""
    out: dict[str, Any] = {"mode": s.mode, "length": s.length}
    if s.mode in "GT":
        out |= {"transform": s.transform, "global_step": s.global_step, "track_step": s.track_step}
        for name in ("global_coefs", "phase_coefs", "anchors", "origin", "coefs", "visible"):
            values = getattr(s, name)
            if values.size:
                out[name] = values.astype(int).tolist()
    return out


def expected_motion() -> list[list[SegmentMotion]]:
    """`motions` in the order in which they are coded."""
    grid = anchor_grid(HEADER.width, HEADER.height)
    return [[canonical(s, grid) for s in group] for group in motions()]


if __name__ == "__main__":
    print(json.dumps(describe(STREAM.read_bytes()), ensure_ascii=False))
