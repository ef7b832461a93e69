"""Sessions inside programs: event loops, ends of programs, forks, and long runs with everything at once."""

from __future__ import annotations

import asyncio
import io
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from session_samples import FRAMES, ONE_THREAD, PATIENCE_S, gated, make_stream, same, until
from tgvc import DecodeSession
from tgvc.decoder import Decoder
from tgvc.errors import BitstreamError, RequestCancelledError, RequestTimeoutError
from tgvc.video.reader import TimedPicture


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_stream(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def wanted(data: bytes) -> list[TimedPicture]:
    return list(Decoder().frames(io.BytesIO(data)))


def test_an_event_loop_takes_frames_of_many_requests(data: bytes, wanted: list[TimedPicture]) -> None:
    async def take(session: DecodeSession) -> list[TimedPicture]:
        return [shown async for shown in session.submit(io.BytesIO(data))]

    async def take_all(session: DecodeSession) -> list[list[TimedPicture]]:
        return await asyncio.gather(*(take(session) for _ in range(8)))

    with DecodeSession(ONE_THREAD, ahead=2) as session:
        for found in asyncio.run(asyncio.wait_for(take_all(session), PATIENCE_S)):
            assert same(found, wanted)


@pytest.mark.parametrize("way", ["break", "task"])
def test_a_loop_that_is_left_early_cancels_its_request(monkeypatch: pytest.MonkeyPatch, data: bytes, way: str) -> None:
    async def leave(session: DecodeSession) -> None:
        request = session.submit(io.BytesIO(data))

        async def take() -> None:
            frames = aiter(request)
            async for _ in frames:
                if way == "break":
                    break
            await frames.aclose()  # type: ignore[attr-defined]

        task = asyncio.create_task(take())
        if way == "task":
            await asyncio.sleep(0.05)  # it has its one frame and waits for the next
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert request.cancelled()

    with gated(monkeypatch) as gate, DecodeSession(ONE_THREAD) as session:
        gate.let(1)
        asyncio.run(asyncio.wait_for(leave(session), PATIENCE_S))
        assert session.drain(PATIENCE_S)


def test_an_event_loop_sees_deadlines_and_errors(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    async def take(session: DecodeSession) -> None:
        late = session.submit(io.BytesIO(data), timeout=0.1)
        with pytest.raises(RequestTimeoutError):
            [shown async for shown in late]
        with pytest.raises(BitstreamError):
            [shown async for shown in session.submit(io.BytesIO(b"nothing"))]

    with gated(monkeypatch), DecodeSession(ONE_THREAD) as session:
        asyncio.run(asyncio.wait_for(take(session), PATIENCE_S))


def run_program(text: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=path)


@pytest.mark.parametrize("held", ["module", "function"])
def test_a_program_may_end_with_a_session_at_work(data: bytes, tmp_path: Path, held: str) -> None:
    (tmp_path / "clip.tgvc").write_bytes(data)
    program = """
import sys, tgvc
def begin():
    session = tgvc.DecodeSession(ahead=2)
    requests = [session.submit(sys.argv[1]) for _ in range(9)]
    print(len(requests[0].frame().picture.shape))
    return session, requests
"""
    program += "kept = begin()\n" if held == "module" else "begin()\n"
    done = run_program(program, tmp_path / "clip.tgvc")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_a_child_process_is_told_to_make_its_own_session(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "clip.tgvc").write_bytes(data)
    program = """
import os, sys, warnings
import tgvc
warnings.simplefilter("ignore")  # Python warns of forks beside threads, which this is about
session = tgvc.DecodeSession()
request = session.submit(sys.argv[1])
request.frame()
child = os.fork()
if child == 0:
    for use in (lambda: session.submit(sys.argv[1]), request.frame, session.drain):
        try:
            use()
        except tgvc.TgvcError as fault:
            print(type(fault).__name__, str(fault)[:32], flush=True)
    session.close()
    sys.exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(request.result()))
"""
    done = run_program(program, tmp_path / "clip.tgvc")
    told = "SessionError session: made in another process\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, 3 * told + f"3 {FRAMES - 1}\n", "")


@pytest.mark.parametrize("requests", [160, pytest.param(6000, marks=pytest.mark.slow)])
def test_long_runs_of_all_kinds_of_requests_leave_nothing_behind(
    data: bytes, wanted: list[TimedPicture], requests: int
) -> None:
    """Sound and damaged streams, files and feeds, quick and slow readers, deadlines and cancellations at random."""
    workers, places, ahead, readers = 2, 3, 4, 6
    quiet, counts, peaks = threading.active_count(), Counter[str](), Counter[str]()
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.002):
            with session._board.lock:
                open_ = list(session._board.open)
                frames = sum(len(s.frames) for s in (*open_, *session._board.waiting))
            for name, value in (("open", len(open_)), ("frames", frames), ("threads", threading.active_count())):
                peaks[name] = max(peaks[name], value)

    def use(number: int) -> None:
        chance = random.Random(number)
        kind = chance.choice(["sound", "sound", "fed", "damaged", "cut", "cancelled", "late", "dropped"])
        counts[kind] += 1
        given = bytearray(data)
        if kind == "damaged":
            given[chance.randrange(len(given))] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del given[chance.randrange(len(given)) :]
        if kind == "fed":
            request = session.open(patience=None)
            feeder = threading.Thread(target=feed, args=(request, bytes(given), chance))
            feeder.start()
        else:
            timeout = chance.uniform(0.001, 0.02) if kind == "late" else None
            priority = chance.randrange(-1, 2)
            request = session.submit(io.BytesIO(bytes(given)), patience=None, timeout=timeout, priority=priority)
        stop = chance.randrange(FRAMES) if kind in ("cancelled", "dropped") else FRAMES + 1
        slow = chance.random() < 0.2
        found: list[TimedPicture] = []
        fault: Exception | None = None
        try:
            for shown in request:
                found.append(shown)
                if len(found) > stop:
                    if kind == "dropped":
                        return
                    request.cancel()
                if slow:
                    time.sleep(0.002)
        except (BitstreamError, RequestCancelledError, RequestTimeoutError) as raised:
            fault = raised
        if kind in ("sound", "fed"):
            assert fault is None
            assert same(found, wanted)
        elif fault is not None:
            ends = {"cancelled": RequestCancelledError, "late": RequestTimeoutError}
            assert isinstance(fault, ends.get(kind, BitstreamError))
        if kind != "damaged":  # a byte of the header that says little may be damaged without anyone noticing
            assert same(found, wanted[: len(found)])

    def feed(request: object, given: bytes, chance: random.Random) -> None:
        for place in range(0, len(given), 1 + len(given) // 7):
            time.sleep(chance.uniform(0, 0.003))
            request.feed(given[place : place + 1 + len(given) // 7])  # type: ignore[attr-defined]
        request.finish()  # type: ignore[attr-defined]

    memory = []
    with DecodeSession(ONE_THREAD, workers=workers, streams=places, ahead=ahead, waiting=readers) as session:
        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(readers) as pool:
            for half in (range(requests // 2), range(requests // 2, requests)):
                assert list(pool.map(use, half)) == [None] * len(half)
                memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        watching.set()
        watcher.join()
        assert session.drain(PATIENCE_S)
        stats = session.stats
        assert stats.done + stats.failed + stats.cancelled + stats.expired == requests
        assert stats.done >= counts["sound"] + counts["fed"]
    assert len(counts) == 7
    assert peaks["open"] <= places
    assert peaks["frames"] <= places * ahead + readers * ahead  # those of requests that are made and still read
    # the watcher, readers and their feeders; of each place its reader, its painter and the end of the one before it
    assert peaks["threads"] <= quiet + 1 + 2 * readers + workers + 4 * places
    assert memory[1] - memory[0] <= 16 << 10  # KiB; a leak of a group per request would be four times as much
    until(lambda: threading.active_count() <= quiet)
