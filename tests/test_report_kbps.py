"""The page of an evaluation in kilobits per second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from report_browser import collect, first, needs_chromium, open_browser, open_tab, pick  # noqa: F401  # fixtures
from report_samples import CLIPS, RATES, SYSTEMS, make_record, tell_kbps, write_sample
from tgvc.errors import ConfigError
from tgvc_bench.report import write_report
from tgvc_bench.report.browser import Tab
from tgvc_bench.report.content import gather
from tgvc_bench.report.means import mean_curves
from tgvc_bench.report.record import check_evaluation
from tgvc_bench.report.references import read_references


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell_kbps(make_record())


def test_a_record_says_what_its_rates_are_and_holds_them(record: dict[str, Any]) -> None:
    check_evaluation(tell_kbps(make_record()))
    lame = tell_kbps(make_record())
    del lame["entries"][0]["kbps"]
    with pytest.raises(ConfigError, match=r"kbps of entry .* is missing, expected a number above 0"):
        check_evaluation(lame)
    with pytest.raises(ConfigError, match="rate_unit is 'bits', expected bpp or kbps"):
        check_evaluation({**record, "rate_unit": "bits"})


def test_published_points_stand_in_no_chart_of_another_unit(record: dict[str, Any]) -> None:
    wide = {"width": 512, "height": 320}  # the size of a published protocol, so that its points could be drawn
    for asked, drawn in ((make_record(), True), (record, False)):
        of_size = {**asked, "clips": [{**clip, **wide, "fps": 12.0} for clip in asked["clips"]]}
        content = gather(of_size, read_references())
        assert bool(content["marks"]["lpips"]["512x320"]) is drawn
        told = [text for document in content["published"] for text in document["differences"]]
        assert any("Rates here are kilobits per second" in text for text in told) is not drawn


@pytest.fixture(scope="module")
def page(record: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    sample = write_sample(tmp_path_factory.mktemp("evaluation"), videos=False)
    sample.path.write_text(json.dumps(record))
    return write_report(sample.path, sample.path.with_suffix(".html"))


@needs_chromium
def test_everything_measured_is_told_in_kilobits_per_second(tab: Tab, record: dict[str, Any]) -> None:
    pick(tab, "#metric", "psnr_y")
    for system in SYSTEMS:
        means = [p for p in mean_curves(record, "psnr_y") if p.system == system and p.size == "96x64"]
        drawn = collect(tab, f"#curve-chart .mark[data-series={system}]", "[+n.dataset.x, +n.dataset.y]")
        assert drawn == [[p.kbps, p.value] for p in means]
    assert "kilobits per second" in first(tab, "#curve-chart")
    assert "4 to 16 kilobits per second" in first(tab, "#facts")
    assert "the middle square" in first(tab, "#facts")
    pick(tab, "#place", CLIPS[0])
    assert len(collect(tab, "#curve-chart .sweep")) == 1
    assert collect(tab, "#layers .segments button") == [str(round(2000 * rate)) for rate in RATES]
    collect(tab, "#layers .segments button", "n.click()")  # the highest rate is left chosen
    assert len(collect(tab, "#layer-bars .bar-row")) > 0
    shown = collect(tab, "#curves, #table, #layers, #sets")
    assert not any("bits per pixel" in text or "bpp at" in text for text in shown)
    assert all("bits per pixel" in text for text in collect(tab, "#published .plot"))
