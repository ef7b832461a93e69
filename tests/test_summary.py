"""What a stream says about itself where its times are odd."""

from __future__ import annotations

import io
from fractions import Fraction

import pytest

import tgvc
from container_samples import group_of, stream_of
from tgvc.bitstream.container import Header

HEADER = Header(width=64, height=64, source_width=64, source_height=64, fps=Fraction(25))


@pytest.mark.parametrize("early", [-40_000, -80_000, 1 - 2**31], ids=str)
def test_a_stream_of_one_frame_before_its_time_lasts_as_long_as_a_frame(early: int) -> None:
    data = stream_of(group_of(1, motion=b"", times=(early,)), header=HEADER)
    facts = tgvc.info(io.BytesIO(data))
    assert (facts["frames"], facts["seconds"]) == (1, 0.04)
    assert facts["kbps"] == pytest.approx(8 * len(data) / 40)
    assert facts["groups"][0]["start"] == 0
