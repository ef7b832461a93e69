"""The check of targets on whole clips."""

from __future__ import annotations

from fractions import Fraction

from tgvc.types import VideoInfo
from tgvc.video import VideoWriter
from tgvc_bench.rate import run_rate
from tgvc_bench.records import read_record


def test_an_entry_says_what_was_met_and_is_not_measured_twice(make_clip, tmp_path):
    clip, output = tmp_path / "clip.y4m", tmp_path / "rate.json"
    info = VideoInfo(width=128, height=96, source_width=128, source_height=96, fps=Fraction(25))
    with VideoWriter(clip, info) as writer:
        for picture in make_clip([(n, 0) for n in range(9)], (128, 96)):
            writer.write(picture)
    (entry,) = run_rate([clip], [0.3], output, 0, again=True)
    assert entry["exact"] is True
    assert entry["repeated"] is True
    assert entry["met"] == (0.95 <= entry["share"] <= 1)
    assert entry["bytes"] == sum(entry["layers"].values())
    assert list(run_rate([clip], [0.3], output, 0, again=True)) == []
    assert read_record(output)["entries"] == [entry]
