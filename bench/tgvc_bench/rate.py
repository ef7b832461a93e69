"""Is a target met, on whole clips, and is what was written what will be shown?

For every clip and rate: the whole clip is encoded at the default effort, decoded, and (optionally) encoded again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.config import EncoderConfig
from tgvc.decoder import Decoder
from tgvc.encoder import Encoder
from tgvc.types import Picture
from tgvc_bench.records import read_record, shorten, write_record

FORMAT = "tgvc-rate 1"
LOWEST_SHARE = 0.95


def measure_rate(clip: Path, bpp: float, effort: int, again: bool) -> dict[str, Any]:
    """Encode and decode one clip.

    Args:
        clip: path of a video.
        bpp: target, bits per pixel.
        effort: of the encoder.
        again: encode a second time, on one thread, and compare the bytes.

    Returns:
        ``share`` of the target that was used; ``met``: 0.95 to 1; ``exact``: all decoded frames equal the encoder's
        reconstruction; ``repeated``: the second encoding has the same bytes (None if there was none).
    """
    shown: list[Picture] = []
    stream = io.BytesIO()
    config = EncoderConfig(bpp=bpp, effort=effort)
    report = Encoder(config).encode(clip, stream, on_group=lambda plan, _: shown.extend(plan.reconstruction))
    data = stream.getvalue()
    frames = (frame.picture for frame in Decoder().frames(io.BytesIO(data)))
    exact = all(
        a is not None and b is not None and np.array_equal(a, b) for a, b in zip_longest(frames, shown, fillvalue=None)
    )
    repeated = None
    if again:
        second = io.BytesIO()
        Encoder(config, threads=1).encode(clip, second)
        repeated = second.getvalue() == data
    share = len(data) / float(report.target_bytes or len(data))
    return {
        "clip": clip.stem,
        "rate": bpp,
        "frames": report.frames,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "share": shorten(share),
        "met": LOWEST_SHARE <= share <= 1,
        "exact": exact,
        "repeated": repeated,
        "layers": report.layers,
        "modes": report.modes,
        "psnr_y": shorten(report.psnr_y),
        "ms_ssim": shorten(report.ms_ssim),
        "note": report.note,
    }


def run_rate(
    clips: Sequence[Path], rates: Sequence[float], output: Path, effort: int, again: bool
) -> Iterator[dict[str, Any]]:
    """Measure what the file does not hold yet; every entry is written at once and given back."""
    command = f"tgvc-bench rate {' '.join(c.name for c in clips)} " + " ".join(f"--bpp {r:g}" for r in rates)
    command += f" --effort {effort}{' --again' * again}"
    record: dict[str, Any] = {"format": FORMAT, "command": command, "entries": []}
    known = read_record(output)
    if known is not None and known.get("command") == record["command"]:
        record = known
    for rate in rates:
        for clip in clips:
            if any(e["clip"] == clip.stem and e["rate"] == rate for e in record["entries"]):
                continue
            entry = measure_rate(clip, rate, effort, again)
            record["entries"].append(entry)
            write_record(output, record)
            yield entry
