import math

import pytest

from tgvc.errors import ConfigError
from tgvc_bench.hull import compare, rate_for, value_at


def point(size, bpp, **scores):
    return {"size": size, "bpp": bpp, "scores": scores}


# Two sizes that cross: the small one is better below 0.004, the large one above. Each is a line in log rate.
SMALL = [
    point("s", r, psnr_y=24 + math.log2(r / 0.002), gmsd=0.20 - 0.02 * math.log2(r / 0.002)) for r in (0.002, 0.008)
]
LARGE = [
    point("l", r, psnr_y=25 + 2 * math.log2(r / 0.004), gmsd=0.18 - 0.04 * math.log2(r / 0.004)) for r in (0.003, 0.006)
]
POINTS = LARGE + SMALL


@pytest.mark.parametrize(("bpp", "expected"), [(0.002, 24), (0.002 * 2**0.5, 24.5), (0.004, 25), (0.004 * 2**0.5, 26)])
def test_the_hull_takes_the_better_size_at_every_rate(bpp, expected):
    assert value_at(POINTS, "psnr_y", bpp) == pytest.approx(expected)


def test_smaller_is_better_metrics_take_the_lower_value():
    assert value_at(POINTS, "gmsd", 0.005) == pytest.approx(0.18 - 0.04 * math.log2(1.25))


def test_nothing_is_extrapolated():
    assert value_at(POINTS, "psnr_y", 0.0019) is None
    assert value_at(LARGE, "psnr_y", 0.05) == LARGE[1]["scores"]["psnr_y"]


def test_a_dearer_point_that_is_worse_does_not_lower_the_hull():
    dip = [point("s", 0.002, psnr_y=26.0), point("s", 0.004, psnr_y=25.0)]
    assert value_at(dip, "psnr_y", 0.004) == 26


@pytest.mark.parametrize("value", [24.2, 24.9, 25.0, 25.7])
def test_the_rate_for_a_value_inverts_the_value_at_a_rate(value):
    rate, bound = rate_for(POINTS, "psnr_y", value)
    assert bound == "exact"
    assert value_at(POINTS, "psnr_y", rate) == pytest.approx(value)


def test_values_outside_the_curves_give_bounds():
    assert rate_for(POINTS, "psnr_y", 23) == (pytest.approx(0.002), "at_most")
    assert rate_for(POINTS, "psnr_y", 40) == (pytest.approx(0.008), "at_least")


def test_a_point_with_half_the_rate_of_the_baseline_saves_half():
    ours = point("x", 0.0025, psnr_y=value_at(POINTS, "psnr_y", 0.005), gmsd=value_at(POINTS, "gmsd", 0.005))
    result = compare(ours, POINTS, ["psnr_y", "gmsd"])
    for metric in ("psnr_y", "gmsd"):
        assert result[metric]["won"]
        assert result[metric]["bits_saved"] == pytest.approx(0.5)


def test_a_point_of_the_baseline_itself_neither_wins_nor_saves():
    result = compare(POINTS[1], POINTS, ["psnr_y", "gmsd"])
    assert [r["won"] for r in result.values()] == [False, False]
    assert [r["bits_saved"] for r in result.values()] == pytest.approx([0, 0])


def test_below_the_floor_the_cheapest_point_is_the_opponent():
    result = compare(point("x", 0.001, psnr_y=24.5), POINTS, ["psnr_y"])["psnr_y"]
    assert result["below_floor"]
    assert result["baseline"] == 24
    assert result["won"]
    assert result["bits_saved"] == pytest.approx(1 - 0.001 / (0.002 * 2**0.5))


def test_points_without_a_metric_are_left_out():
    pruned = [*POINTS, point("s", 0.001, ms_ssim=0.5)]
    assert value_at(pruned, "psnr_y", 0.0015) is None
    with pytest.raises(ConfigError, match="no point of the baseline has vmaf"):
        value_at(pruned, "vmaf", 0.004)
