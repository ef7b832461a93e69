"""The published picture: parts are found and put where they belong, and rows say what was scored."""

import json
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner

from tgvc.errors import ConfigError
from tgvc.types import join_planes, picture_planes
from tgvc_bench import published
from tgvc_bench.cli import commands

pytest.importorskip("imageio_ffmpeg")
LEFT, WIDTH, FRAMES = 32, 192, 9


def darken(picture):
    """As a conversion from full to limited range does: 0.86 Y + 16, rounded."""
    y, u, v = picture_planes(picture)
    return join_planes(np.rint(0.86 * y.astype(float) + 16).astype(np.uint8), u, v)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_clip):
    """Three files as published ones are: a moving source, the same a little late and darkened, and all of that."""
    place = tmp_path_factory.mktemp("Beauty")
    whole = make_clip([(t, 0.5 * t) for t in range(FRAMES)], size=(256, 176))
    late = [darken(p) for p in make_clip([(t + 0.4, 0.5 * t) for t in range(FRAMES)], size=(256, 176))]
    for name, pictures in (
        (published.SOURCE, [published.crop_columns(p, LEFT, WIDTH) for p in whole]),
        (published.THEIRS, [published.crop_columns(p, LEFT, WIDTH) for p in late]),
        (published.WHOLE, late),
    ):
        published.write_lossless(place / f"{name}.mkv", pictures, Fraction(25))
        (place / f"{name}.mkv").rename(place / name)  # the reader goes by content
    return place


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    """The record that the command wrote and the text that it printed."""
    output = tmp_path_factory.mktemp("out") / "out.json"
    words = ["published", str(folder), "--bpp", "0.06", "--effort", "0", "-o", str(output)]
    result = CliRunner().invoke(commands, words, catch_exceptions=False, standalone_mode=False)
    return json.loads(output.read_text()), result.output


def test_columns_are_cut_and_pasted_in_all_planes(make_picture):
    whole, other = make_picture(size=(256, 176)), make_picture(size=(256, 176), seed=5)
    part = published.crop_columns(whole, LEFT, WIDTH)
    assert part.shape == (264, WIDTH)
    assert np.array_equal(published.paste_columns(whole, part, LEFT), whole)
    pasted = published.paste_columns(other, part, LEFT)
    assert np.array_equal(published.crop_columns(pasted, LEFT, WIDTH), part)
    assert np.array_equal(published.crop_columns(pasted, 0, LEFT), published.crop_columns(other, 0, LEFT))
    assert not np.array_equal(pasted, other)


def test_columns_are_found_where_they_were_cut(make_clip):
    whole = make_clip([(0, 0), (3, 0)], size=(256, 176))
    part = [published.crop_columns(p, LEFT, WIDTH) for p in whole]
    left, psnr = published.find_columns(whole, part)
    assert left == LEFT
    assert psnr > 99  # the same pixels


def test_the_luma_fit_undoes_a_change_of_range(make_clip):
    source = make_clip([(0, 0), (3, 1)], size=(64, 64))
    fitted, gain, offset = published.fit_luma(source, [darken(p) for p in source])
    assert gain == pytest.approx(1 / 0.86, rel=0.01)
    assert offset == pytest.approx(-16 / 0.86, rel=0.05)
    for a, b in zip(fitted, source, strict=True):
        # rounding to 0.86 levels per level and back costs at most one level
        assert np.abs(a.astype(int) - b).max() <= 1
        assert np.array_equal(a[64:], b[64:])


def test_a_flat_clip_keeps_its_gain(make_clip):
    flat = [np.full((96, 64), 100, np.uint8)] * 2
    fitted, gain, offset = published.fit_luma([p + np.uint8(7) for p in flat], flat)
    assert (gain, offset) == (1.0, 7.0)
    assert (fitted[0][:64] == 107).all()


def test_the_fit_helps_the_picture_of_another_range_and_not_ours(measured):
    rows = {row["name"]: row for row in measured[0]["rows"]}
    gain = {n: r["scores_luma_fitted"]["psnr_y"] - r["scores"]["psnr_y"] for n, r in rows.items()}
    assert gain["T-GVC, published"] > 1
    # ours has the source's range: the fit can only take a fraction of the coding error
    assert all(abs(gain[name]) < 0.5 for name in ("ours, crop", "ours, whole"))


def test_ours_takes_the_bits_of_the_picture_that_it_codes(measured):
    record, _ = measured
    assert record["left_column"] == LEFT
    pixels = {"ours, crop": WIDTH * 176, "ours, whole": 256 * 176}
    for row in record["rows"][1:]:
        assert row["bpp"] == pytest.approx(8 * row["bytes"] / (pixels[row["name"]] * FRAMES), rel=1e-5)
        assert row["fits"] == (row["bpp"] <= 0.06)
        assert set(row["scores"]) == set(published.METRICS)


def test_the_table_has_a_row_per_picture_and_fit_and_all_notes(measured):
    record, text = measured
    rows = [line for line in text.splitlines() if line.startswith(("| ours", "| T-GVC"))]
    assert len(rows) == 2 * len(record["rows"]) == 6
    assert all(note in text for note in published.NOTES)


def test_files_that_do_not_belong_together_are_refused(folder, tmp_path):
    for name in (published.SOURCE, published.THEIRS, published.WHOLE):
        (tmp_path / name).write_bytes((folder / published.WHOLE).read_bytes())
    (tmp_path / published.THEIRS).write_bytes((folder / published.THEIRS).read_bytes())
    with pytest.raises(ConfigError, match="expected two of one size"):
        list(published.run_published(tmp_path, tmp_path / "out.json"))
    with pytest.raises(ConfigError, match="expected a file made by"):
        published.format_published(tmp_path / "nothing.json")
