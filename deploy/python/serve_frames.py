"""A server that decodes .tgvc streams: one session for all clients, standard library only.

    python serve_frames.py --port 8765 --generator latent

    curl -sN --data-binary @clip.tgvc http://localhost:8765/frames > clip.y4m       frames leave while bytes arrive
    curl -sN --data-binary @clip.tgvc "http://localhost:8765/frames?start=2&end=4" | ffplay -
    curl -s http://localhost:8765/stats                                             percentiles, requests in flight

A client that goes away ends its request. One that reads slowly holds one of the places and no worker. When all places
and the queue are taken the answer is 503. Ctrl-C or SIGTERM: no new requests, those that run are finished.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit

from tgvc import DecoderConfig, DecodeSession, TgvcError
from tgvc.config import GENERATORS
from tgvc.errors import SessionError
from tgvc.session import LiveRequest

PIECE_BYTES = 1 << 16


class Chunks:
    """An answer of unknown length, for whoever writes to a file; nothing is sent before the first byte is known."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler, self.begun = handler, False

    def write(self, data: Any) -> int:
        """Send a chunk."""
        if not self.begun:
            self.begun = True
            self._handler.send_response(200)
            self._handler.send_header("Content-Type", "video/x-yuv4mpeg")
            self._handler.send_header("Transfer-Encoding", "chunked")
            self._handler.end_headers()
        size = memoryview(data).nbytes
        if size:
            self._handler.wfile.write(b"%x\r\n" % size)
            self._handler.wfile.write(data)
            self._handler.wfile.write(b"\r\n")
        return size

    def flush(self) -> None:
        """Nothing is held back."""

    def finish(self) -> None:
        """Send the last chunk."""
        self._handler.wfile.write(b"0\r\n\r\n")


def read_body(stream: BinaryIO, length: str | None) -> Iterator[bytes]:
    """The body of a request in pieces: of a length, or in chunks where there is none."""
    left = int(length) if length is not None else 0
    while left > 0 and (piece := stream.read(min(left, PIECE_BYTES))):
        left -= len(piece)
        yield piece
    while length is None and (left := int(stream.readline().split(b";")[0] or b"0", 16)):
        yield stream.read(left)
        stream.readline()


class Handler(BaseHTTPRequestHandler):
    """One connection; ``session`` is shared by all."""

    protocol_version = "HTTP/1.1"
    session: DecodeSession

    def do_GET(self) -> None:
        """Statistics."""
        if self.path != "/stats":
            self._answer(404, {"error": f"{self.path}: expected /stats, or POST /frames"})
            return
        self._answer(200, self.session.stats.as_dict())

    def do_POST(self) -> None:
        """Frames of the stream that is sent."""
        self.close_connection = True  # whatever is left of the body is not read
        place = urlsplit(self.path)
        if place.path != "/frames":
            self._answer(404, {"error": f"{place.path}: expected /frames"})
            return
        out = Chunks(self)
        try:
            asked = {
                name: float(value) for name, value in parse_qsl(place.query) if name in ("start", "end", "timeout")
            }
            with self.session.open(**asked) as request:
                threading.Thread(target=self._feed, args=(request,), daemon=True).start()
                request.write(out)
                out.finish()
        except SessionError as fault:
            self._answer(503, {"error": str(fault)})
        except (TgvcError, ValueError) as fault:
            if not out.begun:  # else the answer just ends: without its last chunk a client knows that it is cut
                self._answer(400, {"error": str(fault)})
        except OSError:
            pass  # the client went away, and the request with it

    def _feed(self, request: LiveRequest) -> None:
        with suppress(TgvcError, OSError, ValueError):  # told where the frames are taken
            for piece in read_body(self.rfile, self.headers.get("Content-Length")):
                request.feed(piece)
        request.finish()

    def _answer(self, status: int, values: dict[str, Any]) -> None:
        body = json.dumps(values).encode() + b"\n"
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet: what matters is in the statistics."""


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8765, help="0 = any that is free")
    parser.add_argument("--generator", choices=GENERATORS, help="default: human where a stream asks for it, else warp")
    parser.add_argument("--bundle", help="networks of the generator that is named; default: its embedded ones")
    parser.add_argument("--streams", type=int, default=4, help="open at once")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    config = DecoderConfig(generator=given.generator, bundle=given.bundle, threads=1)
    with DecodeSession(config, workers=given.workers, streams=given.streams, waiting=64) as session:
        Handler.session = session
        server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
        session.drain(timeout=60)
        server.server_close()


if __name__ == "__main__":
    main()
