"""The engine store: whole entries, signatures, locks, room, and the commands that show and clean it."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tgvc.backends.engines import store as module
from tgvc.backends.engines.signing import KEY_BYTES, SigningKey, key_file
from tgvc.backends.engines.store import EngineStore, key_of
from tgvc.cli.engines import engines
from tgvc.errors import BackendError

posix = pytest.mark.skipif(os.name != "posix", reason="modes of files: POSIX")


def about(net: str = "unet", **changes: Any) -> dict[str, Any]:
    return {"kind": "plan", "net": net, "shapes": {"x": [1, 4]}, "gpu": "Some GPU", **changes}


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines", SigningKey(tmp_path / "keys" / "key"))


def test_what_was_written_is_read_by_the_same_description_in_any_order(store: EngineStore) -> None:
    assert store.read(about()) is None
    store.write(about(), b"plan")
    assert store.read(dict(reversed(about().items()))) == b"plan"
    assert store.read(about(gpu="Other GPU")) is None
    store.write(about(), b"another")
    assert store.read(about()) == b"another"
    (entry,) = store.entries()
    assert (entry.about, entry.size, entry.fault) == (about(), len(b"another"), "")


@posix
def test_key_and_store_are_for_this_user_alone(store: EngineStore, tmp_path: Path) -> None:
    store.write(about(), b"plan")
    assert stat.S_IMODE((tmp_path / "keys" / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert list((tmp_path / "keys").iterdir()) == [tmp_path / "keys" / "key"]


@posix
def test_a_key_that_others_may_read_is_refused(store: EngineStore, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key"
    path.chmod(0o640)
    with pytest.raises(BackendError, match="others may read it"):
        SigningKey(path)


def test_a_key_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(BackendError, match=f"5 bytes, expected {KEY_BYTES}"):
        SigningKey(path)


@posix
def test_a_store_that_others_may_write_to_is_refused(store: EngineStore) -> None:
    store.write(about(), b"plan")
    store.folder.chmod(0o777)
    for use in (lambda: store.read(about()), lambda: store.write(about(), b"plan")):
        with pytest.raises(BackendError, match="others may write there"):
            use()


def test_processes_that_begin_at_once_have_one_key(tmp_path: Path) -> None:
    keys: list[SigningKey] = []
    threads = [threading.Thread(target=lambda: keys.append(SigningKey(tmp_path / "key"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key.sign(b"text") for key in keys}) == 1


def test_a_write_that_ends_early_leaves_nothing_that_is_read(
    store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(module.os, "replace", fail)
    with pytest.raises(OSError, match="full"):
        store.write(about(), b"plan")
    monkeypatch.undo()
    assert store.read(about()) is None
    assert not list(store.folder.rglob("*.part"))
    assert store.drop_leftovers() == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read"),
        ('{"format": "other"}', "not of the format"),
        ('{"format": "tgvc-engine 1", "about": {}, "files": {}}', "not signed"),
        ('{"format": "tgvc-engine 1", "about": {}, "files": {}, "signature": "00"}', "comes from elsewhere"),
        ('{"format": "tgvc-engine 1", "about": {}, "files": {}, "signature": 7}', "comes from elsewhere"),
    ],
)
def test_a_manifest_of_anybody_else_is_refused_and_listed_as_such(store: EngineStore, text: str, told: str) -> None:
    store.write(about(), b"plan")
    (store.folder / f"{key_of(about())}.json").write_text(text)
    with pytest.raises(BackendError, match=rf"refused: .*{told}"):
        store.read(about())
    (entry,) = store.entries()
    assert told in entry.fault


def test_only_one_at_a_time_has_the_lock_of_an_entry_and_others_have_theirs(store: EngineStore) -> None:
    seen: list[str] = []

    def wait() -> None:
        with store.lock(about()):
            seen.append("second")

    with store.lock(about()), store.lock(about("vae")):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)
        seen.append("first")
    thread.join(timeout=5)
    assert seen == ["first", "second"]


def test_what_was_not_used_for_longest_makes_room(store: EngineStore) -> None:
    store.capacity = 250
    for number, net in enumerate("abc"):
        store.write(about(net), bytes([number]) * 100)
        os.utime(store.folder / f"{key_of(about(net))}.json", (1000 + number, 1000 + number))
    assert {entry.about["net"] for entry in store.entries()} == {"b", "c"}
    assert store.read(about("b")) is not None  # used: now c is the oldest
    store.write(about("d"), bytes(100))
    assert {entry.about["net"] for entry in store.entries()} == {"b", "d"}
    store.write(about("e"), bytes(1000))  # alone more than there is room for: it stays, for it is needed now
    assert [entry.about["net"] for entry in store.entries()] == ["e"]


def test_a_folder_that_a_runtime_writes_is_signed_as_it_was_left(store: EngineStore) -> None:
    with store.lock(about()):
        folder = store.open_folder(about())
        (folder / "engine").write_bytes(b"engine")
        store.seal_folder(about())
    assert store.open_folder(about()) == folder
    (folder / "engine").write_bytes(b"enginE")
    with pytest.raises(BackendError, match="engine is not what was signed"):
        store.open_folder(about())
    (folder / "engine").write_bytes(b"engine")
    (folder / "more").write_bytes(b"")
    with pytest.raises(BackendError, match="more is not what was signed"):
        store.open_folder(about())


def test_files_that_were_never_signed_are_dropped(store: EngineStore) -> None:
    (store.open_folder(about()) / "engine").write_bytes(b"half")
    assert list(store.open_folder(about()).iterdir()) == []


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineStore:
    """The user's store, in a folder of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return EngineStore()


def run(*words: str) -> str:
    done = CliRunner().invoke(engines, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_an_empty_store_is_listed_and_makes_no_key(own: EngineStore) -> None:
    assert "0 entries, 0.00 GB of at most 34" in run("list")
    assert not key_file().exists()


def test_engines_are_listed_and_cleaned(own: EngineStore) -> None:
    own.write(about(library="tensorrt 11.4", architecture="sm_90"), bytes(2_000_000))
    own.write(about("vae", targets=["sm_80", "sm_89"], gpu=""), bytes(10))
    own.write(about("bad"), bytes(10))
    (own.folder / f"{key_of(about('bad'))}.json").write_text("{}")
    listed = run("list")
    assert "plan      unet, x 1x4, for Some GPU sm_90, tensorrt 11.4, 2.0 MB" in listed
    assert "for sm_80, sm_89" in listed
    assert "refused" in listed
    rows = {row.get("net"): row for row in json.loads(run("list", "--json"))["engines"]}
    assert rows["unet"]["bytes"] == 2_000_000
    (own.folder / "left.d").mkdir()
    assert "1 leftovers" in run("clean")
    assert {entry.about["net"] for entry in own.entries()} == {"unet", "vae"}
    run("clean", "--net", "vae")
    assert [entry.about["net"] for entry in own.entries()] == ["unet"]
    run("clean", "--days", "1", "--gb", "1")
    assert len(list(own.entries())) == 1
    run("clean", "--gb", "0.001")
    assert not list(own.entries())
    own.write(about(), b"plan")
    run("clean", "--all")
    assert not list(own.entries())
