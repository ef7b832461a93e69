"""A page in a headless Chromium as tests use it: opened, read, clicked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from report_samples import FRAMES, Sample, grey_of, write_sample
from tgvc_bench.report import write_report
from tgvc_bench.report.browser import VARIABLE, Browser, Tab, find_chromium

DESKTOP, PHONE, NARROW = (1280, 800), (390, 844), (360, 740)
needs_chromium = pytest.mark.skipif(
    find_chromium() is None, reason=f"no chromium on PATH, and {VARIABLE} names none: the page is not tested"
)
_GREYS = """((pane) => {
    const canvas = document.createElement('canvas'), pen = canvas.getContext('2d');
    canvas.width = canvas.height = 1;
    pen.drawImage(pane.querySelector('video'), 0, 0, 1, 1);
    return [pane.dataset.system, pen.getImageData(0, 0, 1, 1).data[1] * 219 / 255 + 16]; // full range to that of video
})(n)"""


def opened(browser: Browser, page: Path, size: tuple[int, int], **options: Any) -> Iterator[Tab]:
    """A page; whatever a test does with it, it must neither complain nor ask for anything from outside."""
    tab = browser.open(page.as_uri(), size, **options)
    assert not tab.complaints
    tab.wait_for("document.documentElement.dataset.ready === 'yes'")
    # charts are drawn when the browser tells them their width, which may be later than that
    tab.wait_for("[...document.querySelectorAll('.plot')].every((n) => n.clientWidth === 0 || n.firstChild)")
    yield tab
    # reading pixels back is what a test does, not the page
    assert [c for c in tab.complaints if "willReadFrequently" not in c] == []
    assert {url.split(":")[0] for url in tab.requests} <= {"file", "blob", "data"}
    tab.close()


@pytest.fixture(name="browser", scope="module")
def open_browser() -> Iterator[Browser]:
    with Browser() as running:
        yield running


@pytest.fixture(name="sample", scope="module")
def make_sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return write_sample(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(name="page", scope="module")
def make_page(sample: Sample) -> Path:
    return write_report(sample.path, sample.path.with_suffix(".html"))


@pytest.fixture(name="tab")
def open_tab(browser: Browser, page: Path) -> Iterator[Tab]:
    yield from opened(browser, page, DESKTOP)


def collect(tab: Tab, selector: str, expression: str = "n.textContent") -> list[Any]:
    """An expression of every element ``n`` that a selector finds."""
    found: list[Any] = tab.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map((n) => {expression})")
    return found


def first(tab: Tab, selector: str, expression: str = "n.textContent") -> Any:
    """The same of the first such element."""
    return tab.evaluate(f"((n) => {expression})(document.querySelector({json.dumps(selector)}))")


def click(tab: Tab, selector: str, number: int = 0) -> None:
    tab.evaluate(f"document.querySelectorAll({json.dumps(selector)})[{number}].click()")


def pick(tab: Tab, selector: str, value: str, event: str = "change") -> None:
    """Give a field a value as a reader does."""
    first(tab, selector, f"(n.value = {json.dumps(value)}, n.dispatchEvent(new Event('{event}', {{ bubbles: true }})))")


def scrub(tab: Tab, frame: int) -> None:
    pick(tab, ".scrub", str(frame), "input")


def place_of(tab: Tab, selector: str) -> tuple[float, float, float, float]:
    """Left, top, width and height of an element in the window, after it was brought there."""
    tab.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{ block: 'center' }})")
    x, y, width, height = first(tab, selector, "((b) => [b.x, b.y, b.width, b.height])(n.getBoundingClientRect())")
    return x, y, width, height


def shown_frames(tab: Tab) -> list[int]:
    """The numbers of the frames that the videos show, told from their grey."""
    frames = []
    for system, grey in collect(tab, "#stage .pane", _GREYS):
        own = None if system == "source" else system
        frames.append(min(range(FRAMES), key=lambda t: abs(grey_of(t, own) - grey)))
    return frames


def wait_shown(tab: Tab, frame: int) -> list[int]:
    """Wait until all videos stand on a frame; what they show then."""
    end = time.monotonic() + 10
    while (shown := shown_frames(tab)) != [frame] * len(shown) and time.monotonic() < end:
        time.sleep(0.03)
    return shown
