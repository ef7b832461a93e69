"""Sessions when something goes wrong beside the work: a deadline, a generator, a lock, an error without a copy."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from session_samples import ONE_THREAD, PATIENCE_S, gated, make_stream, until
from tgvc import DecodeSession
from tgvc.decoder import Decoder
from tgvc.errors import BitstreamError, RequestCancelledError, RequestTimeoutError, SessionError
from tgvc.session import session as room
from tgvc.session.stream import raise_again
from tgvc.video.reader import TimedPicture


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_stream(tmp_path_factory.mktemp("clip"))


class SlowFile(io.BytesIO):
    """A file on a disk that answers when it is told to."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.answer = threading.Event()

    def read(self, count: int | None = -1) -> bytes:
        self.answer.wait(PATIENCE_S)
        return super().read(count)


def test_a_deadline_that_only_the_reader_meets_is_an_error(
    monkeypatch: pytest.MonkeyPatch, data: bytes, tmp_path: Path
) -> None:
    source, target = SlowFile(data), tmp_path / "clip.y4m"
    with gated(monkeypatch), DecodeSession(ONE_THREAD, workers=1, streams=2) as session:
        other = session.submit(io.BytesIO(data))
        until(lambda: other._stream.busy)  # the only worker is in a long step and sees no deadline
        late = session.submit(source, timeout=0.1)
        until(lambda: late._stream.late)
        source.answer.set()
        until(late.done)
        assert late.stats.state == "expired"
        with pytest.raises(RequestTimeoutError, match=r"timeout=0\.1"):
            late.result()
        with pytest.raises(RequestTimeoutError):
            late.write(target)
    assert list(tmp_path.iterdir()) == []


def test_a_generator_that_cannot_be_closed_gives_its_place_back(
    monkeypatch: pytest.MonkeyPatch, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    class LosingDecoder(Decoder):
        def paint_group(self, *_: Any) -> Generator[TimedPicture]:
            try:
                while True:
                    yield TimedPicture(Fraction(0), np.zeros((3, 2), np.uint8))
            finally:
                raise OSError("device lost")

    monkeypatch.setattr(room, "Decoder", LosingDecoder)
    with caplog.at_level(logging.ERROR), DecodeSession(ONE_THREAD, workers=1, streams=1) as session:
        for _ in range(2):
            request = session.submit(io.BytesIO(data))
            assert request.frame(PATIENCE_S) is not None
            request.cancel()
            assert session.drain(PATIENCE_S)
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [("device lost",)] * 2


def test_closing_where_the_lock_is_held_is_done_by_the_workers(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """As the collector does it, which may run in a thread that is inside the session."""
    before = threading.active_count()
    with gated(monkeypatch):
        session = DecodeSession(ONE_THREAD, workers=2, streams=1)
        request = session.submit(io.BytesIO(data))
        with session._board.lock:
            session.close()
        with pytest.raises(RequestCancelledError, match="session was closed"):
            request.frame(PATIENCE_S)
        with pytest.raises(SessionError, match="closed"):
            session.submit(io.BytesIO(data))
        until(lambda: threading.active_count() <= before)


class NamedError(Exception):
    """Cannot be made of its ``args``."""

    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code


class WordyError(Exception):
    """Can be made of its ``args``, and says something else then."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")


def fault_of(cause: str) -> Exception:
    """What was raised ``from`` an error, ``from None`` inside a handler, or just inside it."""
    try:
        try:
            raise KeyError("disk")
        except KeyError as fault:
            if cause == "handled":
                raise BitstreamError("chunk 3")  # noqa: B904 - which is what is tried
            raise BitstreamError("chunk 3") from (fault if cause == "from" else None)
    except BitstreamError as fault:
        return fault


@pytest.mark.parametrize("cause", ["from", "none", "handled"])
def test_an_error_is_told_again_with_what_led_to_it(cause: str) -> None:
    fault = fault_of(cause)
    for _ in range(2):
        with pytest.raises(BitstreamError, match="chunk 3") as raised:
            raise_again(fault)
        again = raised.value
        assert again is not fault
        assert again.__cause__ is fault.__cause__
        assert again.__context__ is fault.__context__
        assert again.__suppress_context__ is fault.__suppress_context__


@pytest.mark.parametrize("fault", [NamedError(code=3), WordyError(3)])
def test_an_error_that_cannot_be_copied_is_raised_itself(fault: Exception) -> None:
    for _ in range(2):
        with pytest.raises(type(fault)) as raised:
            raise_again(fault)
        assert raised.value is fault
