from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgvc.errors import ConfigError
from tgvc.types import join_planes, picture_planes
from tgvc.video.geometry import Orientation, check_working_size, shown_size, working_size


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((1920, 1080), (512, 288)),
        ((3840, 2160), (512, 288)),
        ((4096, 2160), (512, 272)),
        ((1080, 1920), (176, 320)),
        ((512, 320), (512, 320)),
        ((352, 288), (352, 288)),  # smaller than the limit: kept
        ((175, 143), (176, 144)),
        ((360, 360), (320, 320)),
        ((480, 360), (432, 320)),
        ((640, 480), (432, 320)),
        ((20, 20), (64, 64)),
        ((10000, 10), (512, 64)),
        ((1, 1), (64, 64)),
    ],
)
def test_working_size_of_common_sources(source, expected):
    assert working_size(*source) == expected


@given(st.integers(1, 20000), st.integers(1, 20000))
def test_working_size_is_on_the_grid_within_the_limit_and_never_enlarges(width, height):
    w, h = working_size(width, height)
    assert w % 16 == h % 16 == 0
    assert 64 <= w <= 512
    assert 64 <= h <= 320
    assert w <= max(64, (width + 8) // 16 * 16)
    assert h <= max(64, (height + 8) // 16 * 16)


@given(st.integers(200, 4000), st.integers(200, 4000))
def test_working_size_keeps_the_aspect_within_half_a_grid_step_each_way(width, height):
    w, h = working_size(width, height)
    scale = min(1, 512 / width, 320 / height)
    assert abs(w - max(64, width * scale)) <= 8
    assert abs(h - max(64, height * scale)) <= 8


def test_working_size_follows_the_limit():
    assert working_size(1920, 1080, (1024, 1024)) == (1024, 576)
    assert working_size(1920, 1080, (250, 250)) == (240, 144)


@pytest.mark.parametrize("arguments", [(0, 10), (10, -1), (10, 10, (63, 320)), (10, 10, (512, 0))])
def test_working_size_refuses_impossible_sizes(arguments):
    with pytest.raises(ConfigError, match="expected at least"):
        working_size(*arguments)


@pytest.mark.parametrize("size", [(64, 48), (4112, 64), (100, 96), (96, 64.0), (96,), (0, 0), (-64, 64)])
def test_a_size_off_the_grid_is_refused(size):
    with pytest.raises(ConfigError, match="multiples of 16 from 64 to 4096"):
        check_working_size(size)


def test_sample_aspect_widens_and_nonsense_is_square():
    upright, turned = Orientation(), Orientation.of_angle(90)
    assert shown_size(720, 576, Fraction(16, 15), upright) == (768, 576)
    assert shown_size(720, 576, Fraction(16, 15), turned) == (576, 768)
    for aspect in (None, Fraction(0), Fraction(1000), Fraction(1, 1000)):
        assert shown_size(720, 576, aspect, upright) == (720, 576)


@pytest.mark.parametrize("quarters", range(4))
def test_turning_by_an_angle_is_numpys_rotation(quarters):
    y = np.arange(32, dtype=np.uint8).reshape(4, 8)
    u = np.arange(8, dtype=np.uint8).reshape(2, 4)
    v = u + 100
    turned = picture_planes(Orientation.of_angle(90 * quarters).turn(join_planes(y, u, v)))
    for plane, expected in zip(turned, (y, u, v), strict=True):
        np.testing.assert_array_equal(plane, np.rot90(expected, quarters))


def test_a_display_matrix_of_any_angle_goes_to_the_nearest_right_angle():
    for degrees in range(-180, 181, 5):
        if degrees % 90 == 45:
            continue
        cos, sin = (round(65536 * f(np.radians(degrees))) for f in (np.cos, np.sin))
        matrix = (cos, -sin, 0, sin, cos, 0, 0, 0, 1 << 30)
        assert Orientation.of_matrix(matrix) == Orientation.of_angle(degrees), degrees


def test_display_matrices_that_mirror():
    one = 65536
    assert Orientation.of_matrix((-one, 0, 0, 0, one, 0, 0, 0, 1 << 30)) == Orientation(False, True, False)
    assert Orientation.of_matrix((one, 0, 0, 0, -one, 0, 0, 0, 1 << 30)) == Orientation(False, False, True)
    assert Orientation.of_matrix((0, one, 0, one, 0, 0, 0, 0, 1 << 30)) == Orientation(True, False, False)
