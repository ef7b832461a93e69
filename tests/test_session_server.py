"""The example of a server: what clients get, and what happens to those who go away."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from session_samples import PATIENCE_S, make_states, make_stream
from tgvc.config import DecoderConfig
from tgvc.decoder import Decoder

PROGRAM = Path(__file__).resolve().parents[1] / "deploy" / "python" / "serve_frames.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_stream(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a running server, which has to end well when it is told to."""
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(PROGRAM), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=path) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, told) == (0, "")


def post(address: str, data: object) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(address, data=data), timeout=PATIENCE_S) as answer:  # type: ignore[arg-type]
        return bytes(answer.read())


def test_a_client_gets_the_y4m_of_the_decoder(server: str, data: bytes) -> None:
    alone = io.BytesIO()
    Decoder().decode(io.BytesIO(data), alone)
    assert post(server + "/frames", data) == alone.getvalue()
    pieces = (data[n : n + 500] for n in range(0, len(data), 500))  # sent in chunks, without a length
    assert post(server + "/frames", pieces) == alone.getvalue()
    assert len(post(server + "/frames?start=0.2&end=0.3", data)) < len(alone.getvalue()) / 2


def test_the_stream_chooses_the_generator(server: str, tmp_path: Path) -> None:
    data, alone = make_states(tmp_path), io.BytesIO()
    assert Decoder(DecoderConfig(threads=1)).decode(io.BytesIO(data), alone).generator == "human"
    assert post(server + "/frames", data) == alone.getvalue()


def test_what_is_no_stream_is_told_and_what_breaks_off_is_cut(server: str, data: bytes) -> None:
    for address, sent, status in (("/frames", b"nothing", 400), ("/other", data, 404), ("/frames?start=x", data, 400)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(server + address, sent)
        assert refused.value.code == status
        assert json.loads(refused.value.read())["error"]


def test_a_client_that_goes_away_ends_its_request(server: str, data: bytes) -> None:
    host, port = server.removeprefix("http://").split(":")

    def stats() -> dict[str, int]:
        with urllib.request.urlopen(server + "/stats", timeout=PATIENCE_S) as answer:
            return dict(json.load(answer))

    before = stats()
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /frames HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + data[: len(data) // 2]
        )
        while stats()["running"] == 0:
            time.sleep(0.01)
    end = time.monotonic() + PATIENCE_S
    while stats()["running"] and time.monotonic() < end:
        time.sleep(0.01)
    after = stats()
    assert after["running"] == 0
    assert after["failed"] + after["cancelled"] == before["failed"] + before["cancelled"] + 1
