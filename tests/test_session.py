"""Sessions: the same frames as without, whatever else happens to other requests."""

from __future__ import annotations

import gc
import io
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import tgvc
from interpolation_samples import KnownNetworks
from network_samples import tiny_bundle
from session_samples import FRAMES, ONE_THREAD, PATIENCE_S, gated, make_stream, same, until
from tgvc import DecodeSession
from tgvc.config import DecoderConfig
from tgvc.decoder import Decoder
from tgvc.errors import (
    ConfigError,
    RequestCancelledError,
    RequestTimeoutError,
    SessionError,
    SessionFullError,
    TruncatedError,
    VideoError,
)
from tgvc.models.clip_text import tokenise_prompts
from tgvc.session import session as room
from tgvc.session.feed import LIMIT_BYTES
from tgvc.session.stats import percentiles
from tgvc.synthesis.interpolation.generator import InterpolationGenerator, InterpolationOptions
from tgvc.video.reader import TimedPicture


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Three streams of three groups, of seeds 0 to 2."""
    return [make_stream(tmp_path_factory.mktemp("clip"), seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def wanted(streams: list[bytes]) -> list[list[TimedPicture]]:
    return [list(Decoder().frames(io.BytesIO(data))) for data in streams]


def test_many_requests_at_once_give_the_frames_of_the_decoder(
    streams: list[bytes], wanted: list[list[TimedPicture]]
) -> None:
    with DecodeSession(ONE_THREAD, workers=3, streams=5, ahead=2) as session:
        requests = [session.submit(io.BytesIO(streams[n % 3])) for n in range(12)]
        for n, request in enumerate(requests):
            assert same(request.result(PATIENCE_S), wanted[n % 3])
            assert request.done()
            assert request.exception() is None


@pytest.mark.parametrize("paint", ["all", "keys"])
def test_networks_give_the_frames_of_the_decoder(streams: list[bytes], tmp_path: Path, paint: str) -> None:
    folder = str(tiny_bundle(tmp_path / "tiny", v_gain=0.0).folder)  # paints noise of seed, group and frame
    config = DecoderConfig(generator="latent", bundle=folder, threads=1, paint=paint)
    decoder = Decoder(config)
    with DecodeSession(config, workers=2, streams=3) as session:
        requests = [session.submit(io.BytesIO(data)) for data in streams]
        for request, data in zip(requests, streams, strict=True):
            assert same(request.result(PATIENCE_S), list(decoder.frames(io.BytesIO(data))))
        assert session.stats.done == 3


def known_decoder(nets: KnownNetworks, **options: float) -> type[Decoder]:
    """Decoders with networks whose answers are known, and noise of each stream in what they take for signal."""
    values = {"steps": 3, "scale": 2.0, "rescale": 0.5} | options

    class KnownDecoder(Decoder):
        def __init__(self, config: DecoderConfig) -> None:
            self.config, self._networks = config, None
            sampling = InterpolationOptions(**values)  # type: ignore[arg-type]
            self._generator = InterpolationGenerator(nets, sampling, tokenise_prompts(["", ""]), {})

    return KnownDecoder


def test_the_published_generator_gives_the_frames_of_the_decoder(
    monkeypatch: pytest.MonkeyPatch, streams: list[bytes]
) -> None:
    decoder = known_decoder(KnownNetworks(blur=0.5))
    monkeypatch.setattr(room, "Decoder", decoder)
    with DecodeSession(ONE_THREAD, workers=3, streams=3) as session:
        requests = [session.submit(io.BytesIO(streams[n % 3])) for n in range(6)]
        found = [request.result(PATIENCE_S) for request in requests]
    for n, data in enumerate(streams):
        alone = list(decoder(ONE_THREAD).frames(io.BytesIO(data)))
        assert same(found[n], alone)
        assert same(found[n + 3], alone)
    assert not same(found[0], found[1])


def test_cancelling_does_not_wait_for_the_last_denoising_step(
    monkeypatch: pytest.MonkeyPatch, streams: list[bytes]
) -> None:
    nets = KnownNetworks()
    monkeypatch.setattr(room, "Decoder", known_decoder(nets, steps=1000))
    with DecodeSession(ONE_THREAD, workers=1, streams=1) as session:
        request = session.submit(io.BytesIO(streams[0]))
        until(lambda: len(nets.asked) > 2)
        request.cancel()
        assert session.drain(PATIENCE_S)
        asked = len(nets.asked)
        assert asked < 1000  # of several thousand
        gone = session.submit(io.BytesIO(streams[1]))
        until(lambda: len(nets.asked) > asked)
        del gone  # nobody holds it: the same
        gc.collect()
        until(lambda: session.stats.cancelled == 2)
        assert session.drain(PATIENCE_S)


def test_a_range_is_that_of_the_decoder(streams: list[bytes]) -> None:
    alone = list(Decoder(DecoderConfig(start=0.2, end=0.44)).frames(io.BytesIO(streams[0])))
    with DecodeSession(ONE_THREAD) as session:
        assert same(session.submit(io.BytesIO(streams[0]), start=0.2, end=0.44).result(PATIENCE_S), alone)
        assert 0 < len(alone) < FRAMES
        with pytest.raises(ConfigError, match="end=1"):
            session.submit(io.BytesIO(streams[0]), start=2.0, end=1.0)


@pytest.mark.parametrize("seed", range(4))
def test_bytes_may_be_fed_in_pieces_cut_anywhere(
    streams: list[bytes], wanted: list[list[TimedPicture]], seed: int
) -> None:
    chance, data = random.Random(seed), streams[seed % 3]
    with DecodeSession(ONE_THREAD) as session:
        request = session.open()
        place = 0
        while place < len(data):
            size = chance.choice([1, 7, 100, 5000])
            request.feed(data[place : place + size], PATIENCE_S)
            place += size
        request.finish()
        assert same(request.result(PATIENCE_S), wanted[seed % 3])
        with pytest.raises(ConfigError, match="end was declared"):
            request.feed(b"more")


def test_fed_frames_come_while_the_rest_is_not_there_yet(
    streams: list[bytes], wanted: list[list[TimedPicture]]
) -> None:
    with DecodeSession(ONE_THREAD) as session:
        request = session.open()
        request.feed(streams[0][: len(streams[0]) * 2 // 3])
        assert same([request.frame(PATIENCE_S)], wanted[0][:1])  # type: ignore[list-item]
        assert request.info(PATIENCE_S).width == wanted[0][0].picture.shape[1]
        assert not request.done()
        request.finish()
        with pytest.raises(TruncatedError):
            request.result(PATIENCE_S)


def test_a_feeder_who_is_too_fast_waits(monkeypatch: pytest.MonkeyPatch, streams: list[bytes]) -> None:
    with gated(monkeypatch), DecodeSession(ONE_THREAD) as session:
        request = session.open()
        for _ in range(LIMIT_BYTES // len(streams[0])):
            request.feed(streams[0], PATIENCE_S)
        request.feed(bytes(LIMIT_BYTES), PATIENCE_S)  # there was room for a byte; what the reader took is a stream
        with pytest.raises(RequestTimeoutError, match="no room"):
            request.feed(b"x", 0.05)
        request.cancel()
        with pytest.raises(RequestCancelledError):
            request.feed(streams[0])


def take_all(frame: Callable[[], TimedPicture | None]) -> tuple[list[TimedPicture], Exception]:
    """Frames up to an error, and the error."""
    frames = []
    try:
        while (shown := frame()) is not None:
            frames.append(shown)
    except tgvc.TgvcError as fault:
        return frames, fault
    raise AssertionError("no error")


def test_frames_before_the_damage_come_and_others_do_not_notice(
    streams: list[bytes], wanted: list[list[TimedPicture]]
) -> None:
    damaged = bytearray(streams[0])
    damaged[len(damaged) * 3 // 4] ^= 1
    with DecodeSession(ONE_THREAD, workers=1) as session:
        bad, good = session.submit(io.BytesIO(bytes(damaged))), session.submit(io.BytesIO(streams[1]))
        nothing = session.submit(io.BytesIO(b"no stream"))
        found, fault = take_all(lambda: bad.frame(PATIENCE_S))
        frames = Decoder().frames(io.BytesIO(bytes(damaged)))
        alone, expected = take_all(lambda: next(frames, None))
        assert same(found, alone)
        assert 0 < len(found) < FRAMES
        assert (type(fault), str(fault)) == (type(expected), str(expected))
        assert same(good.result(PATIENCE_S), wanted[1])
        with pytest.raises(tgvc.TgvcError):
            nothing.info(PATIENCE_S)
        with pytest.raises(tgvc.TgvcError):
            nothing.frame(PATIENCE_S)
        assert session.drain(PATIENCE_S)
        assert (session.stats.failed, session.stats.done) == (2, 1)


def test_a_slow_reader_holds_nobody_up_and_no_more_than_its_share(streams: list[bytes]) -> None:
    with DecodeSession(ONE_THREAD, workers=1, ahead=3) as session:
        slow, quick = session.submit(io.BytesIO(streams[0])), session.submit(io.BytesIO(streams[1]))
        assert len(quick.result(PATIENCE_S)) == FRAMES
        until(lambda: slow.stats.frames == 3)
        for taken in range(1, 6):
            slow.frame(PATIENCE_S)
            until(lambda taken=taken: slow.stats.frames == 3 + taken)
        assert slow.stats.stalled_s > 0
        assert slow.stats.taken == 5


def test_equals_share_the_worker_frame_by_frame(monkeypatch: pytest.MonkeyPatch, streams: list[bytes]) -> None:
    with gated(monkeypatch) as gate, DecodeSession(ONE_THREAD, workers=1, ahead=50) as session:
        requests = [session.submit(io.BytesIO(data)) for data in streams]
        until(lambda: all(r.info(PATIENCE_S) for r in requests))
        until(lambda: sum(s.group is not None or s.busy for s in session._board.open) == 3)
        for _ in range(30):  # every frame takes about as long as the others
            before = len(gate.log)
            threading.Event().wait(0.005)
            gate.let(1)
            until(lambda before=before: len(gate.log) > before)
        counts = [gate.log.count(seed) for seed in range(3)]
        assert sum(counts) >= 30
        assert min(counts) >= 7  # of 10; the machine is not even


def test_what_comes_first_is_begun_and_worked_on_first(monkeypatch: pytest.MonkeyPatch, streams: list[bytes]) -> None:
    with gated(monkeypatch, frames=2) as gate, DecodeSession(ONE_THREAD, workers=1, streams=1) as session:
        requests = [
            session.submit(io.BytesIO(data), priority=priority)
            for data, priority in zip(streams, (0, 5, -5), strict=True)
        ]
        gate.let(1000)
        for request in requests:
            request.result(PATIENCE_S)
        assert gate.log == [0] * 6 + [2] * 6 + [1] * 6  # the first had begun before there was another
        with pytest.raises(ConfigError, match="priority=101"):
            session.submit(io.BytesIO(streams[0]), priority=101)


def test_a_deadline_ends_a_request_in_the_middle_of_a_step(
    monkeypatch: pytest.MonkeyPatch, streams: list[bytes]
) -> None:
    with gated(monkeypatch) as gate, DecodeSession(ONE_THREAD, workers=1, streams=1) as session:
        late, queued = session.submit(io.BytesIO(streams[0]), timeout=0.2), session.submit(io.BytesIO(streams[1]))
        hopeless = session.submit(io.BytesIO(streams[2]), timeout=0.05)
        with pytest.raises(RequestTimeoutError, match=r"timeout=0\.2"):
            late.result(PATIENCE_S)
        with pytest.raises(TimeoutError, match=r"timeout=0\.05"):  # it never began
            hopeless.frame(PATIENCE_S)
        gate.let(1000)  # the step that was broken off may have used one
        assert len(queued.result(PATIENCE_S)) == 60
        assert (late.stats.state, hopeless.stats.state, queued.stats.state) == ("expired", "expired", "done")
        assert session.stats.expired == 2


def test_waiting_too_long_for_a_frame_ends_nothing(monkeypatch: pytest.MonkeyPatch, streams: list[bytes]) -> None:
    with gated(monkeypatch) as gate, DecodeSession(ONE_THREAD) as session:
        request = session.submit(io.BytesIO(streams[0]))
        with pytest.raises(RequestTimeoutError, match="goes on"):
            request.frame(0.02)
        gate.let(60)
        assert len(request.result(PATIENCE_S)) == 60


@pytest.mark.parametrize("moment", ["waiting", "painting", "stalled", "done"])
def test_cancelling_frees_everything_at_any_moment(
    monkeypatch: pytest.MonkeyPatch, streams: list[bytes], moment: str
) -> None:
    with gated(monkeypatch) as gate, DecodeSession(ONE_THREAD, workers=1, streams=1, ahead=4) as session:
        first = session.submit(io.BytesIO(streams[1])) if moment == "waiting" else None
        request = session.submit(io.BytesIO(streams[0]))
        if moment == "painting":
            until(lambda: request._stream.busy)
        elif moment == "stalled":
            gate.let(4)
            until(lambda: request._stream.stalled)
        elif moment == "done":
            gate.let(60)
            request.result(PATIENCE_S)
        assert request.cancel() is (moment != "done")
        assert request.cancel() is False
        assert request.cancelled() is (moment != "done")
        if first is not None:
            first.cancel()
        if moment != "done":
            with pytest.raises(RequestCancelledError, match="cancelled"):
                request.frame(PATIENCE_S)
        assert session.drain(PATIENCE_S)
        stream = request._stream
        assert not stream.frames
        assert stream.painting is None
        assert stream.group is None
        gate.let(1000)
        assert len(session.submit(io.BytesIO(streams[1])).result(PATIENCE_S)) == 60  # the place is free again


def test_a_request_that_nobody_holds_is_cancelled(monkeypatch: pytest.MonkeyPatch, streams: list[bytes]) -> None:
    with gated(monkeypatch), DecodeSession(ONE_THREAD) as session:
        session.submit(io.BytesIO(streams[0]))
        gc.collect()
        until(lambda: session.stats.cancelled == 1)
        with session.submit(io.BytesIO(streams[0])) as request:
            assert not request.done()
        assert request.cancelled()


def test_too_many_requests_are_refused_or_wait(monkeypatch: pytest.MonkeyPatch, streams: list[bytes]) -> None:
    with gated(monkeypatch) as gate, DecodeSession(ONE_THREAD, streams=1, waiting=2) as session:
        held = [session.submit(io.BytesIO(streams[0])) for _ in range(3)]
        with pytest.raises(SessionFullError, match="2 requests wait"):
            session.submit(io.BytesIO(streams[0]))
        with pytest.raises(SessionFullError):
            session.submit(io.BytesIO(streams[0]), patience=0.02)
        threading.Timer(0.05, held[0].cancel).start()
        late = session.submit(io.BytesIO(streams[0]), patience=None)
        gate.let(1000)
        assert [len(r.result(PATIENCE_S)) for r in (held[1], held[2], late)] == [60] * 3


def test_closing_ends_all_and_refuses_more(monkeypatch: pytest.MonkeyPatch, streams: list[bytes]) -> None:
    before = threading.active_count()
    with gated(monkeypatch), DecodeSession(ONE_THREAD, workers=2, streams=2) as session:
        requests = [session.submit(io.BytesIO(data)) for data in streams]
        assert session.drain(0.02) is False
    for request in requests:
        with pytest.raises(RequestCancelledError, match="session was closed"):
            request.result()
    with pytest.raises(SessionError, match="closed"):
        session.submit(io.BytesIO(streams[0]))
    session.close()
    assert session.stats.cancelled == 3
    until(lambda: threading.active_count() <= before)


def test_what_a_request_tells_adds_up(streams: list[bytes]) -> None:
    with DecodeSession(ONE_THREAD, workers=1, streams=1, ahead=4) as session:
        first, second = (session.submit(io.BytesIO(streams[0])) for _ in range(2))
        assert second.stats.state == "waiting"
        assert second.stats.first_frame_s is None
        first.result(PATIENCE_S)
        second.result(PATIENCE_S)
        stats = second.stats
        assert (stats.state, stats.frames, stats.taken, stats.priority) == ("done", FRAMES, FRAMES, 0)
        assert 0 < stats.queued_s < stats.first_frame_s < stats.seconds
        assert 0 < stats.work_s < stats.seconds
        assert {"pictures", "motion", "render"} <= set(stats.stages)
        assert stats.fps == pytest.approx(FRAMES / (stats.seconds - stats.queued_s))
        assert stats.as_dict()["frames"] == FRAMES
        assert session.drain(PATIENCE_S)
        whole = session.stats
        assert (whole.waiting, whole.running, whole.done, whole.frames) == (0, 0, 2, 2 * FRAMES)
        assert whole.times["seconds"]["p99"] == max(first.stats.seconds, stats.seconds)
        assert whole.stages["render"] == pytest.approx(first.stats.stages["render"] + stats.stages["render"])
        assert whole.as_dict()["times"]["queued_s"]["p50"] <= whole.times["queued_s"]["p90"]


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles([]) == {}
    assert percentiles([3.0]) == {"p50": 3.0, "p90": 3.0, "p99": 3.0}
    assert percentiles([float(n) for n in range(200, 0, -1)]) == {"p50": 100.0, "p90": 180.0, "p99": 198.0}


def test_a_file_is_written_as_the_decoder_writes_it(streams: list[bytes], tmp_path: Path) -> None:
    alone = Decoder().decode(io.BytesIO(streams[0]), tmp_path / "alone.y4m")
    with DecodeSession(ONE_THREAD) as session:
        report = session.submit(io.BytesIO(streams[0])).write(tmp_path / "session.y4m")
        assert (tmp_path / "session.y4m").read_bytes() == (tmp_path / "alone.y4m").read_bytes()
        facts = ("frames", "width", "height", "fps", "generator", "bundle", "backend")
        assert [getattr(report, name) for name in facts] == [getattr(alone, name) for name in facts]
        assert "write" in report.stages
        late = session.submit(io.BytesIO(streams[0]))
        until(late.done)
        assert late.write(tmp_path / "late.y4m").frames == FRAMES  # all was made before it began to be written
        with pytest.raises(ConfigError, match="no frame lies"):
            session.submit(io.BytesIO(streams[0]), start=1e6).write(tmp_path / "none.y4m")
        broken = session.submit(io.BytesIO(streams[0]))
        with pytest.raises(VideoError):
            broken.write(tmp_path / "nowhere" / "clip.y4m")
        assert broken.done()  # what cannot be written is not made
    assert not (tmp_path / "none.y4m").exists()


def test_callbacks_are_called_once_with_the_request(streams: list[bytes]) -> None:
    called: list[tuple[str, int]] = []
    with DecodeSession(ONE_THREAD) as session:
        request = session.submit(io.BytesIO(streams[0]))
        request.add_done_callback(lambda r: called.append(("early", r.number)))
        request.add_done_callback(lambda r: 1 / 0)  # is told in the log and hurts nobody
        request.result(PATIENCE_S)
        until(lambda: len(called) == 1)
        request.add_done_callback(lambda r: called.append(("late", r.number)))
    assert called == [("early", 0), ("late", 0)]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"workers": 0}, "workers=0"),
        ({"streams": 2.0}, "streams=2.0"),
        ({"ahead": 5000}, "ahead=5000"),
        ({"waiting": True}, "waiting=True"),
        ({"config": DecoderConfig(start=1.0)}, "start=1.0"),
    ],
)
def test_a_session_out_of_bounds_is_refused(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        DecodeSession(**wrong)  # type: ignore[arg-type]


def test_a_deadline_has_to_lie_ahead(streams: list[bytes]) -> None:
    with DecodeSession(ONE_THREAD) as session, pytest.raises(ConfigError, match="timeout=0"):
        session.submit(io.BytesIO(streams[0]), timeout=0)
