"""Records, means, published numbers, media, and the files that are written of them."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from report_samples import CLIPS, FRAMES, RATES, SYSTEMS, TALL, make_record, make_tracks, write_sample
from tgvc.errors import BackendUnavailableError, ConfigError
from tgvc_bench.report import write_report
from tgvc_bench.report.browser import VARIABLE, Browser, draw_page, find_chromium
from tgvc_bench.report.command import report
from tgvc_bench.report.content import gather
from tgvc_bench.report.markdown import format_report
from tgvc_bench.report.means import Point, find_best, group_clips, mean_curves, pick_best
from tgvc_bench.report.media import embed_or_name, find_videos, read_tracks
from tgvc_bench.report.page import ASSETS, SCRIPTS, assemble, escape_json
from tgvc_bench.report.record import check_evaluation, read_evaluation
from tgvc_bench.report.references import (
    check_reference,
    find_marks,
    list_differences,
    read_references,
    size_of,
)

Spoil = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.update(format="tgvc-quality 1"), "format is 'tgvc-quality 1', expected 'tgvc-eval 1'"),
        (lambda r: r.pop("entries"), "entries of the record is NoneType, expected list"),
        (lambda r: r["clips"].append(r["clips"][0]), "clip 'calm' is listed twice"),
        (lambda r: r["clips"][0].update(fps="12/0"), "fps of clip 'calm' is '12/0'"),
        (lambda r: r["clips"][0].update(width=0), "width of clip 'calm' is 0"),
        (lambda r: r["systems"]["svt"].update(family="rival"), "family of system 'svt' is 'rival'"),
        (lambda r: r["metrics"]["gmsd"].update(better="smaller"), "better of metric 'gmsd' is 'smaller'"),
        (lambda r: r["entries"][0].update(clip="none"), "an entry has the clip 'none'"),
        (lambda r: r["entries"][0].update(bpp=-1), "bpp of entry 'calm', 'warp', 0.002 is -1"),
        (lambda r: r["entries"][0].pop("bytes"), "bytes of entry 'calm', 'warp', 0.002 is missing"),
        (lambda r: r["entries"][0]["scores"].update(gmsd=float("nan")), "gmsd of entry .* is nan, expected a finite"),
        (lambda r: r["entries"][0]["frames"].update(psnr_y=[1.0] * 25), "expected a list of 24 values"),
        (lambda r: r["entries"].append(r["entries"][0]), "is there twice"),
        (lambda r: r["points"]["calm"]["svt"][0].update(bpp=0), "bpp of a point of 'calm', 'svt' is 0"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_in_one_line(spoil: Spoil, message: str) -> None:
    record = make_record()
    check_evaluation(copy.deepcopy(record))
    spoil(record)
    with pytest.raises(ConfigError, match=message) as caught:
        check_evaluation(record)
    assert "\n" not in str(caught.value)


def test_a_missing_record_names_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such record; tgvc eval writes one"):
        read_evaluation(tmp_path / "eval.json")


def test_clips_of_another_size_are_another_group() -> None:
    record = make_record()
    assert group_clips(record) == {"96x64": list(CLIPS), "64x96": [TALL]}
    for point in mean_curves(record, "psnr_y"):
        chosen = [
            e["scores"]["psnr_y"]
            for e in record["entries"]
            if e["system"] == point.system and e["rate"] == point.rate and "error" not in e
            if (e["clip"] == TALL) == (point.size == "64x96")
        ]
        assert point.value == pytest.approx(np.mean(chosen), rel=1e-5)  # records keep six digits
        assert point.clips == len(chosen)


def test_a_mean_that_lacks_a_clip_says_so_and_has_no_band() -> None:
    points = {(p.system, p.rate): p for p in mean_curves(make_record(), "psnr_y") if p.size == "96x64"}
    lame = points["svt", RATES[0]]
    assert (lame.whole, lame.clips, lame.low) == (False, 2, None)
    assert points["warp", RATES[0]].whole


def test_bands_hold_the_mean_and_shrink_to_it_where_systems_differ_by_a_constant() -> None:
    record = make_record()
    for point in mean_curves(record, "gmsd"):
        if point.low is not None and point.high is not None:
            assert point.low <= point.value <= point.high
    for entry in record["entries"]:  # every clip 3 dB above the last, every system 1 dB above the next
        if "error" not in entry:
            entry["scores"]["psnr_y"] = 3.0 * len(entry["clip"]) + SYSTEMS.index(entry["system"])
    widths = [p.high - p.low for p in mean_curves(record, "psnr_y") if p.low is not None and p.high is not None]
    assert len(widths) >= len(SYSTEMS)
    assert max(widths) < 1e-3  # what a clip does to all alike is taken out; six digits are kept


def test_of_several_coded_sizes_the_best_is_taken_anew_for_each_metric() -> None:
    record = make_record()
    mine = next(e for e in record["entries"] if e["system"] == "svt" and e["rate"] == RATES[1])
    other = copy.deepcopy(mine) | {"size": [32, 32]}
    other["scores"] |= {"psnr_y": mine["scores"]["psnr_y"] + 1, "gmsd": mine["scores"]["gmsd"] + 1}
    key = (mine["clip"], "svt", RATES[1])
    assert pick_best([mine, other], "psnr_y", "higher")[key] is other
    assert pick_best([mine, other], "gmsd", "lower")[key] is mine


def test_nothing_is_ranked_across_sizes_metrics_rates_or_with_published_numbers() -> None:
    ours = Point("warp", "lpips", "512x320", 0.003, 0.003, 0.4, 3, True)
    worse = Point("svt", "lpips", "512x320", 0.003, 0.003, 0.5, 3, True)
    assert find_best([worse, ours], "lower") is ours
    assert find_best([worse, ours], "higher") is worse
    theirs = [
        Point(m["system"], "lpips", "512x320", m["bpp"], m["bpp"], m["value"], 1, True, ours=False)
        for m in find_marks(read_references(), "lpips", "512x320")
    ]
    assert theirs
    alike = Point("t-gvc", "lpips", "512x320", 0.003, 0.003, 0.3, 3, True, ours=False)
    for other, message in (
        (Point("svt", "lpips", "720x480", 0.003, 0.003, 0.1, 3, True), "got the sizes 512x320, 720x480"),
        (Point("svt", "dists", "512x320", 0.003, 0.003, 0.1, 3, True), "got the metrics dists, lpips"),
        (Point("svt", "lpips", "512x320", 0.005, 0.005, 0.1, 3, True), "got the rates 0.003, 0.005"),
        (Point("svt", "lpips", "512x320", 0.003, 0.003, 0.1, 2, True), "got the numbers of clips 2, 3"),
        (alike, "t-gvc was not measured here"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_best([ours, other], "lower")
    for point in theirs:
        with pytest.raises(ConfigError, match="ranking"):
            find_best([ours, point], "lower")


def test_an_entry_of_a_published_system_is_refused() -> None:
    record = make_record()
    record["systems"]["svt"]["family"] = "published"
    with pytest.raises(ConfigError, match="belongs to the published system 'svt'"):
        check_evaluation(record)


def test_published_numbers_are_those_of_their_sources() -> None:
    documents = {d["id"]: d for d in read_references()}
    assert list(documents) == ["t-gvc", "actdiff-vc", "evc-pdm"]
    own = [p for p in documents["t-gvc"]["points"] if p["system"] == "t-gvc"]
    assert {(p["set"], p["bpp"]): (p["scores"]["lpips"], p["scores"]["clip_sim"]) for p in own} == {
        ("HEVC-B", 0.0028): (0.4390, 0.8174), ("HEVC-B", 0.0048): (0.3614, 0.8520),
        ("HEVC-C", 0.0032): (0.4332, 0.8600), ("HEVC-C", 0.0055): (0.3726, 0.8883),
        ("UVG", 0.0026): (0.2796, 0.8791), ("UVG", 0.0045): (0.2330, 0.9156),
        ("MCL-JCV", 0.0028): (0.3710, 0.8778), ("MCL-JCV", 0.0047): (0.3164, 0.9011),
    }  # fmt: skip
    curve = [p for p in documents["actdiff-vc"]["points"] if p["system"] == "actdiff-vc" and p["set"] == "UVG"]
    assert [(p["bpp"], p["scores"]["fid"]) for p in curve] == [
        (0.0164, 31.9), (0.0201, 28.9), (0.0256, 26.8), (0.0317, 24.9), (0.0387, 24.0), (0.046, 22.8), (0.0576, 21.7),
    ]  # fmt: skip
    assert [size_of(d) for d in documents.values()] == ["512x320", "720x480", "128x128"]
    for document in documents.values():
        assert "arXiv" in document["source"]
        assert {p["read"] for p in document["points"]} <= set(document["reading"])


def test_marks_are_of_the_charts_metric_and_size_only() -> None:
    documents = read_references()
    assert {m["document"] for m in find_marks(documents, "lpips", "512x320")} == {"t-gvc"}
    assert {m["document"] for m in find_marks(documents, "fid", "720x480")} == {"actdiff-vc"}
    assert find_marks(documents, "lpips_vgg", "512x320")  # said to differ, yet of its family
    for metric, size in (("fid", "512x320"), ("psnr_y", "512x320"), ("lpips", "512x288"), ("lp", "512x320")):
        assert find_marks(documents, metric, size) == []


def test_differences_of_protocol_are_told_for_every_document() -> None:
    record = make_record()
    documents = read_references()
    for document in documents:
        said = " ".join(list_differences(document, record))
        assert size_of(document) in said
        assert "96x64, 64x96" in said
        assert "Content" in said
        assert "Metric: LPIPS" in said
    assert "96 frames of each clip; here 24" in " ".join(list_differences(documents[0], record))


@pytest.mark.parametrize("key", ["source", "protocol", "points"])
def test_published_numbers_without_source_or_protocol_are_not_shown(key: str) -> None:
    document = dict(read_references()[0])
    del document[key]
    with pytest.raises(ConfigError, match=f"{key} is missing"):
        check_reference(document)


def test_of_a_record_without_clips_that_is_what_is_told() -> None:
    for document in read_references():
        assert list_differences(document, {"clips": [], "entries": [], "metrics": {}}) == [
            "No clip of this record could be read, so nothing was measured here."
        ]


def test_json_in_the_page_ends_no_element_and_stays_the_same() -> None:
    value = {"a": "</script><!--<script>", "b": "\u2028 & 'x' \"y\"", "c": [1.5, None]}
    text = escape_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_the_page_runs_its_own_script_and_nothing_else(tmp_path: Path) -> None:
    text = assemble(gather_sample(), [])
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    script = text[text.rindex("<script>") + len("<script>") : text.rindex("</script>")]
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert "{{" not in text.replace(script, "")
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "innerHTML" not in script
    assert sorted(SCRIPTS) == sorted(p.name for p in ASSETS.glob("*.js"))


def test_media_are_found_by_clip_system_and_rate_and_embedded_up_to_the_limit(tmp_path: Path) -> None:
    sample = write_sample(tmp_path)
    videos = find_videos(sample.record, tmp_path / "media")
    assert len(videos) == 2 * (1 + 2 * len(SYSTEMS))
    assert {v.type for v in videos} == {"video/mp4", "video/webm"}
    total = sum(v.path.stat().st_size for v in videos)
    listed, payloads = embed_or_name(videos, tmp_path / "page.html", total)
    assert [base64.b64decode(payloads[item["data"]]) for item in listed] == [v.path.read_bytes() for v in videos]
    listed, payloads = embed_or_name(videos, tmp_path / "pages" / "page.html", total - 1)
    assert payloads == []
    assert listed[0]["url"] == "../media/calm/source.mp4"
    assert all(item["url"].startswith("../media/") and "<" not in item["url"] for item in listed)


def test_names_never_lead_out_of_the_folder_of_media(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "source.mp4").write_bytes(b"secret")
    (tmp_path / "media").mkdir()
    record = make_record()
    for name in ("../secret", str(tmp_path / "secret"), "..", "a\0b"):
        record["clips"][0]["name"] = name
        assert find_videos(record, tmp_path / "media") == []


def test_trajectories_are_cut_at_the_end_of_the_clip_and_refused_where_they_do_not_fit(tmp_path: Path) -> None:
    record = make_record()
    path = tmp_path / "tracks" / "calm" / "warp-0.003.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(make_tracks()))
    found = read_tracks(record, tmp_path)
    assert [(t["clip"], t["system"], t["rate"]) for t in found] == [("calm", "warp", 0.003)]
    assert [s["first"] + s["length"] for s in found[0]["segments"]] == [12, FRAMES]
    assert {len(p) for s in found[0]["segments"] for p in s["xy"]} == {12}
    for spoiled in ({"segments": [{"first": FRAMES, "length": 2, "xy": []}]}, {"tracks": []}, ["x"]):
        path.write_text(json.dumps(spoiled))
        with pytest.raises(ConfigError, match="expected segments with first, length, xy and visible"):
            read_tracks(record, tmp_path)
    path.write_text(json.dumps({"segments": [{"first": 0, "length": 3, "xy": [[[0, 0]]]}]}))
    with pytest.raises(ConfigError, match="has not 3 positions"):
        read_tracks(record, tmp_path)


def test_markdown_and_json_hold_the_pages_numbers(tmp_path: Path) -> None:
    sample = write_sample(tmp_path, videos=False)
    page = write_report(sample.path, tmp_path / "eval.html")
    assert sample.path.read_text() == json.dumps(sample.record)  # the record beside the page is untouched
    content = json.loads(page.with_suffix(".numbers.json").read_text())
    embedded = re.search(r'id="record">(.*?)</script>', page.read_text())
    assert embedded
    shown = json.loads(embedded[1])
    assert {k: v for k, v in shown.items() if k not in ("frames", "media", "tracks")} == content
    text = page.with_suffix(".md").read_text()
    assert text == format_report(content)
    warp = next(p for p in content["means"]["psnr_y"] if p["system"] == "warp" and p["rate"] == 0.003)
    assert f"| ours | {warp['bpp']:.5f} | **{warp['value']:.2f}** |" in text
    assert "failed: no stream &lt;b>so small&lt;/b>" in text
    assert "| ours | -20.5 (-25.0 to -16.0) |" in text
    assert "Published: T-GVC, 512x320" in text
    assert "| ours | 0.003 | 96 | 61.25 |" in text
    assert "| segments | adaptive | 30.25 |" in text
    assert "<script" not in text
    lame = next(p for p in content["means"]["psnr_y"] if not p["whole"])
    assert f"({lame['value']:.2f}, 2 clips)" in text


def test_the_command_writes_beside_the_record_and_overwrites_only_if_told(tmp_path: Path) -> None:
    write_sample(tmp_path, videos=False)
    run = CliRunner()
    done = run.invoke(report, [str(tmp_path / "eval.json")], catch_exceptions=False)
    assert done.exit_code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["eval.html", "eval.json", "eval.md", "eval.numbers.json"]
    again = run.invoke(report, [str(tmp_path / "eval.json")])
    assert isinstance(again.exception, ConfigError)
    assert "exists; give -y" in str(again.exception)
    assert run.invoke(report, [str(tmp_path / "eval.json"), "-y", "-q"]).output == ""
    (tmp_path / "eval.html").unlink()
    assert "eval.md: exists" in str(run.invoke(report, [str(tmp_path / "eval.json")]).exception)
    over = run.invoke(report, [str(tmp_path / "eval.json"), "-y", "-o", str(tmp_path / "eval.json")])
    assert "ends in .html" in str(over.exception)
    assert json.loads((tmp_path / "eval.json").read_text())["format"] == "tgvc-eval 1"


def test_without_a_chromium_a_picture_is_refused_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    assert find_chromium() is None
    with pytest.raises(BackendUnavailableError, match=f"install chromium, or name one in .*{VARIABLE}"):
        draw_page(tmp_path / "page.html", tmp_path / "page.png")
    with pytest.raises(BackendUnavailableError, match="Chromium ended"), Browser("/bin/true") as running:
        running.open("about:blank", (100, 100))


def gather_sample() -> dict[str, Any]:
    record = make_record()
    check_evaluation(record)
    return {**gather(record, read_references()), "frames": [], "media": [], "tracks": []}


def palettes() -> dict[str, dict[str, str]]:
    """Colours of the page by scheme: name -> #rrggbb."""
    style = (ASSETS / "page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for name, block in zip(("light", "dark"), blocks, strict=False)
    }


def linear(colour: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Linear RGB 0..1 of #rrggbb."""
    values = np.array([int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """Contrast ratio as in WCAG 2."""
    bright, dark = sorted((float(linear(c) @ (0.2126, 0.7152, 0.0722)) for c in (a, b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read_on_the_page(scheme: str) -> None:
    colours = palettes()[scheme]
    for name in ("text", "dim"):
        assert contrast(colours[name], colours["back"]) >= 4.5  # WCAG AA for text
        assert contrast(colours[name], colours["panel"]) >= 4.5
    for name, colour in colours.items():
        if name.startswith(("ours-", "other-")):
            assert contrast(colour, colours["panel"]) >= 4.5  # they also write names


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("family", ["ours", "other"])
def test_the_first_three_of_a_family_differ_for_the_colour_blind_too(scheme: str, family: str) -> None:
    colours = palettes()[scheme]
    # Vienot, Brettel, Mollon 1999: what is left of linear RGB to a deuteranope
    deuteranope = np.array([[0.29275, 0.70725, -0.02978], [0.29275, 0.70725, -0.02978], [-0.02233, 0.02233, 1.0]])
    for one, two in combinations([colours[f"{family}-{n}"] for n in range(3)], 2):
        seen = [np.cbrt(np.clip(deuteranope @ linear(c), 0, 1)) for c in (one, two)]
        # in a scale even to the eye, where black and white are 1.7 apart; marks and dashes differ as well
        assert float(np.linalg.norm(seen[0] - seen[1])) > 0.09
