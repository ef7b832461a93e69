"""Slices one after the other, each in a process of its own; what is finished is written at once and never run again."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tgvc_bench.gpu.inventory import find_missing
from tgvc_bench.gpu.sizes import DRY, FULL, Sizes
from tgvc_bench.gpu.slices import Slice, list_slices
from tgvc_bench.protocol.ceilings import Ceilings
from tgvc_bench.protocol.children import child_environment, last_line
from tgvc_bench.protocol.provenance import describe_run
from tgvc_bench.protocol.schema import load_record, save_record

WORK = "work"  # folder beside the records: networks, references, what compilers keep
SPARE_S = 20.0  # so much of the limit is left for writing and for what starts next
_CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton", "CUPY_CACHE_DIR": "cupy"}


def run_slices(
    folder: Path, command: str, *, dry: bool = False, limit_s: float = 570.0, only: tuple[str, ...] = ()
) -> Iterator[str]:
    """Run what has not been run, as far as the time allows; yields a line about each slice.

    Args:
        folder: for records ``gpu_*.json``, and a folder of work that is not to be published.
        command: as it was called, for the records.
        dry: small networks on the processor.
        limit_s: seconds for all of this call; a slice that does not fit is cut off, and goes on in the next call.
        only: names of slices; all if empty.
    """
    began, sizes = time.monotonic(), DRY if dry else FULL
    work = folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    for part in list_slices(sizes):
        if only and part.name not in only:
            continue
        left = limit_s - SPARE_S - (time.monotonic() - began)
        if left <= 0:
            yield f"{part.name}: not begun, the time is over; call again"
            continue
        yield f"{part.name}: {run_slice(part, sizes, folder, command, left)}"


def run_slice(part: Slice, sizes: Sizes, folder: Path, command: str, seconds: float) -> str:
    """Run one slice, for so many seconds at most; what came of it in a few words."""
    path = folder / f"gpu_{part.topic}.json"
    record = load_record(path, "gpu")
    done = record.setdefault("done", {})
    if part.name in done:
        return "done before"
    if missing := find_missing(part.needs, sizes, folder / WORK):
        record.setdefault("faults", {})[part.name] = missing
        save_record(path, record)
        return f"not run: {missing}"
    record.setdefault("faults", {}).pop(part.name, None)
    have = frozenset(row["key"] for row in record["rows"])
    began, ceilings, run_name, rows = time.monotonic(), None, "", 0
    with _start(part, sizes, folder, have) as process:
        lines = _Lines(process)
        while (line := lines.next(seconds - (time.monotonic() - began))) is not None:
            row = json.loads(line)
            if "ceilings" in row:
                ceilings = Ceilings(**row["ceilings"])
            elif "fault" in row:
                record["faults"][row["key"]] = row["fault"]
            else:
                if not run_name:
                    run_name, run = describe_run(command, ceilings)
                    if sizes.dry:
                        run["machine"]["dry"] = True
                    record["runs"][run_name] = run
                record["faults"].pop(row["key"], None)
                record["rows"].append({"run": run_name, **row})
                rows += 1
            save_record(path, record)
        status, said = lines.end()
    spent = time.monotonic() - began
    fault = record["faults"].get(part.name, "")
    if status == 0:
        done[part.name] = round(spent, 1)
    elif lines.cut:
        fault = f"cut off after {spent:.0f} s; the next call goes on"
    elif not fault:
        fault = f"the process ended with exit status {status}: {last_line(said)}"
    if fault:
        record["faults"][part.name] = fault
    save_record(path, record)
    return f"{rows} rows in {spent:.0f} s" + (f"; {fault}" if fault else "")


def _start(part: Slice, sizes: Sizes, folder: Path, have: frozenset[str]) -> subprocess.Popen[str]:
    work = (folder / WORK).resolve()
    words = [sys.executable, "-m", "tgvc_bench.gpu.worker", part.name, str(work)]
    words += ["dry" if sizes.dry else "full", json.dumps(sorted(have))]
    caches = {variable: str(work / name) for variable, name in _CACHES.items()}  # so that a cut-off slice goes on
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=child_environment(caches)
    )


class _Lines:
    """Lines of a process as they come; the process is ended when its time is over."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self.cut = process, False
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._said: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._listen, args=(process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            if line.startswith("{"):  # libraries may print what they like
                self._lines.put(line)
        self._lines.put(None)

    def _listen(self, stream: IO[str]) -> None:
        for line in stream:
            self._said = [*self._said[-20:], line]

    def next(self, seconds: float) -> str | None:
        """The next line; None at the end, or when the time is over."""
        try:
            return self._lines.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            self.cut = True
            self._process.kill()
            return None

    def end(self) -> tuple[int, str]:
        """The exit status, and what the process complained of."""
        status = self._process.wait()
        for thread in self._threads:
            thread.join(5)
        return status, "".join(self._said)


def describe_state(folder: Path, *, dry: bool = False) -> dict[str, Any]:
    """Which slices are done and which are not, and why."""
    state: dict[str, Any] = {}
    for part in list_slices(DRY if dry else FULL):
        record = load_record(folder / f"gpu_{part.topic}.json", "gpu")
        done = part.name in record.get("done", {})
        state[part.name] = "done" if done else record.get("faults", {}).get(part.name, "not run")
    return state
