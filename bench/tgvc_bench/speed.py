"""How fast: decoding against real time and against a plain AV1 decoder, encoding by effort, kernels against NumPy.

Everything is measured in one run on one machine, so ratios can be read side by side. Wall seconds depend on what else
the machine does; CPU seconds of all threads survive that, and divided by the number of threads they are the wall time
of perfect sharing on idle cores, which is a bound that a real run does not quite reach. Both are given. Nothing is
timed before the decoder has shown exactly what the encoder saw.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.bitstream.container import Group, Header, Reader
from tgvc.bitstream.motion import SegmentMotion, anchor_grid
from tgvc.bitstream.pictures import find_codec, resize_picture
from tgvc.bitstream.tracks import decode_motion
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.decoder import Decoder
from tgvc.encoder import Encoder, EncodeReport
from tgvc.errors import BackendError, ConfigError
from tgvc.synthesis.motion import read_motion
from tgvc.synthesis.warp import WarpGenerator
from tgvc.types import Picture
from tgvc_bench.clips import read_clip
from tgvc_bench.kernels import time_kernels
from tgvc_bench.machine import Spent, describe_machine, read_versions, summarise, time_call, time_repeats
from tgvc_bench.records import shorten, write_record

FORMAT = "tgvc-speed 1"
REAL_TIME = Fraction(30)  # frames per second that playing back is measured against
EFFORTS = (0, 1, 2, 3, 4)
_NOTES = (
    "x_real_time: duration / seconds, larger is faster; real_times: seconds / duration, smaller is faster",
    "wall: by the clock; cpu: user + system seconds of all threads / threads, the wall time of perfect sharing",
    "stages run one after the other in one thread; total is the decoder itself with its threads, writing left out",
    "plain AV1: dav1d and Lanczos scaling of the same key track; its ratio is total / pictures, by CPU seconds",
    "encode: one run per effort after a short one that compiles the kernels; SVT-AV1 and all scaling included",
    "kernels: one call at the size of the decoder's, Numba against the NumPy reference of the same name, one thread",
)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure: ``frames`` of the clip, ``bpp``, ``efforts``, ``repeats`` of each timing, ``threads``."""

    frames: int = 96
    bpp: float = 0.005
    efforts: tuple[int, ...] = EFFORTS
    repeats: int = 5
    threads: int = 2


def run_speed(clip: Path, output: Path, options: Options) -> Iterator[str]:
    """Measure everything; yields a line of text after each part, writes the file after each.

    Raises:
        BackendError: The decoder shows other pictures than the encoder saw.
    """
    source = read_clip(clip, options.frames)
    frames = len(source.pictures)
    efforts = " ".join(f"--effort {e}" for e in options.efforts)
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": f"tgvc-bench speed {clip.name} --frames {options.frames} --bpp {options.bpp:g} {efforts} "
        f"--repeats {options.repeats} --threads {options.threads}",
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False),
        "clip": {
            "name": clip.stem,
            "sha256": source.sha256,
            "size": list(source.size),
            "frames": frames,
            "fps": str(source.fps),
        },
        "threads": options.threads,
        "notes": list(_NOTES),
        "decode": {},
        "encode": {},
        "kernels": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        stream = Path(folder) / "clip.tgvc"
        for effort in options.efforts:
            _warm_up(clip, stream, effort, options)
            report, spent, seen = _encode(clip, stream, effort, options)
            check_agreement(stream, seen)
            record["encode"][str(effort)] = _describe_encode(report, spent, source.fps, options.threads)
            write_record(output, record)
            at_fps = record["encode"][str(effort)]["real_times_at_own_fps"]
            yield f"encode, effort {effort}: {at_fps['wall']} x real time by the clock, {at_fps['cpu']} by CPU seconds"
            if effort == _of_default(options.efforts):
                record["decode"] = measure_decode(stream, options)
                record["decode"]["effort"] = effort
                write_record(output, record)
                rates = record["decode"]["x_real_time"]
                yield f"decode: {rates['wall']} x real time by the clock, {rates['cpu']} by CPU seconds"
    record["kernels"] = time_kernels(*source.size, options.repeats)
    record["machine"]["load_at_end"] = describe_machine()["load"]
    write_record(output, record)
    for name, values in record["kernels"].items():
        yield f"kernel {name}: {values['ratio']} x NumPy"


def _of_default(efforts: tuple[int, ...]) -> int:
    """The effort whose file is decoded: the default, else the nearest asked for."""
    return min(efforts, key=lambda e: abs(e - EncoderConfig().effort))


def _warm_up(clip: Path, stream: Path, effort: int, options: Options) -> None:
    config = EncoderConfig(bpp=max(options.bpp, 0.02), effort=effort, frames=9)
    Encoder(config, threads=options.threads).encode(clip, stream)


def _encode(clip: Path, stream: Path, effort: int, options: Options) -> tuple[EncodeReport, Spent, list[Picture]]:
    """One encode with the frames that the encoder expects the decoder to show."""
    seen: list[Picture] = []
    config = EncoderConfig(bpp=options.bpp, effort=effort, frames=options.frames)
    encoder = Encoder(config, threads=options.threads)
    report, spent = time_call(lambda: encoder.encode(clip, stream, on_group=lambda p, _: seen.extend(p.reconstruction)))
    return report, spent, seen


def check_agreement(stream: Path, seen: list[Picture]) -> None:
    """Compare what a file shows with the encoder's own reconstruction.

    Raises:
        BackendError: Another number of frames, or a frame that is not the same in every byte.
    """
    shown = [frame.picture for frame in Decoder().frames(stream)]
    if len(shown) != len(seen):
        raise BackendError(f"speed: the decoder shows {len(shown)} frames, the encoder saw {len(seen)}")
    for index, (ours, theirs) in enumerate(zip(shown, seen, strict=True)):
        if not np.array_equal(ours, theirs):
            raise BackendError(f"speed: frame {index} is not the encoder's reconstruction; timings would mean nothing")


def _describe_encode(report: EncodeReport, spent: Spent, fps: Fraction, threads: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "bytes": report.bytes,
        "bpp": shorten(report.bpp),
        "psnr_y": shorten(report.psnr_y),
        "ms_ssim": shorten(report.ms_ssim),
        "candidates": sum(len(g["trials"]) for g in report.groups),
        "wall_s": shorten(spent.wall, 4),
        "cpu_s": shorten(spent.cpu, 4),
    }
    for name, rate in (("real_times_at_own_fps", fps), (f"real_times_at_{REAL_TIME}_fps", REAL_TIME)):
        duration = report.frames / float(rate)
        result[name] = {
            "wall": shorten(spent.wall / duration, 3),
            "cpu": shorten(spent.cpu / threads / duration, 3),
        }
    return result


def measure_decode(stream: Path, options: Options) -> dict[str, Any]:
    """All stages of decoding a file, each by itself, and the decoder as a whole, without writing a video."""
    header, groups = _parse(stream)
    frames = sum(g.shown for g in groups)
    if not frames:
        raise ConfigError(f"speed: {stream} shows no frame, expected at least one")
    keys = [_decode_keys(g) for g in groups]
    full = [[resize_picture(k, header.width, header.height) for k in row] for row in keys]
    motion = [_decode_motion(g, header) for g in groups]

    def render() -> None:
        for row, segments in zip(full, motion, strict=True):
            for first, last, segment in zip(row, row[1:], segments, strict=False):
                read = read_motion(segment, header.width, header.height)
                WarpGenerator().render(first, last, read, segment.length)

    decoder = Decoder(DecoderConfig(threads=options.threads))
    stages: dict[str, Callable[[], object]] = {
        "parse": lambda: _parse(stream),
        "key pictures": lambda: [_decode_keys(g) for g in groups],
        "scaling": lambda: [resize_picture(k, header.width, header.height) for row in keys for k in row],
        "motion": lambda: [_decode_motion(g, header) for g in groups],
        "render": render,
        "total": lambda: [None for _ in decoder.frames(stream)],
    }
    spent = {name: time_repeats(call, options.repeats) for name, call in stages.items()}
    result: dict[str, Any] = {
        "bytes": stream.stat().st_size,
        "frames": frames,
        "key pictures": sum(len(g.keys) for g in groups),
        "key sizes": [[g.key_width, g.key_height] for g in groups],
        "modes": _count_modes(motion),
        "stages": {name: summarise(runs) for name, runs in spent.items()},
    }
    duration, total = frames / float(REAL_TIME), result["stages"]["total"]
    result["x_real_time"] = {
        "at_fps": float(REAL_TIME),
        "wall": shorten(duration / total["wall_s"]["median"], 3),
        "wall_best": shorten(duration / total["wall_s"]["min"], 3),
        "cpu": shorten(duration / (total["cpu_s"]["median"] / options.threads), 3),
    }
    av1 = sum(result["stages"][name]["cpu_s"]["median"] for name in ("key pictures", "scaling"))
    result["cpu_against_plain_av1"] = shorten(total["cpu_s"]["median"] / av1, 3)
    return result


def _parse(stream: Path) -> tuple[Header, list[Group]]:
    with stream.open("rb") as file:
        reader = Reader(file)
        return reader.header, list(reader)


def _decode_keys(group: Group) -> list[Picture]:
    return find_codec(group.codec).decode(group.pictures, group.key_width, group.key_height, len(group.keys))


def _decode_motion(group: Group, header: Header) -> list[SegmentMotion]:
    lengths = [b - a + 1 for a, b in zip(group.keys, group.keys[1:], strict=False)]
    return decode_motion(group.motion, lengths, anchor_grid(header.width, header.height))


def _count_modes(motion: list[list[SegmentMotion]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for segment in (s for row in motion for s in row):
        name = segment.mode if segment.length > 2 else "plain"
        counts[name] = counts.get(name, 0) + 1
    return counts
