"""One part of the work: a clip encoded once at a rate by one of our encoders, and decoded by every generator."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tgvc.api import info
from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.decoder import Decoder
from tgvc.encoder import Encoder
from tgvc.synthesis.human import NAME as HUMAN
from tgvc_bench.evaluation.motion import read_trajectories
from tgvc_bench.evaluation.parts import Bench, PartResult, Target, add_scores
from tgvc_bench.evaluation.sources import Source
from tgvc_bench.evaluation.systems import System
from tgvc_bench.records import shorten
from tgvc_bench.units import BPP, RateUnit, kilobits_per_second

_STATES = "A"  # mode of what only networks of people can paint


@dataclass(frozen=True)
class OurPart:
    """A clip at a rate. ``targets``: the systems that share the stream, and what each of them is to leave behind.

    ``stream``: the bytes if an earlier run has encoded it, with the seconds that it took; ``unit``: of the rate.
    """

    source: Source
    rate: float
    targets: tuple[tuple[System, Target], ...]
    stream: bytes | None = field(default=None, repr=False)
    encode_seconds: float = 0.0
    unit: RateUnit = BPP

    def run(self, bench: Bench) -> PartResult:
        """Encode, decode, score; a system that fails has an entry with its error and stops no other."""
        result = PartResult()
        systems = [system for system, _ in self.targets]
        with result.catching(self.source.name, self.rate, systems):
            loaded, scorer = bench.read(self.source)
            result.note_source(self.source, scorer)
            stream, seconds = self.stream, self.encode_seconds
            if stream is None:
                stream, seconds = encode(self.source, {self.unit.id: self.rate}, systems[0].encode)
                result.streams[stream_name(self)] = (stream, seconds)
            facts = info(io.BytesIO(stream))
            for system, target in self.targets:
                with result.catching(self.source.name, self.rate, [system]):
                    decoder = bench.decoder(choose_decoder(system, facts["modes"]))
                    began = time.perf_counter()
                    pictures = [frame.picture for frame in decoder.frames(io.BytesIO(stream))]
                    spent = time.perf_counter() - began
                    kbps = kilobits_per_second(len(stream), len(pictures), loaded.info.fps)
                    entry = {
                        "clip": self.source.name,
                        "system": system.id,
                        "rate": self.rate,
                        "bytes": len(stream),
                        "bpp": shorten(loaded.clip.bpp(len(stream))),
                        "kbps": shorten(kbps),
                        "size": [facts["width"], facts["height"]],
                        "layers": facts["layers"],
                        "modes": facts["modes"],
                        "seconds": {"encode": shorten(seconds, 3), "decode": shorten(spent, 3)},
                    }
                    add_scores(result, entry, scorer.score(pictures), target)
                    target.add_preview(result, pictures, loaded.info)
                    if target.tracks and (found := read_trajectories(stream))["segments"]:
                        result.files[target.tracks] = json.dumps(found, separators=(",", ":")).encode()
        return result


def choose_decoder(system: System, modes: Container[str]) -> Mapping[str, Any]:
    """Fields of `DecoderConfig` for a stream of these modes.

    Those of the system; but a stream of states, which profile ``auto`` may send, chooses its generator itself where the
    system names one that cannot paint it.
    """
    return {} if _STATES in modes and system.decode.get("generator") != HUMAN else system.decode


def stream_name(part: OurPart) -> str:
    """Which stream of a run it is, for the driver alone."""
    return json.dumps([part.source.name, part.rate, dict(part.targets[0][0].encode)], sort_keys=True)


def encode(source: Source, target: Mapping[str, float], fields: Mapping[str, Any]) -> tuple[bytes, float]:
    """The bytes of a stream that was written to a file, and the seconds it took.

    Args:
        source: the clip.
        target: rate by the name of its unit, ``bpp`` or ``kbps``.
        fields: of `EncoderConfig`, beside those.

    Raises:
        TgvcError: the encoder refuses.
    """
    asked: dict[str, Any] = {**target, "frames": source.frames, "size": source.size, "crop": source.crop}
    config = EncoderConfig(**asked, **fields)
    with tempfile.TemporaryDirectory() as folder, source.file() as given:
        path = Path(folder) / "clip.tgvc"
        began = time.perf_counter()
        Encoder(config, threads=1).encode(given, path)
        return path.read_bytes(), time.perf_counter() - began


def open_decoder(fields: Mapping[str, Any]) -> Decoder:
    """A decoder on one thread, its networks loaded.

    Raises:
        TgvcError: the configuration or its networks are not to be had.
    """
    return Decoder(DecoderConfig(**{"threads": 1, **fields}))
