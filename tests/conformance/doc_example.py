"""The worked example and the table of docs/bitstream.md, as the code makes them. Run this file to print them."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np

from tgvc.bitstream.container import Group, Header, Writer
from tgvc.bitstream.contexts import LENGTHS, SIZES
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.priors import PRIORS
from tgvc.bitstream.rangecoder import BitWriter, Context, RangeEncoder
from tgvc.bitstream.tracks import MotionCoder, encode_motion

HEADER = Header(width=512, height=320, source_width=640, source_height=400, fps=Fraction(25))
GRID = anchor_grid(HEADER.width, HEADER.height)
SEGMENT = SegmentMotion.of(
    "T",
    3,
    global_step=12,
    track_step=21,
    anchors=np.array([[10, 5]], np.int32),
    coefs=np.array([[[3, -1]]], np.int32),
)


class Tracer(BitWriter):
    """Writes down every decision beside the encoder's state after it."""

    def __init__(self, contexts: list[Context]) -> None:
        names = [f"{name}[{i}]" for name, size in SIZES.items() for i in range(size)]
        self._names = {id(c): name for c, name in zip(contexts, names, strict=True)}
        self.encoder = RangeEncoder()
        self.lines: list[str] = []

    def bit(self, context: Context, value: int) -> None:
        self._note(self._names[id(context)], str(context.p), int(value), lambda: self.encoder.bit(context, value))

    def bits_raw(self, value: int, count: int) -> None:
        if count:
            self._note(
                f"raw, {count} bits", "", value & ((1 << count) - 1), lambda: self.encoder.bits_raw(value, count)
            )

    def _note(self, name, chance, value, act) -> None:
        act()
        e = self.encoder
        self.lines.append(f"{name:<18} {chance:>5} {value:>5}   {e._low:09x} {e._range:08x} {e._out.hex()}".rstrip())


def stream() -> bytes:
    target = io.BytesIO()
    writer = Writer(target, HEADER)
    motion = encode_motion([SEGMENT], GRID)
    writer.write(
        Group(frames=3, keys=(0, 2), codec=0, key_width=256, key_height=160, pictures=b"pictures", motion=motion)
    )
    writer.finish()
    return target.getvalue()


def trace() -> list[str]:
    coder = MotionCoder(GRID)
    tracer = Tracer(coder._contexts._all)
    coder.append(SEGMENT, tracer)
    return [*tracer.lines, f"finish: {tracer.encoder.finish().hex()}"]


def table() -> list[str]:
    lines = []
    for name, size in SIZES.items():
        if name not in PRIORS:
            lines.append(f"{name} {size}: 128, weight 0")
            continue
        width = LENGTHS if size % LENGTHS == 0 else size
        lines.append(f"{name} {size}:")
        lines += ["  " + " ".join(f"{p:3}" for p in PRIORS[name][i : i + width]) for i in range(0, size, width)]
    return lines


if __name__ == "__main__":
    print(stream().hex(), *trace(), *table(), sep="\n")
