"""Videos of every kind become I420 pictures of the working size with their times."""

import io
import os
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from reader_samples import read, save_images
from tgvc.types import picture_planes
from tgvc.video import is_constant_rate, open_video
from tgvc.video.reader import _Clock
from video_samples import i420_frames, make_clip, noise_picture, psnr, smooth_picture

FPS = Fraction(25)


def flat_frame(pixels: str, value: tuple[int, ...], width: int = 96, height: int = 64) -> av.VideoFrame:
    """A frame of one colour: a value for each plane, or for each byte of a packed pixel."""
    frame = av.VideoFrame(width, height, pixels)
    levels = [value] if len(frame.planes) < len(value) else [(level,) for level in value]
    for plane, level in zip(frame.planes, levels, strict=True):
        sample = b"".join(n.to_bytes(2 if pixels.endswith("le") else 1, "little") for n in level)
        row = (sample * plane.line_size)[: plane.line_size]
        plane.update(row * plane.height)
    return frame


@pytest.mark.parametrize(
    ("name", "codec", "floor_db"),
    [
        ("a.mp4", "libx264", 38),
        ("a.mkv", "libx264", 38),
        ("a.mov", "libx264", 38),
        ("a.webm", "libvpx-vp9", 34),
        ("a.avi", "mpeg4", 30),
        ("a.ts", "libx264", 38),
        ("a.mkv", "ffv1", 90),
        ("a.y4m", "rawvideo", 90),
        ("a.avi", "rawvideo", 90),
    ],
)
def test_every_container_gives_all_frames_in_order_at_their_times(tmp_path, name, codec, floor_db):
    clip = make_clip(tmp_path / name, i420_frames(12), codec=codec, options={"crf": "18"} if "lib" in codec else {})
    info, pictures = read(clip)
    assert (info.width, info.height, info.source_width, info.source_height) == (96, 64, 96, 64)
    assert info.fps == FPS
    assert info.count in (12, None)
    assert len(pictures) == 12
    assert is_constant_rate([p.time for p in pictures], FPS)
    for number, (_, picture) in enumerate(pictures):
        # The floors are those of each codec at this quality; neighbouring frames lie below 30 dB of each other.
        assert psnr(picture, smooth_picture(number)) >= floor_db


def test_i420_of_the_working_size_passes_bit_for_bit(tmp_path):
    frames = [av.VideoFrame.from_ndarray(noise_picture(i), "yuv420p") for i in range(3)]
    for colour_range in (0, 1):
        clip = make_clip(tmp_path / f"{colour_range}.mkv", frames, colour_range=colour_range)
        for number, (_, picture) in enumerate(read(clip)[1]):
            np.testing.assert_array_equal(picture, noise_picture(number))


@pytest.mark.parametrize(
    ("pixels", "codec", "value", "colour_range", "expected"),
    [
        ("yuv420p", "ffv1", (180, 100, 160), 1, (180, 100, 160)),
        ("yuv420p", "ffv1", (0, 128, 255), 2, (16, 128, 240)),
        ("yuv444p", "ffv1", (180, 100, 160), 1, (180, 100, 160)),
        ("yuv422p", "ffv1", (180, 100, 160), 1, (180, 100, 160)),
        ("yuva420p", "ffv1", (180, 100, 160, 9), 1, (180, 100, 160)),
        ("yuv420p10le", "ffv1", (720, 400, 640), 1, (180, 100, 160)),
        ("yuv420p10le", "ffv1", (1023, 0, 512), 2, (235, 16, 128)),
        ("yuv444p12le", "ffv1", (2880, 1600, 2560), 1, (180, 100, 160)),
        ("gray", "ffv1", (180,), 1, (180, 128, 128)),
        ("gray", "ffv1", (180,), 0, (180, 128, 128)),
        ("gray", "ffv1", (255,), 2, (235, 128, 128)),
        ("gray10le", "ffv1", (720,), 1, (180, 128, 128)),
        ("gbrp", "utvideo", (0, 0, 255), 0, (81, 90, 240)),  # green, blue, red planes: pure red in BT.601
        ("bgr0", "ffv1", (0, 0, 255, 0), 0, (81, 90, 240)),
        ("rgb24", "png", (255, 0, 0), 0, (81, 90, 240)),
        ("rgba", "png", (0, 0, 255, 128), 0, (41, 240, 110)),
        ("yuvj420p", "mjpeg", (0, 128, 255), 2, (16, 128, 240)),
    ],
)
def test_every_pixel_format_becomes_limited_range_420(tmp_path, pixels, codec, value, colour_range, expected):
    frame = flat_frame(pixels, value)
    name = "a.mov" if codec in ("png", "mjpeg") else "a.avi" if codec == "utvideo" else "a.mkv"
    clip = make_clip(tmp_path / name, [frame] * 2, codec=codec, colour_range=colour_range)
    info, pictures = read(clip, size=(64, 64))
    assert len(pictures) == 2
    assert info.matrix == (5 if codec == "mjpeg" else 6)  # JPEG defines its matrix; the others leave it to us
    for plane, level in zip(picture_planes(pictures[0].picture), expected, strict=True):
        # One level: 8-bit BT.601 constants and mjpeg's quantiser round once each.
        assert np.abs(plane.astype(int) - level).max() <= 1


def test_jpegs_gray_is_full_range(tmp_path):
    Image.fromarray(np.full((64, 96), 255, np.uint8)).save(tmp_path / "a.jpg")
    Image.fromarray(np.full((64, 96), 0, np.uint8)).save(tmp_path / "b.jpg")
    white, black = (picture for _, picture in read(tmp_path)[1])
    assert (white[:64].min(), black[:64].max()) == (235, 16)


@pytest.mark.parametrize(
    ("width", "height", "matrix", "expected"),
    [
        (96, 64, 1, 1),
        (96, 64, 6, 6),
        (96, 64, 5, 5),
        (96, 64, 9, 9),
        (96, 64, 2, 6),
        (1280, 720, 2, 1),
        (1280, 720, 6, 6),
    ],
)
def test_the_matrix_is_kept_or_guessed_as_players_do(tmp_path, width, height, matrix, expected):
    frame = flat_frame("yuv420p", (90, 80, 200), width, height)
    info, pictures = read(make_clip(tmp_path / "a.mp4", [frame], codec="libx264", matrix=matrix))
    assert info.matrix == expected
    # The numbers are the source's whatever the tag; x264 at its default quality is off by up to two levels.
    levels = [int(np.median(p)) for p in picture_planes(pictures[0].picture)]
    assert np.abs(np.array(levels) - (90, 80, 200)).max() <= 2


@pytest.mark.parametrize("size", [(175, 143), (1, 1), (97, 64), (96, 63), (33, 201)])
def test_odd_sizes_are_read(tmp_path, size):
    frame = flat_frame("yuv420p", (120, 90, 150), *size)
    info, pictures = read(make_clip(tmp_path / "a.mkv", [frame] * 2))
    assert (info.source_width, info.source_height) == size
    assert pictures[0].picture.shape == (info.height * 3 // 2, info.width)
    assert [int(p.min()) for p in picture_planes(pictures[0].picture)] == [120, 90, 150]
    assert [int(p.max()) for p in picture_planes(pictures[0].picture)] == [120, 90, 150]


def test_a_4096x2160_frame_is_read_and_coded_at_the_default_size(tmp_path):
    info, pictures = read(make_clip(tmp_path / "a.mkv", [flat_frame("yuv420p", (120, 90, 150), 4096, 2160)]))
    assert (info.width, info.height, info.source_width, info.source_height) == (512, 272, 4096, 2160)
    assert len(pictures) == 1


def test_a_size_that_is_asked_for_is_given_and_stretches(tmp_path):
    clip = make_clip(tmp_path / "a.mkv", i420_frames(1))
    info, pictures = read(clip, size=(320, 128))
    assert (info.width, info.height, info.source_width, info.source_height) == (320, 128, 96, 64)
    assert pictures[0].picture.shape == (192, 320)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_and_mirroring_are_applied(tmp_path, rotation, mirrored):
    frame = av.VideoFrame.from_ndarray(noise_picture(0, 96, 64), "yuv420p")
    clip = make_clip(
        tmp_path / "a.mp4", [frame], codec="libx264", rotation=rotation, mirrored=mirrored, options={"qp": "0"}
    )
    info, pictures = read(clip)
    expected = np.rot90(noise_picture(0)[:64], rotation // 90)
    expected = expected[:, ::-1] if mirrored else expected
    assert (info.source_height, info.source_width) == expected.shape
    np.testing.assert_array_equal(pictures[0].picture[: info.height], expected)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_pictures_follow_their_exif_orientation(tmp_path, tag, suffix):
    stored = np.zeros((64, 96, 3), np.uint8)
    stored[:32, :48], stored[32:, :48] = 255, 128
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[0x112] = tag
    image.save(tmp_path / f"a{suffix}", exif=exif)
    pillow = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 4,
        7: 6,
        8: 2,
    }  # Image.Transpose members, as Pillow's own exif_transpose takes them
    shown = image.transpose(Image.Transpose(pillow[tag])) if tag > 1 else image
    info, pictures = read(tmp_path / f"a{suffix}")
    assert (info.source_width, info.source_height) == shown.size
    luma = np.asarray(shown.convert("L")) * (219 / 255) + 16
    assert np.abs(pictures[0].picture[: info.height] - luma).mean() < 2  # a transposition or flip off gives over 40


def test_sample_aspect_ratio_is_part_of_the_source_size(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", i420_frames(2), codec="libx264", sample_aspect=Fraction(4, 3))
    info, _ = read(clip)
    assert (info.source_width, info.source_height) == (128, 64)
    assert (info.width, info.height) == (128, 64)
    turned = make_clip(tmp_path / "b.mp4", i420_frames(2), codec="libx264", sample_aspect=Fraction(4, 3), rotation=90)
    info, _ = read(turned)
    assert (info.source_width, info.source_height) == (64, 128)


@pytest.mark.parametrize(
    ("pixels", "curve", "losses"),
    [
        ("yuv420p", 1, ()),
        ("yuv420p10le", 1, ("10-bit pictures become 8-bit 4:2:0",)),
        ("yuv420p10le", 16, ("10-bit HDR (PQ) pictures become 8-bit 4:2:0, the curve of their levels is not kept",)),
        ("yuv420p", 18, ("8-bit HDR (HLG) pictures become 8-bit 4:2:0, the curve of their levels is not kept",)),
    ],
)
def test_levels_that_are_not_kept_are_told(tmp_path, pixels, curve, losses):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        stream.codec_context.color_trc = curve
        for frame in i420_frames(2):
            frame.color_trc = curve
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_video(path) as video:
        assert video.losses == losses


def test_sound_that_is_not_kept_is_told_of_files_and_of_bytes(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        picture, sound = container.add_stream("ffv1", rate=25), container.add_stream("pcm_s16le", rate=8000)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 400), np.int16), "s16", "mono")
        samples.sample_rate = 8000
        container.mux(picture.encode(i420_frames(1)[0]))
        container.mux(sound.encode(samples))
        for stream in (picture, sound):
            container.mux(stream.encode(None))
    for source in (path, io.BytesIO(path.read_bytes())):
        with open_video(source) as video:
            assert video.losses == ("audio is not kept: a .tgvc file holds pictures alone",)


TIMES = [Fraction(n, 1000) for n in (0, 33, 50, 200, 210, 500, 540, 580, 1200, 1230)]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_times_of_a_variable_rate_are_kept(tmp_path, suffix):
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    clip = make_clip(tmp_path / f"a{suffix}", i420_frames(10), codec=codec, times=TIMES)
    info, pictures = read(clip)
    assert [p.time for p in pictures] == TIMES
    assert not is_constant_rate([p.time for p in pictures], info.fps)


def test_times_count_from_the_first_frame(tmp_path):
    clip = make_clip(tmp_path / "a.mkv", i420_frames(3), times=[Fraction(n, 25) + 3600 for n in range(3)])
    assert [p.time for p in read(clip)[1]] == [0, Fraction(1, 25), Fraction(2, 25)]


def test_a_declared_rate_that_is_only_the_clocks_tick_is_measured(tmp_path):
    clip = make_clip(tmp_path / "a.mkv", i420_frames(21), fps=Fraction(500), times=[Fraction(n, 20) for n in range(21)])
    assert read(clip)[0].fps == 20


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([None, None, None], [0, 1, 2]),
        ([5, 6, 8], [0, 1, 3]),
        ([5, None, 7], [0, 1, 2]),
        ([None, 6, 7], [0, 1, 2]),
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([0, 1, 1, 2], [0, 1, 2, 3]),
        ([10, 11, 3, 4, 6], [0, 1, 2, 3, 5]),  # a clock that starts again
        ([-2, -1, 0], [0, 1, 2]),
    ],
)
def test_missing_and_backward_times_are_repaired(times, expected):
    clock = _Clock(Fraction(1))
    assert [clock.tick(None if t is None else Fraction(t)) for t in times] == expected


def test_constant_rate_allows_a_millisecond_of_rounding_and_no_more():
    fps = Fraction(30000, 1001)
    grid = [n / fps for n in range(300)]
    assert is_constant_rate(grid, fps)
    assert is_constant_rate([Fraction(round(t * 1000), 1000) for t in grid], fps)
    assert not is_constant_rate([*grid[:-1], grid[-1] + Fraction(2, 1000)], fps)
    assert not is_constant_rate(grid, Fraction(30))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.gif", "gif"), ("a.mkv", "ffv1")]
)
def test_shortest_clips(tmp_path, count, name, codec):
    frames = i420_frames(count)
    if codec == "gif":
        frames = [f.reformat(format="rgb8") for f in frames]
    info, pictures = read(make_clip(tmp_path / name, frames, codec=codec))
    assert len(pictures) == count
    assert info.fps > 0
    assert [p.time for p in pictures] == sorted({p.time for p in pictures})


def test_gif_with_a_palette_is_read(tmp_path):
    first = Image.new("RGB", (96, 64), (255, 0, 0))
    second = Image.new("RGB", (96, 64), (0, 0, 255))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second, first], duration=[40, 200, 40])
    info, pictures = read(tmp_path / "a.gif")
    assert [p.time for p in pictures] == [0, Fraction(4, 100), Fraction(24, 100)]
    assert info.matrix == 6
    for (_, picture), expected in zip(pictures, [(81, 90, 240), (41, 240, 110), (81, 90, 240)], strict=True):
        assert np.abs(np.array([int(p[0, 0]) for p in picture_planes(picture)]) - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_folder_is_read_in_natural_order_at_the_rate_asked_for(tmp_path, suffix):
    folder = save_images(tmp_path / "100% done", suffix=suffix)
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".p3.png").write_bytes(b"hidden")
    info, pictures = read(folder, fps=12.5)
    assert (info.fps, info.count, len(pictures)) == (Fraction(25, 2), 12, 12)
    assert [p.time for p in pictures] == [Fraction(2 * n, 25) for n in range(12)]
    means = [p.picture[:64].mean() for p in pictures]
    assert means == sorted(means)
    assert read(folder)[0].fps == 25


def test_a_single_picture_is_a_clip_of_one_frame(tmp_path):
    save_images(tmp_path / "a", 1)
    info, pictures = read(tmp_path / "a" / "p0.png")
    assert (info.count, len(pictures), pictures[0].time) == (1, 1, 0)


def test_frames_limits_the_count_and_spares_what_follows(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", i420_frames(9), codec="libx264")
    info, pictures = read(clip, frames=4)
    assert (info.count, len(pictures)) == (4, 4)
    assert len(read(clip, frames=99)[1]) == 9


def test_clips_of_the_collection_open_with_the_frames_of_their_manifest():
    folder = os.environ.get("TGVC_CLIPS")
    if not folder:
        pytest.skip("the environment variable TGVC_CLIPS names no folder of clips")
    with open(os.path.join(folder, "MANIFEST.tsv"), encoding="utf-8") as manifest:
        head, *rows = (line.rstrip("\n").split("\t") for line in manifest)
    clips = [dict(zip(head, row, strict=True)) for row in rows]
    clips = [clip for clip in clips if clip["file"].endswith((".mp4", ".mkv", ".webm"))]
    assert clips
    for number, clip in enumerate(clips):
        with open_video(os.path.join(folder, clip["file"])) as video:
            assert f"{video.info.source_width}x{video.info.source_height}" == clip["WxH"], clip["file"]
            assert float(video.info.fps) == pytest.approx(float(clip["fps"]), abs=0.01), clip["file"]
            assert video.info.count in (int(clip["frames"]), None), clip["file"]
            if number % 25 == 0:
                times = [p.time for p in video]
                assert len(times) == int(clip["frames"]), clip["file"]
