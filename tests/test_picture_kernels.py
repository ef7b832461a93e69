"""Pictures to and from what networks take: twins agree to the bit, known colours, the codec's own conversions."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from tgvc.models.nets import pack_planes, unpack_planes
from tgvc.models.rgb import from_rgb, to_rgb
from tgvc_kernels import ops, picture_cpu, picture_ops, picture_reference
from tgvc_kernels.picture_reference import LUMA_WEIGHTS

KERNELS = ("pack_planes", "unpack_planes", "rgb_to_yuv", "yuv_to_rgb")
both = pytest.mark.parametrize("module", [picture_reference, picture_cpu], ids=["reference", "cpu"])
SIZES = ((1, 2, 2), (2, 6, 10), (3, 16, 34))


def greys(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def levels(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    wild = np.random.default_rng(seed).uniform(-1.2, 1.2, shape).astype(np.float32)
    wild.reshape(-1)[::11], wild.reshape(-1)[::13], wild.reshape(-1)[::17] = np.nan, np.inf, -np.inf
    return wild


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_has_one_signature(name: str) -> None:
    signatures = [inspect.signature(getattr(module, name)) for module in (picture_reference, picture_cpu, ops)]
    assert signatures[0] == signatures[1]
    parameters = list(signatures[2].parameters.values())
    assert [p.name for p in parameters[-2:]] == ["implementation", "stream"]
    assert signatures[2].replace(parameters=parameters[:-2]) == signatures[0]
    assert getattr(ops, name) is getattr(picture_ops, name)


@pytest.mark.parametrize(("count", "height", "width"), SIZES)
def test_twins_agree_to_the_bit(count: int, height: int, width: int) -> None:
    pictures, planes = greys(1, (count, height * 3 // 2, width)), levels(2, (count, 6, height // 2, width // 2))
    rgb = levels(3, (count, 3, height, width))
    calls: list[tuple[Any, ...]] = [("pack_planes", pictures), ("unpack_planes", planes)]
    for matrix in LUMA_WEIGHTS:
        calls += [("rgb_to_yuv", rgb, matrix), ("yuv_to_rgb", pictures, matrix)]
    for name, *arguments in calls:
        want = getattr(picture_reference, name)(*arguments)
        for found in (getattr(picture_cpu, name)(*arguments), getattr(ops, name)(*arguments)):
            assert found.dtype == want.dtype
            assert np.array_equal(found, want), (name, arguments[1:])


@both
def test_planes_are_those_of_the_codec(module: Any) -> None:
    pictures, planes = greys(4, (2, 24, 22)), np.random.default_rng(5).uniform(-1.2, 1.2, (2, 6, 8, 11))
    assert np.array_equal(module.pack_planes(pictures), pack_planes(list(pictures)))
    assert np.array_equal(module.unpack_planes(planes.astype(np.float32)), unpack_planes(planes.astype(np.float32)))
    assert np.array_equal(module.unpack_planes(module.pack_planes(pictures)), pictures)


@both
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_colours_are_those_of_the_codec(module: Any, matrix: int) -> None:
    pictures, rgb = (
        greys(6, (2, 24, 22)),
        np.random.default_rng(7).uniform(-1.2, 1.2, (2, 3, 16, 22)).astype(np.float32),
    )
    # 2e-6: sums of three products up to 2, each rounded to 1e-7, in another order there
    assert np.abs(module.yuv_to_rgb(pictures, matrix) - to_rgb(list(pictures), matrix)).max() < 2e-6
    found, want = module.rgb_to_yuv(rgb, matrix), np.stack(from_rgb(rgb, matrix))
    # the same but where a sum falls on the two sides of a half
    assert np.abs(found.astype(int) - want).max() <= 1
    assert np.mean(found != want) < 1e-3


@both
@pytest.mark.parametrize("matrix", sorted(LUMA_WEIGHTS))
def test_greys_stay_grey_and_primaries_are_known(module: Any, matrix: int) -> None:
    rgb = np.repeat(np.linspace(-1, 1, 8, dtype=np.float32)[:, None], 3, axis=1)[..., None, None]
    pictures = module.rgb_to_yuv(np.broadcast_to(rgb, (8, 3, 2, 2)).copy(), matrix)
    assert np.array_equal(pictures[:, 0, 0], np.rint(np.linspace(16, 235, 8)))
    assert (pictures[:, 2] == 128).all()
    blue = np.full((1, 3, 2, 2), -1, np.float32)
    blue[:, 2] = 1
    picture = module.rgb_to_yuv(blue, matrix)[0]
    assert picture[0, 0] == round(16 + 219 * LUMA_WEIGHTS[matrix][1])
    assert picture[2, 0] == 240
    back = module.yuv_to_rgb(module.rgb_to_yuv(blue, matrix), matrix)
    # a level of luma is 2 / 219, a level of chroma moves blue by 4 / 224 at most
    assert np.abs(back - blue).max() < 0.02


@pytest.mark.parametrize("matrix", [0, 2, 3, 8, 11, 14, 255])
def test_other_codes_are_bt601_as_everywhere_in_the_codec(matrix: int) -> None:
    pictures, rgb = greys(9, (2, 24, 22)), levels(10, (2, 3, 16, 22))
    for module in (picture_reference, picture_cpu, ops):
        assert np.array_equal(module.rgb_to_yuv(rgb, matrix), module.rgb_to_yuv(rgb, 6))
        assert np.array_equal(module.yuv_to_rgb(pictures, matrix), module.yuv_to_rgb(pictures, 6))
    assert np.array_equal(to_rgb(list(pictures), matrix), to_rgb(list(pictures), 6))


def test_what_does_not_fit_is_refused() -> None:
    pictures, planes = greys(8, (1, 6, 4)), np.zeros((1, 3, 4, 4), np.float32)
    for call, message in (
        (lambda: ops.pack_planes(pictures[:, :5]), "pictures: expected I420"),
        (lambda: ops.unpack_planes(planes), "planes: expected float32"),
        (lambda: ops.rgb_to_yuv(planes[..., :3], 1), "rgb: expected float32"),
        (lambda: ops.yuv_to_rgb(pictures.astype(np.float32), 1), "pictures: expected I420"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
