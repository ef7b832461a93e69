"""What the latent generator costs: seconds per stage of one segment, and its networks in ONNX Runtime against torch."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tgvc.backends.base import load_backend
from tgvc.bitstream.container import Reader
from tgvc.config import DecoderConfig
from tgvc.decoder import decode_group
from tgvc.errors import BackendError
from tgvc.generators import make_generator
from tgvc.models.bundle import load_bundle
from tgvc.models.nets import Networks
from tgvc.overlap import StageClock
from tgvc.types import FloatArray
from tgvc_bench.clips import read_clip
from tgvc_bench.machine import describe_machine, read_versions, summarise, time_repeats
from tgvc_bench.records import shorten, write_record

FORMAT = "tgvc-networks 1"
SEGMENT = 16  # frames
_NOTES = (
    "segment: 16 frames at the clip's size from parsed layers to pictures; wall by the clock, cpu over all threads",
    "stages: seconds in each, of one run; they overlap, so that their sum exceeds the wall time on several cores",
    "networks: one call of the shape that the segment needs, ONNX Runtime against torch eager, as many threads each",
)


def run_networks(clip: Path, steps: Sequence[int], threads: int, repeats: int, output: Path) -> Iterator[str]:
    """Measure everything; yields a line after each part, writes the file after each."""
    import tgvc

    stream = io.BytesIO()
    tgvc.encode(clip, stream, bpp=0.02, frames=SEGMENT, spacing=SEGMENT - 1, threads=1)
    source = read_clip(clip, SEGMENT)
    record: dict[str, Any] = {
        "format": FORMAT,
        "command": f"tgvc-bench networks {clip.name} --threads {threads} --repeats {repeats}",
        "machine": describe_machine(),
        "versions": read_versions(ffmpeg=False),
        "size": list(source.size),
        "threads": threads,
        "notes": list(_NOTES),
        "segment": {},
        "networks": {},
    }
    data = stream.getvalue()
    configs = {"warp": DecoderConfig(threads=threads)}
    configs |= {f"latent, {n} steps": DecoderConfig(threads=threads, generator="latent", steps=n) for n in steps}
    for name, config in configs.items():
        record["segment"][name] = measure_segment(data, config, repeats)
        write_record(output, record)
        yield f"{name}: {record['segment'][name]['wall_s']['min']} s for {SEGMENT} frames"
    for name, values in compare_runtimes(source.size, threads, repeats):
        record["networks"][name] = values
        write_record(output, record)
        yield f"{name}: ONNX Runtime {values['ratio']} x torch"


def measure_segment(data: bytes, config: DecoderConfig, repeats: int) -> dict[str, Any]:
    """Time of a parsed group's way to pictures, and the seconds of each stage."""
    generator = make_generator(config)
    reader = Reader(io.BytesIO(data))
    group = decode_group(next(iter(reader)), reader.header, StageClock())
    spent = time_repeats(lambda: list(generator.render_group(group, StageClock())), repeats)
    clock = StageClock()
    frames = sum(1 for _ in generator.render_group(group, clock))
    return {
        "frames": frames,
        **summarise(spent),
        "stages": {name: shorten(seconds, 4) for name, seconds in clock.seconds.items()},
    }


def compare_runtimes(size: tuple[int, int], threads: int, repeats: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Times of each network of the bundle ``nano`` in ONNX Runtime and of its twin in torch.

    Raises:
        BackendError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise BackendError("networks: torch is not installed: pip install 'tgvc[export]'") from error
    from tgvc_export.nano.autoencoder import Decoder, Encoder
    from tgvc_export.nano.denoiser import Denoiser

    torch.set_num_threads(threads)
    nets = Networks(load_bundle("nano"), load_backend("onnxruntime", threads=threads))
    channels, (width, height) = nets.constants.latent_channels, size
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    video = SEGMENT, height // 8, width // 8
    planes, latents = draw(4, 6, height // 2, width // 2), draw(4, channels, height // 8, width // 8)
    noisy = [draw(1, channels, *video), np.full(1, 500, np.float32), draw(1, channels, *video)]
    noisy += [draw(1, 2 * channels, *video), draw(1, 4, *video)]
    cases: dict[str, tuple[Callable[..., object], torch.nn.Module, list[FloatArray]]] = {
        "encoder": (nets.encode, Encoder(channels), [planes]),
        "denoiser": (nets.denoise, Denoiser(channels), noisy),
        "decoder": (nets.decode, Decoder(channels), [latents, planes]),
    }
    for name, (ours, module, arrays) in cases.items():
        tensors = [torch.from_numpy(array) for array in arrays]
        with torch.no_grad():
            eager = summarise(time_repeats(partial(module.eval(), *tensors), repeats))
        runtime = summarise(time_repeats(partial(ours, *arrays), repeats))
        ratio = eager["wall_s"]["min"] / runtime["wall_s"]["min"]
        yield name, {"onnxruntime": runtime, "torch": eager, "ratio": shorten(ratio, 3)}
