"""Encoding as a whole: what was written is decoded first, then the time, stage by stage."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tgvc.api import configure
from tgvc.config import EncoderConfig
from tgvc.encoder import Encoder, EncodeReport
from tgvc.planning.keytrack import KeyTrack
from tgvc.planning.segment import SegmentPlanner
from tgvc_bench.protocol.agreement import compare_equal, require
from tgvc_bench.protocol.latency import Budget, measure_runs, summarise_runs
from tgvc_bench.protocol.schema import SINGLE_STREAM
from tgvc_bench.protocol.stages import Breakdown, SpanClock, break_down
from tgvc_bench.records import shorten

# stage -> whose method it is; they run in threads of the planner, which waits for them in ``choose``
_INSIDE: tuple[tuple[str, type, str], ...] = (
    ("code pictures", KeyTrack, "code"),
    ("show pictures", KeyTrack, "pictures"),
    ("fit motion", SegmentPlanner, "plan"),
)
READ, CHOOSE = "read", "choose"


def measure_encode(clip: Path, settings: dict[str, Any], threads: int, budget: Budget) -> Iterator[dict[str, Any]]:
    """The row of encoding a clip, without its run.

    Args:
        clip: path of a video.
        settings: fields of `EncoderConfig`.
        threads: of the encoder.
        budget: of the runs, after one that compiles the kernels and is checked.

    Raises:
        BackendError: the decoder shows something else than the encoder saw; nothing is timed.
    """
    encoder = Encoder(configure(EncoderConfig, settings), threads=threads)
    report, agreement = check_encoder(clip, encoder)
    seconds = measure_runs(lambda: encoder.encode(str(clip), io.BytesIO()), budget)
    yield {
        "name": f"encode {clip.stem}",
        "scenario": SINGLE_STREAM,
        "backend": "SVT-AV1 and numba",
        "device": "cpu",
        "precision": "float32",
        "agreement": agreement,
        "latency": summarise_runs(seconds),
        "warm_up": {"runs": 1, "settled": False},
        "breakdown": trace_encode(clip, encoder).as_dict(),
        "settings": settings,
        "threads": threads,
        "frames": report.frames,
        "bytes": report.bytes,
        "candidates": sum(len(group["trials"]) for group in report.groups),
        "frames_per_second": shorten(report.frames / min(seconds), 4),
        "x_real_time": shorten(report.frames / report.fps / min(seconds), 4),
    }


def check_encoder(clip: Path, encoder: Encoder) -> tuple[EncodeReport, dict[str, Any]]:
    """Encode once and compare what is shown with what the encoder saw, byte by byte.

    Raises:
        BackendError: they differ.
    """
    import numpy as np

    from tgvc.decoder import Decoder

    seen: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        stream = Path(folder) / "clip.tgvc"
        report = encoder.encode(str(clip), str(stream), on_group=lambda plan, _: seen.extend(plan.reconstruction))
        shown = [frame.picture for frame in Decoder().frames(str(stream))]
    found = compare_equal(np.stack(shown), np.stack(seen))
    return report, require(f"encoding {clip.name}: pixels shown beside those that the encoder saw", found)


def trace_encode(clip: Path, encoder: Encoder) -> Breakdown:
    """Where the time of one encode goes: reading, then per group what the candidates take, and choosing among them."""
    clock, marks = SpanClock(), list[tuple[str, float]]()

    def on_progress(stage: str, done: int, total: int | None) -> None:
        if not marks or marks[-1][0] != stage:
            marks.append((stage, time.perf_counter()))

    began = time.perf_counter()
    with traced_planner(clock):
        encoder.encode(str(clip), io.BytesIO(), on_progress)
    ended = time.perf_counter()
    return break_down([*clock.spans, *_outer_spans(marks, began, ended)], began, ended, around=(CHOOSE,))


def _outer_spans(marks: list[tuple[str, float]], began: float, ended: float) -> Iterator[Any]:
    """Stretches of reading and of choosing: a group is chosen from the first ``plan`` to the ``write`` after it."""
    import threading

    from tgvc_bench.protocol.stages import Span

    before, stage = began, READ
    for name, moment in [*marks, ("write", ended)]:
        yield Span(stage, threading.get_ident(), before, moment)
        before, stage = moment, CHOOSE if name == "plan" else READ


@contextmanager
def traced_planner(clock: SpanClock) -> Iterator[None]:
    """Let the encoder's inner work tell a clock, inside the block."""
    kept = [(owner, name, getattr(owner, name)) for _, owner, name in _INSIDE]
    for stage, owner, name in _INSIDE:
        setattr(owner, name, _traced(getattr(owner, name), clock, stage))
    try:
        yield
    finally:
        for owner, name, method in kept:
            setattr(owner, name, method)


def _traced(method: Callable[..., Any], clock: SpanClock, stage: str) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        with clock.measure(stage):
            return method(*arguments, **named)

    return run
