"""From a command to its first frame, in processes of their own: what starts, and how long each part of it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tgvc.errors import BackendError
from tgvc_bench.protocol.children import child_environment, last_line
from tgvc_bench.protocol.stages import Breakdown

PARTS = ("interpreter", "import", "load", "capture", "first segment")
# Marks are moments of a clock that all processes share (CLOCK_MONOTONIC); the end of each part of PARTS.
_CHILD = """
import sys, time
marks = [time.monotonic()]
import json
import tgvc.decoder
from tgvc.config import DecoderConfig
source, settings = sys.argv[1], json.loads(sys.argv[2])
marks.append(time.monotonic())
decoder = tgvc.decoder.Decoder(DecoderConfig(**settings))
marks.append(time.monotonic())
capture = getattr(decoder, "capture", None)
if capture is not None:
    capture()
marks.append(time.monotonic())
frames = decoder.frames(source)
next(frames)
next(frames, None)
marks.append(time.monotonic())
print(json.dumps(marks), flush=True)
frames.close()
"""


def measure_cold(
    source: str, settings: Mapping[str, Any], runs: int, environment: Mapping[str, str] | None = None
) -> list[Breakdown]:
    """Starts of a decoder, each in a fresh process, from the call of the program to the second frame.

    The first frame is a key picture, which is shown as it was coded: only the second one has been painted. File caches
    are warm from the first start on, as on a machine that has run the program before.

    Args:
        source: path of a stream.
        settings: fields of `DecoderConfig`.
        runs: how many starts.
        environment: variables to add.

    Raises:
        BackendError: a process failed; carries the last line of what it said.
    """
    return [
        measure_start([sys.executable, "-c", _CHILD, source, json.dumps(dict(settings))], environment)
        for _ in range(runs)
    ]


def measure_start(words: Sequence[str], environment: Mapping[str, str] | None = None) -> Breakdown:
    """One start of a program that prints the moments (`time.monotonic`) at which its `PARTS` ended, as JSON.

    Raises:
        BackendError: it failed, or its moments are not in order.
    """
    began = time.monotonic()
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=child_environment(environment)
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        ended = time.monotonic()
        _, said = process.communicate()
    if process.returncode or not line:
        raise BackendError(f"cold start: the process ended with exit status {process.returncode}: {last_line(said)}")
    marks = [began, *json.loads(line)]
    if sorted(marks) != marks or len(marks) != len(PARTS) + 1:
        raise BackendError(f"cold start: got {len(marks) - 1} moments, expected {len(PARTS)} in order")
    spans = {name: late - early for name, early, late in zip(PARTS, marks, marks[1:], strict=False)}
    return Breakdown(ended - began, spans)
