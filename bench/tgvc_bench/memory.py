"""Peak memory of encoding and decoding, short clip against long clip: a codec that streams stays flat.

Every measurement runs in a process of its own, because a process never gives its peak back.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tgvc.errors import BackendError
from tgvc.types import Picture, join_planes
from tgvc_bench.machine import describe_machine, read_versions
from tgvc_bench.records import shorten, write_record

FORMAT = "tgvc-memory 1"
LENGTHS = (96, 288, 960)  # frames: one group, three, ten
SIZE = (512, 320)
GOAL = 1.15  # largest peak of the long clip / of the short one that counts as flat
_NOTES = (
    "peak: largest resident set of a fresh process, MiB, Python and all libraries included (imports: what they take)",
    "flat: peak of the longest clip / of any shorter one at most 1.15; the shortest is a single group, which has no "
    "next one read ahead beside it",
    "the clip is generated: waves drifting in many directions, one shot without a cut, which makes the largest groups",
)
# The unit of ru_maxrss is KiB on Linux, bytes on macOS.
_CHILD = """
import json, resource, sys
import tgvc, tgvc.encoder, tgvc.decoder
unit = 1 if sys.platform == "darwin" else 1024
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
imports, (task, source, target, settings) = peak(), sys.argv[1:]
settings = json.loads(settings)
report = tgvc.encode(source, target, **settings) if task == "encode" else tgvc.decode(source, target)
print(json.dumps({"imports": imports, "peak": peak(), "frames": report.frames}))
"""


def make_picture(time: int, size: tuple[int, int] = SIZE, seed: int = 0) -> Picture:
    """A frame of the generated clip, I420 uint8 (3H/2, W): waves in nine directions, each drifting its own way."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    rng = np.random.default_rng(seed)
    luma = np.full((height, width), 128, np.float32)
    for angle, period, speed in zip(
        rng.uniform(0, np.pi, 9), rng.uniform(8, 80, 9), rng.uniform(-2, 2, 9), strict=True
    ):
        luma += 11 * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle) - speed * time) / period)
    grey = np.full((height // 2, width // 2), 128, np.uint8)
    return join_planes(np.clip(luma, 16, 235).astype(np.uint8), grey, grey)


def write_clip(path: Path, frames: int, size: tuple[int, int] = SIZE) -> None:
    """The generated clip without loss (FFV1), frame by frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for time in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(make_picture(time, size), format="yuv420p")))
        container.mux(stream.encode())


def measure_peak(task: str, source: Path, target: Path, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Peak memory of one ``encode`` or ``decode`` in a fresh process: ``peak_mib``, ``imports_mib``, ``frames``.

    Raises:
        BackendError: The process failed; carries the last line of what it said.
    """
    command = [sys.executable, "-c", _CHILD, task, str(source), str(target), json.dumps(settings or {})]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise BackendError(f"memory: {task} ended with exit status {result.returncode}: {lines[-1]}")
    found = json.loads(result.stdout.splitlines()[-1])
    mib = {k: shorten(found[k] / 2**20, 4) for k in ("peak", "imports")}
    return {"peak_mib": mib["peak"], "imports_mib": mib["imports"], "frames": found["frames"]}


def run_memory(
    output: Path,
    *,
    lengths: Sequence[int] = LENGTHS,
    efforts: Sequence[int] = (0, 2),
    size: tuple[int, int] = SIZE,
    threads: int = 2,
) -> Iterator[str]:
    """Measure encoding at each effort and decoding (of the first effort's file), for each length.

    Yields a line of text after each measurement and writes the file after each.

    Raises:
        BackendError: A process failed, or did not handle all frames.
    """
    words = [*(f"--frames {n}" for n in lengths), *(f"--effort {e}" for e in efforts), f"--size {size[0]}x{size[1]}"]
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": " ".join(["tgvc-bench memory", *words, f"--threads {threads}"]),
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False),
        "notes": list(_NOTES),
        "peaks": {},
        "ratios": {},
        "flat": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for frames in lengths:
            clip = place / f"{frames}.mkv"
            write_clip(clip, frames, size)
            streams = [place / f"{frames}_{effort}.tgvc" for effort in efforts]
            tasks = [
                (f"encode, effort {effort}", "encode", clip, stream, {"effort": effort, "threads": threads})
                for effort, stream in zip(efforts, streams, strict=True)
            ]
            for name, task, source, target, settings in [
                *tasks,
                ("decode", "decode", streams[0], place / "out.mp4", {}),
            ]:
                found = measure_peak(task, source, target, settings)
                if found["frames"] != frames:
                    raise BackendError(f"memory: {name} handled {found['frames']} of {frames} frames")
                record["peaks"].setdefault(name, {})[str(frames)] = found
                _compare(record, name)
                write_record(output, record)
                yield f"{name}, {frames} frames: {found['peak_mib']} MiB"


def _compare(record: dict[str, Any], name: str) -> None:
    """Ratios of the longest clip so far to every shorter one, and whether that to the shortest is flat."""
    peaks = record["peaks"][name]
    if len(peaks) > 1:
        *shorter, longest = sorted(peaks, key=int)
        ratios = {f"{longest}/{n}": peaks[longest]["peak_mib"] / peaks[n]["peak_mib"] for n in shorter}
        record["ratios"][name] = {k: shorten(v, 4) for k, v in ratios.items()}
        record["flat"][name] = max(ratios.values()) <= GOAL
