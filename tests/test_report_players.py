"""The players of the page in a real browser: in step, under the wipe, with trajectories, led by the worst frames."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from report_browser import (  # noqa: F401  # fixtures: page, sample, browser, tab
    DESKTOP,
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
    scrub,
    shown_frames,
    wait_shown,
)
from report_samples import FPS, FRAMES, PLAYED, RATES, SYSTEMS, WIDTH, Sample, write_sample
from tgvc_bench.report import write_report
from tgvc_bench.report.browser import Browser, Tab

MIDDLE = RATES[1]
pytestmark = needs_chromium


@pytest.mark.parametrize("clip", PLAYED, ids=["h264", "vp9"])
def test_stepping_and_scrubbing_move_all_videos_to_the_same_frame(tab: Tab, clip: str) -> None:
    pick(tab, "#play-clip", clip)
    assert wait_shown(tab, 0) == [0, 0]
    assert collect(tab, "#stage .pane select option:checked") == ["SVT", "ours"]
    for _ in range(3):
        click(tab, "[data-do=next]")
    assert wait_shown(tab, 3) == [3, 3]
    click(tab, "[data-do=back]")
    assert wait_shown(tab, 2) == [2, 2]
    scrub(tab, 17)
    assert wait_shown(tab, 17) == [17, 17]
    assert collect(tab, "#frame-time") == [f"frame 18 of {FRAMES} · {17 / FPS:.2f} s"]
    first(tab, "#stage", "n.focus()")
    tab.press("ArrowRight")
    assert wait_shown(tab, 18) == [18, 18]
    tab.press("End")
    assert wait_shown(tab, FRAMES - 1) == [FRAMES - 1] * 2


def test_playing_keeps_three_videos_in_step_and_begins_again_at_the_end(tab: Tab) -> None:
    click(tab, "[data-value=side]")
    click(tab, "#more")
    assert wait_shown(tab, 0) == [0, 0, 0]
    first(tab, "#stage", "n.focus()")
    tab.press(" ")
    tab.wait_for("document.getElementById('stage').dataset.playing === 'true'")
    seen, end = [], time.monotonic() + 20
    while time.monotonic() < end:
        seen.append(shown_frames(tab))
        if any(b[0] < a[0] for a, b in pairwise(seen)):  # it began again
            break
        time.sleep(0.04)
    assert max(frames[0] for frames in seen) > seen[-1][0]
    # The pictures are read one after the other while they play, so one may already show the next frame; a machine
    # that is busy may show one late for a moment, but not half of the time.
    apart = sorted(max(frames) - min(frames) for frames in seen[:-1])
    assert apart[len(apart) // 2] <= 1
    click(tab, "[data-do=play]")
    tab.wait_for("document.getElementById('stage').dataset.playing === 'false'")
    frame = int(first(tab, "#stage", "n.dataset.frame"))
    assert wait_shown(tab, frame) == [frame] * 3


def test_the_wipe_follows_pointer_and_keyboard(tab: Tab) -> None:
    def cut() -> float:
        return float(first(tab, ".pane:nth-child(2) .pane-box", "n.style.clipPath.match(/([\\d.]+)%/)[1]"))

    wait_shown(tab, 0)
    assert cut() == 50
    left, top, width, height = place_of(tab, ".wipe")
    at = top + height / 2
    tab.mouse("mousePressed", left + width / 2, at, down=True)
    tab.mouse("mouseMoved", left + width / 4, at, down=True)
    tab.mouse("mouseReleased", left + width / 4, at)
    dragged = cut()
    assert dragged == pytest.approx(25, abs=0.5)
    assert first(tab, ".pane:nth-child(1) .pane-box", "n.style.clipPath") == ""  # the other lies whole below it
    first(tab, ".wipe", "n.focus()")
    tab.press("ArrowRight")
    assert dragged < cut() < dragged + 2
    assert first(tab, ".divider", "parseFloat(n.style.left)") == pytest.approx(cut(), abs=0.11)


def test_trajectories_are_drawn_over_the_pictures_up_to_the_frame(tab: Tab) -> None:
    def opacity(x: int, y: int) -> int:
        place = f"Math.round(({x} + 0.5) * n.width / {WIDTH}), Math.round(({y} + 0.5) * n.width / {WIDTH})"
        return int(first(tab, "#stage canvas", f"n.getContext('2d').getImageData({place}, 1, 1).data[3]"))

    scrub(tab, 4)
    assert opacity(10, 32) > 0  # where it began
    assert opacity(30, 32) > 128  # where it is: a dot of half a pixel, so its edge may be hit
    assert opacity(60, 32) == 0  # where it will be
    scrub(tab, 10)
    assert opacity(60, 32) == 0  # hidden since frame 8
    assert opacity(40, 32) > 0
    click(tab, "#tracks")
    assert opacity(40, 32) == 0
    click(tab, "#tracks")
    scrub(tab, 20)
    assert opacity(48, 10) > 128
    assert opacity(40, 32) == 0  # of the segment before


def test_worst_frames_come_first_and_lead_the_players_there(tab: Tab, sample: Sample) -> None:
    items = collect(tab, "#worst button", "[n.dataset.clip, +n.dataset.frame, +n.dataset.value]")
    values = [value for _, _, value in items]
    assert values == sorted(values)
    entries = [e for e in sample.record["entries"] if e["system"] == "warp" and e["rate"] == MIDDLE]
    assert values[0] == min(v for e in entries for v in e["frames"]["psnr_y"])
    for n, (clip, frame, _) in enumerate(items):  # of neighbours only the worst is listed
        assert all(c != clip or abs(f - frame) >= 8 for c, f, _ in items[:n])
    number, (clip, frame, _) = next((n, i) for n, i in enumerate(items) if i[0] == PLAYED[1])
    click(tab, "#worst button", number)
    assert first(tab, "#play-clip", "n.value") == clip
    assert wait_shown(tab, frame) == [frame, frame]


def test_worst_against_another_system_are_the_frames_that_lose_most(tab: Tab, sample: Sample) -> None:
    pick(tab, "#worst-against", "latent")
    items = collect(tab, "#worst button", "[n.dataset.clip, +n.dataset.frame, +n.dataset.value]")
    entries = {(e["clip"], e["system"]): e for e in sample.record["entries"] if e["rate"] == MIDDLE}
    lost = []
    for (clip, system), entry in entries.items():
        if system == "warp":
            other = entries[clip, "latent"]["frames"]["psnr_y"]
            lost += [a - b for a, b in zip(entry["frames"]["psnr_y"], other, strict=True)]
    assert items[0][2] == pytest.approx(min(lost), abs=1e-9)
    click(tab, "#worst button")
    assert first(tab, "#play-clip", "n.value") == items[0][0]
    assert collect(tab, "#stage .pane", "n.dataset.system") == ["latent", "warp"]
    assert wait_shown(tab, items[0][1]) == [items[0][1]] * 2


def test_at_a_rate_without_videos_the_source_stands_alone(tab: Tab) -> None:
    click(tab, f"#table button[data-value='{RATES[3]}']")
    assert collect(tab, "#stage .pane select option") == ["source"]
    assert wait_shown(tab, 0) == [0]
    click(tab, f"#table button[data-value='{RATES[2]}']")
    assert wait_shown(tab, 0) == [0, 0]


def test_a_phone_plays_and_wipes_too(browser: Browser, page: Path) -> None:
    for tab in opened(browser, page, PHONE, touch=True):
        assert wait_shown(tab, 0) == [0, 0]
        click(tab, "[data-do=next]")
        assert wait_shown(tab, 1) == [1, 1]
        click(tab, "[data-value=side]")
        above, below = collect(tab, ".pane-box", "((b) => [b.x, b.y])(n.getBoundingClientRect())")
        assert above[0] == below[0]
        assert above[1] < below[1]


def test_videos_beyond_the_limit_play_from_beside_the_page(browser: Browser, sample: Sample) -> None:
    page = write_report(sample.path, sample.path.parent / "pages" / "light.html", embedded_bytes=1000)
    assert page.stat().st_size < 200_000  # script, style and numbers
    for tab in opened(browser, page, DESKTOP):
        sources = collect(tab, "video", "n.src")
        assert all(s.startswith("file:") and "/media/calm/" in s for s in sources)
        click(tab, "[data-do=next]")
        ready = f"v.readyState >= 2 && !v.seeking && Math.floor(v.currentTime * {FPS}) === 1"
        tab.wait_for(f"[...document.querySelectorAll('video')].every((v) => {ready})")


def test_a_video_that_cannot_be_played_is_named(browser: Browser, tmp_path: Path) -> None:
    sample = write_sample(tmp_path, videos=False)
    (tmp_path / "media" / "calm").mkdir(parents=True)
    for name in ("source", f"warp-{MIDDLE:g}"):
        (tmp_path / "media" / "calm" / f"{name}.mp4").write_bytes(b"no video")
    page = write_report(sample.path, tmp_path / "page.html", embedded_bytes=0)
    tab = browser.open(page.as_uri(), DESKTOP)
    tab.wait_for("document.querySelectorAll('.unplayed').length === 2")
    assert "media/calm/source.mp4" in " ".join(collect(tab, ".unplayed"))
    click(tab, "[data-do=next]")
    assert len(collect(tab, "#curve-chart .line")) == len(SYSTEMS)
    tab.close()


def test_the_page_begins_at_a_rate_that_can_be_played(browser: Browser, tmp_path: Path) -> None:
    sample = write_sample(tmp_path)
    for video in (tmp_path / "media").glob(f"*/*-{MIDDLE:g}.*"):
        video.unlink()
    for tab in opened(browser, write_report(sample.path, tmp_path / "page.html"), DESKTOP):
        assert first(tab, "#play-rate", "n.value") == f"{RATES[2]:g}"
        assert collect(tab, "#stage .pane select option:checked") == ["SVT", "ours"]


def test_without_videos_the_page_says_so_and_keeps_the_rest(browser: Browser, tmp_path: Path) -> None:
    sample = write_sample(tmp_path, videos=False)
    for tab in opened(browser, write_report(sample.path, tmp_path / "page.html"), DESKTOP):
        assert "No videos" in first(tab, "#player")
        assert collect(tab, "#worst button")
        assert len(collect(tab, "#curve-chart .line")) == len(SYSTEMS)
