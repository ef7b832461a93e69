"""Files that appear whole or not at all, in the place that was meant."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import pytest

from tgvc.errors import VideoError
from tgvc.output import open_output


def write(target: Path, data: bytes = b"new") -> None:
    with open_output(target) as stream:
        stream.write(data)


def test_a_file_is_replaced_whole_or_left_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "a.tgvc"
    write(target, b"old")
    with contextlib.suppress(KeyboardInterrupt), open_output(target) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"old"
    write(target)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.tgvc", b"new")]


@pytest.mark.parametrize("there", [True, False])
def test_behind_a_link_the_file_is_written_and_the_link_stays(tmp_path: Path, there: bool) -> None:
    (tmp_path / "deep").mkdir()
    link, real = tmp_path / "link.tgvc", tmp_path / "deep" / "real.tgvc"
    link.symlink_to(Path("deep") / "real.tgvc")
    if there:
        real.write_bytes(b"old")
    write(link)
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert [p.name for p in real.parent.iterdir()] == ["real.tgvc"]


@pytest.mark.parametrize("name", ["fifo", "link to it", "folder", "/dev/null", "/dev/fd/{}"])
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, name: str) -> None:
    """Before anything is written: an encoder's hours are not to end with this error."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link to it").symlink_to("fifo")
    reader, writer = os.pipe()
    before = sorted(p.name for p in tmp_path.iterdir())
    try:
        with (
            pytest.raises(VideoError, match=r"^\S.*: not a regular file, .* - to write into a pipe$"),
            open_output(tmp_path / name.format(writer)),
        ):
            pytest.fail("it was opened")
    finally:
        os.close(reader)
        os.close(writer)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_where_no_file_can_be_made_the_error_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"a\.tgvc: cannot be written \(No such file or directory\)$"):
        write(tmp_path / "nowhere" / "a.tgvc")
