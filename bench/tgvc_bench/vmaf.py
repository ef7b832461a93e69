"""VMAF of a clip with the models built into the ffmpeg binary: vmaf_v0.6.1 and vmaf_v0.6.1neg."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tgvc.errors import BackendError, ConfigError
from tgvc.types import Picture, picture_size
from tgvc_bench.ffmpeg import run_ffmpeg

MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf_neg": "vmaf_v0.6.1neg"}


def score_vmaf(reference: Sequence[Picture], test: Sequence[Picture]) -> dict[str, float]:
    """Mean over all frames of ``vmaf`` and ``vmaf_neg``, 0..100, larger is better.

    One thread, no subsampling; both inputs run at the same nominal rate, so frame n meets frame n.

    Raises:
        ConfigError: Counts or sizes differ.
        BackendError: The binary failed or scored another number of frames.
        BackendUnavailableError: No binary.
    """
    if not reference or len(reference) != len(test) or any(a.shape != reference[0].shape for a in (*reference, *test)):
        raise ConfigError("vmaf: expected as many test frames as reference frames, at least 1, all of one size")
    width, height = picture_size(reference[0])
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", "25"]
    models = "|".join(f"version={version}\\:name={name}" for name, version in MODELS.items())
    graph = f"[0:v][1:v]libvmaf=model='{models}':log_fmt=json:log_path=log.json:n_threads=1"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.stack(reference).tofile(place / "reference.yuv")
        legs = [*raw, "-i", "pipe:0", *raw, "-i", "reference.yuv"]
        run_ffmpeg([*legs, "-lavfi", graph, "-f", "null", "-"], np.stack(test).tobytes(), cwd=place)
        log = json.loads((place / "log.json").read_text())
    if len(log["frames"]) != len(reference):
        raise BackendError(f"vmaf: the binary scored {len(log['frames'])} of {len(reference)} frames")
    return {name: float(log["pooled_metrics"][name]["mean"]) for name in MODELS}
