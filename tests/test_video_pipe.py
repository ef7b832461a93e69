"""Reading frame by frame: from pipes, again, no farther than asked."""

import gc
import io
import os
import threading

import av
import numpy as np
import pytest

from reader_samples import Pipe, read
from tgvc.errors import VideoError
from tgvc.video import open_video
from video_samples import i420_frames, make_clip, noise_picture, smooth_picture


def test_files_can_be_read_again_and_twice_at_once(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", i420_frames(5), codec="libx264")
    for source in (clip, io.BytesIO(clip.read_bytes())):
        with open_video(source) as video:
            assert video.replayable
            first, second = list(video), list(video)
            assert len(first) == len(second) == 5
            assert all(
                np.array_equal(a.picture, b.picture) and a.time == b.time for a, b in zip(first, second, strict=True)
            )
    with open_video(clip) as video:
        assert [a.time == b.time for a, b in zip(video, video, strict=True)] == [True] * 5


def test_a_closed_reader_says_so(tmp_path):
    with open_video(make_clip(tmp_path / "a.mkv", i420_frames(2))) as video:
        pass
    with pytest.raises(VideoError, match="closed"):
        iter(video)


def test_containers_are_read_from_a_pipe_once(tmp_path):
    for name, codec in (("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.ts", "libx264"), ("a.y4m", "rawvideo")):
        clip = make_clip(tmp_path / name, i420_frames(8), codec=codec)
        with open_video(Pipe(clip.read_bytes())) as video:
            assert not video.replayable
            times = [p.time for p in video]
            assert times == [p.time for p in read(clip)[1]]
            with pytest.raises(VideoError, match="only once"):
                iter(video)


def test_standard_input_is_read(tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "a.y4m", i420_frames(4), codec="rawvideo")
    ours, theirs = os.pipe()
    feeder = threading.Thread(target=lambda: os.fdopen(theirs, "wb").write(clip.read_bytes()))
    feeder.start()
    with os.fdopen(ours, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        _, pictures = read("-")
    feeder.join()
    assert len(pictures) == 4
    np.testing.assert_array_equal(pictures[3].picture, smooth_picture(3))


def test_frames_are_decoded_only_as_they_are_asked_for(tmp_path):
    clip = make_clip(tmp_path / "a.mkv", [av.VideoFrame.from_ndarray(noise_picture(i), "yuv420p") for i in range(400)])
    size = clip.stat().st_size
    pipe = Pipe(clip.read_bytes())
    with open_video(pipe) as video:
        after_opening = pipe.taken
        frames = iter(video)
        for _ in range(100):
            next(frames)
        after_a_quarter = pipe.taken
    # libav probes at most 5 MB, here about a fifth, before it gives the first frame; a buffer of 256 KiB follows.
    assert after_opening < size / 2
    assert after_a_quarter < size / 2


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "ffv1"), ("a.y4m", "rawvideo")])
def test_frames_are_freed_as_they_are_passed(tmp_path, name, codec):
    clip = make_clip(tmp_path / name, i420_frames(60), codec=codec, rotation=90 if name == "a.mp4" else 0)
    gc.collect()
    gc.disable()  # a frame that only the collector could free counts as held
    try:
        held = []
        for _ in open_video(clip):
            held.append(sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects()))  # noqa: PERF401
    finally:
        gc.enable()
    assert len(held) == 60
    # The first frame was asked for its side data and stays; of the others one is being converted, one scaled. libx264
    # with frame threads hands out the last few together.
    assert max(held[:40]) <= 5


def test_y4m_is_read_one_frame_ahead_at_most(tmp_path):
    pipe = Pipe(b"YUV4MPEG2 W96 H64 F25:1 C420jpeg\n" + (b"FRAME\n" + bytes(9216)) * 50)
    frames = iter(open_video(pipe))
    for number in range(1, 10):
        next(frames)
        assert pipe.taken <= number * 9300 + 5000


def test_ctrl_c_during_a_read_comes_through(tmp_path):
    data = make_clip(tmp_path / "a.mkv", i420_frames(30)).read_bytes()

    class Interrupted(Pipe):
        def readinto(self, buffer):
            if self.taken > len(data) // 2:
                raise KeyboardInterrupt
            return super().readinto(buffer)

    with pytest.raises(KeyboardInterrupt):
        read(Interrupted(data))


def test_a_file_object_that_fails_is_one_video_error(tmp_path):
    data = make_clip(tmp_path / "a.mkv", i420_frames(30)).read_bytes()

    class Broken(Pipe):
        def readinto(self, buffer):
            if self.taken > len(data) // 2:
                raise OSError(5, "Input/output error")
            return super().readinto(buffer)

    with pytest.raises(VideoError, match=r"cannot be read \(Input/output error\)"):
        read(Broken(data))
