"""A second decoder of the whole stream, written from docs/bitstream.md alone: it shares no line with the engine.

It shows that the document says enough. It checks nothing and is slow; never use it on bytes of unknown origin.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

RATE_CODES = "24000/1001 24 25 30000/1001 30 48 50 60000/1001 60 120000/1001 120 10 12 15 20 240"
RATES = RATE_CODES.split()


def contexts_of(document: str) -> dict[str, list[list[int]]]:
    """All contexts [p, n] by name, from the block of priors."""
    found = re.search(r"```priors\n(.*?)```", document, re.DOTALL)
    assert found is not None
    out: dict[str, list[list[int]]] = {}
    name = ""
    for line in found[1].splitlines():
        if line.startswith(" "):
            out[name] += [[256 * int(p), 8] for p in line.split()]
        else:
            name, size = line.split(":")[0].split()
            out[name] = [[128 * 256, 0] for _ in range(int(size))] if "weight 0" in line else []
    return out


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        byte = self.u8()
        return byte if byte < 128 else byte - 128 + 128 * self.varint()


class Ranges:
    def __init__(self, data: bytes) -> None:
        self.rest = iter(data + bytes(4))
        self.range, self.code = 2**32 - 1, 0
        for _ in range(4):
            self.code = self.code << 8 | next(self.rest)

    def refill(self) -> None:
        while self.range < 2**24:
            self.range, self.code = self.range << 8, self.code << 8 | next(self.rest)

    def bit(self, context: list[int]) -> int:
        p, n = context
        rate = 131072 // (2 * n + 3)
        bound = self.range * p >> 16
        value = int(self.code >= bound)
        if value:
            self.range, self.code, context[0] = self.range - bound, self.code - bound, p - (p * rate >> 16)
        else:
            self.range, context[0] = bound, p + ((65536 - p) * rate >> 16)
        context[1] = min(n + 1, 126)
        self.refill()
        return value

    def raw(self, count: int) -> int:
        value = 0
        while count:
            piece = min(count, 16)
            self.range >>= piece
            part = self.code // self.range
            self.code -= part * self.range
            value, count = value << piece | part, count - piece
            self.refill()
        return value

    def ones(self, contexts: list[list[int]], most: int) -> int:
        count = 0
        while count < most and self.bit(contexts[min(count, len(contexts) - 1)]):
            count += 1
        return count

    def unsigned(self, length: list[list[int]], top: list[list[int]]) -> int:
        bits = self.ones(length, 32)
        if bits < 2:
            return bits
        high = 2 | self.bit(top[min(bits - 2, len(top) - 1)])
        return high << bits - 2 | self.raw(bits - 2)


def read_stream(data: bytes, document: str) -> dict[str, Any]:
    """What `stream_recipe.describe` tells of a stream, without the decoded pictures."""
    source = Bytes(data)
    header = read_header(source)
    meta: dict[str, str] = {}
    groups, index, first = [], [], 0
    while source.at < len(data):
        start = source.at
        kind = source.u8()
        payload = Bytes(source.take(source.varint()))
        assert zlib.crc32(data[start : source.at]) == int.from_bytes(source.take(4), "little")
        if kind == 0xCD:
            for _ in range(payload.varint()):
                key = payload.take(payload.varint()).decode()
                meta[key] = payload.take(payload.varint()).decode()
        elif kind == 0x47:
            groups.append(read_group(payload, header, document))
            shown = groups[-1]["frames"] - sum(groups[-1]["hidden"])
            index.append([start, first, shown])
            first += shown
    return {"header": header, "meta": meta, "groups": groups, "index": index}


def read_header(source: Bytes) -> dict[str, str]:
    assert source.take(5) == b"TGVC\x01"
    source.u8()
    out: dict[str, Any] = {"width": 16 * source.varint(), "height": 16 * source.varint()}
    code = source.u8()
    out["fps"] = RATES[code - 1] if code else f"{source.varint()}/{source.varint()}"
    flags = source.u8()
    out["source_width"] = source.varint() if flags & 1 else out["width"]
    out["source_height"] = source.varint() if flags & 1 else out["height"]
    for i, name in ((1, "profile"), (4, "seed"), (5, "matrix")):
        out[name] = source.varint() if flags >> i & 1 else 6 * (name == "matrix")
    assert zlib.crc32(source.data[: source.at]) == int.from_bytes(source.take(4), "little")
    return {name: str(value) for name, value in out.items()}


def read_group(source: Bytes, header: dict[str, str], document: str) -> dict[str, Any]:
    flags, frames, keys = source.u8(), source.varint(), [0]
    is_open, affine = flags & 32, flags & 64
    for _ in range(source.varint() if is_open else 0):
        keys.append(keys[-1] + source.varint())
    spacing = 0 if is_open else source.u8()
    while not is_open and keys[-1] < frames - 1:
        run, gap = (0, spacing - 1) if spacing else divmod(source.u8(), 32)
        for _ in range(run + 1):
            keys.append(min(keys[-1] + gap + 1, frames - 1))
    codec, unit = source.u8(), 2 if flags & 16 else 8
    size = [unit * source.varint(), unit * source.varint()]
    texture = source.take((frames + 31) // 32) if flags & 1 else b""
    hidden = [source.varint(), source.varint()] if flags & 2 else [0, 0]
    times = read_times(source, frames, header["fps"]) if flags & 4 else None
    motion = source.take(source.varint()) if flags & 8 else b""
    lengths = [b - a + (not affine) for a, b in pairwise(keys)] + ([frames - keys[-1]] if is_open else [])
    pictures = source.take(source.varint()) if affine else source.data[source.at :]
    grid = (-(-int(header["width"]) // 4), -(-int(header["height"]) // 4))
    return {
        "frames": frames,
        "keys": keys,
        "codec": codec,
        "key_size": size,
        "hidden": hidden,
        "texture": texture.hex(),
        "times": times,
        "motion": read_states(source.data[source.at :], lengths, document)
        if affine
        else list(read_motion(motion, lengths, grid, contexts_of(document))),
        "pictures": pictures,
    }


def read_states(data: bytes, lengths: list[int], document: str) -> dict[str, Any]:
    table = re.search(r"```states\n(.*?)```", document, re.DOTALL)
    assert table is not None
    priors = [[int(p) for p in line.split()] for line in table[1].splitlines()]
    ranges = Ranges(data)
    networks = ranges.raw(16)
    channels, step, every, momentum = (ranges.raw(n) + more for n, more in ((6, 1), (6, 0), (3, 1), (3, 0)))

    def fresh(count: int) -> list[list[int]]:
        return [[32768, 0] for _ in range(count)]

    firsts = [(fresh(12), fresh(3), [32768, 0]) for _ in range(2)]
    kinds = {k: [([[[256 * p, 4] for p in row] for row in priors], fresh(3)) for _ in "go"] for k in ("jump", "change")}
    moved, signs, sizes, memory, did_move = fresh(2), fresh(3), [0] * 2 * channels, [0] * 2 * channels, 1

    def residuals(kind: str) -> list[int]:
        out = []
        for i in range(2 * channels):
            classes, top = kinds[kind][i >= channels]
            beside = abs(out[-1]) if out else 0
            size = ranges.unsigned(classes[min(5, (2 * sizes[i] + beside).bit_length())], top)
            sizes[i] = size
            if size:
                negative = ranges.bit(signs[memory[i]])
                memory[i], size = 1 + negative, -size if negative else size
            out.append(size)
        return out

    runs, state = [], None
    for m in lengths:
        run: list[list[int]] = []
        for frame in [*range(0, m - 1, every), m - 1] if m > 1 else []:
            if state is None:
                state = []
                for i in range(2 * channels):
                    length, top, sign = firsts[i >= channels]
                    size = ranges.unsigned(length, top)
                    state.append(-size if size and ranges.bit(sign) else size)
            elif frame == 0:
                state = [a + b for a, b in zip(state, residuals("jump"), strict=True)]
            else:
                expected = [p + (p - q) * momentum // 4 for p, q in zip(run[-1], run[-2:][0], strict=True)]
                did_move = ranges.bit(moved[did_move])
                sizes = sizes if did_move else [0] * 2 * channels
                change = residuals("change") if did_move else sizes
                state = [a + b for a, b in zip(expected, change, strict=True)]
            run.append(state)
        runs.append(run)
    told = {"networks": networks, "channels": channels, "step": step, "decimation": every, "momentum": momentum}
    return told | {"levels": runs}


def read_times(source: Bytes, frames: int, fps: str) -> list[int]:
    unit = source.varint()
    ranges = Ranges(source.take(source.varint()))

    def fresh(count: int) -> list[list[int]]:
        return [[32768, 0] for _ in range(count)]

    def signed(length: list[list[int]], top: list[list[int]], sign: list[int]) -> int:
        size = ranges.unsigned(length, top)
        return -size if size and ranges.bit(sign) else size

    times = [signed(fresh(12), fresh(6), [32768, 0])]
    over, under = (*map(int, fps.split("/")), 1)[:2]
    step = round(10**6 * under / (over * unit))
    contexts = fresh(12), fresh(6), [32768, 0]
    for _ in range(frames - 1):
        step += signed(*contexts)
        times.append(times[-1] + step * unit)
    return times


def read_motion(data: bytes, lengths: list[int], grid: tuple[int, int], c: dict[str, Any]) -> Iterator[dict[str, Any]]:
    ranges, mode, steps, model = Ranges(data), 0, [12, 18], ((), [])
    for length in lengths:
        if not data:
            yield {"mode": "F", "length": length}
            continue
        high = ranges.bit(c["mode"][3 * mode])
        mode = 2 * high + ranges.bit(c["mode"][3 * mode + 1 + high])
        out: dict[str, Any] = {"mode": "FGTH"[mode], "length": length}
        if mode in (1, 2):
            yield out | read_segment(ranges, mode, length, grid, c, steps, model)
            model = (c.pop("model", model[0]), c.pop("coefs", model[1]))
        else:
            yield out


def read_segment(ranges: Ranges, mode: int, length: int, grid, c, steps, model) -> dict[str, Any]:
    late = mode == 2
    high = ranges.bit(c["transform"][3 * late])
    transform = ("dst", "bridge", "dct", "dpcm")[2 * high + ranges.bit(c["transform"][3 * late + 1 + high])]
    n = length - 1 - late

    def step(kind: int) -> None:
        if not ranges.bit(c["same_step"][kind]):
            steps[kind] = ranges.raw(6)

    def series(kind: str) -> list[int]:
        return (read_dpcm if transform == "dpcm" else read_coefs)(ranges, n, kind, c)

    step(0)
    out: dict[str, Any] = {"transform": transform, "global_step": steps[0]}
    key = (length, transform, steps[0])
    difference = not late and model[0] == key and ranges.bit(c["difference"][0])
    terms = ranges.ones(c["terms"][4 * late : 4 * late + 4], 4)
    columns = [series("global") for _ in range(2 * terms)] + [[0] * n] * (8 - 2 * terms)
    coefs = [[[columns[2 * m + a][t] for a in (0, 1)] for m in range(4)] for t in range(n)]
    if difference:
        coefs = [
            [[x + y for x, y in zip(*p, strict=True)] for p in zip(*r, strict=True)]
            for r in zip(coefs, model[1], strict=True)
        ]
    if not late:
        c["model"], c["coefs"] = key, coefs
    out["global_coefs"] = coefs
    out["phase_coefs"] = series("global") if late and ranges.bit(c["phase"][0]) else [0] * n
    step(1)
    out["track_step"] = steps[1]
    counts = [ranges.unsigned(c["count"][9 * k : 9 * k + 9], c["count_top"]) for k in (0, 1)]
    anchors = [cell for count in counts for cell in read_anchors(ranges, count, grid, c)]
    if not anchors:
        return out
    out["anchors"], out["origin"] = anchors, [0] * counts[0] + [1] * counts[1]
    out["visible"] = [[1] * length for _ in anchors]
    if not ranges.bit(c["all_visible"][0]):
        out["visible"] = [read_runs(ranges, length, c) for _ in anchors]
    tracks = [(series("track"), series("track")) for _ in anchors]
    out["coefs"] = [[list(pair) for pair in zip(x, y, strict=True)] for x, y in tracks]
    return out


def read_anchors(ranges: Ranges, count: int, grid: tuple[int, int], c: dict[str, Any]) -> list[list[int]]:
    def curve(cell: tuple[int, int]) -> int:
        return sum((cell[0] >> i & 1) << 2 * i | (cell[1] >> i & 1) << 2 * i + 1 for i in range(12))

    order = sorted(((x, y) for y in range(grid[1]) for x in range(grid[0])), key=curve)
    out, at = [], 0
    for coming in range(count, 0, -1):
        left = len(order) - at
        shift = max(0, (left // (coming + 1)).bit_length() - 3)
        at += ranges.ones(c["anchor"], left - coming >> shift) << shift
        at += ranges.raw(shift)
        out.append(list(order[at]))
        at += 1
    return out


def read_runs(ranges: Ranges, length: int, c: dict[str, Any]) -> list[int]:
    if ranges.bit(c["track_visible"][0]):
        return [1] * length
    state, out = ranges.bit(c["first_visible"][0]), []
    while len(out) < length:
        out += [state] * (ranges.unsigned(c["run"][9 * state : 9 * state + 9], c["run_top"]) + 1)
        state = 1 - state
    return out


def around(a: int, b: int, d: int) -> int:
    return min(6, (2 * a + b + d).bit_length())


def read_coefs(ranges: Ranges, n: int, kind: str, c: dict[str, Any]) -> list[int]:
    out, top = [0] * n, c[f"{kind}_top"]
    end = ranges.ones(c[f"{kind}_end"], n)
    sizes = [0] * (n + 3)
    for i in range(end - 1, -1, -1):
        if i == end - 1:
            k = min(i, 8 if kind == "track" else 3)
            sizes[i] = 1 + ranges.unsigned(c[f"{kind}_last"][9 * k : 9 * k + 9], top)
        else:
            k = 7 * min(i, 5 if kind == "track" else 3) + around(*sizes[i + 1 : i + 4])
            sizes[i] = ranges.unsigned(c[f"{kind}_coef"][9 * k : 9 * k + 9], top)
        out[i] = -sizes[i] if sizes[i] and ranges.raw(1) else sizes[i]
    return out


def read_dpcm(ranges: Ranges, n: int, kind: str, c: dict[str, Any]) -> list[int]:
    values, errors = [0, 0], [0, 0, 0]
    for _ in range(n):
        k = around(*(abs(e) for e in reversed(errors[-3:])))
        size = ranges.unsigned(c[f"{kind}_dpcm"][9 * k : 9 * k + 9], c[f"{kind}_top"])
        if size:
            last = next((e for e in reversed(errors) if e), 0)
            size = -size if ranges.bit(c[f"{kind}_dpcm_sign"][0 if not last else 1 if last > 0 else 2]) else size
        errors.append(size)
        values.append(2 * values[-1] - values[-2] + size)
    return values[2:]
