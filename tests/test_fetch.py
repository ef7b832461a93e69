"""Published weights come whole, from the pinned revision, with their licence accepted, or not at all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: pip install 'tgvc[fetch]'")

from hub_samples import Hub, hash_bytes, serve
from tgvc.errors import ConfigError
from tgvc.fetch import RECORD, WEIGHTS, FetchError, choose_files, fetch_weights

SIZE = 3_000_000


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {"model.ckpt": os.urandom(SIZE), "small.pth": os.urandom(1000)}
    with serve(Hub(files)) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def test_every_file_is_pinned_by_commit_size_and_hash() -> None:
    for weights in WEIGHTS.values():
        assert re.fullmatch("[0-9a-f]{40}", weights.revision)
        assert weights.terms
        for file in weights.files:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.size > 100_000_000
    # float32 values of all 2520 tensors, and less than 400 bytes of names and padding for each
    parameters = 2_609_142_405
    assert 0 < WEIGHTS["dynamicrafter-512-interp"].files[0].size - 4 * parameters < 2520 * 400


def test_files_arrive_with_a_record_of_where_they_came_from(hub: Hub, tmp_path: Path) -> None:
    weights, told = hub.weights(), []
    paths = fetch_weights(weights, tmp_path / "w", accepted=True, on_progress=lambda *state: told.append(state))
    assert [path.read_bytes() for path in paths] == list(hub.files.values())
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == [RECORD, "model.ckpt", "small.pth"]
    record = json.loads((tmp_path / "w" / RECORD).read_text())
    assert record["revision"] == weights.revision
    assert record["licence"] == "CC-BY-4.0"
    assert record["files"]["small.pth"] == {"bytes": 1000, "sha256": hash_bytes(hub.files["small.pth"])}
    assert all(f"/resolve/{weights.revision}/" in path for _, path, _ in hub.asked if not path.startswith("/cdn/"))
    assert ("fetch model.ckpt", SIZE, SIZE) in told
    assert ("verify model.ckpt", SIZE, SIZE) in told


def test_nothing_is_requested_before_the_licence_is_accepted(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"licence .*was not accepted; nothing was fetched"):
        fetch_weights(hub.weights(), tmp_path / "w", accepted=False)
    assert hub.asked == []
    assert not (tmp_path / "w").exists()


def test_a_single_file_can_be_chosen(hub: Hub, tmp_path: Path) -> None:
    paths = fetch_weights(hub.weights(), tmp_path, accepted=True, files=["small.pth", "small.pth"])
    assert [path.name for path in paths] == ["small.pth"]
    assert not (tmp_path / "model.ckpt").exists()
    with pytest.raises(ConfigError, match=r"expected some of model\.ckpt, small\.pth"):
        choose_files(hub.weights(), ["other.pth"])


def test_what_is_there_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    fetch_weights(hub.weights(), tmp_path, accepted=True)
    hub.asked.clear()
    fetch_weights(hub.weights(), tmp_path, accepted=True)
    assert hub.asked == []


def test_a_cut_connection_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.cut, hub.cuts = SIZE // 3, 2
    path = fetch_weights(hub.weights(), tmp_path, accepted=True, files=["model.ckpt"], patience_s=0.01)[0]
    assert path.read_bytes() == hub.files["model.ckpt"]
    starts = [int(part.removeprefix("bytes=").rstrip("-")) if part else 0 for _, part in hub.bodies()]
    assert starts == [0, SIZE // 3, 2 * (SIZE // 3)]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.ckpt.part").write_bytes(hub.files["model.ckpt"][:1_000_000])
    path = fetch_weights(hub.weights(), tmp_path, accepted=True, files=["model.ckpt"])[0]
    assert path.read_bytes() == hub.files["model.ckpt"]
    assert [part for _, part in hub.bodies()] == ["bytes=1000000-"]


def test_a_server_without_parts_starts_again(hub: Hub, tmp_path: Path) -> None:
    hub.ranges = False
    (tmp_path / "model.ckpt.part").write_bytes(b"\0" * 1_000_000)
    path = fetch_weights(hub.weights(), tmp_path, accepted=True, files=["model.ckpt"])[0]
    assert path.read_bytes() == hub.files["model.ckpt"]


def test_a_line_that_stays_dead_ends_with_one_error_and_keeps_what_came(hub: Hub, tmp_path: Path) -> None:
    hub.cut, hub.cuts = 0, 1000
    (tmp_path / "model.ckpt.part").write_bytes(hub.files["model.ckpt"][:500])
    with pytest.raises(FetchError, match=f"6 times in a row; 500 of {SIZE} bytes are kept: run it again") as caught:
        fetch_weights(hub.weights(), tmp_path, accepted=True, files=["model.ckpt"], patience_s=0.001)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "model.ckpt.part").stat().st_size == 500


def test_other_bytes_than_the_published_ones_are_deleted(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "model.ckpt.part").write_bytes(b"\0" * 1_000_000)  # of another download
    with pytest.raises(FetchError, match=r"published is .*; what came was deleted"):
        fetch_weights(hub.weights(), tmp_path, accepted=True, files=["model.ckpt"])
    assert list(tmp_path.iterdir()) == []
    fetch_weights(hub.weights(), tmp_path, accepted=True, files=["model.ckpt"])


def test_another_file_than_the_pinned_one_is_refused_before_its_first_byte(hub: Hub, tmp_path: Path) -> None:
    pinned = hub.weights()
    hub.told["model.ckpt"] = "0" * 64
    with pytest.raises(FetchError, match=r"sha256 0+ there, published is"):
        fetch_weights(pinned, tmp_path, accepted=True)
    hub.told.clear()
    hub.files["model.ckpt"] += b"more"
    with pytest.raises(FetchError, match=f"{SIZE + 4} bytes there, published are {SIZE}"):
        fetch_weights(pinned, tmp_path, accepted=True)
    hub.files["model.ckpt"] = hub.files["model.ckpt"][:-4]
    hub.revision = "f" * 40
    with pytest.raises(FetchError, match="answered for revision ffff"):
        fetch_weights(pinned, tmp_path, accepted=True)
    assert hub.bodies() == []


def test_a_file_of_the_same_name_is_never_overwritten(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "small.pth").write_text("mine")
    with pytest.raises(FetchError, match=r"is not the published file .*; move it away"):
        fetch_weights(hub.weights(), tmp_path, accepted=True, files=["small.pth"])
    assert (tmp_path / "small.pth").read_text() == "mine"


def test_what_the_hub_does_not_have_is_one_error(hub: Hub, tmp_path: Path) -> None:
    pinned = hub.weights()
    del hub.files["small.pth"]
    with pytest.raises(FetchError) as caught:
        fetch_weights(pinned, tmp_path, accepted=True, files=["small.pth"])
    assert "\n" not in str(caught.value)
    assert "404" in str(caught.value)


def test_two_processes_do_not_write_into_one_file(hub: Hub, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="this system has no fcntl")
    with (tmp_path / "model.ckpt.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match="another process is fetching it"):
            fetch_weights(hub.weights(), tmp_path, accepted=True, files=["model.ckpt"])


def test_the_command_asks_nobody_who_cannot_answer(hub: Hub, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tgvc", "fetch", "cotracker3", "-o", str(tmp_path / "w")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 1
    assert "CC-BY-NC-4.0" in done.stderr
    assert "non" in done.stderr.lower()
    assert done.stderr.strip().splitlines()[-1].endswith("then give --accept-licence")
    assert hub.asked == []
    again = subprocess.run(
        [*command, "--accept-licence"],
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert again.returncode == 1  # this hub does not have it
    assert "404" in again.stderr
    assert len(again.stderr.strip().splitlines()) == 1
