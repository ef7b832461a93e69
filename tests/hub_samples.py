"""A local server that answers as the Hugging Face hub does."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tgvc.fetch import RemoteFile, Weights

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What a server serves and what it was asked for.

    ``files``: bytes by name. ``cut``: bytes that a connection lives for; None for all. ``cuts``: connections that are
    cut before one lives. ``told``: sha256 that the server claims by name, if not the true one. ``revision``: that it
    claims. ``asked``: (method, path, range) of every request. ``ranges``: whether it sends parts of files.
    """

    files: dict[str, bytes]
    cut: int | None = None
    cuts: int = 0
    told: dict[str, str] = field(default_factory=dict)
    revision: str = REVISION
    ranges: bool = True
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def weights(self, **sha256: str) -> Weights:
        """A pinned record of the files; ``sha256`` in place of the true ones, dots of names as underscores."""
        files = tuple(
            RemoteFile(name, len(data), sha256.get(name.replace(".", "_"), hash_bytes(data)))
            for name, data in self.files.items()
        )
        return Weights("tiny", "someone/tiny", REVISION, "CC-BY-4.0", "Name the author.", files)

    def bodies(self) -> list[tuple[str, str | None]]:
        """Path and range of the requests that asked for the bytes of a file."""
        return [(path, part) for method, path, part in self.asked if method == "GET" and path.startswith("/cdn/")]


def hash_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def log_message(self, *args: object) -> None:
            pass

        def answer(self) -> None:
            hub.asked.append((self.command, self.path, self.headers.get("Range")))
            name = self.path.rpartition("/")[2]
            if name not in hub.files:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path.startswith("/cdn/"):
                self.send_file(hub.files[name])
            else:  # as for large files: what is known of them, and where they really are
                self.send_response(302)
                self.send_header("Location", f"{hub.url.replace('127.0.0.1', 'localhost')}/cdn/{name}")  # another host
                self.send_header("X-Repo-Commit", hub.revision)
                self.send_header("X-Linked-Size", str(len(hub.files[name])))
                self.send_header("X-Linked-Etag", f'"{hub.told.get(name, hash_bytes(hub.files[name]))}"')
                self.send_header("Content-Length", "0")
                self.end_headers()

        def send_file(self, data: bytes) -> None:
            start = 0
            if (asked := self.headers.get("Range")) and hub.ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            body = data[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if hub.cuts and hub.cut is not None:
                hub.cuts -= 1
                self.wfile.write(body[: hub.cut])
                self.wfile.flush()
                self.close_connection = True
            else:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
