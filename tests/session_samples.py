"""Streams for sessions, and a decoder whose painting waits for the test."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tgvc.config import DecoderConfig, EncoderConfig
from tgvc.decoder import Decoder, TimedGroup
from tgvc.encoder import Encoder
from tgvc.overlap import StageClock
from tgvc.session import session as room
from tgvc.types import OnProgress
from tgvc.video.reader import TimedPicture
from tgvc.video.writer import VideoWriter
from video_samples import info_of, smooth_picture

FRAMES, SIZE = 13, (96, 64)
PATIENCE_S = 30  # for what takes milliseconds, on a machine that does much else


def make_stream(folder: Any, frames: int = FRAMES, seed: int = 7, group: int = 5) -> bytes:
    """A stream of a smooth clip, several groups."""
    return _encode(folder, EncoderConfig(bpp=0.3, effort=0, group=group, seed=seed), frames, SIZE)


def make_states(folder: Any) -> bytes:
    """A short stream of states, which only the generator human paints."""
    return _encode(folder, EncoderConfig(profile="human", quality=40, effort=0), 4, (64, 64))


def _encode(folder: Any, config: EncoderConfig, frames: int, size: tuple[int, int]) -> bytes:
    with VideoWriter(folder / "clip.y4m", info_of(*size)) as writer:
        for index in range(frames):
            writer.write(smooth_picture(index + 3 * config.seed, *size))
    out = io.BytesIO()
    Encoder(config).encode(folder / "clip.y4m", out)
    return out.getvalue()


def same(found: list[TimedPicture], wanted: list[TimedPicture]) -> bool:
    """Whether times and pictures are equal, byte for byte."""
    return len(found) == len(wanted) and all(
        a.time == b.time and np.array_equal(a.picture, b.picture) for a, b in zip(found, wanted, strict=True)
    )


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another thread is about to do."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


class Gate:
    """Lets frames through one by one. ``log``: sources in the order in which frames of them were made."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self._permits = threading.Semaphore(0)

    def let(self, frames: int) -> None:
        self._permits.release(frames)

    def wait(self, on_progress: OnProgress | None) -> None:
        """A long step: it is only left by a permit, or by what ``on_progress`` raises."""
        while not self._permits.acquire(timeout=0.005):
            if on_progress is not None:
                on_progress("denoise", 1, 2)


@contextmanager
def gated(monkeypatch: pytest.MonkeyPatch, frames: int = 20) -> Iterator[Gate]:
    """Sessions made meanwhile paint ``frames`` empty pictures per group, each behind the gate."""
    gate = Gate()

    class GatedDecoder(Decoder):
        def paint_group(
            self, timed: TimedGroup, clock: StageClock, on_progress: OnProgress | None = None
        ) -> Generator[TimedPicture]:
            for n in range(frames):
                gate.wait(on_progress)
                gate.log.append(timed.group.seed)
                yield TimedPicture(timed.times[0] + n, np.zeros((3, 2), np.uint8))

    with monkeypatch.context() as patched:
        patched.setattr(room, "Decoder", GatedDecoder)
        yield gate
    gate.let(1 << 20)


ONE_THREAD = DecoderConfig(threads=1)
