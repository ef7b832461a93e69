"""An evaluation of profiles whose decoders paint with networks, on a clip made on the spot."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import av
import pytest

from eval_samples import FRAMES, ONLY, SIZE, ask, write_clip
from tgvc.bitstream.container import Reader
from tgvc.summary import PROFILE_NAMES
from tgvc_bench.evaluation.run import run_evaluation
from tgvc_bench.evaluation.systems import System, define_system
from tgvc_bench.report.record import read_evaluation

pytest.importorskip("imageio_ffmpeg", reason="previews and VMAF need imageio-ffmpeg (extra `eval`)")
pytest.importorskip("scipy", reason="BD-rates need SciPy (extra `eval`)")

RATE = 0.06
WAVES = define_system("waves=profile=dynamics,effort=0,generator=warp")
FLOWS = define_system("flows=profile=dynamics,effort=0,generator=flow")
PEOPLE = define_system("people=profile=human,effort=0,generator=human")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an evaluation of the three systems, of which two share their stream."""
    place = tmp_path_factory.mktemp("clips")
    write_clip(place / "one.mkv", 1)
    output = tmp_path_factory.mktemp("eval")
    run_evaluation(ask(place, WAVES, FLOWS, PEOPLE, rates=(RATE,), previews=(RATE,)), output)
    return output


def entry_of(finished: Path, system: System) -> dict[str, Any]:
    record = read_evaluation(finished / "record.json")
    (entry,) = [e for e in record["entries"] if e["system"] == system.id]
    assert "error" not in entry, entry["error"]
    return dict(entry)


def streams_of(finished: Path) -> dict[str, bytes]:
    """The streams that were kept, by the profile that their headers name."""
    found = [path.read_bytes() for path in (finished / "cache" / "streams").glob("*.tgvc")]
    streams = {PROFILE_NAMES[Reader(io.BytesIO(data)).header.profile]: data for data in found}
    assert len(found) == len(streams)
    return streams


def test_every_system_has_one_entry_and_no_error(finished: Path) -> None:
    record = read_evaluation(finished / "record.json")
    found = [(e["clip"], e["system"], e["rate"], e.get("error")) for e in record["entries"]]
    assert found == [("one", system.id, RATE, None) for system in (WAVES, FLOWS, PEOPLE)]
    assert record["failed_clips"] == {}


@pytest.mark.parametrize(
    ("system", "mode"), [(WAVES, "G"), (FLOWS, "G"), (PEOPLE, "A")], ids=["waves", "flows", "people"]
)
def test_an_entry_is_of_a_stream_of_its_profile_within_the_rate(finished: Path, system: System, mode: str) -> None:
    entry, stream = entry_of(finished, system), streams_of(finished)[system.profile]
    assert entry["bytes"] == len(stream) == sum(entry["layers"].values())
    assert 0 < entry["layers"]["motion"] < entry["layers"]["pictures"]
    assert 0.5 * RATE < entry["bpp"] <= RATE
    assert entry["bpp"] == pytest.approx(8 * len(stream) / (SIZE[0] * SIZE[1] * FRAMES), rel=1e-5)
    assert entry["kbps"] == pytest.approx(8 * len(stream) * 25 / FRAMES / 1000, rel=1e-4)
    assert entry["size"] == list(SIZE)
    assert entry["modes"].keys() == {mode}


@pytest.mark.parametrize("system", [WAVES, FLOWS, PEOPLE], ids=lambda system: system.id)
def test_scores_are_finite_and_those_of_pictures_of_the_clip(finished: Path, system: System) -> None:
    entry = entry_of(finished, system)
    assert entry["scores"].keys() == set(ONLY)
    frames = [value for metric in ONLY for value in entry["frames"][metric]]
    assert len(frames) == len(ONLY) * FRAMES
    assert all(math.isfinite(value) for value in (*frames, *entry["scores"].values()))
    assert entry["scores"]["psnr_y"] > 30
    assert 0.97 < entry["scores"]["ms_ssim"] <= 1
    with av.open(str(finished / "media" / "one" / f"{system.id}-{RATE:g}.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES


def test_generators_of_one_stream_paint_differently(finished: Path) -> None:
    warp, flow = (entry_of(finished, system) for system in (WAVES, FLOWS))
    assert warp["bytes"] == flow["bytes"]
    assert warp["scores"]["psnr_y"] != flow["scores"]["psnr_y"]
