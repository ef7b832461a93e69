"""Profile human measured: what states cost, how far they carry, how long a frame takes and where the time goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from tgvc.analysis.cells import measure_cells
from tgvc.backends.base import load_backend
from tgvc.bitstream.affine import encode_affine, quantise_states, restore_states, step_size
from tgvc.bitstream.pictures import find_codec
from tgvc.models.bundle import load_bundle
from tgvc.models.human import HumanNetworks
from tgvc.planning.judge import judge
from tgvc.types import FloatArray, Picture
from tgvc.video.reader import open_video
from tgvc_bench.machine import describe_machine, read_versions, time_repeats

FORMAT = "tgvc-human 1"
# bytes per frame of 40 Laplacian residuals under the published release's coder, by their scale in steps
PUBLISHED_BYTES: Mapping[float, float] = {0.0: 2.0, 0.3: 8.0, 1.0: 16.5, 4.0: 29.0, 8.0: 36.0}
_FRAMES, _PARAMETERS, _CODE = 250, 40, 18
_QUALITY, _PRESET = 40.0, 6


def measure_model() -> list[dict[str, float]]:
    """Bytes per frame of 40 Laplacian residuals beside the published coder's, 250 frames after the first state."""
    rows = []
    for scale, published in PUBLISHED_BYTES.items():
        rng = np.random.default_rng(0)
        steps = np.rint(rng.laplace(0, scale, (_FRAMES + 1, _PARAMETERS))) if scale else np.zeros((_FRAMES + 1, 40))
        states = np.asarray(np.cumsum(steps, axis=0) * step_size(_CODE), np.float32)
        whole, first = (_payload(run, _CODE) for run in (states, np.repeat(states[:1], 2, axis=0)))
        ours = (whole - first) / _FRAMES
        rows.append(
            {"scale": scale, "published": published, "ours": round(ours, 3), "saved": round(1 - ours / published, 3)}
        )
    return rows


def measure_clip(nets: HumanNetworks, path: Path, frames: int = 96) -> dict[str, Any]:
    """What the states of a clip cost at several steps and decimations, and what frames painted from them are like.

    The key picture is the first one at a fixed, fine quality, so that what is seen is the motion's doing; ``still``:
    the key picture shown instead of every frame.
    """
    with open_video(path, frames=frames) as video:
        pictures, fps = [frame.picture for frame in video], float(video.info.fps)
    coded = find_codec(0).encode(pictures[:1], _QUALITY, _PRESET)
    states, known = nets.states(pictures[0], pictures, measure_cells), nets.know(coded.pictures[0])
    still = judge(pictures, [coded.pictures[0]] * len(pictures))
    rows = []
    for step, every in ((18, 1), (24, 1), (30, 1), (36, 1), (42, 1), (36, 2), (36, 4)):
        motion = quantise_states([states], step=step, decimation=every)
        size = len(encode_affine(motion))
        used = restore_states(motion.levels[0], len(pictures), step=step, decimation=every)
        shown = judge(pictures, _paint(nets, known, used))
        rows.append(
            {
                "step": round(step_size(step), 5),
                "every": every,
                "bytes_per_frame": round(size / len(pictures), 2),
                "kbps": round(8 * size * fps / len(pictures) / 1000, 3),
                "psnr_y": round(shown.psnr, 2),
                "ms_ssim": round(shown.ms_ssim, 4),
            }
        )
    return {
        "clip": path.stem,
        "frames": len(pictures),
        "fps": fps,
        "parameters": 2 * nets.constants.channels,
        "key_bytes": len(coded.payload),
        "still": {"psnr_y": round(still.psnr, 2), "ms_ssim": round(still.ms_ssim, 4)},
        "states": rows,
    }


def measure_speed(bundle: str, threads: int, size: int = 256, repeats: int = 40) -> dict[str, Any]:
    """Milliseconds per call of every stage of a decoder, and of the encoder's predictor."""
    nets = HumanNetworks(load_bundle(bundle), load_backend("onnxruntime", threads=threads), 6)
    rng = np.random.default_rng(0)
    picture: Picture = rng.integers(0, 256, (size * 3 // 2, size), dtype=np.uint8)
    state = nets.states(picture, [picture], measure_cells)[0]
    known = nets.know(picture)
    calls: dict[str, Callable[[], object]] = {
        "predictor": lambda: nets.states(picture, [picture], measure_cells),
        "key picture": lambda: nets.know(picture),
        "frame": lambda: nets.paint(known, state, state[None]),
    }
    times = {name: _milliseconds(call, repeats) for name, call in calls.items()}
    return {"threads": threads, "size": [size, size], "ms": times}


def measure_torch(run: Path, threads: int, size: int = 256, repeats: int = 20) -> dict[str, dict[str, float]]:
    """Milliseconds per call of the same networks in eager torch, with the weights of a training run."""
    import torch

    from tgvc_export.mttf.config import NANO
    from tgvc_export.mttf.networks import FrameNetwork, KeyNetwork, MeasuredNetwork, Mttf

    torch.set_num_threads(threads)
    mttf = Mttf(NANO).eval()
    mttf.load_state_dict(torch.load(run / "human.pt", map_location="cpu", weights_only=True)["average"])
    planes = torch.rand(1, 6, size // 2, size // 2) * 2 - 1
    predictor, key, frame = MeasuredNetwork(mttf), KeyNetwork(mttf), FrameNetwork(mttf)
    cells = size // (2 * NANO.scale())
    motion = torch.rand(1, 2, cells, cells), torch.rand(1, 1, cells, cells)
    with torch.inference_mode():
        features, state = predictor(planes, *motion)
        skips = key(planes)
        calls: dict[str, Callable[[], object]] = {
            "predictor": lambda: predictor(planes, *motion),
            "key picture": lambda: (predictor(planes, *motion), key(planes)),
            "frame": lambda: frame(planes, features, state, state, *skips),
        }
        return {name: _milliseconds(call, repeats) for name, call in calls.items()}


@click.command()
@click.argument("clips", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bundle", help="Name or folder; without one only the coder of states is measured.")
@click.option("--run", type=click.Path(path_type=Path), help="Training run, for the time of eager torch.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="JSON.")
def main(clips: Sequence[Path], bundle: str | None, run: Path | None, output: Path) -> None:
    """Measure profile human on clips of people, such as those that were held out."""
    record: dict[str, Any] = {
        "format": FORMAT,
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False),
        "coder": measure_model(),
    }
    if bundle is not None:
        opened = load_bundle(bundle)
        nets = HumanNetworks(opened, load_backend("onnxruntime", threads=2), 6)
        record["bundle"] = {"label": opened.label, "notes": dict(opened.notes)}
        record["clips"] = [measure_clip(nets, clip) for clip in clips]
        record["speed"] = [measure_speed(bundle, threads) for threads in (1, 2)]
    if run is not None:
        record["torch"] = [{"threads": n, "ms": measure_torch(run, n)} for n in (1, 2)]
    output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _payload(states: FloatArray, step: int) -> int:
    return len(encode_affine(quantise_states([states], step=step, dead_zone=0.0)))


def _paint(nets: HumanNetworks, known: Any, states: npt.NDArray[np.float32]) -> list[Picture]:
    return [nets.paint(known, states[0], state[None])[0] for state in states]


def _milliseconds(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median and least by the clock, and median of the processor's time over all threads, ms."""
    spent = time_repeats(call, repeats)
    wall, cpu = ([getattr(s, name) for s in spent] for name in ("wall", "cpu"))
    return {
        name: round(1000 * v, 2) for name, v in (("wall", median(wall)), ("least", min(wall)), ("cpu", median(cpu)))
    }


if __name__ == "__main__":
    main()
