"""Targets that fail, stay whole, or are refused."""

import os

import pytest

from tgvc.errors import ConfigError, VideoError
from tgvc.video import VideoWriter
from video_samples import info_of, smooth_picture
from writer_samples import read, smooth, write

FILES = [".mp4", ".mov", ".mkv", ".webm", ".gif", ".y4m"]


def write_and_fail(target, count, fault):
    with VideoWriter(target, info_of()) as writer:
        for number in range(count):
            writer.write(smooth_picture(number))
        raise fault


@pytest.mark.parametrize("suffix", [*FILES, "/", "/%05d.png"])
@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("written", [0, 5])
def test_nothing_is_left_after_an_exception(tmp_path, suffix, fault, written):
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(fault):
        write_and_fail(f"{tmp_path}/a{suffix}", written, fault)
    assert {p.name for p in tmp_path.iterdir()} - {"a"} == {"keep.txt"}
    assert not list((tmp_path / "a").glob("*"))


@pytest.mark.parametrize("suffix", FILES)
def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the old one")
    with pytest.raises(RuntimeError):
        write_and_fail(path, 1, RuntimeError)
    assert path.read_bytes() == b"the old one"
    with VideoWriter(path, info_of()) as writer:
        writer.write(smooth_picture(0))
        assert path.read_bytes() == b"the old one"
    assert len(read(path)[1]) == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [*FILES, "/"])
def test_a_video_of_no_pictures_is_refused(tmp_path, suffix):
    with pytest.raises(VideoError, match="no picture was written"), VideoWriter(f"{tmp_path}/a{suffix}", info_of()):
        pass
    assert not list(tmp_path.iterdir())


def test_a_failing_rename_leaves_nothing(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", info_of())
    writer.write(smooth_picture(0))
    (tmp_path / "a.mp4").mkdir()  # a folder has taken the name meanwhile
    with pytest.raises(VideoError, match="cannot be written"):
        writer.close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "real.mp4").write_bytes(b"old")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real.mp4")
    write(tmp_path / "link.mp4", smooth(1))
    assert (tmp_path / "link.mp4").is_symlink()
    assert len(read(tmp_path / "real.mp4")[1]) == 1


def test_new_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()
    expected = (tmp_path / "plain").stat().st_mode
    for suffix in FILES:
        assert write(tmp_path / f"a{suffix}", smooth(1)).stat().st_mode == expected


def test_a_full_disk_is_one_video_error_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.y4m"
    writer = VideoWriter(path, info_of())

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            self.file.close()

    monkeypatch.setattr(writer._target, "_file", Full(writer._target._file))
    with pytest.raises(VideoError, match="No space left on device"), writer:
        writer.write(smooth_picture(0))
    assert not list(tmp_path.iterdir())


# refusals


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("a.xyz", {}),
        ("a", {}),
        ("a.png", {}),
        ("a%d%d.png", {}),
        ("a%s.png", {}),
        ("a.mp4", {"size": (0, 10)}),
        ("a.mp4", {"size": (20000, 10)}),
        ("a.mp4", {"size": (10.5, 10)}),
        ("a.y4m", {"codec": "ffv1"}),
        ("a.gif", {"options": {"crf": "1"}}),
        ("a.mp4", {"options": {"crff": "1"}}),
        ("a.mp4", {"codec": "aac"}),
        ("a.mp4", {"codec": "no_such_codec"}),
    ],
)
def test_requests_that_cannot_be_honoured_are_refused(tmp_path, target, arguments):
    with pytest.raises(ConfigError) as error:
        VideoWriter(tmp_path / target, info_of(), **arguments)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("missing/a.mp4", {}),
        ("missing/a.y4m", {}),
        ("a.mp4", {"codec": "libx264", "options": {"crf": "much"}}),
        ("a.webm", {"codec": "libx264"}),
        ("a.mp4", {"codec": "prores_ks"}),
        ("folder.mp4/a.mp4", {}),
    ],
)
def test_targets_that_cannot_be_written_are_one_video_error(tmp_path, target, arguments, capfd):
    (tmp_path / "folder.mp4").touch()
    with pytest.raises(VideoError) as error:
        VideoWriter(tmp_path / target, info_of(), **arguments)
    assert "\n" not in str(error.value)
    assert "Errno" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.mp4"]
    assert capfd.readouterr() == ("", "")


def test_special_files_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "a.y4m")
    with pytest.raises(VideoError, match="not a regular file"):
        VideoWriter(tmp_path / "a.y4m", info_of())
