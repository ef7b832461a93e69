"""The key with which this user's machine signs what it built: loading an engine is running code."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from tgvc.errors import BackendError

KEY_BYTES = 32
_OTHERS = 0o077


def key_file() -> Path:
    """Where the key lies: ``tgvc/engine.key`` in the user's data, apart from the caches that it signs."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "tgvc" / "engine.key"


class SigningKey:
    """A secret of this user on this machine, made at first use.

    Args:
        path: of its file; `key_file` by default.

    Raises:
        BackendError: the file cannot be made or read, others may read it, or it is no key.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or key_file()
        try:
            if not self.path.exists():
                _make(self.path)
            status = self.path.stat()
            self._secret = self.path.read_bytes()
        except OSError as fault:
            raise BackendError(f"signing key {self.path}: {fault.strerror or fault}") from fault
        if os.name == "posix" and (status.st_mode & _OTHERS or status.st_uid != os.getuid()):
            raise BackendError(f"signing key {self.path}: others may read it or own it: chmod 600, or remove it")
        if len(self._secret) != KEY_BYTES:
            raise BackendError(f"signing key {self.path}: {len(self._secret)} bytes, expected {KEY_BYTES}: remove it")

    def sign(self, text: bytes) -> str:
        """HMAC-SHA256 of a text, 64 hexadecimal digits."""
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()

    def signed(self, text: bytes, signature: object) -> bool:
        """Whether a signature is that of a text by this key."""
        return isinstance(signature, str) and hmac.compare_digest(self.sign(text), signature)


def _make(path: Path) -> None:
    """Whole or not at all, and the first one wins where several processes begin at once."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)
