"""Decoding as a whole: right first, then one stream at a time, many at once, from a cold start, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tgvc.api import configure
from tgvc.bitstream.container import Group, Header, Reader
from tgvc.config import DecoderConfig
from tgvc.decoder import Decoder, TimedGroup
from tgvc.errors import BackendUnavailableError, BundleError, ConfigError
from tgvc.generators import make_generator, open_networks
from tgvc.models.cost import Cost
from tgvc.overlap import run_ahead
from tgvc.session.session import DecodeSession
from tgvc.synthesis.human import NAME as HUMAN
from tgvc_bench.protocol.agreement import require
from tgvc_bench.protocol.ceilings import Ceilings
from tgvc_bench.protocol.cold import measure_cold
from tgvc_bench.protocol.latency import Budget, measure_runs, summarise_runs, warm_up
from tgvc_bench.protocol.noise import compare_calls
from tgvc_bench.protocol.schema import COLD_START, OFFLINE, SINGLE_STREAM
from tgvc_bench.protocol.stages import Breakdown, SpanClock, break_down
from tgvc_bench.records import shorten
from tgvc_bench.timed.counting import CountingBackend
from tgvc_bench.timed.efficiency import describe_cost
from tgvc_bench.timed.reference import check_decoder

_TRACES = 3  # decodes whose stages are looked at; the fastest, which was disturbed least, is told


@dataclass(frozen=True)
class DecodeOptions:
    """What to measure.

    ``budget`` of each scenario. ``jobs``: streams at once. ``starts``: in fresh processes, 0 = none. ``checked``:
    frames that are compared with a slow decode. ``tolerance``: of that, grey levels; the usual one if None.
    ``against``: a backend that runs the same networks in interleaved decodes, such as ``torch``; None = none.
    """

    budget: Budget
    jobs: int = 2
    starts: int = 3
    checked: int = 16
    tolerance: float | None = None
    against: str | None = None


def measure_decode(
    stream: Path, settings: dict[str, Any], ceilings: Ceilings, options: DecodeOptions
) -> Iterator[dict[str, Any]]:
    """Rows of decoding a stream, without their run: single stream, offline, cold start. Nothing is written.

    Args:
        stream: path of a file.
        settings: fields of `DecoderConfig`.
        ceilings: of this machine, in this run.
        options: what to measure.

    Raises:
        BackendError: the frames are wrong; nothing is timed.
        ConfigError: the stream shows no frame, or is to be compared on another backend and needs none.
    """
    settings = name_generator(stream, settings)
    config = configure(DecoderConfig, settings)
    decoder = Decoder(config)
    agreement = require(f"decoding {stream.name}", check_decoder(stream, decoder, options.checked, options.tolerance))
    facts = describe_decoder(config, decoder)
    rival = None if options.against is None else open_rival(stream, config, options)
    frames, fps, groups = count_frames(stream, decoder)
    shared = {"name": f"decode {stream.stem}", "agreement": agreement, "frames": frames, "groups": groups, **facts}

    def run(one: Decoder = decoder) -> None:
        for _ in one.frames(str(stream)):
            pass

    warm = warm_up(run, options.budget)
    seconds = measure_runs(run, options.budget)
    parts = min((trace_decode(stream, decoder) for _ in range(_TRACES)), key=lambda one: one.whole_s)
    best = min(seconds)
    row = shared | {
        "scenario": SINGLE_STREAM,
        "latency": summarise_runs(seconds),
        "warm_up": warm.as_dict(),
        "breakdown": parts.as_dict(),
        "seconds_per_frame": shorten(best / frames, 4),
        "frames_per_second": shorten(frames / best, 4),
        "x_real_time": shorten(frames / fps / best, 4),
    }
    cost = count_cost(stream, config)
    if cost is not None:
        row |= describe_cost(cost, best, ceilings)
    if rival is not None:
        run(rival)  # once: what it compiles and loads is not its decoding
        compared = compare_calls(lambda: run(rival), run, options.budget)[0]
        row["comparison"] = compared.as_dict() | {"with": describe_decoder(rival.config, rival)["backend"]}
    yield row
    yield shared | {"scenario": OFFLINE, **measure_throughput(stream, config, frames, options)}
    if options.starts:
        yield shared | {"scenario": COLD_START, **measure_starts(stream, settings, options.starts)}


def name_generator(stream: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the generator that a stream itself asks for, where they name none."""
    if settings.get("generator") is None:
        with stream.open("rb") as file:
            if any(group.kind == "affine" for group in Reader(file)):
                return {**settings, "generator": HUMAN}
    return dict(settings)


def open_rival(stream: Path, config: DecoderConfig, options: DecodeOptions) -> Decoder:
    """A decoder that runs the same networks on another backend, found right too.

    Raises:
        BackendError: the backend does not run here, or its frames are wrong.
        ConfigError: nothing runs on a backend.
    """
    if config.generator in (None, "warp"):
        raise ConfigError(f"against={options.against}: expected a generator with networks, warp has none")
    rival = Decoder(replace(config, backend=options.against))
    agreement = check_decoder(stream, rival, options.checked, options.tolerance)
    require(f"decoding {stream.name} on {options.against}", agreement)
    return rival


def describe_decoder(config: DecoderConfig, decoder: Decoder) -> dict[str, Any]:
    """What decodes: ``backend``, ``device``, ``precision``; of networks ``bundle``, ``engine`` (hashes), ``steps``."""
    facts: dict[str, Any] = {"threads": config.threads, "generator": decoder.facts["generator"]}
    networks = open_networks(config)
    if networks is None:
        return facts | {"backend": "numba", "device": "cpu", "precision": "float32"}
    bundle, backend = networks
    return facts | {
        "backend": f"{backend.name} {backend.version} with {', '.join(backend.providers)}",
        "device": backend.device,
        "precision": ", ".join(sorted({record.precision for record in bundle.nets.values()})),
        "bundle": bundle.label,
        "engine": {name: record.sha256[:12] for name, record in bundle.nets.items()},
        "steps": decoder.facts.get("steps", 0),
    }


def count_frames(stream: Path, decoder: Decoder) -> tuple[int, float, int]:
    """Frames that are shown, their rate, groups.

    Raises:
        ConfigError: none is shown.
    """
    with stream.open("rb") as file:
        reader = Reader(file)
        fps, groups = float(reader.header.fps), sum(1 for _ in reader)
    frames = sum(1 for _ in decoder.frames(str(stream)))
    if not frames:
        raise ConfigError(f"{stream}: shows no frame, expected at least one")
    return frames, fps, groups


class _TracedReader:
    """A reader of groups whose every group is a stretch of the stage ``parse``."""

    def __init__(self, reader: Reader, clock: SpanClock) -> None:
        self._reader, self._clock = reader, clock

    @property
    def header(self) -> Header:
        return self._reader.header

    def __iter__(self) -> Iterator[Group]:
        groups = iter(self._reader)
        while True:
            with self._clock.measure("parse"):
                group = next(groups, None)
            if group is None:
                return
            yield group


def trace_decode(stream: Path, decoder: Decoder) -> Breakdown:
    """Where the time of one decode goes, its stages overlapping as they always do."""
    clock = SpanClock()
    began = time.perf_counter()
    with stream.open("rb") as file:
        with clock.measure("parse"):
            reader: Any = _TracedReader(Reader(file), clock)
        reading: Generator[TimedGroup] = decoder.read_groups(reader, clock)
        if decoder.config.generator not in (None, "warp", HUMAN):  # as the decoder does it
            reading = run_ahead(reading)
        with closing(reading) as groups:
            for timed in groups:
                for _ in decoder.paint_group(timed, clock):
                    pass
    return break_down(clock.spans, began, time.perf_counter())


def count_cost(stream: Path, config: DecoderConfig) -> Cost | None:
    """What the networks compute in one decode; None where there are none, or onnx is missing to tell."""
    networks = open_networks(config)
    if networks is None:
        return None
    bundle, backend = networks
    counting: Any = CountingBackend(backend)
    decoder = Decoder(DecoderConfig(threads=config.threads))  # reads groups; the generator below paints them
    generator = make_generator(config, (bundle, counting))
    with stream.open("rb") as file:
        for timed in decoder.read_groups(Reader(file), SpanClock()):
            for _ in generator.render_group(timed.group, SpanClock()):
                pass
    try:
        cost: Cost = counting.cost(bundle.label)
    except (BackendUnavailableError, BundleError):
        return None
    return cost


def measure_throughput(stream: Path, config: DecoderConfig, frames: int, options: DecodeOptions) -> dict[str, Any]:
    """Frames per second of a session that always has ``jobs`` streams to decode; begun ones are finished."""
    done = 0
    with DecodeSession(config, workers=options.jobs, streams=options.jobs) as session:

        def serve(_: int) -> int:
            finished = 0
            while not finished or time.perf_counter() - began < options.budget.seconds:
                finished += sum(1 for _ in session.submit(str(stream), patience=None))
            return finished

        began = time.perf_counter()
        with ThreadPoolExecutor(options.jobs) as pool:
            done = sum(pool.map(serve, range(options.jobs)))
        spent = time.perf_counter() - began
    return {
        "seconds": shorten(spent, 4),
        "done": done,
        "per_second": shorten(done / spent, 4),
        "unit": "frames",
        "jobs": options.jobs,
        "streams": done // frames,
    }


def measure_starts(stream: Path, settings: dict[str, Any], starts: int) -> dict[str, Any]:
    """The start of median length among several, and how many there were."""
    found = sorted(measure_cold(str(stream), settings, starts), key=lambda one: one.whole_s)
    return {"breakdown": found[(len(found) - 1) // 2].as_dict(), "starts": len(found)}
