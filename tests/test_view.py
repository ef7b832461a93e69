"""The drawing of a stream, and the facts it is drawn from."""

from __future__ import annotations

import dataclasses
import io
from fractions import Fraction

import numpy as np
import pytest

from tgvc.bitstream.container import Group, Header, Writer
from tgvc.bitstream.motion import SegmentMotion, anchor_grid, anchor_points, series_samples
from tgvc.bitstream.pictures import find_codec
from tgvc.bitstream.tracks import encode_motion
from tgvc.synthesis.flow import measure_key_flow
from tgvc.types import picture_planes
from tgvc.view import draw_view
from tgvc.view.canvas import LAYERS, MODES
from tgvc.view.chart import count_bytes
from tgvc.view.contents import read_contents
from tgvc.view.frames import choose_tiles
from tgvc.view.obu import picture_sizes
from video_samples import smooth_picture

SIZE = (96, 64)
KEYS = (0, 4, 8, 12, 16, 17)
MODES_USED = ("F", "T", "G", "H", "plain")


def make_header(size: tuple[int, int] = SIZE) -> Header:
    return Header(width=size[0], height=size[1], source_width=size[0], source_height=size[1], fps=Fraction(25))


def make_segment(mode: str, length: int, *, last: bool = False) -> SegmentMotion:
    """One trajectory that moves by 8 steps of 1 px to the right at half time, one that stands still."""
    n = series_samples(mode, length)  # type: ignore[arg-type]
    if n == 0:
        return SegmentMotion.empty(mode, length)  # type: ignore[arg-type]
    coefs = np.zeros((2, n, 2), np.int32)
    coefs[0, 0, 0] = 8
    anchors = np.array([[6, 8], [15, 3]], np.int32)
    origin = np.array([last, False])
    return SegmentMotion.of(mode, length, anchors=anchors, coefs=coefs, origin=origin, global_step=12, track_step=18)  # type: ignore[arg-type]


def make_group(size: tuple[int, int] = SIZE, *, keys: tuple[int, ...] = KEYS, last: bool = False) -> Group:
    pictures = [smooth_picture(3 * k, *size) for k in keys]
    payload = find_codec(0).encode(pictures, 40.0, 8).payload
    modes = ("F", "T", "G", "H", "F")
    segments = [make_segment(m, b - a + 1, last=last) for m, a, b in zip(modes, keys, keys[1:], strict=False)]
    motion = encode_motion(segments, anchor_grid(*size))
    return Group(
        frames=keys[-1] + 1,
        keys=keys,
        codec=0,
        key_width=size[0],
        key_height=size[1],
        pictures=payload,
        motion=motion,
    )


def make_stream(*groups: Group, size: tuple[int, int] = SIZE) -> io.BytesIO:
    stream = io.BytesIO()
    writer = Writer(stream, make_header(size))
    for group in groups:
        writer.write(group)
    writer.finish()
    stream.seek(0)
    return stream


@pytest.fixture(scope="module")
def group() -> Group:
    return make_group()


@pytest.mark.parametrize("count", [1, 2, 9, 24])
def test_sizes_of_coded_pictures_add_up_to_the_payload(count: int) -> None:
    pictures = [smooth_picture(5 * n, *SIZE) for n in range(count)]
    payload = find_codec(0).encode(pictures, 40.0, 8).payload
    sizes = picture_sizes(payload, count)
    assert sizes is not None
    assert len(sizes) == count
    assert sum(sizes) == len(payload)
    assert min(sizes) > 0
    assert sizes[0] >= 0.3 * len(payload) / count  # the first one has nothing to be predicted from


def test_a_prefix_of_a_payload_decodes_to_as_many_pictures_as_its_sizes_say() -> None:
    pictures = [smooth_picture(5 * n, *SIZE) for n in range(9)]
    payload = find_codec(0).encode(pictures, 40.0, 8).payload
    sizes = picture_sizes(payload, 9)
    assert sizes is not None
    for count in (1, 4, 8):
        assert len(find_codec(0).decode(payload[: sum(sizes[:count])], *SIZE, count)) == count


@pytest.mark.parametrize("data", [b"\x00" * 40, b"\x32\xff\xff\xff\xff\xff\xff", b"\x12\x00" * 8, b""])
def test_bytes_that_are_no_av1_units_have_no_sizes(data: bytes) -> None:
    assert picture_sizes(data, 3) is None


def test_every_byte_of_a_stream_is_in_one_layer_and_in_one_bar(group: Group) -> None:
    stream = make_stream(group, dataclasses.replace(group, hide_head=5, hide_tail=2))
    contents = read_contents(stream)
    assert contents.bytes == len(stream.getvalue())
    assert sum(contents.layers.values()) == contents.bytes
    assert contents.layers["pictures"] == 2 * len(group.pictures)
    assert contents.layers["motion"] == 2 * len(group.motion)
    for bars in (1, 7, contents.frames):
        counted = count_bytes(contents, bars)
        assert {name: pytest.approx(values.sum()) for name, values in counted.items()} == contents.layers


def test_hidden_frames_neither_move_nor_lengthen_the_video(group: Group) -> None:
    contents = read_contents(make_stream(group, dataclasses.replace(group, hide_head=5, hide_tail=2)))
    assert contents.frames == 18 + 11
    assert contents.seconds == pytest.approx(contents.frames / 25)
    second = [p for p in contents.pieces if p.first >= 18]
    assert all(18 <= p.first <= p.last <= 28 for p in second)
    assert [p.whole for p in second] == [False, False, True, True, False]


def test_tracks_are_drawn_where_the_stream_puts_them(group: Group) -> None:
    tiles = {t.piece.mode: t for t in choose_tiles(read_contents(make_stream(group)), 18) if t.piece}
    assert set(tiles) == set(MODES_USED)
    for mode in ("F", "H", "plain"):
        assert len(tiles[mode].tracks) == 0
    anchors = anchor_points(np.array([[6, 8], [15, 3]], np.int32))
    for mode in ("T", "G"):
        # a track starts at its anchor; the order is that of the stream
        starts = {tuple(p) for p in tiles[mode].tracks[:, 0].round(3).tolist()}
        assert starts == {tuple(p) for p in anchors.tolist()}
        assert tiles[mode].tracks.shape == (2, 5, 2)
        assert tiles[mode].visible.all()
    swing = tiles["G"].tracks - tiles["G"].tracks[:, :1]
    moved = int(np.abs(swing).max(axis=(1, 2)).argmax())
    assert np.abs(swing[moved, 1:, 0]).min() > 0.5  # mode G: nothing but the track moves it
    assert np.abs(swing[moved, :, 1]).max() == 0
    assert np.abs(swing[1 - moved]).max() == 0


def test_tracks_anchored_in_the_last_key_end_at_their_anchor() -> None:
    tiles = {t.piece.mode: t for t in choose_tiles(read_contents(make_stream(make_group(last=True))), 18) if t.piece}
    for mode in ("T", "G"):
        tile = tiles[mode]
        assert tile.piece is not None
        back = int(np.flatnonzero(tile.piece.motion.origin)[0])
        at = anchor_points(tile.piece.motion.anchors)[back]
        assert tile.tracks[back, -1] == pytest.approx(at, abs=1e-3)


def test_the_grid_of_a_flow_segment_ends_where_the_flow_points() -> None:
    group = make_group()
    tile = next(t for t in choose_tiles(read_contents(make_stream(group)), 18) if t.piece and t.piece.mode == "F")
    keys = find_codec(0).decode(group.pictures, *SIZE, len(KEYS))
    flow = measure_key_flow(picture_planes(keys[0])[0], picture_planes(keys[1])[0])
    reach = 2 * np.linalg.norm(flow.forward, axis=-1).max()
    steps = np.linalg.norm(tile.grid[:, -1] - tile.grid[:, 0], axis=-1)
    assert 0 < steps.max() <= reach + 1e-3
    halfway = (tile.grid[:, 0] + tile.grid[:, -1]) / 2
    assert tile.grid[:, 2] == pytest.approx(halfway, abs=1e-3)  # straight lines at constant speed


@pytest.mark.parametrize("size", [(96, 64), (64, 160), (512, 64)])
def test_a_drawing_shows_its_pictures_and_its_colours(size: tuple[int, int]) -> None:
    image = draw_view(make_stream(make_group(size), size=size))
    assert image.width == 1600
    assert image.height < 4000
    colours = {colour for _, colour in image.getcolors(1 << 24)}
    for mode in MODES_USED:
        assert MODES[mode] in colours
    assert LAYERS["pictures"] in colours


def test_a_single_picture_can_be_drawn() -> None:
    image = draw_view(make_stream(make_group(keys=(0,))))
    assert image.width == 1600


def test_a_drawing_is_the_same_every_time(group: Group) -> None:
    stream = make_stream(group)
    first = draw_view(stream).tobytes()
    stream.seek(0)
    assert draw_view(stream).tobytes() == first
