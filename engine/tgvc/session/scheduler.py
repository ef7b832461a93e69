"""Who works on which stream: a few threads, the stream that got least first, nobody ahead of its reader.

A worker makes one frame of one stream and chooses again; a stream whose frames are not taken is never chosen, so it
keeps no worker and no more than its place. Groups are read by a thread per open stream, because reading may wait for
ever and painting never does.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing

from tgvc.bitstream.container import Reader
from tgvc.decoder import TimedGroup, video_info
from tgvc.session.board import Board
from tgvc.session.stream import StoppedError, Stream, strip_fault
from tgvc.source import open_input
from tgvc.video.reader import TimedPicture

_TICK_S = 1.0  # idle workers look around that often, for what was dropped without a word
_PATIENCE_S = 5.0  # with threads that were told to end; what sits in a long step is left alone then


class Scheduler:
    """The threads of a session.

    Args:
        board: what they work on.
        workers: threads that paint.
    """

    def __init__(self, board: Board, workers: int) -> None:
        self._board, board.begin = board, self._begin
        # daemons, so that the end of the program comes to `close`, which ends them, and does not wait for them first
        self._threads = [
            threading.Thread(target=self._serve, name=f"tgvc-session-{n}", daemon=True) for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End all requests and all threads; waits a little for them."""
        if not self._board.here:
            return
        if not self._board.lock.acquire(timeout=_TICK_S):
            # maybe held by this very thread, if the collector called in the middle of it: the workers see to it
            self._board.give_up()
            return
        try:
            self._board.close()
        finally:
            self._board.lock.release()
        until = time.monotonic() + _PATIENCE_S
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(until - time.monotonic(), 0.0))

    def _serve(self) -> None:
        while self._serve_once():  # a call of its own, so that an idle worker holds no frame and no group
            pass

    def _serve_once(self) -> bool:
        found = self._next()
        if found is None:
            return False
        stream, group = found
        began, shown, fault = time.monotonic(), None, None
        try:
            shown = stream.paint(group)
        except BaseException as raised:  # noqa: BLE001 - raised again where the frames are taken
            fault = strip_fault(raised)
        with self._board.lock:
            self._after(stream, time.monotonic() - began, shown, fault)
        return True

    def _next(self) -> tuple[Stream, TimedGroup | None] | None:
        """The stream to work on and the group to begin, waited for; None at the end of the session."""
        board = self._board
        with board.lock:
            while True:
                left = board.tidy()
                if board.closed:
                    return None
                if (stream := board.choose()) is not None:
                    break
                board.work.wait(min(left, _TICK_S))
            stream.busy, group = True, None
            if stream.painting is None:
                group, stream.group = stream.group, None
                stream.slot.notify()
            return stream, group

    def _after(self, stream: Stream, seconds: float, shown: TimedPicture | None, fault: BaseException | None) -> None:
        board, stream.busy = self._board, False
        stream.used += seconds
        stream.work_s += seconds
        if stream.ended:
            board.free(stream)
        elif isinstance(fault, StoppedError):
            board.expire(stream)
        elif fault is not None:
            board.end(stream, "failed", fault)
        elif shown is not None:
            stream.put(shown)
        else:
            stream.painting = None
            board.settle(stream)

    def _begin(self, stream: Stream) -> None:
        threading.Thread(target=self._read, args=(stream,), name="tgvc-session-read", daemon=True).start()

    def _read(self, stream: Stream) -> None:
        """The thread of an open stream: its groups, one ahead of the one that is painted."""
        fault: BaseException | None = None
        try:
            with open_input(stream.source) as source:
                reader = Reader(source)
                with self._board.lock:
                    stream.info = video_info(reader.header)
                    stream.tell()
                with closing(stream.decoder.read_groups(reader, stream.clock)) as groups:
                    for group in groups:
                        if not self._hand_over(stream, group):
                            break
        except BaseException as raised:  # noqa: BLE001 - raised again where the frames are taken
            fault = strip_fault(raised)
        with self._board.lock:
            stream.read = True
            if isinstance(fault, StoppedError):
                self._board.expire(stream)  # it is late, unless it had ended: nothing else stops a stream
            elif not stream.ended:
                stream.fault = fault
            self._board.settle(stream)

    def _hand_over(self, stream: Stream, group: TimedGroup) -> bool:
        """Give a group to the workers and wait until they have begun it; whether more are wanted."""
        with self._board.lock:
            if not stream.ended:
                stream.group = group
                self._board.lift(stream)
            while stream.group is not None and not stream.ended:
                stream.slot.wait()
            return not stream.ended
