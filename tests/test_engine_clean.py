"""Cleaning the engine store: what would be refused goes, what can be read stays, builds in progress are left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tgvc.backends.engines import store as module
from tgvc.backends.engines.store import EngineStore, key_of
from tgvc.cli.engines import engines
from tgvc.errors import BackendError


def about(net: str = "unet", **changes: Any) -> dict[str, Any]:
    return {"kind": "plan", "net": net, "shapes": {"x": [1, 4]}, "gpu": "Some GPU", **changes}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineStore:
    """The user's store, in a folder of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return EngineStore()


def clean(*words: str) -> str:
    done = CliRunner().invoke(engines, ["clean", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def folder_of(store: EngineStore, net: str = "unet") -> Path:
    return store.folder / f"{key_of(about(net))}.d"


def seal(store: EngineStore, net: str = "unet", **files: bytes) -> Path:
    """The folder of an entry that a runtime wrote."""
    with store.lock(about(net)):
        folder = store.open_folder(about(net))
        for name, content in files.items():
            (folder / name).write_bytes(content)
        store.seal_folder(about(net))
    return folder


@pytest.mark.parametrize("how", ["changed", "missing", "unreadable"])
def test_an_entry_whose_content_is_refused_is_gone_after_cleaning(own: EngineStore, how: str) -> None:
    own.write(about(), b"plan")
    own.write(about("vae"), b"other")
    (path,) = folder_of(own).iterdir()
    path.write_bytes(b"pLan") if how == "changed" else path.unlink()
    if how == "unreadable":
        path.mkdir()
    with pytest.raises(BackendError, match="`tgvc engines clean` removes it"):
        own.read(about())
    clean()
    assert own.read(about()) is None
    assert own.read(about("vae")) == b"other"
    assert not folder_of(own).exists()


def test_a_folder_with_a_changed_file_is_gone_after_cleaning(own: EngineStore) -> None:
    folder = seal(own, one=b"1", two=b"2")
    (folder / "one").write_bytes(b"!")
    with pytest.raises(BackendError, match="one is not what was signed; `tgvc engines clean` removes it"):
        own.open_folder(about())
    clean()
    assert list(own.open_folder(about()).iterdir()) == []


def test_of_files_beside_signed_ones_only_what_was_never_signed_goes(own: EngineStore) -> None:
    folder = seal(own, one=b"1")
    (folder / "two").write_bytes(b"2")  # a process ended between the write of its runtime and the signature
    own.write(about("vae"), b"plan")
    (folder_of(own, "vae") / "old.bin").write_bytes(b"old")  # and another before it dropped what it had replaced
    with pytest.raises(BackendError, match="two is not what was signed; `tgvc engines clean` removes it"):
        own.open_folder(about())
    assert "2 leftovers" in clean()
    assert [path.name for path in own.open_folder(about()).iterdir()] == ["one"]
    assert own.read(about("vae")) == b"plan"
    assert "0.00 GB and 0 leftovers" in clean()


def test_a_folder_from_which_a_file_was_taken_is_still_used(own: EngineStore) -> None:
    (seal(own, one=b"1", two=b"2") / "one").unlink()
    clean()
    assert [path.name for path in own.open_folder(about()).iterdir()] == ["two"]


@contextmanager
def cleaned_meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While any file is being written, somebody cleans everything."""
    sync = os.fsync

    def sync_and_clean(handle: int) -> None:
        sync(handle)
        assert "and 0 leftovers" in clean("--all")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", sync_and_clean)
        yield


def test_cleaning_leaves_a_build_in_progress_alone(own: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own.key  # made before, as every file of a store is written through `fsync`
    with own.lock(about()), cleaned_meanwhile(monkeypatch):
        (own.open_folder(about()) / "one").write_bytes(b"1")
        clean("--all")
        own.seal_folder(about())
    with own.lock(about("vae")), cleaned_meanwhile(monkeypatch):
        own.write(about("vae"), b"plan")
    assert own.read(about("vae")) == b"plan"


def test_entries_that_are_held_are_kept_and_told(own: EngineStore) -> None:
    (seal(own, one=b"1") / "two").write_bytes(b"2")
    own.write(about("vae"), b"plan")
    with own.lock(about()):
        assert "kept      1 in use" in clean("--all")
        assert clean("--gb", "0").startswith("removed   0.00 GB and 0 leftovers")
        assert {path.name for path in folder_of(own).iterdir()} == {"one", "two"}
    assert [entry.about["net"] for entry in own.entries()] == ["unet"]
    assert "kept" not in clean("--all")
    assert list(own.entries()) == []


@pytest.mark.skipif(os.name != "posix", reason="links: POSIX")
def test_files_that_go_while_they_are_counted_do_no_harm(own: EngineStore) -> None:
    own.write(about(), b"plan")
    (folder_of(own) / "gone").symlink_to("nowhere")
    assert [entry.about["net"] for entry in own.entries()] == ["unet"]


@pytest.mark.skipif(os.name != "posix", reason="modes of files: POSIX")
def test_a_store_that_begins_with_a_lock_is_for_this_user_alone(own: EngineStore) -> None:
    before = os.umask(0o002)
    try:
        with own.lock(about()):
            own.write(about(), b"plan")
    finally:
        os.umask(before)
    assert own.read(about()) == b"plan"
