"""Published weights: where they lie, under which licence, and how they get here whole.

Every file is pinned: repository, revision (a commit), size and sha256. A download goes on where an earlier one was cut
off, and nothing that differs from the pinned hash ever gets the file's name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tgvc.errors import BackendUnavailableError, ConfigError, TgvcError
from tgvc.types import OnProgress

RECORD = "fetched.json"
_BLOCK = 1 << 20
_ATTEMPTS = 6  # in a row without a single byte
_PATIENCE_S = 1.0  # before the second attempt; twice as long before each further one
_TIMEOUT_S = 30.0


class FetchError(TgvcError, OSError):
    """Weights that could not be fetched, or that are not the published ones."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file: ``name`` in its repository, ``size`` in bytes, ``sha256`` as 64 hexadecimal digits."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Weights:
    """Published weights.

    ``repository`` and ``revision``: on the Hugging Face hub, the revision a commit. ``licence``: its short name.
    ``terms``: what has to be accepted, for people.
    """

    name: str
    repository: str
    revision: str
    licence: str
    terms: str
    files: tuple[RemoteFile, ...]

    @property
    def url(self) -> str:
        """The page where all of it can be read."""
        return f"https://huggingface.co/{self.repository}/tree/{self.revision}"


WEIGHTS = {
    weights.name: weights
    for weights in (
        Weights(
            "dynamicrafter-512-interp",
            "Doubiiu/DynamiCrafter_512_Interp",
            "5163d01e6f5601a64dbdd8f89a27b1a700313324",
            "see its LICENSE file",
            "DynamiCrafter 512 interpolation, by CUHK and Tencent AI Lab. The code is under Apache-2.0, and the "
            "repository of the weights carries a LICENSE file; model cards of the same weights say that they may be "
            "used for personal, research and non-commercial purposes only. The file also contains OpenCLIP ViT-H/14, "
            "trained on LAION-2B (MIT). Read LICENSE and README there before any other use.",
            (
                RemoteFile(
                    "model.ckpt",
                    10_437_548_346,
                    "a322c00daeb077d79f3de8f9627db4914f4321a8fadaf24dd9ccc62ee8c49d23",
                ),
            ),
        ),
        Weights(
            "cotracker3",
            "facebook/cotracker3",
            "b748ec5e5cd4b9f525a94cc544f0be34bbcc22e2",
            "CC-BY-NC-4.0",
            "CoTracker3, by Meta AI and VGG, University of Oxford. Creative Commons Attribution-NonCommercial 4.0: the "
            "weights, and whatever is made of them, may not be used for commercial purposes, and their origin has to "
            "be named.",
            (
                RemoteFile(
                    "scaled_offline.pth",
                    101_890_938,
                    "2670d4562ed69326dda775a26e54883925cd11b6fc9b24cb7aa9f8078bce7834",
                ),
                RemoteFile(
                    "scaled_online.pth",
                    101_695_610,
                    "205d34789f19699d64b22cf93f9b697f15f28d4025240e31532e504109837218",
                ),
                RemoteFile(
                    "baseline_online.pth",
                    101_694_458,
                    "8b30b2f239de9987323b729d9115cc5163720a07348a97d045095cd9ebdb7b3a",
                ),
            ),
        ),
    )
}


def choose_files(weights: Weights, names: Sequence[str] = ()) -> tuple[RemoteFile, ...]:
    """The files of these names; all of them if there are none.

    Raises:
        ConfigError: a name is not known.
    """
    known = {file.name: file for file in weights.files}
    if wrong := [name for name in names if name not in known]:
        raise ConfigError(f"file={wrong[0]!r}: expected some of {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names)) or weights.files


def fetch_weights(
    weights: Weights,
    folder: Path,
    *,
    accepted: bool,
    files: Sequence[str] = (),
    on_progress: OnProgress | None = None,
    patience_s: float = _PATIENCE_S,
) -> list[Path]:
    """Download published weights, or find that they are here already.

    The environment variable ``HF_ENDPOINT`` names another hub than https://huggingface.co, such as a mirror; the hashes
    stay the same.

    Args:
        weights: one of `WEIGHTS`.
        folder: where the files go, made if needed; `RECORD` beside them says where they came from.
        accepted: that whoever asks has read and accepted the terms. Nothing is requested without it.
        files: names of files; all if empty.
        on_progress: called with ("fetch NAME" or "verify NAME", bytes done, bytes in all).
        patience_s: pause before the second attempt after a cut connection; doubled before each further one.

    Returns:
        The paths of the files, each with the published hash.

    Raises:
        ConfigError: the terms are not accepted, or a file is not known.
        BackendUnavailableError: huggingface_hub is not installed.
        FetchError: not enough room, no connection, or other bytes than the published ones.
    """
    wanted = choose_files(weights, files)
    if not accepted:
        raise ConfigError(
            f"{weights.name}: its licence ({weights.licence}) was not accepted; nothing was fetched: read the terms, "
            "then give --accept-licence"
        )
    hub = _import_hub()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise FetchError(f"{folder}: cannot be made ({fault.strerror})") from fault
    paths = [_fetch_file(hub, weights, file, folder, on_progress, patience_s) for file in wanted]
    _write_record(weights, wanted, folder)
    return paths


def _fetch_file(
    hub: Any, weights: Weights, file: RemoteFile, folder: Path, on_progress: OnProgress | None, patience_s: float
) -> Path:
    path, part = folder / file.name, folder / (file.name + ".part")
    if path.exists():
        if _hash_file(path, file, on_progress) != file.sha256:
            raise FetchError(f"{path}: exists and is not the published file (another sha256); move it away")
        return path
    with _open_part(part) as stream:
        missing = file.size - stream.tell()
        if missing > (free := shutil.disk_usage(folder).free):
            raise FetchError(f"{folder}: {missing / 1e9:.2f} GB to fetch, {free / 1e9:.2f} GB free")
        endpoint = os.environ.get("HF_ENDPOINT") or None
        url = hub.hf_hub_url(weights.repository, file.name, revision=weights.revision, endpoint=endpoint)
        _check_remote(hub, url, weights, file)
        _download(hub, url, file, stream, on_progress, patience_s)
    if (found := _hash_file(part, file, on_progress)) != file.sha256:
        part.unlink()
        raise FetchError(f"{file.name}: sha256 {found}, published is {file.sha256}; what came was deleted")
    part.replace(path)
    return path


def _check_remote(hub: Any, url: str, weights: Weights, file: RemoteFile) -> None:
    """Compare what the hub says of a file with what is pinned, before a byte of it is asked for."""
    try:
        told = hub.get_hf_file_metadata(url, timeout=_TIMEOUT_S)
    except Exception as fault:  # the hub's errors and those of its HTTP library have no common root below this
        raise FetchError(f"{url}: {_one_line(fault)}") from fault
    if told.commit_hash is not None and told.commit_hash != weights.revision:
        raise FetchError(f"{url}: the hub answered for revision {told.commit_hash:.40}, pinned is {weights.revision}")
    if told.size is not None and told.size != file.size:
        raise FetchError(f"{url}: {told.size} bytes there, published are {file.size}: another file")
    if told.etag and len(told.etag) == 64 and told.etag != file.sha256:
        raise FetchError(f"{url}: sha256 {told.etag} there, published is {file.sha256}: another file")


def _download(
    hub: Any, url: str, file: RemoteFile, stream: IO[bytes], on_progress: OnProgress | None, patience_s: float
) -> None:
    """Append what is missing to a stream; goes on after a cut connection."""
    attempts, fault = 0, "the connection was cut"
    while (done := stream.tell()) < file.size:
        if attempts == _ATTEMPTS:
            raise FetchError(
                f"{url}: {fault}, {_ATTEMPTS} times in a row; {done} of {file.size} bytes are kept: "
                "run it again to go on"
            )
        if attempts:
            time.sleep(patience_s * 2 ** (attempts - 1))
        attempts += 1
        try:
            for _ in _receive(hub, url, file, stream):
                attempts = 1
                if on_progress:
                    on_progress(f"fetch {file.name}", stream.tell(), file.size)
        except FetchError:
            raise
        except OSError as failed:
            if failed.errno is not None and not isinstance(failed, ConnectionError):  # of the disk
                raise FetchError(f"{file.name}: cannot be written ({failed.strerror})") from failed
            fault = _one_line(failed)
        except Exception as failed:  # noqa: BLE001 (errors of the HTTP library, whose root is not known here)
            fault = _one_line(failed)
    stream.flush()


def _receive(hub: Any, url: str, file: RemoteFile, stream: IO[bytes]) -> Iterator[None]:
    done = stream.tell()
    headers = {**hub.utils.build_hf_headers(), "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with hub.get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True) as response:
        if response.status_code in (401, 403, 404):
            raise FetchError(f"{url}: the hub answers {response.status_code}; try again later or get it by hand")
        response.raise_for_status()
        if response.status_code != 206 and done:  # the server sends all of it
            stream.seek(0)
            stream.truncate()
        for block in response.iter_raw():
            if stream.tell() + len(block) > file.size:
                raise FetchError(f"{url}: sends more than the {file.size} bytes that are published")
            stream.write(block)
            yield


@contextmanager
def _open_part(part: Path) -> Iterator[IO[bytes]]:
    """A partial download, at its end, for this process alone."""
    try:
        with part.open("ab") as stream:
            _lock(stream, part)
            yield stream
    except PermissionError as fault:
        raise FetchError(f"{part}: cannot be written ({fault.strerror})") from fault


def _lock(stream: IO[bytes], part: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        raise FetchError(f"{part}: another process is fetching it") from fault


def _hash_file(path: Path, file: RemoteFile, on_progress: OnProgress | None) -> str:
    digest, done = hashlib.sha256(), 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                done += len(block)
                if on_progress:
                    on_progress(f"verify {file.name}", done, file.size)
    except OSError as fault:
        raise FetchError(f"{path}: cannot be read ({fault.strerror})") from fault
    return digest.hexdigest()


def _write_record(weights: Weights, files: Sequence[RemoteFile], folder: Path) -> None:
    record = {
        "name": weights.name,
        "repository": weights.repository,
        "revision": weights.revision,
        "licence": weights.licence,
        "terms": weights.terms,
        "files": {file.name: {"bytes": file.size, "sha256": file.sha256} for file in files},
    }
    beside = folder / (RECORD + ".part")
    beside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    beside.replace(folder / RECORD)


def _import_hub() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
    except ImportError as fault:
        why = " ".join(str(fault).split())
        raise BackendUnavailableError(f"fetching needs huggingface_hub ({why}); pip install 'tgvc[fetch]'") from fault
    return huggingface_hub


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:300] or type(fault).__name__
