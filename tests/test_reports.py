"""What reports say painted, when one decoder paints streams of trajectories and of states by turns."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import tgvc
from human_samples import save_pictures
from session_samples import make_states, make_stream
from tgvc.config import DecoderConfig
from tgvc.decoder import Decoder
from video_samples import smooth_picture


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("streams")
    return {"warp": make_stream(folder, frames=4), "human": make_states(folder)}


TURNS = ("warp", "human", "warp")


def test_a_decoder_keeps_nothing_of_the_stream_before(streams: dict[str, bytes], tmp_path: Path) -> None:
    decoder = Decoder(DecoderConfig(threads=1))
    for name in TURNS:
        report = decoder.decode(io.BytesIO(streams[name]), str(tmp_path / "out.y4m"))
        assert report.generator == name
        assert report.bundle.startswith("human-nano") == (name == "human")
        assert bool(report.backend) == (name == "human")


def test_requests_of_a_session_tell_of_their_own_stream(streams: dict[str, bytes], tmp_path: Path) -> None:
    with tgvc.DecodeSession(DecoderConfig(threads=1), workers=1, streams=2) as session:
        for n, name in enumerate(TURNS):
            report = session.submit(io.BytesIO(streams[name])).write(str(tmp_path / f"{n}.y4m"))
            assert (report.generator, bool(report.bundle)) == (name, name == "human")


def test_requests_tell_the_size_that_was_written(tmp_path: Path) -> None:
    out = io.BytesIO()
    tgvc.encode(
        str(save_pictures(tmp_path / "odd.mkv", [smooth_picture(n, 90, 70) for n in range(3)])),
        out,
        quality=40,
        effort=0,
    )
    config = DecoderConfig(threads=1, restore_size=True)
    with tgvc.DecodeSession(config, workers=1, streams=1) as session:
        report = session.submit(io.BytesIO(out.getvalue())).write(str(tmp_path / "a.y4m"))
    assert (report.width, report.height) == (90, 70)
    assert tgvc.info(io.BytesIO(out.getvalue()))["width"] != 90
