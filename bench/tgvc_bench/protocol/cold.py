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
# Moments are of a clock that all processes share, CLOCK_MONOTONIC. Graphs are captured while the first segment is made
_CHILD = """
import sys, time
began = time.monotonic()
import json
import tgvc.decoder
from tgvc.config import DecoderConfig
source, settings = sys.argv[1], json.loads(sys.argv[2])
imported = time.monotonic()
decoder = tgvc.decoder.Decoder(DecoderConfig(**settings))
loaded, captured = time.monotonic(), [0.0]
if decoder.facts.get("device", "cpu") != "cpu":
    from tgvc.devices.cuda import CudaDevice
    right = CudaDevice.capture
    def capture(*arguments):
        before = time.monotonic()
        try:
            return right(*arguments)
        finally:
            captured[0] += time.monotonic() - before
    CudaDevice.capture = capture
frames = decoder.frames(source)
next(frames)
next(frames, None)
first = time.monotonic() - loaded - captured[0]
print(json.dumps([began, imported - began, loaded - imported, captured[0], first]), flush=True)
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
    """One start of a program that prints, as JSON, when it began (`time.monotonic`) and what its other `PARTS` took.

    Raises:
        BackendError: it failed, or what it printed cannot be.
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
    found = json.loads(line)
    if len(found) != len(PARTS) or min(found[0] - began, *found[1:]) < 0:
        raise BackendError(f"cold start: got {found}, expected a moment and {len(PARTS) - 1} times")
    return Breakdown(ended - began, dict(zip(PARTS, [found[0] - began, *found[1:]], strict=True)))
