"""Torch without reduced precision: the same bits for the same inputs, whichever networks run at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_lock = threading.Lock()
_users = 0
_host_settings = ExitStack()  # closing it brings them back


@contextmanager
def exact() -> Iterator[None]:
    """No TF32, which would be another precision than that of the manifest, and no choice of kernels by their speed.

    Torch's settings are global, so the first block to enter stores them and the last one to leave restores them.
    """
    global _users
    if not torch.cuda.is_available():
        yield
        return
    with _lock:
        if _users == 0:
            _host_settings.enter_context(_set_exact())
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _host_settings.close()


@contextmanager
def _set_exact() -> Iterator[None]:
    wide = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = wide
