"""A small evaluation with videos in which every frame tells its number, so that a page of it can be checked."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

FRAMES, FPS = 24, 12
WIDTH, HEIGHT = 96, 64
RATES = (0.002, 0.003, 0.005, 0.008)
SYSTEMS = ("warp", "latent", "svt")
CLIPS = ("calm", "<img src=x onerror=window.broken=1>", "</script><script>window.broken=2</script>")
TALL = "tall"  # a clip of another size
PLAYED = CLIPS[:2]  # the third name is no name of a folder
_GAIN = {"warp": 1.0, "latent": 0.4, "svt": 0.0}


@dataclass(frozen=True)
class Sample:
    """Where the record lies, and what it says."""

    path: Path
    record: dict[str, Any]


def grey_of(frame: int, system: str | None) -> int:
    """The grey level of every pixel of a frame; a system is told from the next by one level."""
    return 20 + 9 * frame + (0 if system is None else 1 + SYSTEMS.index(system))


def make_record() -> dict[str, Any]:
    """Three clips of one size and one of another, three systems, four rates; svt fails on one clip at one rate."""
    entries = []
    for number, clip in enumerate((*CLIPS, TALL)):
        for system in SYSTEMS:
            entries += [make_entry(clip, number, system, rate) for rate in RATES]
    failed = next(e for e in entries if (e["clip"], e["system"], e["rate"]) == (CLIPS[2], "svt", RATES[0]))
    for key in ("bytes", "bpp", "kbps", "scores", "frames", "layers", "seconds", "size"):
        del failed[key]
    failed["error"] = "no stream <b>so small</b>"
    sizes = {TALL: (64, 96)}
    return {
        "format": "tgvc-eval 1",
        "title": "A sample & its <names>",
        "command": "tgvc eval sample --frames 24",
        "machine": {"processor": "none", "cores": 2},
        "clips": [
            {"name": c, "width": w, "height": h, "fps": str(FPS), "frames": FRAMES, "sha256": "0" * 64}
            for c in (*CLIPS, TALL)
            for w, h in [sizes.get(c, (WIDTH, HEIGHT))]
        ],
        "systems": {
            "svt": {"title": "SVT", "family": "conventional", "options": {"preset": 4}, "note": "at its best size"},
            "warp": {"title": "ours", "family": "tgvc", "options": {}, "note": ""},
            "latent": {"title": "ours <i>painted</i>", "family": "tgvc", "options": {}, "note": ""},
        },
        "metrics": {
            "psnr_y": {"title": "PSNR", "better": "higher", "unit": "dB", "of": "fidelity"},
            "gmsd": {"title": "GMSD", "better": "lower", "unit": "", "of": "fidelity"},
            "lpips": {"title": "LPIPS", "better": "lower", "unit": "", "of": "fidelity"},
            "flicker": {"title": "flicker", "better": "lower", "unit": "", "of": "flicker"},
        },
        "entries": entries,
        "bd_rate": {
            "psnr_y": {
                "anchor": "svt",
                "method": "of the sample",
                "systems": {
                    "warp": {"mean": -20.5, "low": -25.0, "high": -16.0, "clips": {CLIPS[0]: -25.0, CLIPS[1]: -16.0}},
                    "latent": {"mean": 4.5, "low": -1.0, "high": 10.0, "clips": {CLIPS[0]: -1.0, CLIPS[1]: None}},
                },
            }
        },
        "points": {CLIPS[0]: {"svt": [{"size": "48x32", "bpp": 0.004, "scores": {"psnr_y": 25.5}}]}},
        "failed_clips": {"lost": "is no <video>"},
        "sets": [{"system": "warp", "rate": 0.003, "frames": 96, "scores": {"fid": 61.25}}],
        "ablations": [
            {"title": "segments", "variant": "fixed", "scores": {"psnr_y": 29.5}},
            {"title": "segments", "variant": "adaptive", "scores": {"psnr_y": 30.25}},
        ],
    }


def make_entry(clip: str, number: int, system: str, rate: float) -> dict[str, Any]:
    psnr = round(26 + 2 * number + 5 * math.log10(rate / 0.002) + _GAIN[system] * (1 + 0.2 * number), 3)
    size = round(rate * WIDTH * HEIGHT * FRAMES / 8)
    wave = [round(psnr + 2 * math.sin(t * 1.3 + number + _GAIN[system]), 3) for t in range(FRAMES)]
    entry: dict[str, Any] = {
        "clip": clip,
        "system": system,
        "rate": rate,
        "bytes": size,
        "bpp": round(8 * size / (WIDTH * HEIGHT * FRAMES) * (0.97 if system == "warp" else 0.99), 6),
        "kbps": round(8 * size / (FRAMES / FPS) / 1000, 3),
        "size": [WIDTH, HEIGHT] if system != "svt" else [WIDTH // 2, HEIGHT // 2],
        "layers": {},
        "seconds": {"encode": 1.5 + number, "decode": 0.25},
        "scores": {
            "psnr_y": psnr,
            "gmsd": round(4 / psnr, 5),
            "lpips": round(10 / psnr, 5),
            "flicker": None if system == "svt" else 2.5,
        },
        "frames": {"psnr_y": wave},
    }
    if system != "svt":
        entry["layers"] = {"pictures": size - size // 4 - 3, "motion": size // 4, "overhead": 3}
    return entry


def make_tracks() -> dict[str, Any]:
    """One trajectory along the middle, which is hidden from frame 8 on; a second segment follows at frame 12."""
    line = [[10.0 + 5 * t, 32.0] for t in range(12)]
    return {
        "segments": [
            {"first": 0, "length": 12, "xy": [line], "visible": [[int(t < 8) for t in range(12)]]},
            {"first": 12, "length": 20, "xy": [[[48.0, 10.0]] * 20], "visible": [[1] * 20]},
        ]
    }


def write_video(path: Path, greys: list[int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """A video of even grey frames: H.264 in .mp4, VP9 in .webm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = {".mp4": "libx264", ".webm": "libvpx-vp9"}[path.suffix]
    options = {"crf": "4", "b": "0", "threads": "1", "deadline": "realtime", "cpu-used": "8"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options if path.suffix == ".webm" else {"crf": "1"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for grey in greys:
            picture = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
            picture[: size[1]] = grey
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        container.mux(stream.encode())


def write_sample(folder: Path, *, videos: bool = True) -> Sample:
    """The record in a folder, with its videos and trajectories at two of the rates."""
    record = make_record()
    path = folder / "eval.json"
    path.write_text(json.dumps(record))
    for clip, suffix in zip(PLAYED, (".mp4", ".webm"), strict=True) if videos else ():
        media = folder / "media" / clip
        write_video(media / f"source{suffix}", [grey_of(t, None) for t in range(FRAMES)])
        for rate in RATES[1:3]:
            for system in SYSTEMS:
                write_video(media / f"{system}-{rate:g}{suffix}", [grey_of(t, system) for t in range(FRAMES)])
            tracks = folder / "media" / "tracks" / clip / f"warp-{rate:g}.json"
            tracks.parent.mkdir(parents=True, exist_ok=True)
            tracks.write_text(json.dumps(make_tracks()))
    return Sample(path, record)


def tell_kbps(record: dict[str, Any]) -> dict[str, Any]:
    """The same record with rates that were asked for in kilobits per second; 1 bpp counts as 2000 of them."""
    told = copy.deepcopy(record)
    told |= {"rate_unit": "kbps", "crop": "square", "rates": [round(2000 * rate) for rate in RATES]}
    for row in (*told["entries"], *told["sets"]):
        row["rate"] = round(2000 * row["rate"])
    for entry in told["entries"]:
        if "error" not in entry:
            entry["kbps"] = round(2000 * entry["bpp"], 3)
    for sweeps in told["points"].values():
        for point in (p for points in sweeps.values() for p in points):
            point["kbps"] = 2000 * point["bpp"]
    return told
