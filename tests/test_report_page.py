"""The page of an evaluation in a real browser: what is on it, and what it must not do."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from PIL import Image

from report_browser import (  # noqa: F401  # fixtures: page, sample, browser, tab
    DESKTOP,
    NARROW,
    PHONE,
    click,
    collect,
    first,
    make_page,
    make_sample,
    needs_chromium,
    open_browser,
    open_tab,
    opened,
    pick,
    place_of,
)
from report_samples import CLIPS, RATES, SYSTEMS, TALL, Sample, make_record
from tgvc_bench.report import write_report
from tgvc_bench.report.browser import Browser, Tab, draw_page
from tgvc_bench.report.means import mean_curves

MIDDLE = RATES[1]  # the rate that a page of four rates begins with
pytestmark = needs_chromium


def drawn_points(tab: Tab, system: str) -> list[list[float]]:
    return collect(tab, f"#curve-chart .mark[data-series={system}]", "[+n.dataset.x, +n.dataset.y]")


def test_curves_of_means_have_a_line_per_system_and_a_mark_per_rate(tab: Tab, sample: Sample) -> None:
    pick(tab, "#metric", "psnr_y")
    assert sorted(collect(tab, "#curve-chart .line", "n.dataset.series")) == sorted(SYSTEMS)
    expected = mean_curves(sample.record, "psnr_y")
    for system in SYSTEMS:
        points = [[p.bpp, p.value] for p in expected if p.system == system and p.size == "96x64"]
        assert drawn_points(tab, system) == points
        assert len(points) == len(RATES)
    assert sorted(collect(tab, "#curve-chart .band", "n.dataset.series")) == sorted(SYSTEMS)
    # one clip of svt failed at the lowest rate: that mean is told from the others and belongs to no line
    assert collect(tab, "#curve-chart .partial", "n.dataset.series") == ["svt"]
    line = first(tab, "#curve-chart .line[data-series=svt]", "n.getAttribute('d')")
    assert line.count("L") == len(RATES) - 2


@pytest.mark.parametrize("clip", [CLIPS[1], TALL])
def test_curves_of_a_clip_hold_its_own_points(tab: Tab, sample: Sample, clip: str) -> None:
    pick(tab, "#metric", "gmsd")
    pick(tab, "#place", clip)
    for system in SYSTEMS:
        entries = [e for e in sample.record["entries"] if e["clip"] == clip and e["system"] == system]
        assert drawn_points(tab, system) == [[e["bpp"], e["scores"]["gmsd"]] for e in entries]
    assert collect(tab, "#curve-chart .band") == []


def test_files_of_a_sweep_are_dots_about_the_curve_of_their_clip(tab: Tab) -> None:
    dots = []
    pick(tab, "#metric", "psnr_y")
    for place in ("mean 96x64", CLIPS[1], CLIPS[0]):
        pick(tab, "#place", place)
        dots.append(len(collect(tab, "#curve-chart .sweep")))
    assert dots == [0, 0, 1]
    assert "Small dots" in first(tab, "#curve-note")


def test_every_clip_has_a_small_chart_that_leads_to_it(tab: Tab) -> None:
    assert collect(tab, ".multiples .mini-name") == [*CLIPS, TALL]
    click(tab, ".multiples button", 1)
    assert first(tab, "#place", "n.value") == CLIPS[1]
    assert collect(tab, ".multiples button[aria-pressed=true]", "n.dataset.clip") == [CLIPS[1]]


def test_a_system_can_be_switched_off_and_on(tab: Tab) -> None:
    chip = ".chip[data-system=svt]"
    click(tab, chip)
    assert drawn_points(tab, "svt") == []
    assert collect(tab, "#entries tr[data-system=svt]") == []
    assert first(tab, chip, "n.getAttribute('aria-pressed')") == "false"
    click(tab, chip)
    assert len(drawn_points(tab, "svt")) == len(RATES)
    assert len(collect(tab, "#entries tr[data-system=svt]")) == 4


def test_a_mark_tells_its_values_to_pointer_and_keyboard(tab: Tab, sample: Sample) -> None:
    pick(tab, "#metric", "psnr_y")
    pick(tab, "#place", CLIPS[0])
    entry = next(e for e in sample.record["entries"] if e["system"] == "warp" and e["rate"] == RATES[2])
    x, y, width, height = place_of(tab, f"#curve-chart .mark[data-series=warp][data-x='{entry['bpp']}']")
    tab.mouse("mouseMoved", x + width / 2, y + height / 2)
    told = first(tab, "#curve-chart .tip")
    assert told.startswith("ours")
    assert f"{entry['scores']['psnr_y']:.2f} dB" in told
    assert f"{entry['bytes']:,} bytes" in told
    first(tab, "#curve-chart svg", "n.focus()")
    tab.press("ArrowRight")
    tab.press("ArrowRight")
    assert first(tab, "#curve-chart .tip strong") == "ours"  # systems of ours come first
    tab.press("ArrowDown")
    assert first(tab, "#curve-chart .tip strong") == "ours <i>painted</i>"
    tab.press("Escape")
    assert first(tab, "#curve-chart .tip", "n.hidden")


def test_bd_rates_stand_in_the_matrix_and_their_clips_below_it(tab: Tab) -> None:
    cells = dict(collect(tab, ".matrix tbody tr", "[n.dataset.system, n.querySelector('td').textContent]"))
    assert cells == {"warp": "−20.5 %−25.0 to −16.0", "latent": "+4.5 %−1.0 to 10.0", "svt": "anchor"}
    dots = collect(tab, "#forest .dot")
    assert len(dots) == 3  # the fourth has no value
    assert f"{CLIPS[0]}: −25.0 %" in dots


def test_the_table_has_every_entry_and_sorts_both_ways(tab: Tab, sample: Sample) -> None:
    entries = [e for e in sample.record["entries"] if e["rate"] == MIDDLE]
    assert len(collect(tab, "#entries tbody tr")) == len(entries)
    column = collect(tab, "#entries thead th", "n.dataset.column").index("psnr_y")
    ordered = sorted((e["scores"]["psnr_y"] for e in entries), reverse=True)
    for direction, values in (("descending", ordered), ("ascending", ordered[::-1])):
        click(tab, "#entries th[data-column=psnr_y] button")
        cells = collect(tab, "#entries tbody tr", f"n.children[{column}].textContent")
        assert cells == [f"{v:.2f}" for v in values]
        assert first(tab, "th[data-column=psnr_y]", "n.getAttribute('aria-sort')") == direction
    best = collect(tab, f"#entries td:nth-child({column + 1}) strong", "n.closest('tr').dataset.system")
    assert best == ["warp"] * 4  # the best of each clip
    click(tab, f"#table button[data-value='{RATES[0]}']")
    assert collect(tab, "#entries .failed") == ["no stream <b>so small</b>"]


def test_bars_share_a_streams_bytes_among_its_layers(tab: Tab, sample: Sample) -> None:
    # both generators decode the same stream: one bar for each clip
    assert collect(tab, ".bar-row", "n.dataset.clip") == [*CLIPS, TALL]
    layers = next(e for e in sample.record["entries"] if e["rate"] == MIDDLE and e["layers"])["layers"]
    for shares in collect(tab, ".bar-row", "[...n.querySelectorAll('.part')].map((p) => +p.dataset.share)"):
        assert shares == pytest.approx([v / sum(layers.values()) for v in layers.values()], abs=1e-4)


def test_what_only_all_frames_together_have_stands_by_itself(tab: Tab) -> None:
    assert collect(tab, "#sets tbody tr", "[...n.children].map((c) => c.textContent)") == [
        ["ours", "0.003", "96", "61.25"]
    ]
    assert "is no <video>" in first(tab, "#method")


def test_ablations_are_tables_of_what_the_record_says(tab: Tab) -> None:
    assert collect(tab, "#ablations h3") == ["segments"]
    assert collect(tab, "#ablations tbody tr", "[...n.children].map((c) => c.textContent)") == [
        ["fixed", "29.5"],
        ["adaptive", "30.25"],
    ]


def test_names_that_look_like_markup_are_only_names(tab: Tab) -> None:
    assert tab.evaluate("window.broken") is None
    assert collect(tab, "img, main script, main b, h1 *") == []
    assert collect(tab, "h1") == ["A sample & its <names>"]
    assert CLIPS[2] in collect(tab, ".multiples .mini-name")
    assert collect(tab, ".chip[data-system=latent]") == ["ours <i>painted</i>"]


def test_published_points_stand_apart_and_only_among_their_like(
    browser: Browser, sample: Sample, tmp_path: Path
) -> None:
    record = copy.deepcopy(sample.record)
    for clip in record["clips"][:3]:
        clip["width"], clip["height"] = 512, 320
    path = tmp_path / "eval.json"
    path.write_text(json.dumps(record))
    for tab in opened(browser, write_report(path, tmp_path / "page.html"), DESKTOP):
        pick(tab, "#metric", "lpips")
        assert len(collect(tab, "#curve-chart .reference")) == 8  # T-GVC on four sets, at 512x320
        assert "published" in first(tab, "#curve-note")
        pick(tab, "#place", "mean 64x96")
        assert collect(tab, "#curve-chart .reference") == []  # other pictures
        pick(tab, "#place", "mean 512x320")
        pick(tab, "#metric", "psnr_y")
        assert collect(tab, "#curve-chart .reference") == []  # they have no PSNR
        articles = collect(tab, ".document", "[n.dataset.document, n.querySelector('.size').textContent]")
        assert articles == [["t-gvc", "512x320"], ["actdiff-vc", "720x480"], ["evc-pdm", "128x128"]]
        assert min(collect(tab, ".differences", "n.children.length")) >= 3
        ranked = " ".join(collect(tab, "#matrix, #table"))
        assert "T-GVC" not in ranked
        assert "ActDiff" not in ranked


@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_record_with_little_in_it_has_a_page_too(browser: Browser, tmp_path: Path, left: int) -> None:
    record = make_record()
    bare = {k: record[k] for k in ("format", "clips", "systems", "metrics")}
    bare["entries"] = [
        {k: e[k] for k in ("clip", "system", "rate", "bytes", "bpp", "scores")} for e in record["entries"][:left]
    ]
    path = tmp_path / "eval.json"
    path.write_text(json.dumps(bare))
    for tab in opened(browser, write_report(path, tmp_path / "page.html"), PHONE):
        assert len(collect(tab, "#curve-chart .mark")) == left
        assert len(collect(tab, "#entries tbody tr")) == min(left, 1)  # one of each rate
        assert collect(tab, "#published h3")


@pytest.mark.parametrize("size", [DESKTOP, PHONE, NARROW], ids=lambda s: str(s[0]))
def test_nothing_but_tables_is_wider_than_the_window(browser: Browser, page: Path, size: tuple[int, int]) -> None:
    beyond = "n.getBoundingClientRect().right > innerWidth + 1 && !n.closest('.scroller, .chart') && n.className"
    for tab in opened(browser, page, size, touch=size != DESKTOP):
        for arrangement in ("wipe", "side"):
            click(tab, f"[data-value={arrangement}]")
            assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
            assert [n for n in collect(tab, "main *", beyond) if n is not False] == []
        assert all(collect(tab, ".scroller", "n.tabIndex === 0 && n.getAttribute('aria-label')"))


def test_every_control_has_a_name_and_the_page_its_landmarks(tab: Tab) -> None:
    name = "(n.textContent + (n.getAttribute('aria-label') ?? '') + (n.closest('label')?.textContent ?? '')).trim()"
    assert all(collect(tab, "button, input, select, [tabindex='0']", name))
    assert collect(tab, "main, nav, header", "n.tagName") == ["HEADER", "NAV", "MAIN"]
    assert tab.evaluate("document.documentElement.lang") == "en"
    assert all(collect(tab, "#nav a", "document.querySelector(n.getAttribute('href'))?.tagName"))


def test_colours_follow_what_the_reader_prefers(browser: Browser, page: Path) -> None:
    found = {}
    for dark in (False, True):
        for tab in opened(browser, page, DESKTOP, dark=dark):
            colour = first(tab, "body", "getComputedStyle(n).backgroundColor")
            found[dark] = [int(v) for v in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    assert min(found[False]) > 240
    assert max(found[True]) < 30


def test_the_page_prints_and_is_drawn_as_a_picture(tab: Tab, page: Path, tmp_path: Path) -> None:
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert first(tab, ".nav", "getComputedStyle(n).display") == "none"
    assert first(tab, "#table", "getComputedStyle(n).display") == "block"
    draw_page(page, tmp_path / "curves.png", 500, section="curves", scale=2)
    with Image.open(tmp_path / "curves.png") as drawn:
        assert drawn.width == 2 * (500 - 2 * 15 + 2 * 14)  # less the margins of 3 % on both sides, but for 14 px
        assert drawn.height > 600
