"""Key pictures as bytes: what was coded is what every decoder shows, and nothing else is accepted."""

from __future__ import annotations

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import MakeClip, MakePicture
from tgvc.bitstream.pictures import (
    CODECS,
    QUALITY_MAX,
    QUALITY_MIN,
    Av1Codec,
    CodedTrack,
    coded_size,
    find_codec,
    resize_picture,
)
from tgvc.errors import BitstreamError, ConfigError
from tgvc.types import Picture, join_planes, picture_planes, picture_size

SIZE = (96, 64)
COUNT = 5


@pytest.fixture(scope="module")
def pictures(make_clip: MakeClip) -> list[Picture]:
    return make_clip([(3 * n, n) for n in range(COUNT)], size=SIZE)


@pytest.fixture(scope="module")
def track(pictures: list[Picture]) -> CodedTrack:
    return Av1Codec().encode(pictures, 40, preset=8)


# ---------------------------------------------------------------- round trip


@pytest.mark.parametrize("count", [1, 2, 5, 17])
@pytest.mark.parametrize("size", [(96, 64), (48, 32), (16, 24), (16, 16), (200, 104)])
def test_decoder_shows_what_the_encoder_promised(make_clip: MakeClip, count: int, size: tuple[int, int]) -> None:
    originals = make_clip([(2 * n, n) for n in range(count)], size=size)
    coded = Av1Codec().encode(originals, 30, preset=8)
    decoded = Av1Codec().decode(coded.payload, *size, count)
    assert len(decoded) == len(coded.pictures) == count
    for shown, promised, original in zip(decoded, coded.pictures, originals, strict=True):
        assert shown.dtype == np.uint8
        assert shown.shape == original.shape
        assert np.array_equal(shown, promised)


def test_fine_quality_is_close_and_coarse_quality_is_small(pictures: list[Picture]) -> None:
    coded = [Av1Codec().encode(pictures, q, preset=8) for q in (QUALITY_MIN, 20, 40, QUALITY_MAX)]
    sizes = [len(c.payload) for c in coded]
    errors = [np.mean([(a.astype(float) - b) ** 2 for a, b in zip(c.pictures, pictures, strict=True)]) for c in coded]
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert errors[0] < 3  # squared grey levels: above 43 dB
    assert sizes[-1] < sizes[0] / 10


def test_pictures_come_in_order(make_picture: MakePicture) -> None:
    levels = [40, 200, 90, 160, 60, 220, 120]
    flat = [np.clip(make_picture(size=SIZE) // 8 + level, 0, 255).astype(np.uint8) for level in levels]
    shown = Av1Codec().encode(flat, 30, preset=8).pictures
    means = [float(picture_planes(p)[0].mean()) for p in shown]
    assert np.abs(np.array(means) - [picture_planes(p)[0].mean() for p in flat]).max() < 3


def test_same_pictures_give_the_same_bytes(pictures: list[Picture], track: CodedTrack) -> None:
    assert Av1Codec().encode(pictures, 40, preset=8).payload == track.payload


def test_quality_counts_in_quarter_steps(pictures: list[Picture], track: CodedTrack) -> None:
    codec = Av1Codec()
    assert codec.encode(pictures, 40.1, preset=8).payload == track.payload
    sizes = {len(codec.encode(pictures, 40 + step / 4, preset=8).payload) for step in range(8)}
    assert len(sizes) > 4


def test_payload_holds_no_temporal_delimiter(track: CodedTrack) -> None:
    # an OBU header of type 2 with a size field, then size 0; the first OBU is a sequence header (type 1)
    assert track.payload[0] >> 3 & 15 == 1
    assert not track.payload.startswith(b"\x12\x00")


@pytest.mark.parametrize("quality", [QUALITY_MIN - 0.25, QUALITY_MAX + 0.25, -1, float("nan")])
def test_quality_outside_its_range_is_refused(pictures: list[Picture], quality: float) -> None:
    with pytest.raises(ConfigError, match=r"quality=.*: expected 4.0..70.0"):
        Av1Codec().encode(pictures, quality, preset=8)


def test_encoder_says_nothing_on_stderr(pictures: list[Picture], capfd: pytest.CaptureFixture[str]) -> None:
    Av1Codec().encode(pictures, 50, preset=8)
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("size", [(64, 96), (48, 128), (96, 48), (512, 512)])
def test_another_size_than_announced_is_refused(track: CodedTrack, size: tuple[int, int]) -> None:
    with pytest.raises(BitstreamError, match=f"expected {size[0]}x{size[1]} yuv420p, got 96x64|not a valid AV1"):
        Av1Codec().decode(track.payload, *size, COUNT)


def test_sequence_header_of_a_larger_picture_is_refused_before_it_is_decoded(make_picture: MakePicture) -> None:
    hostile = Av1Codec().encode([make_picture(size=(1024, 768))], 70, preset=10).payload
    with pytest.raises(BitstreamError, match="not a valid AV1 payload"):
        Av1Codec().decode(hostile, *SIZE, 1)


@pytest.mark.parametrize(("count", "message"), [(4, "expected 4, got more"), (6, "expected 6, got 5")])
def test_another_count_than_announced_is_refused(track: CodedTrack, count: int, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        Av1Codec().decode(track.payload, *SIZE, count)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\0", b"\0" * 64, b"\xff" * 64, b"\x12\x00" * 8, b"not AV1 at all", np.random.default_rng(0).bytes(500)],
    ids=["empty", "zero", "zeros", "ones", "delimiters", "text", "noise"],
)
def test_garbage_is_refused(payload: bytes) -> None:
    with pytest.raises(BitstreamError, match="key pictures"):
        Av1Codec().decode(payload, *SIZE, COUNT)


def test_every_truncated_payload_is_refused(track: CodedTrack) -> None:
    for length in range(len(track.payload)):
        with pytest.raises(BitstreamError, match="key pictures"):
            Av1Codec().decode(track.payload[:length], *SIZE, COUNT)


def test_flipped_bits_give_pictures_or_a_refusal_and_nothing_else(track: CodedTrack) -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        data = bytearray(track.payload)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        try:
            shown = Av1Codec().decode(bytes(data), *SIZE, COUNT)
        except BitstreamError:
            refused += 1
        else:
            assert [picture_size(p) for p in shown] == [SIZE] * COUNT
    assert refused > 0


def test_ten_bit_pictures_are_refused(pictures: list[Picture]) -> None:
    context = av.CodecContext.create("libsvtav1", "w")
    context.width, context.height, context.pix_fmt = *SIZE, "yuv420p10le"
    context.framerate, context.time_base = Fraction(30), Fraction(1, 30)
    context.options = {"preset": "10"}
    frame = av.VideoFrame.from_ndarray(pictures[0], "yuv420p").reformat(format="yuv420p10le")
    payload = b"".join(bytes(p) for step in (frame, None) for p in context.encode(step))
    with pytest.raises(BitstreamError, match="expected 96x64 yuv420p, got 96x64 yuv420p10le"):
        Av1Codec().decode(payload, *SIZE, 1)


def test_unknown_codec_is_refused_by_number() -> None:
    assert find_codec(0).name == "av1"
    assert find_codec(0) is CODECS[0]
    with pytest.raises(BitstreamError, match=r"picture codec 9: not known to this release, which has 0 \(av1\)"):
        find_codec(9)


# ---------------------------------------------------------------- sizes


@given(
    width=st.integers(4, 256).map(lambda n: 16 * n),
    height=st.integers(4, 256).map(lambda n: 16 * n),
    scale=st.fractions(Fraction(1, 16), 2),
)
def test_coded_size_is_a_multiple_of_8_near_the_scale_and_never_larger(
    width: int, height: int, scale: Fraction
) -> None:
    for coded, full in zip(coded_size(width, height, scale), (width, height), strict=True):
        assert coded % 8 == 0
        assert 16 <= coded <= full
        if 16 < coded < full:
            assert abs(coded - full * scale) <= 4


@pytest.mark.parametrize(
    ("size", "scale", "coded"),
    [
        ((512, 320), Fraction(1), (512, 320)),
        ((512, 320), Fraction(1, 2), (256, 160)),
        ((512, 320), Fraction(1, 3), (168, 104)),
        ((512, 288), Fraction(1, 4), (128, 72)),
        ((64, 64), Fraction(1, 4), (16, 16)),
        ((64, 96), Fraction(1, 8), (16, 16)),
        ((96, 64), Fraction(3, 2), (96, 64)),
    ],
)
def test_coded_sizes_of_usual_scales(size: tuple[int, int], scale: Fraction, coded: tuple[int, int]) -> None:
    assert coded_size(*size, scale) == coded


def test_resize_to_the_same_size_is_the_same_picture(make_picture: MakePicture) -> None:
    picture = make_picture(size=SIZE)
    assert resize_picture(picture, *SIZE) is picture


def test_resize_keeps_flat_pictures_flat() -> None:
    shapes, levels = ((64, 96), (32, 48), (32, 48)), (200, 90, 30)
    flat = join_planes(*(np.full(shape, level, np.uint8) for shape, level in zip(shapes, levels, strict=True)))
    for size in ((48, 32), (168, 104), (96, 40)):
        scaled = resize_picture(flat, *size)
        assert picture_size(scaled) == size
        for plane, level in zip(picture_planes(scaled), levels, strict=True):
            assert (plane == level).all()


def test_resize_down_and_up_keeps_what_half_the_size_can_hold(make_picture: MakePicture) -> None:
    picture = make_picture(size=(192, 128))
    back = resize_picture(resize_picture(picture, 96, 64), 192, 128)
    inner = picture_planes(back)[0][8:-8, 8:-8].astype(float) - picture_planes(picture)[0][8:-8, 8:-8]
    # the scene has no detail finer than 10 px; Lanczos passes it to within about one level
    assert np.sqrt(np.mean(inner**2)) < 1.5
    assert abs(inner.mean()) < 0.1  # no shift of the grey level, none of the grid


def test_resize_does_not_change_its_source(make_picture: MakePicture) -> None:
    picture = make_picture(size=SIZE)
    before = picture.copy()
    resize_picture(picture, 48, 32)
    assert np.array_equal(picture, before)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no scheduling policies to read")
def test_encoding_leaves_scheduling_and_environment_as_they_were(pictures: list[Picture]) -> None:
    before = os.sched_getscheduler(0), dict(os.environ)
    find_codec(0).encode(pictures, 50, 8)
    assert (os.sched_getscheduler(0), dict(os.environ)) == before
